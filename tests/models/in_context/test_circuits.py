"""A trained in-context predictor as a circuit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import qdyn
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ArgumentError
from qdyn.models.in_context.circuits import forecast_circuit, forecast_costs
from qdyn.models.in_context.config import InContextConfig
from qdyn.models.in_context.predictor import InContextPredictor
from qdyn.quantum.states import fidelity, haar_random_states
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

QUBIT = SequenceMetadata("states", "quantum_state", 2, phase_convention="raw")

CONFIGS = {
    "conjugate": InContextConfig(layers=1, completion_layers=1),
    "descent, symmetry": InContextConfig(
        layers=1, completion_layers=1, steps="descent", symmetries=("spin_flip",)
    ),
    "heads, units": InContextConfig(layers=1, completion_layers=0, heads=2, backward_heads=1, feed_forward=1),
    "two blocks": InContextConfig(layers=1, completion_layers=0, steps="descent", blocks=2),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_circuit_of_a_trained_model_measures_its_forecasts(name: str, tmp_path: Path) -> None:
    """mu from the circuit, from unnormalised forecasts that agree with the model's up to their length."""
    states = haar_random_states(n_qubits=1, batch=64, seed=3).reshape(16, 4, 2)
    splits = {"train": (0, 8), "validation": (8, 12), "test": (12, 16)}
    data = SequenceDataset.from_arrays(states.numpy(), kind="quantum_state", splits=splits)
    training = TrainingConfig(loss="L_1", steps=3, batch_size=4, seeds=(0,), learning_rate=0.1)
    preset = RunConfig("t", DatasetConfig("unused"), model=CONFIGS[name], training=training)
    (model,) = qdyn.train(preset, dataset=data, out=tmp_path / "run", progress=False).models
    assert isinstance(model, InContextPredictor)
    batch = data.split("test").batch([0])
    circuit = forecast_circuit(model, batch.inputs[0], batch.targets[0])
    z, y = circuit.predictions, batch.targets[0].to(torch.complex128)
    unit = z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    with torch.no_grad():
        forecast = model.forecast(batch.inputs)[0].to(torch.complex128)
    torch.testing.assert_close(
        fidelity(unit, forecast), torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0
    )
    expected = ((y.conj() * z).sum(dim=-1).abs().sum() / circuit.prices.sum()) ** 2
    assert abs(float(qdyn.run_circuit(circuit.program).value - expected)) < 1e-9
    costs = forecast_costs(model, batch.inputs[0])
    assert costs.qubits == circuit.program.n_qubits
    np.testing.assert_allclose(costs.prices.numpy(), circuit.prices.numpy())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (InContextConfig(steps="descent", kernel_degree=1), "must have no kernel"),
        (InContextConfig(steps="descent", momentum=True), "neither momentum nor score unitaries"),
        (InContextConfig(blocks=3), "one or two blocks"),
        (InContextConfig(blocks=2, feed_forward=1), "no units in the second"),
    ],
)
def test_what_is_no_circuit_is_refused(config: InContextConfig, message: str) -> None:
    model = InContextPredictor(config, QUBIT, seed=0)
    states = haar_random_states(n_qubits=1, batch=4, seed=0)
    with pytest.raises(ArgumentError, match=message):
        forecast_circuit(model, states[:3], states[1:])
