"""Sampled configurations: the right distribution in every basis, and streams that depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.errors import ArgumentError
from qdyn.quantum.sampling import outcome_basis, samples
from qdyn.quantum.states import haar_random_states, product_state

PAULI = {"x": [[0, 1], [1, 0]], "y": [[0, -1j], [1j, 0]], "z": [[1, 0], [0, -1]]}
SHOTS = 20_000


def p_value(outcomes: np.ndarray, probabilities: np.ndarray) -> float:
    """Pearson's chi-square of configurations, read as binary numbers, against their probabilities."""
    weights = 1 << np.arange(outcomes.shape[1])[::-1]
    counts = np.bincount(outcomes.astype(np.int64) @ weights, minlength=len(probabilities))
    expected = probabilities * len(outcomes)
    assert expected.min() > 5, "the statistic is chi-square distributed only for large counts"
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), len(expected) - 1))


def probabilities_along(state: torch.Tensor, axis: str) -> np.ndarray:
    """From eigenvectors of the Pauli matrix, independently of the code under test."""
    _, vectors = np.linalg.eigh(np.array(PAULI[axis]))
    rotation = vectors[:, ::-1].conj().T  # eigh sorts -1 first
    whole = np.ones((1, 1))
    for _ in range(int(np.log2(len(state)))):
        whole = np.kron(whole, rotation)
    return np.abs(whole @ state.numpy()) ** 2


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("factorised", [False, True])
def test_samples_follow_the_born_rule(axis: str, factorised: bool) -> None:
    state = haar_random_states(n_qubits=4, seed=5)
    probabilities = probabilities_along(state, axis)
    observable = samples(SHOTS, axis=axis, seed=11)
    drawn = (
        observable.measure(MatrixProductState.from_vector(state))
        if factorised
        else observable.expectation(state)
    )
    assert drawn.shape == (SHOTS, 4)
    assert p_value(drawn.numpy(), probabilities) > 1e-3
    # The test can fail: the same draws are refused for the distribution of another axis.
    other = {"x": "z", "y": "x", "z": "x"}[axis]
    assert p_value(drawn.numpy(), probabilities_along(state, other)) < 1e-12


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_outcome_basis_diagonalises_the_pauli_matrix(axis: str) -> None:
    turn = outcome_basis(axis)
    turned = turn @ torch.tensor(PAULI[axis], dtype=torch.complex128) @ turn.mH
    assert float((turned - torch.diag(torch.tensor([1.0, -1.0]))).abs().max()) < 1e-15


@pytest.mark.parametrize(("name", "axis"), [("0110", "z"), ("+--+", "x"), ("rlrl", "y")])
def test_eigenstates_give_the_same_outcome_every_time(name: str, axis: str) -> None:
    expected = torch.tensor([int(letter in "1-l") for letter in name], dtype=torch.uint8)
    for drawn in (
        samples(50, axis=axis, seed=0).expectation(product_state(name)),
        MatrixProductState.product(name).sample(50, axis=axis, seed=0),
    ):
        assert bool((drawn == expected).all())


def test_streams_depend_on_trajectory_and_time_only() -> None:
    states = haar_random_states(n_qubits=5, batch=6, seed=1).reshape(2, 3, 32)
    whole = samples(8, seed=3)
    drawn = whole.expectation(states)
    assert drawn.shape == (2, 3, 8, 5)
    part = whole.for_members(slice(1, 2)).for_times(slice(2, 3)).expectation(states[1:, 2:])
    assert torch.equal(part[0, 0], drawn[1, 2])
    assert torch.equal(samples(20, seed=3).expectation(states)[:, :, :8], drawn)
    assert not torch.equal(samples(8, seed=4).expectation(states), drawn)
    mps = MatrixProductState.from_vector(states[0, 0])
    assert torch.equal(mps.sample(20, seed=3)[:8], mps.sample(8, seed=3))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="`shots` must be an integer >= 1"):
        samples(0, seed=0)
    with pytest.raises(ArgumentError, match="`seed` must be an integer >= 0"):
        samples(1, seed=-1)
    with pytest.raises(ArgumentError, match="`shots` must be an integer >= 1"):
        MatrixProductState.product("0").sample(0, seed=0)


def test_the_axis_is_checked(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="`axis`"):
        samples(1, axis="w", seed=0)
