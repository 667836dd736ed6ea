"""Quantum walks: exponentials of their Hamiltonians, whole and restricted to every prefix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, vmap

from qdyn.attention.mechanism import Attention, build
from qdyn.attention.quantum_walks import prefix_walks, symmetric, walk

Walks = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def hoppings(*shape: int, strength: float = 1.0, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return strength * symmetric(drawn)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.sampled_from([0.0, 1e-6, 1.0, 30.0, 300.0]), st.integers(0, 99))
def test_walks_of_prefixes_are_columns_of_exponentials(places: int, strength: float, seed: int) -> None:
    hopping = hoppings(2, places, places, strength=strength, seed=seed)
    cosine, sine = prefix_walks(hopping)
    for last in range(places):
        n = last + 1
        expected = torch.linalg.matrix_exp(-1j * hopping[:, :n, :n])[..., last]
        found = torch.complex(cosine, -sine)[:, :, last]
        # Rounding of the scores' own size turns phases by strength times precision.
        torch.testing.assert_close(found[:, :n], expected, rtol=0, atol=1e-13 * (1 + strength))
        assert not found[:, n:].any()


def test_the_last_prefix_is_the_whole() -> None:
    hopping = hoppings(3, 6, 6, strength=2.0)
    for part, whole in zip(prefix_walks(hopping), walk(hopping), strict=True):
        torch.testing.assert_close(part[..., -1], whole[..., -1], rtol=0, atol=1e-13)


# The last is beyond what a series is for.
@pytest.mark.parametrize("strength", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("walks", [walk, prefix_walks])
def test_gradients_are_those_of_differences(walks: Walks, strength: float) -> None:
    matrices = strength * torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    matrices.requires_grad_()
    assert torch.autograd.gradcheck(lambda one: walks(symmetric(one)), matrices, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 20.0])
@pytest.mark.parametrize("walks", [walk, prefix_walks])
def test_gradients_of_many_seeds_are_those_of_each(walks: Walks, strength: float) -> None:
    """By either order of batching and differentiating."""
    hopping = hoppings(3, 4, 4, strength=strength)

    def loss(one: torch.Tensor) -> torch.Tensor:
        cosine, sine = walks(one)
        return (cosine + 2 * sine).square()[..., 0, 2].sum()

    alone = torch.stack([grad(loss)(one) for one in hopping])
    torch.testing.assert_close(vmap(grad(loss))(hopping), alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(grad(lambda all: vmap(loss)(all).sum())(hopping), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("walks", [walk, prefix_walks])
def test_second_derivatives_are_refused(walks: Walks) -> None:
    hopping = hoppings(3, 3).requires_grad_()
    (first,) = torch.autograd.grad(walks(hopping)[0][0, 1], hopping, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        first.sum().backward()


def test_walks_of_many_seeds_are_those_of_each() -> None:
    hopping = hoppings(3, 2, 4, 4)
    for together, alone in (
        (vmap(prefix_walks, in_dims=1)(hopping), [prefix_walks(hopping[:, one]) for one in range(2)]),
        (vmap(walk, in_dims=1)(hopping), [walk(hopping[:, one]) for one in range(2)]),
    ):
        for part, parts in zip(together, zip(*alone, strict=True), strict=True):
            torch.testing.assert_close(part, torch.stack(parts), rtol=0, atol=1e-13)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("walks", [walk, prefix_walks])
def test_what_is_not_finite_stays_so_and_leaves_others_alone(walks: Walks, wrong: float) -> None:
    """A diverged seed must not take along those that are trained beside it."""
    hopping = hoppings(3, 3, 3)
    hopping[1, 1, 2] = wrong
    hopping.requires_grad_()
    kept = [0, 2]
    found = walks(hopping)
    for one, alone in zip(found, walks(hopping[kept]), strict=True):
        assert one[1].isnan().all()
        torch.testing.assert_close(one[kept], alone, rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(sum(one.sum() for one in found), hopping)
    assert gradient[1].isnan().all()
    assert gradient[kept].isfinite().all()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_attention_over_prefixes_is_that_of_each_prefix(
    dtype: torch.dtype, tolerance: float, frozen: bool
) -> None:
    torch.manual_seed(0)
    walking = build("doubly_stochastic", dim=6, heads=2, causal=False, time=3.0).to(dtype)
    x, bias = torch.randn(3, 7, 6, dtype=dtype), 0.5 * torch.randn(1, 2, 7, 7, dtype=dtype)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, 2] = mask[1, 0] = mask[2, 6] = False
    attention = walking
    if frozen:
        attention = build("frozen", dim=6, heads=2, causal=False, mechanism="doubly_stochastic").to(dtype)
        attention.held.load_state_dict(walking.state_dict())  # type: ignore[union-attr, operator]
    for chosen in ({}, {"mask": mask, "bias": bias}):
        found = attention.over_prefixes(x, x, x, **chosen)
        expected = Attention.over_prefixes(walking, x, x, x, **chosen)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance)
