"""The quantum Fisher information: exact derivatives, closed forms, ranks that no weight can raise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.attention.qasa.adapter import qasa_circuit
from qdyn.circuits.analysis.effective_dimension import effective_dimension, effective_rank, quantum_fisher
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.circuits.random_circuits import random_circuit


@given(seed=st.integers(0, 2**31), n_gates=st.integers(1, 12))
@settings(max_examples=20)
def test_the_information_is_that_of_autograd(seed: int, n_gates: int) -> None:
    """Any gates, controlled and multiplexed, with angles shared between them."""
    circuit = random_circuit(n_qubits=3, n_gates=n_gates, seed=seed)
    theta = torch.from_numpy(np.random.default_rng(seed).normal(size=5))
    found = quantum_fisher(CircuitFamily(circuit), {"theta": theta})
    jacobian = torch.autograd.functional.jacobian(
        lambda values: torch.view_as_real(run_statevector(circuit, {"theta": values})), theta
    )
    derivative = torch.view_as_complex(jacobian.movedim(-1, 0).contiguous())
    along = derivative @ run_statevector(circuit, {"theta": theta}).conj()
    expected = 4 * (derivative.conj() @ derivative.mT - along[:, None].conj() * along[None]).real
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_a_ghz_state_turns_n_times_as_fast() -> None:
    """exp(-i t sum Z / 2) on GHZ: F = n^2; on |+>^n: F = n."""
    n_qubits = 4
    for entangled, speed in ((True, 16.0), (False, 4.0)):
        circuit = Circuit(q=n_qubits)
        (angle,) = circuit.slot("t", 1)
        for q in range(n_qubits):
            circuit.h(q) if q == 0 or not entangled else circuit.cx(q - 1, q)
        for q in range(n_qubits):
            circuit.rz(q, angle)
        found = quantum_fisher(CircuitFamily(circuit), {"t": torch.tensor([0.3])})
        assert float(found) == pytest.approx(speed)


@pytest.mark.parametrize(("name", "largest"), [("hardware_efficient", 6), ("real", 3)])
def test_a_deep_circuit_moves_in_every_direction_of_its_states(name: str, largest: int) -> None:
    family = CircuitFamily(ansatz_circuit(name, n_qubits=2, layers=6, slot="weights"))
    found = effective_dimension(family, samples=3)
    assert found.rank == found.largest == largest
    assert 1 <= found.effective_rank <= largest


def test_qasa_has_one_weight_that_moves_nothing() -> None:
    """w[0, 8] drives no gate; w[2, 8] and w[3, 8] turn the qubit that is not read, and so the state."""
    circuit = qasa_circuit(torch.zeros(8), torch.zeros(4, 9)).circuit
    found = effective_dimension(CircuitFamily(circuit, inputs=("inputs",)), samples=2)
    assert (found.rank, found.weights, found.largest) == (35, 36, 1022)


def test_weights_that_only_turn_the_phase_move_nothing() -> None:
    """Rounding is no direction, and no direction has the effective rank 0, not 0 / 0."""
    circuit = Circuit(q=2)
    first, second = circuit.slot("weights", 2)
    found = effective_dimension(CircuitFamily(circuit.rz(0, first).phase(1, second).rz(1, first)), samples=4)
    assert (found.rank, found.effective_rank, found.standard_error) == (0, 0.0, 0.0)


@given(count=st.integers(1, 20), zeros=st.integers(0, 5))
def test_equal_numbers_count_fully(count: int, zeros: int) -> None:
    values = torch.cat([torch.full((count,), 0.3), torch.zeros(zeros)]).double()
    assert float(effective_rank(values)) == pytest.approx(count)
