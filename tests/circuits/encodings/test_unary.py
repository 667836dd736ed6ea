from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.counting import count_circuit
from qdyn.circuits.encodings.unary import add_excitation_rotation, matrix_encoding, unary_encoding
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError

SEEDS = st.integers(0, 10**6)


@given(size=st.integers(1, 9), seed=SEEDS)
@settings(max_examples=25)
def test_unary_encoding(size: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, size))
    program = unary_encoding(torch.from_numpy(x))
    states = program.states().numpy()
    expected = np.zeros((2, 2**size))
    expected[:, [1 << (size - 1 - i) for i in range(size)]] = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(states, expected, atol=1e-12)
    assert sum(gate.name == "ry" for gate in program.circuit) == size - 1


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), seed=SEEDS)
@settings(max_examples=25)
def test_matrix_encoding(rows: int, columns: int, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, rows, columns))
    if rows > 1:
        x[0, 0] = 0  # a row without weight
    states = matrix_encoding(torch.from_numpy(x)).states().numpy().reshape(2, 2**rows, 2**columns)
    one_row = [1 << (rows - 1 - i) for i in range(rows)]
    one_column = [1 << (columns - 1 - j) for j in range(columns)]
    expected = np.zeros((2, 2**rows, 2**columns))
    expected[np.ix_([0, 1], one_row, one_column)] = x / np.linalg.norm(x, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(states, expected, atol=1e-12)


def test_the_tree_is_of_logarithmic_depth() -> None:
    depths = [count_circuit(unary_encoding(torch.ones(n)).circuit).two_qubit_depth for n in (4, 8, 16)]
    assert depths[1] - depths[0] == depths[2] - depths[1] > 0


def test_the_rotation_is_a_givens_rotation() -> None:
    circuit = Circuit(q=2)
    add_excitation_rotation(circuit, 0, 1, circuit.slot("t", 1)[0])
    expected = np.eye(4)
    expected[np.ix_([2, 1], [2, 1])] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    np.testing.assert_allclose(circuit_unitary(circuit, {"t": np.array([0.8])}).numpy(), expected, atol=1e-15)


def test_zeros_are_refused(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="normalised, but one is zero"):
        unary_encoding(torch.zeros(4))
    with pytest.raises(ArgumentError, match="holds a zero one"):
        matrix_encoding(torch.zeros(2, 2, 2))
    with pytest.raises(ArgumentError, match=r"has shape \(4,\)"):
        matrix_encoding(torch.ones(4))


def test_a_sign_is_exact_in_double_precision() -> None:
    state = unary_encoding(torch.tensor([-2.0], dtype=torch.float64)).states()
    assert float(state.imag.abs().max()) < 1e-15
