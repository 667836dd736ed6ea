"""In-context least squares: learn the dynamics of one trajectory from what has been seen of it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from qdyn.checks import check_choice, check_positive
from qdyn.data.sequences import SequenceDataset
from qdyn.models.baselines.common import Baseline, check_dimension, fitted, unit
from qdyn.models.baselines.least_squares import Procrustes

Residual = Literal["none", "procrustes"]


class InContextDMD(Baseline):
    r"""Writes the present state as a combination of past ones and combines their successors alike.

    On one trajectory the dynamics is linear, $x_{j+1} = U x_j$. With the past states as columns,

    $$c = \arg\min_c \lVert \textstyle\sum_{i<j} c_i x_i - x_j \rVert, \qquad
      \hat x_{j+1} = \sum_{i<j} c_i x_{i+1} + R\,\Bigl(x_j - \sum_{i<j} c_i x_i\Bigr),$$

    which is exact for raw phases once the states seen span the dynamics: after at most d + 1 of them. The
    part of $x_j$ that the past does not explain is dropped (``residual="none"``, R = 0) or moved on by the
    unitary fitted to the training transitions (``"procrustes"``). Where nothing is explained and nothing
    moved on, as in the first step, the forecast is persistence.

    First_real phases break the linearity, and with it this predictor. It is known as dynamic mode
    decomposition in the Krylov form. Real vectors that are no unit vectors get a constant 1 as one component
    more, so that the dynamics may be affine.

    Args:
        residual: "none" learns nothing from the training split; "procrustes" needs `fit`.
        cutoff: Singular values of the past states below ``cutoff`` times the largest one are taken as zero.

    Source: P. J. Schmid, J. Fluid Mech. 656, 5 (2010); C. W. Rowley et al., J. Fluid Mech. 641, 115 (2009).

    Example:
        A rotation is known for good after two steps in a plane.

        >>> import math, torch
        >>> from qdyn.models.baselines import InContextDMD
        >>> angles = 0.3 * torch.arange(6, dtype=torch.float64)
        >>> circle = torch.stack([angles.cos(), angles.sin()], dim=-1)
        >>> forecast = InContextDMD().rollout(circle[:3], steps=3)
        >>> bool(torch.allclose(forecast, circle[3:]))
        True
    """

    def __init__(self, *, residual: Residual = "none", cutoff: float = 1e-6) -> None:
        check_choice("residual", residual, get_args(Residual))
        self.residual = residual
        self.cutoff = check_positive("cutoff", cutoff)
        self.average = Procrustes() if residual == "procrustes" else None
        self.any_length = self.average is None
        suffix = "" if self.average is None else "_procrustes"
        self.name = f"in_context{suffix}"
        self.label = "In-context least squares" + (" + one unitary" if self.average else "")

    @property
    def n_parameters(self) -> int:
        """Those of the unitary for the residual, if any."""
        return self.average.n_parameters if self.average else 0

    def _learn(self, dataset: SequenceDataset) -> None:
        if self.average:
            self.average.fit(dataset)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Forecasts (..., T, d) from ``inputs`` (..., T, d); a step whose element is masked explains nothing.

        Raises:
            ArgumentError: residual "procrustes" and not fitted, or ``inputs`` have another dimension.
        """
        states, seen = self._prepare(inputs, mask)
        forecasts = [
            self._forecast_from(states[:, : j + 1], seen[:, : j + 1])[..., : inputs.shape[-1]]
            for j in range(states.shape[1])
        ]
        return torch.stack(forecasts, dim=1).reshape(inputs.shape).to(inputs.dtype)

    def predict(self, context: Tensor) -> Tensor:
        """The last entry of `forecast`, without the work for those before it."""
        states, seen = self._prepare(context, None)
        return (
            self._forecast_from(states, seen)[..., : context.shape[-1]]
            .reshape(context.shape[:-2] + context.shape[-1:])
            .to(context.dtype)
        )

    def _prepare(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """States (batch, T, d) in double precision and which of them count (batch, T)."""
        check_dimension(inputs, self.metadata.dimension if self.metadata else inputs.shape[-1])
        wide = torch.complex128 if inputs.is_complex() else torch.float64
        states = inputs.reshape(-1, *inputs.shape[-2:]).to(wide)
        if not self.has_unit_vectors:
            states = torch.cat([states, torch.ones_like(states[..., :1])], dim=-1)
        seen = (
            torch.ones(states.shape[:2], dtype=torch.bool) if mask is None else mask.reshape(states.shape[:2])
        )
        return states, seen.to(states.device)

    def _forecast_from(self, states: Tensor, seen: Tensor) -> Tensor:
        """The forecast (batch, d) of what follows ``states`` (batch, j, d)."""
        present = states[:, -1]
        # A transition counts when both its ends do. The pseudo-inverse ignores zeros.
        counts = (seen[:, :-1] & seen[:, 1:])[..., None]
        before, after = states[:, :-1] * counts, states[:, 1:] * counts
        if before.shape[1]:
            coefficients = torch.linalg.pinv(before.mT, rtol=self.cutoff) @ present[..., None]
            explained = (before.mT @ coefficients)[..., 0]
            moved = (after.mT @ coefficients)[..., 0]
        else:
            explained = moved = torch.zeros_like(present)
        if self.average:
            moved = moved + (present - explained) @ fitted(self.average.matrix, self).T
        if not self.has_unit_vectors:
            vanishes = torch.linalg.vector_norm(moved, dim=-1, keepdim=True) < 1e-12
            return torch.where(vanishes, present, moved)
        return unit(moved, otherwise=present)
