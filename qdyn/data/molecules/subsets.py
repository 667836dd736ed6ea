"""Fewer molecules of a dataset to train on, for short trials; those held out stay."""

from __future__ import annotations

import numpy as np

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError


def with_fewer_trained_on(data: SequenceDataset, molecules: int) -> SequenceDataset:
    """The first molecules of the training split, and all of the validation split.

    Args:
        data: Molecules, or other tokens, with the splits train and validation.
        molecules: How many, from 1 to those of the training split.

    Raises:
        ArgumentError: fewer than one, or more than there are.

    Example:
        >>> data = SequenceDataset.from_arrays(
        ...     np.zeros((4, 3), dtype=int), kind="token", vocabulary=("C", "O"), name="four",
        ...     splits={"train": (0, 3), "validation": (3, 4)},
        ... )
        >>> fewer = with_fewer_trained_on(data, 2)
        >>> fewer.metadata.name, len(fewer.split("train")), len(fewer.split("validation"))
        ('four-2', 2, 1)
    """
    train, validation = data.split("train"), data.split("validation")
    if not 1 <= molecules <= len(train):
        raise ArgumentError(
            f"Argument `molecules` must be from 1 to the {len(train)} of training, but is {molecules}."
        )
    parts = [train.batch(range(molecules)), validation.batch(range(len(validation)))]
    words = [np.concatenate([part.inputs, part.targets[:, -1:]], axis=1) for part in parts]
    total = sum(map(len, words))
    return SequenceDataset.from_arrays(
        np.concatenate(words),
        kind="token",
        vocabulary=data.metadata.vocabulary,
        lengths=np.concatenate([part.mask.sum(1) + 1 for part in parts]),
        conditions={
            name: np.concatenate([part.conditions[name] for part in parts]) for name in data.conditions
        },
        splits={"train": (0, molecules), "validation": (molecules, total)},
        name=f"{data.metadata.name}-{molecules}",
        recipe=data.metadata.recipe,
    )
