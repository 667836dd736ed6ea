"""Where sequences are kept: the interface that `SequenceDataset` reads from, and the one in memory."""

from __future__ import annotations

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qdyn.errors import ArgumentError, DatasetError

Kind = Literal["quantum_state", "token", "real"]
KINDS: tuple[Kind, ...] = ("quantum_state", "token", "real")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SequenceMetadata:
    """What is true of every sequence of a dataset.

    Args:
        name: the recipe's name, or what the user called it.
        kind: ``"quantum_state"`` (complex unit vectors), ``"token"`` (words) or ``"real"`` (real vectors).
        dimension: length of a state or vector; the number of words for tokens.
        vocabulary: the words in the order of their numbers, for tokens.
        phase_convention: ``"raw"`` (as evolved) or ``"first_real"`` (first amplitude real, >= 0), for states.
        units: the unit of every stored array by its name.
        time_step: spacing of the times where they are equally spaced, in units of ``units["time"]``.
        recipe: how the data came to be.
        components: the names of the components of real vectors, where they have any.
        normalised: whether elements are unit vectors, which are judged by their fidelity; real vectors that
            are not are judged by their squared error.
        digest: sha256 over the stored sequences, the same for every way of cutting them into shards.
    """

    name: str
    kind: Kind
    dimension: int
    vocabulary: tuple[str, ...] | None = None
    phase_convention: Literal["raw", "first_real"] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    time_step: float | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    components: tuple[str, ...] | None = None
    normalised: bool = True


class Backing(ABC):
    """Stored sequences of equal stored length, read by piece."""

    metadata: SequenceMetadata
    #: Number of sequences.
    count: int
    #: Stored elements of a sequence, T + 1.
    length: int
    #: Times of the elements (length,), or None.
    times: NDArray[np.float64] | None
    #: Elements of each sequence that exist (count,), or None where all do.
    lengths: NDArray[np.int64] | None
    #: What is known of a whole sequence: name -> (count,).
    conditions: Mapping[str, NDArray[Any]]
    #: Range of sequences of each split: name -> (first, one past the last).
    splits: Mapping[str, tuple[int, int]]

    @abstractmethod
    def read(self, sequences: NDArray[np.int64], starts: NDArray[np.int64], count: int) -> NDArray[Any]:
        """Elements ``starts[b] … starts[b] + count - 1`` of each sequence ``sequences[b]``.

        Returns:
            A new array: (b, count, d), complex for states, real for vectors; or int64 (b, count) for tokens.
        """


class MemoryBacking(Backing):
    """Sequences in memory.

    Args:
        values: (count, length, d) complex or real, or (count, length) int64.
        metadata: what is true of all of them.
        times: (length,) or None.
        lengths: (count,) or None.
        conditions: name -> (count,).
        splits: name -> (first, one past the last).
    """

    def __init__(
        self,
        values: NDArray[Any],
        metadata: SequenceMetadata,
        *,
        times: NDArray[np.float64] | None = None,
        lengths: NDArray[np.int64] | None = None,
        conditions: Mapping[str, NDArray[Any]] | None = None,
        splits: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.values = values
        self.metadata = metadata
        self.count, self.length = values.shape[:2]
        self.times = times
        self.lengths = lengths
        self.conditions = dict(conditions or {})
        self.splits = dict(splits or {})

    def read(self, sequences: NDArray[np.int64], starts: NDArray[np.int64], count: int) -> NDArray[Any]:
        """See `Backing.read`."""
        if count == self.length:
            return self.values[sequences]
        return self.values[sequences[:, None], starts[:, None] + np.arange(count)]


def check_splits(splits: Mapping[str, tuple[int, int]], count: int) -> dict[str, tuple[int, int]]:
    """Splits as ranges, refused where they overlap or leave the data.

    >>> check_splits({"train": (0, 8), "test": (6, 10)}, 10)
    Traceback (most recent call last):
    ...
    qdyn.errors.ArgumentError: Argument `splits` must not overlap, but 'test' begins at 6, 'train' ends at 8.
    """
    if not isinstance(splits, Mapping):
        raise ArgumentError(f"Argument `splits` must map names to ranges, but is {splits!r:.60}.")
    ranges = {}
    for name, bounds in splits.items():
        if name not in SPLITS:
            raise ArgumentError(
                f"Argument `splits` has the unknown split {name!r}: valid: {', '.join(SPLITS)}."
            )
        try:
            first, last = (operator.index(bound) for bound in bounds)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"Argument `splits` must give each split as (first, one past the last), "
                f"but {name!r} is {bounds!r:.60}."
            ) from None
        if not 0 <= first <= last <= count:
            raise ArgumentError(
                f"Argument `splits` must give ranges within 0 and {count}, but {name!r} is ({first}, {last})."
            )
        ranges[name] = (first, last)
    filled = sorted((bounds, name) for name, bounds in ranges.items() if bounds[0] < bounds[1])
    for (before, earlier), (after, later) in itertools.pairwise(filled):
        if after[0] < before[1]:
            raise ArgumentError(
                f"Argument `splits` must not overlap, but {later!r} begins at {after[0]}, {earlier!r} "
                f"ends at {before[1]}."
            )
    return ranges


def check_tokens(values: NDArray[Any], dimension: int, *, where: str) -> None:
    """Refuse token numbers outside the vocabulary: an index there would read another word's row."""
    if values.size and (values.min() < 0 or values.max() >= dimension):
        wrong = values.min() if values.min() < 0 else values.max()
        raise DatasetError(f"{where} must hold token numbers from 0 to {dimension - 1}, but holds {wrong}.")
