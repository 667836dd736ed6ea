"""Higher-order dynamic mode decomposition: a series as a sum of exponentials, found in what has been seen."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.errors import ArgumentError
from qdyn.models.baselines.series import SeriesBaseline
from qdyn.models.context import check_context


class HigherOrderDMD(SeriesBaseline):
    r"""Fits one linear map to windows of d elements of the sequence at hand, and goes on with it.

    With the windows $z_j = (x_{j-d+1}, \dots, x_j)$ seen so far as rows of matrices, $V$ their r leading
    right singular vectors,

    $$K = \arg\min_K \sum_{i<j} \lVert z_{i+1} V - z_i V K \rVert^2, \qquad
      \hat z_{j+s} = z_j V K^s V^T,$$

    and the forecast of $x_{j+s}$ is the last element of $\hat z_{j+s}$. A sum of m exponentials (a constant,
    sines and damped sines among them) obeys such a map with d >= m, or with fewer elements where there are
    several components: then forecasts are exact from 2m elements on. It learns nothing from the training
    split. Where n elements have been seen, windows have at most n/2 of them; after one, the forecast is
    persistence.

    Args:
        order: d >= 1; with 1 it is the ordinary decomposition, without a constant.
        cutoff: Singular values below ``cutoff`` times the largest one are taken as noise, in (0, 1).
        stable: Whether modes that would grow are kept at their size: eigenvalues of K outside the unit circle
            are put on it. What is bounded, such as an expectation value, has no such modes.

    Raises:
        ArgumentError: an argument is out of range.

    Source: S. Le Clainche, J. M. Vega, SIAM J. Appl. Dyn. Syst. 16, 882 (2017).

    Example:
        Two sines of one component are four exponentials: known for good after eight elements.

        >>> t = torch.arange(60, dtype=torch.float64)
        >>> series = (torch.sin(0.3 * t) + 0.5 * torch.cos(0.7 * t))[:, None]
        >>> ahead = HigherOrderDMD(order=4, cutoff=1e-10).rollout(series[:8], steps=52)
        >>> bool((ahead - series[8:]).abs().max() < 1e-6)
        True
    """

    name = "higher_order_dmd"

    def __init__(self, order: int = 8, *, cutoff: float = 1e-6, stable: bool = True) -> None:
        self.order = check_integer("order", order, minimum=1)
        self.cutoff = check_positive("cutoff", cutoff)
        if cutoff >= 1:
            raise ArgumentError(f"Argument `cutoff` must lie in (0, 1), but is {cutoff!r}.")
        self.stable = stable
        self.label = f"Higher-order DMD, order {order}"

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The forecast after every element of ``inputs`` (..., T, d); ``mask`` has no effect."""
        ahead = [self.rollout(inputs[..., : j + 1, :], 1) for j in range(inputs.shape[-2])]
        return torch.cat(ahead, dim=-2)

    def predict(self, context: Tensor) -> Tensor:
        """The last entry of `forecast`, without the work for those before it."""
        return self.rollout(context, 1)[..., 0, :]

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """The ``steps`` elements (..., steps, d) that follow ``context`` (..., T, d), by one fitted map.

        Forecasts fed back would obey the same map, and change nothing.
        """
        check_integer("steps", steps, minimum=1)
        context = check_context(context, self.metadata)
        length, d = context.shape[-2:]
        if length == 1:
            return context.expand(*context.shape[:-2], steps, d).clone()
        flat = context.reshape(-1, length, d).double()
        found = torch.stack([self._continue(one, steps) for one in flat])
        return found.reshape(*context.shape[:-2], steps, d).to(context.dtype)

    def _continue(self, series: Tensor, steps: int) -> Tensor:
        """One sequence (T, d) -> (steps, d)."""
        order = min(self.order, len(series) // 2)
        windows = series.unfold(0, order, 1).transpose(-1, -2).flatten(1)
        left, values, right = torch.linalg.svd(windows[:-1], full_matrices=False)
        kept = values > self.cutoff * values[0]
        if not bool(kept.any()):
            return series[-1:].expand(steps, -1)
        left, values, right = left[:, kept], values[kept], right[kept]
        matrix = left.mT @ (windows[1:] @ right.mT) / values[:, None]
        state = windows[-1] @ right.mT
        last = right[:, -series.shape[1] :]
        return _powers(state, matrix, steps, stable=self.stable) @ last


def _powers(state: Tensor, matrix: Tensor, steps: int, *, stable: bool) -> Tensor:
    """Rows ``state`` K^s for s = 1 … steps, growing modes of K kept at their size where asked."""
    if stable:
        growth, modes = torch.linalg.eig(matrix)
        if float(growth.abs().max()) > 1:
            bounded = growth / growth.abs().clamp_min(1.0)
            amplitudes = state.to(modes.dtype) @ modes
            times = torch.arange(1, steps + 1)[:, None]
            inverse = torch.linalg.pinv(modes)
            return ((amplitudes * bounded**times) @ inverse).real
    rows = []
    for _ in range(steps):
        state = state @ matrix
        rows.append(state)
    return torch.stack(rows)
