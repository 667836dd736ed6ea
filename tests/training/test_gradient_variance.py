"""The variance of gradients: against single models, and the plateau where theory puts it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.config import ModelConfig
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.models.series.config import SeriesEncoderConfig
from qdyn.training.gradient_variance import gradient_variance


def test_it_is_the_variance_over_single_models(states: SequenceDataset) -> None:
    config = ModelConfig(layers=2, degree=2)
    found = gradient_variance(config, states, starts=(3, 4, 5), batch_size=4)
    batch = states.split("train").batch(range(4))
    slopes, losses = [], []
    for seed in (3, 4, 5):
        model = QSAPredictor(config, states.metadata, seed=seed)
        loss = model.loss("L_B", batch.inputs, batch.targets, batch.mask).mean()
        slopes.append(torch.autograd.grad(loss, model.angles)[0].flatten().double().numpy())
        losses.append(loss.item())
    spread = np.var(slopes, axis=0, ddof=1)
    assert found.variance == pytest.approx(spread.mean(), rel=1e-3)
    measured = [np.exp(-loss) * slope for loss, slope in zip(losses, slopes, strict=True)]
    assert found.measured == pytest.approx(np.var(measured, axis=0, ddof=1).mean(), rel=1e-3)
    assert found.norm == pytest.approx(np.mean([np.linalg.norm(slope) for slope in slopes]), rel=1e-3)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-4)
    assert found.starts == 3


def test_a_measured_fidelity_flattens_with_qubits_while_its_logarithm_does_not() -> None:
    """F of random W and V is about 2^-n, and so is its gradient; the logarithm takes that out again."""
    config = ModelConfig(kernel="monomial", degree=1, layers=8, initial_angle=6.3)
    random = np.random.default_rng(0)
    found = []
    for n_qubits in (2, 5):
        parts = random.standard_normal((2, 8, 5, 2**n_qubits))
        states = parts[0] + 1j * parts[1]
        states /= np.linalg.norm(states, axis=-1, keepdims=True)
        data = SequenceDataset.from_arrays(states, kind="quantum_state", phase_convention="raw")
        found.append(gradient_variance(config, data, starts=range(16), batch_size=8))
    assert found[1].measured < found[0].measured / 8
    assert found[1].variance > found[0].variance / 8


def test_one_start_has_no_variance(states: SequenceDataset) -> None:
    with pytest.raises(ArgumentError, match="Argument `starts` must hold at least 2 seeds, but holds 1"):
        gradient_variance(ModelConfig(layers=1), states, starts=(0,))


def words(dropout: float = 0.0, **settings: Any) -> HybridDecoderConfig:
    return HybridDecoderConfig(width=8, block=9, dropout=dropout, **settings)


def told(scale: float = 1.0) -> SequenceDataset:
    """Words, and a condition of any unit."""
    draw = np.random.default_rng(0)
    tokens, known = draw.integers(0, 7, (20, 9)), scale * draw.normal(3.0, 1.0, 20)
    return SequenceDataset.from_arrays(tokens, kind="token", dimension=7, conditions={"a": known})


def test_what_training_leaves_alone_has_no_gradient() -> None:
    data = told()
    found = gradient_variance(words(frozen=True), data, starts=(3, 4), loss="L_1", batch_size=4)
    batch = data.batch(range(4))
    slopes = []
    for seed in (3, 4):
        model = HybridDecoder(words(frozen=True), data.metadata, seed=seed)
        free = [one for one in model.parameters() if one.requires_grad]
        loss = model.loss("L_1", batch.inputs, batch.targets, batch.mask).mean()
        slopes.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, free)]).double().numpy())
    assert found.variance == pytest.approx(np.var(slopes, axis=0, ddof=1).mean(), rel=1e-4)
    assert found.norm == pytest.approx(np.mean([np.linalg.norm(slope) for slope in slopes]), rel=1e-4)


def test_it_starts_where_training_does() -> None:
    """Standardised conditions are measured before the first update: no unit of theirs is left."""
    config = words(conditions=("a",), standardise=True)
    one, other = (gradient_variance(config, told(unit), starts=(3, 4), loss="L_1") for unit in (1.0, 1e4))
    assert other.variance == pytest.approx(one.variance, rel=1e-4)
    assert other.loss == pytest.approx(one.loss, rel=1e-5)
    with pytest.raises(DatasetError, match="has no condition 'b', which the model is told"):
        gradient_variance(words(conditions=("b",)), told(), starts=(3, 4), loss="L_1")


@pytest.mark.parametrize("config", [words(dropout=0.5), words(gradient="spsa")])
def test_it_is_a_function_of_its_arguments(config: HybridDecoderConfig) -> None:
    """Nothing is dropped, and PyTorch's generator stands where it stood."""
    before = torch.random.get_rng_state()
    one, other = (gradient_variance(config, told(), starts=(3, 4), loss="L_1") for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one == other
    if config.dropout:
        assert one == gradient_variance(words(), told(), starts=(3, 4), loss="L_1")


def test_series_in_double_precision_are_taken_too() -> None:
    values = np.random.default_rng(0).normal(size=(6, 9, 1))
    data = SequenceDataset.from_arrays(values, kind="real")
    config = SeriesEncoderConfig(width=8, heads=2, layers=1, window=4)
    found = gradient_variance(config, data, starts=(3, 4), loss="MSE")
    assert found.variance > 0
