"""Trivial forecasters of time series: the golden table, closed forms, causality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn import SequenceDataset
from qdyn.data.timeseries import series, series_names
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.base import Predictor
from qdyn.models.baselines import Persistence, TrainingMean
from qdyn.models.baselines.series import AutoRegression, SeasonalNaive, Zero


def record(values: np.ndarray | torch.Tensor, **options: Any) -> SequenceDataset:
    """One sequence of numbers."""
    column = torch.as_tensor(values).double()[None, :, None]
    return SequenceDataset.from_arrays(column, kind="real", normalised=False, **options)


def errors(found: torch.Tensor, truth: np.ndarray) -> list[float]:
    difference = found[:, 0].numpy() - truth
    return [float(np.abs(difference).mean()), float(np.square(difference).mean())]


@pytest.fixture(scope="module")
def tasks(shared: Path) -> dict[str, Any]:
    content = json.loads((shared / "golden" / "qasa.json").read_text())["tasks"]
    return {name.lower().replace(" ", "-"): task for name, task in content.items()}


@pytest.mark.parametrize("name", series_names())
def test_roll_outs_have_the_errors_of_the_golden_table(name: str, tasks: dict[str, Any]) -> None:
    """99 steps from elements 380 to 399, compared with 401 to 499 as published, and with 400 to 498."""
    values, golden = series(name).astype(float), tasks[name]
    training = record(values[:401])
    context, late, aligned = torch.from_numpy(values[380:400, None]), values[401:], values[400:499]
    # The published mean is that of the 400 inputs.
    mean = TrainingMean().fit(record(np.concatenate([values[:1], values[:400]])))
    rows: list[tuple[Predictor, str]] = [
        (Zero().fit(training), "zero_constant"),
        (mean, "train_mean_constant"),
        (Persistence().fit(training), "persistence_last_seed_value"),
        (AutoRegression(20).fit(training), "AR20_ols_rollout_published_metric"),
    ]
    for predictor, key in rows:
        found = predictor.rollout(context, 99)
        assert errors(found, late) == pytest.approx(golden[key], rel=1e-9), key
    # Of rounding errors, as these are where the recurrence is exact, only the size is the same elsewhere.
    expected = golden["AR20_ols_rollout_aligned"]
    assert errors(found, aligned) == pytest.approx(expected, rel=1e-9, abs=1e-8 if expected[0] < 1e-6 else 0)


def test_autoregression_finds_the_coefficients_of_a_vector_process() -> None:
    random = np.random.default_rng(0)
    A = [np.array([[0.5, 0.2], [-0.1, 0.4]]), np.array([[-0.3, 0.1], [0.0, 0.2]])]
    b = np.array([1.0, -2.0])
    values = [random.standard_normal((5, 2)), random.standard_normal((5, 2))]
    for _ in range(20):
        values.append(b + values[-1] @ A[0].T + values[-2] @ A[1].T)
    stacked = np.stack(values, axis=1)
    data = SequenceDataset.from_arrays(stacked, kind="real", normalised=False)
    model = AutoRegression(2).fit(data)
    expected = np.vstack([A[1].T, A[0].T, b])
    np.testing.assert_allclose(model.coefficients[-1].numpy(), expected, atol=1e-10)
    assert model.n_parameters == (2 + 1) * 2 + (4 + 1) * 2
    ahead = model.rollout(torch.from_numpy(stacked[:, :2]), steps=20)
    np.testing.assert_allclose(ahead.numpy(), stacked[:, 2:], atol=1e-9)


def test_a_short_context_is_forecast_by_the_lower_order() -> None:
    data = record(series("arma")[:401])
    deep, shallow = AutoRegression(5).fit(data), AutoRegression(2).fit(data)
    seen = data.sequences()[:, :9]
    torch.testing.assert_close(deep.forecast(seen)[:, :2], shallow.forecast(seen)[:, :2])
    for length in range(1, 10):
        torch.testing.assert_close(deep.predict(seen[:, :length]), deep.forecast(seen)[:, length - 1])


def test_padding_takes_no_part_in_a_fit() -> None:
    values = torch.from_numpy(series("arma").astype(float))[:200].reshape(2, 100, 1)
    padded = values.clone()
    padded[1, 60:] = 1e6
    data = SequenceDataset.from_arrays(padded, kind="real", normalised=False, lengths=[100, 60])
    for order in (1, 3):
        rows = [
            (one[k - order : k, 0], one[k])
            for one in (values[0], values[1, :60])
            for k in range(order, len(one))
        ]
        design = np.stack([np.append(before, 1.0) for before, _ in rows])
        expected = np.linalg.lstsq(design, np.stack([after for _, after in rows]), rcond=None)[0]
        found = AutoRegression(3).fit(data).coefficients[order - 1].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-10)
    assert SeasonalNaive().fit(data).period is not None


@given(period=st.integers(2, 9), seed=st.integers(0, 100))
def test_seasonal_naive_finds_the_period_and_goes_on(period: int, seed: int) -> None:
    one = np.random.default_rng(seed).standard_normal(period)
    values = np.tile(one, 12)[: 5 * period + 3]
    model = SeasonalNaive().fit(record(values))
    assert model.period == period
    ahead = model.rollout(torch.from_numpy(values[:, None]), steps=2 * period)
    np.testing.assert_array_equal(ahead[:, 0], np.tile(one, 12)[len(values) : len(values) + 2 * period])
    torch.testing.assert_close(model.predict(torch.ones(1, 1)), torch.ones(1))


@pytest.mark.parametrize("model", [Zero(), SeasonalNaive(3), SeasonalNaive(), AutoRegression(4)])
def test_forecasts_look_at_the_past_alone(model: Predictor) -> None:
    data = record(series("seasonal-trend"))
    model.fit(data)
    seen = data.sequences()[:, :12]
    later = seen.clone()
    later[:, 7:] += 5
    torch.testing.assert_close(model.forecast(seen)[:, :7], model.forecast(later)[:, :7], atol=0, rtol=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="`order` must be an integer >= 1, but is 0"):
        AutoRegression(0)
    with pytest.raises(ArgumentError, match="must be fitted before"):
        AutoRegression(2).forecast(torch.zeros(3, 1))
    with pytest.raises(ArgumentError, match="must be fitted, or be given a period"):
        SeasonalNaive().forecast(torch.zeros(3, 1))
    with pytest.raises(DatasetError, match=r"of order 20 needs sequences of as many steps, but .* have 9"):
        AutoRegression(20).fit(record(series("arma")[:10]))
    directions = SequenceDataset.from_arrays(torch.eye(3)[None], kind="real")
    with pytest.raises(DatasetError, match="are directions: unit vectors"):
        Zero().fit(directions)
