"""Circuits that compare two prepared states: their overlap, its square, and that of parts of them.

Each takes the programs that prepare a query and a key, whose slots are told apart by a prefix, and returns a
program that `qdyn.run_circuit` runs on any executor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program
from qdyn.errors import ArgumentError


def inverse_test(query: Program, key: Program) -> Program:
    """abs(<k|q>)^2 as the probability of reading zeros after the query's circuit and the key's undone.

    Example:
        >>> from qdyn.circuits.encodings.vectors import basis_encoding
        >>> round(float(inverse_test(basis_encoding([0, 1]), basis_encoding([0, 1])).expectation()), 12)
        1.0
    """
    circuit, (first, second), values = joined(query, key)
    circuit.compose(first).compose(second.adjoint())
    return Program(circuit, values, AllZero(tuple(range(circuit.n_qubits))))


def overlap_test(query: Program, key: Program, *, part: str = "real") -> Program:
    """Re or Im <q|k> as <Z> of one more qubit, the first: the Hadamard test.

    Args:
        query: Prepares the query.
        key: Prepares the key, on as many qubits.
        part: "real" or "imaginary".

    Example:
        >>> from qdyn.circuits.encodings.vectors import angle_encoding
        >>> import torch
        >>> states = [angle_encoding(torch.tensor([angle], dtype=torch.float64)) for angle in (0.2, 1.0)]
        >>> round(float(overlap_test(*states).expectation()), 12) == round(math.cos(0.4), 12)
        True
    """
    check_choice("part", part, ("real", "imaginary"))
    circuit, (first, second), values = joined(query, key, ancilla=1)
    working = tuple(range(1, circuit.n_qubits))
    circuit.h(0).compose(first, working)
    circuit.compose(first.adjoint(), working, controls=(0,)).compose(second, working, controls=(0,))
    if part == "imaginary":
        circuit.phase(0, -math.pi / 2)
    circuit.h(0)
    return Program(circuit, values, PauliObservable(((1.0, "Z" + "I" * len(working)),)))


def swap_test(query: Program, key: Program, *, kept: Iterable[int] | None = None) -> Program:
    """Tr(rho sigma) of the kept qubits of two states as <Z> of one more qubit: the swap test.

    Args:
        query: Prepares the query.
        key: Prepares the key, on as many qubits.
        kept: Qubits that are compared; the others are traced out. None keeps all.

    Example: of a Bell pair one qubit is completely mixed.
        >>> bell = Program(Circuit(q=2).h(0).cx(0, 1))
        >>> round(float(swap_test(bell, bell, kept=[0]).expectation()), 12)
        0.5
    """
    n_qubits = query.n_qubits
    circuit, (first, second), values = joined(query, key, ancilla=1, copies=2)
    one, other = tuple(range(1, 1 + n_qubits)), tuple(range(1 + n_qubits, 1 + 2 * n_qubits))
    circuit.compose(first, one).compose(second, other).h(0)
    for qubit in range(n_qubits) if kept is None else kept:
        check_integer("kept", qubit, minimum=0, maximum=n_qubits - 1)
        circuit.cx(other[qubit], one[qubit])
        circuit.x(other[qubit], controls=(0, one[qubit]))
        circuit.cx(other[qubit], one[qubit])
    circuit.h(0)
    return Program(circuit, values, PauliObservable(((1.0, "Z" + "I" * 2 * n_qubits),)))


def joined(
    query: Program, key: Program, *, ancilla: int = 0, copies: int = 1
) -> tuple[Circuit, tuple[Circuit, Circuit], dict[str, Tensor]]:
    """An empty circuit with the slots of both, their circuits, and the values of all slots.

    Args:
        query: Prepares the query; its slots are called query_...
        key: Prepares the key; key_...
        ancilla: Qubits before those of the states.
        copies: How many registers of the states' size.

    Raises:
        ArgumentError: states of different sizes.
    """
    if query.n_qubits != key.n_qubits:
        raise ArgumentError(
            f"Argument `key` must have {query.n_qubits} qubits like `query`, but has {key.n_qubits}."
        )
    circuit = Circuit(ancilla=ancilla, states=copies * query.n_qubits)
    values: dict[str, Tensor] = {}
    found = []
    for prefix, program in (("query", query), ("key", key)):
        found.append(renamed(program.circuit, prefix, circuit))
        values |= _prefixed(program.values, prefix)
    return circuit, (found[0], found[1]), values


def renamed(circuit: Circuit, prefix: str, within: Circuit) -> Circuit:
    """``circuit`` with every slot called prefix_name, declared in the circuit it is to be part of."""
    for name, shape in dict(circuit.slots).items():
        circuit = circuit.with_angles(name, within.slot(f"{prefix}_{name}", *shape))
    return circuit


def _prefixed(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}_{name}": value for name, value in values.items()}
