"""Errors against the horizon: the mean is 1, closed forms of a random walk, exact forecasters are 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.horizon_errors import HorizonErrors, horizon_errors
from qdyn.models.baselines import HigherOrderDMD, Persistence, TrainingMean


def dataset(values: np.ndarray) -> SequenceDataset:
    half = len(values) // 2
    splits = {"train": (0, half), "test": (half, len(values))}
    return SequenceDataset.from_arrays(values, kind="real", normalised=False, splits=splits)


def test_the_mean_is_one_at_every_horizon() -> None:
    random = np.random.default_rng(0)
    data = dataset(random.standard_normal((20, 30, 3)) * np.linspace(1, 5, 30)[:, None])
    found = horizon_errors(TrainingMean().fit(data), data, origins=[5, 10], steps=12)
    np.testing.assert_allclose(found.nmse, 1.0, rtol=1e-6)
    assert found.std is None
    assert found.of_each.shape == (1, 10, 12)
    # It is 1 by definition, whatever the sequences are: nothing is uncertain.
    np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-6)


def test_standard_errors_are_those_of_a_ratio() -> None:
    """The spread over many test splits of walks of very different sizes, large ones being large for both."""
    random = np.random.default_rng(5)
    found, quoted = [], []
    for _ in range(300):
        unit = random.lognormal(sigma=0.8, size=(64, 1))
        error = unit * (0.3 + 0.1 * random.standard_normal((64, 1)))
        scale = unit.mean(axis=0)
        errors = HorizonErrors((error / scale)[None], unit / scale)
        found.append(errors.nmse[0])
        quoted.append(errors.standard_error[0])
    assert np.mean(quoted) == pytest.approx(np.std(found), rel=0.12)


def test_persistence_on_a_random_walk_grows_linearly() -> None:
    """E e(h) = h for steps of variance 1, and the mean's error at element j is about j + 1."""
    walks = np.cumsum(np.random.default_rng(1).standard_normal((4000, 24, 1)), axis=1)
    data = dataset(walks)
    origin, steps = 8, 16
    found = horizon_errors(Persistence().fit(data), data, origins=[origin], steps=steps)
    h = np.arange(1, steps + 1)
    expected = h / (origin + h)
    assert np.abs(found.nmse - expected).max() < 5 * found.standard_error.max()
    assert found.nmse[0] < found.nmse[-1]


def test_waves_are_known_to_their_end_and_seeds_have_a_spread() -> None:
    random = np.random.default_rng(2)
    t = np.arange(60)
    waves = np.stack([np.cos(random.uniform(0.2, 1) * t + random.uniform(0, 6)) for _ in range(8)])[..., None]
    data = dataset(waves)
    exact = HigherOrderDMD(2, cutoff=1e-9).fit(data)
    found = horizon_errors([exact, Persistence().fit(data)], data, origins=[10, 20], steps=40)
    assert found.of_each[0].max() < 1e-8
    assert found.std is not None
    np.testing.assert_allclose(found.std, found.of_each[1].mean(axis=0) / 2**0.5, rtol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    data = dataset(np.random.default_rng(3).standard_normal((4, 11, 1)))
    model = Persistence().fit(data)
    with pytest.raises(ArgumentError, match=r"`origins` must be an integer in \[1, 6\], but is 7"):
        horizon_errors(model, data, origins=[7], steps=5)
    with pytest.raises(ArgumentError, match="at least one number of elements"):
        horizon_errors(model, data, origins=[], steps=5)
    with pytest.raises(DatasetError, match="never change"):
        horizon_errors(model, dataset(np.ones((4, 11, 1))), origins=[2], steps=5)
    unit = SequenceDataset.from_arrays(torch.eye(2)[None], kind="real")
    with pytest.raises(DatasetError, match="real vectors of any length"):
        horizon_errors(model, unit, origins=[1], steps=1)
