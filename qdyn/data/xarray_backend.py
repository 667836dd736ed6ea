"""Open stored sequences with ``xarray.open_dataset(path, engine="qdyn")``: lazily, and states as complex.

The plain engine, ``engine="h5netcdf"``, opens a file as well and shows states as pairs of reals with the
dimension ``ri``. This one also opens a sharded folder, and names the splits. Trajectories open as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from qdyn.data.backing import Backing
from qdyn.data.manifest import MANIFEST
from qdyn.data.store import open_backing
from qdyn.data.xarray_view import VECTOR_AXIS, view
from qdyn.dynamics.open_systems.density_trajectory import DensityTrajectory
from qdyn.dynamics.trajectory import Trajectory
from qdyn.hdf5 import format_of


class QdynBackendEntrypoint(BackendEntrypoint):
    """xarray's way to files and folders of sequences, and to trajectories, that qdyn wrote.

    Example:
        >>> import tempfile, numpy as np, qdyn
        >>> path = Path(tempfile.mkdtemp()) / "states.h5"
        >>> states = qdyn.haar_random_states(n_qubits=2, batch=6, seed=1).reshape(2, 3, 4)
        >>> qdyn.SequenceDataset.from_arrays(states, kind="quantum_state").save(path)
        >>> xarray.open_dataset(path, engine="qdyn")["states"].dtype
        dtype('complex128')
        >>> qdyn.evolve(qdyn.XXZ(2), "01", [0.0, 1.0]).save(path)
        >>> dict(xarray.open_dataset(path, engine="qdyn")["states"].sizes)
        {'time': 2, 'basis': 4}
    """

    description = "Sequences and trajectories written by qdyn, states as complex numbers"
    open_dataset_parameters = ("filename_or_obj", "drop_variables")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> xarray.Dataset:
        """The sequences of a file or folder; elements are read when they are used. Trajectories are read."""
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        path = Path(filename_or_obj)
        match format_of(path):
            case "trajectory":
                return Trajectory.load(path).to_xarray().drop_vars(dropped, errors="ignore")
            case "density_trajectory":
                return DensityTrajectory.load(path).to_xarray().drop_vars(dropped, errors="ignore")
        backing = open_backing(path, cached_bytes=0)
        lazy = indexing.LazilyIndexedArray(_Elements(backing))
        dataset = view(
            backing,
            backing.metadata,
            lazy,
            sequences=np.arange(backing.count),
            times=backing.times,
        )
        # The file holds states as they evolved, whatever the recipe shows by default.
        if backing.metadata.kind == "quantum_state":
            dataset.attrs["phase_convention"] = "raw"
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Only a folder with a manifest: files are left to xarray's usual engine unless this one is named."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        return (Path(filename_or_obj) / MANIFEST).is_file()


class _Elements(BackendArray):
    """All stored elements, (count, length[, d]), of which only what is asked for is read."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        nothing = np.zeros(0, dtype=np.int64)
        self.dtype = backing.read(nothing, nothing, 1).dtype
        vector = (backing.metadata.dimension,) * len(VECTOR_AXIS[backing.metadata.kind])
        self.shape = (backing.count, backing.length, *vector)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        places = [np.arange(size)[part] for size, part in zip(self.shape, key, strict=True)]
        sequences, times = np.atleast_1d(places[0]), np.atleast_1d(places[1])
        if sequences.size == 0 or times.size == 0:
            values = np.zeros((sequences.size, times.size, *self.shape[2:]), dtype=self.dtype)
        else:
            first, last = int(times.min()), int(times.max())
            values = self._backing.read(sequences, np.full_like(sequences, first), last - first + 1)
            values = values[:, times - first]
        for axis, place in enumerate(places[2:], start=2):
            values = np.take(values, np.atleast_1d(place), axis=axis)
        # An integer takes its axis away.
        scalars = tuple(axis for axis, place in enumerate(places) if np.ndim(place) == 0)
        return values.squeeze(axis=scalars) if scalars else values
