"""Standard errors: those of independent sequences, and of windows that overlap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qdyn.data.sequences import SequenceDataset
from qdyn.data.series.forecast_windows import WindowPlan, forecast_windows
from qdyn.evaluation.contestants import of_predictors
from qdyn.evaluation.evaluate import evaluate
from qdyn.evaluation.horizon_errors import horizon_errors
from qdyn.evaluation.results import Curve, Estimate
from qdyn.evaluation.scoring import score
from qdyn.evaluation.standard_errors import blocks_of, error_of_mean, overlap_note, standard_error
from qdyn.models.base import Predictor
from qdyn.models.baselines import Persistence, TrainingMean, Zero

STEPS, RECORDS = 20, 60


def record(random: np.random.Generator, *, memory: float, length: int) -> np.ndarray:
    """x_{t+1} = memory x_t + noise, stationary, of variance 1."""
    noise = random.standard_normal(length) * math.sqrt(1 - memory**2)
    values = np.empty(length)
    values[0] = random.standard_normal()
    for t in range(1, length):
        values[t] = memory * values[t - 1] + noise[t]
    return values


def windows(values: np.ndarray, *, first: int = 100) -> SequenceDataset:
    plan = WindowPlan(STEPS, {"train": (0, first), "test": (first, len(values))})
    return forecast_windows(values, plan, scaling="none")


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("memory", [0.5, 0.9])
def test_the_error_is_the_spread_over_records(seed: int, memory: float) -> None:
    random = np.random.default_rng(seed)
    losses, differences = [], []
    for _ in range(RECORDS):
        data = windows(record(random, memory=memory, length=600))
        zero, last = (
            score(of_predictors(one.fit(data), data)[0], data.split("test"))
            for one in (Zero(), Persistence())
        )
        every = zero.losses["MSE"]
        estimate = Estimate.of(every, blocks=zero.blocks)
        losses.append((estimate.mean, estimate.standard_error, Estimate.of(every).standard_error))
        compared = zero.compare(last)
        differences.append((compared.difference, compared.standard_error))
    for name, found in (("loss", losses), ("difference", differences)):
        means, errors = (np.array([one[place] for one in found]) for place in (0, 1))
        ratio = np.sqrt((errors**2).mean()) / means.std(ddof=1)
        assert 1 / 1.6 < ratio < 1.6, f"{name}: {ratio}"
    # Taken as independent, the same windows seem to know the mean far better.
    as_independent = np.array([one[2] for one in losses]).mean()
    assert as_independent < np.std([one[0] for one in losses]) / 2.5


def test_windows_apart_and_sequences_of_their_own_are_independent() -> None:
    values = np.random.default_rng(0).normal(size=(40, 6))
    sequences = SequenceDataset.from_arrays(values[..., None], kind="real", normalised=False)
    assert blocks_of(sequences) is None

    def started(starts: np.ndarray) -> SequenceDataset:
        return SequenceDataset.from_arrays(
            values[..., None], kind="real", normalised=False, conditions={"start": starts}
        )

    assert blocks_of(started(6 * np.arange(40))) is None
    assert blocks_of(started(0.3 * np.arange(40))) is None, "a time"
    assert blocks_of(started(np.zeros(40))) is None, "the same for all"
    blocks = blocks_of(started(100 + 5 * np.arange(40)))
    assert blocks is not None
    # Whatever their order: 196 places, 16 stretches.
    assert blocks.tolist() == (np.arange(40) * 5 * 16 // 196).tolist()
    assert overlap_note(None) == ()
    assert error_of_mean(values[:, 0]) == pytest.approx(values[:, 0].std(ddof=1) / math.sqrt(40))
    assert error_of_mean(values[:1, 0]) is None


def test_stretches_are_no_shorter_than_a_window() -> None:
    for count in range(22, 300, 17):
        test = windows(np.random.default_rng(0).normal(size=99 + STEPS + count)).split("test")
        assert len(test) == count
        blocks = blocks_of(test)
        assert blocks is not None
        assert np.bincount(blocks).min() >= STEPS + 1
    values = np.random.default_rng(1).normal(size=(12, 5))
    equal = np.repeat(np.arange(4), 3)
    found = standard_error(values, equal)
    means = values.reshape(4, 3, 5).mean(axis=1)
    assert found == pytest.approx(means.std(axis=0, ddof=1) / 2)
    assert standard_error(values, np.arange(12) // 4) is None
    curve = Curve.of("x", values[None], blocks=equal)
    assert curve.standard_error == pytest.approx(means.std(axis=0, ddof=1) / 2)


class Share(nn.Module, Predictor):
    """A trained share of the last value."""

    name, label = "share", "A share"

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(share, dtype=torch.float64))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.share * inputs


def test_the_report_says_how_errors_were_found_or_that_they_are_unknown() -> None:
    random = np.random.default_rng(3)
    long = windows(record(random, memory=0.9, length=600))
    found = evaluate({"model": Share(0.9)}, dataset=long, progress=False)
    assert any("standard errors are those of the means over 16 disjoint stretches" in n for n in found.notes)
    assert "16 disjoint stretches" in str(found)
    assert {one.key: one.verdict for one in found.comparisons}["zero"] == "better"
    short = windows(record(random, memory=0.9, length=180))
    found = evaluate({"model": Share(0.9)}, dataset=short, progress=False)
    assert any("they cover 2 disjoint stretches" in note for note in found.notes)
    assert {one.verdict for one in found.comparisons} == {"unknown"}
    assert all(one.standard_error is None for row in found.rows for one in row.metrics.values())
    assert "beats" not in found.headline
    assert "the error of that is unknown" in found.headline


def test_errors_against_the_horizon_know_of_it_too() -> None:
    long = windows(record(np.random.default_rng(4), memory=0.9, length=600))
    found = horizon_errors(Persistence(), long, origins=[5], steps=3)
    independent = found.of_each[0].std(axis=0, ddof=1) / math.sqrt(found.of_each.shape[1])
    assert (found.standard_error > 1.5 * independent).all()
    short = windows(record(np.random.default_rng(4), memory=0.9, length=180))
    assert np.isnan(
        horizon_errors(TrainingMean().fit(short), short, origins=[5], steps=3).standard_error
    ).all()
