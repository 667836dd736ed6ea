"""Counting, drawing and exporting circuits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.attention.qsa.circuit import qsa_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.counting import count_circuit, growth_exponent
from qdyn.circuits.drawing import draw_figure, draw_text, layout
from qdyn.circuits.executors.program import Program
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.circuits.openqasm import to_openqasm
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

RANDOM = st.fixed_dictionaries(
    {"n_qubits": st.integers(1, 4), "n_gates": st.integers(1, 8), "seed": st.integers(0, 2**32 - 1)}
)


def attention(steps: int, n_qubits: int, degree: int = 1) -> Program:
    states = haar_random_states(n_qubits=n_qubits, batch=steps + 1, seed=0)
    angles = torch.zeros(1, n_qubits, 3)
    return qsa_circuit(
        states[:-1], states[1:], angles, angles, kernel="monomial", degree=degree, phases=torch.zeros(steps)
    )


@pytest.mark.filterwarnings('ignore:"qelib1.inc"not found')
@given(drawn=RANDOM)
@settings(max_examples=30)
def test_another_tool_reads_the_same_unitary_back(drawn: dict[str, Any]) -> None:
    """QuTiP's reader knows the gates of qelib1.inc; the language leaves the global phase open."""
    qasm = pytest.importorskip("qutip_qip.qasm")
    circuit = random_circuit(**drawn).bind({"theta": np.arange(5) * 0.4})
    theirs = qasm.read_qasm(to_openqasm(circuit), strmode=True).compute_unitary().full()
    ours = circuit_unitary(circuit).numpy()
    phase = np.vdot(theirs, ours)
    np.testing.assert_allclose(theirs * phase / abs(phase), ours, atol=1e-12)


@pytest.mark.filterwarnings('ignore:"qelib1.inc"not found')
def test_the_attention_circuit_survives_export() -> None:
    qasm = pytest.importorskip("qutip_qip.qasm")
    program = attention(2, 1)
    bound = program.circuit.bind({name: value.numpy() for name, value in program.values.items()})
    theirs = qasm.read_qasm(to_openqasm(bound), strmode=True).compute_unitary().full()
    assert abs(abs(theirs[0, 0]) ** 2 - float(program.expectation())) < 1e-12


def test_slots_cannot_be_exported() -> None:
    circuit = Circuit(q=1)
    circuit.rx(0, circuit.slot("theta", 1)[0])
    with pytest.raises(ArgumentError, match=r"\['theta'\] have none"):
        to_openqasm(circuit)


def test_counts_of_a_ladder() -> None:
    circuit = Circuit(q=3).h(0).cx(0, 1).h(2).cx(1, 2).cx(0, 1)
    cost = count_circuit(circuit)
    assert (cost.qubits, cost.gates, cost.depth, cost.two_qubit_depth) == (3, {"cx": 3, "h": 2}, 4, 3)
    assert (cost.total, cost.two_qubit_gates, cost.parameters) == (5, 3, 0)


def test_attention_grows_as_steps_times_dimension() -> None:
    """Loads dominate: CNOTs grow like T d at fixed k, and qubits like 2 log2 T + (k+1) log2 d."""
    sizes = [(4, 2), (8, 3), (16, 4)]
    cnots = [count_circuit(attention(*size).circuit).two_qubit_gates for size in sizes]
    products = [steps * 2**n for steps, n in sizes]
    assert 0.9 < growth_exponent(products, cnots) < 1.1
    assert count_circuit(attention(8, 3, 2).circuit).qubits == 2 * 3 + 3 * 3
    with pytest.raises(ArgumentError, match="different positive numbers"):
        growth_exponent([1, 1], [2, 3])


def test_text_drawings_show_every_gate_once() -> None:
    circuit = Circuit(left=1, right=2)
    theta = circuit.slot("theta", 2)
    circuit.h(0).cx(0, 2).ry(1, theta[0]).rz(2, theta, select=(1,)).fixed("tdg", 0).rx(1, -0.25)
    lines = draw_text(circuit).splitlines()
    assert [line[:10] for line in lines] == [" left 0: ─", "right 0: ─", "right 1: ─"]
    assert len({len(line) for line in lines}) == 1
    marks = [line[10:].replace("─", " ").split() for line in lines]
    assert marks == [
        ["H", "●", "T†"],
        ["│", "RY(theta[0])", "□", "RX(-0.25)"],
        ["⊕", "RZ(theta)"],
    ]
    strips = draw_text(attention(4, 2).circuit, width=60)
    assert max(len(line) for line in strips.splitlines()) <= 60


@given(drawn=RANDOM)
@settings(max_examples=20)
def test_columns_keep_the_order_of_gates_that_share_a_qubit(drawn: dict[str, Any]) -> None:
    circuit = random_circuit(**drawn)
    columns = layout(circuit)
    assert sum(len(column) for column in columns) == len(circuit)
    again = circuit.like(gate for column in columns for gate in column)
    theta = {"theta": np.arange(5) * 0.3}
    torch.testing.assert_close(circuit_unitary(again, theta), circuit_unitary(circuit, theta))


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_figures_are_saved(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"circuit.{ending}"
    figure = draw_figure(attention(2, 1).circuit, path=str(path))
    begin = {"svg": b"<?xml", "png": b"\x89PNG"}[ending]
    assert path.read_bytes().startswith(begin)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:2] == ["C1 0", "C2 0"]
