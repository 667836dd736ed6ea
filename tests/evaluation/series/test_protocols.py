"""Protocols of the nine series: the golden table, the leak, the late roll-out, and paired tests."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qdyn.data.timeseries import series, series_names
from qdyn.errors import ArgumentError
from qdyn.evaluation.paired import compare_paired
from qdyn.evaluation.series.protocols import (
    NOISY,
    hidden_rank,
    one_step_errors,
    protocol_dataset,
    protocol_models,
    protocol_preset,
    protocol_values,
    rollout_errors,
    trivial_forecasters,
)
from qdyn.models.base import Predictor
from qdyn.models.series.config import SeriesEncoderConfig
from qdyn.models.series.encoder import SeriesEncoder
from qdyn.training.schedules import learning_rate


class Corners(SeriesEncoder):
    """Hidden vectors are corners of a simplex by turns, from one window to the next."""

    def hidden(self, embedded: torch.Tensor, *_: object) -> torch.Tensor:
        windows = torch.arange(len(embedded)) // 20
        return torch.eye(64)[windows % self.corners]

    corners = 4


def test_corners_of_a_simplex_span_one_direction_less() -> None:
    """Corners equally often, their mean taken off: so many equal singular values."""
    values = protocol_values("causal", "waveform")
    model = Corners(SeriesEncoderConfig(), protocol_dataset("causal", "waveform").metadata)
    for model.corners in (2, 4, 5):
        assert hidden_rank(model, values) == pytest.approx(model.corners - 1, abs=1e-6)
    model.corners = 1
    assert hidden_rank(model, values) == 0
    assert not model.head._forward_pre_hooks


class Knows(Predictor):
    """Knows the whole record: after a value that stands in it once, the next."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = torch.from_numpy(values)

    def forecast(self, inputs: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        places = (inputs - self._values).abs().argmin(dim=-1)
        return self._values[(places + 1).clamp_max(len(self._values) - 1)][..., None]

    def element(self, forecast: torch.Tensor) -> torch.Tensor:
        return forecast


@pytest.fixture(scope="module")
def tasks(shared: Path) -> dict[str, Any]:
    content = json.loads((shared / "golden" / "qasa.json").read_text())["tasks"]
    return {name.lower().replace(" ", "-"): task for name, task in content.items()}


@pytest.mark.parametrize("name", series_names())
def test_trivial_rows_are_those_of_the_golden_table(name: str, tasks: dict[str, Any]) -> None:
    values, golden = protocol_values("published", name), tasks[name]
    found = trivial_forecasters(values, train=401)
    keys = {
        "zero": "zero_constant",
        "mean": "train_mean_constant",
        "persistence": "persistence_last_seed_value",
        "autoregression": "AR20_ols_rollout_published_metric",
    }
    for row, key in keys.items():
        errors = rollout_errors(found[row], values, late=True)
        assert [errors.mae, errors.mse] == pytest.approx(golden[key], rel=1e-9), key
    assert set(found) == {*keys, "seasonal_naive"}


def test_a_perfect_forecaster_is_wrong_under_the_published_metric(tasks: dict[str, Any]) -> None:
    name = "chaotic-logistic"
    values = protocol_values("published", name)
    late, right = (rollout_errors(Knows(values), values, late=one) for one in (True, False))
    golden = tasks[name]["floor_perfect_forecaster_under_off_by_one"]
    assert [late.mae, late.mse] == pytest.approx(golden, rel=1e-9)
    assert (right.mae, right.mse) == (0.0, 0.0)
    assert one_step_errors(Knows(values), values).mse == 0.0


def test_published_windows_are_the_published_pairs() -> None:
    data, values = protocol_dataset("published", "arma"), series("arma")
    batch = data.batch([0, 380])
    np.testing.assert_array_equal(batch.inputs[1, :, 0].numpy(), values[380:400])
    np.testing.assert_array_equal(batch.targets[1, :, 0].numpy(), values[381:401])
    assert len(data) == 381


def test_no_causal_target_belongs_to_two_splits() -> None:
    data = protocol_dataset("causal", "seasonal-trend", data_seed=7)
    last = 0.0
    for name in ("train", "validation", "test"):
        batch = data.split(name).batch(range(len(data.split(name))))
        starts = batch.conditions["start"].numpy()
        assert starts.min() + 1 >= last
        last = starts.max() + data.n_steps + 1
    assert last == 500
    train = protocol_values("causal", "seasonal-trend", data_seed=7)[:320]
    assert (train.mean(), train.std()) == pytest.approx((0, 1), abs=1e-12)


def test_the_published_learning_rate_falls_once_a_pass() -> None:
    training = protocol_preset("published", protocol_models("published")["qasa"], name="x").training
    rates = np.array([learning_rate(training, step) for step in (0, 380, 381, 761, 762, 76199)])
    expected = 2.5e-4 * (1 + np.cos(np.pi * np.array([0, 0, 1, 1, 2, 199]) / 200))
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_only_four_series_have_noise() -> None:
    differ = [one for one in series_names() if (series(one, seed=1) != series(one, seed=2)).any()]
    assert tuple(differ) == NOISY


def test_paired_tests_are_those_of_the_textbook() -> None:
    """Student's data of 1908: the extra hours of sleep of ten patients under two drugs."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = compare_paired(first, second)
    assert found.difference == pytest.approx(-1.58)
    assert found.interval == pytest.approx((-2.4599, -0.7001), abs=1e-4)
    assert found.t_test == pytest.approx(0.002833, rel=1e-3)
    assert found.cohen == pytest.approx(-4.0621 / np.sqrt(10), rel=1e-4)
    assert found.wilcoxon < 0.01
    assert compare_paired([2.0, 3.0], [2.5, 1.0]).cliff == 0.5
    assert compare_paired([1.0, 1.0], [0.0, 0.0]).cliff == 1.0
    # Equal differences stay equal although the figures are rounded.
    equal = compare_paired([1.1, 2.1, 3.3], [1.0, 2.0, 3.2])
    assert math.isnan(equal.t_test)
    assert math.isnan(equal.cohen)
    assert equal.difference == pytest.approx(0.1)
    same = compare_paired([1.0, 2.0], [1.0, 2.0])
    assert (same.difference, same.wilcoxon, same.cliff) == (0.0, 1.0, 0.0)
    assert np.isnan(same.t_test)
    with pytest.raises(ArgumentError, match="same number of figures"):
        compare_paired([1.0], [1.0, 2.0])
    with pytest.raises(ArgumentError, match="finite"):
        compare_paired([1.0, np.nan], [1.0, 2.0])
