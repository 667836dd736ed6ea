"""Variational unitaries as circuits, one gate for every angle: those of `ansatz.variational`, and more."""

from __future__ import annotations

from qdyn.checks import check_choice
from qdyn.circuits.ansatz.order import brick_wall_pairs
from qdyn.circuits.circuit import Circuit
from qdyn.errors import ArgumentError

_AXES = ("rx", "ry", "rz")


def ansatz_circuit(name: str, *, n_qubits: int, layers: int, slot: str) -> Circuit:
    """The circuit of an ansatz on a register "q", with its angles in one slot.

    Args:
        name: "hardware_efficient", "brick_wall" or "real", see `ansatz.variational` for gates and angles;
            "layered": RX on all qubits, RY on all, then in each layer the ring of CNOTs and RY on all, with
            angles (layers + 2, n); "controlled_rings": in each layer RY on all, a ring of controlled RX from
            qubit i to i + 1, the last first, RY on all, a ring from i to i - 1, qubit n - 1 first and then
            0, 1, ..., with angles (layers, 4, n).
        n_qubits: number of qubits.
        layers: number of layers; 0 will do for "layered".
        slot: name of the slot that holds the angles.

    Raises:
        ArgumentError: unknown ansatz; "free" unitaries are matrices, not circuits of angles.

    Source: "layered" is that of Li, Zhao, Wang, arXiv:2205.05625; "controlled_rings" is circuit 14 of Sim,
    Johnson, Aspuru-Guzik, arXiv:1905.10876.

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


def _layered(n_qubits: int, layers: int, slot: str) -> Circuit:
    circuit = Circuit(q=n_qubits)
    for layer, angles in enumerate(circuit.slot(slot, layers + 2, n_qubits)):
        if layer > 1:
            _add_ring(circuit)
        for qubit, angle in enumerate(angles):
            circuit.rotation("rx" if layer == 0 else "ry", qubit, angle)
    return circuit


def _controlled_rings(n_qubits: int, layers: int, slot: str) -> Circuit:
    if n_qubits < 2:
        raise ArgumentError(f"Argument `n_qubits` must be at least 2 for rings, but is {n_qubits}.")
    circuit = Circuit(q=n_qubits)
    for first, forth, second, back in circuit.slot(slot, layers, 4, n_qubits):
        for angles, ring, angles_of_ring in (
            (first, [(i, (i + 1) % n_qubits) for i in reversed(range(n_qubits))], forth),
            (second, [(i, (i - 1) % n_qubits) for i in (n_qubits - 1, *range(n_qubits - 1))], back),
        ):
            for qubit, angle in enumerate(angles):
                circuit.ry(qubit, angle)
            for (control, target), angle in zip(ring, angles_of_ring, strict=True):
                circuit.rx(target, angle, controls=(control,))
    return circuit


def _add_ring(circuit: Circuit) -> None:
    n_qubits = circuit.n_qubits
    for qubit in range(n_qubits if n_qubits > 1 else 0):
        circuit.cx(qubit, (qubit + 1) % n_qubits)


_CIRCUITS = {
    "hardware_efficient": _hardware_efficient,
    "brick_wall": _brick_wall,
    "real": _real,
    "layered": _layered,
    "controlled_rings": _controlled_rings,
}
