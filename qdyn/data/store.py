"""Sequences on disk: one HDF5 file, or a folder of them with a manifest.

A folder holds ``manifest.json``, which names its shards in order, and the shards, each a dataset by itself
(`qdyn.data.layout`). The elements are contiguous in the file, so a window is one read at a known offset:
it costs the same for a set that is larger than memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qdyn.data.backing import KINDS, Backing, MemoryBacking, SequenceMetadata, check_splits, check_tokens
from qdyn.data.layout import RESERVED, Block, Layout, dataset_digest, write_sequences
from qdyn.data.manifest import MANIFEST, Manifest, read_manifest, shard_path
from qdyn.data.sequences import SequenceDataset, time_step
from qdyn.errors import ArgumentError, DatasetError
from qdyn.hdf5 import (
    open_for_reading,
    pairs_to_complex,
    read_array,
    verify_content,
)

if TYPE_CHECKING:
    import h5py

#: Sets up to this size are read once and kept in memory.
CACHED_BYTES = 64 << 20
# Beyond this many shards a file is opened for each read: a process may have about a thousand open files.
_OPEN_FILES = 256


def open_dataset(
    path: str | Path, *, verify: bool = False, cached_bytes: int = CACHED_BYTES
) -> SequenceDataset:
    """The dataset in an HDF5 file or in a folder with a manifest.

    Args:
        path: the file or folder.
        verify: recompute every checksum before anything is handed out.
        cached_bytes: sets up to this size are kept in memory.

    Raises:
        DatasetError: it is missing, truncated, foreign, damaged, or of another schema version.
    """
    return SequenceDataset(open_backing(path, verify=verify, cached_bytes=cached_bytes))


def open_backing(path: str | Path, *, verify: bool = False, cached_bytes: int = CACHED_BYTES) -> Backing:
    """Like `open_dataset`, but what a dataset reads from."""
    path = Path(path)
    if path.is_dir():
        manifest = read_manifest(path)
        files = [shard_path(path, shard) for shard in manifest.shards]
        backing = FileBacking(files, verify=verify)
        _check_against_manifest(backing, manifest, path / MANIFEST)
    else:
        backing = FileBacking([path], verify=verify)
    if backing.value_bytes > cached_bytes:
        return backing
    whole = backing.read(np.arange(backing.count), np.zeros(backing.count, dtype=np.int64), backing.length)
    return MemoryBacking(
        whole,
        backing.metadata,
        times=backing.times,
        lengths=backing.lengths,
        conditions=backing.conditions,
        splits=backing.splits,
    )


def save_dataset(dataset: SequenceDataset, path: str | Path) -> None:
    """Write a whole dataset to one HDF5 file; states are stored as evolved.

    Raises:
        DatasetError: ``dataset`` is a split or shows windows.
        OutputError: the file cannot be written.
    """
    if not dataset.is_whole:
        raise DatasetError("Only a whole dataset can be saved, not a split or windows of one.")
    backing, metadata = dataset.backing, dataset.metadata
    everything = np.arange(backing.count)
    values = backing.read(everything, np.zeros_like(everything), backing.length)
    layout = Layout(
        kind=metadata.kind,
        dimension=metadata.dimension,
        length=backing.length,
        dtype="int32" if metadata.kind == "token" else values.dtype.name,
        times=None if backing.times is None else tuple(float(time) for time in backing.times),
        vocabulary=metadata.vocabulary,
        conditions={name: metadata.units.get(name, "1") for name in backing.conditions},
        units={name: unit for name, unit in metadata.units.items() if name not in backing.conditions},
        variable=backing.lengths is not None,
        components=metadata.components,
        normalised=metadata.normalised,
    )
    block = Block(values.astype(layout.dtype), backing.conditions, backing.lengths)
    write_sequences(
        Path(path),
        layout,
        [block],
        first=0,
        count=backing.count,
        splits=backing.splits,
        attributes=file_attributes(metadata.name, metadata.phase_convention, metadata.recipe),
    )


def file_attributes(name: str, phase_convention: str | None, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a file of sequences carries beside its layout."""
    phases = {} if phase_convention is None else {"default_phase_convention": phase_convention}
    return {"name": name, "recipe": json.dumps(recipe), **phases}


class FileBacking(Backing):
    """Sequences in one or more files, read when they are asked for.

    Args:
        paths: the files in order.
        verify: recompute their checksums.

    Raises:
        DatasetError: a file cannot be used, or the files do not continue each other.
    """

    def __init__(self, paths: Sequence[Path], *, verify: bool = False) -> None:
        parts = [_File(path, verify=verify) for path in paths]
        if not parts:
            raise DatasetError("The dataset has no files.")
        first = parts[0]
        self._parts = parts
        # Sequence number at which each file begins, for the reader's arithmetic.
        counts = [part.count for part in parts]
        self._begins = np.cumsum([0, *counts])
        self.count, self.length = int(self._begins[-1]), first.layout.length
        for part, begin in zip(parts, self._begins[:-1], strict=True):
            if part.layout != first.layout or part.splits != first.splits:
                raise DatasetError(f"{part.path} does not belong to the same dataset as {first.path}.")
            if len(parts) > 1 and part.first != begin:
                raise DatasetError(f"{part.path} begins at sequence {part.first}, but {begin} is due.")
        self.layout = first.layout
        self.times = None if first.layout.times is None else np.array(first.layout.times)
        self.lengths = np.concatenate([part.lengths for part in parts]) if first.layout.variable else None
        self.conditions = {
            name: np.concatenate([part.conditions[name] for part in parts])
            for name in first.layout.conditions
        }
        self.splits = _splits_within(first.splits, first.first, self.count)
        self.content_sha256 = [part.content_sha256 for part in parts]
        self.digest = dataset_digest(first.layout, self.splits, [part.checksums for part in parts])
        self.metadata = SequenceMetadata(
            name=first.attributes["name"],
            kind=first.layout.kind,
            dimension=first.layout.dimension,
            vocabulary=first.layout.vocabulary,
            phase_convention=first.attributes.get("default_phase_convention"),
            units=first.layout.all_units,
            time_step=time_step(self.times),
            recipe=json.loads(first.attributes.get("recipe", "{}")),
            digest=self.digest,
            components=first.layout.components,
            normalised=first.layout.normalised,
        )

    @property
    def value_bytes(self) -> int:
        """What the elements take in memory."""
        return self.count * int(np.prod(self.layout.item_shape)) * np.dtype(self.layout.dtype).itemsize

    def read(self, sequences: NDArray[np.int64], starts: NDArray[np.int64], count: int) -> NDArray[Any]:
        """See `Backing.read`."""
        layout = self.layout
        values = np.empty((len(sequences), count, *layout.item_shape[1:]), dtype=layout.dtype)
        which = np.searchsorted(self._begins, sequences, side="right") - 1
        inside_file = sequences - self._begins[which]
        for number in np.unique(which):
            chosen = np.flatnonzero(which == number) if len(self._parts) > 1 else np.arange(len(sequences))
            self._parts[number].read_into(
                values, chosen, inside_file[chosen], starts[chosen], keep_open=len(self._parts) <= _OPEN_FILES
            )
        if layout.kind == "token":
            check_tokens(values, layout.dimension, where=str(self._parts[0].path))
            return values.astype(np.int64)
        return values


class _File:
    """One file: what it says of itself, and reads at known offsets."""

    def __init__(self, path: Path, *, verify: bool) -> None:
        self.path = path
        file = open_for_reading(path, format="sequences")
        try:
            if verify:
                verify_content(path, file)
            self._read_head(file)
        except (KeyError, ValueError, TypeError, OSError, IndexError) as problem:
            raise DatasetError(f"{path} lacks what a sequence dataset must say: {problem}.") from problem
        finally:
            file.close()
        self._handles: dict[int, Any] = {}
        weakref.finalize(self, _close, self._handles)

    def _read_head(self, file: h5py.File) -> None:
        self.attributes = {
            key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
        }
        self.content_sha256 = str(self.attributes["content_sha256"])
        self.splits = {
            name: (low, high) for name, (low, high) in json.loads(self.attributes["splits"]).items()
        }
        self.layout = _layout_of(file)
        values = file[self.layout.name]
        if values.shape[1 : 1 + len(self.layout.item_shape)] != self.layout.item_shape:
            raise ValueError(f"`{self.layout.name}` has shape {values.shape}")
        self.count = int(values.shape[0])
        self.first = int(file["sequence"][0]) if self.count else 0
        self.checksums = read_array(file, "sha256")
        self.conditions = {name: read_array(file, name) for name in self.layout.conditions}
        self.lengths = read_array(file, "length") if self.layout.variable else np.zeros(0, dtype=np.int64)
        # What another program has compressed or byte-swapped is still readable, through HDF5, only slower.
        plain = values.chunks is None and values.dtype == values.dtype.newbyteorder("=")
        offset = values.id.get_offset() if plain else None
        self._offset = None if offset is None else int(offset)

    def read_into(
        self,
        out: NDArray[Any],
        places: NDArray[np.int64],
        sequences: NDArray[np.int64],
        starts: NDArray[np.int64],
        *,
        keep_open: bool,
    ) -> None:
        """Fill ``out[places[b]]`` with the elements of ``sequences[b]`` from ``starts[b]`` on."""
        if self._offset is None:
            self._read_through_hdf5(out, places, sequences, starts)
            return
        element = out[0, 0].nbytes
        size = out[0].nbytes
        offsets = (self._offset + (sequences * self.layout.length + starts) * element).tolist()
        target = out.reshape(-1).view(np.uint8).data
        with self._opened(keep_open) as handle:
            for place, offset in zip((places * size).tolist(), offsets, strict=True):
                if os.preadv(handle, [target[place : place + size]], offset) != size:
                    raise DatasetError(
                        f"{self.path} ended while it was read: it has been changed or truncated."
                    )

    def _read_through_hdf5(
        self,
        out: NDArray[Any],
        places: NDArray[np.int64],
        sequences: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> None:
        file = open_for_reading(self.path, format="sequences")
        try:
            values = file[self.layout.name]
            for place, sequence, start in zip(places, sequences, starts, strict=True):
                rows = values[sequence, start : start + out.shape[1]]
                out[place] = pairs_to_complex(rows) if out.dtype.kind == "c" else rows
        finally:
            file.close()

    @contextlib.contextmanager
    def _opened(self, keep: bool) -> Any:
        handle = self._handles.get(0)
        if handle is None:
            try:
                handle = os.open(self.path, os.O_RDONLY)
            except OSError as problem:
                raise DatasetError(f"Cannot open {self.path}: {problem.strerror}.") from problem
            if keep and self._handles.setdefault(0, handle) != handle:
                os.close(handle)
                handle = self._handles[0]
        try:
            yield handle
        finally:
            if not keep:
                os.close(handle)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}


def _layout_of(file: h5py.File) -> Layout:
    kind = str(file.attrs["kind"])
    if kind not in KINDS:
        raise ValueError(f"the kind {kind!r} is unknown")
    values = file[{"quantum_state": "states", "token": "tokens", "real": "vectors"}[kind]]
    item = values.dtype.itemsize
    dtype = f"complex{16 * item}" if kind == "quantum_state" else values.dtype.newbyteorder("=").name
    special = RESERVED | {values.name.lstrip("/")}
    conditions = {
        name: str(array.attrs["units"])
        for name, array in file.items()
        if name not in special and array.ndim and list(array.dims[0].keys()) == ["sequence"]
    }
    units = {values.name.lstrip("/"): str(values.attrs["units"])}
    if "time" in file and not np.issubdtype(file["time"].dtype, np.integer):
        units["time"] = str(file["time"].attrs["units"])
    return Layout(
        kind=kind,
        dimension=int(file.attrs["dimension"]),
        length=int(values.shape[1]),
        dtype=dtype,
        times=tuple(file["time"][()].tolist()) if "time" in units else None,
        vocabulary=tuple(read_array(file, "vocabulary").tolist()) if "vocabulary" in file else None,
        conditions=conditions,
        units=units,
        variable="length" in file,
        components=_component_names(file),
        normalised=bool(file.attrs.get("normalised", True)),
    )


def _component_names(file: h5py.File) -> tuple[str, ...] | None:
    """The names of components; None where the dimension has numbers only."""
    if "component" not in file or np.issubdtype(file["component"].dtype, np.integer):
        return None
    return tuple(read_array(file, "component").tolist())


def _splits_within(
    splits: Mapping[str, tuple[int, int]], first: int, count: int
) -> dict[str, tuple[int, int]]:
    """Split ranges counted from ``first``, cut to the ``count`` sequences at hand."""
    cut = {
        name: (min(max(low - first, 0), count), min(max(high - first, 0), count))
        for name, (low, high) in splits.items()
    }
    try:
        return check_splits(cut, count)
    except ArgumentError as problem:
        raise DatasetError(f"The file's splits are wrong: {problem}") from problem


def _check_against_manifest(backing: FileBacking, manifest: Manifest, path: Path) -> None:
    for shard, found in zip(manifest.shards, backing.content_sha256, strict=True):
        if shard.content_sha256 != found:
            raise DatasetError(
                f"{path.parent / shard.file} is not the file that {path} lists: checksums differ."
            )
    if backing.count != manifest.count:
        raise DatasetError(
            f"{path} promises {manifest.count} sequences, but its shards hold {backing.count}."
        )
    if backing.digest != manifest.digest:
        raise DatasetError(
            f"{path} promises the digest {manifest.digest[:12]}…, but finds {backing.digest[:12]}…."
        )


def _close(handles: dict[int, int]) -> None:
    while handles:
        os.close(handles.popitem()[1])
