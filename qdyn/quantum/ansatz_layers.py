"""Layers of single-qubit rotations and a permutation, applied to states instead of multiplied as matrices.

A layer K = P (A (x) B), A on the first half of the qubits and B on the rest, takes d (2^(n/2) + 2^(n/2))
multiplications a column, where the product of matrices takes d^2: 5 times less on 7 qubits, 8 times on 8.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Inexact, Int
from torch import Tensor

from qdyn.quantum.products import kronecker_product


def apply_layers(
    rotations: Inexact[Tensor, "*batch layers qubits 2 2"],
    order: Int[Tensor, " dim"],
    states: Inexact[Tensor, "*batch dim columns"],
) -> Inexact[Tensor, "*batch dim columns"]:
    """P R_L ... P R_2 P R_1 |psi> for every column psi, R_l being 2 x 2 matrices on every qubit.

    Args:
        rotations: (..., L, n, 2, 2) of the type of ``states``; the layer with index 0 acts first, qubit 0 is
            the most significant bit.
        order: The permutation P that ends a layer: row r of P|psi> is row ``order[r]`` of |psi>.
        states: (..., 2**n, columns), any vectors, with the leading axes of ``rotations``.

    Returns:
        (..., 2**n, columns), differentiable in both.

    Example: X on the second of two qubits, then a permutation that exchanges |01> and |10>.
        >>> flip, stay = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.eye(2)
        >>> basis = torch.eye(4)[:, :1]
        >>> apply_layers(torch.stack([stay, flip])[None], torch.tensor([0, 2, 1, 3]), basis).flatten()
        tensor([0., 0., 1., 0.])
    """
    n_qubits = rotations.shape[-3]
    singles = rotations.unbind(-3)
    half = n_qubits // 2
    identity = torch.ones_like(singles[0][..., :1, :1])
    first = kronecker_product(singles[:half]) if half else identity
    rest = kronecker_product(singles[half:])
    return _Layers.apply(first, rest, order, states)[0]  # type: ignore[no-untyped-call]


class _Layers(torch.autograd.Function):
    """The layers, with the states before and within each kept for the derivative."""

    @staticmethod
    def forward(first: Tensor, rest: Tensor, order: Tensor, states: Tensor) -> tuple[Tensor, ...]:
        *batch, dimension, columns = states.shape
        high, low = first.shape[-1], rest.shape[-1]
        order = order.to(states.device)
        before, within = [], []
        for layer in range(first.shape[-3]):
            before.append(states)
            split = states.reshape(*batch, high, low, columns)
            inner = rest[..., layer, None, :, :] @ split
            inner = inner.reshape(*batch, high, low * columns)
            within.append(inner)
            states = (first[..., layer, :, :] @ inner).reshape(*batch, dimension, columns)
            states = states.index_select(-2, order)
        return states, torch.stack(before), torch.stack(within)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        first, rest, order, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(first, rest, order, *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        first, rest, order, before, within = ctx.saved_tensors
        *batch, dimension, columns = gradient.shape
        high, low = first.shape[-1], rest.shape[-1]
        back = torch.argsort(order).to(gradient.device)
        for_first, for_rest = [], []
        for layer in reversed(range(first.shape[-3])):
            gradient = gradient.index_select(-2, back).reshape(*batch, high, low * columns)
            for_first.append(gradient @ within[layer].mH)
            gradient = (first[..., layer, :, :].mH @ gradient).reshape(*batch, high, low, columns)
            split = before[layer].reshape(*batch, high, low, columns)
            for_rest.append((gradient @ split.mH).sum(dim=-3))
            gradient = (rest[..., layer, None, :, :].mH @ gradient).reshape(*batch, dimension, columns)
        return torch.stack(for_first[::-1], -3), torch.stack(for_rest[::-1], -3), None, gradient

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, int | None, None, int | None],
        *operands: Tensor,
    ) -> tuple[tuple[Tensor, ...], tuple[int, int, int]]:
        def batch_first(tensor: Tensor, dim: int | None) -> Tensor:
            if dim is None:
                return tensor.expand(info.batch_size, *tensor.shape)
            return tensor.movedim(dim, 0)

        first, rest, order, states = operands
        made = _Layers.apply(  # type: ignore[no-untyped-call]
            batch_first(first, in_dims[0]),
            batch_first(rest, in_dims[1]),
            order,
            batch_first(states, in_dims[3]),
        )
        return made, (0, 1, 1)
