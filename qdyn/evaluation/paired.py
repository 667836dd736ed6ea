"""Two models on the same seeds and data: whether one is better, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qdyn.errors import ArgumentError

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedComparison:
    r"""How the figures a_i of one model compare with b_i of another, pair by pair.

    Attributes:
        pairs: n.
        difference: Mean of $d_i = a_i - b_i$.
        interval: 95 % confidence interval of that mean by Student's t; a point where all d are equal.
        t_test: p-value of Student's paired test, two-sided: is the mean of d zero? NaN where all d are equal.
        wilcoxon: p-value of Wilcoxon's signed-rank test, two-sided: is d symmetric about zero? 1 where all
            d are 0. With n pairs it is at least 2^(1 - n).
        cohen: Effect size $d_z$, the mean of d over its sample standard deviation. NaN as above.
        cliff: Cliff's delta, P(a > b) - P(a < b) over all n^2 combinations: from -1 (a always less) to 1.
    """

    pairs: int
    difference: float
    interval: tuple[float, float]
    t_test: float
    wilcoxon: float
    cohen: float
    cliff: float


def compare_paired(first: ArrayLike, second: ArrayLike) -> PairedComparison:
    """Compare figures of two models that belong together in pairs.

    Args:
        first: a, (n,), n >= 2.
        second: b, (n,), in the same order of seeds and data.

    Raises:
        ArgumentError: different numbers of figures, fewer than two, or one that is not finite.

    Example:
        >>> found = compare_paired([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 5.0, 7.0])
        >>> found.difference, round(found.cohen, 3), found.wilcoxon, found.cliff
        (-2.0, -2.449, 0.125, -0.625)
        >>> "{:.3f} to {:.3f}".format(*found.interval)
        '-3.299 to -0.701'
    """
    from scipy import stats

    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ArgumentError(
            f"Arguments `first` and `second` must hold the same number of figures, at least 2, but have "
            f"shapes {a.shape} and {b.shape}."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ArgumentError("Arguments `first` and `second` must be finite, but some figures are not.")
    d = a - b
    # Differences that are equal but for the rounding of the figures are equal.
    rounding = 8 * np.finfo(np.float64).eps * float(max(np.abs(a).max(), np.abs(b).max()))
    d[np.abs(d) <= rounding] = 0.0
    if np.ptp(d) <= 2 * rounding:
        d[:] = d.mean()
    spread = float(d.std(ddof=1)) if np.ptp(d) > 0 else 0.0
    varies = spread > 0
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(d) - 1)) * spread / math.sqrt(len(d))
    return PairedComparison(
        pairs=len(d),
        difference=float(d.mean()),
        interval=(float(d.mean()) - reach, float(d.mean()) + reach),
        t_test=float(stats.ttest_1samp(d, 0.0).pvalue) if varies else float("nan"),
        wilcoxon=float(stats.wilcoxon(d).pvalue) if d.any() else 1.0,
        cohen=float(d.mean()) / spread if varies else float("nan"),
        cliff=float(np.sign(a[:, None] - b[None, :]).mean()),
    )
