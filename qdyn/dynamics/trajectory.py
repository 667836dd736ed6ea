"""Trajectory: what a time evolution returns, in memory, as an xarray.Dataset and as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from qdyn.dynamics.recording import Quantity, Recording, read_recording
from qdyn.errors import ArgumentError
from qdyn.quantum.states import PhaseConvention

if TYPE_CHECKING:
    import h5py
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
    from qdyn.hdf5 import Format, NamedArray
    from qdyn.quantum.hamiltonians import Hamiltonian
    from qdyn.quantum.observable import Observable

__all__ = ["Quantity", "Trajectory"]

_MPS, _MPS_BONDS = "final_mps", "final_mps_bonds"


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(Recording):
    """States and expectation values at a list of times, of one trajectory or of a batch.

    Attributes:
        states: complex, (batch, times, 2**n), or (times, 2**n) of a single trajectory; None where not stored.
        last_state: complex, (batch, 2**n) or (2**n,), where only the last state was stored; see
            `final_state`.
        last_mps: the last state, one for each trajectory of a batch, where it was stored and came as a
            matrix-product state; see `final_mps`.
        times: float64, (times,), in units of 1/J.
        expectations: for each observable, (batch, times, *axes) or (times, *axes).
        parameters: couplings of the Hamiltonian: (), (batch,), (1, bonds or sites) or (batch, bonds or
            sites).
        method: the method that ran.
        phase_convention: "raw": the global phase is the one of the evolution.
        n_sites: number of sites n.
        hamiltonian: the Hamiltonian in words.
        formula: its equation.
        quantities: label, unit and axes of each expectation value.
        parameter_axes: "bond" or "site" for each parameter.
        details: what the method reports, such as the error that it expects or the symmetries that it used.
        parameter_units: "J" or "1" for each parameter; "J" where nothing is said.

    Example:
        >>> from qdyn import TransverseFieldIsing, evolve, haar_random_states
        >>> psi0 = haar_random_states(n_qubits=3, batch=2, seed=0)
        >>> evolve(TransverseFieldIsing(n_sites=3), psi0, [0.0, 0.5, 1.0], observables="energy")
        Trajectory: 2 trajectories, 3 times, 3 sites, method 'exact'
          hamiltonian   TransverseFieldIsing(n_sites=3, coupling=1.0, field=1.0, periodic=False)
          times         0 to 1 in 1/J
          states        (2, 3, 8) complex128
          expectation   energy (2, 3) in J
    """

    states: Tensor | None
    times: Tensor
    expectations: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]
    method: str
    n_sites: int
    phase_convention: PhaseConvention = "raw"
    last_state: Tensor | None = None
    last_mps: MatrixProductState | tuple[MatrixProductState, ...] | None = None
    hamiltonian: str = ""
    formula: str = ""
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    parameter_axes: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    parameter_units: Mapping[str, str] = field(default_factory=dict)

    _format: ClassVar[Format] = "trajectory"
    _title: ClassVar[str] = "Solution of the Schroedinger equation"

    @property
    def final_state(self) -> Tensor:
        """The state at the last time, (batch, 2**n) or (2**n,).

        Raises:
            ArgumentError: no state was stored.
            MemoryLimitError: it is a matrix-product state of too many sites; see `final_mps`.
        """
        if self.last_state is not None:
            return self.last_state
        if self.last_mps is not None:
            if isinstance(self.last_mps, tuple):
                return torch.stack([state.vector() for state in self.last_mps])
            return self.last_mps.vector()
        if self.states is None:
            raise ArgumentError("Argument `store` was 'none': this trajectory holds expectation values only.")
        return self.states[..., -1, :]

    @property
    def final_mps(self) -> MatrixProductState | tuple[MatrixProductState, ...]:
        """The state at the last time as a matrix-product state; one for each trajectory of a batch.

        Raises:
            ArgumentError: none was stored: that takes ``method="mps"`` and ``store="final"``.
        """
        if self.last_mps is None:
            raise ArgumentError('Only method="mps" with store="final" keeps a matrix-product state.')
        return self.last_mps

    @property
    def batch_size(self) -> int | None:
        """Number of trajectories; None for a single one without a batch axis."""
        if isinstance(self.last_mps, tuple):
            return len(self.last_mps)
        return super().batch_size

    def plot(
        self,
        quantity: str | Sequence[str] | None = None,
        *,
        index: int | Literal["mean"] = 0,
        ax: Axes | None = None,
        hamiltonian: Hamiltonian | None = None,
        front: float | None = None,
    ) -> Figure:
        """Draw the trajectory: a panel for each quantity, over time.

        What was measured on the way is drawn as it is; anything else is measured now where states are stored.

        Args:
            quantity: one or several of "magnetisation_x" (a map of all sites, or the mean where that is what
                was measured), "correlator_z" (a map of the connected correlators with the central site),
                "energy", "energy_drift" (|E(t) - E(t_0)|), "entanglement_entropy" (half chain), or any name
                that ``evolve(observables=...)`` takes. None for a panel of each that is worth it.
            index: which trajectory of a batch; "mean" for the mean of all, lines with its standard error.
            ax: axes for a single panel; None for a new figure.
            hamiltonian: H, to measure energies that were not asked for.
            front: speed in sites per 1/J of the front to draw into maps of correlators. After a quench of the
                transverse-field Ising chain it is 4 min(J, h): pairs of quasiparticles part at twice their
                largest group velocity.

        Returns:
            A ``matplotlib.figure.Figure``; ``savefig`` writes it. The figure of ``ax`` where that is given.

        Raises:
            ArgumentError: an unknown quantity, one that is not held and cannot be measured, or another
                argument that is out of range.

        Source: P. Calabrese, J. Cardy, Physical Review Letters 96, 136801 (2006), for the front.

        Example:
            >>> from qdyn import TransverseFieldIsing, evolve, product_state
            >>> traj = evolve(TransverseFieldIsing(5), product_state("00000"), [0.0, 0.5, 1.0])
            >>> figure = traj.plot(["magnetisation_z", "entanglement_entropy"])
            >>> [axes.get_ylabel() for axes in figure.axes[:2]]
            ['site', 'entanglement entropy $S_{2}$ (nat)']
        """
        from qdyn.dynamics.figures import Index, Source, plot

        states = self.states

        def measure(observable: Observable, chosen: Index) -> Tensor:
            assert states is not None
            own = states[chosen] if self.batch_size is not None and isinstance(chosen, int) else states
            return observable.expectation(own)

        start = states[..., 0, :] if states is not None and float(self.times[0]) == 0 else None
        source = Source(
            title=f"{self.hamiltonian}, method {self.method!r}",
            times=self.times.numpy(force=True),
            n_sites=self.n_sites,
            batch_size=self.batch_size,
            expectations=self.expectations,
            quantities={name: self._quantity(name) for name in self.expectations},
            measure=None if states is None else measure,
            initial_state=start,
            hamiltonian=hamiltonian,
        )
        return plot(source, quantity, index=index, ax=ax, front=front)

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file is missing, truncated, damaged or not a trajectory.
        """

        def own(file: h5py.File, tensor: Callable[[str], Tensor]) -> dict[str, Any]:
            convention = str(file.attrs["phase_convention"])
            return {
                "states": tensor("states") if "states" in file else None,
                "last_state": tensor("final_state") if "final_state" in file else None,
                "last_mps": _unpack_mps(tensor) if _MPS in file else None,
                "method": str(file.attrs["method"]),
                "phase_convention": "first_real" if convention == "first_real" else "raw",
            }

        return cls(**read_recording(path, cls._format, own))

    def __repr__(self) -> str:
        count = "1 trajectory" if self.batch_size is None else f"{self.batch_size} trajectories"
        lines = [
            f"Trajectory: {count}, {len(self.times)} times, {self.n_sites} sites, method {self.method!r}"
        ]
        lines.append(f"  hamiltonian   {self.hamiltonian}")
        lines.append(f"  times         {float(self.times[0]):g} to {float(self.times[-1]):g} in 1/J")
        if self.states is not None:
            lines.append(
                f"  states        {tuple(self.states.shape)} {str(self.states.dtype).removeprefix('torch.')}"
            )
        elif self.last_state is not None:
            lines.append(f"  final_state   {tuple(self.last_state.shape)} at the last time only")
        if self.last_mps is not None:
            lines.append("  final_mps     matrix-product state at the last time only")
        for name, values in self.expectations.items():
            lines.append(f"  expectation   {name} {tuple(values.shape)} in {self._quantity(name).unit}")
        return "\n".join(lines)

    def _states(self) -> list[tuple[str, Tensor, tuple[str, ...], str]]:
        found: list[tuple[str, Tensor, tuple[str, ...], str]] = []
        if self.states is not None:
            found.append(("states", self.states, ("time", "basis"), "amplitudes"))
        if self.last_state is not None:
            found.append(("final_state", self.last_state, ("basis",), "amplitudes at the last time"))
        return found

    def _extra_arrays(self) -> list[NamedArray]:
        return [] if self.last_mps is None else _pack_mps(self.last_mps)

    def _own_attributes(self) -> dict[str, Any]:
        return {"method": self.method, "phase_convention": self.phase_convention}


def _pack_mps(states: MatrixProductState | tuple[MatrixProductState, ...]) -> list[NamedArray]:
    """The tensors in one array, filled up with zeros to the largest bond, and the dimensions of the bonds."""
    from qdyn.hdf5 import NamedArray

    batch = ("trajectory",) if isinstance(states, tuple) else ()
    listed = states if isinstance(states, tuple) else (states,)
    bonds = np.array([(1, *state.bond_dimensions, 1) for state in listed])
    first = listed[0].tensors[0]
    padded = np.zeros((*bonds[:, 1:].shape, bonds.max(), 2, bonds.max()), str(first.dtype).split(".")[1])
    for place, state in enumerate(listed):
        for site, tensor in enumerate(state.tensors):
            left, _, right = tensor.shape
            padded[place, site, :left, :, :right] = tensor.numpy(force=True)
    trim = slice(None) if batch else 0
    dims = (*batch, "site", "left_bond", "spin", "right_bond")
    text = "tensors of the last state, each in the corner of its block"
    return [
        NamedArray(_MPS, padded[trim], dims, "1", text),
        NamedArray(_MPS_BONDS, bonds[trim], (*batch, "bond_with_ends"), "1", "bond dimensions"),
    ]


def _unpack_mps(
    tensor: Callable[[str], Tensor],
) -> MatrixProductState | tuple[MatrixProductState, ...]:
    from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState

    padded, bonds = tensor(_MPS), tensor(_MPS_BONDS)
    rows = zip(padded, bonds.tolist(), strict=True) if bonds.ndim == 2 else [(padded, bonds.tolist())]
    states = [
        MatrixProductState(
            tuple(
                block[:left, :, :right].clone()
                for block, left, right in zip(blocks, row[:-1], row[1:], strict=True)
            )
        )
        for blocks, row in rows
    ]
    return tuple(states) if bonds.ndim == 2 else states[0]
