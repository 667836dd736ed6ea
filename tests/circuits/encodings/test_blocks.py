from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.blocks import block_encoding, linear_combination
from qdyn.circuits.executors.statevector import circuit_unitary, probability_of_zeros, run_statevector
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states


@given(n=st.integers(1, 3), real=st.booleans(), slack=st.floats(1, 3), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_the_block_is_the_matrix(n: int, real: bool, slack: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(2**n, 2**n)) + (0 if real else 1j) * rng.normal(size=(2**n, 2**n))
    encoded = block_encoding(matrix, alpha=slack * np.linalg.norm(matrix, 2))
    np.testing.assert_allclose(encoded.matrix().numpy(), matrix, atol=1e-10)


def test_zero_and_unitary_matrices_encode() -> None:
    np.testing.assert_allclose(
        block_encoding(np.zeros((2, 2))).matrix().numpy(), np.zeros((2, 2)), atol=1e-12
    )
    swap = np.eye(4)[[0, 2, 1, 3]]
    assert block_encoding(swap).alpha == pytest.approx(1)
    np.testing.assert_allclose(block_encoding(swap).matrix().numpy(), swap, atol=1e-12)


def test_the_success_probability_is_the_squared_norm() -> None:
    matrix = np.random.default_rng(0).normal(size=(4, 4))
    encoded = block_encoding(matrix, alpha=6.0)
    psi = haar_random_states(n_qubits=2, seed=0)
    initial = torch.cat([psi, torch.zeros(4)])
    state = run_statevector(encoded.circuit, initial=initial)
    expected = np.linalg.norm(matrix @ psi.numpy() / 6.0) ** 2
    assert abs(float(probability_of_zeros(state, [0])) - expected) < 1e-12


@given(terms=st.integers(1, 5), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_linear_combination_with_complex_weights(terms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=terms) + 1j * rng.normal(size=terms)
    circuits = [random_circuit(n_qubits=2, n_gates=6, seed=seed + k, most_controls=1) for k in range(terms)]
    theta = {"theta": torch.from_numpy(rng.normal(size=5))}
    expected = sum(w * circuit_unitary(c, theta) for w, c in zip(weights, circuits, strict=True))
    combined = linear_combination(weights.tolist(), circuits)
    assert combined.alpha == pytest.approx(np.abs(weights).sum())
    torch.testing.assert_close(combined.matrix(theta), expected, atol=1e-11, rtol=0)


def test_bad_matrices_and_terms_are_refused() -> None:
    with pytest.raises(ArgumentError, match="`alpha` must be at least the norm 2 of A, but is 1"):
        block_encoding(2 * np.eye(2), alpha=1)
    with pytest.raises(ArgumentError, match="square and finite"):
        block_encoding(np.ones((2, 4)))
    with pytest.raises(ArgumentError, match="each of 2 coefficients, but holds 1"):
        linear_combination([1, 1], [Circuit(q=1)])
    with pytest.raises(ArgumentError, match="not all zero"):
        linear_combination([0], [Circuit(q=1)])
