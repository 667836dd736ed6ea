from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.circuits.lowering import lower
from qdyn.circuits.random_circuits import random_circuit


def is_low(circuit: Circuit) -> bool:
    return all(
        not gate.select and (not gate.controls or (gate.name == "x" and len(gate.controls) == 1))
        for gate in circuit
    )


@given(
    drawn=st.fixed_dictionaries(
        {
            "n_qubits": st.integers(1, 6),
            "n_gates": st.integers(0, 12),
            "seed": st.integers(0, 2**32 - 1),
            "most_controls": st.integers(0, 3),
        }
    )
)
@settings(max_examples=60)
def test_the_unitary_stays_with_its_global_phase(drawn: dict[str, Any]) -> None:
    circuit = random_circuit(**drawn)
    theta = {"theta": np.random.default_rng(drawn["seed"]).normal(size=5)}
    lowered = lower(circuit)
    assert is_low(lowered)
    expected = circuit_unitary(circuit, theta)
    torch.testing.assert_close(circuit_unitary(lowered, theta), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(circuit_unitary(lower(circuit.bind(theta))), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n_select", [1, 2, 3, 4])
def test_a_selected_rotation_takes_a_rotation_and_a_cnot_for_each_number(n_select: int) -> None:
    circuit = Circuit(s=n_select, t=1)
    circuit.ry(n_select, circuit.slot("a", 2**n_select), select=circuit["s"])
    names = [gate.name for gate in lower(circuit)]
    assert (names.count("ry"), names.count("x")) == (2**n_select, 2**n_select)


def test_equal_angles_need_no_select() -> None:
    assert lower(Circuit(q=3).ry(2, [0.4] * 4, select=(0, 1))) == Circuit(q=3).ry(2, 0.4)


def test_cnots_that_cancel_are_dropped() -> None:
    assert len(lower(Circuit(q=2).cx(0, 1).cx(0, 1))) == 0
