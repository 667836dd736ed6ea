"""A predictor whose loss is measured trains like the one whose loss is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qdyn.data.generation.generate import generate
from qdyn.data.load import load_dataset
from qdyn.data.recipes import Recipe
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.measured import MeasuredQSAConfig, MeasuredQSAPredictor
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig, load_config
from qdyn.training.ensembles import set_precision
from qdyn.training.train import train

SMALL: dict[str, Any] = {
    "layers": 1,
    "degree": 1,
    "kernel": "monomial",
    "phases": "trained",
    "phase_steps": 3,
    "initial_angle": 1.0,
}
TOKENS = SequenceMetadata("tokens", "token", 3, vocabulary=tuple("abc"))


@pytest.fixture(scope="module")
def spins(tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """One spin in a field, 2 steps: its circuits have 4 qubits."""
    recipe = Recipe(
        name="one-spin",
        source="trajectories",
        seed=1,
        splits={"train": 4, "validation": 2},
        precision="double",
        phase_convention="raw",
        parameters={
            "hamiltonian": {
                "model": "transverse_field_ising",
                "n_sites": 1,
                "field": {"uniform": [0.9, 1.1]},
            },
            "initial_states": "haar",
            "time_step": 0.35,
            "n_steps": 2,
            "method": "exact",
        },
    )
    folder = tmp_path_factory.mktemp("spins") / "one-spin"
    return load_dataset(generate(recipe, folder, progress=False))


def run_config(model: ModelConfig, *, steps: int = 4, seeds: tuple[int, ...] = (0, 1)) -> RunConfig:
    return RunConfig(
        name="measured",
        dataset=DatasetConfig(name="one-spin"),
        model=model,
        training=TrainingConfig(
            steps=steps,
            batch_size=2,
            seeds=seeds,
            learning_rate=0.1,
            schedule="constant",
            dtype="complex128",
            evaluate_every=4,
            checkpoint_every=2,
        ),
    )


def losses(spins: SequenceDataset, out: Path, model: ModelConfig, **options: Any) -> np.ndarray:
    run = train(run_config(model, **options), dataset=spins, out=out, progress=False)
    assert run.finished
    return np.array(run.history.loss)


def test_training_by_exact_measurements_is_training_in_closed_form(
    spins: SequenceDataset, tmp_path: Path
) -> None:
    closed = losses(spins, tmp_path / "closed", ModelConfig(**SMALL))
    assert (closed[-1] < closed[0]).all()
    for gradient in (None, "parameter_shift"):
        config = MeasuredQSAConfig(**SMALL, executor="torch", gradient=gradient)  # type: ignore[arg-type]
        measured = losses(spins, tmp_path / str(gradient), config)
        np.testing.assert_allclose(measured, closed, atol=1e-12)


@pytest.mark.cudaq
def test_training_on_cudaq_alone_follows_the_closed_form(spins: SequenceDataset, tmp_path: Path) -> None:
    pytest.importorskip("cudaq")
    options: dict[str, Any] = {"steps": 2, "seeds": (3,)}
    closed = losses(spins, tmp_path / "closed", ModelConfig(**SMALL), **options)
    exact = losses(spins, tmp_path / "exact", MeasuredQSAConfig(**SMALL), **options)
    np.testing.assert_allclose(exact, closed, atol=1e-10)
    shots = losses(spins, tmp_path / "shots", MeasuredQSAConfig(**SMALL, shots=4000), **options)
    assert 0 < np.abs(shots - closed).max() < 0.2


def test_shots_repeat_and_survive_an_interruption(spins: SequenceDataset, tmp_path: Path) -> None:
    config = MeasuredQSAConfig(**SMALL, executor="torch", shots=500, gradient="spsa")
    whole = losses(spins, tmp_path / "whole", config)
    again = losses(spins, tmp_path / "again", config)
    np.testing.assert_array_equal(whole, again)
    assert len(np.unique(whole)) == whole.size
    train(run_config(config, steps=2), dataset=spins, out=tmp_path / "cut", progress=False)
    resumed = train(run_config(config), dataset=spins, out=tmp_path / "cut", resume=True, progress=False)
    np.testing.assert_array_equal(np.array(resumed.history.loss)[-1], whole[-1])


def test_tokens_of_different_lengths_and_a_trained_embedding() -> None:
    """Gradients reach the frame through the angles that load it and through the leverage."""
    config = MeasuredQSAConfig(
        **SMALL, embedding="parseval", embedding_dimension=2, executor="torch", gradient="parameter_shift"
    )
    model = MeasuredQSAPredictor(config, TOKENS, seed=2)
    set_precision(model, "complex128")
    inputs, targets = torch.tensor([[0, 2, 1], [1, 1, 0]]), torch.tensor([[2, 1, 0], [1, 0, 0]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    assert model.phases is not None
    with torch.no_grad():
        model.phases.copy_(torch.tensor([0.1, 0.7, -0.4]))
    parameters = dict(model.named_parameters())
    closed = QSAPredictor.loss(model, "L_B", inputs, targets, mask)
    measured = model.loss("L_B", inputs, targets, mask)
    torch.testing.assert_close(measured, closed, atol=1e-12, rtol=0)
    weights = torch.tensor([1.0, -0.4], dtype=torch.float64)
    expected = torch.autograd.grad((weights * closed).sum(), list(parameters.values()))
    found = torch.autograd.grad((weights * measured).sum(), list(parameters.values()))
    for name, ours, theirs in zip(parameters, found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0, msg=name)
        assert float(theirs.abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"phases": "optimal", "phase_steps": None}, "must be 'trained'"),
        ({"kernel": "softmax"}, "needs circuits"),
        ({"shots": 10, "gradient": None}, "'parameter_shift' or 'spsa'"),
        ({"executor": "torch", "target": "qpp-cpu"}, "`model.target` is for the executor 'cudaq'"),
        ({"shots": 0}, "`model.shots` must be an integer >= 1"),
    ],
)
def test_what_no_device_can_do_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ArgumentError), match=message):
        MeasuredQSAConfig(**{**SMALL, **keys})


def test_other_losses_are_not_differentiated(spins: SequenceDataset) -> None:
    model = MeasuredQSAPredictor(MeasuredQSAConfig(**SMALL, executor="torch"), spins.metadata, seed=0)
    batch = spins.batch([0, 1])
    with pytest.raises(ArgumentError, match="must be 'L_B'"):
        model.loss("L_1", batch.inputs, batch.targets, batch.mask)
    with torch.no_grad():
        assert model.loss("L_1", batch.inputs, batch.targets, batch.mask).shape == (2,)


def test_a_preset_says_where_the_loss_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndataset: {name: tfim-4q, window: 2}\n"
        "model: {kind: measured_qsa, phases: trained, phase_steps: 2, executor: cudaq, shots: 1000}\n"
    )
    config = load_config(path).model
    assert isinstance(config, MeasuredQSAConfig)
    assert (config.executor, config.shots, config.gradient) == ("cudaq", 1000, "parameter_shift")
