"""The nine published series: their bits, and the mathematics that they claim to follow."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from qdyn.data.timeseries import series, series_names
from qdyn.errors import ArgumentError

NOISY = ("arma", "noisy-damped-osc", "piecewise-regime", "seasonal-trend")


def test_every_series_is_the_published_one_bit_for_bit(shared: Path) -> None:
    tasks = json.loads((shared / "golden" / "qasa.json").read_text())["tasks"]
    assert [name.lower().replace(" ", "-") for name in tasks] == series_names()
    for name, published in tasks.items():
        values = series(name)
        assert values.dtype == np.float32
        digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
        assert digest == published["sha256_float32_LE_500"]


@pytest.mark.parametrize("name", series_names())
def test_the_seed_moves_the_noise_and_nothing_else(name: str) -> None:
    differ = bool((series(name, seed=1) != series(name, seed=2)).any())
    assert differ == (name in NOISY)
    np.testing.assert_array_equal(series(name, seed=3), series(name, seed=3))


def test_the_generator_of_others_is_left_alone() -> None:
    np.random.seed(5)
    expected = np.random.standard_normal()
    np.random.seed(5)
    series("arma")
    assert np.random.standard_normal() == expected


def test_arma_has_the_variance_of_its_process() -> None:
    """Of a stationary ARMA(2, 1): from the impulse response psi, Var y = sum psi_k^2."""
    psi = [1.0, 1.4]
    for _ in range(60):
        psi.append(0.75 * psi[-1] - 0.25 * psi[-2])
    drawn = np.concatenate([series("arma", seed=seed)[50:] for seed in range(40)])
    assert drawn.var() == pytest.approx(np.square(psi).sum(), rel=0.05)


def test_the_deterministic_ones_obey_their_recurrences() -> None:
    x = series("chaotic-logistic").astype(float)
    np.testing.assert_allclose(x[1:], 3.9 * x[:-1] * (1 - x[:-1]), atol=3e-7)
    step = 50 / 499
    for name, decay in (("waveform", 0.0), ("damped-oscillator", 0.05)):
        y, q = series(name).astype(float), np.exp(-decay * step)
        np.testing.assert_allclose(y[2:], 2 * q * np.cos(step) * y[1:-1] - q**2 * y[:-2], atol=5e-7)
    assert set(series("square-wave")) == {-1.0, 1.0}
    assert np.abs(series("sawtooth")).max() <= 1


def test_names_are_forgiving_and_wrong_ones_are_refused() -> None:
    np.testing.assert_array_equal(series("Noisy Damped Osc"), series("noisy_damped_osc"))
    with pytest.raises(ArgumentError, match="did you mean 'sawtooth'"):
        series("sawtoth")
    with pytest.raises(ArgumentError, match="`seed` must be an integer in"):
        series("arma", seed=-1)
