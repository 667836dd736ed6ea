from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.errors import ArgumentError
from qdyn.quantum.encodings import (
    amplitude_encoding,
    angle_encoding,
    basis_encoding,
    entangled_positions,
    position_register,
    reuploading,
    rotary_positions,
    unary_encoding,
)
from qdyn.quantum.states import haar_random_states
from qdyn.quantum.statevector import circuit_unitary, run_statevector

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


@given(p=st.integers(-50, 50), q=st.integers(-50, 50), shift=st.integers(-50, 50), seed=SEEDS)
@settings(max_examples=25)
def test_rotary_positions_act_as_defined_and_relatively(p: int, q: int, shift: int, seed: int) -> None:
    a, b = haar_random_states(n_qubits=3, batch=2, seed=seed)
    program = rotary_positions(torch.tensor([p, q, p + shift, q + shift]), n_qubits=3)
    frequencies = [10000 ** (-k / 3) for k in range(3)]
    basis = np.arange(8)
    sums = 0.5 * sum(w * (1.0 - 2 * (basis >> (2 - k) & 1)) for k, w in enumerate(frequencies))
    placed_a = run_statevector(program.circuit, program.values, initial=a)
    placed_b = run_statevector(program.circuit, program.values, initial=b)
    np.testing.assert_allclose(placed_a[0].numpy(), a.numpy() * np.exp(-1j * p * sums), atol=1e-12)
    overlap, shifted = torch.vdot(placed_b[1], placed_a[0]), torch.vdot(placed_b[3], placed_a[2])
    assert abs(complex(overlap - shifted)) < 1e-12


@given(seed=SEEDS, n=st.integers(1, 4))
@settings(max_examples=15)
def test_a_common_entangler_cancels_in_overlaps(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    angles = torch.from_numpy(rng.uniform(-3, 3, size=(2, n)))
    entangled = entangled_positions(angles).states()
    rotated = angle_encoding(angles, axes="y").states()
    assert abs(complex(torch.vdot(*entangled) - torch.vdot(*rotated))) < 1e-12
    ring = circuit_unitary(entangled_positions(torch.zeros(n)).circuit, {"position": torch.zeros(n)})
    basis = np.arange(2**n)
    bits = (basis[:, None] >> (n - 1 - np.arange(n))) & 1
    pairs = [(q, (q + 1) % n) for q in range(n)] if n > 2 else [(0, 1)][: n - 1]
    signs = np.prod([1 - 2 * bits[:, i] * bits[:, j] for i, j in pairs], axis=0) * np.ones(2**n)
    np.testing.assert_allclose(ring.numpy(), np.diag(signs), atol=1e-12)


def test_a_position_register_is_a_factor() -> None:
    token = amplitude_encoding(torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.float64))
    angles = torch.tensor([[0.2, 1.0], [0.7, -0.4], [0.2, 1.0]], dtype=torch.float64)
    states = position_register(token, angles).states().reshape(3, 4, 4)
    overlaps = torch.einsum("pab,qab->pq", states.conj(), states)
    own = angle_encoding(angles).states()  # the ring of CNOTs, common to both, cancels
    torch.testing.assert_close(overlaps, own.conj() @ own.mT, atol=1e-12, rtol=0)
    assert int(torch.linalg.matrix_rank(states[1], atol=1e-12)) == 1


def test_bad_data_is_refused(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="0 and 1 only"):
        basis_encoding([0, 2])
    with pytest.raises(ArgumentError, match="normalised, but one is zero"):
        amplitude_encoding(torch.zeros(2, 4))
    with pytest.raises(ArgumentError, match="normalised, but one is zero"):
        unary_encoding(torch.zeros(4))
    with pytest.raises(ArgumentError, match=r"must be finite, but x\[1\] is nan"):
        angle_encoding(torch.tensor([0.0, math.nan]))
    with pytest.raises(ArgumentError, match="'w', which is unknown"):
        angle_encoding(torch.zeros(2), axes="w")
    with pytest.raises(ArgumentError, match="2 angles a qubit"):
        angle_encoding(torch.zeros(3), axes="xy")
    with pytest.raises(ArgumentError, match=r"shape \(..., L, 2, 3\)"):
        reuploading(torch.zeros(2), torch.zeros(1, 3, 3))
    with pytest.raises(ArgumentError, match="slot called 'position'"):
        position_register(entangled_positions(torch.zeros(2)), torch.zeros(2))
