"""Trajectories of a spin chain as sequences: each with its own couplings and its own initial state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, Source, generator_of
from qdyn.dynamics.evolve import METHODS, evolve
from qdyn.errors import ConfigError, QdynError, nearest
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.states import haar_random_states, product_state, random_product_states

#: The Hamiltonians that a recipe may name.
MODELS: dict[str, type[Hamiltonian]] = {"transverse_field_ising": TransverseFieldIsing}

# What one block may take, in bytes of working memory.
_BLOCK_BYTES = 1 << 27


@dataclass(frozen=True)
class Trajectories(Source):
    """States psi(t_j) = exp(-i H t_j) psi(0) at t_j = j ``time_step``, j = 0 … ``n_steps``.

    Args:
        hamiltonian: ``model`` (see `MODELS`) and its arguments. A coupling is a number, or ``{uniform: [low,
            high]}``: then each trajectory draws its own.
        time_step: spacing of the stored states, in 1/J.
        n_steps: predictions a trajectory gives; it has one state more.
        initial_states: ``haar`` (random states of the whole chain), ``product`` (random product states), or
            one product state for all of them, such as ``"+0+0"``.
        method: how they are computed: see `qdyn.evolve`. With "auto" the choice, and with it the last bits,
            may depend on the machine.

    Trajectory i of seed s draws its couplings, in the order of the model's arguments, from
    ``SeedSequence(s, spawn_key=(i, 0))`` and its initial state from ``SeedSequence(s, spawn_key=(i, 1))``.
    """

    hamiltonian: Mapping[str, Any]
    time_step: float
    n_steps: int
    initial_states: str = "haar"
    method: str = "exact"

    def __post_init__(self) -> None:
        if self.time_step <= 0:
            raise ConfigError(f"`time_step` must be > 0, but is {self.time_step}.")
        if self.n_steps < 1:
            raise ConfigError(f"`n_steps` must be an integer >= 1, but is {self.n_steps}.")
        known = [field.name for field in fields(cast(Any, self._model))]
        for name in self.hamiltonian:
            if name not in ("model", *known):
                raise ConfigError(f"unknown key `hamiltonian.{name}`: {nearest(name, known)}")
        try:
            self._hamiltonian({name: np.array([low]) for name, (low, _) in self._drawn.items()})
            self._initial_states(0, 0, 1)
            check_choice("method", self.method, ["auto", *METHODS])
        except QdynError as problem:
            raise ConfigError(str(problem)) from problem

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        couplings = self._hamiltonian(
            {name: np.array([low]) for name, (low, _) in self._drawn.items()}
        ).parameters
        return Layout(
            kind="quantum_state",
            dimension=2**self._n_sites,
            length=self.n_steps + 1,
            dtype="complex64" if precision == "single" else "complex128",
            times=tuple(self._times.tolist()),
            conditions=dict.fromkeys(couplings, "J"),
            units={"time": "1/J"},
        )

    def block_size(self) -> int:
        """See `Source.block_size`."""
        return max(1, min(64, _BLOCK_BYTES // self._bytes_each))

    def working_bytes(self) -> int:
        """See `Source.working_bytes`."""
        return self.block_size() * self._bytes_each

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        drawn = {name: np.empty(count) for name in self._drawn}
        for index in range(count):
            random = generator_of(seed, first + index, 0)
            for name, (low, high) in self._drawn.items():
                drawn[name][index] = random.uniform(low, high)
        hamiltonian = self._hamiltonian(drawn)
        initial = self._initial_states(seed, first, count)
        states = evolve(hamiltonian, initial, torch.from_numpy(self._times), method=self.method).states
        assert states is not None
        couplings = {
            name: np.broadcast_to(value.numpy(), (count,)) for name, value in hamiltonian.parameters.items()
        }
        return Block(states.numpy().astype(self.layout(precision).dtype), couplings)

    @property
    def _model(self) -> type[Hamiltonian]:
        name = self.hamiltonian.get("model")
        if name not in MODELS:
            raise ConfigError(
                f"`hamiltonian.model` is {name!r}, which is unknown: {nearest(str(name), MODELS)}"
            )
        return MODELS[name]

    @property
    def _n_sites(self) -> int:
        return int(self.hamiltonian["n_sites"])

    @property
    def _times(self) -> np.ndarray:
        return self.time_step * np.arange(self.n_steps + 1)

    @property
    def _drawn(self) -> dict[str, tuple[float, float]]:
        """The range of each coupling that a trajectory draws, in the order of the model's arguments."""
        ranges = {}
        for name in (field.name for field in fields(cast(Any, self._model))):
            value = self.hamiltonian.get(name)
            if isinstance(value, Mapping):
                ranges[name] = _uniform_range(name, value)
            elif isinstance(value, list | tuple):
                raise ConfigError(f"`hamiltonian.{name}` must be one number, but is {value!r}.")
        return ranges

    @property
    def _bytes_each(self) -> int:
        """Working memory of one trajectory: the states as computed and as stored, and a dense matrix."""
        dimension = 2**self._n_sites
        dense = 24 * dimension**2 if self.method in ("exact", "auto") else 0
        return 24 * (self.n_steps + 1) * dimension + dense

    def _hamiltonian(self, drawn: Mapping[str, np.ndarray]) -> Hamiltonian:
        given = {name: value for name, value in self.hamiltonian.items() if name != "model"}
        return self._model(**{**given, **{name: torch.from_numpy(values) for name, values in drawn.items()}})

    def _initial_states(self, seed: int, first: int, count: int) -> Tensor:
        if self.initial_states not in ("haar", "product"):
            state = product_state(self.initial_states)
            if len(state) != 2**self._n_sites:
                raise ConfigError(
                    f"`initial_states` must name {self._n_sites} sites, but is {self.initial_states!r}."
                )
            return state.expand(count, -1)
        draw = haar_random_states if self.initial_states == "haar" else random_product_states
        seeds = [np.random.SeedSequence(seed, spawn_key=(first + index, 1)) for index in range(count)]
        return torch.stack(
            [draw(n_qubits=self._n_sites, seed=int(one.generate_state(1, np.uint64)[0])) for one in seeds]
        )


def _uniform_range(name: str, drawn: Mapping[str, Any]) -> tuple[float, float]:
    bounds = drawn.get("uniform")
    if set(drawn) == {"uniform"} and isinstance(bounds, list | tuple) and len(bounds) == 2:
        low, high = bounds
        if _is_number(low) and _is_number(high) and low < high:
            return float(low), float(high)
    raise ConfigError(
        f"`hamiltonian.{name}` must be a number or {{uniform: [low, high]}} with low < high, but is "
        f"{dict(drawn)!r}."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
