"""A predictor's circuits measure what its closed form says, for every kind of data."""

from __future__ import annotations

import pytest
import torch

import qdyn
from qdyn.attention.qsa.measured_loss import loss_from_results
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.circuits import loss_circuits
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.training.ensembles import set_precision

STATES = SequenceMetadata("states", "quantum_state", 4, phase_convention="raw")
TOKENS = SequenceMetadata("tokens", "token", 5, vocabulary=tuple("abcde"))
REAL = SequenceMetadata("real", "real", 4)


def elements(metadata: SequenceMetadata) -> torch.Tensor:
    if metadata.kind == "token":
        return torch.tensor([0, 3, 1, 4])
    states = qdyn.haar_random_states(n_qubits=2, batch=4, seed=3)
    if metadata.kind == "quantum_state":
        return states
    return states.real / torch.linalg.vector_norm(states.real, dim=-1, keepdim=True)


@pytest.mark.parametrize("metadata", [STATES, TOKENS, REAL], ids=lambda one: one.kind)
@pytest.mark.parametrize("kernel", ["monomial", "polynomial"])
@pytest.mark.parametrize("unitaries", ["hardware_efficient", "brick_wall", "real"])
def test_circuits_measure_the_closed_form(metadata: SequenceMetadata, kernel: str, unitaries: str) -> None:
    config = ModelConfig(
        layers=2,
        degree=1,
        kernel=kernel,  # type: ignore[arg-type]
        unitaries=unitaries,  # type: ignore[arg-type]
        embedding_dimension=4 if metadata.kind == "token" else None,
        initial_angle=2.0,
    )
    model = QSAPredictor(config, metadata, seed=1)
    set_precision(model, "complex128")
    sequence = elements(metadata)
    mu, zeta = loss_circuits(model, sequence[:-1], sequence[1:])
    measured = loss_from_results(qdyn.run_circuit(mu), qdyn.run_circuit(zeta), steps=3)
    with torch.no_grad():
        closed = model(sequence[:-1], sequence[1:])
    for name in ("mu", "zeta", "fidelity", "loss_b"):
        assert float(getattr(measured, name)) == pytest.approx(float(getattr(closed, name)), rel=1e-9), name


def test_trained_phases_are_those_of_the_circuit() -> None:
    model = QSAPredictor(ModelConfig(layers=1, degree=1, phases="trained", phase_steps=8), STATES, seed=0)
    set_precision(model, "complex128")
    assert model.phases is not None
    with torch.no_grad():
        model.phases.copy_(torch.linspace(0, 2, 8))
    sequence = elements(STATES)
    mu, _ = loss_circuits(model, sequence[:-1], sequence[1:])
    with torch.no_grad():
        closed = model(sequence[:-1], sequence[1:])
    assert float(qdyn.run_circuit(mu).value) == pytest.approx(float(closed.mu), rel=1e-9)


@pytest.mark.parametrize(
    ("config", "word"),
    [(ModelConfig(unitaries="free"), "classical twin"), (ModelConfig(kernel="softmax"), "softmax")],
)
def test_a_classical_model_has_no_circuit(config: ModelConfig, word: str) -> None:
    model = QSAPredictor(config, STATES, seed=0)
    sequence = elements(STATES)
    with pytest.raises(ArgumentError, match=word):
        loss_circuits(model, sequence[:-1], sequence[1:])
