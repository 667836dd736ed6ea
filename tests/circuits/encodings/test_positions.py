from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.encodings.positions import (
    entangled_positions,
    position_register,
    rotary_positions,
    sinusoidal_angles,
)
from qdyn.circuits.encodings.vectors import amplitude_encoding, angle_encoding
from qdyn.circuits.executors.statevector import circuit_unitary, run_statevector
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

SEEDS = st.integers(0, 10**6)


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


def test_binary_frequencies_write_the_bits_of_the_position() -> None:
    """With 2 pi / 2^(k+1) on RZ, positions 2^n apart differ by a sign of all amplitudes at most."""
    frequencies = [2 * math.pi / 2 ** (k + 1) for k in range(3)]
    program = rotary_positions(torch.arange(9), n_qubits=3, frequencies=frequencies)
    plus = torch.full((8,), 8**-0.5, dtype=torch.complex128)
    placed = run_statevector(program.circuit, program.values, initial=plus)
    overlaps = (placed.conj() @ placed.mT).abs()
    torch.testing.assert_close(overlaps[:8, :8], torch.eye(8, dtype=torch.float64), atol=1e-12, rtol=0)
    assert abs(float(overlaps[0, 8]) - 1) < 1e-12


def test_sinusoidal_angles() -> None:
    found = sinusoidal_angles(torch.tensor([0.0, 3.0]), n_qubits=5, base=100.0).numpy()
    rates = [1.0, 1.0, 100 ** (-2 / 5), 100 ** (-2 / 5), 100 ** (-4 / 5)]
    waves = [math.sin, math.cos, math.sin, math.cos, math.sin]
    np.testing.assert_allclose(found[1], [f(3 * w) for f, w in zip(waves, rates, strict=True)], atol=1e-15)
    assert found[0].tolist() == [0, 1, 0, 1, 0]


def test_a_third_register_conditions_the_sequence() -> None:
    token = angle_encoding(torch.tensor([0.3, 1.2], dtype=torch.float64))
    both = position_register(token, torch.tensor([0.4, -1.0], dtype=torch.float64))
    three = position_register(both, torch.tensor([0.9], dtype=torch.float64), name="property")
    assert {name: len(qubits) for name, qubits in three.circuit.registers.items()} == {
        "token": 2,
        "position": 2,
        "property": 1,
    }
    alone = angle_encoding(torch.tensor([0.9], dtype=torch.float64)).states()
    torch.testing.assert_close(three.states(), torch.kron(both.states(), alone), atol=1e-14, rtol=0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="slot or register called 'position'"):
        position_register(entangled_positions(torch.zeros(2)), torch.zeros(2))
    with pytest.raises(ArgumentError, match="must hold 2 numbers, one a qubit, but holds 1"):
        rotary_positions(torch.arange(3), n_qubits=2, frequencies=[1.0])
