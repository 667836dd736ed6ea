"""The circuits of published tables: their gates, and a variance in closed form."""

from __future__ import annotations

import pytest

from qdyn.attention.qasa.analysed_circuits import INPUTS, closed_form, rotations_and_chain, scaled, two_chains
from qdyn.circuits.analysis.trainability import observable_gradient


def test_they_have_the_published_gates() -> None:
    """Theory page, sections 4 and 5.5: 56 and 21 CNOTs."""
    for circuit, cnots in ((two_chains(), 56), (rotations_and_chain(), 21)):
        assert sum(bool(gate.controls) for gate in circuit) == cnots


@pytest.mark.parametrize("n_qubits", [4, 8])
def test_one_layer_has_no_entangling_gate_and_one_weight_that_counts(n_qubits: int) -> None:
    family = scaled(n_qubits, 1)
    assert not any(gate.controls for gate in family.circuit)
    found = observable_gradient(family, inputs=INPUTS, samples=2000)
    assert found.moving == 1
    # The published figure of four qubits is 0.0582 from 200 samples.
    assert abs(found.variance - closed_form(n_qubits)) < 4 * found.standard_error
    assert closed_form(4) == pytest.approx(0.0592, abs=1e-4)
