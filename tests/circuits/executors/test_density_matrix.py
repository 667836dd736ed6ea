"""Noisy circuits on density matrices: the pure limit, closed forms, CUDA-Q, and what noise leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.analysis.noise_robustness import noise_robustness
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.density_matrix import fidelity_with, run_density_matrix
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError


@given(seed=st.integers(0, 2**31), n_gates=st.integers(0, 12))
@settings(max_examples=20)
def test_without_noise_it_is_the_projector_on_the_state(seed: int, n_gates: int) -> None:
    circuit = random_circuit(n_qubits=3, n_gates=n_gates, seed=seed)
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 1, 5)))
    found = run_density_matrix(circuit, {"theta": theta})
    states = run_statevector(circuit, {"theta": theta})
    torch.testing.assert_close(found, states[..., :, None] * states[..., None, :].conj(), atol=1e-12, rtol=0)
    torch.testing.assert_close(fidelity_with(found, states), torch.ones(2, 1, dtype=torch.float64))


@given(seed=st.integers(0, 2**31), rate=st.floats(0, 0.7), damping=st.floats(0, 1))
@settings(max_examples=15)
def test_noise_keeps_it_a_density_matrix(seed: int, rate: float, damping: float) -> None:
    circuit = random_circuit(n_qubits=3, n_gates=6, seed=seed)
    noise = GateNoise(depolarising=rate, amplitude_damping=damping)
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=5))
    found = run_density_matrix(circuit, {"theta": theta}, noise=noise)
    torch.testing.assert_close(found, found.mH, atol=1e-12, rtol=0)
    assert float(found.diagonal().real.sum()) == pytest.approx(1)
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-12


@pytest.mark.cudaq
@pytest.mark.parametrize("noise", [GateNoise(0.03, 0.07), GateNoise(amplitude_damping=0.1)])
def test_cudaq_finds_the_same_matrix(noise: GateNoise) -> None:
    pytest.importorskip("cudaq")
    from qdyn.circuits.executors.cudaq import CudaqExecutor

    circuit = random_circuit(n_qubits=3, n_gates=8, seed=5)
    theta = torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = CudaqExecutor("density-matrix-cpu", noise=noise).state(circuit.bind({"theta": theta.numpy()}))
    found = run_density_matrix(circuit, {"theta": theta}, noise=noise)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_damping_ends_in_the_ground_state_and_depolarisation_in_the_mixture() -> None:
    circuit = Circuit(q=2).x(0).h(1).cx(0, 1)
    ground = run_density_matrix(circuit, noise=GateNoise(amplitude_damping=1.0))
    assert float(ground[0, 0].real) == pytest.approx(1)
    mixed = run_density_matrix(circuit, noise=GateNoise(depolarising=0.75, depolarising_cnot=15 / 16))
    torch.testing.assert_close(mixed, torch.eye(4, dtype=torch.complex128) / 4, atol=1e-14, rtol=0)


def test_gradients_pass_through_the_noise() -> None:
    circuit = ansatz_circuit("hardware_efficient", n_qubits=2, layers=1, slot="w")
    weights = torch.linspace(0.1, 1, 6, dtype=torch.float64).reshape(1, 2, 3).requires_grad_()
    noise = GateNoise(depolarising=0.05)
    assert torch.autograd.gradcheck(
        lambda w: run_density_matrix(circuit, {"w": w}, noise=noise).diagonal().real, (weights,)
    )


def test_each_gate_costs_its_share_of_the_signal() -> None:
    """m turns of each qubit and one CNOT: depolarisation shrinks <Z_0> by (1 - 4p/3)^m (1 - 16q/15)."""
    circuit = Circuit(q=2)
    w = circuit.slot("w", 4)
    circuit.rx(0, w[0]).ry(0, w[1]).rx(1, w[2]).ry(1, w[3]).cx(0, 1)
    family = CircuitFamily(circuit, read=(0,))
    low, high = noise_robustness(family, rates=[0.01, 0.2], noises=["depolarising"], samples=6)
    for one in (low, high):
        p = one.rate
        assert one.signal == pytest.approx((1 - 4 * p / 3) ** 2 * (1 - 16 * p / 15))
        assert one.signal_error == pytest.approx(0, abs=1e-12)
    assert low.fidelity > high.fidelity
    wide = Circuit(q=11)
    family = CircuitFamily(wide.rx(0, wide.slot("w", 1)[0]))
    with pytest.raises(ArgumentError, match=r"n_qubits` must be an integer in \[1, 10\], but is 11"):
        noise_robustness(family)
