"""Writes a circuit as OpenQASM 2, the text that most other tools read."""

from __future__ import annotations

import math

from qdyn.circuits.circuit import Circuit, Gate
from qdyn.circuits.lowering import lower
from qdyn.errors import ArgumentError

_NAMES = {"phase": "u1"}


def to_openqasm(circuit: Circuit) -> str:
    """The circuit, lowered to CNOTs and one-qubit gates, as an OpenQASM 2 program on one register ``q``.

    Qubit 0 of the circuit is q[0]. Readers that take q[0] for the least significant bit show its basis states
    with the bits reversed.

    Args:
        circuit: with values bound to all its slots.

    Raises:
        ArgumentError: a slot has no value; OpenQASM 2 has no free parameters.

    Source: Cross et al., arXiv:1707.03429.

    Example:
        >>> print(to_openqasm(Circuit(q=2).h(0).cx(0, 1)), end="")
        OPENQASM 2.0;
        include "qelib1.inc";
        qreg q[2];
        h q[0];
        cx q[0],q[1];
    """
    if circuit.n_qubits == 0:
        raise ArgumentError("Argument `circuit` must have at least one qubit to be exported.")
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{circuit.n_qubits}];"]
    lines += [_statement(gate) for gate in lower(circuit)]
    return "\n".join(lines) + "\n"


def _statement(gate: Gate) -> str:
    if gate.controls:
        return f"cx q[{gate.controls[0]}],q[{gate.target}];"
    name = _NAMES.get(gate.name, gate.name)
    if not gate.angles:
        return f"{name} q[{gate.target}];"
    if gate.angles[0].terms:
        raise ArgumentError(
            f"Argument `circuit` must have values for all slots, "
            f"but {sorted(gate.angles[0].slots)} have none."
        )
    # Two turns are a full period; in fixed point, because some readers stumble over exponents.
    angle = math.remainder(gate.angles[0].constant, 4 * math.pi)
    return f"{name}({angle:.17f}) q[{gate.target}];"
