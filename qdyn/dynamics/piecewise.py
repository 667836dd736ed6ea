"""Drives that are constant between their steps: one static evolution after the other.

A quench, a sequence of quenches, or a square wave is no smooth drive that a solver would have to follow, but
a few static Hamiltonians. Each is evolved by the method that suits it best, from the state that the one
before it left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from qdyn.dynamics.methods import Estimate, Problem, choose_static_method
from qdyn.dynamics.recorder import Recorder
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian, SampledDrive
from qdyn.quantum.pauli_sum import PauliSum

# So many pieces, spread evenly, stand for all of them in an estimate.
_LOOKED_AT = 8
# What a piece costs beside its evolution: to choose a method and to begin with it.
_SECONDS_A_PIECE = 2e-3


def evolve_piecewise(problem: Problem, recorder: Recorder) -> dict[str, float | str]:
    """Solve ``problem`` piece by piece, in double precision.

    Raises:
        ArgumentError: the Hamiltonian is not constant between steps.
    """
    pieces = _Pieces(problem)
    used: dict[str, None] = {}
    start = states = problem.initial_states
    for index in np.flatnonzero(problem.times.numpy() == 0):
        recorder.put(slice(0, len(start)), slice(int(index), int(index) + 1), start[:, None])
    for number, stretch in enumerate(pieces.stretches):
        piece = pieces.piece(number, start if stretch.start == 0 else states)
        method, _ = choose_static_method(piece.problem)
        forwarding = _Forwarding(piece, recorder)
        method.function(piece.problem, forwarding)
        used[method.name] = None
        states = forwarding.end
    return {"pieces": float(len(pieces)), "methods": ", ".join(used)}


def estimate_piecewise(problem: Problem) -> Estimate:
    """The errors of all pieces together, the largest memory, and the sum of the times.

    Raises:
        ArgumentError: the Hamiltonian is not constant between steps.
    """
    pieces = _Pieces(problem)
    if not len(pieces):
        return Estimate(0.0, 0, 0.0)
    places = np.unique(np.linspace(0, len(pieces) - 1, _LOOKED_AT).round().astype(int))
    # What a method costs does not depend on the state.
    state = torch.zeros(1, problem.dimension, dtype=torch.complex128, device=problem.device)
    found = [choose_static_method(pieces.piece(int(place), state).problem)[1] for place in places]
    scale = len(pieces) / len(found)
    rounding = 1e-7 if problem.dtype == torch.complex64 else 0.0
    return Estimate(
        error=scale * sum(one.error for one in found) + rounding,
        memory=max(one.memory for one in found) + 32 * problem.dimension * problem.n_trajectories,
        seconds=scale * sum(one.seconds for one in found) + _SECONDS_A_PIECE * len(pieces),
    )


@dataclass(frozen=True)
class _Stretch:
    """From ``start`` to ``end``, away from t = 0, with the same factors of all parts."""

    start: float
    end: float
    factors: tuple[float, ...]


@dataclass(frozen=True)
class _Piece:
    """One static evolution.

    Attributes:
        problem: its times are those since it began that are asked for, and that of its end.
        end: the place of the end among them.
        asked: the places of those that are asked for.
        shift: from these places to those among all times.
    """

    problem: Problem
    end: int
    asked: range
    shift: int


class _Forwarding(Recorder):
    """Hands the states of a piece to the recorder of the whole, and keeps those at its end.

    Attributes:
        end: (trajectories, 2**n).
    """

    def __init__(self, piece: _Piece, whole: Recorder) -> None:
        super().__init__(piece.problem)
        self._piece, self._whole = piece, whole
        self.end = torch.empty_like(piece.problem.initial_states, memory_format=torch.contiguous_format)

    def put(self, members: slice, window: slice, states: Tensor) -> None:
        """See `Recorder.put`."""
        piece = self._piece
        if window.start <= piece.end < window.stop:
            self.end[members] = states[:, piece.end - window.start].to(self.end.dtype)
        first, stop = max(window.start, piece.asked.start), min(window.stop, piece.asked.stop)
        if first < stop:
            own = states[:, first - window.start : stop - window.start]
            self._whole.put(members, slice(first + piece.shift, stop + piece.shift), own)


def _stretches(problem: Problem) -> list[_Stretch]:
    """From where to where the Hamiltonian stays as it is: before t = 0 outwards, then after it.

    Raises:
        ArgumentError: the Hamiltonian is not constant between steps, or the samples do not cover the times.
    """
    hamiltonian = problem.hamiltonian
    if not isinstance(hamiltonian, DrivenHamiltonian) or not all(
        isinstance(function, SampledDrive) and function.kind == "steps" for function in hamiltonian.functions
    ):
        raise ArgumentError(
            "Argument `method` 'piecewise' is for drives that are all SampledDrive(kind='steps'), "
            f"but the Hamiltonian is {hamiltonian!r:.90}."
        )
    found: list[_Stretch] = []
    for edge in problem.interval:
        if edge == 0:
            continue
        breaks = hamiltonian.breaks(min(0.0, edge), max(0.0, edge))
        for start, end in pairwise([0.0, *sorted(breaks, key=abs), edge]):
            middle = (start + end) / 2
            factors = tuple(hamiltonian.around(middle)(middle).tolist())
            same = start != 0 and found[-1].factors == factors
            found.append(_Stretch(found.pop().start if same else start, end, factors))
    return found


class _Pieces:
    """Makes the pieces of a problem, one by one: there may be thousands."""

    def __init__(self, problem: Problem) -> None:
        self.stretches = _stretches(problem)
        assert isinstance(problem.hamiltonian, DrivenHamiltonian)
        self._problem = problem
        words, self._table = problem.hamiltonian.strings()
        self._names = [" ".join(f"{letter}{site}" for site, letter in word) for word in words]

    def __len__(self) -> int:
        return len(self.stretches)

    def piece(self, number: int, states: Tensor) -> _Piece:
        """One of them, from ``states`` on."""
        stretch, times = self.stretches[number], self._problem.times
        forwards = stretch.end > stretch.start
        within = (times > stretch.start) & (times <= stretch.end)
        if not forwards:
            within = (times < stretch.start) & (times >= stretch.end)
        asked = torch.nonzero(within).flatten()
        own, length = times[asked] - stretch.start, stretch.end - stretch.start
        if not len(own) or float(own[-1 if forwards else 0]) != length:
            extra = torch.tensor([length], dtype=torch.float64)
            own = torch.cat([own, extra] if forwards else [extra, own])
        first = 0 if forwards else len(own) - len(asked)
        problem = replace(
            self._problem,
            hamiltonian=self._hamiltonian(stretch.factors),
            start=states,
            times=own,
            observables=(),
            store="none",
            error=None if self._problem.error is None else self._problem.error / len(self),
            dtype=torch.complex128,
        )
        return _Piece(
            problem,
            end=len(own) - 1 if forwards else 0,
            asked=range(first, first + len(asked)),
            shift=int(asked[0]) - first if len(asked) else 0,
        )

    def _hamiltonian(self, factors: tuple[float, ...]) -> PauliSum:
        """The parts that act; symmetries are those of what is there."""
        coefficients = torch.tensordot(torch.tensor(factors, dtype=torch.float64), self._table, dims=1)
        acts = (coefficients != 0).reshape(-1, len(self._names)).any(dim=0)
        acts[0] |= not bool(acts.any())
        names = [name for name, one in zip(self._names, acts.tolist(), strict=True) if one]
        return PauliSum(names, coefficients[..., acts], self._problem.n_sites)
