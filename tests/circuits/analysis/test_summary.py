"""The analysis as a whole: its table, its JSON, its figure, and that it says what its parts say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdyn.circuits.analysis.expressibility import expressibility
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.analysis.figures import draw_analysis
from qdyn.circuits.analysis.summary import analyse_circuit
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.plotting import save_figure


def test_the_table_the_json_and_the_figure_say_what_was_found(tmp_path: Path) -> None:
    family = CircuitFamily(ansatz_circuit("real", n_qubits=3, layers=2, slot="weights"))
    found = analyse_circuit(family, name="real, 3 qubits", pairs=400, samples=60, rates=[0.01], seed=4)
    alone = expressibility(family, pairs=400, seed=4)
    assert found.expressibility.divergence == alone.divergence
    content = json.loads(json.dumps(found.as_dict()))
    assert content["expressibility"]["divergence"] == alone.divergence
    assert content["dimension"]["largest"] == 7
    assert content["entangling"]["random_mean"] == pytest.approx(0.6)
    table = str(found).splitlines()
    assert table[0] == "real, 3 qubits"
    assert any("real random states" in line for line in table)
    assert sum(line.startswith(("depolarising", "amplitude damping")) for line in table) == 2
    path = save_figure(draw_analysis(found), tmp_path / "analysis.png")
    assert path.stat().st_size > 20_000


def test_wide_circuits_have_no_noise_row() -> None:
    circuit = Circuit(q=11)
    weights = circuit.slot("weights", 11)
    for q in range(11):
        circuit.ry(q, weights[q])
    found = analyse_circuit(CircuitFamily(circuit), name="wide", pairs=20, samples=5)
    assert found.noise == ()
    assert found.entangling.mean == pytest.approx(0, abs=1e-10)
    assert len(draw_analysis(found).axes) == 2
