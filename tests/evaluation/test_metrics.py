"""Figures of merit against closed forms and against the model's own losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qdyn.attention.kernels import make_kernel
from qdyn.attention.qsa.diagnostics import chance_loss_1
from qdyn.attention.qsa.observables import qsa_observables
from qdyn.attention.qsa.overlap import overlap_predictions
from qdyn.errors import ArgumentError
from qdyn.evaluation.metrics import (
    Horizon,
    cross_entropy,
    horizon,
    mean_probability,
    perplexity,
    renyi_half_cross_entropy,
    step_fidelity,
    token_probability,
)
from qdyn.models.baselines import Chance
from qdyn.quantum.states import haar_random_states

probabilities = arrays.arrays(np.float64, (3, 7), elements=st.floats(1e-6, 1.0))


def test_fidelity_ignores_norms_and_phases() -> None:
    a, b = (haar_random_states(n_qubits=3, batch=5, seed=seed) for seed in (0, 1))
    expected = torch.linalg.vecdot(a, b).abs().square()
    phase = torch.exp(1j * torch.arange(5, dtype=torch.float64))[:, None]
    assert torch.allclose(step_fidelity(3.7 * phase * a, 0.2 * b), expected, atol=1e-14)
    assert torch.allclose(step_fidelity(a, a), torch.ones(5, dtype=torch.float64))


def test_fidelity_of_nothing_is_zero() -> None:
    assert step_fidelity(torch.zeros(2, 4), torch.ones(2, 4)).tolist() == [0.0, 0.0]
    assert step_fidelity(torch.full((1, 4), torch.nan), torch.ones(1, 4)).isnan().all()


@given(p=probabilities)
def test_renyi_half_never_exceeds_shannon(p: np.ndarray) -> None:
    tensor = torch.from_numpy(p)
    assert bool((renyi_half_cross_entropy(tensor) <= cross_entropy(tensor) + 1e-12).all())
    # Jensen once more: both are at least -log of the mean.
    assert bool((renyi_half_cross_entropy(tensor) >= -mean_probability(tensor).log() - 1e-12).all())


def test_equal_steps_make_the_cross_entropies_equal() -> None:
    p = torch.full((2, 9), 0.3, dtype=torch.float64)
    for loss in (cross_entropy, renyi_half_cross_entropy):
        assert torch.allclose(loss(p), torch.full((2,), -math.log(0.3), dtype=torch.float64))
    assert perplexity(float(cross_entropy(p)[0])) == pytest.approx(1 / 0.3)


@given(p=probabilities, length=st.integers(1, 7))
def test_masked_steps_do_not_count(p: np.ndarray, length: int) -> None:
    tensor = torch.from_numpy(p)
    mask = (torch.arange(7) < length).expand(3, 7)
    for figure in (cross_entropy, renyi_half_cross_entropy, mean_probability):
        assert torch.allclose(figure(tensor, mask), figure(tensor[:, :length]))


def test_a_sequence_without_steps_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least one step of every sequence, but one has none"):
        cross_entropy(torch.ones(2, 3), torch.tensor([[True, True, True], [False, False, False]]))


def test_an_impossible_step_costs_much_and_not_everything() -> None:
    assert float(cross_entropy(torch.tensor([0.0, 1.0]))) == pytest.approx(24 * math.log(10) / 2)


@pytest.mark.parametrize("degree", [1, 3])
def test_figures_of_a_forecast_are_the_losses_of_the_circuit(degree: int) -> None:
    # Two roads to L_1 and L_1/2: the forecast alone here, the observables of attention there.
    states = haar_random_states(n_qubits=2, batch=12, seed=3).reshape(2, 6, 4)
    W, V = (torch.linalg.qr(haar_random_states(n_qubits=2, batch=4, seed=seed))[0] for seed in (8, 9))
    x, y = states[:, :-1], states[:, 1:]
    seen = qsa_observables(x, y, W, V, kernel="monomial", degree=degree)
    p = step_fidelity(overlap_predictions(x, W, V, make_kernel("monomial", degree=degree)), y)
    assert torch.allclose(cross_entropy(p), seen.loss_1, atol=1e-10)
    assert torch.allclose(renyi_half_cross_entropy(p), seen.loss_half, atol=1e-10)


def test_chance_meets_its_expectation() -> None:
    targets = haar_random_states(n_qubits=4, batch=4000, seed=2).reshape(200, 20, 16)
    losses = cross_entropy(step_fidelity(Chance(seed=6).forecast(targets), targets))
    assert float(losses.mean()) == pytest.approx(chance_loss_1(16), abs=4 * float(losses.std()) / 200**0.5)


def test_token_probability_picks_the_token_that_came() -> None:
    p = torch.tensor([[[0.2, 0.8], [0.9, 0.1]]])
    assert token_probability(p, torch.tensor([[1, 1]]))[0].tolist() == pytest.approx([0.8, 0.1])


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0.89, 0.95], Horizon(0, False)),
        ([0.90, 0.89], Horizon(1, False)),
        ([0.99, 0.95, 0.5, 0.95], Horizon(2, False)),
        ([0.99, 0.95, 0.91], Horizon(3, True)),
        ([0.99, float("nan"), 0.99], Horizon(1, False)),
    ],
)
def test_horizon(curve: list[float], expected: Horizon) -> None:
    assert horizon(np.array(curve)) == expected


def test_horizon_refuses(as_user: None) -> None:
    with pytest.raises(ArgumentError, match=r"must have shape \(steps,\)"):
        horizon(np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match=r"`threshold` must lie in \(0, 1\), but is 1.5"):
        horizon(np.ones(3), threshold=1.5)
