"""Local observables along a trajectory as real sequences: exact, or estimated from a number of shots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, generator_of
from qdyn.data.spins.spin_source import SHOTS, ClosedSource
from qdyn.errors import ConfigError, nearest
from qdyn.quantum.lattices import Bonds
from qdyn.quantum.local_observables import (
    local_names,
    local_observables,
    outcome_probabilities,
    outcome_values,
)
from qdyn.quantum.observables import Axis

# Amplitudes that are computed for one block.
_BLOCK_AMPLITUDES = 1 << 23
# Counts of so many are exact in a double.
_MOST_SHOTS = 1 << 53


@dataclass(frozen=True)
class ObservableSeries(ClosedSource):
    """<sigma_i> of every site along some axes and, if asked for, <sigma_i sigma_j> of neighbours.

    With a number of shots S these are estimates: at each time and for each axis, S copies of the system are
    prepared anew and every site is measured along the axis; a component is the mean of the S products of
    signs +1 and -1 that it stands for. Components of one axis come from the same shots.

    Args:
        hamiltonian: see `qdyn.data.spins.hamiltonian_recipe`.
        time_step: spacing of the elements, in 1/J.
        n_steps: predictions a sequence gives; it has one element more.
        initial_states: see `SpinSource`.
        method: how the states are computed: see `ClosedSource`.
        error: largest error of an amplitude.
        drives: see `qdyn.data.spins.drive_recipe`.
        axes: which of x, y and z.
        correlators: whether the products on the bonds of the lattice belong to an element.
        shots: S from 1 to 2**53 for each axis and time; null for exact expectation values.

    The shots of trajectory i of seed s are drawn from ``SeedSequence(s, spawn_key=(i, 4))``.
    """

    axes: tuple[str, ...] = field(kw_only=True)
    correlators: bool = False
    shots: int | None = None

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        names = [name for axis in self._axes for name in local_names(axis, self.chain.n_sites, self._bonds)]
        return Layout(
            kind="real",
            dimension=len(names),
            length=self.n_steps + 1,
            dtype="float32" if precision == "single" else "float64",
            times=tuple(self.times.tolist()),
            components=tuple(names),
            conditions=self.condition_units(),
            units={"time": "1/J"},
            normalised=False,
        )

    def block_size(self) -> int:
        """See `Source.block_size`; a block is also no more work than a wish for a few sequences is worth."""
        amplitudes = (self.n_steps + 1) * 2**self.chain.n_sites
        return max(1, min(super().block_size(), _BLOCK_AMPLITUDES // amplitudes))

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        if self.shots is None:
            measured = [local_observables(axis, self.chain.n_sites, self._bonds) for axis in self._axes]
            found, conditions = self.evolve(seed, first, count, observables=measured)
            series = [torch.cat([one.expectations[seen.name] for seen in measured], dim=-1) for one in found]
            values = torch.cat(series).numpy()
        else:
            found, conditions = self.evolve(seed, first, count)
            states = torch.cat([one.states for one in found if one.states is not None])
            values = np.stack(
                [
                    self._estimates(state, generator_of(seed, first + index, SHOTS))
                    for index, state in enumerate(states)
                ]
            )
        return Block(values.astype(self.layout(precision).dtype), conditions)

    @property
    def _axes(self) -> tuple[Axis, ...]:
        return cast(tuple[Axis, ...], self.axes)

    @property
    def _bonds(self) -> Bonds:
        return self.chain.bonds if self.correlators else ()

    def _estimates(self, states: torch.Tensor, random: np.random.Generator) -> NDArray[np.float64]:
        """One trajectory's elements (times, components) from its states (times, 2**n)."""
        assert self.shots is not None
        signs = outcome_values(self.chain.n_sites, self._bonds).numpy()
        found = []
        for axis in self._axes:
            probabilities = outcome_probabilities(states, axis).numpy()
            # numpy refuses a sum that rounding has put above 1.
            probabilities /= probabilities.sum(axis=-1, keepdims=True)
            found.append(random.multinomial(self.shots, probabilities) @ signs / self.shots)
        return np.concatenate(found, axis=-1)

    def _states_bytes(self) -> int:
        if self.shots is not None:
            return super()._states_bytes()
        # Measured on the way; no state is kept, but some are turned into another basis.
        elements = 16 * (self.n_steps + 1) * self.layout("double").dimension
        return elements + 16 * 16 * 2**self.chain.n_sites

    def _check(self) -> None:
        super()._check()
        valid = get_args(Axis)
        for axis in self.axes:
            if axis not in valid:
                raise ConfigError(f"`axes` holds {axis!r}, which is unknown: {nearest(axis, valid)}")
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise ConfigError(f"`axes` must hold some of x, y and z once, but is {list(self.axes)!r}.")
        if self.shots is not None and self.shots < 1:
            raise ConfigError(f"`shots` must be an integer >= 1 or null, but is {self.shots}.")
        if self.shots is not None and self.shots > _MOST_SHOTS:
            raise ConfigError(f"`shots` must be at most {_MOST_SHOTS}, but is {self.shots}: null is exact.")
