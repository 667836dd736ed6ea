"""Which sequences a seed sees at which step, and how they reach the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from qdyn.data.array_checks import check_batch
from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.errors import DatasetError, nearest

_RESIDENT_BYTES = 1 << 30


def steps_per_epoch(n_sequences: int, batch_size: int) -> int:
    """Updates in one pass over the data; what does not fill a batch waits for the next pass.

    >>> steps_per_epoch(256, 32), steps_per_epoch(10, 32), steps_per_epoch(100, 32)
    (8, 1, 3)
    """
    return max(1, n_sequences // batch_size)


def batch_indices(*, seed: int, step: int, n_sequences: int, batch_size: int) -> np.ndarray:
    """The sequences that the model of ``seed`` sees at ``step``: a pure function of its arguments.

    Each pass over the data has its own order, drawn from ``SeedSequence([seed, epoch])``: neither the other
    seeds of an ensemble nor an interruption change it.

    Args:
        seed: Seed of the model.
        step: Number of updates already done, >= 0.
        n_sequences: Sequences in the split.
        batch_size: Sequences in a batch; a smaller split gives smaller batches.
    """
    epoch, within = divmod(step, steps_per_epoch(n_sequences, batch_size))
    order = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(n_sequences)
    return order[within * batch_size : (within + 1) * batch_size]


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
        self, seeds: tuple[int, ...], *, step: int, batch_size: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Inputs, targets, mask and conditions (seeds, batch, ...) of one step, in each seed's own order."""
        rows = [
            batch_indices(seed=seed, step=step, n_sequences=len(self), batch_size=batch_size)
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

    def _estimate_bytes(self) -> int:
        one = self._fetch(np.zeros(1, dtype=np.int64))
        tensors = (one.inputs, one.targets, one.mask)
        return len(self._dataset) * sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def _fetch(self, indices: np.ndarray) -> Batch:
        batch = self._dataset.batch(indices)
        check_batch(batch, self._dataset.metadata)
        return batch.to(self._device, self._dtype)
