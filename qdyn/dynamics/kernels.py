"""Compiled kernels of the Chebyshev method; imported only when it runs.

A state of n sites is a row of 2 * 2**n real numbers, real and imaginary parts next to each other, as torch
stores it. Bit 0 of a position in the row tells real from imaginary, bit q + 1 is bit q of the basis index.
The kernels work on short vectors: a block of _BLOCK_BYTES is one value of the type Lanes, LLVM keeps it in
as many registers as the processor needs, and flipping a bit inside a block is a fixed permutation of lanes.

Everything sits in one file because numba's cache on disk notices changes only in the file of the function.
"""

# ruff: noqa: PLR0912, PLR0915, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

# Vectors of the recurrence in memory; they are combined when all are new, and the next ones replace them.
GROUP = 10
# Smallest chain of the flip kernel: its basis fills a block in single precision.
SMALLEST_CHAIN = 6

_BLOCK_BYTES = 512
_STRIP_BYTES = 128
_VECTOR_BYTES = 64
_CHUNK_BYTES = 2048


@no_type_check
def _compiled(function):
    """Compile on first use, free of the interpreter's lock; keep the code on disk where there is a place."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written.
        return njit(nogil=True)(function)


class Lanes(types.Type):
    """A short vector of real numbers."""

    @no_type_check
    def __init__(self, element, count):
        self.element, self.count = element, count
        super().__init__(name=f"Lanes({element}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, manager, lanes):
        element = ir.DoubleType() if lanes.element == types.float64 else ir.FloatType()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


@no_type_check
def _permutation(lanes, source):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(source)), source), ir.Constant(lanes, ir.Undefined)


@no_type_check
def _place(context, builder, signature, arguments, vector):
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]], inbounds=True), vector.as_pointer())


@no_type_check
def _make_load(n_bytes, *, twice=False):
    @intrinsic
    def load(typing_context, array, index):
        n_element = array.dtype.bitwidth // 8
        lanes = Lanes(array.dtype, n_bytes // n_element)

        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            if not twice:
                place = _place(context, builder, signature, arguments, vector)
                return builder.load(place, align=n_element)
            half = ir.VectorType(vector.element, vector.count // 2)
            values = builder.load(_place(context, builder, signature, arguments, half), align=n_element)
            mask, other = _permutation(half, [lane // 2 for lane in range(vector.count)])
            return builder.shuffle_vector(values, other, mask)

        return lanes(array, types.int64), generate

    return load


@no_type_check
def _make_splat(n_bytes, *, alternating=False):
    @intrinsic
    def splat(typing_context, number):
        lanes = Lanes(number, n_bytes * 8 // number.bitwidth)

        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            mask, other = _permutation(vector, [0] * vector.count)
            first = builder.insert_element(other, arguments[0], ir.Constant(ir.IntType(32), 0))
            if not alternating:
                return builder.shuffle_vector(first, other, mask)
            second = builder.insert_element(first, builder.fneg(arguments[0]), ir.Constant(ir.IntType(32), 1))
            mask, other = _permutation(vector, [lane % 2 for lane in range(vector.count)])
            return builder.shuffle_vector(second, other, mask)

        return lanes(number), generate

    return splat


@no_type_check
def _make_width(n_bytes):
    @intrinsic
    def width(typing_context, array):
        count = n_bytes * 8 // array.dtype.bitwidth

        def generate(context, builder, signature, arguments):
            return ir.Constant(ir.IntType(64), count)

        return types.int64(array), generate

    return width


@no_type_check
def _make_arithmetic(instruction):
    @intrinsic
    def compute(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return left(left, right), generate

    return compute


# Values of a block or strip from row[index:]; `_load_twice` repeats each of half as many values.
_load_block, _load_strip = _make_load(_BLOCK_BYTES), _make_load(_STRIP_BYTES)
_load_vector, _load_vector_twice = _make_load(_VECTOR_BYTES), _make_load(_VECTOR_BYTES, twice=True)
_load_twice = _make_load(_BLOCK_BYTES, twice=True)
# One number in every lane; `_alternate`: x, -x, x, -x, ...
_splat_block, _splat_strip = _make_splat(_BLOCK_BYTES), _make_splat(_STRIP_BYTES)
_splat_vector = _make_splat(_VECTOR_BYTES)
_alternate_strip = _make_splat(_STRIP_BYTES, alternating=True)
# Lanes of a block or strip for the element type of an array.
_block_width, _strip_width = _make_width(_BLOCK_BYTES), _make_width(_STRIP_BYTES)
_vector_width = _make_width(_VECTOR_BYTES)
_add, _multiply = _make_arithmetic("fadd"), _make_arithmetic("fmul")


@intrinsic
@no_type_check
def _store(typing_context, array, index, value):
    def generate(context, builder, signature, arguments):
        vector = context.get_value_type(signature.args[2])
        place = _place(context, builder, signature, arguments, vector)
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, types.int64, value), generate


@no_type_check
def _make_multiply_add(*, negative):
    @intrinsic
    def multiply_add(typing_context, a, b, c):
        def generate(context, builder, signature, arguments):
            vector = context.get_value_type(signature.return_type)
            name = f"llvm.fmuladd.v{vector.count}{vector.element.intrinsic_name}"
            function_type = ir.FunctionType(vector, [vector] * 3)
            function = cgutils.get_or_insert_function(builder.module, function_type, name)
            a, b, c = arguments
            return builder.call(function, [a, b, builder.fneg(c) if negative else c])

        return a(a, b, c), generate

    return multiply_add


# a * b + c and a * b - c, fused where the processor can.
_multiply_add, _multiply_subtract = _make_multiply_add(negative=False), _make_multiply_add(negative=True)


@intrinsic
@no_type_check
def _parity(typing_context, bits):
    """Whether an odd number of bits is set, 0 or 1."""

    def generate(context, builder, signature, arguments):
        return builder.and_(builder.ctpop(arguments[0]), ir.Constant(ir.IntType(64), 1))

    return types.int64(types.int64), generate


@intrinsic(prefer_literal=True)
@no_type_check
def _flip(typing_context, value, distance):
    """Exchange lanes whose numbers differ by the bit ``distance``."""
    bit = distance.literal_value

    def generate(context, builder, signature, arguments):
        vector = context.get_value_type(signature.return_type)
        mask, other = _permutation(vector, [(lane ^ bit) % vector.count for lane in range(vector.count)])
        return builder.shuffle_vector(arguments[0], other, mask)

    return value(value, distance), generate


@_compiled
@no_type_check
def _row(order):
    """Where a vector is kept: the first two of a group replace those two before them, element by element."""
    return (order - 2 * (order // GROUP)) % GROUP


@_compiled
@no_type_check
def _apply_flips(rows, new, old, older, diagonal, fields, factor, n_sites, first):
    """One step of the recurrence for H = a diagonal plus single-site flips.

    rows[new] = factor H rows[old] - rows[older], without the last term at the first step; the arguments are
    offsets into the flat workspace. The factor stands apart because couplings such as 1 are then exact in
    single precision.
    """
    width = _block_width(rows)
    scale = _splat_block(factor)
    field_0, field_1, field_2 = _splat_block(fields[0]), _splat_block(fields[1]), _splat_block(fields[2])
    field_3, field_4, field_5 = _splat_block(fields[3]), _splat_block(fields[4]), _splat_block(fields[5])
    inside = 6 if width > 64 else 5
    for start in range(0, 2 << n_sites, width):
        value = _load_block(rows, old + start)
        total = _multiply(_load_twice(diagonal, start >> 1), value)
        total = _multiply_add(field_0, _flip(value, 2), total)
        total = _multiply_add(field_1, _flip(value, 4), total)
        total = _multiply_add(field_2, _flip(value, 8), total)
        total = _multiply_add(field_3, _flip(value, 16), total)
        total = _multiply_add(field_4, _flip(value, 32), total)
        if inside == 6:
            total = _multiply_add(field_5, _flip(value, 64), total)
        for bit in range(inside, n_sites):
            there = old + (start ^ (2 << bit))
            total = _multiply_add(_splat_block(fields[bit]), _load_block(rows, there), total)
        if first:
            _store(rows, new + start, _multiply(scale, total))
        else:
            _store(rows, new + start, _multiply_subtract(scale, total, _load_block(rows, older + start)))


@_compiled
@no_type_check
def _sum_class(rows, old, start, slots, signs, factors, first, last):
    """sum_s factors_s * rows[start xor slot_s], the sign of s read off the source."""
    width = _vector_width(rows)
    total = _splat_vector(rows.dtype.type(0))
    for slot in range(first, last):
        source = start ^ slots[slot]
        factor = _load_vector(factors, (2 * slot + _parity(source & signs[slot])) * width)
        total = _multiply_add(factor, _load_vector(rows, old + source), total)
    return total


@_compiled
@no_type_check
def _apply_masks(rows, new, old, older, diagonal, slots, signs, factors, bounds, factor, n_sites, first):
    """The same step for any sum of Pauli strings; those that flip the same lanes share one permutation."""
    width = _vector_width(rows)
    scale = _splat_vector(factor)
    for start in range(0, 2 << n_sites, width):
        total = _multiply(_load_vector_twice(diagonal, start >> 1), _load_vector(rows, old + start))
        if bounds[1] > bounds[0]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[0], bounds[1])
            total = _add(total, part)
        if bounds[2] > bounds[1]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[1], bounds[2])
            total = _add(total, _flip(part, 1))
        if bounds[3] > bounds[2]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[2], bounds[3])
            total = _add(total, _flip(part, 2))
        if bounds[4] > bounds[3]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[3], bounds[4])
            total = _add(total, _flip(part, 3))
        if bounds[5] > bounds[4]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[4], bounds[5])
            total = _add(total, _flip(part, 4))
        if bounds[6] > bounds[5]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[5], bounds[6])
            total = _add(total, _flip(part, 5))
        if bounds[7] > bounds[6]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[6], bounds[7])
            total = _add(total, _flip(part, 6))
        if bounds[8] > bounds[7]:
            part = _sum_class(rows, old, start, slots, signs, factors, bounds[7], bounds[8])
            total = _add(total, _flip(part, 7))
        if width > 8:
            if bounds[9] > bounds[8]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[8], bounds[9])
                total = _add(total, _flip(part, 8))
            if bounds[10] > bounds[9]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[9], bounds[10])
                total = _add(total, _flip(part, 9))
            if bounds[11] > bounds[10]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[10], bounds[11])
                total = _add(total, _flip(part, 10))
            if bounds[12] > bounds[11]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[11], bounds[12])
                total = _add(total, _flip(part, 11))
            if bounds[13] > bounds[12]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[12], bounds[13])
                total = _add(total, _flip(part, 12))
            if bounds[14] > bounds[13]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[13], bounds[14])
                total = _add(total, _flip(part, 13))
            if bounds[15] > bounds[14]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[14], bounds[15])
                total = _add(total, _flip(part, 14))
            if bounds[16] > bounds[15]:
                part = _sum_class(rows, old, start, slots, signs, factors, bounds[15], bounds[16])
                total = _add(total, _flip(part, 15))
        if first:
            _store(rows, new + start, _multiply(scale, total))
        else:
            _store(rows, new + start, _multiply_subtract(scale, total, _load_vector(rows, older + start)))


@_compiled
@no_type_check
def _tabulate_masks(slot_of, signed, lane_signs, coefficients, width, factors):
    """Lane by lane the factor of every slot, for even and odd parity of its sign bits outside the vector."""
    factors[:] = 0
    for term in range(slot_of.size):
        for lane in range(width):
            value = -coefficients[term] if _parity(lane & lane_signs[term]) else coefficients[term]
            factors[2 * slot_of[term] * width + lane] += value
            factors[(2 * slot_of[term] + 1) * width + lane] += -value if signed[term] else value


@_compiled
@no_type_check
def _combine(
    rows, pitch, oldest, weights, entries, after, before, phases, out, size, n_active, n_unfinished, first
):
    """Add one group of vectors to the states of a window, from entry n_unfinished on for the last time.

    Chunk by chunk, so that the vectors are read from the nearest cache and the states in long runs.
    """
    chunk = min(size, _CHUNK_BYTES // rows.itemsize)
    for start in range(0, size, chunk):
        for entry in range(entries, entries + n_active):
            place_after = after[entry] * size + start if after[entry] >= 0 else -1
            place_before = before[entry] * size + start if before[entry] >= 0 else -1
            _add_group(
                rows, pitch, oldest, start, chunk, weights[entry], out, place_after, place_before, first
            )
            if entry >= entries + n_unfinished:
                _turn(out, place_after, chunk, phases[entry, 0], phases[entry, 1])
                _turn(out, place_before, chunk, phases[entry, 0], -phases[entry, 1])


@_compiled
@no_type_check
def _add_group(rows, pitch, oldest, start, chunk, weight, out, place_after, place_before, first):
    """Two states the same time after and before the centre grow by E - i O and E + i O.

    E and O are the weighted sums over the even and the odd vectors of the group.
    """
    one = rows.dtype.type(1.0)
    sign, opposite = _alternate_strip(one), _alternate_strip(-one)
    weight_0, weight_1 = _splat_strip(weight[oldest]), _splat_strip(weight[oldest + 1])
    weight_2, weight_3 = _splat_strip(weight[oldest + 2]), _splat_strip(weight[oldest + 3])
    weight_4, weight_5 = _splat_strip(weight[oldest + 4]), _splat_strip(weight[oldest + 5])
    weight_6, weight_7 = _splat_strip(weight[oldest + 6]), _splat_strip(weight[oldest + 7])
    weight_8, weight_9 = _splat_strip(weight[oldest + 8]), _splat_strip(weight[oldest + 9])
    place_0, place_1 = start + pitch * _row(oldest), start + pitch * _row(oldest + 1)
    place_2, place_3 = start + pitch * _row(oldest + 2), start + pitch * _row(oldest + 3)
    place_4, place_5 = start + pitch * _row(oldest + 4), start + pitch * _row(oldest + 5)
    place_6, place_7 = start + pitch * _row(oldest + 6), start + pitch * _row(oldest + 7)
    place_8, place_9 = start + pitch * _row(oldest + 8), start + pitch * _row(oldest + 9)
    for place in range(0, chunk, _strip_width(rows)):
        even = _multiply(weight_0, _load_strip(rows, place_0 + place))
        odd = _multiply(weight_1, _load_strip(rows, place_1 + place))
        even = _multiply_add(weight_2, _load_strip(rows, place_2 + place), even)
        odd = _multiply_add(weight_3, _load_strip(rows, place_3 + place), odd)
        even = _multiply_add(weight_4, _load_strip(rows, place_4 + place), even)
        odd = _multiply_add(weight_5, _load_strip(rows, place_5 + place), odd)
        even = _multiply_add(weight_6, _load_strip(rows, place_6 + place), even)
        odd = _multiply_add(weight_7, _load_strip(rows, place_7 + place), odd)
        even = _multiply_add(weight_8, _load_strip(rows, place_8 + place), even)
        odd = _multiply_add(weight_9, _load_strip(rows, place_9 + place), odd)
        odd = _flip(odd, 1)
        if place_after >= 0:
            state = _multiply_add(sign, odd, even)
            if not first:
                state = _add(state, _load_strip(out, place_after + place))
            _store(out, place_after + place, state)
        if place_before >= 0:
            state = _multiply_add(opposite, odd, even)
            if not first:
                state = _add(state, _load_strip(out, place_before + place))
            _store(out, place_before + place, state)


@_compiled
@no_type_check
def _turn(out, start, chunk, cosine, sine):
    """Multiply by cosine - i sine."""
    if start >= 0:
        same, other = _splat_strip(cosine), _alternate_strip(sine)
        for place in range(start, start + chunk, _strip_width(out)):
            state = _load_strip(out, place)
            _store(out, place, _multiply_add(same, state, _multiply(other, _flip(state, 1))))


@_compiled
@no_type_check
def evolve(
    members, initial, out, rows, pitch, diagonal, phases, sign_masks, couplings, fields, middles,
    slots, signs, bounds, slot_of, signed, lane_signs, strings, factors, factor, n_sites,
    sources, lengths, starts, reaches, weights, after, before, distances,
):  # fmt: skip
    """Follow some trajectories of H = sum_s c_s Z_s + sum_q f_q X_q + other strings through a plan's windows.

    Where there are other strings, the flips are among them and the fields are not read.

    Args:
        members: indices of the trajectories.
        initial: real view of the initial states, (trajectories or 1, 2 dim).
        out: real view of the states to come, (trajectories, times * 2 dim).
        rows: zeroed workspace, GROUP rows, `pitch` apart.
        diagonal: workspace, (dim,).
        phases: workspace, (entries, 2).
        sign_masks: for each product of Z its mask.
        couplings: their coefficients, (trajectories or 1, masks).
        fields: coefficients of X by bit, (trajectories or 1, at least 6).
        middles: middles of the spectra, (trajectories or 1,), float64.
        slots: bits that a slot flips outside a vector.
        signs: bits outside a vector that give a slot its sign.
        bounds: first slot of each permutation of lanes, and the number of slots.
        slot_of: slot of each string; several strings may share one.
        signed: whether the slot's bits outside a vector give the string its sign, or none of them does.
        lane_signs: bits inside a vector that give each string its sign.
        strings: coefficients of the strings, (trajectories or 1, strings).
        factors: workspace, 2 vectors a slot.
        factor: 2 / (half the width of the spectrum).
        n_sites: number of sites.
        sources: for each window the index of the state at its centre in `out`; -1 for the initial state.
        lengths: for each window the number of vectors.
        starts: for each window its first entry in the lists that follow; one more at the end.
        reaches: groups of vectors that an entry needs, not increasing within a window.
        weights: for each entry the factors of the vectors, padded with zeros to whole groups.
        after: index in `out` of the state at this distance after the centre, or -1.
        before: the same before the centre.
        distances: for each entry the distance in time.
    """
    size = 2 << n_sites
    half = rows.dtype.type(0.5) * factor
    prepared = -1
    for member in members:
        own = member if couplings.shape[0] > 1 else 0
        middle = middles[own]
        if prepared != own:
            prepared = own
            walsh(sign_masks, couplings[own], rows.dtype.type(middle), diagonal)
            _tabulate_masks(slot_of, signed, lane_signs, strings[own], _vector_width(rows), factors)
            for entry in range(distances.size):
                phases[entry, 0] = math.cos(middle * distances[entry])
                phases[entry, 1] = math.sin(middle * distances[entry])
        for window in range(sources.size):
            start = initial[member if initial.shape[0] > 1 else 0]
            origin = start if sources[window] < 0 else out[member, sources[window] * size :]
            for place in range(size):
                rows[place] = origin[place]
            for order in range(lengths[window]):
                new, old, older = _row(order) * pitch, _row(order - 1) * pitch, _row(order - 2) * pitch
                step = half if order == 1 else factor
                if order > 0 and slots.size:
                    _apply_masks(
                        rows,
                        new,
                        old,
                        older,
                        diagonal,
                        slots,
                        signs,
                        factors,
                        bounds,
                        step,
                        n_sites,
                        order == 1,
                    )
                elif order > 0:
                    _apply_flips(rows, new, old, older, diagonal, fields[own], step, n_sites, order == 1)
                if order % GROUP == GROUP - 1 or order == lengths[window] - 1:
                    _finish_group(
                        rows, pitch, order // GROUP, weights, starts[window], starts[window + 1], reaches,
                        after, before, phases, out[member], size, middle != 0,
                    )  # fmt: skip


@_compiled
@no_type_check
def _finish_group(rows, pitch, group, weights, first, last, reaches, after, before, phases, out, size, turns):
    active = unfinished = 0
    for entry in range(first, last):
        active += reaches[entry] > group
        unfinished += reaches[entry] > group + 1
    if not turns:
        unfinished = active
    _combine(
        rows,
        pitch,
        group * GROUP,
        weights,
        first,
        after,
        before,
        phases,
        out,
        size,
        active,
        unfinished,
        group == 0,
    )


@_compiled
@no_type_check
def walsh(masks, coefficients, middle, diagonal):
    """The diagonal of sum_s c_s Z_s - middle by a Walsh-Hadamard transform, n 2**n additions for any s."""
    diagonal[:] = 0
    diagonal[0] = -middle
    for term in range(masks.size):
        diagonal[masks[term]] += coefficients[term]
    stride = 1
    while stride < diagonal.size:
        for start in range(0, diagonal.size, 2 * stride):
            low, high = diagonal[start : start + stride], diagonal[start + stride : start + 2 * stride]
            for place in range(stride):
                total, difference = low[place] + high[place], low[place] - high[place]
                low[place], high[place] = total, difference
        stride *= 2


@_compiled
@no_type_check
def count_terms(arguments, tolerance):
    """For each x >= 0 the number K of terms with 2 sum_(k >= K) |J_k(x)| <= tolerance.

    By Kapteyn's inequality |J_k(k z)| <= (z exp(w) / (1 + w))^k, w = sqrt(1 - z^2), for 0 < z < 1, and
    J_(k+1) / J_k falls below z / (1 + w) (NIST Digital Library of Mathematical Functions, 10.14.8).
    """
    counts = np.empty(arguments.size, np.int64)
    for place in range(arguments.size):
        x = arguments[place]
        count = int(x) + 1
        while True:
            z = x / count
            w = math.sqrt(max(0.0, 1 - z * z))
            ratio = z / (1 + w)
            bound = 0.0 if z == 0 else math.exp(count * (math.log(ratio) + w))
            if ratio < 1 and 2 * bound <= tolerance * (1 - ratio):
                break
            count += 1
        counts[place] = count
    return counts


@_compiled
@no_type_check
def bessel(arguments, n_terms):
    """J_k(x) for k = 0 ... n_terms - 1 and each x >= 0, by Miller's backward recurrence."""
    table = np.zeros((arguments.size, n_terms))
    for place in range(arguments.size):
        x = arguments[place]
        if x < 1e-30:
            table[place, 0] = 1
            if n_terms > 1:
                table[place, 1] = x / 2
            continue
        top = int(max(float(n_terms), x)) + 40 + int(6 * x ** (1 / 3))
        higher, current, norm = 0.0, 1e-250, 0.0
        for order in range(top, 0, -1):
            lower = 2 * order / x * current - higher
            higher, current = current, lower
            if order - 1 < n_terms:
                table[place, order - 1] = current
            if order % 2 == 1:
                norm += current if order == 1 else 2 * current
            if abs(current) > 1e200:
                higher, current, norm = higher * 1e-250, current * 1e-250, norm * 1e-250
                for column in range(order - 1, n_terms):
                    table[place, column] *= 1e-250
        for column in range(n_terms):
            table[place, column] /= norm
    return table
