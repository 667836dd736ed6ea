"""Trajectories of a spin system as sequences: each with its own couplings and its own initial state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision
from qdyn.data.spins.spin_source import ClosedSource


@dataclass(frozen=True)
class Trajectories(ClosedSource):
    """States psi(t_j) = exp(-i H t_j) psi(0), or those of a driven system, at t_j = j ``time_step``.

    Args:
        hamiltonian: see `qdyn.data.spins.hamiltonian_recipe`.
        time_step: spacing of the stored states, in 1/J.
        n_steps: predictions a trajectory gives; it has one state more.
        initial_states: ``haar``, ``product`` or one product state for all: see `SpinSource`.
        method: how they are computed: see `ClosedSource`.
        error: largest error of an amplitude.
        drives: see `qdyn.data.spins.drive_recipe`.
    """

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return self.state_layout(precision)

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        found, conditions = self.evolve(seed, first, count)
        dtype = self.layout(precision).dtype
        states = [one.states.numpy().astype(dtype) for one in found if one.states is not None]
        return Block(np.concatenate(states), conditions)
