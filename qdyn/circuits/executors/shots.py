"""What a finite number of readings tells: confidence intervals, and how many readings an error needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qdyn.checks import check_fraction, check_positive

CONFIDENCE = 0.95


def proportion_interval(
    successes: ArrayLike, shots: int, *, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Clopper-Pearson interval of a probability: it covers the true value at least at the stated rate.

    Args:
        successes: how often the event was read, in [0, shots].
        shots: number of readings.
        confidence: wanted coverage.

    Example:
        >>> [round(float(end), 4) for end in proportion_interval(0, 100)]
        [0.0, 0.0362]
    """
    from scipy.stats import beta

    count = np.asarray(successes, dtype=np.float64)
    tail = (1 - confidence) / 2
    # The quantiles are undefined at the ends, where the interval ends at 0 or 1.
    lower = np.where(count == 0, 0.0, beta.ppf(tail, np.maximum(count, 1), shots - count + 1))
    upper = np.where(count == shots, 1.0, beta.ppf(1 - tail, count + 1, np.maximum(shots - count, 1)))
    return lower, upper


def log_ratio_interval(
    successes: tuple[ArrayLike, ArrayLike], shots: tuple[int, int], *, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The logarithm of a ratio of two independent probabilities, with its interval.

    log(p_1/p_2) is estimated from counts k + 1/2 of n + 1/2 readings, with the variance
    sum_i 1/(k_i + 1/2) - 1/(n_i + 1/2).

    Args:
        successes: how often each event was read; arrays of one shape.
        shots: the readings of each.
        confidence: wanted coverage.

    Returns:
        Estimate, lower and upper end.

    Source: S. D. Walter, Biometrika 62, 371 (1975).

    Example:
        >>> [round(float(number), 3) for number in log_ratio_interval((100, 200), (1000, 1000))]
        [-0.691, -0.914, -0.468]
    """
    from scipy.stats import norm

    first, second = (np.asarray(count, dtype=np.float64) + 0.5 for count in successes)
    first_total, second_total = (count + 0.5 for count in shots)
    estimate = np.asarray(np.log(first / first_total) - np.log(second / second_total))
    variance = 1 / first - 1 / first_total + 1 / second - 1 / second_total
    reach = norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return estimate, np.asarray(estimate - reach), np.asarray(estimate + reach)


def shots_for_loss(error: float, *, mu: float, zeta: float) -> tuple[int, int]:
    """The readings of mu and of zeta that give L_B = -log F a standard error of ``error``, fewest in total.

    L_B is a constant minus log(mu/zeta), so its variance is s_mu^2/n_mu + s_zeta^2/n_zeta with
    s_p^2 = (1 - p)/p. At a fixed variance the total is least for n_p = s_p (s_mu + s_zeta) / error^2; where
    mu is small and zeta is not, that is 1/(error^2 mu).

    Args:
        error: wanted standard error of L_B, > 0.
        mu: expected value of mu, in (0, 1).
        zeta: expected value of zeta, in (0, 1).

    Returns:
        Shots for mu and shots for zeta.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> shots_for_loss(0.1, mu=0.01, zeta=0.05)
        (14238, 6238)
    """
    check_positive("error", error)
    check_fraction("mu", mu)
    check_fraction("zeta", zeta)
    spread_mu, spread_zeta = (math.sqrt((1 - p) / p) for p in (mu, zeta))
    total = (spread_mu + spread_zeta) / error**2
    return math.ceil(spread_mu * total), math.ceil(spread_zeta * total)
