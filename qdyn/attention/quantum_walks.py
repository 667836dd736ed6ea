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

# |M| for each place, above which exponentials of all prefixes cost less than a series; measured at 8 to 64.
_LONGEST = 6.0


def walk(hopping: Float[Tensor, "*batch n n"]) -> tuple[Tensor, Tensor]:
    """The two parts of exp(-i M) = cos M - i sin M.

    Args:
        hopping: M, real and symmetric. What is not finite stays so, and leaves other matrices alone.

    Raises:
        NotImplementedError: a second derivative is asked for.

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
    where exponentials of n matrices are n^4. A series needs about |M| terms; where that is more than the
    exponentials cost, these are taken.

    Args:
        hopping: As of `walk`.

    Returns:
        C and S; both are 0 for j > p.

    Raises:
        NotImplementedError: a second derivative is asked for.

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
    """Cosine and sine of real symmetric matrices, by their eigenvectors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        finite = _finite(matrices)
        values, vectors = torch.linalg.eigh(matrices.masked_fill(~finite, 0.0))
        cosine, sine = (
            ((vectors * one[..., None, :]) @ vectors.mT).masked_fill(~finite, math.nan)
            for one in (values.cos(), values.sin())
        )
        return cosine, sine, values.masked_fill(~finite[..., 0], math.nan), vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[2:])
        ctx.save_for_backward(*inputs, *output[2:])

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        gradient: Tensor = _GradientOnce.apply(*ctx.saved_tensors, *arriving[:2])  # type: ignore[no-untyped-call]
        return gradient


class _NoFurtherGradient(torch.autograd.Function):
    """A gradient that has none itself, rather than a wrong one."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> None:
        raise NotImplementedError("Quantum walks have first derivatives only.")


class _GradientOnce(_NoFurtherGradient):
    """The gradient of cosine and sine."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        matrices: Tensor, values: Tensor, vectors: Tensor, of_cosine: Tensor, of_sine: Tensor
    ) -> Tensor:
        return _gradient(values, vectors, of_cosine, of_sine)


def _gradient(values: Tensor, vectors: Tensor, of_cosine: Tensor, of_sine: Tensor) -> Tensor:
    """What arrives at cos M and sin M, at M = V diag(m) V^T.

    With G = V^T G_f V the gradient of f is V (G_ij f[m_i, m_j]) V^T (J. L. Daleckii, S. G. Krein, Am. Math.
    Soc. Transl. 47, 1, 1965), and the divided differences of the two functions are finite for all pairs: with
    s, h the half sum and half difference of m_i and m_j,

        cos[m_i, m_j] = -sin(s) sin(h) / h,      sin[m_i, m_j] = cos(s) sin(h) / h.
    """
    of_cosine, of_sine = (vectors.mT @ symmetric(one) @ vectors for one in (of_cosine, of_sine))
    half_sum = (values[..., :, None] + values[..., None, :]) / 2
    half_difference = (values[..., :, None] - values[..., None, :]) / 2
    inner = (of_sine * half_sum.cos() - of_cosine * half_sum.sin()) * torch.sinc(half_difference / math.pi)
    return vectors @ inner @ vectors.mT


class _PrefixWalks(torch.autograd.Function):
    """See `prefix_walks`. Kernels of `torch.func` hand over what they batch by `vmap`: R is a number."""

    @staticmethod
    def forward(hopping: Tensor) -> tuple[Tensor, Tensor]:
        finite = _finite(hopping)
        clean = hopping.masked_fill(~finite, 0.0)
        series = _series(clean)
        cosine, sine = torch.zeros_like(hopping), torch.zeros_like(hopping)
        if series is None:
            for last in range(hopping.shape[-1]):
                values, vectors = torch.linalg.eigh(clean[..., : last + 1, : last + 1])
                for found, one in ((cosine, values.cos()), (sine, values.sin())):
                    found[..., : last + 1, last] = (vectors @ (one * vectors[..., -1, :])[..., None])[..., 0]
        else:
            radius, coefficients = series
            for order, term in enumerate(_terms(clean / radius, len(coefficients))):
                (sine if order % 2 else cosine).add_(term, alpha=coefficients[order])
        return cosine.masked_fill_(~finite, math.nan), sine.masked_fill_(~finite, math.nan)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        gradient: Tensor = _PrefixGradientOnce.apply(*ctx.saved_tensors, *arriving)  # type: ignore[no-untyped-call]
        return gradient

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, ...], hopping: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
        found = _PrefixWalks.apply(hopping.movedim(in_dims[0], 0))  # type: ignore[no-untyped-call]
        return found, (0, 0)


class _PrefixGradientOnce(_NoFurtherGradient):
    r"""The gradient of `prefix_walks`: of a series by the adjoint series.

    With R >= |M|, P the triangle j <= p and P o its entries, the terms are $\phi_0 = 1$, $\phi_1 = P \circ
    M \phi_0 / R$, $\phi_{k+1} = 2 P \circ M \phi_k / R - \phi_{k-1}$. What arrives at term k, $g_k$, is
    passed on as $\lambda_k = g_k + 2 P \circ M \lambda_{k+1} / R - \lambda_{k+2}$, and the gradient of M is
    $\sum_k c_k \lambda_{k+1} \phi_k^T / R$, with c_0 = 1 and 2 for all others. The recursion of the terms
    runs backwards too, so that no more than two of them are kept.
    """

    @staticmethod
    def forward(hopping: Tensor, of_cosine: Tensor, of_sine: Tensor) -> Tensor:
        finite = _finite(hopping)
        clean = hopping.masked_fill(~finite, 0.0)
        inside = [of_cosine.triu(), of_sine.triu()]
        series = _series(clean)
        gradient = torch.zeros_like(hopping)
        if series is None:
            for last in range(hopping.shape[-1]):
                block = (..., slice(last + 1), slice(last + 1))
                columns = [torch.zeros_like(gradient[block]) for _ in inside]
                for column, one in zip(columns, inside, strict=True):
                    column[..., -1] = one[..., : last + 1, last]
                gradient[block] += _gradient(*torch.linalg.eigh(clean[block]), *columns)
            return gradient.masked_fill_(~finite, math.nan)
        radius, coefficients = series
        scaled = clean / radius
        *_, before, term = _terms(scaled, len(coefficients))
        after = later = torch.zeros_like(hopping)
        for order in range(len(coefficients) - 1, 0, -1):
            passed = inside[order % 2] * coefficients[order] + 2 * (scaled @ after).triu() - later
            gradient += (1 if order == 1 else 2) * (passed @ before.mT)
            after, later = passed, after
            term, before = before, 2 * (scaled @ before).triu() - term
        return (gradient / radius).masked_fill_(~finite, math.nan)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
        size = info.batch_size
        together = [
            one.expand(size, *one.shape) if dim is None else one.movedim(dim, 0)
            for one, dim in zip(tensors, in_dims, strict=True)
        ]
        found: Tensor = _PrefixGradientOnce.apply(*together)  # type: ignore[no-untyped-call]
        return found, 0


def _finite(matrices: Tensor) -> Tensor:
    """Which matrices are finite, (..., 1, 1)."""
    return matrices.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)


def _series(hopping: Tensor) -> tuple[float, list[float]] | None:
    """R, and what multiplies the terms of cosine (even) and sine (odd), down to the precision.

    None where there would be so many that exponentials of all prefixes cost less.
    """
    from scipy.special import jv

    # Frobenius' norm and the largest sum of a row both bound the eigenvalues, those of prefixes too.
    rows = hopping.abs().sum(dim=-1).amax(dim=-1)
    norms = torch.minimum(rows, torch.linalg.matrix_norm(hopping))
    radius = max(float(norms.max()) if norms.numel() else 0.0, torch.finfo(hopping.dtype).tiny)
    if radius > _LONGEST * hopping.shape[-1]:
        return None
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
