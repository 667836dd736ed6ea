"""Compiled heart of the Chebyshev method; imported only when it runs.

A state of n sites is a row of 2 * 2**n real numbers, real and imaginary parts next to each other, as torch
stores it. Bit 0 of a position in the row tells real from imaginary, bit q + 1 is bit q of the basis index.
"""

# ruff: noqa: PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

import math
from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qdyn.dynamics.chebyshev.combination_kernels import GROUP, finish_group, row
from qdyn.quantum.compiling import compiled
from qdyn.quantum.product_kernels import apply, prepare

# Places that no two threads of a team share.
_SHARE = 1024
# Looks at a barrier before a thread lets others run.
_SPINS = 4000


@intrinsic
@no_type_check
def _arrive(typing_context, barrier):
    """Add 1 to the number, seen by every thread, of arrivals at a barrier."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "acq_rel")
        return context.get_dummy_value()

    return types.none(barrier), generate


@intrinsic
@no_type_check
def _arrivals(typing_context, barrier):
    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(data, "acquire", 8)

    return types.int64(barrier), generate


_yield_processor = types.ExternalFunction("sched_yield", types.intc())


@compiled
@no_type_check
def _meet(barrier, team, meetings):
    """Wait until every thread of the team is here for the ``meetings``-th time; returns the next number."""
    if team > 1:
        _arrive(barrier)
        spins = 0
        while _arrivals(barrier) < team * meetings:
            spins += 1
            if spins > _SPINS:
                _yield_processor()
    return meetings + 1


@compiled
@no_type_check
def evolve(
    rank, team, barrier, members, initial, out, rows, pitch, diagonal, outer, inner, phases, tables, middles,
    factor, sources, lengths, starts, reaches, weights, after, before, distances,
):  # fmt: skip
    """Follow some trajectories through a plan's windows.

    A team of threads may follow each trajectory together, each thread its own share of the places.

    Args:
        rank: number of this thread in its team.
        team: threads that call with the same arguments, all but `rank`.
        barrier: one zero that they share, int64.
        members: indices of the trajectories.
        initial: real view of the initial states, (trajectories or 1, 2 dim).
        out: real view of the states to come, (trajectories, times * 2 dim).
        rows: zeroed workspace, GROUP rows, `pitch` apart.
        diagonal: workspace, as outer and inner; see `KernelOperator.workspaces`.
        phases: workspace, (entries, 2).
        tables: the Hamiltonians, an `OperatorTables`.
        middles: middles of the spectra, (trajectories or 1,), float64.
        factor: 2 / (half the width of the spectrum).
        sources: for each window the index of the state at its centre in `out`; -1 for the initial state.
        lengths: for each window the number of vectors.
        starts: for each window its first entry in the lists that follow; one more at the end.
        reaches: groups of vectors that an entry needs, not increasing within a window.
        weights: for each entry the factors of the vectors, padded with zeros to whole groups.
        after: index in `out` of the state at this distance after the centre, or -1.
        before: the same before the centre.
        distances: for each entry the distance in time.
    """
    size = initial.shape[1]
    half = rows.dtype.type(0.5) * factor
    n_shares = size // _SHARE
    begin = n_shares * rank // team * _SHARE
    end = size if rank == team - 1 else n_shares * (rank + 1) // team * _SHARE
    meetings, prepared = 1, -1
    for member in members:
        own = member if middles.size > 1 else 0
        middle = middles[own]
        if prepared != own:
            prepared = own
            if rank == 0:
                prepare(tables, own, middle, diagonal, outer, inner)
                for entry in range(distances.size):
                    phases[entry, 0] = math.cos(middle * distances[entry])
                    phases[entry, 1] = math.sin(middle * distances[entry])
            meetings = _meet(barrier, team, meetings)
        for window in range(sources.size):
            start = initial[member if initial.shape[0] > 1 else 0]
            origin = start if sources[window] < 0 else out[member, sources[window] * size :]
            for place in range(begin, end):
                rows[place] = origin[place]
            for order in range(lengths[window]):
                new, old, older = row(order) * pitch, row(order - 1) * pitch, row(order - 2) * pitch
                step = half if order == 1 else factor
                if order > 0:
                    # A product reads places of every share.
                    meetings = _meet(barrier, team, meetings)
                    apply(
                        rows, new, old, older, begin, end, order == 1, step,
                        diagonal, rows[:0], tables, own, outer, inner,
                    )  # fmt: skip
                if order % GROUP == GROUP - 1 or order == lengths[window] - 1:
                    finish_group(
                        rows, pitch, order // GROUP, weights, starts[window], starts[window + 1], reaches,
                        after, before, phases, out[member], size, begin, end, middle != 0,
                    )  # fmt: skip
            # The next window overwrites what the others may still read.
            meetings = _meet(barrier, team, meetings)
