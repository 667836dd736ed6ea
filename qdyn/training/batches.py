"""Which sequences a seed sees at which step, and how they reach the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from qdyn.data.array_checks import check_batch
from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.errors import DatasetError, nearest

_RESIDENT_BYTES = 1 << 30

Members: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Inputs, targets, mask and conditions of all members of an ensemble."""


def steps_per_epoch(n_sequences: int, batch_size: int) -> int:
    """Updates in one pass over the data; what does not fill a batch waits for the next pass.

    >>> steps_per_epoch(256, 32), steps_per_epoch(10, 32), steps_per_epoch(100, 32)
    (8, 1, 3)
    """
    return max(1, n_sequences // batch_size)


def batch_indices(
    *, seed: int, step: int, n_sequences: int, batch_size: int, shuffled: bool = True
) -> np.ndarray:
    """The sequences that the model of ``seed`` sees at ``step``: a pure function of its arguments.

    Each pass over the data has its own order, drawn from ``SeedSequence([seed, epoch])``: neither the other
    seeds of an ensemble nor an interruption change it.

    Args:
        seed: Seed of the model.
        step: Number of updates already done, >= 0.
        n_sequences: Sequences in the split.
        batch_size: Sequences in a batch; a smaller split gives smaller batches.
        shuffled: Without, every pass takes them as they stand.
    """
    epoch, within = divmod(step, steps_per_epoch(n_sequences, batch_size))
    order = _order(seed, epoch, n_sequences) if shuffled else np.arange(n_sequences)
    return order[within * batch_size : (within + 1) * batch_size]


@lru_cache(maxsize=1024)
def _order(seed: int, epoch: int, n_sequences: int) -> np.ndarray:
    return np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(n_sequences)


class BatchSource:
    """Batches of one split on the device, from memory where the split is small, else from the file.

    Args:
        dataset: The split.
        device: Where batches go.
        dtype: Their precision.
        told: Names of the conditions that the model is told, in its order.

    Raises:
        DatasetError: the data lack one of these conditions.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        *,
        device: torch.device,
        dtype: torch.dtype,
        told: tuple[str, ...] = (),
    ) -> None:
        self._dataset = dataset
        self._names = told
        missing = [name for name in told if name not in dataset.backing.conditions]
        if missing:
            raise DatasetError(
                f"The dataset {dataset.metadata.name} has no condition {missing[0]!r}, which the model is "
                f"told: {nearest(missing[0], dataset.backing.conditions)}"
            )
        self._device = device
        self._dtype = dtype
        self._resident: Batch | None = None
        if len(dataset) and self._estimate_bytes() <= _RESIDENT_BYTES:
            self._resident = self._fetch(np.arange(len(dataset)))

    def __len__(self) -> int:
        return len(self._dataset)

    def batch(self, indices: np.ndarray) -> Batch:
        """The sequences ``indices``, in that order."""
        if self._resident is None:
            return self._fetch(indices)
        chosen = torch.as_tensor(indices, device=self._device)
        whole = self._resident
        return Batch(
            inputs=whole.inputs[chosen],
            targets=whole.targets[chosen],
            mask=whole.mask[chosen],
            conditions={name: values[chosen] for name, values in whole.conditions.items()},
            indices=whole.indices[chosen],
        )

    def told(self, batch: Batch) -> Tensor | None:
        """The conditions that the model is told, (batch, conditions); None where it is told none."""
        return torch.stack([batch.conditions[name] for name in self._names], -1) if self._names else None

    def members(
        self, seeds: tuple[int, ...], *, step: int, batch_size: int, shuffled: bool = True
    ) -> Members:
        """Inputs, targets, mask and conditions (seeds, batch, ...) of one step, in each seed's own order."""
        rows = [
            batch_indices(
                seed=seed, step=step, n_sequences=len(self), batch_size=batch_size, shuffled=shuffled
            )
            for seed in seeds
        ]
        drawn = self.batch(np.concatenate(rows))
        lead = (len(seeds), len(rows[0]))
        conditions = self.told(drawn)
        return (
            drawn.inputs.reshape(*lead, *drawn.inputs.shape[1:]),
            drawn.targets.reshape(*lead, *drawn.targets.shape[1:]),
            drawn.mask.reshape(*lead, *drawn.mask.shape[1:]),
            None if conditions is None else conditions.reshape(*lead, -1),
        )

    def chunks(self, batch_size: int) -> list[np.ndarray]:
        """The split in order, cut into ``batch_size`` sequences at a time."""
        return np.array_split(np.arange(len(self)), math.ceil(len(self) / batch_size)) if len(self) else []

    def evaluations(self, batch_size: int) -> Iterator[tuple[int, Members, bool]]:
        """The split in order: how many sequences, what they are, and whether they are one for all members."""
        for chunk in self.chunks(batch_size):
            batch = self.batch(chunk)
            yield len(chunk), (batch.inputs, batch.targets, batch.mask, self.told(batch)), True

    def _estimate_bytes(self) -> int:
        one = self._fetch(np.zeros(1, dtype=np.int64))
        tensors = (one.inputs, one.targets, one.mask)
        return len(self._dataset) * sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _fetch(self, indices: np.ndarray) -> Batch:
        batch = self._dataset.batch(indices)
        check_batch(batch, self._dataset.metadata)
        return batch.to(self._device, self._dtype)


class StackedSource:
    """Batches of several splits side by side: all seeds on the first, then all on the second, and so on.

    Args:
        sources: One for each dataset, with equally many sequences of one shape.
        seeds: Members on each of them.

    Raises:
        DatasetError: the splits have different numbers of sequences.
    """

    def __init__(self, sources: Sequence[BatchSource], *, seeds: int) -> None:
        self._sources, self._seeds = list(sources), seeds
        lengths = sorted({len(source) for source in sources})
        if len(lengths) > 1:
            raise DatasetError(
                f"Datasets trained on together must have splits of one length, but have {lengths} sequences."
            )

    def __len__(self) -> int:
        return len(self._sources[0])

    def members(
        self, seeds: tuple[int, ...], *, step: int, batch_size: int, shuffled: bool = True
    ) -> Members:
        """See `BatchSource.members`; (datasets * seeds, batch, ...)."""
        drawn = [
            source.members(seeds, step=step, batch_size=batch_size, shuffled=shuffled)
            for source in self._sources
        ]
        return _side_by_side(drawn)

    def evaluations(self, batch_size: int) -> Iterator[tuple[int, Members, bool]]:
        """See `BatchSource.evaluations`."""
        every = [source.evaluations(batch_size) for source in self._sources]
        for parts in zip(*every, strict=True):
            repeated: list[Members] = [
                tuple(  # type: ignore[misc]
                    None if one is None else one.expand(self._seeds, *one.shape) for one in data
                )
                for _, data, _ in parts
            ]
            yield parts[0][0], _side_by_side(repeated), False


def _side_by_side(parts: Sequence[Members]) -> Members:
    inputs, targets, mask = (torch.cat([part[k] for part in parts]) for k in range(3))  # type: ignore[misc]
    told = [part[3] for part in parts if part[3] is not None]
    return inputs, targets, mask, torch.cat(told) if told else None
