"""QASA against the others of the causal campaign: paired tests, effect sizes, margins to trivial rivals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from qdyn.data.timeseries import series_names
from qdyn.evaluation.paired import PairedComparison, compare_paired
from qdyn.evaluation.series.campaign import CampaignTable
from qdyn.evaluation.series.protocols import NOISY, protocol_models


@dataclass(frozen=True)
class Comparison:
    """QASA against another on one task.

    Attributes:
        task: The series.
        other: What it is compared with.
        found: On the means of draws where the series has several, else on single runs.
        cohen: Mean difference over the sample standard deviation of the differences of single runs.
        cliff: P(QASA larger) - P(QASA less) among the runs of one draw, averaged over draws.
        lower: Draws with the lower mean for QASA.
        draws: How many there are.
    """

    task: str
    other: str
    found: PairedComparison
    cohen: float
    cliff: float
    lower: int
    draws: int


def comparisons(table: CampaignTable, metric: str, others: Sequence[str]) -> Iterator[Comparison]:
    """QASA against each of ``others``, task by task: trained models, or forecasters without training.

    Draws are independent: each has noise and model seeds of its own. The runs of one draw share their data,
    so that where there are several draws their means are what is compared. One draw of several says nothing
    about the series.
    """
    for task in series_names():
        for other in others:
            shared = [seed for seed in table.seeds("qasa", task) if seed in table.seeds(other, task)]
            if other == "qasa" or not shared or (task in NOISY and len(shared) < 2):
                continue
            first, second = _runs(table, task, other, metric, shared)
            axis = 1 if len(shared) > 1 else 0
            d = (first - second).flatten()
            yield Comparison(
                task,
                other,
                compare_paired(first.mean(axis=axis), second.mean(axis=axis)),
                cohen=float(d.mean() / d.std(ddof=1)) if np.ptp(d) > 0 else float("nan"),
                cliff=float(np.sign(first[:, :, None] - second[:, None, :]).mean()),
                lower=int((first.mean(axis=1) < second.mean(axis=1)).sum()),
                draws=len(shared),
            )


def _runs(
    table: CampaignTable, task: str, other: str, metric: str, shared: Sequence[int]
) -> tuple[Float[np.ndarray, "draws seeds"], Float[np.ndarray, "draws seeds"]]:
    """MAE of QASA and of the other, run by run; one without training has the same for all model seeds."""
    first, second = [], []
    for draw in shared:
        own, theirs = (
            {row["seed"]: row[metric]["mae"] for row in table.rows[name, task, draw] if "seed" in row}
            for name in ("qasa", other)
        )
        seeds = sorted(set(own) & set(theirs)) if theirs else sorted(own)
        first.append([own[seed] for seed in seeds])
        second.append(
            [theirs[seed] for seed in seeds]
            if theirs
            else [row[metric]["mae"] for row in table.rows[other, task, draw]] * len(seeds)
        )
    return np.array(first), np.array(second)


def trained_rivals(table: CampaignTable) -> list[str]:
    """The models that QASA is compared with."""
    return [name for name in protocol_models(table.protocol) if name != "qasa"]


def holm(levels: Sequence[float]) -> list[float]:
    """p-values corrected for their number: the chance of any false finding stays below each of them.

    Where there is none (NaN) there is nothing to correct, and it counts for nothing.

    Source: S. Holm, Scand. J. Statist. 6, 65 (1979).

    Example:
        >>> holm([0.01, 0.04, float("nan"), 0.03])
        [0.03, 0.06, nan, 0.06]
    """
    corrected, largest = list(levels), 0.0
    places = sorted((k for k in range(len(levels)) if levels[k] == levels[k]), key=lambda k: levels[k])
    for rank, place in enumerate(places):
        largest = max(largest, min(1.0, (len(places) - rank) * levels[place]))
        corrected[place] = largest
    return corrected
