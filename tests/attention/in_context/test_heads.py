"""Heads and feed-forward of in-context attention: sums, symmetries found, causality, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.attention.in_context.attention import Conjugate, Descent, in_context_predictions
from qdyn.attention.in_context.heads import Heads, feed_forward, partial_propagators, symmetry_heads
from qdyn.attention.in_context.transitions import OperatorPast, ScorePast, basis_permutation, transition_pairs
from qdyn.circuits.ansatz.variational import free_unitary
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import haar_random_states

STEPS, D = 6, 4


def unitaries(*shape: int, d: int = D, seed: int = 1) -> Tensor:
    return free_unitary(torch.from_numpy(np.random.default_rng(seed).normal(size=(*shape, 2, d, d))))


def heads(*, count: int = 3, backward: int = 1, seed: int = 1) -> Heads:
    weights = torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(count)))
    return Heads(unitaries(count, seed=seed), weights, backward)


def states(seed: int = 0, n_qubits: int = 2, steps: int = STEPS) -> Tensor:
    return haar_random_states(n_qubits=n_qubits, batch=steps, seed=seed)


def conjugate(layers: int, steps: int = STEPS, ridge: float = 0.0) -> Conjugate:
    return Conjugate(layers, torch.full((steps,), ridge, dtype=torch.float64))


def propagators(couplings: list[tuple[float, float]], n_sites: int = 3) -> Tensor:
    found = []
    for coupling, field in couplings:
        h = TransverseFieldIsing(n_sites=n_sites, coupling=coupling, field=field)
        moved = evolve(h, torch.eye(2**n_sites, dtype=torch.complex128), [0.35]).states
        assert moved is not None
        found.append(moved[:, 0].T)
    return torch.stack(found)


def orbits(u: Tensor, *, steps: int) -> Tensor:
    found = [haar_random_states(n_qubits=3, batch=len(u), seed=3)]
    for _ in range(steps - 1):
        found.append((u @ found[-1].unsqueeze(-1)).squeeze(-1))
    return torch.stack(found, dim=1)


ISING = propagators([(0.7, 1.3), (1.2, 0.6), (0.5, 0.8), (1.4, 1.1), (0.9, 1.7), (1.1, 0.3)])


def test_one_head_is_no_head() -> None:
    one = Heads(torch.eye(D, dtype=torch.complex128)[None], torch.ones(1, dtype=torch.float64))
    for kernel in (None, torch.tensor([0.7, 0.3], dtype=torch.float64)):
        plain, same = (
            in_context_predictions(
                states(),
                unitaries(),
                Descent(torch.ones(3, STEPS).double()),
                heads=given_heads,
                kernel=kernel,
            )
            for given_heads in (None, one)
        )
        torch.testing.assert_close(same, plain, atol=1e-12, rtol=0)


def test_heads_are_the_sum_of_what_each_reads() -> None:
    """rho_j, C_j and B_j, written as loops over heads and transitions."""
    x, chosen = states(), heads()
    past = OperatorPast.of(*transition_pairs(x), heads=chosen)
    for j in range(STEPS):
        rho, carry, image = (torch.zeros(D, D, dtype=torch.complex128) for _ in range(3))
        for h, (s, w) in enumerate(zip(chosen.unitaries, chosen.weights, strict=True)):
            for i in range(j):
                backwards = h == 2
                key, value = (x[i + 1].conj(), x[i].conj()) if backwards else (x[i], x[i + 1])
                key, value = s @ key, s @ value
                rho = rho + w * torch.outer(key, key.conj())
                carry = carry + w * torch.outer(value, key.conj())
                image = image + w * torch.outer(value, value.conj())
        for found, wanted in ((past.rho, rho), (past.carry, carry), (past.image, image)):
            torch.testing.assert_close(found[j], wanted, atol=1e-12, rtol=0)


def test_operators_and_scores_agree_with_heads_and_symmetries() -> None:
    x = states()
    pairs = transition_pairs(x)
    one = OperatorPast.of(*pairs, ("spin_flip",), heads())
    two = ScorePast.of(*pairs, ("spin_flip",), heads=heads())
    for left, right in zip((*one.attend(x), *one.bounds()), (*two.attend(x), *two.bounds()), strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


def test_a_named_symmetry_is_a_head() -> None:
    x, order = states(), basis_permutation("reflection", D)
    reflection = torch.eye(D, dtype=torch.complex128)[order]
    both = torch.stack([torch.eye(D, dtype=torch.complex128), reflection])
    halves = torch.full((2,), 0.5, dtype=torch.float64)
    named = in_context_predictions(x, unitaries(), conjugate(3), symmetries=("reflection",))
    headed = in_context_predictions(x, unitaries(), conjugate(3), heads=Heads(both, halves))
    torch.testing.assert_close(headed, named, atol=1e-9, rtol=0)
    backward = Heads(both[:1].expand(2, -1, -1), halves, backward=1)
    named = in_context_predictions(x, unitaries(), conjugate(3), symmetries=("time_reversal",))
    torch.testing.assert_close(
        in_context_predictions(x, unitaries(), conjugate(3), heads=backward), named, atol=1e-9, rtol=0
    )


def test_symmetries_are_found_in_trajectories() -> None:
    """Of a uniform open chain, whose U commutes with what is found also at couplings never seen.

    There are more than parity and reflection make: sectors of 1, 3, 3 and 1 dimensions, as if a number of
    fermions were conserved.
    """
    keys, values = transition_pairs(orbits(ISING, steps=20), phases="transport")
    ahead, back = symmetry_heads(partial_propagators(keys, values), forward=4, backward=2)
    assert ahead is not None
    assert back is not None
    u = propagators([(0.33, 2.0)])[0]
    torch.testing.assert_close(u @ ahead, ahead @ u, atol=1e-6, rtol=0)
    torch.testing.assert_close(u @ back, back @ u.T, atol=1e-6, rtol=0)
    eigenvalues = torch.linalg.eigvals(ahead[1])
    sizes = sorted(int(((eigenvalues - z).abs() < 1e-6).sum()) for z in (1, 1j, -1, -1j))
    assert sizes == [1, 1, 3, 3]
    identity = torch.eye(8, dtype=torch.complex128)
    torch.testing.assert_close(ahead[0], identity, atol=1e-9, rtol=0)
    torch.testing.assert_close(back @ back.mH, identity.expand(2, -1, -1), atol=1e-9, rtol=0)


def test_found_heads_make_a_context_count_for_more() -> None:
    """Two transitions of a chain of three sites, read by eight heads, say all; without heads seven do not."""
    ahead, back = symmetry_heads(ISING, forward=4, backward=4)
    assert ahead is not None
    assert back is not None
    x = orbits(propagators([(0.8, 1.5)]), steps=8)[0]
    eighths = torch.full((8,), 0.125, dtype=torch.float64)
    found = in_context_predictions(
        x[:7],
        unitaries(d=8),
        conjugate(24, steps=7),
        heads=Heads(torch.cat([ahead, back]), eighths, backward=4),
    )
    torch.testing.assert_close(found[2:], x[3:], atol=1e-5, rtol=0)
    plain = in_context_predictions(x[:7], unitaries(d=8), conjugate(24, steps=7))
    assert float((plain[6] - x[7]).abs().max()) > 1e-2


def test_where_nothing_is_conserved_nothing_is_found() -> None:
    assert symmetry_heads(unitaries(5, d=4), forward=2, backward=2) == (None, None)
    with pytest.raises(ArgumentError, match="`forward`"):
        symmetry_heads(ISING, forward=0)


def test_degenerate_sectors_are_not_cut() -> None:
    """U (x) 1 commutes with all 1 (x) A: a general Hermitian A has two sectors, of two dimensions each."""
    u = torch.stack([torch.kron(one, torch.eye(2)) for one in unitaries(5, d=2)])
    ahead, _ = symmetry_heads(u, forward=2)
    assert ahead is not None
    torch.testing.assert_close(u[:, None] @ ahead, ahead @ u[:, None], atol=1e-9, rtol=0)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_partial_propagator_says_what_was_seen(seed: int) -> None:
    """W x_i = U x_i for every key, and nothing of what is orthogonal to all of them."""
    u = unitaries(d=8, seed=seed)
    x = [haar_random_states(n_qubits=3, batch=1, seed=seed)[0]]
    for _ in range(3):
        x.append(u @ x[-1])
    keys, values = transition_pairs(torch.stack(x)[None])
    (found,) = partial_propagators(keys, values)
    torch.testing.assert_close(keys[0] @ found.mT, values[0], atol=1e-9, rtol=0)
    assert int(torch.linalg.matrix_rank(found, atol=1e-9)) == 3
    torch.testing.assert_close(found @ found.mH @ found, found, atol=1e-9, rtol=0)


def test_the_feed_forward_is_its_sum() -> None:
    z, x, units = 2 * states(1), states(2), unitaries(2, 2)
    strength = torch.from_numpy(np.random.default_rng(0).uniform(size=(2, STEPS)))
    found = feed_forward(z, x, units[:, 0], units[:, 1], strength)
    for j in range(STEPS):
        wanted = z[j]
        for u in range(2):
            reflection = torch.eye(D, dtype=x.dtype) - 2 * torch.outer(x[j], x[j].conj())
            wanted = wanted + strength[u, j] * units[u, 1] @ reflection @ units[u, 0] @ z[j]
        torch.testing.assert_close(found[j], wanted, atol=1e-12, rtol=0)
    turned = feed_forward(z, 1j * x, units[:, 0], units[:, 1], strength)
    torch.testing.assert_close(turned, found)
    torch.testing.assert_close(feed_forward(z, x, units[:, 0], units[:, 1], 0 * strength), z)


def forecast(x: Tensor, generators: Tensor, logits: Tensor) -> Tensor:
    """Two heads ahead, one back, then two units of feed-forward."""
    made = free_unitary(generators)
    strength = torch.sigmoid(logits[3:, None]).expand(2, STEPS)
    chosen = Heads(made[:3], logits[:3].softmax(dim=0), backward=1)
    found = in_context_predictions(x, made[3], conjugate(2, ridge=0.1), completion=conjugate(1), heads=chosen)
    return feed_forward(found, x, made[4:6], made[6:8], strength)


def test_no_forecast_sees_what_comes_after() -> None:
    generators = torch.from_numpy(np.random.default_rng(4).normal(size=(8, 2, D, D)))
    x, other, logits = states(0), states(1), torch.zeros(5).double()
    for j in range(STEPS - 1):
        changed = torch.cat([x[: j + 1], other[j + 1 :]])
        one, two = forecast(x, generators, logits), forecast(changed, generators, logits)
        torch.testing.assert_close(two[: j + 1], one[: j + 1], atol=1e-12, rtol=0)
        assert not torch.allclose(two[j + 1], one[j + 1])


def test_gradients_are_right() -> None:
    generators = torch.from_numpy(np.random.default_rng(4).normal(size=(8, 2, 2, 2))).requires_grad_()
    logits = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
    x = states(n_qubits=1)
    assert torch.autograd.gradcheck(
        lambda g, w: forecast(x, g, w).abs().pow(3).sum(), (generators, logits), atol=1e-6
    )
