"""Products of many small matrices, and kronecker products, laid out for speed in both directions.

A circuit of L layers is a product of L matrices. Multiplying neighbours pair by pair takes log2(L) batched
products instead of L, and so does the derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor


def ordered_product(matrices: Inexact[Tensor, "*batch layers d d"]) -> Inexact[Tensor, "*batch d d"]:
    """The product M_L ... M_2 M_1: the matrix with index 0 acts first.

    Args:
        matrices: (..., L, d, d), real or complex, L >= 1.

    Returns:
        (..., d, d).

    Example:
        >>> halves = torch.tensor([[[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> ordered_product(halves)
        tensor([[0., 1.],
                [1., 1.]])
    """
    return _OrderedProduct.apply(matrices)[0]  # type: ignore[no-untyped-call]


def kronecker_product(
    factors: Sequence[Inexact[Tensor, "*batch _ _"]],
) -> Inexact[Tensor, "*batch d d"]:
    """kron(f_0, f_1, ...), the first factor on the most significant index.

    Args:
        factors: Square matrices (..., d_q, d_q) with equal leading axes.

    Returns:
        (..., prod d_q, prod d_q).
    """
    product = factors[0]
    for factor in factors[1:]:
        outer = product[..., :, None, :, None] * factor[..., None, :, None, :]
        product = outer.flatten(-4, -3).flatten(-2, -1)
    return product


def _tree(matrices: Tensor) -> list[Tensor]:
    """The matrices, the products of neighbours, the products of those, ... down to one."""
    levels = [matrices]
    while levels[-1].shape[-3] > 1:
        level = levels[-1]
        paired = level.shape[-3] // 2 * 2
        products = level[..., 1:paired:2, :, :] @ level[..., 0:paired:2, :, :]
        levels.append(_with_rest(products, level[..., paired:, :, :]))
    return levels


def _with_rest(pairs: Tensor, rest: Tensor) -> Tensor:
    return torch.cat([pairs, rest], dim=-3) if rest.shape[-3] else pairs


class _OrderedProduct(torch.autograd.Function):
    """The product as a tree, whose inner nodes are kept for the derivative.

    For P = B A: dL/dA = B^H dL/dP and dL/dB = dL/dP A^H. The descent carries the conjugate of the gradient,
    which turns both into plain products with transposes: nothing of the size of the tree is conjugated.
    """

    @staticmethod
    def forward(matrices: Tensor) -> tuple[Tensor, ...]:
        levels = _tree(matrices)
        # A clone where there is one matrix only: an output must not be a view of the input.
        product = levels[-1][..., 0, :, :].clone() if len(levels) == 1 else levels[-1][..., 0, :, :]
        return product, *levels[1:-1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: None) -> Tensor | None:
        if gradient is None:
            return None
        matrices, *inner = ctx.saved_tensors
        # A second derivative needs the inner nodes as functions of the matrices, not as numbers.
        levels = _tree(matrices)[:-1] if torch.is_grad_enabled() else [matrices, *inner]
        if matrices.shape[-3] == 1:
            return gradient.unsqueeze(-3)
        descent = gradient.conj().resolve_conj().unsqueeze(-3)
        for level in reversed(levels):
            paired = level.shape[-3] // 2 * 2
            above = descent[..., : paired // 2, :, :]
            first = level[..., 1:paired:2, :, :].mT @ above
            second = above @ level[..., 0:paired:2, :, :].mT
            pairs = torch.stack([first, second], dim=-3).flatten(-4, -3)
            descent = _with_rest(pairs, descent[..., paired // 2 :, :, :])
        return descent.conj().resolve_conj()

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], matrices: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        output = _OrderedProduct.apply(matrices.movedim(in_dims[0], 0))  # type: ignore[no-untyped-call]
        return output, (0,) * len(output)
