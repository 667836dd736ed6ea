"""How one file of sequences is laid out, and how it is written block by block.

A file holds, beside the dimension coordinates:

======================  ============================  ==========================================
array                   dimensions                    what
======================  ============================  ==========================================
states | tokens |       (sequence, time,              the elements, contiguous; states as they
vectors                 [basis | component], [ri])    evolved ("raw")
time                    (time)                        times of the elements, if they have any
sequence                (sequence)                    number of the sequence in the dataset
split                   (sequence)                    0 none, 1 train, 2 validation, 3 test
length                  (sequence)                    elements that exist, where lengths vary
vocabulary              (word)                        the words, for tokens
component               (component)                   the names of components, where they have any
sha256                  (sequence, byte)              checksum of each sequence
one for each condition  (sequence)                    such as ``coupling`` and ``field``
======================  ============================  ==========================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.data.backing import SPLITS, Kind
from qdyn.data.xarray_view import VALUES, VECTOR_AXIS
from qdyn.errors import ArgumentError
from qdyn.hdf5 import NamedArray, Writer, create_file

#: Names of arrays that a file may hold beside its elements and conditions, and of its dimensions.
RESERVED = frozenset(
    {
        "split",
        "sha256",
        "length",
        "sequence",
        "time",
        "vocabulary",
        "component",
        "basis",
        "byte",
        "word",
        "ri",
    }
)


@dataclass(frozen=True)
class Layout:
    """What every sequence of a dataset looks like.

    Args:
        kind: quantum_state, token or real.
        dimension: length of a state or vector; number of words for tokens.
        length: stored elements of a sequence, T + 1.
        dtype: numpy type of the elements: complex64, complex128, float32, float64 or int32.
        times: times of the elements, or None.
        vocabulary: the words, for tokens.
        components: the names of the components of real vectors, or None.
        conditions: the unit of each condition by its name.
        units: the unit of ``time`` and of the elements, where it is not ``"1"``.
        variable: whether sequences have lengths of their own.
        normalised: whether elements are unit vectors; only real vectors may be others.

    Raises:
        ArgumentError: a condition has the name of another array or dimension of the file, or one that no
            array of a file can have.
    """

    kind: Kind
    dimension: int
    length: int
    dtype: str
    times: tuple[float, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    components: tuple[str, ...] | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    variable: bool = False
    normalised: bool = True

    def __post_init__(self) -> None:
        taken = RESERVED | {self.name}
        for condition in self.conditions:
            if condition in taken:
                raise ArgumentError(
                    f"Argument `conditions` must not name one {condition!r}: files have an array of that "
                    f"name already, as they have {', '.join(sorted(taken - {condition}))}."
                )
            check_array_name("conditions", condition)

    @property
    def name(self) -> str:
        """The name of the array of elements."""
        return VALUES[self.kind]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """The shape of one sequence."""
        return (self.length,) if self.kind == "token" else (self.length, self.dimension)

    @property
    def bytes_per_sequence(self) -> int:
        """What one sequence takes on disk, its conditions and checksum included."""
        values = int(np.prod(self.item_shape)) * np.dtype(self.dtype).itemsize
        return values + 8 * len(self.conditions) + 8 * self.variable + 8 + 1 + 32

    @property
    def all_units(self) -> dict[str, str]:
        """The unit of every array by its name."""
        return {self.name: "1", **self.units, **self.conditions}


def check_array_name(argument: str, name: str) -> None:
    """Refuse a name that no array of a file can have; "/" would make a group of it.

    Raises:
        ArgumentError: the name is empty, "." or "..", or holds "/" or a NUL character.

    Example:
        >>> check_array_name("columns", "km/h")
        Traceback (most recent call last):
        ...
        qdyn.errors.ArgumentError: Argument `columns` must hold names without '/', but has 'km/h'.
    """
    if name in ("", ".", ".."):
        raise ArgumentError(f"Argument `{argument}` must hold names of arrays, but has {name!r}.")
    for character in ("/", "\0"):
        if character in name:
            raise ArgumentError(
                f"Argument `{argument}` must hold names without {character!r}, but has {name!r}."
            )


@dataclass(frozen=True)
class Block:
    """Consecutive sequences in memory.

    Args:
        values: (n, length[, d]) in the layout's type.
        conditions: name -> (n,) float64.
        lengths: (n,), where lengths vary.
    """

    values: NDArray[Any]
    conditions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    lengths: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, last: int) -> Block:
        """Sequences ``first`` to ``last - 1`` of the block."""
        return Block(
            self.values[first:last],
            {name: values[first:last] for name, values in self.conditions.items()},
            None if self.lengths is None else self.lengths[first:last],
        )


def write_sequences(
    path: Path,
    layout: Layout,
    blocks: Iterable[Block],
    *,
    first: int,
    count: int,
    splits: Mapping[str, tuple[int, int]],
    attributes: Mapping[str, Any],
) -> None:
    """Write ``count`` sequences, which are numbers ``first``, ``first + 1``, … of the dataset, to one file.

    Args:
        path: the file; it appears when it is complete.
        layout: what the sequences look like.
        blocks: the sequences in order, one block in memory at a time.
        first: number of the first sequence.
        count: how many there are.
        splits: range of sequence numbers of each split of the whole dataset.
        attributes: what else to say about the dataset, such as its name and recipe.

    Raises:
        OutputError: the file cannot be written.
    """
    ranges = json.dumps({name: [int(end) for end in bounds] for name, bounds in splits.items()})
    about = {"kind": layout.kind, "dimension": layout.dimension, "splits": ranges, **attributes}
    if not layout.normalised:
        about["normalised"] = 0
    with create_file(path, format="sequences", attributes=about) as writer:
        _declare(writer, layout, first, count, splits)
        done = 0
        for block in blocks:
            writer.write(layout.name, block.values, start=done)
            for name in layout.conditions:
                writer.write(name, block.conditions[name], start=done)
            if block.lengths is not None:
                writer.write("length", block.lengths, start=done)
            writer.write("sha256", sequence_checksums(layout, block), start=done)
            done += len(block)


def sequence_checksums(layout: Layout, block: Block) -> NDArray[np.uint8]:
    """The sha256 of each sequence: its elements, length and conditions, in that order; (n, 32)."""
    values = np.ascontiguousarray(block.values, dtype=np.dtype(layout.dtype).newbyteorder("<"))
    columns = [
        np.ascontiguousarray(block.conditions[name], dtype="<f8") for name in sorted(layout.conditions)
    ]
    if block.lengths is not None:
        columns.insert(0, np.ascontiguousarray(block.lengths, dtype="<i8"))
    sums = np.empty((len(block), 32), dtype=np.uint8)
    for index in range(len(block)):
        one = hashlib.sha256(values[index].data)
        for column in columns:
            one.update(column[index : index + 1].data)
        sums[index] = np.frombuffer(one.digest(), dtype=np.uint8)
    return sums


def dataset_digest(
    layout: Layout, splits: Mapping[str, tuple[int, int]], checksums: Iterable[NDArray[np.uint8]]
) -> str:
    """One checksum for a dataset, independent of how it is cut into files.

    Args:
        layout: what the sequences look like.
        splits: range of sequence numbers of each split.
        checksums: the arrays ``sha256`` of the files, in order.
    """
    identity: dict[str, Any] = {
        "kind": layout.kind,
        "dimension": layout.dimension,
        "length": layout.length,
        "dtype": layout.dtype,
        "times": layout.times,
        "vocabulary": layout.vocabulary,
        "units": layout.all_units,
        "splits": {name: list(bounds) for name, bounds in splits.items()},
    }
    # What files of unit vectors without names do not mention, so that their digests stay what they were.
    if layout.components is not None:
        identity["components"] = list(layout.components)
    if not layout.normalised:
        identity["normalised"] = False
    whole = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for rows in checksums:
        whole.update(np.ascontiguousarray(rows).data)
    return whole.hexdigest()


def _declare(
    writer: Writer, layout: Layout, first: int, count: int, splits: Mapping[str, tuple[int, int]]
) -> None:
    numbers = np.arange(first, first + count)
    writer.add(NamedArray("sequence", numbers, ("sequence",), "1", "number of the sequence in the dataset"))
    if layout.times is not None:
        unit = layout.units.get("time", "1")
        writer.add(NamedArray("time", np.array(layout.times), ("time",), unit, "time"))
    if layout.vocabulary is not None:
        writer.add(NamedArray("vocabulary", np.array(layout.vocabulary), ("word",), "1", "words by number"))
    if layout.components is not None:
        names = np.array(layout.components)
        writer.add(NamedArray("component", names, ("component",), "1", "names of the components"))
    labels = np.zeros(count, dtype=np.uint8)
    for number, name in enumerate(SPLITS, start=1):
        low, high = splits.get(name, (0, 0))
        labels[(numbers >= low) & (numbers < high)] = number
    writer.add(
        NamedArray("split", labels, ("sequence",), "1", "which split the sequence belongs to"),
        attributes={
            "flag_values": np.arange(len(SPLITS) + 1, dtype=np.uint8),
            "flag_meanings": " ".join(("none", *SPLITS)),
        },
    )
    for name, unit in layout.conditions.items():
        writer.declare(name, dims=("sequence",), shape=(count,), dtype="f8", unit=unit, description=name)
    if layout.variable:
        writer.declare(
            "length", dims=("sequence",), shape=(count,), dtype="i8", description="elements that exist"
        )
    writer.declare(
        "sha256", dims=("sequence", "byte"), shape=(count, 32), dtype="u1", description="sequence checksum"
    )
    # The elements come last, so that the small arrays stand together at the front of the file.
    writer.declare(
        layout.name,
        dims=("sequence", "time", *VECTOR_AXIS[layout.kind]),
        shape=(count, *layout.item_shape),
        dtype=layout.dtype,
        unit=layout.all_units[layout.name],
        description=f"{layout.kind.replace('_', ' ')} sequences",
        attributes={"phase_convention": "raw"} if layout.kind == "quantum_state" else None,
    )
