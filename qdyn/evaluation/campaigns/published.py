"""Published figures beside our own: how far apart they are, and what of that chance explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qdyn.config import build, read_yaml
from qdyn.errors import ConfigError
from qdyn.evaluation.campaigns.trials import Figure

Verdict = Literal["seeds", "draw", "stalled", "open"]

#: Probability below which chance is no explanation.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PublishedFigure:
    """One published mean over seeds.

    Attributes:
        mean: Over seeds.
        std: Standard deviation over seeds; None where none is given.
        seeds: How many.
    """

    mean: float
    std: float | None
    seeds: int


@dataclass(frozen=True)
class _Series:
    model: str
    split: str
    metric: str
    mean: tuple[float, ...]
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Published:
    """A published table; the fields are the keys of its YAML file.

    Attributes:
        citation: Where it stands.
        seeds: Runs behind each mean.
        degrees: What the entries of a series belong to; a series of one entry has no degree.
        figures: The series, one for each model, split and metric.
        resources: What the authors spent.
    """

    citation: str
    seeds: int
    degrees: tuple[int, ...]
    figures: tuple[_Series, ...]
    resources: str = ""
    _index: dict[tuple[str, int | None, str, str], PublishedFigure] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for series in self.figures:
            keys: Sequence[int | None] = [None] if len(series.mean) == 1 else self.degrees
            spread: Sequence[float | None] = series.std or [None] * len(series.mean)
            if not len(keys) == len(series.mean) == len(spread):
                raise ConfigError(
                    f"`figures` of {series.model}, {series.split} {series.metric} must have one entry for "
                    f"each of {len(keys)} degrees, but has {len(series.mean)} and {len(spread)}."
                )
            for degree, mean, std in zip(keys, series.mean, spread, strict=True):
                place = (series.model, degree, series.split, series.metric)
                self._index[place] = PublishedFigure(mean, std, self.seeds)

    def find(self, model: str, degree: int | None, split: str, metric: str) -> PublishedFigure | None:
        """The published figure, or None where there is none."""
        return self._index.get((model, degree, split, metric))


def read_published(path: str | Path) -> Published:
    """Read a published table.

    Raises:
        ConfigError: the file is missing or broken, or a series does not fit its degrees.
    """
    return build(Published, read_yaml(path), where=path)


@dataclass(frozen=True)
class Agreement:
    """Our figure against a published one.

    Attributes:
        difference: Ours minus the published mean.
        own_errors: The difference in standard errors of our mean over seeds.
        joint_errors: In standard errors of the difference: both spreads over seeds, and the draw of the
            sequences, which ours and theirs have each made once.
        stalled: How many of our seeds and how many of theirs stalled, where the figures show two outcomes.
        probability: Of stalled seeds at least as uneven as these if both had the same chance to stall
            (Fisher's exact test).
        verdict: "seeds": within two standard errors of our own; "draw": within two of the difference;
            "stalled": the number of stalled seeds explains it; "open": none of these does.
    """

    difference: float
    own_errors: float
    joint_errors: float
    stalled: tuple[int, int] | None
    probability: float | None
    verdict: Verdict


def agreement(ours: Figure, theirs: PublishedFigure, *, two_outcomes: bool = False) -> Agreement:
    r"""How well our figure agrees with a published one.

    Where runs either reach the optimum or stall, a mean over few seeds says little but how many stalled. The
    published mean m and spread s then follow from a fraction f of stalled runs,

    $$m = a + f (b - a), \quad s^2 = f (1 - f) (b - a)^2, \quad \frac{f}{1 - f} = \frac{(m-a)^2}{s^2},$$

    with a the optimum, for which our best seed stands, and b the stalled value. Ours are counted: those
    nearer to b than to a.

    Args:
        ours: Seed by seed.
        theirs: As published.
        two_outcomes: Whether runs of this model are known to stall, and low figures are good ones.

    Example: four of eight seeds at 0.9 in place of 0.3, and ours, none of which stalled.
        >>> ours, theirs = Figure((0.3,) * 7 + (0.301,), 0.01), PublishedFigure(0.6, 0.3, 8)
        >>> found = agreement(ours, theirs, two_outcomes=True)
        >>> found.verdict, found.stalled
        ('stalled', (0, 4))
    """
    values = np.array(ours.of_each_seed)
    difference = float(values.mean()) - theirs.mean
    own = (ours.std or 0.0) / math.sqrt(len(values))
    their_spread = (theirs.std or 0.0) / math.sqrt(theirs.seeds)
    draw = math.sqrt(2) * (ours.standard_error or 0.0)
    joint = math.sqrt(own**2 + their_spread**2 + draw**2)
    stalled, probability = _stalled(values, theirs) if two_outcomes else (None, None)
    own_errors, joint_errors = _ratio(difference, own), _ratio(difference, joint)
    verdict: Verdict = "open"
    if abs(own_errors) <= 2:
        verdict = "seeds"
    elif abs(joint_errors) <= 2:
        verdict = "draw"
    elif probability is not None and probability >= SIGNIFICANCE:
        verdict = "stalled"
    return Agreement(difference, own_errors, joint_errors, stalled, probability, verdict)


def _stalled(values: np.ndarray, theirs: PublishedFigure) -> tuple[tuple[int, int] | None, float | None]:
    from scipy.stats import fisher_exact

    best = float(values.min())
    excess = theirs.mean - best
    if not theirs.std or excess <= 0:
        return None, None
    fraction = excess**2 / (excess**2 + theirs.std**2)
    value = best + excess / fraction
    ours = int((values > (best + value) / 2).sum())
    others = round(fraction * theirs.seeds)
    table = [[ours, len(values) - ours], [others, theirs.seeds - others]]
    return (ours, others), float(fisher_exact(table).pvalue)


def _ratio(difference: float, error: float) -> float:
    return difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0


def table_rows(
    figures: Mapping[str, Mapping[str, Figure]],
    *,
    model: str,
    degree: int | None,
    seconds: float,
    published: Published | None = None,
) -> list[dict[str, Any]]:
    """Rows of ``table.json``: one for each split and metric, with what was published where it was."""
    rows = []
    for split, metrics in figures.items():
        for metric, figure in metrics.items():
            theirs = published.find(model, degree, split, metric) if published else None
            rows.append(
                {
                    "model": model,
                    "degree": degree,
                    "split": split,
                    "metric": metric,
                    "mean": figure.mean,
                    "std": figure.std,
                    "seeds": len(figure.of_each_seed),
                    "published_mean": theirs.mean if theirs else None,
                    "published_std": theirs.std if theirs else None,
                    "seconds": round(seconds, 2),
                    "standard_error": figure.standard_error,
                }
            )
    return rows
