"""Quantum mechanisms against controls, seed by seed: which are better than chance explains, said in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from qdyn.checks import check_integer
from qdyn.errors import ArgumentError
from qdyn.evaluation.campaigns.trials import Figure
from qdyn.evaluation.paired import compare_paired
from qdyn.evaluation.results import with_error
from qdyn.models.matched import frozen_twin, role_of

SIGNIFICANCE = 0.05
"""Of the mean paired difference, two-sided, for all comparisons that are made together."""


@dataclass(frozen=True)
class SeedComparison:
    """Two contestants on a task, seed by seed.

    Attributes:
        name: The first.
        against: The second.
        difference: Mean of first minus second; negative: the first is better.
        standard_error: Of that mean, over seeds.
        p_value: Student's paired test, two-sided, times the number of comparisons it is one of.
    """

    name: str
    against: str
    difference: float
    standard_error: float
    p_value: float

    @property
    def better(self) -> bool:
        """Whether the first is better by more than chance explains."""
        return self.difference < 0 and self.p_value < SIGNIFICANCE

    @property
    def worse(self) -> bool:
        """Whether the second is."""
        return self.difference > 0 and self.p_value < SIGNIFICANCE

    def __str__(self) -> str:
        return with_error(self.difference, self.standard_error)


def compare_by_seed(
    name: str, against: str, found: Mapping[str, Figure], *, comparisons: int = 1
) -> SeedComparison:
    """``name`` minus ``against``, paired over seeds.

    Args:
        name: The first contestant.
        against: The second.
        found: Contestant -> figure of the test split, lower is better, two seeds or more.
        comparisons: How many are made together, >= 1; the p-value is multiplied by it (Bonferroni).

    Raises:
        ArgumentError: a contestant that was not judged, or figures that do not pair up.

    Example:
        >>> found = {"a": Figure((1.0, 2.0, 3.1), None), "b": Figure((2.0, 3.0, 4.0), None)}
        >>> one = compare_by_seed("a", "b", found, comparisons=2)
        >>> str(one), one.better
        ('-0.967(33)', True)
    """
    check_integer("comparisons", comparisons, minimum=1)
    if missing := [one for one in (name, against) if one not in found]:
        raise ArgumentError(f"Argument `found` must hold {missing[0]!r}, but lacks it.")
    first, second = (np.array(found[one].of_each_seed) for one in (name, against))
    paired = compare_paired(first, second)
    error = float((first - second).std(ddof=1) / np.sqrt(paired.pairs))
    # Without any spread the test has no value, and says nothing.
    p = 1.0 if np.isnan(paired.t_test) else min(1.0, paired.t_test * comparisons)
    return SeedComparison(name, against, paired.difference, error, p)


@dataclass(frozen=True)
class Verdict:
    """What the numbers of a task say.

    Attributes:
        control: The classical contestant with the lowest mean; None where none was run.
        against_control: Every quantum mechanism against it.
        against_frozen: Every quantum mechanism against itself with frozen circuits.
    """

    control: str | None
    against_control: Mapping[str, SeedComparison]
    against_frozen: Mapping[str, SeedComparison]


def verdict(found: Mapping[str, Figure]) -> Verdict:
    """Every quantum mechanism against the best control and against its frozen twin.

    Args:
        found: Contestant of `qdyn.models.matched` -> figure of the test split, lower is better.
    """
    quantum = [name for name in found if role_of(name) == "quantum"]
    classical = [name for name in found if role_of(name) in ("classical", "removed")]
    twins = [name for name in quantum if frozen_twin(name) in found]
    control = min(classical, key=lambda name: found[name].mean, default=None)
    return Verdict(
        control,
        {name: compare_by_seed(name, control, found, comparisons=len(quantum)) for name in quantum}
        if control is not None
        else {},
        {name: compare_by_seed(name, frozen_twin(name), found, comparisons=len(twins)) for name in twins},
    )


def statement(task: str, found: Mapping[str, Figure], said: Verdict, untrained: Mapping[str, Figure]) -> str:
    """The verdict in a paragraph of Markdown.

    Args:
        task: Its name.
        found: As of `verdict`.
        said: What came of it.
        untrained: Predictor without gradient training -> its figure.
    """
    text = f"**{task}.** "
    compared = said.against_control.values()
    if not compared:
        text += "No quantum mechanism stands beside a control yet."
    else:
        control = f"the best control, {said.control} ({found[str(said.control)].mean:.4g})"
        better = [one for one in compared if one.better]
        worse = sum(one.worse for one in compared)
        if better:
            listed = ", ".join(f"{one.name} ({one})" for one in better)
            text += f"{len(better)} of {len(compared)} quantum mechanisms beat {control}: {listed}; "
        else:
            text += f"**No quantum mechanism of the {len(compared)} run beats {control}**; "
        rest = len(compared) - len(better) - worse
        text += f"{worse} are worse than it, {rest} cannot be told from it. "
    twins = said.against_frozen.values()
    if twins:
        gained = [one.name for one in twins if one.better]
        text += (
            f"Training the circuits instead of leaving them as drawn helps {len(gained)} of {len(twins)}"
            + (f" ({', '.join(gained)}). " if gained else ". ")
        )
    if untrained and found:
        best = min(untrained, key=lambda name: untrained[name].mean)
        beaten = sum(figure.mean < untrained[best].mean for figure in found.values())
        text += (
            f"The best predictor without gradient training, {best}, has {untrained[best].mean:.4g}: "
            f"{beaten} of {len(found)} trained models are below it."
        )
    return text.strip()
