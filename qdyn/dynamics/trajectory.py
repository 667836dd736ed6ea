"""Trajectory: what a time evolution returns, in memory, as an xarray.Dataset and as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.errors import ArgumentError, DatasetError
from qdyn.quantum.states import PhaseConvention

if TYPE_CHECKING:
    import xarray

    from qdyn.dynamics.matrix_product_state import MatrixProductState
    from qdyn.hdf5 import NamedArray

_TIME_UNIT = "1/J"
_DETAIL, _MPS, _MPS_BONDS = "detail_", "final_mps", "final_mps_bonds"


@dataclass(frozen=True)
class Quantity:
    """What an expectation value is: its label in mathtext, its unit and the axes after time."""

    label: str
    unit: str
    axes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
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
        for values, own_axes in self._arrays():
            return values.shape[0] if values.ndim > own_axes else None
        return len(self.last_mps) if isinstance(self.last_mps, tuple) else None

    def to_xarray(self) -> xarray.Dataset:
        """The same as an ``xarray.Dataset`` with named dimensions, coordinates, units and complex states.

        Dimensions are trajectory (for a batch), time, basis and the axes of the observables, such as site.

        Parameters of the Hamiltonian are coordinates. Tensors on a GPU are copied to main memory.
        """
        import xarray

        variables: dict[str, Any] = {}
        coordinates: dict[str, Any] = {}
        for array in self._named_arrays():
            entry = (array.dims, array.values, {"units": array.unit, "long_name": array.description})
            is_coordinate = array.name in self.parameters or array.name in array.dims
            (coordinates if is_coordinate else variables)[array.name] = entry
        for name, size in xarray.Dataset(variables, coordinates).sizes.items():
            coordinates.setdefault(str(name), ((name,), np.arange(size), {"units": "1"}))
        return xarray.Dataset(variables, coordinates, attrs=self._attributes())

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
            quantity: one or several of "magnetisation_x" (a map of all sites, or the mean where only that is
                held), "correlator_z" (a map of the connected correlators with the central site), "energy",
                "energy_drift" (|E(t) - E(t_0)|), "entanglement_entropy" (half chain), or any name that
                ``evolve(observables=...)`` takes. None for a panel of each that is worth it.
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
            >>> [axes.get_ylabel() for axes in traj.plot(["magnetisation_z", "entanglement_entropy"]).axes[:2]]
            ['site', '$S_{2}$ (nat)']
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

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that `Trajectory.load`, xarray (``engine="h5netcdf"``) and any HDF5 reader open.

        Complex numbers are real ones with a last axis ``ri``. A file that stands at ``path`` is replaced only
        when the new one is complete.

        Raises:
            OutputError: the file cannot be written.
        """
        from qdyn.hdf5 import write_file

        write_file(path, self._named_arrays(), format="trajectory", attributes=self._attributes())

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read what `save` wrote.

        Raises:
            DatasetError: the file is missing, truncated, damaged or not a trajectory.
        """
        from qdyn.hdf5 import dimensions, open_file, read_array, verify_content

        with open_file(path, format="trajectory") as file:
            verify_content(path, file)
            try:
                quantities = {
                    name: Quantity(entry["label"], entry["unit"], tuple(entry["axes"]))
                    for name, entry in json.loads(file.attrs["quantities"]).items()
                }
                axes = json.loads(file.attrs["parameter_axes"])
                details = json.loads(file.attrs["details"])
                details |= {
                    name.removeprefix(_DETAIL): read_array(file, name).tolist()
                    for name in file
                    if name.startswith(_DETAIL)
                }
                method, n_sites = str(file.attrs["method"]), int(file.attrs["n_sites"])
                convention, hamiltonian = str(file.attrs["phase_convention"]), str(file.attrs["hamiltonian"])
                formula = str(file.attrs["formula"])
            except (KeyError, ValueError, TypeError) as problem:
                raise DatasetError(f"{path} lacks what describes a trajectory: {problem}.") from problem

            def tensor(name: str) -> Tensor:
                return torch.as_tensor(read_array(file, name))

            def parameter(name: str) -> Tensor:
                # Disorder that all trajectories share is kept as (1, bonds or sites) in memory.
                shared = dimensions(file[name]) in (("bond",), ("site",), ("term",))
                return tensor(name)[None] if shared else tensor(name)

            return cls(
                states=tensor("states") if "states" in file else None,
                last_state=tensor("final_state") if "final_state" in file else None,
                last_mps=_unpack_mps(tensor) if _MPS in file else None,
                times=tensor("time"),
                expectations={name: tensor(name) for name in quantities},
                parameters={name: parameter(name) for name in axes},
                method=method,
                n_sites=n_sites,
                phase_convention="first_real" if convention == "first_real" else "raw",
                hamiltonian=hamiltonian,
                formula=formula,
                quantities=quantities,
                parameter_axes=axes,
                details=details,
            )

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

    def _quantity(self, name: str) -> Quantity:
        return self.quantities.get(name, Quantity(name, "1"))

    def _arrays(self) -> list[tuple[Tensor, int]]:
        """What carries the batch axis, each with its number of axes without it."""
        found = [(self.states, 2), (self.last_state, 1)]
        found += [(values, 1 + len(self._quantity(name).axes)) for name, values in self.expectations.items()]
        return [(values, axes) for values, axes in found if values is not None]

    def _named_arrays(self) -> list[NamedArray]:
        from qdyn.hdf5 import NamedArray

        batch = () if self.batch_size is None else ("trajectory",)
        arrays = [NamedArray("time", self.times.numpy(force=True), ("time",), _TIME_UNIT, "time")]
        for name, value in self.parameters.items():
            dims, values = self._parameter(name, value)
            arrays.append(NamedArray(name, values.numpy(force=True), dims, "J", f"coupling {name}"))
        if self.states is not None:
            dims = (*batch, "time", "basis")
            arrays.append(NamedArray("states", self.states.numpy(force=True), dims, "1", "amplitudes"))
        if self.last_state is not None:
            dims = (*batch, "basis")
            text = "amplitudes at the last time"
            arrays.append(NamedArray("final_state", self.last_state.numpy(force=True), dims, "1", text))
        if self.last_mps is not None:
            arrays += _pack_mps(self.last_mps)
        for name, listed in self._lists().items():
            dims = (*batch, "time")[: listed.ndim]
            arrays.append(NamedArray(_DETAIL + name, listed, dims, "1", f"reported: {name}"))
        for name, values in self.expectations.items():
            quantity = self._quantity(name)
            dims = (*batch, "time", *quantity.axes)
            arrays.append(NamedArray(name, values.numpy(force=True), dims, quantity.unit, quantity.label))
        return arrays

    def _parameter(self, name: str, value: Tensor) -> tuple[tuple[str, ...], Tensor]:
        along = self.parameter_axes.get(name, name)
        if value.ndim < 2:
            return (("trajectory",) if value.ndim else ()), value
        if value.shape[0] == 1 and self.batch_size != 1:
            return (along,), value[0]
        return ("trajectory", along), value

    def _attributes(self) -> dict[str, Any]:
        quantities = {
            name: {"label": entry.label, "unit": entry.unit, "axes": list(entry.axes)}
            for name, entry in ((name, self._quantity(name)) for name in self.expectations)
        }
        return {
            "title": "Solution of the Schroedinger equation",
            "method": self.method,
            "phase_convention": self.phase_convention,
            "n_sites": self.n_sites,
            "hamiltonian": self.hamiltonian,
            "formula": self.formula,
            "basis_order": "site 0 is the most significant bit of the basis index",
            "quantities": json.dumps(quantities),
            "parameter_axes": json.dumps(dict.fromkeys(self.parameters, "") | dict(self.parameter_axes)),
            "details": json.dumps(
                {name: entry for name, entry in self.details.items() if not isinstance(entry, list)}
            ),
        }

    def _lists(self) -> dict[str, NDArray[Any]]:
        """The details that are arrays in a file: an attribute cannot hold so much."""
        return {name: np.array(entry) for name, entry in self.details.items() if isinstance(entry, list)}


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
    from qdyn.dynamics.matrix_product_state import MatrixProductState

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
