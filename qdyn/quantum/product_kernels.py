"""Compiled products with a Hamiltonian that is never a matrix: one step of the Chebyshev recurrence.

Every step is rows[new] = factor H rows[old] - rows[older], block by block, without the last term at the first
step; new, old and older are offsets into the flat workspace. The factor stands apart because couplings such
as 1 are then exact in single precision. Numbers lie as in `qdyn.dynamics.chebyshev.kernels`.
"""

# ruff: noqa: PLR0912, PLR0915, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

from typing import no_type_check

from qdyn.quantum.compiling import compiled
from qdyn.quantum.vectors import (
    add,
    block_width,
    exchange,
    flip,
    load_block,
    load_twice,
    multiply,
    multiply_add,
    multiply_subtract,
    parity,
    splat_block,
    store,
)


@compiled
@no_type_check
def apply(
    rows, new, old, older, begin, end, first, factor, diagonal, damping, tables, own, outer, inner
):  # fmt: skip
    """One step for the Hamiltonian number ``own`` of `OperatorTables`, from place ``begin`` to ``end``.

    With a diagonal Gamma it is H - i Gamma; ``damping`` is then Gamma, -Gamma by turns, (2 * 2**n_sites,),
    and else empty.
    """
    if tables.slot_of.size or tables.exchanges.shape[1]:
        apply_strings(
            rows, new, old, older, begin, end, first, factor,
            diagonal, damping, tables, tables.exchanges[own], outer, inner,
        )  # fmt: skip
    else:
        apply_flips(rows, new, old, older, begin, end, first, factor, diagonal, damping, tables.fields[own])


@compiled
@no_type_check
def prepare(tables, own, middle, diagonal, outer, inner):
    """Fill the workspaces that `apply` reads: the diagonal of H - middle and the factors of the strings."""
    walsh(tables.sign_masks, tables.couplings[own], diagonal.dtype.type(middle), diagonal)
    tabulate_strings(tables, tables.strings[own], block_width(diagonal), outer, inner)


@compiled
@no_type_check
def apply_flips(rows, new, old, older, begin, end, first, factor, diagonal, damping, fields):
    """H = a diagonal plus single-site flips.

    Args:
        diagonal: (2**n_sites,).
        fields: coefficients of X by bit, (n_sites,), at least 6.
    """
    width = block_width(rows)
    scale = splat_block(factor)
    field_0, field_1, field_2 = splat_block(fields[0]), splat_block(fields[1]), splat_block(fields[2])
    field_3, field_4, field_5 = splat_block(fields[3]), splat_block(fields[4]), splat_block(fields[5])
    inside = 6 if width > 64 else 5
    for start in range(begin, end, width):
        value = load_block(rows, old + start)
        total = multiply(load_twice(diagonal, start >> 1), value)
        if damping.size:
            total = multiply_add(load_block(damping, start), flip(value, 1), total)
        total = multiply_add(field_0, flip(value, 2), total)
        total = multiply_add(field_1, flip(value, 4), total)
        total = multiply_add(field_2, flip(value, 8), total)
        total = multiply_add(field_3, flip(value, 16), total)
        total = multiply_add(field_4, flip(value, 32), total)
        if inside == 6:
            total = multiply_add(field_5, flip(value, 64), total)
        for bit in range(inside, fields.size):
            there = old + (start ^ (2 << bit))
            total = multiply_add(splat_block(fields[bit]), load_block(rows, there), total)
        if first:
            store(rows, new + start, multiply(scale, total))
        else:
            store(rows, new + start, multiply_subtract(scale, total, load_block(rows, older + start)))


@compiled
@no_type_check
def apply_strings(
    rows, new, old, older, begin, end, first, factor, diagonal, damping, tables, exchanges, outer, inner
):  # fmt: skip
    """H = a diagonal plus any Pauli strings, those that flip the same bits together.

    Args:
        diagonal: (2**n_sites,).
        tables: where the strings are; see `OperatorTables`.
        exchanges: coefficients of exchanges, (5,) or none.
        outer: factors of the slots that move whole blocks, (slots * 2,), for even and odd parity.
        inner: factors of the others, (slots * 2 * lanes,).
    """
    outer_flips, outer_signs = tables.outer_flips, tables.outer_signs
    inner_flips, inner_signs = tables.inner_flips, tables.inner_signs
    classes, bounds = tables.classes, tables.bounds
    width = block_width(rows)
    scale = splat_block(factor)
    exchanging = exchanges.size > 0
    exchange_0 = splat_block(exchanges[0] if exchanging else factor)
    exchange_1 = splat_block(exchanges[1] if exchanging else factor)
    exchange_2 = splat_block(exchanges[2] if exchanging else factor)
    exchange_3 = splat_block(exchanges[3] if exchanging else factor)
    exchange_4 = splat_block(exchanges[4] if exchanging else factor)
    for start in range(begin, end, width):
        value = load_block(rows, old + start)
        total = multiply(load_twice(diagonal, start >> 1), value)
        if damping.size:
            total = multiply_add(load_block(damping, start), flip(value, 1), total)
        if exchanging:
            total = multiply_add(exchange_0, exchange(value, 2), total)
            total = multiply_add(exchange_1, exchange(value, 4), total)
            total = multiply_add(exchange_2, exchange(value, 8), total)
            total = multiply_add(exchange_3, exchange(value, 16), total)
            if width > 64:
                total = multiply_add(exchange_4, exchange(value, 32), total)
        for slot in range(outer_flips.size):
            source = start ^ outer_flips[slot]
            own = outer[2 * slot + parity(source & outer_signs[slot])]
            # XX + YY acts on half of the basis only.
            if own != 0:
                total = multiply_add(splat_block(own), load_block(rows, old + source), total)
        for number in range(classes.size):
            slot = bounds[number]
            source = start ^ inner_flips[slot]
            own = load_block(inner, (2 * slot + parity(source & inner_signs[slot])) * width)
            part = multiply(own, load_block(rows, old + source))
            for slot in range(bounds[number] + 1, bounds[number + 1]):
                source = start ^ inner_flips[slot]
                own = load_block(inner, (2 * slot + parity(source & inner_signs[slot])) * width)
                part = multiply_add(own, load_block(rows, old + source), part)
            lanes = classes[number]
            if lanes & 1:
                part = flip(part, 1)
            if lanes & 2:
                part = flip(part, 2)
            if lanes & 4:
                part = flip(part, 4)
            if lanes & 8:
                part = flip(part, 8)
            if lanes & 16:
                part = flip(part, 16)
            if lanes & 32:
                part = flip(part, 32)
            if width > 64 and lanes & 64:
                part = flip(part, 64)
            total = add(total, part)
        if first:
            store(rows, new + start, multiply(scale, total))
        else:
            store(rows, new + start, multiply_subtract(scale, total, load_block(rows, older + start)))


@compiled
@no_type_check
def tabulate_strings(tables, coefficients, width, outer, inner):
    """The factors of every slot, those outside the blocks first, for even and odd parity of their signs.

    Args:
        tables: where the strings are.
        coefficients: (strings,).
        width: lanes of a block.
        outer: to be filled; see `apply_strings`.
        inner: the same.
    """
    slot_of, signed, lane_signs = tables.slot_of, tables.signed, tables.lane_signs
    outer[:] = 0
    inner[:] = 0
    n_outer = outer.size // 2
    for term in range(slot_of.size):
        even = coefficients[term]
        odd = -even if signed[term] else even
        slot = slot_of[term] - n_outer
        if slot < 0:
            outer[2 * slot_of[term]] += even
            outer[2 * slot_of[term] + 1] += odd
            continue
        for lane in range(width):
            sign = 1 - 2 * parity(lane & lane_signs[term])
            inner[2 * slot * width + lane] += sign * even
            inner[(2 * slot + 1) * width + lane] += sign * odd


@compiled
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
