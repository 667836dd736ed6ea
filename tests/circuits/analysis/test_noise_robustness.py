"""What noise leaves: closed forms for one gate, and bad input."""

from __future__ import annotations

import pytest

from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.analysis.noise_robustness import noise_robustness
from qdyn.circuits.circuit import Circuit
from qdyn.errors import ArgumentError


def one_turn(n_qubits: int = 1) -> CircuitFamily:
    circuit = Circuit(q=n_qubits)
    (angle,) = circuit.slot("weights", 1)
    return CircuitFamily(circuit.rx(0, angle))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_one_gate(rate: float) -> None:
    """Depolarising by p leaves 1 - 4 p / 3 of <Z>, damping 1 - p: its pull to |0> is no signal."""
    depolarised, damped = noise_robustness(one_turn(), rates=[rate])
    assert depolarised.signal == pytest.approx(1 - 4 * rate / 3, abs=1e-12)
    assert damped.signal == pytest.approx(1 - rate, abs=1e-12)
    assert depolarised.fidelity == pytest.approx(1 - 2 * rate / 3, abs=1e-12)


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="`noises` is 'depolarizing', which is unknown: did you mean"):
        noise_robustness(one_turn(), noises=["depolarizing"])
    with pytest.raises(ArgumentError, match=r"`family.circuit.n_qubits` must be an integer in \[1, 10\]"):
        noise_robustness(one_turn(11))
