"""Compiled Chebyshev series of the Lindblad equation, trajectories side by side; imported when it runs.

See `qdyn.dynamics.lane_kernels` for how vectors lie in memory.
"""

# ruff: noqa: PLR0912, PLR0915, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from qdyn.dynamics.chebyshev.bessel_kernels import fill_bessel
from qdyn.dynamics.lane_kernels import GAP, LANES, load, multiply, multiply_add, product, store
from qdyn.quantum.compiling import compiled

# Floats between two vectors of a workspace.
PADDING = 24


@compiled
@no_type_check
def _tabulate_bessel(weights, start, n_terms, x, scale):
    """weights[start + k LANES] = scale c_k J_k(x), c_0 = 1 and c_k = 2."""
    terms = weights[start : start + n_terms * LANES : LANES]
    fill_bessel(terms, x)
    terms *= 2 * scale
    terms[0] /= 2


@compiled
@no_type_check
def _combine(rows, n_terms, weights, n_nodes, nodes, pitch, dim):
    """nodes[m] = sum_k weights[m, k] rows[k] for m < n_nodes.

    Four basis states at a time, so that the vectors are read once from memory, whatever the number of nodes.
    """
    half, plane = dim * LANES, dim * LANES + GAP
    for at in range(0, half, 4 * LANES):
        at_1, at_2, at_3 = at + LANES, at + 2 * LANES, at + 3 * LANES
        for node in range(n_nodes):
            start = node * n_terms * LANES
            weight = load(weights, start)
            re_0, im_0 = multiply(weight, load(rows, at)), multiply(weight, load(rows, plane + at))
            re_1, im_1 = multiply(weight, load(rows, at_1)), multiply(weight, load(rows, plane + at_1))
            re_2, im_2 = multiply(weight, load(rows, at_2)), multiply(weight, load(rows, plane + at_2))
            re_3, im_3 = multiply(weight, load(rows, at_3)), multiply(weight, load(rows, plane + at_3))
            for order in range(1, n_terms):
                weight = load(weights, start + order * LANES)
                real, imaginary = order * pitch, order * pitch + plane
                re_0 = multiply_add(weight, load(rows, real + at), re_0)
                im_0 = multiply_add(weight, load(rows, imaginary + at), im_0)
                re_1 = multiply_add(weight, load(rows, real + at_1), re_1)
                im_1 = multiply_add(weight, load(rows, imaginary + at_1), im_1)
                re_2 = multiply_add(weight, load(rows, real + at_2), re_2)
                im_2 = multiply_add(weight, load(rows, imaginary + at_2), im_2)
                re_3 = multiply_add(weight, load(rows, real + at_3), re_3)
                im_3 = multiply_add(weight, load(rows, imaginary + at_3), im_3)
            here = node * pitch
            store(nodes, here + at, re_0)
            store(nodes, here + at_1, re_1)
            store(nodes, here + at_2, re_2)
            store(nodes, here + at_3, re_3)
            store(nodes, here + plane + at, im_0)
            store(nodes, here + plane + at_1, im_1)
            store(nodes, here + plane + at_2, im_2)
            store(nodes, here + plane + at_3, im_3)


@compiled
@no_type_check
def follow(
    members, initial, times, out, first_index, radii, lengths, spans,
    energies, damping, shift, flips, coefficients, masks, signs, turns, rows, nodes, dim,
):  # fmt: skip
    """Follow vectors that obey d rho / dt = -i (G - i shift) rho through all times.

    Args:
        members: indices of the trajectories; each takes the next free lane.
        initial: initial vectors, (trajectories or 1, 2, dim).
        times: increasing times > 0.
        out: real view of the vectors to come, (trajectories, first_index + times, 2 * at most dim).
        first_index: where the vector at the first time belongs.
        radii: half widths R of the spectra, (Hamiltonians,): 1, or one a trajectory, as below.
        lengths: number of Chebyshev vectors of a window.
        spans: duration of a window.
        energies: (Hamiltonians, dim).
        damping: diagonal of the anti-Hermitian part without the shift, (dim,).
        coefficients: of the flips, then of the strings, (Hamiltonians, flips + strings).
        rows: workspace, PADDING floats beyond each vector, for as many as the longest window has.
        nodes: workspace for the states of a window.
        dim: number of entries of a vector.
    """
    half, plane, size = dim * LANES, dim * LANES + GAP, 2 * (dim * LANES + GAP)
    # Vectors a power of two apart would share cache sets.
    pitch = size + PADDING
    n_fields = flips.size
    most, longest = nodes.size // pitch, rows.size // pitch
    lane_energies, lane_damping = np.zeros(half), np.zeros(half)
    fields, strings = np.zeros(max(1, n_fields) * LANES), np.zeros(max(1, masks.size) * 2 * LANES)
    factor, weights, offsets = np.zeros(LANES), np.zeros(most * longest * LANES), np.zeros((most, LANES))
    member, upcoming = np.full(LANES, -1), np.zeros(LANES, np.int64)
    counts, own = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    now, radius = np.zeros(LANES), np.ones(LANES)
    for row in range(dim):
        for lane in range(LANES):
            lane_damping[row * LANES + lane] = damping[row]
    position = 0
    while True:
        n_active = 0
        for lane in range(LANES):
            if member[lane] < 0 and position < members.size:
                number = members[position]
                position += 1
                member[lane], now[lane], upcoming[lane] = number, 0.0, 0
                own[lane] = number if radii.size > 1 else 0
                start = number if initial.shape[0] > 1 else 0
                for row in range(dim):
                    at = row * LANES + lane
                    rows[at], rows[plane + at] = initial[start, 0, row], initial[start, 1, row]
                    lane_energies[at] = energies[own[lane], row]
                for place in range(n_fields):
                    fields[place * LANES + lane] = coefficients[own[lane], place]
                for place in range(masks.size):
                    value = coefficients[own[lane], n_fields + place]
                    strings[2 * place * LANES + lane] = value
                    strings[(2 * place + 1) * LANES + lane] = -value
                radius[lane] = radii[own[lane]]
            n_active += member[lane] >= 0
        if n_active == 0:
            return
        n_terms, n_nodes = 2, 1
        for lane in range(LANES):
            counts[lane] = 0
            if member[lane] < 0:
                continue
            n_terms = max(n_terms, lengths[own[lane]])
            span = spans[own[lane]]
            index = upcoming[lane]
            while index < times.size and counts[lane] < most and times[index] - now[lane] <= span:
                offsets[counts[lane], lane] = times[index] - now[lane]
                counts[lane] += 1
                index += 1
            if counts[lane] == 0:
                offsets[0, lane] = span
            n_nodes = max(n_nodes, counts[lane])
        for node in range(n_nodes):
            for lane in range(LANES):
                first = node * n_terms * LANES + lane
                for order in range(n_terms):
                    weights[first + order * LANES] = 0.0
                if member[lane] >= 0 and node < max(1, counts[lane]):
                    x = radius[lane] * offsets[node, lane]
                    scale = math.exp(-shift * offsets[node, lane])
                    _tabulate_bessel(weights, first, lengths[own[lane]], x, scale)
        for order in range(1, n_terms):
            for lane in range(LANES):
                factor[lane] = (1 if order == 1 else 2) / radius[lane]
            product(
                rows, order * pitch, (order - 1) * pitch, (order - 2) * pitch, order == 1, factor,
                lane_energies, lane_damping, flips, fields, masks, signs, turns, strings, dim,
            )  # fmt: skip
        _combine(rows, n_terms, weights, n_nodes, nodes, pitch, dim)
        for lane in range(LANES):
            if member[lane] < 0:
                continue
            for node in range(counts[lane]):
                state = out[member[lane], first_index + upcoming[lane] + node]
                for row in range(state.size // 2):
                    at = node * pitch + row * LANES + lane
                    state[2 * row], state[2 * row + 1] = nodes[at], nodes[plane + at]
            last = max(0, counts[lane] - 1)
            for place in range(lane, size, LANES):
                rows[place] = nodes[last * pitch + place]
            now[lane] += offsets[last, lane]
            upcoming[lane] += counts[lane]
            if upcoming[lane] >= times.size:
                member[lane] = -1
