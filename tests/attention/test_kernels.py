"""Kernels against the functions they name."""

from __future__ import annotations

import math

import pytest
import torch

from qdyn.attention.kernels import SeriesKernel, SoftmaxKernel, make_kernel
from qdyn.errors import ArgumentError

SCORES = (
    torch.complex(*torch.randn(2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))) / 3
)


@pytest.mark.parametrize("degree", range(1, 14))
def test_monomial_is_a_power(degree: int) -> None:
    kernel = make_kernel("monomial", degree=degree)
    assert isinstance(kernel, SeriesKernel)
    assert kernel.normalisation == 1
    torch.testing.assert_close(kernel(SCORES), SCORES**degree)
    torch.testing.assert_close(kernel.derivative(SCORES), degree * SCORES ** (degree - 1))


@pytest.mark.parametrize("degree", range(1, 8))
def test_polynomial_truncates_the_exponential(degree: int) -> None:
    kernel = make_kernel("polynomial", degree=degree, beta=1.7)
    assert isinstance(kernel, SeriesKernel)
    expected = sum((1.7 * SCORES) ** p / math.factorial(p) for p in range(degree + 1))
    torch.testing.assert_close(kernel(SCORES), expected)
    lower = sum((1.7 * SCORES) ** p / math.factorial(p) for p in range(degree))
    torch.testing.assert_close(kernel.derivative(SCORES), 1.7 * lower)
    assert kernel.normalisation == pytest.approx(sum(1.7**p / math.factorial(p) for p in range(degree + 1)))


def test_polynomial_converges_to_the_exponential() -> None:
    kernel = make_kernel("polynomial", degree=30, dimension=16)
    assert isinstance(kernel, SeriesKernel)
    torch.testing.assert_close(kernel(SCORES), torch.exp(4 * SCORES))
    assert kernel.normalisation == pytest.approx(math.exp(4))


def test_softmax_rows_sum_to_one_over_what_is_allowed() -> None:
    kernel = make_kernel("softmax", beta=2.5)
    assert isinstance(kernel, SoftmaxKernel)
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    allowed[2] = False
    weights = kernel.weights(SCORES, allowed)
    for row in range(5):
        raised = torch.exp(2.5 * SCORES[row].abs().square()) * allowed[row]
        expected = raised / raised.sum() if row != 2 else torch.zeros(5, dtype=torch.float64)
        torch.testing.assert_close(weights[row].real, expected)
    assert not weights.imag.any()


def test_softmax_survives_large_temperatures() -> None:
    weights = make_kernel("softmax", beta=1e4).weights(SCORES, torch.ones(5, 5, dtype=torch.bool))
    torch.testing.assert_close(weights.real.argmax(-1), SCORES.abs().argmax(-1))
    torch.testing.assert_close(weights.real.sum(-1), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "monomal"}, "did you mean 'monomial'"),
        ({"name": "monomial", "degree": 0}, r"`degree` must be an integer in \[1, 64\], but is 0"),
        ({"name": "polynomial", "beta": 0.0}, "`beta` must be a finite number > 0"),
        ({"name": "softmax", "beta": math.nan}, "`beta` must be a finite number > 0"),
    ],
)
def test_bad_kernels(arguments: dict, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make_kernel(**arguments)
