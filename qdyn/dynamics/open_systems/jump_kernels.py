"""Compiled quantum jumps: Chebyshev series of H - i Gamma from jump to jump; imported when it runs.

Numbers lie as in `qdyn.dynamics.chebyshev.kernels`. A window starts where a trajectory stands and gives the
states at the next few times. Where a norm has fallen below chance, a short series from the last state before
finds the moment, and the state there jumps.
"""

# ruff: noqa: PLR0912, PLR0915, PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from qdyn.dynamics.chebyshev.bessel_kernels import fill_bessel
from qdyn.dynamics.chebyshev.combination_kernels import GROUP, add_group, row
from qdyn.quantum.compiling import compiled
from qdyn.quantum.product_kernels import apply, prepare
from qdyn.quantum.vectors import (
    block_width,
    load_block,
    load_twice,
    multiply,
    multiply_add,
    splat_block,
    store,
)

# By how much a window outlasts the jump that is expected in it.
_FORESIGHT = 1.15
# A phase so short that two terms of its series are enough, and how often the moment of a jump is improved.
_CLOSE, _MOST_GUESSES = 1e-5, 6


@compiled
@no_type_check
def _tabulate(weights, slope, orders, radius, shift, offset, growth, tolerance, bessels):
    """Fill in c_k i^(k - k mod 2) J_k(R t) exp(-s t), and its derivative in t unless ``slope`` is empty.

    Returns how many are needed: what is left out, with |T_k| <= (1 + sqrt 2) growth^k, stays below tolerance.
    """
    bessels[orders:] = 0.0
    fill_bessel(bessels[:orders], radius * offset)
    scale = math.exp(-shift * offset)
    for order in range(orders):
        sign = (scale if order == 0 else 2 * scale) * (1 - 2 * (order // 2 % 2))
        weights[order] = sign * bessels[order]
        if slope.size:
            lower = -bessels[1] if order == 0 else bessels[order - 1]
            upper = bessels[order + 1] if order + 1 < orders else 0.0
            slope[order] = sign * (radius * (lower - upper) / 2 - shift * bessels[order])
    reach, left_out, bound = orders, 0.0, (1 + math.sqrt(2.0)) * growth ** (orders - 1)
    while reach > 2:
        left_out += bound * abs(weights[reach - 1])
        if left_out > tolerance:
            break
        reach -= 1
        bound /= growth
    for order in range(reach, weights.size):
        weights[order] = 0.0
        if slope.size:
            slope[order] = 0.0
    return reach


@compiled
@no_type_check
def _expand(
    rows, pitch, size, weights, reaches, first, last, nodes, radius,
    diagonal, damping, tables, own, outer, inner,
):  # fmt: skip
    """Nodes m, from first to last, become sum_k weights[m, k] v_k, with v_0 in the first row."""
    n_vectors = 0
    for node in range(first, last):
        n_vectors = max(n_vectors, reaches[node])
    chunk = min(size, 256)
    for order in range(n_vectors):
        if order > 0:
            apply(
                rows, row(order) * pitch, row(order - 1) * pitch, row(order - 2) * pitch, 0, size, order == 1,
                (1 if order == 1 else 2) / radius, diagonal, damping, tables, own, outer, inner,
            )  # fmt: skip
        if order % GROUP == GROUP - 1 or order == n_vectors - 1:
            group = order // GROUP
            for start in range(0, size, chunk):
                for node in range(first, last):
                    if reaches[node] > group * GROUP:
                        place = node * pitch + start
                        add_group(rows, pitch, group, start, chunk, weights[node], nodes, place, -1)


@compiled
@no_type_check
def _norm_and_loss(vectors, begin, size, loss, sums):
    """|psi|^2 and <psi| Gamma |psi>, lanes first, so that the sum does not wait for itself."""
    width = block_width(vectors)
    norm = splat_block(0.0)
    lost = splat_block(0.0)
    for start in range(0, size, width):
        value = load_block(vectors, begin + start)
        norm = multiply_add(value, value, norm)
        lost = multiply_add(multiply(load_twice(loss, start >> 1), value), value, lost)
    store(sums, 0, norm)
    store(sums, width, lost)
    total, other = 0.0, 0.0
    for lane in range(width):
        total += sums[lane]
        other += sums[width + lane]
    return total, other


@compiled
@no_type_check
def _uniform(streams, number):
    """The next number of a stream, uniform in (0, 1): splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    streams[number] += np.uint64(0x9E3779B97F4A7C15)
    word = streams[number]
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return (np.float64(word >> np.uint64(11)) + 0.5) / 9007199254740992.0


@compiled
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


@compiled
@no_type_check
def _jump(vectors, here, rows, dim, jump_bits, jump_weights, jump_matrices, draw, scratch, populations):
    """Choose a jump by its probability, and leave the state after it, normalised, in the first row."""
    for place in range(dim):
        scratch[place] = vectors[here + 2 * place] ** 2 + vectors[here + 2 * place + 1] ** 2
    populations[:] = 0.0
    length, level = dim // 2, 0
    while length > 0:
        low, high = 0.0, 0.0
        for place in range(length):
            low += scratch[place]
            high += scratch[length + place]
            scratch[place] += scratch[length + place]
        populations[level, 0], populations[level, 1] = low, high
        length //= 2
        level += 1
    total = 0.0
    for number in range(jump_bits.size):
        total += _probability(number, dim, jump_bits, jump_weights, populations)
    chosen, reached = -1, 0.0
    for number in range(jump_bits.size):
        own = _probability(number, dim, jump_bits, jump_weights, populations)
        reached += own
        if own > 0:
            chosen = number
            if reached >= draw * total:
                break
    bit, matrix = jump_bits[chosen], jump_matrices[chosen]
    scale = 1 / math.sqrt(_probability(chosen, dim, jump_bits, jump_weights, populations))
    for place in range(dim):
        if place & bit:
            continue
        up, down = 2 * place, 2 * (place | bit)
        a = complex(vectors[here + up], vectors[here + up + 1])
        b = complex(vectors[here + down], vectors[here + down + 1])
        c, d = matrix[0, 0] * a + matrix[0, 1] * b, matrix[1, 0] * a + matrix[1, 1] * b
        rows[up], rows[up + 1] = scale * c.real, scale * c.imag
        rows[down], rows[down + 1] = scale * d.real, scale * d.imag


@compiled
@no_type_check
def _probability(number, dim, jump_bits, jump_weights, populations):
    """<psi| L^H L |psi> of one jump, from the weights of both halves of the basis for every bit."""
    level, bit = 0, dim // 2
    while bit != jump_bits[number]:
        level, bit = level + 1, bit // 2
    return jump_weights[number, 0] * populations[level, 0] + jump_weights[number, 1] * populations[level, 1]


@compiled
@no_type_check
def _keep(state, vectors, begin, factor, angle):
    """Write factor exp(-i angle) psi in the precision of ``state``."""
    cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
    for place in range(0, state.size, 2):
        re, im = vectors[begin + place], vectors[begin + place + 1]
        state[place], state[place + 1] = cosine * re + sine * im, cosine * im - sine * re


@compiled
@no_type_check
def follow(
    members, seeds, initial, times, out, first_index, n_jumps, tables, middles, radii, lengths, spans,
    tolerances, growths, damping, loss, shift, jump_bits, jump_weights, jump_matrices,
    rows, pitch, nodes, weights, diagonal, outer, inner,
):  # fmt: skip
    """Follow trajectories of H - i (Gamma + shift) through all times, and jump where norms meet chance.

    Args:
        members: indices of the trajectories.
        seeds: start of each trajectory's random stream, uint64.
        initial: real view of the initial states, (trajectories or 1, 2 dim).
        times: increasing times > 0.
        out: real view of the states to come, (trajectories, first_index + times, at most 2 dim).
        first_index: where the state at the first time belongs.
        n_jumps: number of jumps of each trajectory, to be filled.
        tables: the Hamiltonians, an `OperatorTables`.
        middles: middles of their spectra, (trajectories or 1,), as the next five.
        radii: R, half the widths.
        lengths: largest number of vectors of a window, below the columns of ``weights``.
        spans: duration of a window.
        tolerances: largest norm of what the series of a window leave out.
        growths: see `_tabulate`.
        damping: Gamma as `product_kernels.apply` reads it.
        loss: Gamma + shift, (dim,).
        jump_bits: bit of the site that each jump acts on.
        jump_weights: diagonal of L^H L of each jump, (jumps, 2).
        jump_matrices: L, (jumps, 2, 2), complex.
        rows: zeroed workspace, GROUP rows, ``pitch`` apart.
        nodes: workspace for the states of a window and three more, ``pitch`` apart.
        weights: workspace, (states of a window and two more, whole groups of vectors).
        diagonal: workspace, as outer and inner; see `KernelOperator.workspaces`.
    """
    size, dim = initial.shape[1], initial.shape[1] // 2
    # Two nodes more are for jumps, and a third for the start of a window.
    most = weights.shape[0] - 2
    reaches = np.zeros(most + 2, np.int64)
    offsets, known = np.zeros(most + 2), np.full(most + 2, -1.0)
    bessels, scratch, sums = np.zeros(weights.shape[1]), np.zeros(dim), np.zeros(2 * block_width(rows))
    populations, streams = np.zeros((64, 2)), np.zeros(1, np.uint64)
    no_slope = np.zeros(0)
    jumping = jump_bits.size > 0
    prepared = -1
    for member in members:
        own = member if middles.size > 1 else 0
        if prepared != own:
            prepared = own
            prepare(tables, own, middles[own], diagonal, outer, inner)
            known[:] = -1.0
        radius, growth, tolerance = radii[own], growths[own], tolerances[own]
        # Offsets that differ by rounding share a table, whose offset does not depend on who asked first.
        unit = 1e-14 / radius
        origin = initial[member if initial.shape[0] > 1 else 0]
        for place in range(size):
            rows[place] = origin[place]
        streams[0] = seeds[member]
        target = _uniform(streams, 0) if jumping else -1.0
        norm_now, loss_now = _norm_and_loss(rows, 0, size, loss, sums)
        now, index, count = 0.0, 0, 0
        while index < times.size:
            # States after the jump that the loss foretells would be in vain.
            ahead = spans[own]
            if jumping and loss_now > 0:
                ahead = min(ahead, _FORESIGHT * math.log(norm_now / target) * norm_now / (2 * loss_now))
            n_stored = 0
            while index + n_stored < times.size and n_stored < most:
                offset = times[index + n_stored] - now
                if offset > spans[own] or (n_stored > 0 and offsets[n_stored - 1] > ahead):
                    break
                offsets[n_stored] = offset
                n_stored += 1
            if n_stored == 0:
                offsets[0] = spans[own]
            n_nodes = max(1, n_stored)
            for node in range(n_nodes):
                rounded = np.rint(offsets[node] / unit) * unit
                if known[node] != rounded:
                    known[node] = rounded
                    reaches[node] = _tabulate(
                        weights[node], no_slope, lengths[own], radius, shift, rounded, growth,
                        tolerance, bessels,
                    )  # fmt: skip
            # The start of the window is needed again if the first state finds a jump.
            for place in range(size):
                nodes[(most + 2) * pitch + place] = rows[place]
            _expand(
                rows, pitch, size, weights, reaches, 0, n_nodes, nodes, radius,
                diagonal, damping, tables, own, outer, inner,
            )  # fmt: skip
            begin, before, crossed = 0.0, most + 2, False
            for node in range(n_nodes):
                norm, lost = _norm_and_loss(nodes, node * pitch, size, loss, sums)
                if norm <= target:
                    crossed = True
                    guess = _crossing(
                        begin, offsets[node], math.log(norm_now), math.log(norm),
                        -2 * loss_now / norm_now, -2 * lost / norm, math.log(target),
                    )  # fmt: skip
                    end = offsets[node]
                    break
                begin, before, norm_now, loss_now = offsets[node], node, norm, lost
                if n_stored:
                    _keep(
                        out[member, first_index + index], nodes, node * pitch,
                        1 / math.sqrt(norm) if jumping else 1.0, middles[own] * times[index],
                    )  # fmt: skip
                    index += 1
            if not crossed:
                for place in range(size):
                    rows[place] = nodes[before * pitch + place]
                now = times[index - 1] if n_stored else now + begin
                continue
            # The state and its derivative at the cubic's guess; Newton's method on the norm's logarithm.
            for _ in range(_MOST_GUESSES):
                for place in range(size):
                    rows[place] = nodes[before * pitch + place]
                reaches[most] = reaches[most + 1] = _tabulate(
                    weights[most], weights[most + 1], lengths[own], radius, shift, guess - begin, growth,
                    tolerance, bessels,
                )  # fmt: skip
                _expand(
                    rows, pitch, size, weights, reaches, most, most + 2, nodes, radius,
                    diagonal, damping, tables, own, outer, inner,
                )  # fmt: skip
                norm, lost = _norm_and_loss(nodes, most * pitch, size, loss, sums)
                moment = guess + (math.log(norm) - math.log(target)) * norm / (2 * lost)
                moment = min(end, max(begin, moment))
                remainder = moment - guess
                if radius * abs(remainder) < _CLOSE:
                    break
                guess = moment
            for place in range(most * pitch, most * pitch + size):
                nodes[place] += remainder * nodes[place + pitch]
            _jump(
                nodes, most * pitch, rows, dim, jump_bits, jump_weights, jump_matrices,
                _uniform(streams, 0), scratch, populations,
            )  # fmt: skip
            now += moment
            target = _uniform(streams, 0)
            count += 1
            norm_now, loss_now = _norm_and_loss(rows, 0, size, loss, sums)
        n_jumps[member] = count
