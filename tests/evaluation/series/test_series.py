"""Series of real numbers: baselines with a length, and errors in units of the training mean's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn import SequenceDataset, evaluate, load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.errors import ConfigError, DatasetError
from qdyn.models.baselines import (
    Chance,
    InContextDMD,
    LeastSquares,
    Persistence,
    Procrustes,
    TrainingMean,
)
from qdyn.models.config import ModelConfig
from qdyn.models.registry import build_model

SPLITS = {"train": (0, 24), "test": (24, 40)}


def affine(noise: float = 0.0) -> SequenceDataset:
    """x_{j+1} = A x_j + b: a damped rotation about a point that is not the origin, in 3 dimensions."""
    random = np.random.default_rng(1)
    A = 0.97 * np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 0.9]])
    b = np.array([1.0, -0.5, 0.3])
    series = [random.standard_normal((40, 3)) + 3]
    for _ in range(12):
        series.append(series[-1] @ A.T + b)
    values = np.stack(series, axis=1)
    return SequenceDataset.from_arrays(
        values + noise * random.standard_normal(values.shape), kind="real", name="spiral", splits=SPLITS
    )


def test_the_mean_predictor_has_an_error_of_one_and_the_others_are_what_they_are() -> None:
    data = affine()
    found = evaluate(TrainingMean().fit(data), dataset=data)
    assert found.row("mean").metrics["NMSE"].mean == pytest.approx(1.0, abs=1e-12)
    assert found.row("least_squares").metrics["NMSE"].mean < 1e-18
    test, train = data.split("test").sequences().double(), data.split("train").sequences().double()
    mean = train[:, 1:].reshape(-1, 3).mean(dim=0)
    steps = (test[:, 1:] - test[:, :-1]).square().mean()
    expected = float(steps / (test[:, 1:] - mean).square().mean())
    assert found.row("persistence").metrics["NMSE"].mean == pytest.approx(expected, rel=1e-12)
    assert found.row("persistence").metrics["MSE"].mean == pytest.approx(float(steps), rel=1e-12)
    keys = [row.key for row in found.rows]
    assert set(keys[:2]) == {"least_squares", "autoregression"}  # both exact
    assert set(keys[2:]) == {"in_context", "persistence", "seasonal_naive", "zero", "mean"}
    assert "NMSE = " in found.headline
    assert "L_1" not in str(found)


def test_least_squares_finds_the_affine_map_and_rolls_it_out() -> None:
    data = affine()
    model = LeastSquares().fit(data)
    test = data.split("test").sequences()
    ahead = model.rollout(test[:, :2], steps=11)
    assert torch.allclose(ahead, test[:, 2:], atol=1e-10)
    assert model.n_parameters == 9 + 3
    # Fitted to unit vectors, the same object is linear again.
    circle = torch.stack([torch.linspace(0, 1, 9).cos(), torch.linspace(0, 1, 9).sin()], dim=-1)[None]
    assert model.fit(SequenceDataset.from_arrays(circle, kind="real")).offset is None


def test_in_context_least_squares_is_exact_once_it_has_seen_enough() -> None:
    data = affine()
    test = data.split("test").sequences()
    forecasts = InContextDMD().fit(data).forecast(test)
    # Four transitions fix the 4 columns of (A, b); the cut-off takes small ones as zero, so it is not exact.
    assert float((forecasts[:, 5:-1] - test[:, 6:]).abs().max()) < 1e-4
    assert torch.equal(forecasts[:, 0], test[:, 0])


def test_noise_sets_the_floor() -> None:
    """No predictor is better than the noise of the element to come."""
    data = affine(noise=0.1)
    found = evaluate(LeastSquares().fit(data), dataset=data)
    best = min(row.metrics["MSE"].mean for row in found.rows)
    assert 0.01 < best < 0.03


@pytest.mark.parametrize("direction", [Chance(), Procrustes(), InContextDMD(residual="procrustes")])
def test_what_forecasts_directions_refuses_series(direction: Chance) -> None:
    with pytest.raises(
        DatasetError, match="forecasts directions, but the real vectors of the dataset spiral"
    ):
        direction.fit(affine())


def test_quantum_self_attention_refuses_series() -> None:
    with pytest.raises(ConfigError, match="for unit vectors, but those of spiral have any length"):
        build_model(ModelConfig(), affine().metadata, seed=0)


def test_unit_vectors_are_judged_as_before() -> None:
    angles = 0.2 * torch.arange(9, dtype=torch.float64)
    circle = torch.stack([angles.cos(), angles.sin()], dim=-1)[None]
    found = evaluate(Persistence(), dataset=SequenceDataset.from_arrays(circle, kind="real"), compare=False)
    assert found.row("persistence").metrics["fidelity"].mean == pytest.approx(np.cos(0.2) ** 2)


def test_series_that_never_change_cannot_be_judged() -> None:
    still = SequenceDataset.from_arrays(
        np.full((4, 5, 2), 3.0), kind="real", splits={"train": (0, 2), "test": (2, 4)}
    )
    with pytest.raises(DatasetError, match="never change"):
        evaluate(Persistence(), dataset=still)


def test_shot_estimates_reach_their_noise_and_leave_a_report(tmp_path: Path) -> None:
    """The recipe of shots, small: the report is made, and nothing beats the noise of the shots to come."""
    data = load_dataset(
        generate(read_recipe("tfim-6q-shots").resized(28), tmp_path / "shots", progress=False)
    )
    found = evaluate(LeastSquares().fit(data), dataset=data, out=tmp_path / "report")
    test = data.split("test").sequences().double()[:, 1:]
    # The estimate of (1 - <.>^2) / S from the shots themselves has the factor S / (S - 1) on average.
    floor = float(((1 - test.square()) / 999).mean())
    assert all(row.metrics["MSE"].mean > floor for row in found.rows)
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert "squared error" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
