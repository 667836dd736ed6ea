"""Quantum-jump trajectories as sequences: systems that are watched by their environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, generator_of
from qdyn.data.spins.draws import Number, Uniform, extremes, read_number
from qdyn.data.spins.hamiltonian_recipe import conditions_of
from qdyn.data.spins.spin_source import ENVIRONMENT, JUMPS, SpinSource, integer_seed, member
from qdyn.dynamics.open_systems.jumps import quantum_jumps
from qdyn.errors import ConfigError, nearest
from qdyn.quantum.channels import Channel, Rates, decay, dephasing, depolarising, excitation

#: The channels that a recipe may name.
CHANNELS: dict[str, Callable[[Rates], Channel]] = {
    "dephasing": dephasing,
    "decay": decay,
    "excitation": excitation,
    "depolarising": depolarising,
}


@dataclass(frozen=True)
class QuantumJumps(SpinSource):
    """Normalised states of single quantum-jump trajectories; their average solves the Lindblad equation.

    Args:
        hamiltonian: see `qdyn.data.spins.hamiltonian_recipe`.
        time_step: spacing of the stored states, in 1/J.
        n_steps: predictions a trajectory gives; it has one state more.
        initial_states: see `SpinSource`.
        channels: a rate, in J, for each channel in `CHANNELS`: a number; ``{uniform: [low, high]}``, drawn
            for each trajectory, with ``per: site`` for each of its sites; or a list with one number a site.
        error: largest error of an amplitude between jumps.

    Trajectory i of seed s draws its rates, in the order of their names, from
    ``SeedSequence(s, spawn_key=(i, 2))``, and its jumps from ``SeedSequence(s, spawn_key=(i, 3))``.
    """

    channels: Mapping[str, Any] = field(kw_only=True)
    error: float | None = None

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return self.state_layout(precision)

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        hamiltonians, initial = self.hamiltonians(seed, first, count), self.initial(seed, first, count)
        times = torch.from_numpy(self.times)
        states, known = [], []
        for index in range(count):
            rates = self._draw_rates(generator_of(seed, first + index, ENVIRONMENT))
            own = member(hamiltonians, index)
            # One by one: each has rates and random numbers of its own.
            found = quantum_jumps(
                own,
                initial[index],
                times,
                channels=[CHANNELS[name](rate) for name, rate in rates.items()],
                trajectories=1,
                seed=integer_seed(seed, first + index, JUMPS),
                error=self.error,
            ).states
            assert found is not None
            states.append(found.numpy().astype(self.layout(precision).dtype))
            known.append(conditions_of(own, 1) | _rate_conditions(rates))
        together = {name: np.concatenate([one[name] for one in known]) for name in known[0]}
        return Block(np.concatenate(states), together)

    def condition_units(self) -> dict[str, str]:
        """See `SpinSource.condition_units`."""
        rates = self._draw_rates(np.random.default_rng(0))
        return super().condition_units() | dict.fromkeys(_rate_conditions(rates), "J")

    @property
    def _rates(self) -> dict[str, Number]:
        """The rate of each channel; sorted, since a fingerprint does not know the order of keys."""
        per_site = {"site": self.chain.n_sites}
        return {
            name: read_number(f"channels.{name}", self.channels[name], per=per_site)
            for name in sorted(self.channels)
        }

    def _draw_rates(self, random: np.random.Generator) -> dict[str, float | NDArray[np.float64]]:
        return {
            name: rate.draw(random)
            if isinstance(rate, Uniform)
            else np.array(rate)
            if isinstance(rate, tuple)
            else rate
            for name, rate in self._rates.items()
        }

    def _check(self) -> None:
        super()._check()
        if not self.channels:
            raise ConfigError("`channels` must name at least one channel, but is empty.")
        for name in self.channels:
            if name not in CHANNELS:
                raise ConfigError(f"unknown key `channels.{name}`: {nearest(name, CHANNELS)}")
        for name, rate in self._rates.items():
            if extremes(rate)[0] < 0:
                raise ConfigError(f"`channels.{name}` must be >= 0, but is {self.channels[name]!r}.")
        if self.error is not None and self.error <= 0:
            raise ConfigError(f"`error` must be > 0, but is {self.error}.")


def _rate_conditions(rates: Mapping[str, float | NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The rates as conditions of one trajectory: "dephasing_rate", or "dephasing_rate_3" of site 3."""
    found: dict[str, NDArray[np.float64]] = {}
    for name, rate in rates.items():
        if isinstance(rate, np.ndarray):
            found |= {f"{name}_rate_{site}": rate[site : site + 1] for site in range(len(rate))}
        else:
            found[f"{name}_rate"] = np.array([rate])
    return found
