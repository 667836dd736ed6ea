"""Layers of gates on two halves of the qubits and a permutation, applied to states, not made into matrices.

A layer P (A (x) B), A on the first half of the qubits and B on the rest, takes d (2^(n/2) + 2^(n/2))
multiplications a column, where the product of matrices takes d^2: 5 times less on 7 qubits, 8 times on 8.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Inexact, Int
from torch import Tensor


def apply_layers(
    first: Inexact[Tensor, "*batch layers high high"],
    rest: Inexact[Tensor, "*batch layers low low"],
    orders: Int[Tensor, "layers dim"],
    states: Inexact[Tensor, "*batch dim columns"],
) -> Inexact[Tensor, "*batch dim columns"]:
    """P_L (A_L (x) B_L) ... P_1 (A_1 (x) B_1) |psi> for every column psi; the layer with index 0 acts first.

    Args:
        first: A, (..., L, high, high), on the most significant qubits, of the type of ``states``.
        rest: B, (..., L, low, low), on the others.
        orders: The permutations, (L, d): row r of P_l|psi> is row ``orders[l, r]`` of |psi>.
        states: (..., d = high * low, columns), any vectors, with the leading axes of ``first``.

    Returns:
        (..., d, columns), differentiable in the three.

    Example: X on the second of two qubits, then a permutation that exchanges |01> and |10>.
        >>> flip, stay = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.eye(2)[None]
        >>> basis = torch.eye(4)[:, :1]
        >>> apply_layers(stay, flip, torch.tensor([[0, 2, 1, 3]]), basis).flatten()
        tensor([0., 0., 1., 0.])
    """
    return _Layers.apply(first, rest, orders, states)[0]  # type: ignore[no-untyped-call]


class _Layers(torch.autograd.Function):
    """The layers, with the states before and within each kept for the derivative."""

    @staticmethod
    def forward(first: Tensor, rest: Tensor, orders: Tensor, states: Tensor) -> tuple[Tensor, ...]:
        *batch, dimension, columns = states.shape
        high, low = first.shape[-1], rest.shape[-1]
        orders = orders.to(states.device)
        before, within = [], []
        for layer in range(first.shape[-3]):
            before.append(states)
            split = states.reshape(*batch, high, low, columns)
            inner = rest[..., layer, None, :, :] @ split
            inner = inner.reshape(*batch, high, low * columns)
            within.append(inner)
            states = (first[..., layer, :, :] @ inner).reshape(*batch, dimension, columns)
            states = states.index_select(-2, orders[layer])
        return states, torch.stack(before), torch.stack(within)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        first, rest, orders, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(first, rest, orders, *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        first, rest, orders, before, within = ctx.saved_tensors
        *batch, dimension, columns = gradient.shape
        high, low = first.shape[-1], rest.shape[-1]
        back = torch.argsort(orders, dim=-1).to(gradient.device)
        for_first, for_rest = [], []
        for layer in reversed(range(first.shape[-3])):
            gradient = gradient.index_select(-2, back[layer]).reshape(*batch, high, low * columns)
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

        first, rest, orders, states = operands
        made = _Layers.apply(  # type: ignore[no-untyped-call]
            batch_first(first, in_dims[0]),
            batch_first(rest, in_dims[1]),
            orders,
            batch_first(states, in_dims[3]),
        )
        return made, (0, 1, 1)
