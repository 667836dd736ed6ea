"""How qdyn lays out an HDF5 file: named dimensions, units, complex numbers as pairs of reals, a checksum.

Complex arrays are stored as real arrays with a last axis ``ri`` (``"re"``, ``"im"``): every reader opens
them, and a window of states is read three times faster than from HDF5's compound type. Dimensions are HDF5
dimension scales, so xarray reads the file with ``engine="h5netcdf"``. The root attributes say what the file
is:

=====================  ==============================================================
``qdyn_format``        ``"sequences"``, ``"trajectory"`` or ``"density_trajectory"``
``qdyn_schema``        version of the layout, `SCHEMA_VERSION`
``qdyn_version``       the release that wrote it
``content_sha256``     over every array (name, dimensions, unit, type, values) and every other attribute
=====================  ==============================================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qdyn.errors import DatasetError, OutputError
from qdyn.files import replacing

if TYPE_CHECKING:
    import h5py

SCHEMA_VERSION = 1
Format = Literal["sequences", "trajectory", "density_trajectory"]
FORMATS = get_args(Format)
_PIECE = 1 << 23
_ATTRIBUTE_LIMIT = 60_000


@dataclass(frozen=True)
class NamedArray:
    """An array with what a file must say about it.

    Args:
        name: Its name in the file. An array named like a dimension is that dimension's coordinate.
        values: The numbers, or strings along one axis.
        dims: A name for every axis.
        unit: Its unit; ``"1"`` for a pure number.
        description: One phrase for the reader of the file.
    """

    name: str
    values: ArrayLike
    dims: tuple[str, ...]
    unit: str = "1"
    description: str = ""


class Writer:
    """Fills one HDF5 file; made by `create_file`."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._dims: dict[str, tuple[str, ...]] = {}
        self._written: dict[str, int] = {}

    def declare(
        self,
        name: str,
        *,
        dims: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: DTypeLike,
        unit: str = "1",
        description: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Reserve an array that `write` fills along its first axis; complex types gain the axis ``ri``."""
        kind = np.dtype(dtype)
        if kind.kind == "c":
            dims, shape, kind = (*dims, "ri"), (*shape, 2), np.dtype(f"f{kind.itemsize // 2}")
        if len(dims) != len(shape):
            raise ValueError(f"{name}: dimensions {dims} for shape {shape}")
        # Every row is written before the file is finished: zeros written first would only cost time.
        never = {"fill_time": "never"} if shape else {}
        dataset = self._file.create_dataset(name, shape=shape, dtype=kind, track_times=False, **never)
        self._describe(name, dims, unit, description, attributes)
        self._written[name] = 0 if shape else 1
        if not shape:
            dataset[()] = 0

    def write(self, name: str, values: ArrayLike, *, start: int = 0) -> None:
        """Write rows ``start``, ``start + 1``, … of a declared array."""
        dataset = self._file[name]
        rows = np.asarray(values)
        if rows.dtype.kind == "c":
            rows = complex_to_pairs(rows)
        dataset[start : start + len(rows)] = rows
        self._written[name] += len(rows)

    def add(self, array: NamedArray, *, attributes: Mapping[str, Any] | None = None) -> None:
        """Write a whole array."""
        values, dims = np.asarray(array.values), array.dims
        if values.dtype.kind == "c":
            values, dims = complex_to_pairs(values), (*dims, "ri")
        if values.dtype.kind == "U":
            import h5py

            self._file.create_dataset(
                array.name, data=values.astype(object), dtype=h5py.string_dtype(), track_times=False
            )
            self._describe(array.name, array.dims, array.unit, array.description, attributes)
            return
        self.declare(
            array.name,
            dims=dims,
            shape=values.shape,
            dtype=values.dtype,
            unit=array.unit,
            description=array.description,
            attributes=attributes,
        )
        if values.ndim:
            self.write(array.name, values)
        else:
            self._file[array.name][()] = values

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set root attributes: strings, numbers or booleans."""
        for key, value in attributes.items():
            if isinstance(value, str) and len(value.encode()) > _ATTRIBUTE_LIMIT:
                raise OutputError(
                    f"Cannot write the attribute {key!r}: it has {len(value.encode())} bytes, more than the "
                    f"{_ATTRIBUTE_LIMIT} that HDF5 holds in one."
                )
            self._file.attrs[key] = value

    def finish(self) -> None:
        """Attach the dimensions, check that every row has been written, and sign the content."""
        for name, dims in self._dims.items():
            shape = self._file[name].shape
            if shape and self._written.get(name, shape[0]) != shape[0]:
                raise ValueError(f"{name}: {self._written[name]} of {shape[0]} rows were written")
            for axis, dim in enumerate(dims):
                self._scale(dim, shape[axis])
                if dim != name:
                    self._file[name].dims[axis].attach_scale(self._file[dim])
        self._file.attrs["content_sha256"] = content_sha256(self._file)

    def _describe(
        self,
        name: str,
        dims: tuple[str, ...],
        unit: str,
        description: str,
        attributes: Mapping[str, Any] | None,
    ) -> None:
        self._dims[name] = dims
        attrs = self._file[name].attrs
        attrs["units"] = unit
        if description:
            attrs["long_name"] = description
        for key, value in (attributes or {}).items():
            attrs[key] = value

    def _scale(self, dim: str, size: int) -> None:
        if dim not in self._file:
            import h5py

            labels: Any = np.arange(size, dtype=np.int64)
            dtype: Any = None
            if dim == "ri":
                labels, dtype = np.array(["re", "im"], dtype=object), h5py.string_dtype()
            self._file.create_dataset(dim, data=labels, dtype=dtype, track_times=False)
            self._file[dim].attrs["units"] = "1"
        scale = self._file[dim]
        if scale.shape != (size,):
            raise ValueError(f"dimension {dim} has {size} places, but its coordinate has shape {scale.shape}")
        if not scale.is_scale:
            scale.make_scale(dim)


@contextmanager
def create_file(path: str | Path, *, format: Format, attributes: Mapping[str, Any]) -> Iterator[Writer]:
    """Write a new HDF5 file beside ``path`` and rename it into place when the block ends without error.

    Args:
        path: Where the finished file stands; what stood there before is replaced only by a finished file.
        format: What the file holds, one of `FORMATS`.
        attributes: Root attributes: strings, numbers or booleans.

    Raises:
        OutputError: the file cannot be written.
    """
    import h5py

    from qdyn import __version__

    with replacing(Path(path)) as beside, h5py.File(beside, "w") as file:
        writer = Writer(file)
        writer.set_attributes(
            {
                "qdyn_format": format,
                "qdyn_schema": SCHEMA_VERSION,
                "qdyn_version": __version__,
                **attributes,
            }
        )
        yield writer
        writer.finish()


def write_file(
    path: str | Path,
    arrays: Iterable[NamedArray],
    *,
    format: Format,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays that fit in memory to ``path`` in one step.

    Raises:
        OutputError: the file cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "plus.h5"
        >>> state = NamedArray("states", np.array([1, 1j]) / np.sqrt(2), ("basis",))
        >>> write_file(path, [state], format="trajectory")
        >>> with open_file(path, format="trajectory") as file:
        ...     print(dimensions(file["states"]), read_array(file, "states").round(3))
        ('basis', 'ri') [0.707+0.j    0.   +0.707j]
    """
    with create_file(path, format=format, attributes=attributes or {}) as writer:
        for array in arrays:
            writer.add(array)


@contextmanager
def open_file(path: str | Path, *, format: Format) -> Iterator[h5py.File]:
    """Open a file that qdyn wrote, for reading; see `open_for_reading` for what is refused."""
    file = open_for_reading(path, format=format)
    try:
        yield file
    finally:
        file.close()


def open_for_reading(path: str | Path, *, format: Format) -> h5py.File:
    """An open ``h5py.File`` that qdyn wrote and this version understands; the caller closes it.

    Raises:
        DatasetError: the file is missing, truncated, not HDF5, not qdyn's, holds something else than
            ``format`` or has another schema version.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"Cannot open {path}: {'it is a folder' if path.is_dir() else 'no such file'}.")
    try:
        file = h5py.File(path, "r")
    except OSError as problem:
        raise DatasetError(_why_unreadable(path, problem)) from problem
    try:
        _check_attributes(path, file, format)
    except BaseException:
        file.close()
        raise
    return file


def format_of(path: str | Path) -> str | None:
    """What a file that qdyn wrote holds, such as "trajectory"; None for any other file or none."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("qdyn_format")
    except OSError:
        return None
    return str(found) if found in FORMATS else None


def verify_content(path: str | Path, file: h5py.File) -> None:
    """Recompute the checksum of an open file.

    Raises:
        DatasetError: the content is not what was written.
    """
    stored = str(file.attrs.get("content_sha256", ""))
    try:
        found = content_sha256(file)
    except OSError as problem:
        raise DatasetError(f"{path} is damaged: {problem}.") from problem
    if found != stored:
        raise DatasetError(
            f"{path} is damaged: its content has sha256 {found[:12]}…, but {stored[:12]}… was written."
        )


def read_array(file: h5py.File, name: str) -> NDArray[Any]:
    """A whole array; pairs of reals come back as complex numbers, strings as ``str``.

    Raises:
        DatasetError: the file has no such array, or it cannot be read.
    """
    if name not in file:
        raise DatasetError(f"{file.filename} lacks the array `{name}`.")
    dataset = file[name]
    try:
        values = dataset.asstr()[()] if dataset.dtype.kind == "O" else dataset[()]
    except OSError as problem:
        raise DatasetError(f"{file.filename}: the array `{name}` cannot be read: {problem}.") from problem
    return pairs_to_complex(values) if dimensions(dataset)[-1:] == ("ri",) else np.asarray(values)


def dimensions(dataset: h5py.Dataset) -> tuple[str, ...]:
    """The names of a dataset's axes, from its dimension scales."""
    if dataset.is_scale:
        return (dataset.name.lstrip("/"),)
    return tuple(
        dataset.dims[axis][0].name.lstrip("/") for axis in range(dataset.ndim) if len(dataset.dims[axis])
    )


def complex_to_pairs(values: NDArray[Any]) -> NDArray[Any]:
    """Complex numbers as reals with a last axis (re, im); no copy where memory is contiguous.

    >>> complex_to_pairs(np.array([1 + 2j]))
    array([[1., 2.]])
    """
    shape = values.shape
    values = np.ascontiguousarray(values)
    return values.view(values.real.dtype).reshape(*shape, 2)


def pairs_to_complex(values: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `complex_to_pairs`.

    >>> pairs_to_complex(np.array([[1.0, 2.0]]))
    array([1.+2.j])
    """
    values = np.ascontiguousarray(values)
    return values.view(np.dtype(f"c{2 * values.dtype.itemsize}")).reshape(values.shape[:-1])


def content_sha256(file: h5py.File) -> str:
    """The checksum over every array and every root attribute but itself, read a few megabytes at a time."""
    whole = hashlib.sha256()
    for key in sorted(set(file.attrs) - {"content_sha256"}):
        whole.update(f"{key}={file.attrs[key]}\n".encode())
    for name in sorted(file):
        dataset = file[name]
        unit = dataset.attrs.get("units", "")
        head = f"{name} {dimensions(dataset)} [{unit}] {dataset.dtype.str} {dataset.shape}\n"
        whole.update(head.encode())
        if dataset.dtype.kind == "O":
            whole.update("\0".join(np.atleast_1d(dataset.asstr()[()]).tolist()).encode())
        elif dataset.size:
            for piece in _pieces(dataset):
                whole.update(np.ascontiguousarray(piece).data)
    return whole.hexdigest()


def _pieces(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    if dataset.ndim == 0:
        yield dataset[()].reshape(1)
        return
    row = max(1, dataset.nbytes // dataset.shape[0])
    rows = max(1, _PIECE // row)
    for start in range(0, dataset.shape[0], rows):
        yield dataset[start : start + rows]


def _check_attributes(path: Path, file: h5py.File, format: Format) -> None:
    found = file.attrs.get("qdyn_format")
    if found not in FORMATS:
        raise DatasetError(f"{path} is an HDF5 file, but qdyn did not write it: it has no `qdyn_format`.")
    schema = file.attrs.get("qdyn_schema")
    if schema != SCHEMA_VERSION:
        raise DatasetError(
            f"{path} has schema version {schema}, but this version of qdyn reads {SCHEMA_VERSION}."
        )
    if found != format:
        raise DatasetError(f"{path} holds {_article(str(found))}, but {_article(format)} is needed.")


def _article(format: str) -> str:
    names = {"trajectory": "a trajectory", "density_trajectory": "a trajectory of density matrices"}
    return names.get(format, "a sequence dataset")


def _why_unreadable(path: Path, problem: OSError) -> str:
    text = str(problem)
    sizes = re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text)
    if sizes:
        return f"{path} is truncated: it has {sizes[1]} bytes, but {sizes[2]} were written."
    with path.open("rb") as handle:
        signature = handle.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        return f"{path} is not an HDF5 file."
    reason = re.search(r"\((.*)\)", text)
    return f"{path} is a damaged HDF5 file: {reason[1] if reason else text}."
