"""Gradients of observables: closed forms, barren circuits, QASA's golden counts and variances."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from qdyn.attention.qasa.adapter import qasa_circuit
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.analysis.trainability import observable_gradient, pauli_z
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable


def qasa() -> CircuitFamily:
    circuit = qasa_circuit(torch.zeros(8), torch.zeros(4, 9)).circuit
    return CircuitFamily(circuit, inputs=("inputs",), read=tuple(range(8)))


def test_one_layer_without_entanglement_has_the_closed_form() -> None:
    """RX(x) RZ(x) RX(w) RZ(v) on |0> has <Z> = cos x (cos w - sin w sin x), whatever v is.

    The variance of its derivative by a random w is cos(x)^2 (1 + sin(x)^2) / 2.
    """
    x, n_qubits = 0.5, 3
    circuit = Circuit(q=n_qubits)
    inputs, weights = circuit.slot("inputs", n_qubits), circuit.slot("weights", 2, n_qubits)
    for q in range(n_qubits):
        circuit.rx(q, inputs[q]).rz(q, inputs[q]).rx(q, weights[0, q]).rz(q, weights[1, q])
    found = observable_gradient(CircuitFamily(circuit, inputs=("inputs",)), inputs=x, samples=4000)
    exact = 0.5 * math.cos(x) ** 2 * (1 + math.sin(x) ** 2)
    assert exact == pytest.approx(0.4735847537512313)
    assert found.moving == 1
    assert abs(found.variance - exact / (2 * n_qubits)) < 4 * found.standard_error
    assert found.largest == pytest.approx(exact, rel=0.1)
    assert found.of_each.tolist().index(found.largest) == 0


@pytest.mark.parametrize(
    ("read", "key"), [((0,), "deployed_z0_x_half"), (tuple(range(8)), "deployed_meanZ_x_half")]
)
def test_the_deployed_circuit_has_the_golden_gradients(read: tuple[int, ...], key: str, shared: Path) -> None:
    golden = json.loads((shared / "golden" / "qasa.json").read_text())["gradient_variance"][key]
    found = observable_gradient(qasa(), observable=pauli_z(read, 9), inputs=0.5, samples=400, seed=1)
    assert found.moving == golden["nonzero"]
    # The other program's own error is not told; it drew 1000 samples or more.
    assert abs(found.variance - golden["mean_var"]) < 4 * found.standard_error * (1 + 400 / 1000) ** 0.5
    assert found.weights == 36


def test_a_global_observable_is_barren_and_a_local_one_less_so() -> None:
    """RY on every qubit, Z on all of them: the product of n cosines has variance 2^-n."""
    variances = []
    for n_qubits in (1, 2, 4):
        circuit = Circuit(q=n_qubits)
        weights = circuit.slot("weights", n_qubits)
        for q in range(n_qubits):
            circuit.ry(q, weights[q])
        every = PauliObservable(((1.0, "Z" * n_qubits),))
        found = observable_gradient(CircuitFamily(circuit), observable=every, samples=6000)
        assert abs(found.variance - 0.5**n_qubits) < 4 * found.standard_error
        variances.append(found.variance)
        local = observable_gradient(CircuitFamily(circuit), samples=6000)
        assert abs(local.variance - 0.5 / n_qubits) < 4 * local.standard_error
    assert variances[0] > variances[1] > variances[2]


def test_parts_and_slots_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    family = CircuitFamily(ansatz_circuit("hardware_efficient", n_qubits=2, layers=2, slot="weights"))
    whole = observable_gradient(family, samples=40, seed=3)
    monkeypatch.setattr("qdyn.circuits.analysis.family._MOST_AMPLITUDES", 4 * 8 * 7)
    parts = observable_gradient(family, samples=40, seed=3)
    torch.testing.assert_close(parts.of_each, whole.of_each)
