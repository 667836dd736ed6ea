"""Chebyshev expansion of exp(-i H t) with a Hamiltonian that is never a matrix.

With the spectrum of H inside [m - R, m + R], G = (H - m) / R and the polynomials T_k,

    exp(-i H t) psi = exp(-i m t) sum_k c_k (-i)^k J_k(R t) T_k(G) psi,   c_0 = 1, c_k = 2,

and T_{k+1}(G) psi = 2 G T_k(G) psi - T_{k-1}(G) psi. Beyond k = R t the Bessel functions fall faster than
exponentially, which makes the error a matter of choice. `qdyn.dynamics.chebyshev_plan` says how one
recurrence serves many times. H is a diagonal, all its products of Z, and terms that flip bits.

Source: H. Tal-Ezer and R. Kosloff, Journal of Chemical Physics 81, 3967 (1984).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.dynamics.chebyshev_plan import Plan, PlanArguments, make_plan
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.spectral_bounds import spectral_bounds
from qdyn.memory import empty_tensor
from qdyn.quantum.pauli import PauliTerms

# Truncation error of the series; what the caller accepts is compared with it and with rounding beforehand.
_TRUNCATION = {torch.complex128: 1e-13, torch.complex64: 1e-8}
# States in memory at once where they are not kept.
_STATES_A_WINDOW = 6
_WINDOW_BYTES = 32 * 2**20


def evolve_chebyshev(problem: Problem, recorder: Recorder) -> dict[str, float]:
    """Solve ``problem`` by Chebyshev expansion, trajectories spread over torch.get_num_threads() threads.

    A trajectory's amplitudes depend neither on the number of threads nor on what else is in the batch.
    """
    operator = _Operator.of(problem.hamiltonian.pauli_terms(), single=problem.dtype == torch.complex64)
    bounded = recorder.states is None or operator.n_sites != problem.n_sites
    n_terms = 0
    for radius in np.unique(operator.radii):
        plan = make_plan(
            problem.times.numpy(),
            radius=float(radius),
            error=_TRUNCATION[problem.dtype],
            n_terms=operator.cost,
            vector_bytes=problem.dtype.itemsize << operator.n_sites,
            limit=_STATES_A_WINDOW if bounded else None,
        )
        members = np.flatnonzero(np.broadcast_to(operator.radii == radius, problem.n_trajectories))
        (_run_bounded if bounded else _run_stored)(problem, recorder, operator, plan, members)
        n_terms = max(n_terms, int(plan.lengths.sum()))
    if not bounded and problem.observables:
        recorder.measure_stored()
    return {"products_with_hamiltonian": float(n_terms)}


@dataclass(frozen=True, eq=False)
class _Operator:
    """A Hamiltonian, or one for each trajectory, as the kernels read it; see `qdyn.dynamics.kernels.evolve`.

    Chains below the kernels' smallest are padded by sites that nothing acts on, before the first site.
    """

    n_sites: int
    dtype: Any
    radii: NDArray[np.float64]
    middles: NDArray[np.float64]
    sign_masks: NDArray[np.int64]
    couplings: NDArray[Any]
    fields: NDArray[Any]
    slots: NDArray[np.int64]
    signs: NDArray[np.int64]
    bounds: NDArray[np.int64]
    slot_of: NDArray[np.int64]
    lane_signs: NDArray[np.int64]
    strings: NDArray[Any]

    @classmethod
    def of(cls, terms: PauliTerms, *, single: bool) -> _Operator:
        from qdyn.dynamics.kernels import SMALLEST_CHAIN

        dtype = np.float32 if single else np.float64
        coefficients = terms.coefficients.reshape(-1, terms.coefficients.shape[-1]).numpy(force=True)
        lower, upper = (bound.numpy() for bound in spectral_bounds(terms))
        masks = list(zip(terms.flips, terms.signs, strict=True))
        products = [place for place, (flip, _) in enumerate(masks) if flip == 0]
        others = [place for place, (flip, _) in enumerate(masks) if flip != 0]
        fields = np.zeros((len(coefficients), max(terms.n_sites, SMALLEST_CHAIN)))
        if all(flip.bit_count() == 1 and sign == 0 for flip, sign in (masks[place] for place in others)):
            for place in others:
                fields[:, masks[place][0].bit_length() - 1] += coefficients[:, place]
            others = []
        layout = _lay_out([masks[place] for place in others], lane_bits=4 if single else 3)
        # A string with 2 or 3 factors Y carries i^2 = -1 beyond the factor i of its flip of lane 0.
        n_y = [(masks[place][0] & masks[place][1]).bit_count() for place in others]
        reverse = np.array([-1.0 if count % 4 > 1 else 1.0 for count in n_y])
        return cls(
            n_sites=max(terms.n_sites, SMALLEST_CHAIN),
            dtype=dtype,
            radii=_round_up((upper - lower) / 2),
            middles=(upper + lower) / 2,
            sign_masks=np.array([masks[place][1] for place in products], dtype=np.int64),
            couplings=np.ascontiguousarray(coefficients[:, products], dtype=dtype),
            fields=fields.astype(dtype),
            strings=np.ascontiguousarray(coefficients[:, others] * reverse, dtype=dtype),
            **layout,
        )

    def members(self, members: NDArray[np.int64]) -> _Operator:
        """The operators of some trajectories, numbered from 0."""
        if len(self.middles) == 1:
            return self
        parts = ("middles", "couplings", "fields", "strings")
        return replace(self, **{name: getattr(self, name)[members] for name in parts})

    @property
    def cost(self) -> float:
        """Multiply-adds an amplitude of one product with H."""
        return self.n_sites + 1 + 3.0 * len(self.slots)


def _lay_out(masks: list[tuple[int, int]], *, lane_bits: int) -> dict[str, NDArray[np.int64]]:
    """Group strings by the lanes they flip, then by what they do outside a vector."""
    inside = (1 << lane_bits) - 1
    keys = []
    for flip, sign in masks:
        # An odd number of Y is a factor i, which exchanges real and imaginary parts, bit 0 of a position.
        imaginary = (flip & sign).bit_count() % 2
        keys.append((2 * flip | imaginary, 2 * sign | imaginary))
    distinct = sorted({(flip & inside, flip & ~inside, sign & ~inside) for flip, sign in keys})
    slot_of = [distinct.index((flip & inside, flip & ~inside, sign & ~inside)) for flip, sign in keys]
    classes = [lanes for lanes, _, _ in distinct]
    return {
        "slots": np.array([flip for _, flip, _ in distinct], dtype=np.int64),
        "signs": np.array([sign for _, _, sign in distinct], dtype=np.int64),
        "bounds": np.searchsorted(classes, np.arange(17)).astype(np.int64),
        "slot_of": np.array(slot_of, dtype=np.int64),
        "lane_signs": np.array([sign & inside for _, sign in keys], dtype=np.int64),
    }


def _round_up(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next of 16 values to an octave, with 2 / R exact in single precision.

    Trajectories whose Hamiltonians differ then share Bessel functions, and what a trajectory shares does not
    depend on its companions in the batch.
    """
    steps = np.ceil(16 * np.log2(np.maximum(radii, 2.0**-20)))
    factors = 2 / np.exp2(steps / 16)
    unit = np.exp2(np.floor(np.log2(factors)) - 12)
    return np.asarray(2 / (np.floor(factors / unit) * unit))


class _Workspace:
    """Memory of one thread, aligned to cache lines; rows are shifted so that they do not share cache sets."""

    def __init__(self, operator: _Operator, n_entries: int) -> None:
        from qdyn.dynamics.kernels import ROWS

        size = 2 << operator.n_sites
        self.pitch = size + 128 // np.dtype(operator.dtype).itemsize * 3
        self.rows = _zeros(ROWS * self.pitch, operator.dtype)
        self.diagonal = _zeros(size // 2, operator.dtype)
        self.phases = np.zeros((n_entries, 2), dtype=operator.dtype)
        self.factors = np.zeros(max(1, 2 * len(operator.slots)) * 16, dtype=operator.dtype)


def _zeros(length: int, dtype: Any) -> NDArray[Any]:
    real = torch.float32 if dtype is np.float32 else torch.float64
    return empty_tensor(length, dtype=real).zero_().numpy()


def _real_rows(states: Tensor) -> NDArray[Any]:
    """(trajectories, ...) complex as (trajectories, numbers) real, in the same memory."""
    return torch.view_as_real(states).reshape(len(states), -1).numpy()


def _run(  # noqa: PLR0917
    operator: _Operator,
    plan: Plan,
    windows: PlanArguments,
    members: NDArray[np.int64],
    initial: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Follow some trajectories through some windows, spread over threads."""
    from qdyn.dynamics import kernels

    def follow(part: NDArray[np.int64]) -> None:
        space = _Workspace(operator, len(windows.distances))
        kernels.evolve(
            part, initial, out, space.rows, space.pitch, space.diagonal, space.phases,
            operator.sign_masks, operator.couplings, operator.fields, operator.middles,
            operator.slots, operator.signs, operator.bounds, operator.slot_of, operator.lane_signs,
            operator.strings, space.factors, operator.dtype(2 / plan.radius), operator.n_sites, *windows,
        )  # fmt: skip

    n_threads = min(len(members), torch.get_num_threads())
    if n_threads == 1:
        follow(members)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        for finished in pool.map(follow, np.array_split(members, n_threads)):
            assert finished is None


def _run_stored(
    problem: Problem, recorder: Recorder, operator: _Operator, plan: Plan, members: NDArray[np.int64]
) -> None:
    """Write the states where they are kept."""
    states = recorder.states
    assert states is not None
    for index in np.flatnonzero(problem.times.numpy() == 0):
        states[members, index] = problem.initial_states[members].to(states.dtype)
    initial = problem.initial_states
    if initial.stride(0) == 0:
        initial = initial[:1]
    _run(
        operator,
        plan,
        plan.all_windows(operator.dtype),
        members,
        _real_rows(initial.to(states.dtype)),
        _real_rows(states),
    )


def _run_bounded(
    problem: Problem, recorder: Recorder, operator: _Operator, plan: Plan, members: NDArray[np.int64]
) -> None:
    """Keep the states of one window only, and hand them to the recorder."""
    dimension = 2**operator.n_sites
    complex_type = torch.complex64 if operator.dtype is np.float32 else torch.complex128
    room = max(1, _WINDOW_BYTES // (complex_type.itemsize * dimension * (_STATES_A_WINDOW + 1)))
    zero = np.flatnonzero(problem.times.numpy() == 0)
    for first in range(0, len(members), room):
        part = members[first : first + room]
        # The kernels number couplings by trajectory, so that a part starts with its first one.
        group = operator.members(part)
        start = torch.zeros(len(part), dimension, dtype=complex_type)
        start[:, : problem.dimension] = problem.initial_states[part]
        for index in zero:
            _put(recorder, part, int(index), start[:, None, : problem.dimension])
        states = empty_tensor(len(part), _STATES_A_WINDOW + 1, dimension, dtype=complex_type)
        here = start
        for window in range(plan.n_windows):
            if plan.sources[window] < 0:
                here = start
            own, hop, arguments = plan.one_window(window, operator.dtype)
            if plan.sources[window] >= 0:
                states[:, plan.sources[window] - own[0]] = here
            _run(group, plan, arguments, np.arange(len(part)), _real_rows(here), _real_rows(states))
            if len(own):
                _put(recorder, part, int(own[0]), states[:, : len(own), : problem.dimension])
            if hop:
                here = states[:, len(own)].clone()


def _put(recorder: Recorder, members: NDArray[np.int64], first: int, states: Tensor) -> None:
    """Hand over states from time index ``first`` on, few at a time where they are long."""
    step = max(1, _WINDOW_BYTES // (16 * states.shape[0] * states.shape[2] * 4))
    for place in range(0, states.shape[1], step):
        block = states[:, place : place + step]
        window = slice(first + place, first + place + block.shape[1])
        for run in np.split(np.arange(len(members)), np.flatnonzero(np.diff(members) != 1) + 1):
            together = slice(int(members[run[0]]), int(members[run[-1]]) + 1)
            recorder.put(together, window, block[run[0] : run[-1] + 1])


def estimate_chebyshev(problem: Problem) -> Estimate:
    """Rounding grows with the phase R t; the time is that of the products with H and of the sums."""
    terms = problem.hamiltonian.pauli_terms()
    norm = float(terms.coefficients.abs().sum(dim=-1).max())
    phase = norm * float(problem.times.abs().max())
    unit = 6e-8 if problem.dtype == torch.complex64 else 1.1e-16
    error = _TRUNCATION[problem.dtype] + unit * (2 + 0.5 * phase)
    size = problem.dtype.itemsize * max(problem.dimension, 64)
    n_vectors = 13 + (0 if problem.store == "states" else _STATES_A_WINDOW + 3)
    memory = n_vectors * size * torch.get_num_threads() + 64 * 2**20
    n_terms = phase + 30 * math.sqrt(problem.n_times)
    per_amplitude = n_terms * (1 + len(terms.words)) + 30 * problem.n_times
    seconds = 1e-4 + 2e-4 * problem.n_hamiltonians / 8
    seconds += problem.n_trajectories * size * per_amplitude * 8e-12
    return Estimate(error, memory, seconds)
