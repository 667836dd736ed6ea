"""What the sources of quantum trajectories share: Hamiltonians, initial states and times, drawn by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_positive
from qdyn.data.layout import Layout
from qdyn.data.source import Precision, Source, generator_of
from qdyn.data.spins.drive_recipe import DriveRecipe, read_drives
from qdyn.data.spins.hamiltonian_recipe import (
    HamiltonianRecipe,
    conditions_of,
    read_hamiltonian,
    units_of,
)
from qdyn.dynamics.evolve import METHODS, evolve
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import ConfigError, QdynError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable
from qdyn.quantum.states import haar_random_states, product_state, random_product_states

# What one block may take, in bytes of working memory.
_BLOCK_BYTES = 1 << 27

# State vectors that a method of time evolution keeps beside what is stored, at most.
_WORK_VECTORS = 12
# Sites beyond which "auto" diagonalises nothing.
_LARGEST_DENSE = 10

# The second number of the spawn key of a sequence's random numbers, by what they are for.
COUPLINGS, INITIAL_STATE, ENVIRONMENT, JUMPS, SHOTS, DRIVES = range(6)

Conditions = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class SpinSource(Source):
    """Spin systems that start at t = 0 and are looked at at t_j = j ``time_step``, j = 0 … ``n_steps``.

    Args:
        hamiltonian: see `qdyn.data.spins.hamiltonian_recipe`. What is drawn is drawn for each trajectory.
        time_step: spacing of the elements, in 1/J.
        n_steps: predictions a sequence gives; it has one element more.
        initial_states: ``haar`` (random states of the whole system), ``product`` (random product states), or
            one product state for all of them, such as ``"+0+0"``.

    Trajectory i of seed s draws its couplings, in the order of the model's arguments, from
    ``SeedSequence(s, spawn_key=(i, 0))`` and its initial state from ``SeedSequence(s, spawn_key=(i, 1))``.
    """

    hamiltonian: Mapping[str, Any]
    time_step: float
    n_steps: int
    initial_states: str = "haar"

    def __post_init__(self) -> None:
        if self.time_step <= 0:
            raise ConfigError(f"`time_step` must be > 0, but is {self.time_step}.")
        if self.n_steps < 1:
            raise ConfigError(f"`n_steps` must be an integer >= 1, but is {self.n_steps}.")
        try:
            self._check()
        except QdynError as problem:
            raise ConfigError(str(problem)) from problem

    @property
    def chain(self) -> HamiltonianRecipe:
        """The Hamiltonian, up to what each trajectory draws for itself."""
        return read_hamiltonian(self.hamiltonian)

    @property
    def times(self) -> NDArray[np.float64]:
        """t_0 … t_n, in 1/J."""
        return np.asarray(self.time_step * np.arange(self.n_steps + 1), dtype=np.float64)

    def block_size(self) -> int:
        """See `Source.block_size`."""
        return max(1, min(64, _BLOCK_BYTES // self._bytes_each()))

    def working_bytes(self) -> int:
        """See `Source.working_bytes`."""
        return self.block_size() * self._bytes_each()

    def condition_units(self) -> dict[str, str]:
        """The unit of everything that is known of a trajectory, by name."""
        return units_of(self.chain.form())

    def state_layout(self, precision: Precision) -> Layout:
        """The layout of sequences of states."""
        return Layout(
            kind="quantum_state",
            dimension=2**self.chain.n_sites,
            length=self.n_steps + 1,
            dtype="complex64" if precision == "single" else "complex128",
            times=tuple(self.times.tolist()),
            conditions=self.condition_units(),
            units={"time": "1/J"},
        )

    def hamiltonians(self, seed: int, first: int, count: int) -> Hamiltonian:
        """Those of ``count`` trajectories from number ``first`` on, as a batch."""
        chain = self.chain
        return chain.of([chain.draw(generator_of(seed, first + i, COUPLINGS)) for i in range(count)])

    def initial(self, seed: int, first: int, count: int) -> Tensor:
        """The initial states of ``count`` trajectories from number ``first`` on, (count, 2**n)."""
        n_sites = self.chain.n_sites
        if self.initial_states not in ("haar", "product"):
            state = product_state(self.initial_states)
            if len(state) != 2**n_sites:
                raise ConfigError(
                    f"`initial_states` must name {n_sites} sites, but is {self.initial_states!r}."
                )
            return state.expand(count, -1)
        draw = haar_random_states if self.initial_states == "haar" else random_product_states
        seeds = [integer_seed(seed, first + index, INITIAL_STATE) for index in range(count)]
        return torch.stack([draw(n_qubits=n_sites, seed=one) for one in seeds])

    def _check(self) -> None:
        """Refuse what does not fit together; subclasses add to it."""
        if self.initial_states not in ("haar", "product"):
            self.initial(0, 0, 1)
        self.hamiltonians(0, 0, 1)

    def _bytes_each(self) -> int:
        """Working memory of a trajectory."""
        return self._states_bytes()

    def _states_bytes(self) -> int:
        """The states of a trajectory as computed and as stored, and vectors to work with."""
        return (24 * (self.n_steps + 1) + 16 * _WORK_VECTORS) * 2**self.chain.n_sites


@dataclass(frozen=True)
class ClosedSource(SpinSource):
    """Closed systems, possibly driven: i d psi / dt = (H_0 + sum_k f_k(t) H_k) psi.

    Args:
        method: how the states are computed: see `qdyn.evolve`. With "auto" the choice, and with it the last
            bits, may depend on the machine.
        error: largest error of an amplitude; see `qdyn.evolve`.
        drives: see `qdyn.data.spins.drive_recipe`. Drive k of trajectory i draws its parameters, then its
            couplings, from ``SeedSequence(s, spawn_key=(i, 5, k))``.
    """

    method: str = "exact"
    error: float | None = None
    drives: tuple[Mapping[str, Any], ...] = ()

    def condition_units(self) -> dict[str, str]:
        """See `SpinSource.condition_units`."""
        found = super().condition_units()
        for place, drive in enumerate(self._drives):
            units = {**drive.units, **units_of(drive.hamiltonian.form())}
            found |= {f"drive_{place}_{name}": unit for name, unit in units.items()}
        return found

    def evolve(
        self, seed: int, first: int, count: int, *, observables: list[Observable] | None = None
    ) -> tuple[list[Trajectory], Conditions]:
        """The trajectories from number ``first`` on, in batches, and what is known of each.

        Args:
            seed: of the recipe.
            first: number of the first trajectory.
            count: how many.
            observables: what to measure; the states are kept where nothing is.
        """
        static, initial = self.hamiltonians(seed, first, count), self.initial(seed, first, count)
        settings: dict[str, Any] = {"method": self.method, "error": self.error, "observables": observables}
        settings["store"] = "none" if observables else "states"
        times = torch.from_numpy(self.times)
        if not self.drives:
            return [evolve(static, initial, times, **settings)], conditions_of(static, count)
        # One by one: a pulse may differ between trajectories in more than a factor.
        members = [member(static, index) for index in range(count)]
        driven = [self._driven(one, seed, first + index) for index, one in enumerate(members)]
        known = [conditions_of(one, 1) | more for one, (_, more) in zip(members, driven, strict=True)]
        together = {name: np.concatenate([one[name] for one in known]) for name in known[0]}
        found = [
            evolve(H, state[None], times, **settings) for (H, _), state in zip(driven, initial, strict=True)
        ]
        return found, together

    def block_size(self) -> int:
        """See `Source.block_size`. Driven trajectories are evolved one by one, whatever is in a block."""
        return 1 if self.drives else super().block_size()

    @property
    def _drives(self) -> tuple[DriveRecipe, ...]:
        return read_drives(self.drives, self.chain)

    def _driven(self, static: Hamiltonian, seed: int, number: int) -> tuple[DrivenHamiltonian, Conditions]:
        """The Hamiltonian of trajectory ``number`` and what is known of its drives."""
        pairs, known = [], Conditions()
        for place, drive in enumerate(self._drives):
            drawn = drive.draw(generator_of(seed, number, DRIVES, place))
            part = member(drive.hamiltonian.of([drawn]), 0)
            pairs.append((drive.function(drawn, float(self.times[-1])), part))
            values = {name: np.array([drawn[name]], dtype=np.float64) for name in drive.parameters}
            values |= conditions_of(part, 1)
            known |= {f"drive_{place}_{name}": value for name, value in values.items()}
        return DrivenHamiltonian(static, pairs), known

    def _check(self) -> None:
        super()._check()
        check_choice("method", self.method, ["auto", *METHODS])
        if self.error is not None:
            check_positive("error", self.error)
        if self._drives and self.method != "auto" and not METHODS[self.method].drives:
            able = ", ".join(method.name for method in METHODS.values() if method.drives)
            raise ConfigError(f"`method` must be one that follows a drive ({able}), but is {self.method!r}.")

    def _bytes_each(self) -> int:
        return self._states_bytes() + self._matrix_bytes()

    def _matrix_bytes(self) -> int:
        """What diagonalising one Hamiltonian takes; "auto" diagonalises small ones only."""
        if self.method not in ("exact", "auto"):
            return 0
        largest = self.chain.n_sites if self.method == "exact" else _LARGEST_DENSE
        return 24 * 4 ** min(self.chain.n_sites, largest)


def integer_seed(seed: int, *place: int) -> int:
    """A seed for what takes an integer: it depends on ``seed`` and ``place`` alone."""
    return int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)[0])


def member(hamiltonian: Hamiltonian, index: int) -> Hamiltonian:
    """Number ``index`` of a batch of Hamiltonians, or the single one that all trajectories share."""
    return hamiltonian if hamiltonian.batch_size is None else hamiltonian.member(index)
