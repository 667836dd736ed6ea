"""The nine synthetic series of arXiv:2504.05336, bit for bit as its authors made them.

Every series has 500 values in single precision and is neither shifted nor scaled. Noise comes from NumPy's
legacy generator, seeded with one integer; the published seed is 42, whatever the seed of the model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from qdyn.checks import check_choice, check_integer

Series = NDArray[np.float64]

N_VALUES = 500
"""Values of a series."""


def series(name: str, seed: int = 42) -> Float32[np.ndarray, " values"]:
    r"""One of the nine published series.

    ================== ==========================================================================
    name               value number k, or at the time t = 50 k / 499
    ================== ==========================================================================
    ARMA               y_k = 0.75 y_{k-1} - 0.25 y_{k-2} + e_k + 0.65 e_{k-1}, e_k normal
    Chaotic Logistic   x_0 = 0.2, x_{k+1} = 3.9 x_k (1 - x_k)
    Damped Oscillator  exp(-0.05 t) sin t
    Noisy Damped Osc   exp(-0.05 k) sin(0.4 pi k) + 0.05 e_k
    Piecewise Regime   six straight lines with little noise, and two jumps; the last one is a new regime
    Sawtooth           2 (t/10 - floor(1/2 + t/10))
    Square Wave        1 for the first part d(t) of a period p(t), then -1; p = 5 + 5 sin(0.1 t),
                       d = 0.2 + 0.6 (0.5 + 0.5 sin(0.05 t))
    Seasonal Trend     0.03 t + sin(0.4 t) + 0.2 e_k
    Waveform           sin t
    ================== ==========================================================================

    Args:
        name: as above, or in lower case with hyphens: "chaotic-logistic".
        seed: seed of the noise, 0 to 2**32 - 1. Five of the series have none and do not depend on it.

    Raises:
        ArgumentError: an unknown name or a seed out of range.

    Source: arXiv:2504.05336. The Square Wave is called "square_triangle" in its code.

    Example:
        >>> series("chaotic-logistic")[:3]
        array([0.2      , 0.624    , 0.9150336], dtype=float32)
        >>> bool((series("Waveform", seed=1) == series("Waveform", seed=2)).all())
        True
    """
    key = name.lower().replace("_", "-").replace(" ", "-")
    check_choice("name", key, _MAKERS)
    check_integer("seed", seed, minimum=0, maximum=2**32 - 1)
    return _MAKERS[key](np.random.RandomState(seed)).astype(np.float32)


def series_names() -> list[str]:
    """The names that `series` and recipes take, in the order of the published tables.

    >>> series_names()[:2]
    ['arma', 'chaotic-logistic']
    """
    return list(_MAKERS)


def _times() -> Series:
    return np.linspace(0, 50, N_VALUES)


def _arma(random: np.random.RandomState) -> Series:
    from scipy.signal import lfilter

    # The published series starts from rest: the first values are not yet stationary.
    filtered: Series = lfilter([1, 0.65], [1, -0.75, 0.25], random.standard_normal(N_VALUES))
    return filtered


def _chaotic_logistic(random: np.random.RandomState) -> Series:
    values = np.empty(N_VALUES)
    values[0] = 0.2
    for k in range(N_VALUES - 1):
        values[k + 1] = 3.9 * values[k] * (1 - values[k])
    return values


def _damped_oscillator(random: np.random.RandomState) -> Series:
    t = _times()
    return np.exp(-0.05 * t) * np.sin(t)


def _noisy_damped_oscillator(random: np.random.RandomState) -> Series:
    k = np.arange(N_VALUES)
    return np.exp(-0.05 * k) * np.sin(2 * np.pi * 0.2 * k) + random.normal(0, 0.05, N_VALUES)


def _piecewise_regime(random: np.random.RandomState) -> Series:
    # First and one past the last value, slope, intercept, standard deviation of the noise.
    pieces = (
        (0, 100, 0.05, 0, 0.01),
        (100, 200, -0.1, 10, 0.01),
        (200, 300, 0, 0, 0.01),
        (300, 350, 0.2, -40, 0.02),
        (350, 400, -0.15, 40, 0.02),
        (400, 500, 0.03, -10, 0.01),
    )
    values = np.concatenate(
        [
            slope * np.arange(first, last) + intercept + random.normal(0, deviation, last - first)
            for first, last, slope, intercept, deviation in pieces
        ]
    )
    values[200:205] += 2
    values[350:355] -= 2
    return values


def _sawtooth(random: np.random.RandomState) -> Series:
    turns = _times() / 10
    return 2 * (turns - np.floor(0.5 + turns))


def _square_wave(random: np.random.RandomState) -> Series:
    t = _times()
    period = 5 + 5 * np.sin(0.1 * t)
    duty = 0.2 + 0.6 * (0.5 + 0.5 * np.sin(0.05 * t))
    return np.where((t % period) / period < duty, 1.0, -1.0)


def _seasonal_trend(random: np.random.RandomState) -> Series:
    t = _times()
    return 0.03 * t + np.sin(0.4 * t) + random.normal(0, 0.2, N_VALUES)


def _waveform(random: np.random.RandomState) -> Series:
    return np.sin(_times())


_MAKERS: dict[str, Callable[[np.random.RandomState], Series]] = {
    "arma": _arma,
    "chaotic-logistic": _chaotic_logistic,
    "damped-oscillator": _damped_oscillator,
    "noisy-damped-osc": _noisy_damped_oscillator,
    "piecewise-regime": _piecewise_regime,
    "sawtooth": _sawtooth,
    "square-wave": _square_wave,
    "seasonal-trend": _seasonal_trend,
    "waveform": _waveform,
}
