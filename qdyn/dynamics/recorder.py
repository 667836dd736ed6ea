"""Keeps what was asked of a time evolution while it runs: states, the last state, expectation values."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.dynamics.methods import Problem
from qdyn.memory import empty_tensor
from qdyn.quantum.observables import Observable

_BLOCK_BYTES = 32 * 2**20


class Recorder:
    """Receives the states of a problem in blocks of trajectories and times.

    Attributes:
        states: (trajectories, times, 2**n) where the problem stores states, else None.
        final_states: (trajectories, 2**n) where it stores the last ones, else None.
        expectations: for each observable (trajectories, times, *axes).
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        shape = (problem.n_trajectories, problem.n_times, problem.dimension)
        self.states = self._empty(*shape) if problem.store == "states" else None
        self.final_states = self._empty(*shape[::2]) if problem.store == "final" else None
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
        if self.final_states is not None and window.stop == self._problem.n_times:
            self.final_states[members] = states[:, -1].to(self.final_states.dtype)
        self._measure(members, window, states)

    def measure_stored(self) -> None:
        """Measure states that a method wrote into ``states`` itself, block by block."""
        assert self.states is not None
        for members, window in self.blocks():
            self._measure(members, window, self.states[members, window])

    def _measure(self, members: slice, window: slice, states: Tensor) -> None:
        for observable in self._problem.observables:
            values = observable.for_members(members).expectation(states)
            self.put_values(observable, members, window, values)

    def put_values(self, observable: Observable, members: slice, window: slice, values: Tensor) -> None:
        """Take expectation values, (trajectories, times, *axes), from a method that measures by itself."""
        problem = self._problem
        if observable.name not in self.expectations:
            dtype = torch.float32 if problem.dtype == torch.complex64 else torch.float64
            shape = (problem.n_trajectories, problem.n_times, *values.shape[2:])
            self.expectations[observable.name] = torch.empty(shape, dtype=dtype, device=problem.device)
        self.expectations[observable.name][members, window] = values.to(
            self.expectations[observable.name].dtype
        )

    def _empty(self, *shape: int) -> Tensor:
        if self._problem.device.type == "cpu":
            return empty_tensor(*shape, dtype=self._problem.dtype)
        return torch.empty(shape, dtype=self._problem.dtype, device=self._problem.device)
