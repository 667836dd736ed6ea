"""The variance of gradients: against single models, and the plateau where theory puts it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.predictor import QSAPredictor
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
