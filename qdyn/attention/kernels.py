"""From score to weight: power series, which circuits compute, and softmax, the classical reference."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Inexact
from torch import Tensor

from qdyn.checks import check_choice, check_integer, check_positive

KernelName = Literal["monomial", "polynomial", "softmax"]


class Kernel(ABC):
    """A map from the scores s_ij of one step to the weights g_ij of its values.

    Attributes:
        name: How presets call it.
        normalisation: lambda, the price of the linear combination: a circuit's amplitudes carry 1/lambda.
    """

    name: str
    normalisation: float

    @abstractmethod
    def weights(
        self, scores: Inexact[Tensor, "*batch queries keys"], allowed: Tensor
    ) -> Inexact[Tensor, "*batch queries keys"]:
        """The weights g_ij of row j, zero where ``allowed`` (broadcasting, bool) is False."""


@dataclass(frozen=True)
class SeriesKernel(Kernel):
    """g(s) = sum_p c_p s^p with c_p >= 0: what a circuit with several copies of the key computes.

    Attributes:
        name: "monomial" or "polynomial".
        coefficients: c_0, ..., c_k; only the last may be the single nonzero one.

    Example:
        >>> kernel = make_kernel("polynomial", degree=3, beta=1.0)
        >>> kernel(torch.tensor(1.0)), round(kernel.normalisation, 4)
        (tensor(2.6667), 2.6667)
    """

    name: str
    coefficients: tuple[float, ...]

    @property
    def degree(self) -> int:
        """k, the largest power and the number of key registers of the circuit."""
        return len(self.coefficients) - 1

    @property
    def normalisation(self) -> float:  # type: ignore[override]
        """The price lambda = sum_p c_p."""
        return sum(self.coefficients)

    def __call__(self, scores: Tensor) -> Tensor:
        """g(s), entry by entry."""
        return _series(self.coefficients, scores)

    def derivative(self, scores: Tensor) -> Tensor:
        """g'(s), entry by entry."""
        return _series(tuple(p * c for p, c in enumerate(self.coefficients))[1:], scores)

    def weights(self, scores: Tensor, allowed: Tensor) -> Tensor:
        """g(s_ij) where allowed, else 0."""
        return self(scores) * allowed


@dataclass(frozen=True)
class SoftmaxKernel(Kernel):
    """g_ij = exp(beta |s_ij|^2) / sum_{i'<=j} exp(beta |s_i'j|^2): the classical reference, not a circuit.

    Attributes:
        beta: Inverse temperature, > 0.
    """

    beta: float
    name: str = "softmax"
    normalisation: float = 1.0

    def weights(self, scores: Tensor, allowed: Tensor) -> Tensor:
        """Rows that sum to 1 over the allowed keys; a row without any is 0."""
        exponent = self.beta * (scores * scores.conj()).real
        shifted = exponent - exponent.masked_fill(~allowed, 0.0).amax(dim=-1, keepdim=True).detach()
        raised = torch.exp(shifted).masked_fill(~allowed, 0.0)
        total = raised.sum(dim=-1, keepdim=True)
        return (raised / torch.where(total > 0, total, 1.0)).to(scores.dtype)


def make_kernel(
    name: str, *, degree: int = 3, beta: float | None = None, dimension: int | None = None
) -> SeriesKernel | SoftmaxKernel:
    """The kernel of that name.

    ========== ================================ ===================
    name       g(s)                             lambda
    ========== ================================ ===================
    monomial   s^k                              1
    polynomial sum_{p=0..k} beta^p s^p / p!     sum_p beta^p / p!
    softmax    exp(beta abs(s)^2), normalised   1
    ========== ================================ ===================

    Args:
        name: "monomial", "polynomial" or "softmax".
        degree: k in [1, 64]; softmax ignores it.
        beta: Inverse temperature, > 0; None takes sqrt(dimension), or 1 where that is not given either.
        dimension: d, for the default of beta.

    Raises:
        ArgumentError: unknown name, or a degree or beta out of range.

    Source: arXiv:2602.06699 v2.

    Example:
        >>> make_kernel("monomial", degree=2).coefficients
        (0.0, 0.0, 1.0)
        >>> make_kernel("polynomial", degree=2, dimension=16).coefficients
        (1.0, 4.0, 8.0)
    """
    check_choice("kernel", name, get_args(KernelName))
    temperature = check_positive("beta", math.sqrt(dimension or 1) if beta is None else beta)
    if name == "softmax":
        return SoftmaxKernel(beta=temperature)
    check_integer("degree", degree, minimum=1, maximum=64)
    if name == "monomial":
        return SeriesKernel(name, (0.0,) * degree + (1.0,))
    return SeriesKernel(name, tuple(temperature**p / math.factorial(p) for p in range(degree + 1)))


def _series(coefficients: tuple[float, ...], base: Tensor) -> Tensor:
    """sum_p c_p base^p by Horner's rule, a single power by squaring; a complex `pow` is far slower."""
    degree = len(coefficients) - 1
    leading = coefficients[degree]
    if degree == 0:
        return torch.full_like(base, leading)
    if not any(coefficients[:degree]):
        power = _power(base, degree)
        return power if leading == 1 else power * leading
    total = base * leading
    for coefficient in reversed(coefficients[1:degree]):
        total = (total + coefficient) * base
    return total + coefficients[0]


def _power(base: Tensor, exponent: int) -> Tensor:
    power = None
    while True:
        if exponent & 1:
            power = base if power is None else power * base
        exponent >>= 1
        if not exponent:
            assert power is not None
            return power
        base = base * base
