"""DensityTrajectory: what the evolution of an open system returns, in memory, as xarray and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from qdyn.dynamics.recording import Quantity, Recording, read_recording
from qdyn.errors import ArgumentError
from qdyn.quantum.observable import Observable

if TYPE_CHECKING:
    import h5py
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qdyn.hdf5 import Format
    from qdyn.quantum.hamiltonians import Hamiltonian


@dataclass(frozen=True, eq=False, repr=False)
class DensityTrajectory(Recording):
    """Density matrices and expectation values at a list of times.

    Attributes:
        density_matrices: complex, (batch, times, 2**n, 2**n), without the batch axis for a single one; None
            where not stored.
        times: float64, (times,), in units of 1/J.
        expectations: for each observable tr(rho O), (batch, times, *axes) or (times, *axes).
        n_sites: number of sites n.
        hamiltonian: the Hamiltonian in words.
        channels: the channels in words.
        quantities: label, unit and axes of each expectation value.
        details: numbers that the method reports.
        parameters: couplings of the Hamiltonian: (), (batch,), (1, bonds or sites) or (batch, bonds or
            sites).
        formula: the equation of the Hamiltonian.
        parameter_axes: "bond" or "site" for each parameter.
        parameter_units: "J" or "1" for each parameter; "J" where nothing is said.
    """

    density_matrices: Tensor | None
    times: Tensor
    expectations: Mapping[str, Tensor]
    n_sites: int
    hamiltonian: str
    channels: tuple[str, ...]
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    formula: str = ""
    parameter_axes: Mapping[str, str] = field(default_factory=dict)
    parameter_units: Mapping[str, str] = field(default_factory=dict)

    _format: ClassVar[Format] = "density_trajectory"
    _title: ClassVar[str] = "Solution of the Lindblad equation"

    @property
    def purity(self) -> Tensor:
        """The purity tr rho^2, (batch, times) or (times,): 1 for a pure state, 2**-n for the fully mixed one.

        Raises:
            ArgumentError: no density matrices were stored.
        """
        if self.density_matrices is None:
            raise ArgumentError("Argument `store` was 'none': this trajectory holds expectation values only.")
        return self.density_matrices.abs().square().sum(dim=(-2, -1))

    def plot(
        self,
        quantity: str | Sequence[str] | None = None,
        *,
        index: int | Literal["mean"] = 0,
        ax: Axes | None = None,
        hamiltonian: Hamiltonian | None = None,
    ) -> Figure:
        """Draw the trajectory: a panel for each quantity, over time; see `Trajectory.plot`.

        Args:
            quantity: one or several of "magnetisation_x", "energy", "purity", or any name that is held or
                that ``evolve_open(observables=...)`` takes; None for a panel of each that is worth it.
            index: which trajectory of a batch; "mean" for the mean of all.
            ax: axes for a single panel; None for a new figure.
            hamiltonian: H, to measure the energy where that was not asked for.

        Raises:
            ArgumentError: an unknown quantity, one that is not held and cannot be measured, or another
                argument that is out of range.

        Example:
            >>> from qdyn import TransverseFieldIsing, decay, evolve_open, product_state
            >>> H = TransverseFieldIsing(2)
            >>> traj = evolve_open(H, product_state("11"), [0.0, 1.0], channels=decay(1.0))
            >>> [axes.get_ylabel() for axes in traj.plot().axes[:2]]
            ['site', 'purity tr $\\\\rho^2$']
        """
        from qdyn.dynamics.figures import Index, Source, plot

        matrices = self.density_matrices
        expectations = dict(self.expectations)
        quantities = {name: self._quantity(name) for name in expectations}
        if matrices is not None:
            expectations["purity"] = self.purity
            quantities["purity"] = Quantity(r"purity tr $\rho^2$", "1")

        def measure(observable: Observable, chosen: Index) -> Tensor:
            assert matrices is not None
            if self.batch_size is None:
                return expectations_of(observable, matrices[None])[0]
            if isinstance(chosen, int):
                return expectations_of(observable, matrices[chosen][None])[0]
            return expectations_of(observable, matrices)

        source = Source(
            title=f"{self.hamiltonian}; {', '.join(self.channels)}",
            times=self.times.numpy(force=True),
            n_sites=self.n_sites,
            batch_size=self.batch_size,
            expectations=expectations,
            quantities=quantities,
            measure=None if matrices is None else measure,
            initial_state=None,
            hamiltonian=hamiltonian,
            pure=False,
        )
        return plot(source, quantity, index=index, ax=ax, front=None)

    @classmethod
    def load(cls, path: str | Path) -> DensityTrajectory:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file is missing, truncated, damaged or not a trajectory of density matrices.
        """

        def own(file: h5py.File, tensor: Callable[[str], Tensor]) -> dict[str, Any]:
            return {
                "density_matrices": tensor("density_matrices") if "density_matrices" in file else None,
                "channels": tuple(json.loads(file.attrs["channels"])),
            }

        return cls(**read_recording(path, cls._format, own))

    def __repr__(self) -> str:
        lines = [f"DensityTrajectory: {len(self.times)} times, {self.n_sites} sites"]
        lines += [f"  hamiltonian   {self.hamiltonian}", f"  channels      {', '.join(self.channels)}"]
        lines.append(f"  times         {float(self.times[0]):g} to {float(self.times[-1]):g} in 1/J")
        if self.density_matrices is not None:
            lines.append(f"  matrices      {tuple(self.density_matrices.shape)}")
        lines += [f"  expectation   {name} {tuple(v.shape)}" for name, v in self.expectations.items()]
        return "\n".join(lines)

    def _states(self) -> list[tuple[str, Tensor, tuple[str, ...], str]]:
        if self.density_matrices is None:
            return []
        axes = ("time", "basis", "basis_bra")
        return [("density_matrices", self.density_matrices, axes, "elements of the density matrix")]

    def _own_attributes(self) -> dict[str, Any]:
        return {"channels": json.dumps(list(self.channels))}


def expectations_of(observable: Observable, matrices: Tensor, first: int = 0) -> Tensor:
    """tr(rho O) = sum_k p_k <k|O|k> over the eigenvectors of rho, (members, times, *axes).

    Args:
        observable: linear in rho.
        matrices: rho, (members, times, dim, dim).
        first: number of the first member among those that the observable is for.
    """
    return all_expectations((observable,), matrices, first)[0]


def all_expectations(observables: Sequence[Observable], matrices: Tensor, first: int = 0) -> list[Tensor]:
    """The same for several observables, from one diagonalisation of every rho."""
    rows: list[list[Tensor]] = [[] for _ in observables]
    for place, sequence in enumerate(matrices if observables else ()):
        weights, vectors = torch.linalg.eigh((sequence + sequence.mH) / 2)
        states = vectors.mT.contiguous()[None]
        for listed, observable in zip(rows, observables, strict=True):
            own = observable.for_members(slice(first + place, first + place + 1))
            listed.append(torch.einsum("tk,tk...->t...", weights, own.expectation(states)[0]))
    return [torch.stack(listed) for listed in rows]
