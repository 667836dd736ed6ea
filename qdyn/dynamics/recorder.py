"""Keeps what was asked of a time evolution while it runs: states, the last state, expectation values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qdyn.dynamics.methods import Problem
from qdyn.memory import empty_tensor
from qdyn.quantum.observable import Observable

if TYPE_CHECKING:
    from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState

_BLOCK_BYTES = 32 * 2**20


class Recorder:
    """Receives the states of a problem in blocks of trajectories and times.

    Attributes:
        states: (trajectories, times, 2**n) where the problem stores states, else None.
        final_states: (trajectories, 2**n) where it stores the last ones and they came as vectors, else None.
        final_mps: the last ones by trajectory where they came as matrix-product states.
        expectations: for each observable (trajectories, times, *axes).
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        shape = (problem.n_trajectories, problem.n_times, problem.dimension)
        self.states = self._empty(*shape) if problem.store == "states" else None
        self.final_states: Tensor | None = None
        self.final_mps: dict[int, MatrixProductState] = {}
        self.expectations: dict[str, Tensor] = {}

    def blocks(self, *, vectors: int = 4) -> list[tuple[slice, slice]]:
        """Cut the problem into blocks (trajectories, times) that a method can work on in bounded memory.

        Args:
            vectors: complex128 vectors of length 2**n that the method needs for each state of a block.
        """
        problem = self._problem
        room = max(1, _BLOCK_BYTES // (16 * vectors * problem.dimension))
        members = min(problem.n_trajectories, room)
        window = min(problem.n_times, max(1, room // members))
        return [
            (
                slice(first, min(first + members, problem.n_trajectories)),
                slice(start, min(start + window, problem.n_times)),
            )
            for first in range(0, problem.n_trajectories, members)
            for start in range(0, problem.n_times, window)
        ]

    def put(self, members: slice, window: slice, states: Tensor) -> None:
        """Take the states of some trajectories at some times.

        Args:
            members: which trajectories, a slice with start and stop.
            window: which times.
            states: their states, (trajectories, times, 2**n), of either precision.
        """
        if self.states is not None:
            self.states[members, window] = states.to(self.states.dtype)
        problem = self._problem
        if problem.store == "final" and window.stop == problem.n_times:
            if self.final_states is None:
                self.final_states = self._empty(problem.n_trajectories, problem.dimension)
            self.final_states[members] = states[:, -1].to(self.final_states.dtype)
        self._measure(members, window, states)

    def put_mps(self, member: int, index: int, state: MatrixProductState) -> None:
        """Take the state of one trajectory at one time, in factors.

        Args:
            member: which trajectory.
            index: which time.
            state: its state; becomes a vector only where the problem stores all states.
        """
        problem = self._problem
        members, window = slice(member, member + 1), slice(index, index + 1)
        if self.states is not None:
            self.states[member, index] = state.vector().to(self.states)
        if problem.store == "final" and index == problem.n_times - 1:
            self.final_mps[member] = state
        for observable in problem.observables:
            value = observable.for_members(members).for_times(window).measure(state)
            self.put_values(observable, members, window, value[None, None])

    def measure_stored(self) -> None:
        """Measure states that a method wrote into ``states`` itself, block by block."""
        assert self.states is not None
        for members, window in self.blocks():
            self._measure(members, window, self.states[members, window])

    def _measure(self, members: slice, window: slice, states: Tensor) -> None:
        for observable in self._problem.observables:
            values = observable.for_members(members).for_times(window).expectation(states)
            self.put_values(observable, members, window, values)

    def put_values(self, observable: Observable, members: slice, window: slice, values: Tensor) -> None:
        """Take expectation values, (trajectories, times, *axes), from a method that measures by itself."""
        problem = self._problem
        if observable.name not in self.expectations:
            real = torch.float32 if problem.dtype == torch.complex64 else torch.float64
            dtype = observable.dtype or real
            shape = (problem.n_trajectories, problem.n_times, *values.shape[2:])
            self.expectations[observable.name] = torch.empty(shape, dtype=dtype, device=problem.device)
        self.expectations[observable.name][members, window] = values.to(
            self.expectations[observable.name].dtype
        )

    def _empty(self, *shape: int) -> Tensor:
        if self._problem.device.type == "cpu":
            return empty_tensor(*shape, dtype=self._problem.dtype)
        return torch.empty(shape, dtype=self._problem.dtype, device=self._problem.device)
