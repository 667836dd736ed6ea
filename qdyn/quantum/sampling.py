"""Configurations: what a measurement of every site gives, shot by shot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from qdyn.checks import check_choice, check_integer, qubits_of_dimension
from qdyn.quantum.factorised import Axis, FactorisedState
from qdyn.quantum.local_observables import outcome_probabilities
from qdyn.quantum.observable import Observable


def samples(shots: int, *, axis: Axis = "z", seed: int) -> Observable:
    """Sampled configurations at every time, for ``evolve(observables=...)``.

    The values have the axes "shot" and "site": 0 where the outcome along the axis is +1 (as of |0> along z),
    1 where it is -1. Time j of trajectory i draws from ``SeedSequence(seed, spawn_key=(i, j))``, so that its
    samples depend on no other trajectory and no other time; more shots begin with those of fewer.

    Args:
        shots: number of configurations a state, at least 1.
        axis: "x", "y" or "z": along which every site is measured.
        seed: integer >= 0.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> samples(2, seed=0).expectation(product_state("01"))
        tensor([[0, 1],
                [0, 1]], dtype=torch.uint8)
    """
    check_integer("shots", shots, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_choice("axis", axis, get_args(Axis))
    label = rf"outcomes along ${axis}$"
    return Samples(
        name=f"samples_{axis}", label=label, axes=("shot", "site"), shots=shots, axis=axis, seed=seed
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples(Observable):
    """See `samples`; the first trajectory and time say which part of a batch this is."""

    shots: int
    axis: Axis
    seed: int
    first_trajectory: int = 0
    first_time: int = 0

    @property
    def dtype(self) -> torch.dtype | None:
        """Bits, not real numbers."""
        return torch.uint8

    def size(self, n_sites: int) -> int:
        """How many numbers it gives for a state of ``n_sites`` sites."""
        return self.shots * n_sites

    def expectation(self, states: Complex[Tensor, "*batch dim"]) -> Tensor:
        """The samples of ``states``, (..., 2**n) -> (..., shots, n); the axes before are trajectory, time."""
        n_sites = qubits_of_dimension("states", states.shape[-1])
        leading = states.shape[:-1]
        flat = states.to(torch.complex128).reshape(-1, states.shape[-1])
        weights = outcome_probabilities(flat, self.axis).numpy(force=True)
        n_times = leading[1] if len(leading) > 1 else 1
        found = np.empty((len(weights), self.shots, n_sites), dtype=np.uint8)
        shifts = np.arange(n_sites - 1, -1, -1)
        for place, weight in enumerate(weights):
            cumulative = np.cumsum(weight)
            draws = np.random.default_rng(self._stream(*divmod(place, n_times))).random(self.shots)
            index = np.searchsorted(cumulative, draws * cumulative[-1], side="right")
            found[place] = index[:, None] >> shifts & 1
        return torch.from_numpy(found).reshape(*leading, self.shots, n_sites).to(states.device)

    def measure(self, state: FactorisedState) -> Tensor:
        """The samples of one state in factors, (shots, n)."""
        return state.sample(self.shots, axis=self.axis, seed=self._stream(0, 0))

    def for_members(self, members: slice) -> Observable:
        """The same for a part of the batch."""
        return replace(self, first_trajectory=self.first_trajectory + members.start)

    def for_times(self, window: slice) -> Observable:
        """The same for a part of the times."""
        return replace(self, first_time=self.first_time + window.start)

    def _stream(self, trajectory: int, time: int) -> np.random.SeedSequence:
        key = (self.first_trajectory + trajectory, self.first_time + time)
        return np.random.SeedSequence(self.seed, spawn_key=key)


def outcome_basis(axis: Axis) -> Complex[Tensor, "2 2"]:
    """The unitary that turns the eigenstates of an axis, +1 first, into |0> and |1>.

    >>> outcome_basis("x").real
    tensor([[ 0.7071,  0.7071],
            [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    if axis == "z":
        return torch.eye(2, dtype=torch.complex128)
    unit = 1.0 if axis == "x" else -1j
    return torch.tensor([[1, unit], [1, -unit]], dtype=torch.complex128) * 0.5**0.5
