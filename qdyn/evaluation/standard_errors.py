r"""Standard errors of means over sequences, also where neighbouring sequences are windows that overlap.

Windows of one record that begin one element apart share nearly all they hold: counted as independent they
make an error far too small. Means over stretches of the record that are as long as a window or longer hardly
depend on each other, and their spread gives the error. This is the method of batch means; how many there
should be is discussed by B. Schmeiser, Oper. Res. 30, 556 (1982).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qdyn.data.sequences import SequenceDataset

FEWEST_BLOCKS = 4
"""With fewer stretches of a record their spread says too little: the error is unknown."""
# Stretches are longer than a window where the record allows: what is left of the dependence falls with their
# length, and the error of the error, 1 / sqrt(2 (n - 1)), is a fifth then.
_MOST_BLOCKS = 16


def blocks_of(split: SequenceDataset) -> NDArray[np.int64] | None:
    """The stretch of the record that each sequence begins in; None where no sequences overlap.

    Sequences are windows of a record where the condition ``start`` counts the elements before each. Stretches
    are equally long, no shorter than a window.

    Example:
        >>> words = np.zeros((100, 9), dtype=np.int64)
        >>> windows = SequenceDataset.from_arrays(
        ...     words, kind="token", dimension=2, conditions={"start": np.arange(100)}
        ... )
        >>> np.bincount(blocks_of(windows)).tolist()
        [10, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]
    """
    if (known := split.conditions.get("start")) is None:
        return None
    starts = known.double().numpy()
    places = np.unique(starts)
    elements = split.n_steps + 1
    # Numbers of elements are whole; another ``start``, such as a time, says nothing of windows.
    if (places % 1).any() or len(places) < 2 or np.diff(places).min() >= elements:
        return None
    span = places[-1] - places[0] + 1
    count = max(1, min(_MOST_BLOCKS, int(span // elements)))
    return ((starts - places[0]) * count // span).astype(np.int64)


def standard_error(
    values: NDArray[np.floating], blocks: NDArray[np.int64] | None = None
) -> NDArray[np.float64] | None:
    r"""The standard error of the mean of ``values`` over sequences; None where there are too few.

    $$\sigma^2 = \frac{n}{n - 1} \sum_b \Big( \frac1N \sum_{i \in b} (x_i - \bar x) \Big)^2$$

    over n blocks of N sequences; each is a block of its own where none overlap.

    Args:
        values: (N, ...): one value of each sequence; NaN where there is none.
        blocks: See `blocks_of`.

    Returns:
        (...), NaN where too few sequences have a value.

    Example:
        >>> values = np.array([1.0, 1.0, 3.0, 3.0, 1.0, 1.0, 3.0, 3.0])
        >>> float(standard_error(values).round(4)), float(standard_error(values, np.arange(8) // 2).round(4))
        (0.378, 0.5774)
    """
    labels, fewest = (np.arange(len(values)), 2) if blocks is None else (blocks, FEWEST_BLOCKS)
    numbers, place = np.unique(labels, return_inverse=True)
    if len(numbers) < fewest:
        return None
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    sums = np.zeros((2, len(numbers), *values.shape[1:]))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, values, 0.0).sum(axis=0) / count
        np.add.at(sums[0], place, np.where(present, values - mean, 0.0) / count)
        np.add.at(sums[1], place, present)
        n = (sums[1] > 0).sum(axis=0)
        found = np.sqrt((sums[0] ** 2).sum(axis=0) * n / (n - 1))
    return np.asarray(np.where(n >= fewest, found, np.nan))


def error_of_mean(values: NDArray[np.floating], blocks: NDArray[np.int64] | None = None) -> float | None:
    """`standard_error` of one value for each sequence, (N,), as a number; None also where a value is none."""
    found = None if np.isnan(values).any() else standard_error(values, blocks)
    return None if found is None or math.isnan(found) else float(found)


def overlap_note(blocks: NDArray[np.int64] | None) -> tuple[str, ...]:
    """What a reader must know of the standard errors of windows that overlap; () where none do."""
    if blocks is None:
        return ()
    count = len(np.unique(blocks))
    text = "The sequences are windows of one record and overlap, so that they are not independent: "
    if count < FEWEST_BLOCKS:
        return (
            f"{text}they cover {count} disjoint stretches of a window's length, and standard errors take at "
            f"least {FEWEST_BLOCKS}. None is given, and no predictor is said to be better than another.",
        )
    return (f"{text}standard errors are those of the means over {count} disjoint stretches of the record.",)
