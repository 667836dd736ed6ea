"""Compiled kernels that follow several trajectories side by side; imported only when they run.

A vector holds LANES trajectories: number j of the basis takes LANES neighbouring floats, one a trajectory,
and all real parts stand, with a gap, before all imaginary parts. Whatever a Hamiltonian does to the basis,
trajectories then move as whole vector registers, also where each has its own couplings or its own time. No
sum runs over lanes, so that a trajectory does not depend on its neighbours.
"""

# ruff: noqa: PLR0912, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from qdyn.quantum.compiling import compiled

LANES = 4
# Floats between real and imaginary parts: a power of two apart, they would share cache sets.
GAP = 4 * LANES
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class _Lanes(types.Type):
    """One number of each of LANES trajectories."""

    def __init__(self) -> None:
        super().__init__(name="TrajectoryLanes")


_LANES = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, _VECTOR)


@no_type_check
def _place(context, builder, signature, arguments):
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]], inbounds=True), _VECTOR.as_pointer())


@intrinsic
@no_type_check
def load(typing_context, array, index):
    """LANES floats of a flat array from ``index`` on."""

    def generate(context, builder, signature, arguments):
        return builder.load(_place(context, builder, signature, arguments), align=8)

    return _LANES(array, types.int64), generate


@intrinsic
@no_type_check
def store(typing_context, array, index, value):
    """Write them back."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[2], _place(context, builder, signature, arguments), align=8)
        return context.get_dummy_value()

    return types.none(array, types.int64, value), generate


@no_type_check
def _make_arithmetic(instruction):
    @intrinsic
    def compute(typing_context, left, right):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return _LANES(left, right), generate

    return compute


@intrinsic
@no_type_check
def _negate(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.fneg(arguments[0])

    return _LANES(value), generate


@no_type_check
def _make_multiply_add(*, negative):
    @intrinsic
    def multiply_add(typing_context, a, b, c):
        def generate(context, builder, signature, arguments):
            kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
            name = f"llvm.fmuladd.v{LANES}f64"
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            a, b, c = arguments
            return builder.call(function, [builder.fneg(a) if negative else a, b, c])

        return _LANES(a, b, c), generate

    return multiply_add


add, multiply = _make_arithmetic("fadd"), _make_arithmetic("fmul")
# a * b + c and c - a * b.
multiply_add, _subtract_product = _make_multiply_add(negative=False), _make_multiply_add(negative=True)


@compiled
@no_type_check
def _odd(number):
    """Whether the number of ones is odd."""
    number ^= number >> 32
    number ^= number >> 16
    number ^= number >> 8
    number ^= number >> 4
    return (0x6996 >> (number & 15)) & 1


@compiled
@no_type_check
def product(
    rows, new, old, older, first, factor, energies, damping, flips, fields, masks, signs, turns, strings, dim
):  # fmt: skip
    """rows[new] = -i factor (H - i Gamma) rows[old] + rows[older], without the last term at the first step.

    H - i Gamma = energies - i damping + sum_q fields_q X(flips_q) + other strings, four basis states at once.

    Args:
        rows: flat workspace; new, old and older are offsets into it.
        factor: (LANES,).
        energies: (dim * LANES,).
        damping: the same.
        flips: bits that the fields flip.
        fields: (flips * LANES,).
        masks: bits that each other string flips.
        signs: bits that give it its sign, read off the source.
        turns: 0 for a real matrix c P; 1 where P is i times a real matrix, and c P = i times the coefficient.
        strings: coefficients, (strings * 2 * LANES,): for even, then for odd parity.
        dim: number of basis states, a multiple of 4.
    """
    size = dim * LANES + GAP
    scale = load(factor, 0)
    for row in range(0, dim, 4):
        at = row * LANES
        at_1, at_2, at_3 = at + LANES, at + 2 * LANES, at + 3 * LANES
        real, imaginary = old, old + size
        energy = load(energies, at)
        re_0, im_0 = multiply(energy, load(rows, imaginary + at)), multiply(energy, load(rows, real + at))
        energy = load(energies, at_1)
        re_1, im_1 = (
            multiply(energy, load(rows, imaginary + at_1)),
            multiply(energy, load(rows, real + at_1)),
        )
        energy = load(energies, at_2)
        re_2, im_2 = (
            multiply(energy, load(rows, imaginary + at_2)),
            multiply(energy, load(rows, real + at_2)),
        )
        energy = load(energies, at_3)
        re_3, im_3 = (
            multiply(energy, load(rows, imaginary + at_3)),
            multiply(energy, load(rows, real + at_3)),
        )
        for place in range(flips.size):
            field = load(fields, place * LANES)
            bit = flips[place]
            there = (row ^ bit) * LANES
            re_0 = multiply_add(field, load(rows, imaginary + there), re_0)
            im_0 = multiply_add(field, load(rows, real + there), im_0)
            there = ((row + 1) ^ bit) * LANES
            re_1 = multiply_add(field, load(rows, imaginary + there), re_1)
            im_1 = multiply_add(field, load(rows, real + there), im_1)
            there = ((row + 2) ^ bit) * LANES
            re_2 = multiply_add(field, load(rows, imaginary + there), re_2)
            im_2 = multiply_add(field, load(rows, real + there), im_2)
            there = ((row + 3) ^ bit) * LANES
            re_3 = multiply_add(field, load(rows, imaginary + there), re_3)
            im_3 = multiply_add(field, load(rows, real + there), im_3)
        for place in range(masks.size):
            # Where the string is imaginary, -i c P keeps real and imaginary parts apart.
            mask, sign = masks[place], signs[place]
            one, two, sense = (imaginary, real, 0) if turns[place] == 0 else (real, imaginary, 1)
            source = row ^ mask
            value = load(strings, (2 * place + _odd(source & sign)) * LANES)
            re_0 = multiply_add(value, load(rows, one + source * LANES), re_0)
            im_0 = _signed(sense, value, load(rows, two + source * LANES), im_0)
            source = (row + 1) ^ mask
            value = load(strings, (2 * place + _odd(source & sign)) * LANES)
            re_1 = multiply_add(value, load(rows, one + source * LANES), re_1)
            im_1 = _signed(sense, value, load(rows, two + source * LANES), im_1)
            source = (row + 2) ^ mask
            value = load(strings, (2 * place + _odd(source & sign)) * LANES)
            re_2 = multiply_add(value, load(rows, one + source * LANES), re_2)
            im_2 = _signed(sense, value, load(rows, two + source * LANES), im_2)
            source = (row + 3) ^ mask
            value = load(strings, (2 * place + _odd(source & sign)) * LANES)
            re_3 = multiply_add(value, load(rows, one + source * LANES), re_3)
            im_3 = _signed(sense, value, load(rows, two + source * LANES), im_3)
        _finish(rows, new, old, older, at, size, damping, scale, first, re_0, im_0)
        _finish(rows, new, old, older, at_1, size, damping, scale, first, re_1, im_1)
        _finish(rows, new, old, older, at_2, size, damping, scale, first, re_2, im_2)
        _finish(rows, new, old, older, at_3, size, damping, scale, first, re_3, im_3)


@njit(nogil=True, cache=True, inline="always")
@no_type_check
def _signed(sense, value, other, total):
    return multiply_add(value, other, total) if sense == 0 else _subtract_product(value, other, total)


@njit(nogil=True, cache=True, inline="always")
@no_type_check
def _finish(rows, new, old, older, at, size, damping, scale, first, re, im):
    """Subtract the damping and add what stood two steps before; ``im`` is minus the imaginary part."""
    loss = load(damping, at)
    re = multiply(scale, _subtract_product(loss, load(rows, old + at), re))
    im = multiply_add(loss, load(rows, old + size + at), im)
    if first:
        store(rows, new + at, re)
        store(rows, new + size + at, _negate(multiply(scale, im)))
    else:
        store(rows, new + at, add(re, load(rows, older + at)))
        store(rows, new + size + at, _subtract_product(scale, im, load(rows, older + size + at)))


@compiled
@no_type_check
def exponentials(
    states, weights, step, tables, coefficients, flips, masks, signs, turns, n_fields, tolerance, work, dim
):  # fmt: skip
    """Apply exp(-i step sum_p weights[u, p] H_p) for u = 0, 1, ... to LANES states, by Taylor series.

    Args:
        states: workspace row with the states, which it overwrites.
        weights: (exponentials, parts).
        step: the duration, of either sign.
        tables: diagonals of the parts, (parts, dim * LANES).
        coefficients: of the flips, then of the strings, (parts, (flips + strings) * LANES).
        n_fields: number of flips.
        tolerance: largest norm of what is left out of one exponential.
        work: workspace of 2 rows, then a diagonal of zeros (damping) and one to fill.
    """
    half, size = dim * LANES, 2 * (dim * LANES + GAP)
    rows = work[: 2 * size]
    damping = work[2 * size : 2 * size + half]
    energies = work[2 * size + half : 2 * size + 2 * half]
    fields = np.zeros(max(1, n_fields) * LANES)
    strings = np.zeros(max(1, masks.size) * 2 * LANES)
    factor = np.zeros(LANES)
    for number in range(weights.shape[0]):
        energies[:] = 0
        fields[:] = 0
        strings[:] = 0
        for part in range(weights.shape[1]):
            weight = weights[number, part]
            if weight == 0:
                continue
            for place in range(half):
                energies[place] += weight * tables[part, place]
            for place in range(n_fields * LANES):
                fields[place] += weight * coefficients[part, place]
            for place in range(masks.size):
                for lane in range(LANES):
                    value = weight * coefficients[part, (n_fields + place) * LANES + lane]
                    strings[2 * place * LANES + lane] += value
                    strings[(2 * place + 1) * LANES + lane] -= value
        largest = 0.0
        for lane in range(LANES):
            norm = 0.0
            for place in range(lane, half, LANES):
                norm = max(norm, abs(energies[place]))
            for place in range(lane, n_fields * LANES, LANES):
                norm += abs(fields[place])
            for place in range(masks.size):
                norm += abs(strings[2 * place * LANES + lane])
            largest = max(largest, norm)
        # Long exponentials are cut, so that the terms of a series stay of the order of 1.
        n_parts = max(1, math.ceil(largest * abs(step) / 2))
        phase = largest * abs(step) / n_parts
        for _ in range(n_parts):
            rows[:size] = states
            old, new, order, bound = 0, size, 1, phase
            while bound > tolerance * max(0.0, 1 - phase / (order + 1)):
                factor[:] = step / n_parts / order
                product(
                    rows, new, old, old, True, factor, energies, damping, flips, fields,
                    masks, signs, turns, strings, dim,
                )  # fmt: skip
                for place in range(0, size, LANES):
                    store(states, place, add(load(states, place), load(rows, new + place)))
                old, new = new, old
                order += 1
                bound *= phase / order
