r"""Quantum walks with real hopping amplitudes: exp(-i M) of symmetric matrices, whole or for every prefix.

PyTorch's own ways cost much more here: a complex matrix exponential, whose gradient exponentiates matrices of
twice the size, while the gradient of eigenvectors divides by differences of eigenvalues, which may vanish.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def walk(hopping: Float[Tensor, "*batch n n"]) -> tuple[Tensor, Tensor]:
    """The two parts of exp(-i M) = cos M - i sin M.

    Args:
        hopping: M, real and symmetric.

    Example: what hops from one place to the other and back.
        >>> cosine, sine = walk(math.pi / 2 * torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        >>> cosine.abs().round(decimals=5), sine.abs().round(decimals=5)
        (tensor([[0., 0.],
                [0., 0.]]), tensor([[0., 1.],
                [1., 0.]]))
    """
    cosine, sine, *_ = _CosineAndSine.apply(hopping)  # type: ignore[no-untyped-call]
    return cosine, sine


def prefix_walks(hopping: Float[Tensor, "*batch n n"]) -> tuple[Tensor, Tensor]:
    r"""Where walks end that begin at the last place of a prefix and do not leave it, for every prefix.

    $$C_{jp} - i S_{jp} = \langle j| e^{-i P_p M P_p} |p\rangle, \qquad
    P_p = \sum_{j \le p} |j\rangle\langle j|.$$

    All n walks are one matrix, on which M acts term by term of a Chebyshev series: n^3 operations a term,
    where exponentials of n matrices are n^4.

    Args:
        hopping: M, real and symmetric.

    Returns:
        C and S; both are 0 for j > p.

    Source: series of e^{-iHt}: H. Tal-Ezer, R. Kosloff, J. Chem. Phys. 81, 3967 (1984).

    Example: the first walker is alone, the second one crosses over.
        >>> cosine, sine = prefix_walks(math.pi / 2 * torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        >>> (cosine.square() + sine.square()).round(decimals=5)
        tensor([[1., 1.],
                [0., 0.]])
    """
    cosine, sine = _PrefixWalks.apply(hopping)  # type: ignore[no-untyped-call]
    return cosine, sine


def symmetric(matrices: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """(M + M^T) / 2."""
    return (matrices + matrices.mT) / 2


class _CosineAndSine(torch.autograd.Function):
    """Cosine and sine of real symmetric matrices, by their eigenvectors.

    With M = V diag(m) V^T and G = V^T G_f V the gradient of f is V (G_ij f[m_i, m_j]) V^T (J. L. Daleckii,
    S. G. Krein, Am. Math. Soc. Transl. 47, 1, 1965), and the divided differences of the two functions are
    finite for all pairs: with s, h the half sum and half difference of m_i and m_j,

        cos[m_i, m_j] = -sin(s) sin(h) / h,      sin[m_i, m_j] = cos(s) sin(h) / h.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(matrices)
        cosine, sine = ((vectors * one[..., None, :]) @ vectors.mT for one in (values.cos(), values.sin()))
        return cosine, sine, values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*output[2:])

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        of_cosine, of_sine = (vectors.mT @ symmetric(one) @ vectors for one in arriving[:2])
        half_sum = (values[..., :, None] + values[..., None, :]) / 2
        half_difference = (values[..., :, None] - values[..., None, :]) / 2
        ratio = torch.sinc(half_difference / math.pi)
        inner = (of_sine * half_sum.cos() - of_cosine * half_sum.sin()) * ratio
        gradient: Tensor = vectors @ inner @ vectors.mT
        return gradient


class _PrefixWalks(torch.autograd.Function):
    r"""The series of `prefix_walks`, and its gradient by the adjoint series.

    With R >= |M|, P the triangle j <= p and P o its entries, the terms are $\phi_0 = 1$, $\phi_1 = P \circ
    M \phi_0 / R$, $\phi_{k+1} = 2 P \circ M \phi_k / R - \phi_{k-1}$. What arrives at term k, $g_k$, is
    passed on as $\lambda_k = g_k + 2 P \circ M \lambda_{k+1} / R - \lambda_{k+2}$, and the gradient of M is
    $\sum_k c_k \lambda_{k+1} \phi_k^T / R$, with c_0 = 1 and 2 for all others. The recursion of the terms
    runs backwards too, so that no more than two of them are kept.
    """

    @staticmethod
    def forward(hopping: Tensor) -> tuple[Tensor, Tensor]:
        radius, coefficients = _series(hopping)
        cosine, sine = torch.zeros_like(hopping), torch.zeros_like(hopping)
        for order, term in enumerate(_terms(hopping / radius, len(coefficients))):
            (sine if order % 2 else cosine).add_(term, alpha=coefficients[order])
        return cosine, sine

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        (hopping,) = ctx.saved_tensors
        radius, coefficients = _series(hopping)
        scaled = hopping / radius
        *_, before, term = _terms(scaled, len(coefficients))
        gradient = torch.zeros_like(hopping)
        after = later = torch.zeros_like(hopping)
        inside = [one.triu() for one in arriving]
        for order in range(len(coefficients) - 1, 0, -1):
            passed = inside[order % 2] * coefficients[order] + 2 * (scaled @ after).triu() - later
            gradient += (1 if order == 1 else 2) * (passed @ before.mT)
            after, later = passed, after
            term, before = before, 2 * (scaled @ before).triu() - term
        return gradient / radius

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], hopping: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
        found = _PrefixWalks.apply(hopping.movedim(in_dims[0], 0))  # type: ignore[no-untyped-call]
        return found, (0, 0)


def _series(hopping: Tensor) -> tuple[float, list[float]]:
    """R, and what multiplies the terms of cosine (even) and sine (odd), down to the precision."""
    from scipy.special import jv

    # Frobenius' norm and the largest sum of a row both bound the eigenvalues, those of prefixes too.
    rows = hopping.abs().sum(dim=-1).amax(dim=-1)
    norms = torch.minimum(rows, torch.linalg.matrix_norm(hopping))
    radius = max(float(norms.max()) if norms.numel() else 0.0, torch.finfo(hopping.dtype).tiny)
    if not math.isfinite(radius):
        return math.nan, [math.nan, math.nan]
    orders = np.arange(int(radius + 12 * radius ** (1 / 3)) + 24)
    bessel = jv(orders, radius)
    (kept,) = np.nonzero(np.abs(bessel) > torch.finfo(hopping.dtype).eps / 4)
    signs = np.array([1.0, 1.0, -1.0, -1.0])[orders % 4]
    weights = np.where(orders == 0, 1.0, 2.0) * signs * bessel
    return radius, weights[: max(kept.max() + 1, 2)].tolist()


def _terms(scaled: Tensor, count: int) -> Iterator[Tensor]:
    """Chebyshev polynomials 0 to count - 1 of every prefix's matrix, the column of its last place."""
    before = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device).expand_as(scaled)
    term = scaled.triu()
    yield before
    yield term
    for _ in range(count - 2):
        before, term = term, (2 * (scaled @ term)).triu_().sub_(before)
        yield term
