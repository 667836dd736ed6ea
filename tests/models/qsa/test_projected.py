"""A trained projection before attention: its geometry, its losses, and a part that it must find."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qdyn.attention.qsa.observables import qsa_observables
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.evaluation.campaigns.trials import judge
from qdyn.evaluation.contestants import of_predictors
from qdyn.models.config import ModelConfig
from qdyn.models.embeddings import ProjectionEmbedding
from qdyn.models.qsa.projected import ProjectedQSAConfig, ProjectedQSAPredictor
from qdyn.models.registry import build_model
from qdyn.quantum.states import haar_random_states
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.ensembles import set_precision
from qdyn.training.train import train

METADATA = SequenceMetadata("x", "quantum_state", 16, phase_convention="raw")


def model(**options: object) -> ProjectedQSAPredictor:
    config = ProjectedQSAConfig(layers=2, kernel="monomial", degree=1, **options)  # type: ignore[arg-type]
    built = ProjectedQSAPredictor(config, METADATA, seed=3)
    set_precision(built, "complex128")
    return built


def test_the_projection_is_a_co_isometry_after_any_step() -> None:
    projection = ProjectionEmbedding(16, 4, generator=np.random.default_rng(0))
    for _ in range(2):
        frame = projection.frame()
        assert torch.allclose(frame.mH @ frame, torch.eye(4, dtype=frame.dtype), atol=1e-6)
        with torch.no_grad():
            projection.rows.columns += 0.5 * torch.ones_like(projection.rows.columns)
    states = haar_random_states(n_qubits=4, batch=4096, seed=1)
    kept = projection.leverage(states, projection.frame()).detach()
    # A random state keeps d'/D = 1/4 on average; ||P x||^2 is Beta(4, 12) distributed.
    assert float(kept.mean()) == pytest.approx(0.25, abs=4 * math.sqrt(4 * 12 / (16**2 * 17)) / 64)


def test_losses_are_those_of_the_projected_states() -> None:
    built = model()
    states = haar_random_states(n_qubits=4, batch=15, seed=2).reshape(3, 5, 16)
    frame = built.projection.frame()
    small = states @ frame.conj()
    small = small / torch.linalg.vector_norm(small, dim=-1, keepdim=True)
    matrices = built.attention.matrices()
    expected = qsa_observables(
        small[:, :4], small[:, 1:], matrices.query_key, matrices.value, kernel="monomial", degree=1
    )
    for name, values in (("L_B", expected.loss_b), ("L_1", expected.loss_1), ("v1", expected.loss_v1)):
        assert torch.allclose(built.loss(name, states[:, :4], states[:, 1:]), values, atol=1e-10)


def test_a_lifted_forecast_is_as_good_as_the_small_one_times_what_is_kept() -> None:
    built = model()
    states = haar_random_states(n_qubits=4, batch=15, seed=2).reshape(3, 5, 16)
    inputs, targets = states[:, :4], states[:, 1:]
    forecast = built.forecast(inputs)
    assert torch.allclose(torch.linalg.vector_norm(forecast, dim=-1), torch.ones(3, 4).double())
    fidelity = torch.linalg.vecdot(forecast, targets).abs().square()
    small = built(inputs, targets).step_fidelity.detach()
    assert torch.allclose(fidelity, small * built.kept(targets), atol=1e-10)
    # The judgement takes the floor off again.
    data = SequenceDataset.from_arrays(states, kind="quantum_state", splits={"test": (0, 3)})
    (contestant,) = of_predictors(built, data)
    found = judge(contestant, data, splits=("test",), context=2, rollout_steps=2)["test"]
    assert found["L_1"].mean == pytest.approx(-float(fidelity.log().mean()), abs=1e-9)
    assert found["L_1_excess"].mean == pytest.approx(-float(small.log().mean()), abs=1e-9)


def test_it_finds_the_part_of_the_system_that_can_be_forecast(tmp_path: Path) -> None:
    # One qubit turns by a fixed unitary; the other is drawn anew at every step. Projected on any state of the
    # other, the pair leaves the one that can be forecast.
    general = np.random.default_rng(0).standard_normal((2, 2, 2))
    step = torch.from_numpy(np.linalg.qr(general[0] + 1j * general[1])[0])
    slow = [haar_random_states(n_qubits=1, batch=32, seed=1)]
    for _ in range(6):
        slow.append(slow[-1] @ step.mT)
    noise = haar_random_states(n_qubits=1, batch=32 * 7, seed=2).reshape(32, 7, 2)
    states = torch.einsum("bta,btc->btac", noise, torch.stack(slow, dim=1)).flatten(-2)
    data = SequenceDataset.from_arrays(states, kind="quantum_state", splits={"train": (0, 32)})
    config = RunConfig(
        name="projected",
        dataset=DatasetConfig(name="in memory"),
        model=ProjectedQSAConfig(layers=3, kernel="monomial", degree=1, projected_dimension=2),
        training=TrainingConfig(loss="L_1", steps=150, batch_size=32, learning_rate=5e-2, seeds=(0,)),
    )
    (trained,) = train(config, dataset=data, out=tmp_path / "run", progress=False).models
    assert isinstance(trained, ProjectedQSAPredictor)
    batch = data.batch(range(32))
    loss = trained.loss("L_1", batch.inputs, batch.targets).mean().detach()
    # A random direction of 2 dimensions has L_1 = 1. Degree 1 mixes the past in: it is not exact.
    assert float(loss) < 0.25


@pytest.mark.parametrize(
    ("unitaries", "optimiser"), [("matrix", "riemannian"), ("hardware_efficient", "natural")]
)
def test_unitaries_stay_unitary_and_are_measured_on_their_group(
    tmp_path: Path, unitaries: str, optimiser: str
) -> None:
    states = haar_random_states(n_qubits=3, batch=24, seed=2).reshape(6, 4, 8)
    data = SequenceDataset.from_arrays(states, kind="quantum_state", splits={"train": (0, 6)})

    def descent(name: str) -> RunConfig:
        return RunConfig(
            name="projected",
            dataset=DatasetConfig(name="in memory"),
            model=ProjectedQSAConfig(layers=2, kernel="monomial", degree=1, unitaries=unitaries),  # type: ignore[arg-type]
            training=TrainingConfig(
                loss="L_1",
                steps=20,
                learning_rate=0.1,
                seeds=(0,),
                optimiser=name,  # type: ignore[arg-type]
            ),
        )

    run = train(descent(optimiser), dataset=data, out=tmp_path / "run", progress=False)
    (trained,) = run.models
    assert isinstance(trained, ProjectedQSAPredictor)
    assert set(trained.unitaries) <= set(dict(trained.named_parameters()))
    matrices = trained.attention.matrices()
    for found in (matrices.query_key, matrices.value):
        torch.testing.assert_close(found @ found.mH, torch.eye(4, dtype=found.dtype), atol=1e-5, rtol=0)
    assert run.history.loss[-1, 0] < run.history.loss[0, 0] - 0.1
    if unitaries == "matrix":
        with pytest.raises(ConfigError, match=r"but is 'adam', and model.unitaries is matrix"):
            train(descent("adam"), dataset=data, out=tmp_path / "adam", progress=False)


def test_registered_and_refused() -> None:
    built = build_model(ProjectedQSAConfig(layers=2), METADATA, seed=0)
    assert isinstance(built, nn.Module)
    assert built.label == "poly-3-QSA, 16 to 4"
    with pytest.raises(ConfigError, match="needs quantum states of a dimension above 16"):
        build_model(ProjectedQSAConfig(projected_dimension=16), METADATA, seed=0)
    with pytest.raises(ConfigError, match=r"projected_dimension` must be a power of two, but is 3"):
        ProjectedQSAConfig(projected_dimension=3)
    with pytest.raises(ConfigError, match="projected_qsa"):
        build_model(ModelConfig(kind="projected_qsa"), METADATA, seed=0)


def test_raw_phases_are_calibrated_by_fit() -> None:
    states = haar_random_states(n_qubits=4, batch=15, seed=2).reshape(3, 5, 16)
    data = SequenceDataset.from_arrays(states, kind="quantum_state", phase_convention="raw")
    built = model().fit(data)
    overlaps = torch.linalg.vecdot(states[:, 1:], built.forecast(states[:, :4]))
    weights = built.kept(states[:, 1:]).sqrt()
    assert abs(float((overlaps / weights).sum().angle())) < 1e-6


def test_the_calibrated_phase_knows_no_padding() -> None:
    states = haar_random_states(n_qubits=4, batch=15, seed=2).reshape(3, 5, 16)
    lengths = np.array([5, 3, 2])
    padding = np.arange(5) >= lengths[:, None]

    def phase(fill: torch.Tensor | None) -> float:
        data = SequenceDataset.from_arrays(states.clone(), kind="quantum_state", lengths=lengths)
        if fill is not None:
            # What a file holds there is read as it stands, unit vectors or not.
            data.backing.values[padding] = fill[padding]  # type: ignore[attr-defined]
        return float(model().fit(data).attention.forecast_phase)

    other = haar_random_states(n_qubits=4, batch=15, seed=5).reshape(3, 5, 16)
    found = phase(None)
    for fill in (other, torch.zeros_like(other)):
        assert phase(fill) == pytest.approx(found, abs=1e-12)
    # Taken for data, padding does change the phase.
    whole = model().fit(SequenceDataset.from_arrays(states, kind="quantum_state"))
    assert abs(float(whole.attention.forecast_phase) - found) > 1e-3
