"""Figures of merit: step probabilities, cross-entropies, squared errors and the horizon of a roll-out.

What is said of quantum states depends on a forecast through |<y|forecast>| alone, and on no global phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_fraction
from qdyn.errors import ArgumentError

#: Probabilities below this count as this, so that one impossible step does not make a mean infinite.
SMALLEST_PROBABILITY = 1e-24


def step_fidelity(forecasts: Tensor, targets: Tensor) -> Float[Tensor, "*steps"]:
    r"""The fidelity of each forecast with what came.

    $$p_j = \frac{|\langle y_j | \hat y_j \rangle|^2}{\lVert y_j \rVert^2 \lVert \hat y_j \rVert^2}$$

    Args:
        forecasts: Vectors (..., d), complex or real; they need not be normalised.
        targets: Vectors (..., d).

    Returns:
        (...), float64, in [0, 1]. A forecast that vanishes has fidelity 0.

    Example:
        >>> step_fidelity(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
        tensor(0.5000, dtype=torch.float64)
    """
    wide = torch.complex128 if forecasts.is_complex() or targets.is_complex() else torch.float64
    forecasts, targets = forecasts.to(wide), targets.to(wide)
    overlap = torch.linalg.vecdot(targets, forecasts).abs().square()
    size = torch.linalg.vector_norm(forecasts, dim=-1) * torch.linalg.vector_norm(targets, dim=-1)
    # A forecast of NaN stays NaN: counted as 0 it would pass for a bad forecast.
    return torch.where(size == 0, 0.0, overlap / torch.where(size == 0, 1.0, size).square()).clamp(max=1.0)


def squared_error(
    forecasts: Float[Tensor, "*steps d"], targets: Float[Tensor, "*steps d"]
) -> Float[Tensor, "*steps"]:
    r"""The squared error of each forecast of a real vector, $e_j = \frac1d \lVert \hat y_j - y_j \rVert^2$.

    A table gives the normalised mean squared error, NMSE: the mean of e_j over that of the forecast which is
    always the mean of the training split. It is 1 for a predictor no better than that, and 0 for a perfect
    one.

    Args:
        forecasts: (..., d).
        targets: (..., d).

    Returns:
        (...), float64.

    Example:
        >>> squared_error(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0]))
        tensor(1., dtype=torch.float64)
    """
    return (forecasts.double() - targets.double()).square().mean(dim=-1)


def token_probability(
    distributions: Float[Tensor, "*steps vocabulary"], targets: Int[Tensor, "*steps"]
) -> Float[Tensor, "*steps"]:
    """The probability that each forecast gave to the token that came, (...), float64."""
    return distributions.double().gather(-1, targets[..., None])[..., 0].clamp(0.0, 1.0)


def cross_entropy(
    probability: Float[Tensor, "*batch steps"], mask: Bool[Tensor, "*batch steps"] | None = None
) -> Float[Tensor, "*batch"]:
    r"""The Shannon cross-entropy of a sequence in nats, $L_1 = -\frac1T \sum_j \log p_j$.

    Args:
        probability: p_j, (..., T).
        mask: (..., T), True where the step exists.

    Returns:
        (...). A probability below 1e-24 counts as 1e-24, that is at most 55.3 nats a step.

    Source: arXiv:2602.06699 v2.

    Example:
        >>> cross_entropy(torch.tensor([1.0, 0.25]))
        tensor(0.6931, dtype=torch.float64)
    """
    return mean_over_steps(-probability.double().clamp_min(SMALLEST_PROBABILITY).log(), mask)


def renyi_half_cross_entropy(
    probability: Float[Tensor, "*batch steps"], mask: Bool[Tensor, "*batch steps"] | None = None
) -> Float[Tensor, "*batch"]:
    r"""The Rényi-1/2 cross-entropy of a sequence, $L_{1/2} = -2 \log \frac1T \sum_j \sqrt{p_j} \le L_1$.

    Args:
        probability: p_j, (..., T).
        mask: (..., T), True where the step exists.

    Returns:
        (...), in nats.

    Source: arXiv:2602.06699 v2.
    """
    amplitude = probability.double().clamp_min(SMALLEST_PROBABILITY).sqrt()
    return -2 * mean_over_steps(amplitude, mask).log()


def mean_probability(
    probability: Float[Tensor, "*batch steps"], mask: Bool[Tensor, "*batch steps"] | None = None
) -> Float[Tensor, "*batch"]:
    """The mean of p_j over the steps that exist: for vectors the mean fidelity."""
    return mean_over_steps(probability.double(), mask)


@dataclass(frozen=True)
class Horizon:
    """How far a roll-out can be trusted.

    Attributes:
        steps: Roll-out steps before the first whose mean fidelity lies below the threshold; 0 when the first
            does already. Nothing is interpolated.
        censored: True when no step lies below: the horizon is ``steps`` or more.
    """

    steps: int
    censored: bool

    def __str__(self) -> str:
        return f"≥ {self.steps}" if self.censored else str(self.steps)


def horizon(mean_fidelity: NDArray[np.floating], *, threshold: float = 0.9) -> Horizon:
    """The number of leading steps of a roll-out whose mean fidelity is ``threshold`` or more.

    Args:
        mean_fidelity: (steps,), averaged over trajectories.
        threshold: In (0, 1).

    Raises:
        ArgumentError: the curve is empty or not one-dimensional, or the threshold is out of range.

    Example:
        >>> print(horizon(np.array([0.99, 0.93, 0.88, 0.91])), horizon(np.array([0.99, 0.95])))
        2 ≥ 2
    """
    if mean_fidelity.ndim != 1 or not len(mean_fidelity):
        raise ArgumentError(
            f"Argument `mean_fidelity` must have shape (steps,), steps >= 1, but has {mean_fidelity.shape}."
        )
    check_fraction("threshold", threshold)
    # A NaN is no fidelity to trust.
    below = ~(mean_fidelity >= threshold)
    return Horizon(int(below.argmax()), False) if below.any() else Horizon(len(mean_fidelity), True)


def perplexity(loss: float) -> float:
    """exp(L_1): how many equally likely tokens a forecast leaves."""
    return math.exp(loss)


def mean_over_steps(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of (..., T) over the steps that exist, (...)."""
    if mask is None:
        return values.mean(dim=-1)
    count = mask.sum(dim=-1)
    if bool((count == 0).any()):
        raise ArgumentError(
            "Argument `mask` must leave at least one step of every sequence, but one has none."
        )
    return torch.where(mask, values, 0.0).sum(dim=-1) / count
