"""SequenceDataset: the one interface between what makes sequences and what learns from them.

A sequence has T + 1 elements: quantum states, words, or real vectors. It gives T steps; step j sees elements
0 … j and predicts element j + 1. A dataset, a split of it, and its windows are all `SequenceDataset`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.data.array_checks import are_unit_vectors, sequence_array, valid_lengths, vector
from qdyn.data.backing import (
    KINDS,
    Backing,
    Kind,
    MemoryBacking,
    SequenceMetadata,
    check_splits,
    check_tokens,
)
from qdyn.data.batch import Batch, Gathered
from qdyn.errors import ArgumentError, DatasetError, nearest
from qdyn.quantum.states import PhaseConvention, with_phase_convention

if TYPE_CHECKING:
    import xarray

__all__ = ["Batch", "Kind", "SequenceDataset", "SequenceMetadata"]


class SequenceDataset:
    """Sequences with their metadata; indexable, sliceable into batches, splits and windows.

    Made by `qdyn.load_dataset` or `SequenceDataset.from_arrays`. It serves as a map-style dataset of
    ``torch.utils.data.DataLoader``, which then reads a batch in one go.

    Example:
        >>> words = torch.tensor([[0, 2, 1, 3], [0, 1, 3, 3]])
        >>> dataset = SequenceDataset.from_arrays(words, kind="token", dimension=4, lengths=[4, 3])
        >>> item = dataset[1]
        >>> item.inputs, item.targets, item.mask
        (tensor([0, 1, 3]), tensor([1, 3, 3]), tensor([ True,  True, False]))
    """

    def __init__(
        self,
        backing: Backing,
        *,
        rows: range | None = None,
        window: tuple[int, int] | None = None,
        phase_convention: PhaseConvention | None = None,
        split: str | None = None,
        padding: bool = False,
    ) -> None:
        self._backing = backing
        self._rows = range(backing.count) if rows is None else rows
        self._window = window
        self._split = split
        self._padding = padding
        convention = phase_convention or backing.metadata.phase_convention
        self.metadata = replace(backing.metadata, phase_convention=convention)

    @classmethod
    def from_arrays(
        cls,
        values: ArrayLike | Tensor,
        *,
        kind: Kind,
        name: str = "in memory",
        dimension: int | None = None,
        vocabulary: Sequence[str] | None = None,
        phase_convention: PhaseConvention = "raw",
        times: ArrayLike | Tensor | None = None,
        lengths: ArrayLike | Tensor | None = None,
        conditions: Mapping[str, ArrayLike | Tensor] | None = None,
        splits: Mapping[str, tuple[int, int]] | None = None,
        units: Mapping[str, str] | None = None,
        recipe: Mapping[str, Any] | None = None,
        components: Sequence[str] | None = None,
        normalised: bool | None = None,
    ) -> SequenceDataset:
        """A dataset from arrays in memory.

        Args:
            values: complex unit vectors (N, T+1, d), taken as evolved ("raw"), for quantum_state; integers
                (N, T+1) for token; real vectors (N, T+1, d) for real.
            kind: what they are.
            name: what to call the dataset.
            dimension: number of words, for tokens without a ``vocabulary``; else it follows from ``values``.
            vocabulary: the words in the order of their numbers, for tokens.
            phase_convention: how to show the states: "raw" or "first_real".
            times: (T+1,) increasing.
            lengths: (N,) elements of each sequence that exist, from 2 to T+1; the rest is padding and masked.
            conditions: what is known of a whole sequence: name -> real (N,).
            splits: name -> (first, one past the last) sequence; names: train, validation, test.
            units: unit by array name, such as {"time": "1/J"}.
            recipe: how the data came to be, for the record.
            components: the names of the components of real vectors.
            normalised: whether real vectors are unit vectors, forecast as directions and judged by fidelity;
                if not, they are judged by their squared error. None finds out.

        Raises:
            ArgumentError: wrong shape or type, NaN, states that are not normalised, overlapping splits.
            DatasetError: a token number outside the vocabulary.
        """
        check_choice("kind", kind, KINDS)
        check_choice("phase_convention", phase_convention, get_args(PhaseConvention))
        array = sequence_array(values, kind)
        if vocabulary is not None:
            dimension = len(vocabulary)
        elif kind != "token":
            dimension = array.shape[-1]
        if dimension is None:
            raise ArgumentError(
                "Argument `dimension` or `vocabulary` is needed for tokens, but neither is given."
            )
        if kind == "token":
            check_tokens(array, dimension, where="Argument `values`")
        moments = None if times is None else vector("times", times, array.shape[1])
        if moments is not None and bool((np.diff(moments) <= 0).any()):
            raise ArgumentError("Argument `times` must be increasing.")
        known = {
            key: vector(f"conditions[{key!r}]", value, len(array))
            for key, value in (conditions or {}).items()
        }
        if components is not None and (kind != "real" or len(components) != dimension):
            raise ArgumentError(
                f"Argument `components` must name the {dimension} components of real vectors, "
                f"but holds {len(components)} names for the kind {kind!r}."
            )
        valid = None if lengths is None else valid_lengths(lengths, array.shape[0], array.shape[1])
        metadata = SequenceMetadata(
            name=name,
            kind=kind,
            dimension=dimension,
            vocabulary=None if vocabulary is None else tuple(vocabulary),
            phase_convention=phase_convention if kind == "quantum_state" else None,
            units=dict(units or {}),
            time_step=time_step(moments),
            recipe=dict(recipe or {}),
            components=None if components is None else tuple(components),
            normalised=are_unit_vectors(array, kind, valid, normalised),
        )
        backing = MemoryBacking(
            array,
            metadata,
            times=moments,
            lengths=valid,
            conditions=known,
            splits=check_splits(splits or {}, len(array)),
        )
        return cls(backing)

    def __repr__(self) -> str:
        data = self.metadata
        split = f", split {self._split!r}" if self._split else ""
        windows = " windows" if self._window else ""
        phases = f", {data.phase_convention} phases" if data.phase_convention else ""
        return (
            f"SequenceDataset({data.name!r}{split}: {len(self)}{windows} of {self.n_steps} steps, "
            f"{data.kind} of dimension {data.dimension}{phases})"
        )

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Batch:
        """Item ``index``: a `Batch` without the batch axis."""
        given: object = index
        if isinstance(given, slice):
            raise ArgumentError("Argument `index` must be an integer, but is a slice: take `batch`.")
        if not -len(self) <= index < len(self):
            raise IndexError(f"Argument `index` must be within {len(self)} items, but is {index}.")
        return self.batch([index % len(self)]).item(0)

    def __getitems__(self, indices: Sequence[int]) -> Gathered:
        """What DataLoader calls for a batch: one read for all of its items."""
        return Gathered(self.batch(indices))

    @property
    def backing(self) -> Backing:
        """Where the sequences are kept: all of them, as stored, whatever this view shows."""
        return self._backing

    @property
    def is_whole(self) -> bool:
        """Whether this shows every sequence in full: neither a split nor windows."""
        return self._split is None and self._window is None

    @property
    def n_steps(self) -> int:
        """T, the number of predictions a sequence or window gives: one less than its elements."""
        return self._elements - 1

    @property
    def times(self) -> Tensor | None:
        """Times of the T + 1 elements; of a window, counted from its start, None where the spacing varies."""
        times = self._backing.times
        if times is None or (self._window is not None and self.metadata.time_step is None):
            return None
        shown = times if self._window is None else times[: self._elements] - times[0]
        return torch.as_tensor(np.array(shown))

    @property
    def conditions(self) -> dict[str, Tensor]:
        """What is known of each item's sequence, such as its coupling: name -> (N,)."""
        return self._conditions(self._locate(np.arange(len(self)))[0])

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that the data define."""
        return tuple(self._backing.splits)

    def batch(self, indices: ArrayLike | Tensor) -> Batch:
        """The items at ``indices``, in that order.

        Raises:
            ArgumentError: an index outside of the dataset.
        """
        places = self._places(indices)
        sequences, starts = self._locate(places)
        values = self._values(sequences, starts)
        return Batch(
            inputs=values[:, :-1],
            targets=values[:, 1:],
            mask=self._mask(sequences, starts),
            conditions=self._conditions(sequences),
            indices=torch.from_numpy(places),
        )

    def sequences(self, indices: ArrayLike | Tensor | None = None) -> Tensor:
        """All T + 1 elements of the items at ``indices`` (default: every item): (B, T+1, d) or (B, T+1)."""
        places = np.arange(len(self)) if indices is None else self._places(indices)
        return self._values(*self._locate(places))

    def split(self, name: str) -> SequenceDataset:
        """The sequences of one split; no sequence belongs to two.

        Args:
            name: "train", "validation" or "test".

        Raises:
            DatasetError: the data define no such split, or this is one already.
        """
        if self._split is not None:
            raise DatasetError(
                f"This is the split {self._split!r} already: take {name!r} from the whole dataset."
            )
        splits = self._backing.splits
        if name not in splits:
            hint = nearest(name, splits) if splits else "it defines none."
            raise DatasetError(f"The dataset {self.metadata.name!r} has no split {name!r}: {hint}")
        return self._view(rows=range(*splits[name]), split=name)

    def windows(self, length: int, stride: int = 1) -> SequenceDataset:
        """A view whose items are windows: ``length + 1`` consecutive elements of one sequence.

        Args:
            length: steps of a window, from 1 to `n_steps`.
            stride: elements between the starts of neighbouring windows, at least 1. Windows that would hold
                no step, padding alone, are left out.
        """
        if self._window is not None:
            raise DatasetError(
                "This dataset shows windows already: take other windows from the dataset itself."
            )
        check_integer("length", length, minimum=1, maximum=self.n_steps)
        check_integer("stride", stride, minimum=1)
        return self._view(window=(length, stride))

    def with_phase_convention(self, convention: PhaseConvention) -> SequenceDataset:
        """The same states with their global phases "raw" (as evolved) or "first_real"."""
        check_choice("convention", convention, ("raw", "first_real"))
        if self.metadata.kind != "quantum_state":
            raise DatasetError(
                f"A phase convention needs quantum states, but {self.metadata.name!r} is of kind "
                f"{self.metadata.kind!r}."
            )
        return self._view(phase_convention=convention)

    def with_padding(self) -> SequenceDataset:
        """The same sequences whose padding is something to forecast like any other element."""
        return self._view(padding=True)

    def save(self, path: str | Path) -> None:
        """Write the whole dataset to one HDF5 file that `qdyn.load_dataset` opens; states as they evolved.

        Raises:
            DatasetError: this is a split or shows windows.
            OutputError: the file cannot be written.
        """
        from qdyn.data.store import save_dataset

        save_dataset(self, path)

    def to_xarray(self) -> xarray.Dataset:
        """The items as an ``xarray.Dataset`` with named dimensions, coordinates, units and complex states."""
        from qdyn.data.xarray_view import view

        sequences, starts = self._locate(np.arange(len(self)))
        return view(
            self._backing,
            self.metadata,
            self._values(sequences, starts).numpy(),
            sequences=sequences,
            starts=None if self._window is None else starts,
            times=None if self.times is None else self.times.numpy(),
        )

    @property
    def _elements(self) -> int:
        return self._backing.length if self._window is None else self._window[0] + 1

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """One past the last item of each sequence."""
        n_rows = len(self._rows)
        if self._window is None:
            return np.arange(1, n_rows + 1)
        length, stride = self._window
        starts = (self._backing.length - 1 - length) // stride + 1
        counts = np.full(n_rows, starts)
        if self._backing.lengths is not None:
            # A window holds a step when its second element exists.
            valid = self._backing.lengths[self._rows.start : self._rows.stop]
            counts = np.minimum(counts, np.maximum(0, (valid - 2) // stride + 1))
        return np.cumsum(counts)

    def _view(self, **changes: Any) -> SequenceDataset:
        kept = {
            "rows": self._rows,
            "window": self._window,
            "phase_convention": self.metadata.phase_convention,
            "split": self._split,
            "padding": self._padding,
        }
        return SequenceDataset(self._backing, **{**kept, **changes})

    def _places(self, indices: ArrayLike | Tensor) -> NDArray[np.int64]:
        places = np.asarray(indices)
        if places.size == 0:
            return np.zeros(0, dtype=np.int64)
        if places.ndim != 1 or places.dtype.kind not in "iu":
            raise ArgumentError(f"Argument `indices` must be a list of integers, but is {indices!r}.")
        outside = (places < 0) | (places >= len(self))
        if bool(outside.any()):
            raise ArgumentError(
                f"Argument `indices` must be from 0 to {len(self) - 1}, but holds {places[outside.argmax()]}."
            )
        return places.astype(np.int64)

    def _locate(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The stored sequence and the first element of each item."""
        if self._window is None:
            return places + self._rows.start, np.zeros_like(places)
        row = np.searchsorted(self._ends, places, side="right")
        before = np.where(row > 0, self._ends[row - 1], 0)
        return row + self._rows.start, (places - before) * self._window[1]

    def _values(self, sequences: NDArray[np.int64], starts: NDArray[np.int64]) -> Tensor:
        values = torch.from_numpy(self._backing.read(sequences, starts, self._elements))
        if self.metadata.kind == "quantum_state" and self.metadata.phase_convention is not None:
            return with_phase_convention(values, self.metadata.phase_convention)
        return values

    def _mask(self, sequences: NDArray[np.int64], starts: NDArray[np.int64]) -> Tensor:
        if self._backing.lengths is None or self._padding:
            return torch.ones(len(sequences), self.n_steps, dtype=torch.bool)
        left = self._backing.lengths[sequences] - starts - 1
        return torch.from_numpy(np.arange(self.n_steps) < left[:, None])

    def _conditions(self, sequences: NDArray[np.int64]) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(values[sequences]) for name, values in self._backing.conditions.items()
        }


def time_step(times: NDArray[np.float64] | None) -> float | None:
    """The spacing of equally spaced times, else None.

    >>> time_step(np.array([0.0, 0.35, 0.7])), time_step(np.array([0.0, 1.0, 3.0]))
    (0.35, None)
    """
    if times is None or len(times) < 2:
        return None
    steps = np.diff(times)
    equal = np.allclose(steps, steps[0], rtol=1e-6, atol=0)
    return float((times[-1] - times[0]) / len(steps)) if equal else None
