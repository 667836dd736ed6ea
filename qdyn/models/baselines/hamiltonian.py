"""Evolution under a Hamiltonian: the mean one, physics without learning, and the true one, the ceiling."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.data.spins.hamiltonian_recipe import couplings_among, form_of_recipe, is_closed, is_driven
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines.common import Baseline, LinearMap, Training, check_dimension
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian

# Dense matrices of the trajectories that are diagonalised at a time, in bytes.
_CHUNK_BYTES = 1 << 28


class MeanHamiltonian(LinearMap):
    r"""Evolution over one time step under the Hamiltonian with the mean couplings of the training split.

    $$\hat x_{j+1} = e^{-i \bar H \Delta t} x_j, \qquad \bar H = H(\bar J, \bar h).$$

    It knows the form of the Hamiltonian and the average of its couplings, and not one trajectory. Its
    fidelity is the same in every phase convention.

    Args:
        hamiltonian: The form of the Hamiltonian; its couplings are replaced by the means of the conditions of
            the same names. None takes it from the dataset's recipe.
    """

    name = "mean_hamiltonian"
    label = "Mean Hamiltonian"
    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state"})

    def __init__(self, hamiltonian: Hamiltonian | None = None) -> None:
        self.form = hamiltonian
        self.hamiltonian: Hamiltonian | None = None

    @property
    def n_parameters(self) -> int:
        """The number of couplings averaged."""
        if self.hamiltonian is None:
            return 0
        return sum(value.numel() for value in self.hamiltonian.parameters.values())

    def _learn(self, dataset: SequenceDataset) -> None:
        form = hamiltonian_form(dataset, self.form, needed_by=self.name)
        # A coupling of one site or bond keeps its place: (1, sites).
        means = {
            name: values.double().mean(dim=0, keepdim=values.ndim > 1)
            for name, values in couplings(dataset, form).items()
        }
        self.hamiltonian = replace(form, **means)  # type: ignore[type-var]
        d = dataset.metadata.dimension
        step = time_step(dataset, needed_by=self.name)
        states = evolve(self.hamiltonian, torch.eye(d, dtype=torch.complex128), [step]).states
        assert states is not None
        # Row k is what becomes of basis state k: the transpose of the propagator.
        self.matrix = states[:, 0].T.contiguous()


class ExactEvolution(Baseline):
    r"""Evolution of each trajectory under its own true Hamiltonian: an oracle, the ceiling of every forecast.

    $$\hat x_{j+1} = e^{-i H_b \Delta t} x_j$$

    It is told the couplings of the trajectories that it forecasts, through `with_conditions`.

    Args:
        hamiltonian: The form of the Hamiltonian; None takes it from the dataset's recipe.
    """

    name = "exact"
    label = "Exact evolution (true couplings)"
    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state"})
    training: ClassVar[Training] = "oracle"

    def __init__(self, hamiltonian: Hamiltonian | None = None) -> None:
        self.form = hamiltonian
        self.time_step: float | None = None
        self.hamiltonians: Hamiltonian | None = None

    def _learn(self, dataset: SequenceDataset) -> None:
        self.form = hamiltonian_form(dataset, self.form, needed_by=self.name)
        if not is_closed(dataset.metadata.recipe):
            raise DatasetError(
                f"The baseline {self.name} needs a closed system, but the recipe of the dataset "
                f"{dataset.metadata.name} has channels."
            )
        self.time_step = time_step(dataset, needed_by=self.name)

    def with_conditions(self, conditions: Mapping[str, Tensor]) -> ExactEvolution:
        """The oracle for the trajectories with these couplings, name -> (batch,).

        Raises:
            ArgumentError: it has not been fitted, so that the form of the Hamiltonian is unknown.
        """
        if self.form is None:
            raise ArgumentError(f"The baseline {self.name} must be fitted before it can forecast.")
        told = copy.copy(self)
        told.hamiltonians = replace(self.form, **couplings_among(conditions, self.form))  # type: ignore[type-var]
        return told

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The successors (batch, T, d) of ``inputs`` (batch, T, d); ``mask`` has no effect.

        Raises:
            ArgumentError: there are more or fewer trajectories than couplings.
        """
        hamiltonians, step = self._check(inputs)
        d = inputs.shape[-1]
        size = max(1, _CHUNK_BYTES // (16 * d * d))
        parts = []
        for start in range(0, len(inputs), size):
            rows = range(start, min(start + size, len(inputs)))
            matrices = torch.stack([_member(hamiltonians, row).to_dense() for row in rows])
            energies, vectors = torch.linalg.eigh(matrices.to(torch.complex128))
            states = inputs[rows.start : rows.stop].to(torch.complex128)
            turned = (states @ vectors.conj()) * torch.exp(-1j * step * energies)[:, None]
            parts.append(turned @ vectors.mT)
        return torch.cat(parts).to(inputs.dtype)

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Evolve the last state of ``context`` (batch, T, d) on: (batch, steps, d)."""
        check_integer("steps", steps, minimum=1)
        hamiltonians, step = self._check(context)
        last = context[:, -1].to(torch.complex128)
        last = last / torch.linalg.vector_norm(last, dim=-1, keepdim=True)
        states = evolve(hamiltonians, last, [step * (j + 1) for j in range(steps)]).states
        assert states is not None
        return self.element(states).to(context.dtype)

    def _check(self, inputs: Tensor) -> tuple[Hamiltonian, float]:
        if self.form is None or self.hamiltonians is None or self.time_step is None:
            raise ArgumentError(f"The baseline {self.name} must be told the couplings: call with_conditions.")
        check_dimension(inputs, 2**self.form.n_sites)
        size = self.hamiltonians.batch_size
        if inputs.ndim != 3 or size not in (None, len(inputs)):
            raise ArgumentError(
                f"Argument `inputs` must have shape ({size or 'batch'}, T, {inputs.shape[-1]}), one sequence"
                f" for each Hamiltonian, but has shape {tuple(inputs.shape)}."
            )
        return self.hamiltonians, self.time_step


def hamiltonian_form(dataset: SequenceDataset, given: Hamiltonian | None, *, needed_by: str) -> Hamiltonian:
    """The Hamiltonian up to the couplings that differ between trajectories: ``given`` or the recipe's.

    Raises:
        DatasetError: the dataset does not say, or says something about another number of sites.
    """
    if isinstance(given, DrivenHamiltonian):
        raise ArgumentError(
            "Argument `hamiltonian` must be constant in time for the baselines that are told its form, "
            f"but is {given!r:.90}."
        )
    if is_driven(dataset.metadata.recipe):
        # One that stands still would be called true, and be wrong.
        raise DatasetError(
            f"The baseline {needed_by} needs a Hamiltonian that is constant in time, but the recipe of the "
            f"dataset {dataset.metadata.name} drives it."
        )
    form = given if given is not None else form_of_recipe(dataset.metadata.recipe)
    if form is None:
        raise DatasetError(
            f"The baseline {needed_by} needs the Hamiltonian of the data, but the recipe of the dataset "
            f"{dataset.metadata.name} names none that is constant in time: give one as `hamiltonian`."
        )
    if 2**form.n_sites != dataset.metadata.dimension:
        raise DatasetError(
            f"The baseline {needed_by} has a Hamiltonian of {form.n_sites} sites, but the states of the "
            f"dataset {dataset.metadata.name} have dimension {dataset.metadata.dimension}."
        )
    return form


def couplings(dataset: SequenceDataset, form: Hamiltonian) -> dict[str, Tensor]:
    """The conditions of ``dataset`` that are couplings of ``form``; may be empty when none is varied."""
    return couplings_among(dataset.conditions, form)


def time_step(dataset: SequenceDataset, *, needed_by: str) -> float:
    """The spacing in time of the states.

    Raises:
        DatasetError: it varies or is unknown.
    """
    step = dataset.metadata.time_step
    if step is None:
        raise DatasetError(
            f"The baseline {needed_by} needs equally spaced times, but the dataset "
            f"{dataset.metadata.name} has none."
        )
    return step


def _member(hamiltonians: Hamiltonian, index: int) -> Hamiltonian:
    return hamiltonians if hamiltonians.batch_size is None else hamiltonians.member(index)
