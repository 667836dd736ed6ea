"""Layers applied to states are the product of their matrices, in value and derivative, also under vmap."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.circuits.ansatz import variational as ansatz
from qdyn.circuits.ansatz.layers import apply_layers


def by_matrices(first: Tensor, rest: Tensor, orders: Tensor, states: Tensor) -> Tensor:
    for high, low, order in zip(first, rest, orders, strict=True):
        states = (torch.kron(high, low) @ states)[order]
    return states


@settings(deadline=None, max_examples=30)
@given(
    high=st.sampled_from([1, 2, 4]),
    low=st.sampled_from([2, 4, 8]),
    layers=st.integers(1, 4),
    columns=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float64, torch.complex128]),
)
def test_layers_act_as_their_matrices(
    high: int, low: int, layers: int, columns: int, seed: int, dtype: torch.dtype
) -> None:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, generator=random).requires_grad_()

    first, rest, states = draw(layers, high, high), draw(layers, low, low), draw(high * low, columns)
    weight = draw(high * low, columns).detach()
    orders = torch.stack([torch.randperm(high * low, generator=random) for _ in range(layers)])
    found = []
    for act in (apply_layers, by_matrices):
        result = act(first, rest, orders, states)
        number = (result * weight).sum().abs().square()
        found.append((result, *torch.autograd.grad(number, (first, rest, states))))
    for ours, theirs in zip(*found, strict=True):
        scale = theirs.detach().abs().max().clamp_min(1.0)
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_qubits", [6, 7])
@pytest.mark.parametrize(
    ("unitary", "tail"),
    [
        (ansatz.hardware_efficient_unitary, (3,)),
        (ansatz.real_unitary, ()),
        (ansatz.brick_wall_unitary, (12,)),
    ],
)
def test_large_circuits_are_built_by_layers_to_the_same_matrix(
    unitary: Callable[[Tensor], Tensor], tail: tuple[int, ...], n_qubits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(1)
    angles = torch.rand(2, 3, n_qubits, *tail, dtype=torch.float64, generator=random).requires_grad_()
    weight = torch.randn(2, 2**n_qubits, 2**n_qubits, dtype=torch.float64, generator=random)

    def value_and_gradient() -> tuple[Tensor, Tensor]:
        found = torch.func.vmap(unitary)(angles)
        return found, torch.autograd.grad((found.real * weight).sum(), angles)[0]

    by_layers = value_and_gradient()
    monkeypatch.setattr(ansatz, "_QUBITS_BY_LAYERS", 99)
    for ours, theirs in zip(by_layers, value_and_gradient(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
