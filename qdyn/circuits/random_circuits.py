"""Random circuits that use every kind of gate: what two executors are compared on."""

from __future__ import annotations

import numpy as np

from qdyn.checks import check_integer
from qdyn.circuits.circuit import FIXED_GATES, ROTATIONS, Angle, Circuit


def random_circuit(
    *,
    n_qubits: int,
    n_gates: int,
    seed: int,
    n_parameters: int = 5,
    most_controls: int = 2,
    most_select: int = 2,
) -> Circuit:
    """Draw gates uniformly from all kinds, on random qubits, under random controls.

    Angles are a number plus up to two entries of the slot "theta". Gate i depends on ``seed`` and i alone, so
    that a failing circuit can be shortened from its end.

    Args:
        n_qubits: at least 1.
        n_gates: number of gates.
        seed: integer >= 0.
        n_parameters: length of the slot "theta".
        most_controls: at most so many controls a gate.
        most_select: at most so many select qubits a rotation.

    Returns:
        A circuit with the registers "first" and "second" and the slot "theta".

    Example:
        >>> random_circuit(n_qubits=3, n_gates=4, seed=0).gates[:2] == random_circuit(
        ...     n_qubits=3, n_gates=2, seed=0
        ... ).gates
        True
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    check_integer("n_gates", n_gates, minimum=0)
    circuit = Circuit(first=n_qubits // 2, second=n_qubits - n_qubits // 2)
    theta = circuit.slot("theta", n_parameters)
    for place in range(n_gates):
        draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(place,)))
        qubits = draw.permutation(n_qubits).tolist()
        target, others = qubits[0], qubits[1:]
        n_controls = int(draw.integers(min(most_controls, len(others)) + 1))
        controls, others = others[:n_controls], others[n_controls:]
        name = str(draw.choice(FIXED_GATES + ROTATIONS))
        if name in FIXED_GATES:
            circuit.fixed(name, target, controls)
            continue
        select = others[: int(draw.integers(min(most_select, len(others)) + 1))]
        angles = []
        for _ in range(2 ** len(select)):
            angle = Angle(float(draw.uniform(-7, 7)))
            for index in draw.integers(n_parameters, size=draw.integers(3)):
                angle = angle + theta[index] * float(draw.normal())
            angles.append(angle)
        circuit.rotation(name, target, angles, select, controls)
    return circuit
