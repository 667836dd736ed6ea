"""What one thing in a decoder of molecules is worth: seed by seed, after equally many epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qdyn.evaluation.molecules.decoder_runs import DecoderResult, DecoderVariant, Results
from qdyn.evaluation.paired import compare_paired

Finding = Literal["helps", "hurts", "cannot be told", "one seed"]


@dataclass(frozen=True)
class Question:
    """Two variants that differ in one thing.

    Attributes:
        thing: What the first has and the second has not.
        first: Key of the one.
        second: Key of the other.
    """

    thing: str
    first: str
    second: str


@dataclass(frozen=True)
class Answer:
    """What one thing is worth.

    Attributes:
        question: What was asked.
        epochs: After how many.
        seeds: Those of both.
        differences: The first's loss minus the second's, padding counted, for each seed.
    """

    question: Question
    epochs: int
    seeds: tuple[int, ...]
    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds; negative: the first is better."""
        return float(np.mean(self.differences))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean by Student's t; None for one seed."""
        if len(self.seeds) < 2:
            return None
        return compare_paired(np.array(self.differences), np.zeros(len(self.seeds))).interval

    @property
    def finding(self) -> Finding:
        """Whether the thing helps: what the interval says, alone of all that were asked."""
        if self.interval is None:
            return "one seed"
        low, high = self.interval
        return "helps" if high < 0 else "hurts" if low > 0 else "cannot be told"


def loss_after(
    epochs: int, results: Sequence[DecoderResult], variant: DecoderVariant
) -> dict[int, DecoderResult]:
    """Seed -> a run of so many epochs, or a longer one that passed through where that one ends.

    The loss is its ``validation[epochs - 1]``.
    """
    found = {one.seed: one for one in results if one.epochs == epochs}
    if variant.goes_on:
        for one in results:
            if one.epochs > epochs:
                found.setdefault(one.seed, one)
    return dict(sorted(found.items()))


def longest(results: Sequence[DecoderResult]) -> list[DecoderResult]:
    """Those of most epochs."""
    most = max(one.epochs for one in results)
    return [one for one in results if one.epochs == most]


def answer(
    question: Question, epochs: int, results: Results, variants: Mapping[str, DecoderVariant]
) -> Answer | None:
    """The differences after so many epochs over the seeds of both; None where there is no such seed."""
    if question.first not in results or question.second not in results:
        return None
    first, second = (
        loss_after(epochs, results[key], variants[key]) for key in (question.first, question.second)
    )
    seeds = tuple(seed for seed in first if seed in second)
    gaps = tuple(first[seed].validation[epochs - 1] - second[seed].validation[epochs - 1] for seed in seeds)
    return Answer(question, epochs, seeds, gaps) if seeds else None


def answers(
    questions: Sequence[Question], results: Results, variants: Mapping[str, DecoderVariant]
) -> list[Answer]:
    """Every question after the number of epochs with most seeds, and after the largest one."""
    budgets = sorted({one.epochs for found in results.values() for one in found}, reverse=True)
    found = []
    for question in questions:
        every = [one for epochs in budgets if (one := answer(question, epochs, results, variants))]
        if not every:
            continue
        # Of equally many seeds the longest training, which stands first.
        surest = max(every, key=lambda one: len(one.seeds))
        found += [surest] if surest is every[0] else [surest, every[0]]
    return found


def common_budget(results: Results, variants: Mapping[str, DecoderVariant]) -> int | None:
    """The number of epochs after which most trainings can be compared; None where nothing is finished."""
    budgets = sorted({one.epochs for found in results.values() for one in found}, reverse=True)
    trainings = {
        epochs: sum(len(loss_after(epochs, found, variants[key])) for key, found in results.items())
        for epochs in budgets
    }
    return max(trainings, key=lambda epochs: trainings[epochs], default=None)
