from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.circuits.circuit import Angle, Circuit, Gate
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError


def ansatz() -> Circuit:
    circuit = Circuit(left=1, right=2)
    theta = circuit.slot("theta", 2, 2)
    circuit.ry(0, theta[0, 0]).h(1).cx(0, 2).rz(2, theta[1, 1] / 2 - 0.3)
    circuit.rx(1, [theta[0, 1], 0.2, -theta[1, 0], theta[0, 0] + theta[1, 1]], select=(2, 0)).fixed("t", 2)
    return circuit.phase(1, theta[0, 0], controls=(2,))


THETA = np.array([[0.3, -1.1], [0.7, 2.0]])


def test_registers_number_their_qubits_in_order() -> None:
    circuit = Circuit(C=2, empty=0, A=3)
    assert (circuit["C"], circuit["empty"], circuit["A"], circuit.n_qubits) == ((0, 1), (), (2, 3, 4), 5)


def test_adjoint_undoes_the_circuit() -> None:
    identity = circuit_unitary(ansatz() + ansatz().adjoint(), {"theta": THETA})
    torch.testing.assert_close(identity, torch.eye(8, dtype=torch.complex128), atol=1e-14, rtol=0)
    assert ansatz().adjoint().adjoint() == ansatz()


def test_binding_slots_gives_the_same_unitary() -> None:
    bound = ansatz().bind({"theta": THETA})
    assert bound.slots == {}
    torch.testing.assert_close(circuit_unitary(bound), circuit_unitary(ansatz(), {"theta": THETA}))


def test_composition_places_a_circuit_on_other_qubits_under_controls() -> None:
    inner = Circuit(q=2).h(0).cx(0, 1)
    outer = Circuit(q=3).compose(inner, (2, 0), controls=(1,))
    assert outer.gates == [Gate("h", 2, (1,)), Gate("x", 0, (1, 2))]
    with pytest.raises(ArgumentError, match="must name 2 qubits, but names 1"):
        Circuit(q=3).compose(inner, (2,))


def test_composition_joins_slots_of_one_name() -> None:
    doubled = ansatz() + ansatz()
    assert doubled.slots == {"theta": (2, 2)}
    other = Circuit(q=3)
    other.slot("theta", 3)
    with pytest.raises(ArgumentError, match=r"already has shape \(2, 2\), not \(3,\)"):
        ansatz().compose(other)


def test_a_circuit_may_be_composed_with_itself() -> None:
    circuit = Circuit(q=1).h(0)
    assert len(circuit.compose(circuit)) == 2


def test_angles_are_linear_expressions() -> None:
    a, b = Circuit(q=1).slot("p", 2)
    assert 2 * (a + 1) - b - a * 2 == Angle(2.0, (("p", 1, -1.0),))
    assert (a * 0) == Angle()
    assert (a + b).bind({"p": [1.0, 2.0]}) == Angle(3.0)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Gate("x", 2), r"must be in \[0, 1\], but x names 2"),
        (Gate("x", 0, (0,)), r"each qubit once, but x has \(0, 0\)"),
        (Gate("rx", 0), "must hold 1 angles for rx"),
        (
            Gate("rx", 0, (), (1,), (Angle(1.0),)),
            "must hold 2 angles for rx selected by 1 qubits, but holds 1",
        ),
        (Gate("h", 0, (), (1,)), "h selected by 1"),
        (Gate("rxx", 0), "'rxx', which is unknown: did you mean 'rx'"),
        (Gate("rx", 0, (), (), (Angle(0.0, (("q", 0, 1.0),)),)), r"uses q\[0\], not a slot"),
    ],
)
def test_impossible_gates_are_refused(gate: Gate, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Circuit(q=2).add(gate)


def test_impossible_angles_and_registers_are_refused() -> None:
    with pytest.raises(ArgumentError, match="`angle` must be finite, but is nan"):
        Circuit(q=1).rx(0, float("nan"))
    with pytest.raises(ArgumentError, match="'B', which is unknown"):
        Circuit(A=1)["B"]
    with pytest.raises(ArgumentError, match="must have shape"):
        ansatz().bind({"theta": THETA[0]})
