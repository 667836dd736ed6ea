"""Circuits that the published analysis of QASA and its rivals is of, and that were never trained.

Source: arXiv:2504.05336, its tables of expressibility and of gradients, and the program of its authors.
"""

from __future__ import annotations

import math

from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.circuit import Circuit

INPUTS = 0.5
"""Every input, in radians, where published gradients are taken."""


def two_chains(n_qubits: int = 8, layers: int = 4) -> Circuit:
    """H and RY(v); then in each layer the chain of CNOTs twice, and RY: 56 CNOTs where QLSTM has 28.

    >>> sum(gate.name == "x" for gate in two_chains())
    56
    """
    circuit = Circuit(q=n_qubits)
    inputs, weights = circuit.slot("inputs", n_qubits), circuit.slot("weights", layers, n_qubits)
    for q in range(n_qubits):
        circuit.h(q).ry(q, inputs[q])
    for row in weights:
        for _ in range(2):
            for q in range(n_qubits - 1):
                circuit.cx(q, q + 1)
        for q in range(n_qubits):
            circuit.ry(q, row[q])
    return circuit


def rotations_and_chain(n_qubits: int = 8, layers: int = 3) -> Circuit:
    """RY(v); then in each layer RX, RY, RZ of one weight a qubit and a chain of CNOTs."""
    circuit = Circuit(q=n_qubits)
    inputs, weights = circuit.slot("inputs", n_qubits), circuit.slot("weights", layers, n_qubits)
    for q in range(n_qubits):
        circuit.ry(q, inputs[q])
    for row in weights:
        for q in range(n_qubits):
            circuit.rx(q, row[q]).ry(q, row[q]).rz(q, row[q])
        for q in range(n_qubits - 1):
            circuit.cx(q, q + 1)
    return circuit


def scaled(n_qubits: int, layers: int) -> CircuitFamily:
    """QASA's circuit on other numbers of qubits, the last one not read, as published gradients have it.

    Rows 0 and 1 of the weights (layers + 1, n) turn the data qubits, and each of the others has a ring: "one
    layer" has no gate between qubits.
    """
    data = n_qubits - 1 if layers > 1 else n_qubits
    circuit = Circuit(q=n_qubits)
    inputs, weights = circuit.slot("inputs", data), circuit.slot("weights", layers + 1, n_qubits)
    for q in range(data):
        circuit.rx(q, inputs[q]).rz(q, inputs[q])
    for q in range(data):
        circuit.rx(q, weights[0, q]).rz(q, weights[1, q])
    for row in weights[2:]:
        for q in range(data):
            circuit.cx(q, (q + 1) % data).ry(q, row[q]).rz(q, row[q])
        circuit.cx(data - 1, data).ry(data, row[data])
    return CircuitFamily(circuit, inputs=("inputs",))


def closed_form(n_qubits: int) -> float:
    """Of one layer: one weight of 2n moves <Z_0> = cos x (cos w - sin w sin x), with this variance."""
    return 0.5 * math.cos(INPUTS) ** 2 * (1 + math.sin(INPUTS) ** 2) / (2 * n_qubits)
