"""Which split is judged, and where the evaluation of a run's split is kept."""

from __future__ import annotations

from collections.abc import Mapping

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import DatasetError

WHOLE = "all"
"""What the split of a dataset without splits is called."""


def sizes_of(data: SequenceDataset) -> dict[str, int]:
    """Split -> how many sequences it has."""
    return {name: len(data.split(name)) for name in data.split_names}


def usual_split(sizes: Mapping[str, int]) -> str:
    """The split that is judged unless another is asked for, of a dataset with so many sequences in each.

    >>> usual_split({"train": 8, "test": 4}), usual_split({"train": 8, "validation": 2, "test": 0})
    ('test', 'validation')
    """
    return "validation" if sizes and not sizes.get("test") else "test"


def folder_name(split: str, sizes: Mapping[str, int]) -> str:
    """The folder, in a run's, of the evaluation of a split: no split overwrites another's.

    >>> sizes = {"train": 8, "validation": 2, "test": 4}
    >>> folder_name("test", sizes), folder_name("validation", sizes)
    ('evaluation', 'evaluation-validation')
    """
    return "evaluation" if split in (WHOLE, usual_split(sizes)) else f"evaluation-{split}"


def part_of(data: SequenceDataset, name: str) -> tuple[SequenceDataset, str]:
    """The split and its name; of a dataset without splits all of it.

    Raises:
        DatasetError: there is no such split, or it is empty.
    """
    if not data.split_names:
        return data, WHOLE
    part = data.split(name)
    if not len(part):
        raise DatasetError(f"The split {name!r} of the dataset {data.metadata.name} is empty.")
    return part, name
