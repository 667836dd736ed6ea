"""The variational unitaries of qdyn.circuits.ansatz as circuits: one gate for every angle."""

from __future__ import annotations

from qdyn.checks import check_choice
from qdyn.circuits.ansatz_order import brick_wall_pairs
from qdyn.circuits.circuit import Circuit
from qdyn.errors import ArgumentError

_AXES = ("rx", "ry", "rz")


def ansatz_circuit(name: str, *, n_qubits: int, layers: int, slot: str) -> Circuit:
    """The circuit of an ansatz on a register "q", with its angles in one slot.

    Args:
        name: "hardware_efficient", "brick_wall" or "real"; see qdyn.circuits.ansatz for gates and angles.
        n_qubits: number of qubits.
        layers: number of layers.
        slot: name of the slot that holds the angles.

    Raises:
        ArgumentError: unknown ansatz; "free" unitaries are matrices, not circuits of angles.

    Example:
        >>> ansatz_circuit("real", n_qubits=3, layers=2, slot="value")
        Circuit(q=3; 12 gates: ry 6, x 6; slots value(2, 3))
    """
    if name in ("free", "matrix"):
        raise ArgumentError(
            "Argument `name` must name a circuit of angles, but a free unitary has none: see unitary_circuit."
        )
    check_choice("name", name, _CIRCUITS)
    return _CIRCUITS[name](n_qubits, layers, slot)


def _hardware_efficient(n_qubits: int, layers: int, slot: str) -> Circuit:
    circuit = Circuit(q=n_qubits)
    angles = circuit.slot(slot, layers, n_qubits, 3)
    for layer in range(layers):
        for qubit in range(n_qubits):
            for axis, angle in zip(_AXES, angles[layer, qubit], strict=True):
                circuit.rotation(axis, qubit, angle)
        _add_ring(circuit)
    return circuit


def _brick_wall(n_qubits: int, layers: int, slot: str) -> Circuit:
    circuit = Circuit(q=n_qubits)
    angles = circuit.slot(slot, layers, n_qubits, 12)
    for layer in range(layers):
        pairs = [pair for row in brick_wall_pairs(n_qubits) for pair in row]
        for block, pair in enumerate(pairs):
            for half in angles[layer, block].reshape(2, 2, 3):
                for qubit, turns in zip(pair, half, strict=True):
                    for axis, angle in zip(_AXES, turns, strict=True):
                        circuit.rotation(axis, qubit, angle)
                circuit.cx(*pair)
    return circuit


def _real(n_qubits: int, layers: int, slot: str) -> Circuit:
    circuit = Circuit(q=n_qubits)
    angles = circuit.slot(slot, layers, n_qubits)
    for layer in range(layers):
        for qubit in range(n_qubits):
            circuit.ry(qubit, angles[layer, qubit])
        _add_ring(circuit)
    return circuit


def _add_ring(circuit: Circuit) -> None:
    n_qubits = circuit.n_qubits
    for qubit in range(n_qubits if n_qubits > 1 else 0):
        circuit.cx(qubit, (qubit + 1) % n_qubits)


_CIRCUITS = {"hardware_efficient": _hardware_efficient, "brick_wall": _brick_wall, "real": _real}
