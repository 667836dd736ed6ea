"""Compiled sums of Chebyshev vectors: the states of a window from the basis of the window."""

# ruff: noqa: PLR0917 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

from typing import no_type_check

from qdyn.quantum.compiling import compiled
from qdyn.quantum.vectors import (
    add,
    alternate_strip,
    flip,
    load_strip,
    multiply,
    multiply_add,
    splat_strip,
    store,
    strip_width,
)

# Vectors of the recurrence in memory; they are combined when all are new, and the next ones replace them.
GROUP = 10

_CHUNK_BYTES = 2048


@compiled
@no_type_check
def row(order):
    """Where a vector is kept: the first two of a group replace those two before them, element by element."""
    return (order - 2 * (order // GROUP)) % GROUP


@compiled
@no_type_check
def finish_group(
    rows, pitch, group, weights, first, last, reaches, after, before, phases, out, size, begin, end, turns
):  # fmt: skip
    """Add a group of vectors to the states of a window that need it, entries first to last, begin to end.

    Those that need no more are multiplied by their phases.
    """
    active = unfinished = 0
    for entry in range(first, last):
        active += reaches[entry] > group
        unfinished += reaches[entry] > group + 1
    if not turns:
        unfinished = active
    # Chunk by chunk, so that the vectors are read from the nearest cache and the states in long runs.
    chunk = min(size, _CHUNK_BYTES // rows.itemsize)
    for start in range(begin, end, chunk):
        for entry in range(first, first + active):
            place_after = after[entry] * size + start if after[entry] >= 0 else -1
            place_before = before[entry] * size + start if before[entry] >= 0 else -1
            add_group(rows, pitch, group, start, chunk, weights[entry], out, place_after, place_before)
            if entry >= first + unfinished:
                _turn(out, place_after, chunk, phases[entry, 0], phases[entry, 1])
                _turn(out, place_before, chunk, phases[entry, 0], -phases[entry, 1])


@compiled
@no_type_check
def add_group(rows, pitch, group, start, chunk, weight, out, place_after, place_before):
    """Two states the same time after and before the centre grow by E - i O and E + i O.

    E and O are the weighted sums over the even and the odd vectors of the group; the first one begins them.
    Places of -1 stand for no state.
    """
    oldest, first = group * GROUP, group == 0
    one = rows.dtype.type(1.0)
    sign, opposite = alternate_strip(one), alternate_strip(-one)
    weight_0, weight_1 = splat_strip(weight[oldest]), splat_strip(weight[oldest + 1])
    weight_2, weight_3 = splat_strip(weight[oldest + 2]), splat_strip(weight[oldest + 3])
    weight_4, weight_5 = splat_strip(weight[oldest + 4]), splat_strip(weight[oldest + 5])
    weight_6, weight_7 = splat_strip(weight[oldest + 6]), splat_strip(weight[oldest + 7])
    weight_8, weight_9 = splat_strip(weight[oldest + 8]), splat_strip(weight[oldest + 9])
    place_0, place_1 = start + pitch * row(oldest), start + pitch * row(oldest + 1)
    place_2, place_3 = start + pitch * row(oldest + 2), start + pitch * row(oldest + 3)
    place_4, place_5 = start + pitch * row(oldest + 4), start + pitch * row(oldest + 5)
    place_6, place_7 = start + pitch * row(oldest + 6), start + pitch * row(oldest + 7)
    place_8, place_9 = start + pitch * row(oldest + 8), start + pitch * row(oldest + 9)
    for place in range(0, chunk, strip_width(rows)):
        even = multiply(weight_0, load_strip(rows, place_0 + place))
        odd = multiply(weight_1, load_strip(rows, place_1 + place))
        even = multiply_add(weight_2, load_strip(rows, place_2 + place), even)
        odd = multiply_add(weight_3, load_strip(rows, place_3 + place), odd)
        even = multiply_add(weight_4, load_strip(rows, place_4 + place), even)
        odd = multiply_add(weight_5, load_strip(rows, place_5 + place), odd)
        even = multiply_add(weight_6, load_strip(rows, place_6 + place), even)
        odd = multiply_add(weight_7, load_strip(rows, place_7 + place), odd)
        even = multiply_add(weight_8, load_strip(rows, place_8 + place), even)
        odd = multiply_add(weight_9, load_strip(rows, place_9 + place), odd)
        odd = flip(odd, 1)
        if place_after >= 0:
            state = multiply_add(sign, odd, even)
            if not first:
                state = add(state, load_strip(out, place_after + place))
            store(out, place_after + place, state)
        if place_before >= 0:
            state = multiply_add(opposite, odd, even)
            if not first:
                state = add(state, load_strip(out, place_before + place))
            store(out, place_before + place, state)


@compiled
@no_type_check
def _turn(out, start, chunk, cosine, sine):
    """Multiply by cosine - i sine."""
    if start >= 0:
        same, other = splat_strip(cosine), alternate_strip(sine)
        for place in range(start, start + chunk, strip_width(out)):
            state = load_strip(out, place)
            store(out, place, multiply_add(same, state, multiply(other, flip(state, 1))))
