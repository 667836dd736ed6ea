"""Matrix-product states as a method of evolve(): chains of 100 sites, with the error that can be known.

Two errors add up. The product formula leaves C tau^p; it is measured by running every evolution twice, with a
step and with twice the step, whose distance is 2^p - 1 times the error of the finer run. Truncation leaves at
most the sum, over the sweeps, of the distances by which it moved the state, since what follows is unitary.
Both are distances |psi - psi_exact| of whole states: no amplitude is off by more, and no expectation value of
an operator of norm 1 by more than twice that.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import torch

from qdyn.checks import check_choice, check_integer, check_positive
from qdyn.dynamics.methods import Estimate, Method, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.tensor_networks.chain_terms import ChainTerms
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.dynamics.tensor_networks.tebd import Chain, Propagator, Split, Truncation
from qdyn.errors import ArgumentError
from qdyn.quantum.product_states import ProductStates

# Error of the product formula where nothing is asked for.
_DEFAULT_ERROR = 1e-5
# What rounding leaves of a request: a distance is the root of a difference of overlaps.
_SMALLEST_ERROR = {torch.complex128: 2e-8, torch.complex64: 1e-3}
# Discarded weight from which a run that asked for no error says so.
_LOUD_WEIGHT = 1e-4
_ATTEMPTS = 12
_MOST_STEPS = 10**6
# The product formula may take this part of the error that is asked for.
_SHARE = 0.5


class TruncationWarning(UserWarning):
    """A matrix-product state was truncated so much that its expectation values are no longer trustworthy."""


def mps(
    *,
    max_bond: int = 128,
    cutoff: float = 1e-10,
    step: float | None = None,
    order: int = 4,
    truncation: Split = "qr",
    dtype: torch.dtype | None = None,
) -> Method:
    """Matrix-product states, for ``evolve(method=...)``: open chains whose terms couple neighbours at most.

    Time-evolving block decimation with a product formula of order 2, 4 or 6. Memory grows like n max_bond^2,
    time like n max_bond^3 a step; the bond dimension that an error needs grows exponentially with the
    entanglement entropy, so there is a time beyond which no ``max_bond`` helps.

    What is promised: with ``error`` given to `evolve`, |psi - psi_exact| as measured (the product formula by
    a second run with twice the step, the truncation by a bound) stays below it, or ArgumentError says that
    ``max_bond`` is too small. Without, the step is chosen for 1e-5 from a short stretch and a
    `TruncationWarning` speaks up when the discarded weight exceeds 1e-4. ``Trajectory.details`` has, for each
    time, ``discarded_weights``, the bound ``truncation_errors`` and ``largest_bonds``; and their last values
    as ``discarded_weight`` and ``truncation_error``, ``trotter_error``, ``step``, ``steps``.

    Args:
        max_bond: largest bond dimension.
        cutoff: Schmidt coefficients below this part of the largest of their bond are dropped; at least the
            rounding of ``dtype``.
        step: the time step in units of 1/J, shortened so that steps end at the stored times; None chooses it.
        order: 2, 4 or 6.
        truncation: "qr" or "svd": how a bond that has reached ``max_bond`` is split. "qr" is several times
            quicker and loses nearly the same weight.
        dtype: complex64 or complex128, to compute in; None for that of `evolve`, and complex128 where
            ``error`` is below what single precision keeps.

    Raises:
        ArgumentError: an argument is out of range.

    Source: see `qdyn.dynamics.tensor_networks.tebd`.

    Example:
        >>> from qdyn import TransverseFieldIsing, evolve
        >>> H = TransverseFieldIsing(100, field=0.5)
        >>> wanted = {"observables": "magnetisation_x_50", "store": "none"}
        >>> traj = evolve(H, "+" * 100, [0.0, 1.0], method=mps(max_bond=32), **wanted)
        >>> traj.expectations["magnetisation_x_50"].round(decimals=4)  # 0.2817 by free fermions
        tensor([1.0000, 0.2817], dtype=torch.float64)
    """
    check_integer("max_bond", max_bond, minimum=1)
    check_choice("truncation", truncation, get_args(Split))
    given: Any = order
    if not isinstance(given, Integral) or given not in (2, 4, 6):
        raise ArgumentError(f"Argument `order` must be 2, 4 or 6, but is {order!r}.")
    given = cutoff
    if not isinstance(given, Real) or not 0 <= cutoff < 1:
        raise ArgumentError(f"Argument `cutoff` must be in [0, 1), but is {cutoff!r}.")
    if dtype not in (None, torch.complex64, torch.complex128):
        raise ArgumentError(f"Argument `dtype` must be torch.complex64 or torch.complex128, but is {dtype}.")
    size = None if step is None else check_positive("step", step)
    options = _Options(max_bond, float(cutoff), size, order, truncation, dtype)
    text = "matrix-product states of a chain, by time-evolving block decimation"
    return Method("mps", options.run, text, options.estimate, vectors=False)


@dataclass(frozen=True)
class _Options:
    max_bond: int
    cutoff: float
    step: float | None
    order: int
    split: Split
    dtype: torch.dtype | None

    def run(self, problem: Problem, recorder: Recorder) -> Mapping[str, Any]:
        """Solve ``problem``, trajectory after trajectory."""
        dtype = self.precision(problem)
        found = [
            _Run(self, problem, recorder, member, dtype).solve() for member in range(problem.n_trajectories)
        ]
        trotter = float(max(run.trotter_error for run in found))
        weights = np.array([run.discarded for run in found])
        deviations = np.array([run.deviations for run in found])
        outermost = np.abs(problem.times.numpy()).argmax()
        if problem.error is None and weights.max() > _LOUD_WEIGHT:
            time = problem.times.numpy()[(weights > _LOUD_WEIGHT).any(axis=0)]
            first = time[np.abs(time).argmin()]
            warnings.warn(
                f"Matrix-product states with bonds up to {self.max_bond} have discarded a weight of "
                f"{weights.max():.1e}, more than {_LOUD_WEIGHT:g} from t = {first:g} on: raise `max_bond`, "
                "or give an `error` to keep.",
                TruncationWarning,
                stacklevel=3,
            )
        return {
            "estimated_error": trotter + float(deviations.max()),
            "trotter_error": trotter,
            "truncation_error": deviations[:, outermost],
            "truncation_errors": deviations,
            "discarded_weight": weights[:, outermost],
            "discarded_weights": weights,
            "largest_bonds": np.array([run.bonds for run in found]),
            "step": min(run.step for run in found),
            "steps": sum(run.n_steps for run in found),
            "order": self.order,
            "max_bond": self.max_bond,
            "cutoff": self.least(dtype),
            "truncation": self.split,
            "precision": str(dtype).removeprefix("torch."),
        }

    def estimate(self, problem: Problem) -> Estimate:
        """What can be asked of it; the error is known only when it has run."""
        terms = problem.terms
        chain = ChainTerms.of(terms if terms.batch_size is None else terms.members(slice(0, 1)))
        dtype = self.precision(problem)
        error = _SMALLEST_ERROR[dtype] if problem.error is not None else _DEFAULT_ERROR
        bond = min(self.max_bond, int(2 ** (problem.n_sites // 2)))
        tensors = 2 * dtype.itemsize * problem.n_sites * bond**2
        # Two runs, a snapshot with its environments, and the states that are kept.
        kept = problem.n_trajectories if problem.store == "final" else 0
        memory = (5 + kept) * tensors + 64 * 8 * dtype.itemsize * bond**2 + 96 * 2**20
        step = self.step or 0.1 / max(chain.largest_rate(), 1e-9)
        n_steps = problem.n_times + float(problem.times.abs().max()) / step
        seconds = 6e-9 * problem.n_trajectories * n_steps * 3 * self.order * problem.n_sites * bond**3
        return Estimate(error, memory, 0.1 + seconds)

    def precision(self, problem: Problem) -> torch.dtype:
        """The type to compute in."""
        if self.dtype is not None:
            return self.dtype
        enough = problem.error is None or problem.error >= _SMALLEST_ERROR[torch.complex64]
        return problem.dtype if enough else torch.complex128

    def least(self, dtype: torch.dtype) -> float:
        """The cutoff that rounding allows."""
        return max(self.cutoff, 8 * torch.finfo(dtype).eps)


class _Run:
    """One trajectory: its step, its error and what it reports for every time."""

    def __init__(
        self, options: _Options, problem: Problem, recorder: Recorder, member: int, dtype: torch.dtype
    ) -> None:
        self._options, self._problem, self._recorder, self._member = options, problem, recorder, member
        terms = problem.terms
        own = terms if terms.batch_size is None else terms.members(slice(member, member + 1))
        self._terms = ChainTerms.of(own)
        self._propagator = Propagator(self._terms, order=options.order, dtype=dtype, device=problem.device)
        truncation = Truncation(options.max_bond, options.least(dtype), options.split)
        self._start = Chain(self._initial_state(dtype), truncation)
        self.discarded, self.deviations = np.zeros(problem.n_times), np.zeros(problem.n_times)
        self.bonds = np.ones(problem.n_times, dtype=np.int64)
        self.step, self.trotter_error, self.n_steps = float(problem.times.abs().max()), 0.0, 0

    def solve(self) -> _Run:
        """Evolve to all times, outwards from 0 on either side."""
        times = self._problem.times.numpy()
        for index in np.flatnonzero(times == 0):
            self._record(self._start, int(index))
        for sign in (-1, 1):
            indices = [int(index) for index in np.flatnonzero(sign * times > 0)[::sign]]
            if indices:
                self._follow(indices, times)
        return self

    def _initial_state(self, dtype: torch.dtype) -> MatrixProductState:
        problem = self._problem
        start = problem.start
        if isinstance(start, ProductStates):
            one = start.batch_size in (None, 1)
            own = start if one else start.members(slice(self._member, self._member + 1))
            product = ProductStates(own.sites.reshape(-1, 2).to(problem.device))
            return MatrixProductState.product(product, dtype=dtype)
        if isinstance(start, MatrixProductState):
            state = start
        else:
            vector = problem.initial_states[self._member]
            state = MatrixProductState.from_vector(vector / torch.linalg.vector_norm(vector), cutoff=1e-15)
        largest = max(state.bond_dimensions, default=1)
        if largest > self._options.max_bond:
            raise ArgumentError(
                f"Argument `max_bond` must be at least {largest} for this initial state, "
                f"but is {self._options.max_bond}."
            )
        return MatrixProductState(tuple(tensor.to(problem.device, dtype) for tensor in state.tensors))

    def _follow(self, indices: list[int], times: np.ndarray) -> None:
        options, error = self._options, self._problem.error
        span = abs(times[indices[-1]])
        allowed = _SHARE * error if error is not None else _DEFAULT_ERROR
        size = options.step
        if size is None:
            size, expected = self._guess_step(times[indices[-1]], allowed)
            if error is None:
                self.trotter_error = max(self.trotter_error, expected)
        if error is None:
            self._march(indices, times, size)
            return
        for _ in range(_ATTEMPTS):
            if span / size > _MOST_STEPS:
                break
            measured, reached = self._march_twice(indices, times, size, allowed)
            if measured <= allowed:
                self.trotter_error = max(self.trotter_error, measured)
                return
            if options.step is not None:
                raise ArgumentError(
                    f"Argument `step` must be smaller to keep `error` = {error:g}: with {size:g} the product "
                    f"formula is off by {measured:.1e} at t = {reached:g}."
                )
            expected = measured * span / abs(reached)
            size *= min(0.8, max(0.1, (0.7 * allowed / expected) ** (1 / options.order)))
        raise ArgumentError(f"Argument `error` is {error:g}, which steps of {size:.1e} cannot keep.")

    def _march(self, indices: list[int], times: np.ndarray, size: float) -> None:
        chain = self._start.copy()
        for index, duration, n_steps in self._stretches(indices, times, size):
            self._advance(chain, duration, n_steps)
            self._record(chain, index)

    def _march_twice(
        self, indices: list[int], times: np.ndarray, size: float, allowed: float
    ) -> tuple[float, float]:
        """Run with steps of ``size`` and of twice that; the error measured, and the time that was reached."""
        fine, coarse = self._start.copy(), self._start.copy()
        worst = 0.0
        for index, duration, n_steps in self._stretches(indices, times, 2 * size):
            self._propagator.advance(coarse, duration, n_steps)
            self._advance(fine, duration, 2 * n_steps)
            self._check_truncation(fine, times[index])
            state = fine.state()
            distance = _distance(coarse.state(), state)
            worst = max(worst, distance / (2**self._options.order - 1))
            if worst > allowed:
                return worst, float(times[index])
            self._record(fine, index, state)
        return worst, float(times[indices[-1]])

    def _check_truncation(self, chain: Chain, time: float) -> None:
        error = self._problem.error
        assert error is not None
        if chain.deviation > (1 - _SHARE) * error:
            raise ArgumentError(
                f"Argument `max_bond` must be more than {self._options.max_bond} to keep `error` = "
                f"{error:g}: truncation may be off by {chain.deviation:.1e} at t = {time:g}."
            )

    def _advance(self, chain: Chain, duration: float, n_steps: int) -> None:
        self._propagator.advance(chain, duration, n_steps)
        self.step = min(self.step, abs(duration) / n_steps)
        self.n_steps += n_steps

    def _record(self, chain: Chain, index: int, state: MatrixProductState | None = None) -> None:
        self.discarded[index], self.deviations[index] = chain.discarded, chain.deviation
        self.bonds[index] = chain.largest_bond
        self._recorder.put_mps(self._member, index, chain.state() if state is None else state)

    def _stretches(self, indices: list[int], times: np.ndarray, size: float) -> list[tuple[int, float, int]]:
        """Index, duration and number of steps of the way to every time, outwards."""
        places = [0.0, *(float(times[index]) for index in indices)]
        return [
            (index, end - start, max(1, int(np.ceil(abs(end - start) / size * (1 - 1e-12)))))
            for index, (start, end) in zip(indices, pairwise(places), strict=True)
        ]

    def _guess_step(self, end: float, error: float) -> tuple[float, float]:
        """The step that leaves ``error`` at the end, and the error expected of it, from a short stretch."""
        span, order = abs(end), self._options.order
        length = min(span, 0.5 / max(self._terms.largest_rate(), 1e-9))
        for _ in range(_ATTEMPTS):
            once, twice = self._start.copy(), self._start.copy()
            self._propagator.advance(once, np.copysign(length, end), 1)
            self._propagator.advance(twice, np.copysign(length, end), 2)
            difference = _distance(once.state(), twice.state())
            if difference < 1e-2:
                break
            length /= 2
        # A step leaves an error like tau^{p+1}, so that all of them leave one like tau^p.
        rate = max(difference, 1e-9) / (length ** (order + 1) * (1 - 0.5**order))
        size = min((error / (rate * span)) ** (1 / order), span)
        return size, rate * span * size**order


def _distance(first: MatrixProductState, second: MatrixProductState) -> float:
    """|first - second|; in single precision norms differ from 1 by more than the states from each other."""
    norms = first.overlap(first) + second.overlap(second)
    return float((norms - 2 * first.overlap(second)).real.clamp_min(0).sqrt())
