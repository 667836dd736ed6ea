"""What every kind of trajectory can do: show itself as an xarray.Dataset, be written to a file and read."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.errors import DatasetError

if TYPE_CHECKING:
    import h5py
    import xarray

    from qdyn.hdf5 import Format, NamedArray

_TIME_UNIT, _DETAIL = "1/J", "detail_"


@dataclass(frozen=True)
class Quantity:
    """What an expectation value is: its label in mathtext, its unit and the axes after time."""

    label: str
    unit: str
    axes: tuple[str, ...] = ()


class Recording(ABC):
    """States and expectation values at a list of times; dataclasses that derive from it have the fields."""

    times: Tensor
    expectations: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor]
    n_sites: int
    hamiltonian: str
    formula: str
    quantities: Mapping[str, Quantity]
    parameter_axes: Mapping[str, str]
    parameter_units: Mapping[str, str]
    details: Mapping[str, Any]

    _format: ClassVar[Format]
    _title: ClassVar[str]

    @abstractmethod
    def _states(self) -> list[tuple[str, Tensor, tuple[str, ...], str]]:
        """Stored states: name, values, axes without the batch, and a phrase."""

    def _extra_arrays(self) -> list[NamedArray]:
        """What else a file holds."""
        return []

    @abstractmethod
    def _own_attributes(self) -> dict[str, Any]:
        """Attributes of a file beside those that every kind has."""

    @property
    def batch_size(self) -> int | None:
        """Number of trajectories; None for a single one without a batch axis."""
        found = [(values, len(axes)) for _, values, axes, _ in self._states()]
        found += [(values, 1 + len(self._quantity(name).axes)) for name, values in self.expectations.items()]
        for values, own_axes in found:
            return values.shape[0] if values.ndim > own_axes else None
        return None

    def to_xarray(self) -> xarray.Dataset:
        """The same as an ``xarray.Dataset`` with named dimensions, coordinates, units and complex states.

        Dimensions are trajectory (for a batch), time, those of the states and the axes of the observables,
        such as site. Parameters of the Hamiltonian are coordinates. Tensors on a GPU are copied to main
        memory.
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

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that ``load`` of the same class, xarray (engine "h5netcdf") and others open.

        Complex numbers are real ones with a last axis ``ri``. A file that stands at ``path`` is replaced only
        when the new one is complete.

        Raises:
            OutputError: the file cannot be written.
        """
        from qdyn.hdf5 import write_file

        write_file(path, self._named_arrays(), format=self._format, attributes=self._attributes())

    def _quantity(self, name: str) -> Quantity:
        return self.quantities.get(name, Quantity(name, "1"))

    def _named_arrays(self) -> list[NamedArray]:
        from qdyn.hdf5 import NamedArray

        batch = () if self.batch_size is None else ("trajectory",)
        arrays = [NamedArray("time", self.times.numpy(force=True), ("time",), _TIME_UNIT, "time")]
        for name, value in self.parameters.items():
            dims, values = self._parameter(name, value)
            unit = self.parameter_units.get(name, "J")
            arrays.append(NamedArray(name, values.numpy(force=True), dims, unit, f"coupling {name}"))
        for name, values, axes, text in self._states():
            arrays.append(NamedArray(name, values.numpy(force=True), (*batch, *axes), "1", text))
        arrays += self._extra_arrays()
        for name, listed in self._lists().items():
            dims = (*batch, "time")[: listed.ndim]
            arrays.append(NamedArray(_DETAIL + name, listed, dims, "1", f"reported: {name}"))
        for name, values in self.expectations.items():
            quantity = self._quantity(name)
            dims = (*batch, "time", *quantity.axes)
            arrays.append(NamedArray(name, values.numpy(force=True), dims, quantity.unit, quantity.label))
        return _with_axes_of_one_size(arrays)

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
            "title": self._title,
            **self._own_attributes(),
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


def _with_axes_of_one_size(arrays: list[NamedArray]) -> list[NamedArray]:
    """The same arrays; an axis whose size is another than that of its name so far is named after its array.

    Two sums of strings differ in their terms, two observables in their shots; axes that agree are shared.
    """
    sizes: dict[str, int] = {}
    settled = []
    for array in arrays:
        dims = []
        for dim, size in zip(array.dims, np.shape(array.values), strict=True):
            own = dim if sizes.get(dim, size) == size else f"{array.name}_{dim}"
            sizes[own] = size
            dims.append(own)
        settled.append(array if tuple(dims) == array.dims else replace(array, dims=tuple(dims)))
    return settled


def read_recording(
    path: str | Path, format: Format, own: Callable[[h5py.File, Callable[[str], Tensor]], dict[str, Any]]
) -> dict[str, Any]:
    """The fields of a recording from its file: those that every kind has, and what ``own`` reads.

    Raises:
        DatasetError: the file is missing, truncated, damaged or of another kind.
    """
    from qdyn.hdf5 import dimensions, open_file, read_array, verify_content

    with open_file(path, format=format) as file:
        verify_content(path, file)

        def tensor(name: str) -> Tensor:
            return torch.as_tensor(read_array(file, name))

        def parameter(name: str) -> Tensor:
            # Disorder that all trajectories share is kept as (1, bonds or sites) in memory.
            dims = dimensions(file[name])
            return tensor(name)[None] if len(dims) == 1 and dims != ("trajectory",) else tensor(name)

        try:
            quantities = {
                name: Quantity(entry["label"], entry["unit"], tuple(entry["axes"]))
                for name, entry in json.loads(file.attrs["quantities"]).items()
            }
            axes = json.loads(file.attrs["parameter_axes"])
            fields = {
                "details": json.loads(file.attrs["details"])
                | {
                    name.removeprefix(_DETAIL): read_array(file, name).tolist()
                    for name in file
                    if name.startswith(_DETAIL)
                },
                "n_sites": int(file.attrs["n_sites"]),
                "hamiltonian": str(file.attrs["hamiltonian"]),
                "formula": str(file.attrs["formula"]),
                **own(file, tensor),
            }
        except (KeyError, ValueError, TypeError) as problem:
            raise DatasetError(f"{path} lacks what describes a trajectory: {problem}.") from problem
        return {
            **fields,
            "times": tensor("time"),
            "expectations": {name: tensor(name) for name in quantities},
            "parameters": {name: parameter(name) for name in axes},
            "quantities": quantities,
            "parameter_axes": axes,
            "parameter_units": {name: str(file[name].attrs["units"]) for name in axes},
        }
