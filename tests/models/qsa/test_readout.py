"""Frames that tokens are read out with: tied, turned by a circuit (v1), or free."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qdyn.attention.qsa.observables import qsa_observables
from qdyn.circuits.ansatz.variational import hardware_efficient_unitary
from qdyn.circuits.executors.execution import run_circuit
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.circuits import loss_circuits
from qdyn.models.qsa.predictor import QSAPredictor

METADATA = SequenceMetadata("words", "token", 9)
CONFIG = ModelConfig(layers=2, degree=2, embedding_dimension=4)


def words(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(0, 9, (3, 6), generator=torch.Generator().manual_seed(seed))
    return tokens[:, :-1], tokens[:, 1:]


def test_a_rotated_readout_is_the_tied_one_after_a_longer_value_circuit() -> None:
    model = QSAPredictor(replace(CONFIG, readout="rotation"), METADATA, seed=1).double()
    inputs, targets = words()
    frame = model.embedding.frame()
    query_key, value, rotation = hardware_efficient_unitary(model.angles)
    leverage = model.embedding.leverage(targets, frame)
    expected = qsa_observables(
        model.embedding.states(inputs, frame),
        model.embedding.states(targets, frame),
        query_key,
        rotation @ value,
        kernel="polynomial",
        degree=2,
        leverage=leverage,
    )
    found = model(inputs, targets)
    torch.testing.assert_close(found.loss_1, expected.loss_1, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.loss_b, expected.loss_b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("readout", ["tied", "rotation", "free"])
def test_forecasts_are_distributions_and_agree_with_the_loss(readout: str) -> None:
    model = QSAPredictor(replace(CONFIG, readout=readout), METADATA, seed=2).double()
    inputs, targets = words(1)
    forecast = model.forecast(inputs)
    torch.testing.assert_close(forecast.sum(-1), torch.ones(3, 5).double(), rtol=0, atol=1e-10)
    chosen = forecast.gather(-1, targets[..., None])[..., 0]
    loss = model.loss("L_1", inputs, targets)
    torch.testing.assert_close(loss.detach(), -chosen.log().mean(-1).detach(), rtol=0, atol=1e-10)
    loss.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


@pytest.mark.parametrize("readout", ["rotation", "free"])
def test_the_circuit_measures_what_the_closed_form_says(readout: str) -> None:
    model = QSAPredictor(replace(CONFIG, degree=1, readout=readout), METADATA, seed=3).double()
    inputs, targets = (part[0, :2] for part in words(2))
    mu, _ = loss_circuits(model, inputs, targets)
    assert run_circuit(mu).value == pytest.approx(float(model(inputs, targets).mu.detach()), abs=1e-9)


def test_vectors_are_not_read_out_by_frames() -> None:
    with pytest.raises(ConfigError, match=r"`model\.readout` 'free' is for tokens, but the data are 'real'"):
        QSAPredictor(ModelConfig(readout="free"), SequenceMetadata("vectors", "real", 4))
