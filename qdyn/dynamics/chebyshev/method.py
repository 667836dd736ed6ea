"""Chebyshev expansion of exp(-i H t) with a Hamiltonian that is never a matrix.

With the spectrum of H inside [m - R, m + R], G = (H - m) / R and the polynomials T_k,

    exp(-i H t) psi = exp(-i m t) sum_k c_k (-i)^k J_k(R t) T_k(G) psi,   c_0 = 1, c_k = 2,

and T_{k+1}(G) psi = 2 G T_k(G) psi - T_{k-1}(G) psi. Beyond k = R t the Bessel functions fall faster than
exponentially, which makes the error a matter of choice. `qdyn.dynamics.chebyshev.plan` says how one
recurrence serves many times. H is a diagonal, all its products of Z, and terms that flip bits.

Source: H. Tal-Ezer and R. Kosloff, Journal of Chemical Physics 81, 3967 (1984).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.dynamics.chebyshev.plan import Plan, PlanArguments, make_plan, round_up
from qdyn.dynamics.chebyshev.spectral_bounds import spectral_interval
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.memory import empty_tensor
from qdyn.quantum.kernel_operator import KernelOperator, zeros

# Truncation error where the caller names no error; rounding adds to it.
_TRUNCATION = {torch.complex128: 1e-13, torch.complex64: 1e-8}
# Rounding of the recurrence and the couplings for a phase R t, measured over models, sizes and times with a
# margin of 2: unit * (offset + R t).
_ROUNDING = {torch.complex128: (8e-16, 20.0), torch.complex64: (3.5e-8, 10.0)}
_ROUNDING_OF_STORED_SINGLES = 1e-7
# The vectors that the kernels combine, and the diagonal.
_VECTORS_IN_FLIGHT = 11
# States in memory at once where they are not kept: many when they are short.
_WINDOW_BYTES = 32 * 2**20
_STATES_A_WINDOW = (3, 6)
# Fewest sites of a state that threads share: below, they would wait for each other.
_SHARED_SITES = 14


def evolve_chebyshev(problem: Problem, recorder: Recorder) -> dict[str, float]:
    """Solve ``problem`` by Chebyshev expansion, trajectories spread over torch.get_num_threads() threads.

    A trajectory's amplitudes do not depend on the number of threads, nor on what else is in the batch as long
    as the same strings act in it.
    """
    precision = Precision.of(problem)
    single = precision.dtype == torch.complex64
    operator = KernelOperator.of(problem.terms, single=single)
    lower, upper = spectral_interval(problem.terms)
    middles, radii = (lower + upper) / 2, round_up((upper - lower) / 2)
    in_place = (
        recorder.states is not None
        and recorder.states.device.type == "cpu"
        and operator.n_sites == problem.n_sites
        and precision.dtype == problem.dtype
    )
    n_products = 0
    for radius in sorted(set(radii.tolist())):
        plan = make_plan(
            problem.times.numpy(),
            radius=radius,
            error=precision.truncation,
            n_terms=operator.cost,
            vector_bytes=precision.dtype.itemsize << operator.n_sites,
            limit=None if in_place else states_a_window(precision.dtype.itemsize << operator.n_sites),
        )
        everyone = np.arange(problem.n_trajectories)
        members = everyone if len(radii) == 1 else np.flatnonzero(radii == radius)
        (_run_in_place if in_place else _run_by_windows)(problem, recorder, operator, middles, plan, members)
        n_products = max(n_products, int(plan.lengths.sum()) - plan.n_windows)
    if in_place and problem.observables:
        recorder.measure_stored()
    return {"products_with_hamiltonian": float(n_products)}


def estimate_chebyshev(problem: Problem) -> Estimate:
    """Truncation and rounding; memory of the vectors in flight; time by the costs that choose windows."""
    precision = Precision.of(problem)
    terms = problem.terms
    vector = precision.dtype.itemsize * problem.dimension
    n_threads = min(torch.get_num_threads(), problem.n_trajectories)
    memory = n_threads * _VECTORS_IN_FLIGHT * vector + 16 * 2**20
    if problem.store != "states" or precision.dtype != problem.dtype:
        memory += max(_WINDOW_BYTES, (states_a_window(vector) + 4) * vector)
    flips = set(terms.flips)
    simple = all(flip.bit_count() <= 1 for flip in flips)
    n_products = 1.1 * precision.phase + 35 * (1 + problem.n_times / 20)
    per_line = n_products * (1 + 0.4 * len(flips) * (1 if simple else 1.5)) + 9 * problem.n_times
    seconds = 3e-3 + 1e-9 * per_line * problem.n_trajectories * vector / 64
    return Estimate(precision.error, memory, seconds)


@dataclass(frozen=True)
class Precision:
    """How an error is shared between the truncated series and rounding.

    Attributes:
        dtype: type of the vectors: double where single precision cannot keep the error.
        truncation: largest norm of what the series leave out.
        error: estimate of the largest deviation of an amplitude.
        phase: R t at the longest time.
    """

    dtype: torch.dtype
    truncation: float
    error: float
    phase: float

    @classmethod
    def of(cls, problem: Problem) -> Precision:
        """The cheaper precision that keeps the error of the problem."""
        lower, upper = spectral_interval(problem.terms)
        times = problem.times
        phase = float((upper - lower).max() / 2) * max(abs(float(times[0])), abs(float(times[-1])))
        wanted = problem.error
        choices = []
        for dtype, (unit, offset) in _ROUNDING.items():
            rounding = unit * (offset + phase)
            if problem.dtype == torch.complex64 and dtype == torch.complex128:
                rounding += _ROUNDING_OF_STORED_SINGLES
            room = 0.0 if wanted is None else (wanted - rounding) / 2
            truncation = max(room, _TRUNCATION[dtype] / 10) if wanted is not None else _TRUNCATION[dtype]
            choices.append(cls(dtype, truncation, rounding + truncation, phase))
        double, single = choices
        fits = wanted is None or single.error <= wanted
        return single if problem.dtype == torch.complex64 and fits else double


def states_a_window(vector_bytes: int) -> int:
    """States of one window where they are not kept."""
    few, many = _STATES_A_WINDOW
    return many if vector_bytes * (many + 1) <= _WINDOW_BYTES else few


class _Workspace:
    """Memory of one thread, aligned to cache lines; rows are shifted so that they do not share cache sets."""

    def __init__(self, operator: KernelOperator, n_entries: int) -> None:
        from qdyn.dynamics.chebyshev.combination_kernels import GROUP

        self.pitch = (2 << operator.n_sites) + 128 // np.dtype(operator.dtype).itemsize * 3
        self.rows = zeros(GROUP * self.pitch, operator.dtype)
        self.tables = operator.workspaces()
        self.phases = np.zeros((n_entries, 2), dtype=operator.dtype)


def _real_rows(states: Tensor) -> NDArray[Any]:
    """(trajectories, ...) complex as (trajectories, numbers) real, in the same memory."""
    return torch.view_as_real(states).reshape(len(states), -1).numpy()


def _run(  # noqa: PLR0917
    operator: KernelOperator,
    middles: NDArray[np.float64],
    plan: Plan,
    windows: PlanArguments,
    members: NDArray[np.int64],
    initial: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Follow some trajectories through some windows, spread over threads.

    Few long states are shared out among threads one after the other.
    """
    from qdyn.dynamics.chebyshev import kernels

    def follow(
        rank: int, team: int, barrier: NDArray[np.int64], part: NDArray[np.int64], own: _Workspace
    ) -> None:
        kernels.evolve(
            rank, team, barrier, part, initial, out, own.rows, own.pitch, *own.tables, own.phases,
            operator.tables, middles, operator.dtype(2 / plan.radius), *windows,
        )  # fmt: skip

    n_threads = torch.get_num_threads()
    together = len(members) < n_threads and operator.n_sites >= _SHARED_SITES
    n_threads = n_threads if together else min(len(members), n_threads)
    n_teams = 1 if together else n_threads
    spaces = [_Workspace(operator, len(windows.distances)) for _ in range(n_teams)]
    parts = np.array_split(members, n_teams)
    barrier = np.zeros(1, dtype=np.int64)
    if n_threads == 1:
        follow(0, 1, barrier, members, spaces[0])
        return
    with ThreadPoolExecutor(n_threads) as pool:
        jobs = [
            pool.submit(follow, rank, n_threads, barrier, members, spaces[0])
            if together
            else pool.submit(follow, 0, 1, barrier, parts[rank], spaces[rank])
            for rank in range(n_threads)
        ]
        for job in jobs:
            job.result()


def _run_in_place(  # noqa: PLR0917
    problem: Problem,
    recorder: Recorder,
    operator: KernelOperator,
    middles: NDArray[np.float64],
    plan: Plan,
    members: NDArray[np.int64],
) -> None:
    """Write the states where they are kept."""
    states = recorder.states
    assert states is not None
    initial = problem.initial_states
    own = slice(None) if len(members) == len(initial) else members
    for index in np.flatnonzero(problem.times.numpy() == 0):
        states[own, index] = initial[own].to(states.dtype)
    if initial.stride(0) == 0:
        initial = initial[:1]
    _run(
        operator,
        middles,
        plan,
        plan.all_windows(operator.dtype),
        members,
        _real_rows(initial.to(states.dtype)),
        _real_rows(states),
    )


def _run_by_windows(  # noqa: PLR0917
    problem: Problem,
    recorder: Recorder,
    operator: KernelOperator,
    middles: NDArray[np.float64],
    plan: Plan,
    members: NDArray[np.int64],
) -> None:
    """Keep the states of one window only, and hand them to the recorder."""
    dimension = 2**operator.n_sites
    complex_type = torch.complex64 if operator.dtype is np.float32 else torch.complex128
    n_states = states_a_window(complex_type.itemsize * dimension) + 1
    room = max(1, _WINDOW_BYTES // (complex_type.itemsize * dimension * n_states))
    for first in range(0, len(members), room):
        part = members[first : first + room]
        initial = problem.initial_states[part].cpu()
        for index in np.flatnonzero(problem.times.numpy() == 0):
            put_states(recorder, part, int(index), initial[:, None])
        # The kernels number couplings by trajectory, so that a part starts with its first one.
        group = operator.members(part)
        own_middles = middles if len(middles) == 1 else middles[part]
        centre = empty_tensor(len(part), dimension, dtype=complex_type).zero_()
        states = empty_tensor(len(part), n_states, dimension, dtype=complex_type)
        for window in range(plan.n_windows):
            own, hop, arguments = plan.one_window(window, operator.dtype)
            if plan.sources[window] < 0:
                centre[:, problem.dimension :] = 0
                centre[:, : problem.dimension] = initial
            else:
                states[:, plan.sources[window] - own[0]] = centre
            rows = _real_rows(centre), _real_rows(states)
            _run(group, own_middles, plan, arguments, np.arange(len(part)), *rows)
            if len(own):
                put_states(recorder, part, int(own[0]), states[:, : len(own), : problem.dimension])
            if hop:
                centre.copy_(states[:, len(own)])


def put_states(recorder: Recorder, members: NDArray[np.int64], first: int, states: Tensor) -> None:
    """Hand over states from time index ``first`` on, few at a time where they are long."""
    step = max(1, _WINDOW_BYTES // (16 * states.shape[0] * states.shape[2] * 4))
    for place in range(0, states.shape[1], step):
        block = states[:, place : place + step]
        window = slice(first + place, first + place + block.shape[1])
        for run in np.split(np.arange(len(members)), np.flatnonzero(np.diff(members) != 1) + 1):
            together = slice(int(members[run[0]]), int(members[run[-1]]) + 1)
            recorder.put(together, window, block[run[0] : run[-1] + 1])
