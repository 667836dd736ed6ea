"""Compiled kernel for non-Hermitian evolution with jumps, trajectories side by side; imported when it runs.

See `qdyn.dynamics.lane_kernels` for how vectors lie in memory, and for a caution about numba's cache.
"""

# ruff: noqa: PLR0912, PLR0915, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from qdyn.dynamics.lane_kernels import GAP, LANES, add, load, multiply, multiply_add, product, store

# Floats between two vectors of a workspace.
PADDING = 24


@njit(nogil=True, cache=True)
@no_type_check
def _tabulate_bessel(weights, start, n_terms, x, scale):
    """weights[start + k LANES] = scale c_k J_k(x) by Miller's backward recurrence, c_0 = 1 and c_k = 2."""
    if x == 0:
        for order in range(n_terms):
            weights[start + order * LANES] = scale if order == 0 else 0.0
        return
    top = max(n_terms, int(x)) + 30 + int(6 * x ** (1 / 3))
    higher, current, norm = 0.0, 1e-280, 0.0
    for order in range(top, 0, -1):
        lower = 2 * order / x * current - higher
        higher, current = current, lower
        if order <= n_terms:
            weights[start + (order - 1) * LANES] = current
        if order % 2 == 1:
            norm += current if order == 1 else 2 * current
        if abs(current) > 1e200:
            higher, current, norm = higher * 1e-250, current * 1e-250, norm * 1e-250
            for column in range(order - 1, n_terms):
                weights[start + column * LANES] *= 1e-250
    for order in range(n_terms):
        weights[start + order * LANES] *= scale * (1 if order == 0 else 2) / norm


@njit(nogil=True, cache=True)
@no_type_check
def _combine(rows, n_terms, weights, first, last, nodes, pitch, norms, losses, loss, dim):
    """nodes[m] = sum_k weights[m, k] rows[k] for first <= m < last, with norms squared and means of ``loss``.

    Four basis states at a time, so that the vectors are read once from memory, whatever the number of nodes.
    """
    half, plane = dim * LANES, dim * LANES + GAP
    for node in range(first, last):
        for lane in range(LANES):
            norms[node * LANES + lane] = losses[node * LANES + lane] = 0.0
    for at in range(0, half, 4 * LANES):
        at_1, at_2, at_3 = at + LANES, at + 2 * LANES, at + 3 * LANES
        for node in range(first, last):
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
            _keep(nodes, here, at, plane, norms, losses, loss, node, re_0, im_0)
            _keep(nodes, here, at_1, plane, norms, losses, loss, node, re_1, im_1)
            _keep(nodes, here, at_2, plane, norms, losses, loss, node, re_2, im_2)
            _keep(nodes, here, at_3, plane, norms, losses, loss, node, re_3, im_3)


@njit(nogil=True, cache=True, inline="always")
@no_type_check
def _keep(nodes, here, at, plane, norms, losses, loss, node, re, im):
    store(nodes, here + at, re)
    store(nodes, here + plane + at, im)
    square = multiply_add(re, re, multiply(im, im))
    store(norms, node * LANES, add(load(norms, node * LANES), square))
    store(losses, node * LANES, multiply_add(load(loss, at), square, load(losses, node * LANES)))


@njit(nogil=True, cache=True)
@no_type_check
def _differentiate(weights, start, slope, n_terms, radius, shift):
    """weights[slope + k LANES]: the derivative in time of those at ``start``, whose argument is R t."""
    for order in range(n_terms):
        lower = weights[start + (order - 1) * LANES] / (1 if order == 1 else 2) if order > 0 else 0.0
        upper = weights[start + (order + 1) * LANES] / 2 if order + 1 < n_terms else 0.0
        # J_0' = -J_1 and J_k' = (J_{k-1} - J_{k+1}) / 2, with the factors c_0 = 1 and c_k = 2.
        change = -upper if order == 0 else lower - upper
        weights[slope + order * LANES] = radius * change - shift * weights[start + order * LANES]


@njit(nogil=True, cache=True)
@no_type_check
def _uniform(streams, lane):
    """The next number of a stream, uniform in (0, 1): splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    streams[lane] += np.uint64(0x9E3779B97F4A7C15)
    word = streams[lane]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return (np.float64(word >> np.uint64(11)) + 0.5) / 9007199254740992.0


@njit(nogil=True, cache=True)
@no_type_check
def _crossing(start, end, log_start, log_end, slope_start, slope_end, target):
    """Where the cubic through two values with two slopes, which falls, meets ``target``."""
    width = end - start
    low, high = 0.0, 1.0
    for _ in range(50):
        s = (low + high) / 2
        value = (1 + 2 * s) * (1 - s) ** 2 * log_start + s * (1 - s) ** 2 * width * slope_start
        value += s * s * (3 - 2 * s) * log_end + s * s * (s - 1) * width * slope_end
        if value > target:
            low = s
        else:
            high = s
    return start + width * (low + high) / 2


@njit(nogil=True, cache=True)
@no_type_check
def _jump(nodes, here, rows, lane, dim, jump_bits, jump_weights, jump_matrices, draw, scratch):
    """Choose a jump by its probability, apply it to one lane of ``nodes`` and leave it in rows[0]."""
    plane = dim * LANES + GAP
    for place in range(dim):
        at = here + place * LANES + lane
        scratch[place] = nodes[at] ** 2 + nodes[at + plane] ** 2
    length = dim // 2
    populations = np.zeros((64, 2))
    level = 0
    while length > 0:
        for place in range(length):
            populations[level, 0] += scratch[place]
            populations[level, 1] += scratch[length + place]
            scratch[place] += scratch[length + place]
        length //= 2
        level += 1
    total = 0.0
    for number in range(jump_bits.size):
        level, bit = 0, dim // 2
        while bit != jump_bits[number]:
            level, bit = level + 1, bit // 2
        total += jump_weights[number, 0] * populations[level, 0]
        total += jump_weights[number, 1] * populations[level, 1]
    chosen, reached = -1, 0.0
    for number in range(jump_bits.size):
        level, bit = 0, dim // 2
        while bit != jump_bits[number]:
            level, bit = level + 1, bit // 2
        own = jump_weights[number, 0] * populations[level, 0]
        own += jump_weights[number, 1] * populations[level, 1]
        reached += own
        if own > 0:
            chosen = number
            if reached >= draw * total:
                break
    bit = jump_bits[chosen]
    matrix = jump_matrices[chosen]
    norm = 0.0
    for place in range(dim):
        if place & bit:
            continue
        up, down = here + place * LANES + lane, here + (place | bit) * LANES + lane
        a, b = complex(nodes[up], nodes[up + plane]), complex(nodes[down], nodes[down + plane])
        c, d = matrix[0, 0] * a + matrix[0, 1] * b, matrix[1, 0] * a + matrix[1, 1] * b
        up, down = up - here, down - here
        rows[up], rows[up + plane] = c.real, c.imag
        rows[down], rows[down + plane] = d.real, d.imag
        norm += c.real**2 + c.imag**2 + d.real**2 + d.imag**2
    scale = 1 / math.sqrt(norm)
    for place in range(lane, plane + dim * LANES, LANES):
        rows[place] *= scale
    return chosen


@njit(nogil=True, cache=True)
@no_type_check
def follow(
    members, seeds, initial, times, out, first_index, n_jumps, radii, middles, lengths, spans,
    energies, damping, shift, flips, coefficients, masks, signs, turns,
    jump_bits, jump_weights, jump_matrices, rows, nodes, dim,
):  # fmt: skip
    """Follow trajectories of H - i (Gamma + shift) through all times, and jump where norms meet chance.

    Without jumps (no jump_bits) the vectors are not normalised; the solution is then linear in the start.

    Args:
        members: indices of the trajectories; each takes the next free lane.
        seeds: start of each trajectory's random stream, uint64.
        initial: initial states, (trajectories or 1, 2, dim).
        times: increasing times > 0.
        out: real view of the states to come, (trajectories, first_index + times, 2 * at most dim).
        first_index: where the state at the first time belongs.
        n_jumps: number of jumps of each trajectory, to be filled.
        radii: half widths R of the spectra of H, (Hamiltonians,): 1, or one a trajectory, as below.
        middles: their middles, not contained in the energies.
        lengths: number of Chebyshev vectors of a window.
        spans: duration of a window.
        energies: (Hamiltonians, dim).
        damping: diagonal of Gamma, (dim,).
        coefficients: of the flips, then of the strings, (Hamiltonians, flips + strings).
        jump_bits: bit of the site that each jump acts on.
        jump_weights: diagonal of L^H L of each jump, (jumps, 2).
        jump_matrices: L, (jumps, 2, 2), complex.
        rows: workspace, PADDING floats beyond each vector, for as many as the longest window has.
        nodes: workspace for the states of a window and two more.
    """
    half, plane, size = dim * LANES, dim * LANES + GAP, 2 * (dim * LANES + GAP)
    # Vectors a power of two apart would share cache sets.
    pitch = size + PADDING
    n_fields = flips.size
    jumping = jump_bits.size > 0
    # The last two nodes are for jumps.
    most = nodes.size // pitch - 2
    longest = rows.size // pitch
    lane_energies, lane_damping, loss = np.zeros(half), np.zeros(half), np.zeros(half)
    fields, strings = np.zeros(max(1, n_fields) * LANES), np.zeros(max(1, masks.size) * 2 * LANES)
    factor = np.zeros(LANES)
    weights = np.zeros((most + 2) * longest * LANES)
    norms, losses = np.zeros((most + 2) * LANES), np.zeros((most + 2) * LANES)
    offsets = np.zeros((most + 1, LANES))
    streams = np.zeros(LANES, np.uint64)
    scratch = np.zeros(dim)
    member, upcoming = np.full(LANES, -1), np.zeros(LANES, np.int64)
    counts, jump_node = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    now, target, norm_now, loss_now = np.zeros(LANES), np.zeros(LANES), np.ones(LANES), np.zeros(LANES)
    radius, own = np.ones(LANES), np.zeros(LANES, np.int64)
    begins, ends = np.zeros(LANES), np.zeros(LANES)
    for row in range(dim):
        for lane in range(LANES):
            lane_damping[row * LANES + lane] = damping[row]
            loss[row * LANES + lane] = damping[row] + shift
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
                norm_now[lane] = loss_now[lane] = 0.0
                for row in range(dim):
                    at = row * LANES + lane
                    rows[at], rows[plane + at] = initial[start, 0, row], initial[start, 1, row]
                    lane_energies[at] = energies[own[lane], row]
                    square = rows[at] ** 2 + rows[plane + at] ** 2
                    norm_now[lane] += square
                    loss_now[lane] += square * (damping[row] + shift)
                for place in range(n_fields):
                    fields[place * LANES + lane] = coefficients[own[lane], place]
                for place in range(masks.size):
                    value = coefficients[own[lane], n_fields + place]
                    strings[2 * place * LANES + lane] = value
                    strings[(2 * place + 1) * LANES + lane] = -value
                radius[lane] = radii[own[lane]]
                streams[lane] = seeds[number]
                target[lane] = _uniform(streams, lane) if jumping else -1.0
                n_jumps[number] = 0
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
        _combine(rows, n_terms, weights, 0, n_nodes, nodes, pitch, norms, losses, loss, dim)
        n_jumping = 0
        for lane in range(LANES):
            jump_node[lane] = -1
            if member[lane] < 0:
                continue
            begin = 0.0
            accepted = -1
            for node in range(max(1, counts[lane])):
                norm, lost = norms[node * LANES + lane], losses[node * LANES + lane]
                if norm <= target[lane]:
                    offsets[most, lane] = _crossing(
                        begin, offsets[node, lane], math.log(norm_now[lane]), math.log(norm),
                        -2 * loss_now[lane] / norm_now[lane], -2 * lost / norm, math.log(target[lane]),
                    )  # fmt: skip
                    jump_node[lane] = node
                    begins[lane], ends[lane] = begin, offsets[node, lane]
                    n_jumping += 1
                    break
                accepted = node
                begin, norm_now[lane], loss_now[lane] = offsets[node, lane], norm, lost
                if counts[lane] > 0:
                    index = upcoming[lane] + node
                    angle = middles[own[lane]] * times[index]
                    scale = 1 / math.sqrt(norm) if jumping else 1.0
                    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
                    state = out[member[lane], first_index + index]
                    for row in range(state.size // 2):
                        re = nodes[node * pitch + row * LANES + lane]
                        im = nodes[node * pitch + plane + row * LANES + lane]
                        state[2 * row], state[2 * row + 1] = cosine * re + sine * im, cosine * im - sine * re
            offsets[0, lane] = offsets[max(0, accepted), lane] if accepted >= 0 else 0.0
            counts[lane], upcoming[lane] = accepted, upcoming[lane] + (accepted + 1 if counts[lane] else 0)
        if n_jumping:
            # The state and its derivative at the cubic's guess, then one Newton step on the norm's logarithm.
            for lane in range(LANES):
                first = most * n_terms * LANES + lane
                slope = first + n_terms * LANES
                for order in range(2 * n_terms):
                    weights[first + order * LANES] = 0.0
                if jump_node[lane] >= 0:
                    x = radius[lane] * offsets[most, lane]
                    scale = math.exp(-shift * offsets[most, lane])
                    _tabulate_bessel(weights, first, lengths[own[lane]], x, scale)
                    _differentiate(weights, first, slope, lengths[own[lane]], radius[lane], shift)
            _combine(rows, n_terms, weights, most, most + 2, nodes, pitch, norms, losses, loss, dim)
            for lane in range(LANES):
                if jump_node[lane] < 0:
                    continue
                norm, lost = norms[most * LANES + lane], losses[most * LANES + lane]
                guess = offsets[most, lane]
                ahead = (math.log(norm) - math.log(target[lane])) * norm / (2 * lost)
                offsets[most, lane] = min(ends[lane], max(begins[lane], guess + ahead))
                ahead = offsets[most, lane] - guess
                for place in range(most * pitch + lane, most * pitch + size, LANES):
                    nodes[place] += ahead * nodes[place + pitch]
        for lane in range(LANES):
            if member[lane] < 0:
                continue
            if jump_node[lane] >= 0:
                _jump(
                    nodes, most * pitch, rows, lane, dim, jump_bits, jump_weights, jump_matrices,
                    _uniform(streams, lane), scratch,
                )  # fmt: skip
                now[lane] += offsets[most, lane]
                target[lane] = _uniform(streams, lane)
                n_jumps[member[lane]] += 1
                norm_now[lane], loss_now[lane] = 0.0, 0.0
                for place in range(lane, half, LANES):
                    square = rows[place] ** 2 + rows[plane + place] ** 2
                    norm_now[lane] += square
                    loss_now[lane] += square * loss[place]
            else:
                node = counts[lane]
                for place in range(lane, size, LANES):
                    rows[place] = nodes[node * pitch + place]
                now[lane] += offsets[0, lane]
            if upcoming[lane] >= times.size:
                member[lane] = -1
