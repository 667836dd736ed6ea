"""Which states come from which Chebyshev basis.

The vectors T_k(G) psi(c) do not depend on time, so one basis serves every time near its centre c:

    psi(c +- s) = exp(-+ i m s) (E -+ i O),   E = sum_(k even) c_k (-1)^(k/2)     J_k(R s) T_k(G) psi(c),
                                              O = sum_(k odd)  c_k (-1)^((k-1)/2) J_k(R s) T_k(G) psi(c),

with H = m + R G, |G| <= 1, c_0 = 1 and c_k = 2. The sums E and O give two states at the price of one, so a
window reaches to both sides of its centre and supplies the centre of the next window besides. The length of
the windows is the one that costs least: long ones need fewer products with H, short ones fewer terms a state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

# Largest number of states of one window: more would only make the tables longer.
_LONGEST = 128

Reals = Float[NDArray[np.float64], "..."]
Integers = Int[NDArray[np.int64], "..."]


@dataclass(frozen=True, eq=False)
class Plan:
    """The windows of one evolution, in the form that `qdyn.dynamics.chebyshev.kernels.evolve` reads.

    Attributes:
        sources: for each window the time index of its centre, -1 for the initial state.
        lengths: for each window the number of basis vectors.
        starts: for each window its first entry, and the number of entries.
        reaches: for each entry the number of groups of vectors it needs.
        table: for each distance that occurs the factors of the vectors.
        row_of: for each entry its row of the table.
        after: for each entry the time index of the state after the centre, or -1.
        before: the same before the centre.
        distances: for each entry the distance in time.
        radius: half the width R of the spectrum.
        error: bound on the norm of what the truncated series leave out, summed over the windows.
    """

    sources: Integers
    lengths: Integers
    starts: Integers
    reaches: Integers
    table: Reals
    row_of: Integers
    after: Integers
    before: Integers
    distances: Reals
    radius: float
    error: float

    @property
    def n_windows(self) -> int:
        """Number of windows."""
        return len(self.sources)

    def all_windows(self, dtype: Any) -> PlanArguments:
        """Every window, states at their index in time."""
        return _all_windows(self, dtype)

    def one_window(self, window: int, dtype: Any) -> tuple[Integers, bool, PlanArguments]:
        """One window by itself.

        Returns:
            the time indices of its own states, a range that includes its centre; whether the centre of the
            next window follows them; and the kernel's arguments with the states in that order.
        """
        entries = slice(self.starts[window], self.starts[window + 1])
        after, before = self.after[entries], self.before[entries]
        next_source = self.sources[window + 1] if window + 1 < self.n_windows else -1
        found = np.concatenate([after, before, self.sources[window : window + 1]])
        own = np.unique(found[(found >= 0) & (found != next_source)])
        ahead = next_source >= 0

        def place(indices: Integers) -> Integers:
            inside = np.where(indices < 0, -1, indices - (own[0] if len(own) else 0))
            return np.where((indices == next_source) & ahead, len(own), inside)

        arguments = PlanArguments(
            np.array([-1]),
            self.lengths[window : window + 1],
            np.array([0, len(after)]),
            self.reaches[entries],
            np.ascontiguousarray(self.table[self.row_of[entries]], dtype=dtype),
            place(after),
            place(before),
            self.distances[entries],
        )
        return own, bool(ahead), arguments


class PlanArguments(NamedTuple):
    """What the kernels read of a plan, in the order of their arguments."""

    sources: Integers
    lengths: Integers
    starts: Integers
    reaches: Integers
    weights: Any
    after: Integers
    before: Integers
    distances: Reals


@lru_cache(maxsize=64)
def _all_windows(plan: Plan, dtype: Any) -> PlanArguments:
    return PlanArguments(
        plan.sources,
        plan.lengths,
        plan.starts,
        plan.reaches,
        np.ascontiguousarray(plan.table[plan.row_of], dtype=dtype),
        plan.after,
        plan.before,
        plan.distances,
    )


def make_plan(
    times: NDArray[np.float64],
    *,
    radius: float,
    error: float,
    n_terms: float,
    vector_bytes: int,
    limit: int | None = None,
) -> Plan:
    """Choose windows for increasing times; the initial state is that at t = 0.

    Args:
        times: (times,), in units of 1/J; negative ones run backwards, 0 needs no window.
        radius: half the width R of the spectrum, > 0.
        error: largest norm of what is left out of any state.
        n_terms: multiply-adds an amplitude in one product with H.
        vector_bytes: memory of one state.
        limit: largest number of states that one window may supply; None for no limit.
    """
    costs = _Costs.of(n_terms, vector_bytes)
    return _make_plan(tuple(times.tolist()), float(radius), float(error), costs, limit)


@lru_cache(maxsize=256)
def _make_plan(
    times: tuple[float, ...],
    radius: float,
    error: float,
    costs: _Costs,
    limit: int | None,
) -> Plan:
    values = np.array(times, dtype=np.float64)
    n_backward = int(np.searchsorted(values, 0.0))
    windows: list[_Window] = []
    left_out = 0.0
    n_zero = int((values == 0).sum())
    forward = np.arange(n_backward + n_zero, len(values))
    for indices, sign in ((np.arange(n_backward)[::-1], -1), (forward, 1)):
        if len(indices):
            found, bound = _best_windows(np.abs(values[indices]), radius, error, costs, limit)
            windows += [window.placed(indices, sign) for window in found]
            left_out = max(left_out, bound)
    return _tabulate(windows, radius, left_out, _resolution(np.abs(values).max()))


@dataclass(frozen=True)
class _Window:
    """A centre and the entries (distance, index after, index before, number of terms), longest first."""

    source: int
    length: int
    entries: list[tuple[float, int, int, int]]

    def placed(self, indices: Integers, sign: int) -> _Window:
        """The window with indices into all times; a backward run exchanges after and before."""

        def place(index: int) -> int:
            return int(indices[index]) if index >= 0 else -1

        entries = [
            (distance, place(after), place(before), terms)
            if sign > 0
            else (distance, place(before), place(after), terms)
            for distance, after, before, terms in self.entries
        ]
        return _Window(place(self.source), self.length, entries)


def _best_windows(
    distances: Reals, radius: float, error: float, costs: _Costs, limit: int | None
) -> tuple[list[_Window], float]:
    """The cheapest of the divisions into windows of equal numbers of states."""
    n_states = len(distances)
    longest = min(n_states, _LONGEST if limit is None else min(limit, _LONGEST))
    spacing = float(distances[-1]) / n_states
    divisions = {
        (stride, n_hops)
        for stride in _strides(longest)
        for n_hops in (max(0, math.ceil(n_states / stride) - 1), n_states // stride)
        if n_states - n_hops * stride <= longest
    }
    phase = radius * spacing
    ranked = sorted((_guess(*division, n_states, phase, error, costs), *division) for division in divisions)
    for _, stride, n_hops in ranked:
        windows = _divide(distances, stride, n_hops, radius, error / (n_hops + 1))
        if limit is None or all(_n_states(window) <= limit for window in windows):
            return windows, error
    raise AssertionError("windows of one state fit any limit")


def _strides(longest: int) -> list[int]:
    """Window lengths to try: all small ones, then ever coarser."""
    strides = [1]
    while strides[-1] < longest:
        strides.append(min(longest, max(strides[-1] + 1, round(strides[-1] * 1.1))))
    return strides


def _guess(  # noqa: PLR0917
    stride: int, n_hops: int, n_states: int, phase: float, error: float, costs: _Costs
) -> float:
    """Cost of a division if the times were equally spaced, `phase` apart in units of 1/R."""
    from qdyn.dynamics.chebyshev.bessel_kernels import count_terms
    from qdyn.dynamics.chebyshev.combination_kernels import GROUP

    left = n_states - n_hops * stride
    terms = count_terms(phase * np.arange(max(stride, left) + 1), error / (n_hops + 1))
    groups = -(-terms // GROUP)
    half = (stride - 1) // 2
    # Pairs share their sums over vectors; what remains of a pair is to write two states.
    pairs = costs.pair * groups[1 : half + 1].sum()
    middle = costs.state * (groups[stride] + (groups[stride // 2] if stride % 2 == 0 else 0))
    first = costs.state * (groups[1 : stride // 2 + 1].sum() + groups[stride])
    last_pairs = min(half, left) if n_hops else 0
    last = costs.pair * groups[1 : last_pairs + 1].sum()
    last += costs.state * groups[last_pairs + 1 : max(left, half if n_hops else 0) + 1].sum()
    total = last + costs.product * terms[max(left, half if n_hops else 0)]
    if n_hops:
        total += first + (n_hops - 1) * (pairs + middle) + n_hops * costs.product * terms[stride]
    return float(total)


@dataclass(frozen=True)
class _Costs:
    """Nanoseconds for a cache line of a state, measured: what counts is how they compare.

    Attributes:
        product: one product with H.
        pair: one group of vectors added to two states.
        state: one group of vectors added to one state.
    """

    product: float
    pair: float
    state: float

    @classmethod
    def of(cls, n_terms: float, vector_bytes: int) -> _Costs:
        if vector_bytes <= 2**16:
            return cls(0.5 + 0.3 * n_terms, 5.6, 4.0)
        if vector_bytes < 2**20:
            return cls(0.5 + 0.38 * n_terms, 5.8, 4.2)
        return cls(1.0 + 0.5 * n_terms, 13.0, 8.0)


def _divide(distances: Reals, stride: int, n_hops: int, radius: float, tolerance: float) -> list[_Window]:
    """Centres at 0 and at every stride-th state; each state goes to the nearer centre."""
    from qdyn.dynamics.chebyshev.bessel_kernels import count_terms

    n_states = len(distances)
    resolution = _resolution(float(distances[-1]))
    # Position p = 0 is the initial state, p >= 1 is state p - 1.
    positions = np.concatenate([[0.0], distances])
    centres = np.arange(n_hops + 1) * stride
    bounds = np.searchsorted(positions, (positions[centres[1:]] + positions[centres[:-1]]) / 2, side="right")
    bounds = np.concatenate([[1], np.maximum(bounds, 1), [n_states + 1]])
    windows = []
    for number, centre in enumerate(centres):
        wanted = np.arange(bounds[number], bounds[number + 1])
        wanted = wanted[wanted != centre]
        if number < n_hops:
            wanted = np.append(wanted, centres[number + 1])
        if not len(wanted):
            continue
        offsets = positions[wanted] - positions[centre]
        entries: list[tuple[float, int, int]] = []
        mirror = {
            round(-offset / resolution): int(p)
            for offset, p in zip(offsets, wanted, strict=True)
            if offset < 0
        }
        for offset, position in zip(offsets, wanted, strict=True):
            if offset > 0:
                key = round(offset / resolution)
                partner = next((mirror.pop(near) for near in (key, key - 1, key + 1) if near in mirror), 0)
                entries.append((float(offset), int(position) - 1, partner - 1))
        entries += [(float(positions[centre] - positions[p]), -1, p - 1) for p in mirror.values()]
        entries.sort(key=lambda entry: -entry[0])
        terms = count_terms(radius * np.array([entry[0] for entry in entries]), tolerance)
        counted = [
            (distance, after, before, int(count))
            for (distance, after, before), count in zip(entries, terms, strict=True)
        ]
        windows.append(_Window(int(centre) - 1, int(terms.max()), counted))
    return windows


def _resolution(longest: float) -> float:
    """Differences of times below this are rounding."""
    return max(2 * float(np.finfo(np.float64).eps) * float(longest), np.finfo(np.float64).tiny)


def _n_states(window: _Window) -> int:
    return sum((after >= 0) + (before >= 0) for _, after, before, _ in window.entries)


def _tabulate(windows: list[_Window], radius: float, error: float, resolution: float) -> Plan:
    from qdyn.dynamics.chebyshev.bessel_kernels import bessel
    from qdyn.dynamics.chebyshev.combination_kernels import GROUP

    entries = [entry for window in windows for entry in window.entries]
    distances = np.array([entry[0] for entry in entries], dtype=np.float64)
    reaches = np.array([-(-entry[3] // GROUP) for entry in entries], dtype=np.int64)
    n_columns = GROUP * int(reaches.max(initial=1))
    # Equal steps differ in their last digits: what cannot be told apart shares a row, but not the distances
    # from centre to centre, whose differences would add up.
    after = np.array([entry[1] for entry in entries], dtype=np.int64)
    before = np.array([entry[2] for entry in entries], dtype=np.int64)
    sources = np.array([window.source for window in windows], dtype=np.int64)
    leading = np.isin(after, sources) & (after >= 0) | np.isin(before, sources) & (before >= 0)
    keys = np.rint(distances / resolution)
    keys[leading] = -1 - np.arange(int(leading.sum()))
    _, found, row_of = np.unique(keys, return_index=True, return_inverse=True)
    terms = np.zeros(len(found), dtype=np.int64)
    np.maximum.at(terms, row_of, np.array([entry[3] for entry in entries], dtype=np.int64))
    order = np.arange(n_columns)
    table = bessel(radius * distances[found], n_columns)
    table *= np.where(order == 0, 1.0, 2.0) * (1 - 2 * (order // 2 % 2))
    table[order[None, :] >= terms[:, None]] = 0
    counts = np.array([0, *(len(window.entries) for window in windows)])
    return Plan(
        sources=sources,
        lengths=np.array([window.length for window in windows], dtype=np.int64),
        starts=np.cumsum(counts).astype(np.int64),
        reaches=reaches,
        table=table,
        row_of=row_of,
        after=after,
        before=before,
        distances=distances,
        radius=radius,
        error=error,
    )


def round_up(radii: Reals) -> Reals:
    """The next of 16 values to an octave, with 2 / R exact in single precision.

    Trajectories whose Hamiltonians differ then share Bessel functions, and what a trajectory shares does not
    depend on its companions in the batch.
    """
    steps = np.ceil(16 * np.log2(np.maximum(radii, 2.0**-20)))
    factors = 2 / np.exp2(steps / 16)
    unit = np.exp2(np.floor(np.log2(factors)) - 12)
    return np.asarray(2 / (np.floor(factors / unit) * unit))
