from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.encodings.vectors import (
    amplitude_encoding,
    angle_encoding,
    ansatz_encoding,
    basis_encoding,
    reuploading,
)
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError

SEEDS = st.integers(0, 10**6)


def test_basis_encoding() -> None:
    bits = torch.tensor([[0, 1, 1], [1, 0, 0]])
    states = basis_encoding(bits).states()
    expected = torch.zeros(2, 8, dtype=torch.complex128)
    expected[0, 3] = expected[1, 4] = 1
    torch.testing.assert_close(states, expected, atol=1e-15, rtol=0)


@given(size=st.integers(2, 17), complex_data=st.booleans(), seed=SEEDS)
@settings(max_examples=30)
def test_amplitude_encoding_keeps_signs_and_phases(size: int, complex_data: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, size)) + (1j * rng.normal(size=(3, size)) if complex_data else 0)
    states = amplitude_encoding(torch.from_numpy(x)).states().numpy()
    np.testing.assert_allclose(states[:, :size], x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-12)
    assert np.abs(states[:, size:]).max(initial=0) < 1e-12


@given(seed=SEEDS)
@settings(max_examples=10)
def test_angle_encoding_is_a_product_of_rotations(seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-7, 7, size=(2, 6)))
    found = circuit_unitary(angle_encoding(x, axes="zx").circuit, {"x": x}).numpy()
    pauli_x, pauli_z = np.array([[0, 1], [1, 0]]), np.diag([1, -1])

    def turn(angle: float, pauli: np.ndarray) -> np.ndarray:
        return math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * pauli

    for row, unitary in zip(x.numpy(), found, strict=True):
        expected = np.eye(1)
        for first, second in row.reshape(3, 2):
            expected = np.kron(expected, turn(second, pauli_x) @ turn(first, pauli_z))
        np.testing.assert_allclose(unitary, expected, atol=1e-12)


@pytest.mark.parametrize(("layers", "axes", "degree"), [(1, "y", 1), (3, "y", 3), (2, "xz", 2)])
def test_reuploading_gives_a_trigonometric_polynomial_of_the_number_of_uploads(
    layers: int, axes: str, degree: int
) -> None:
    """As a function of one datum the output has Fourier frequencies up to the number of its uploads."""
    weights = torch.from_numpy(np.random.default_rng(layers).uniform(-3, 3, size=(layers, 2, 3)))
    grid = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    x = torch.full((16, 2 * len(axes)), 0.4, dtype=torch.float64)
    x[:, 0] = grid
    states = reuploading(x, weights, axes=axes).states()
    spectrum = torch.fft.rfft(states[:, 0].abs().square()).abs() / 16
    assert float(spectrum[degree]) > 1e-4
    assert float(spectrum[degree + 1 :].max()) < 1e-14


@given(n=st.integers(1, 3), depth=st.integers(0, 2), seed=SEEDS)
@settings(max_examples=15)
def test_the_ansatz_takes_every_angle_from_the_data(n: int, depth: int, seed: int) -> None:
    """U(x) H^n |0>, with U = RX, RY, then D times a ring of CNOTs and RY, by matrices."""
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-7, 7, size=(2, n * (depth + 2))))
    paulis = {"x": np.array([[0, 1], [1, 0]]), "y": np.array([[0, -1j], [1j, 0]])}

    def layer(axis: str, angles: np.ndarray) -> np.ndarray:
        product = np.eye(1)
        for angle in angles:
            turn = math.cos(angle / 2) * np.eye(2) - 1j * math.sin(angle / 2) * paulis[axis]
            product = np.kron(product, turn)
        return product

    ring = np.eye(2**n)
    basis = np.arange(2**n)
    for qubit in range(n if n > 1 else 0):
        control, target = n - 1 - qubit, n - 1 - (qubit + 1) % n
        ring = np.eye(2**n)[basis ^ ((basis >> control & 1) << target)] @ ring
    for row, state in zip(x.numpy(), ansatz_encoding(x, n_qubits=n).states().numpy(), strict=True):
        first, second, *rest = row.reshape(-1, n)
        expected = layer("y", second) @ layer("x", first) @ np.full(2**n, 2 ** (-n / 2))
        for angles in rest:
            expected = layer("y", angles) @ ring @ expected
        np.testing.assert_allclose(state, expected, atol=1e-12)


def test_bad_data_is_refused(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="0 and 1 only"):
        basis_encoding([0, 2])
    with pytest.raises(ArgumentError, match="normalised, but one is zero"):
        amplitude_encoding(torch.zeros(2, 4))
    with pytest.raises(ArgumentError, match=r"shape \(..., 2 \(D \+ 2\)\) for 2 qubits, but has \(5,\)"):
        ansatz_encoding(torch.zeros(5), n_qubits=2)
    with pytest.raises(ArgumentError, match=r"must be finite, but x\[1\] is nan"):
        angle_encoding(torch.tensor([0.0, math.nan]))
    with pytest.raises(ArgumentError, match="'w', which is unknown"):
        angle_encoding(torch.zeros(2), axes="w")
    with pytest.raises(ArgumentError, match="2 angles a qubit"):
        angle_encoding(torch.zeros(3), axes="xy")
    with pytest.raises(ArgumentError, match=r"shape \(..., L, 2, 3\)"):
        reuploading(torch.zeros(2), torch.zeros(1, 3, 3))
