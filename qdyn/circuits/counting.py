"""What a circuit costs: qubits, gates by kind, depth, and how these grow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.lowering import lower
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class CircuitCount:
    """The cost of a circuit, lowered to CNOTs and one-qubit gates.

    Attributes:
        qubits: number of qubits.
        gates: how many gates of each kind; "cx" are the CNOTs.
        depth: layers of gates on disjoint qubits, each gate as early as it can be.
        two_qubit_depth: the same counting CNOTs only.
        parameters: entries of all slots.
    """

    qubits: int
    gates: dict[str, int]
    depth: int
    two_qubit_depth: int
    parameters: int

    @property
    def two_qubit_gates(self) -> int:
        """The number of CNOTs."""
        return self.gates.get("cx", 0)

    @property
    def total(self) -> int:
        """The number of all gates."""
        return sum(self.gates.values())


def count_circuit(circuit: Circuit) -> CircuitCount:
    """Count what a circuit costs on hardware with CNOTs and one-qubit gates.

    Example: a Toffoli gate.
        >>> cost = count_circuit(Circuit(q=3).x(2, controls=(0, 1)))
        >>> cost.gates, cost.depth, cost.two_qubit_depth
        ({'cx': 6, 'h': 2, 'phase': 1, 'rz': 6}, 13, 6)
    """
    # Angles do not change what is counted, and numbers are lowered much faster than slots.
    draws = np.random.default_rng(0)
    generic = {name: draws.uniform(1, 2, size=shape) for name, shape in circuit.slots.items()}
    lowered = lower(circuit.bind(generic))
    kinds = Counter("cx" if gate.controls else gate.name for gate in lowered)
    depth, cnot_depth = [0] * circuit.n_qubits, [0] * circuit.n_qubits
    for gate in lowered:
        for levels, cost in ((depth, 1), (cnot_depth, int(bool(gate.controls)))):
            level = max(levels[qubit] for qubit in gate.qubits) + cost
            for qubit in gate.qubits:
                levels[qubit] = level
    return CircuitCount(
        circuit.n_qubits,
        dict(sorted(kinds.items())),
        max(depth, default=0),
        max(cnot_depth, default=0),
        sum(math.prod(shape) for shape in circuit.slots.values()),
    )


def growth_exponent(sizes: ArrayLike, costs: ArrayLike) -> float:
    """The exponent a of cost ~ size^a, by least squares through the logarithms.

    Args:
        sizes: at least two different positive numbers.
        costs: positive, as many.

    Example:
        >>> round(growth_exponent([2, 4, 8], [12, 48, 192]), 6)
        2.0
    """
    x, y = (np.log(np.asarray(numbers, dtype=np.float64)) for numbers in (sizes, costs))
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 2 or not np.all(np.isfinite(np.r_[x, y])):
        raise ArgumentError(
            "Argument `sizes` must hold two or more different positive numbers, as many as `costs`."
        )
    return float(np.polyfit(x, y, 1)[0])


def count_table(rows: Sequence[tuple[str, CircuitCount]]) -> str:
    """A Markdown table of costs, one row for each labelled circuit.

    Example:
        >>> print(count_table([("Bell", count_circuit(Circuit(q=2).h(0).cx(0, 1)))]))
        | circuit | qubits | gates | CNOTs | CNOT depth | parameters |
        |---|---|---|---|---|---|
        | Bell | 2 | 2 | 1 | 1 | 0 |
    """
    lines = ["| circuit | qubits | gates | CNOTs | CNOT depth | parameters |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {label} | {c.qubits} | {c.total} | {c.two_qubit_gates} | {c.two_qubit_depth} | {c.parameters} |"
        for label, c in rows
    ]
    return "\n".join(lines)
