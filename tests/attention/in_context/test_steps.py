"""Conjugate gradients as plain layers, whose sizes follow from Ritz values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.attention.in_context.attention import Conjugate, Descent
from qdyn.attention.in_context.steps import PlainSteps, ritz_steps
from qdyn.attention.in_context.transitions import OperatorPast, transition_pairs
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

STEPS = 9


def past_of(x: Tensor) -> tuple[OperatorPast, Tensor]:
    past = OperatorPast.of(*transition_pairs(x))
    return past, past.bounds()[0]


@given(seed=st.integers(0, 10**6), layers=st.integers(1, 7), ridge=st.sampled_from([0.0, 0.05, 0.5]))
@settings(max_examples=25, deadline=None)
def test_plain_layers_do_what_conjugate_gradients_do(seed: int, layers: int, ridge: float) -> None:
    """Also beyond the layers that a context needs, where conjugate gradients stand still."""
    x = haar_random_states(n_qubits=3, batch=STEPS, seed=seed)
    past, bound = past_of(x)
    conjugate = Conjugate(layers, torch.full((STEPS,), ridge, dtype=torch.float64))
    left, answer = conjugate.explain(past.attend, bound, x)
    steps = PlainSteps.of(conjugate, past.rho, bound, x)
    h, u = x, torch.zeros_like(x)
    for size in steps.sizes.unsqueeze(-1):
        u = u + size * h
        h = h - size * (past.attend(h)[0] + steps.ridge.unsqueeze(-1) * h)
    torch.testing.assert_close(past.attend(u)[1], answer, atol=1e-6, rtol=0)
    torch.testing.assert_close(h + steps.ridge.unsqueeze(-1) * u, left, atol=1e-6, rtol=0)
    assert bool((steps.sizes[1:] >= steps.sizes[:-1]).all())


def test_all_ritz_values_are_the_eigenvalues_of_what_was_seen() -> None:
    x = haar_random_states(n_qubits=2, batch=4, seed=5)
    past, _ = past_of(x)
    found = ritz_steps(past.rho, x, torch.zeros(4, dtype=torch.float64), layers=3)[:, -1]
    torch.testing.assert_close(1 / found.flip(0), torch.linalg.eigvalsh(past.rho[-1])[1:], rtol=1e-9, atol=0)


def test_steps_of_given_size_are_divided_by_the_bound() -> None:
    x = haar_random_states(n_qubits=2, batch=4, seed=5)
    past, bound = past_of(x)
    steps = PlainSteps.of(Descent(torch.ones(2, 4, dtype=torch.float64)), past.rho, bound, x)
    assert float(steps.sizes[:, 0].abs().max()) == 0.0
    torch.testing.assert_close(steps.sizes[:, 1:] * bound[1:], torch.ones(2, 3, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="neither momentum"):
        PlainSteps.of(Descent(torch.ones(1, 4), momentum=torch.ones(1, 4)), past.rho, bound, x)
