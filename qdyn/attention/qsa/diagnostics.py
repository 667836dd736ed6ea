"""How to judge an attention model: chance level, spread of attention, when a quantum computer pays."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from qdyn.checks import check_choice, check_fraction, check_integer, check_positive
from qdyn.errors import ArgumentError


def chance_loss_1(dimension: int, *, field: Literal["complex", "real"] = "complex") -> float:
    """Expected L_1 of a forecast in a uniformly random direction.

    -E log |<y|z>|^2 = digamma(d) - digamma(1) for complex vectors, digamma(d/2) - digamma(1/2) for real ones.

    Args:
        dimension: d >= 1.
        field: Whether vectors are complex or real.

    Raises:
        ArgumentError: an argument is out of range.

    Example: four qubits.
        >>> round(chance_loss_1(16), 2)
        3.32
    """
    check_integer("dimension", dimension, minimum=1)
    check_choice("field", field, ["complex", "real"])
    share = torch.tensor([float(dimension), 1.0], dtype=torch.float64) / (1 if field == "complex" else 2)
    digamma = torch.special.digamma(share)
    return float(digamma[0] - digamma[1])


def participation(weights: Inexact[Tensor, "*batch keys"]) -> Float[Tensor, "*batch"]:
    """How many elements a row of attention rests on: 1 / sum_i a_i^2 with a = |g| / sum |g|.

    Args:
        weights: Rows of attention weights (..., T).

    Returns:
        (...), between 1 and the number of nonzero entries; 0 for a row without any.

    Example:
        >>> participation(torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
        tensor([2., 1.])
    """
    modulus = weights.abs()
    squares = modulus.square().sum(dim=-1)
    return modulus.sum(dim=-1).square() / torch.where(squares > 0, squares, 1.0)


def advantage_threshold(degree: int, dimension: int) -> float:
    """The mu above which quantum training is claimed cheaper than the classical twin.

    k^2 log2(d) / m_k with m_k = binom(d+k-1, k), the dimension of the symmetric space.

    Args:
        degree: k >= 1.
        dimension: d >= 2.

    Source: arXiv:2602.06699 v2.

    Example:
        >>> round(advantage_threshold(6, 16), 5)
        0.00265
    """
    check_integer("degree", degree, minimum=1)
    check_integer("dimension", dimension, minimum=2)
    return degree**2 * math.log2(dimension) / math.comb(dimension + degree - 1, degree)


def shots_for_precision(mu: float, *, relative_precision: float, fidelity: float) -> float:
    """Circuit runs that estimate L_B = -log F to a relative precision, from the binomial noise of mu.

    A probability mu measured S times has relative deviation sqrt((1 - mu) / (mu S)), which is the absolute
    deviation of its logarithm: S = (1 - mu) / (mu (eps L_B)^2).

    Args:
        mu: Probability of the all-zero outcome, in (0, 1].
        relative_precision: eps > 0.
        fidelity: F in (0, 1), which sets L_B.

    Raises:
        ArgumentError: an argument is out of range.

    Source: the scaling 1/(eps^2 mu) of arXiv:2602.06699 v2, with the prefactor of binomial noise.

    Example:
        >>> round(shots_for_precision(1e-3, relative_precision=0.1, fidelity=0.8))
        2006304
    """
    if not 0 < mu <= 1:
        raise ArgumentError(f"Argument `mu` must lie in (0, 1], but is {mu!r}.")
    loss = -math.log(check_fraction("fidelity", fidelity))
    deviation = check_positive("relative_precision", relative_precision) * loss
    return (1 - mu) / (mu * deviation**2)
