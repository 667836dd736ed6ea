"""The predictor that learns in context: training from a preset, warm start, phases, noise and reloading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qdyn
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError
from qdyn.models.baselines import InContextDMD, Procrustes
from qdyn.models.in_context.config import InContextConfig
from qdyn.models.in_context.predictor import InContextPredictor
from qdyn.models.registry import build_model
from qdyn.quantum.states import fidelity
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.ensembles import set_precision

METADATA = SequenceMetadata("states", "quantum_state", 4, phase_convention="first_real")
SPLITS = {"train": (0, 48), "validation": (48, 64), "test": (64, 128)}


def chains(*, steps: int = 8, noise: float = 0.0, phase_convention: str = "raw") -> SequenceDataset:
    """Orbits of unitaries scattered about one: an average to know beforehand, a rest to learn in context."""
    random = np.random.default_rng(3)

    def hermitian(scale: float, *count: int) -> np.ndarray:
        matrix = random.standard_normal((*count, 4, 4)) + 1j * random.standard_normal((*count, 4, 4))
        return scale * (matrix + matrix.conj().swapaxes(-1, -2)) / 2

    generators = torch.from_numpy(hermitian(1.0) + hermitian(0.2, 128))
    propagators = torch.linalg.matrix_exp(-0.5j * generators).numpy()
    state = random.standard_normal((128, 4)) + 1j * random.standard_normal((128, 4))
    orbit = [state / np.linalg.norm(state, axis=1, keepdims=True)]
    for _ in range(steps):
        orbit.append(np.einsum("bij,bj->bi", propagators, orbit[-1]))
    states = np.stack(orbit, axis=1)
    states = states + noise * (
        random.standard_normal(states.shape) + 1j * random.standard_normal(states.shape)
    )
    states = states / np.linalg.norm(states, axis=-1, keepdims=True)
    data = SequenceDataset.from_arrays(states, kind="quantum_state", splits=SPLITS, name="chains")
    return data.with_phase_convention(phase_convention)


def run_config(steps: int = 40, seeds: tuple[int, ...] = (0, 1), **model: Any) -> RunConfig:
    return RunConfig(
        name="in-context",
        dataset=DatasetConfig(name="unused"),
        model=InContextConfig(**{"layers": 3, "completion_layers": 2, **model}),
        training=TrainingConfig(loss="L_1", steps=steps, batch_size=16, seeds=seeds, evaluate_every=steps),
    )


@torch.no_grad()
def loss_on_test(predictor: Any, data: SequenceDataset) -> float:
    test = data.split("test")
    batch = test.batch(range(len(test)))
    forecast = predictor.forecast(batch.inputs, batch.mask).to(batch.targets.dtype)
    return float(-fidelity(forecast, batch.targets).log().mean())


EVERY_CONFIG = [
    InContextConfig(layers=3),
    InContextConfig(layers=2, completion_layers=0, phases="as_given"),
    InContextConfig(layers=2, blocks=2, symmetries=("time_reversal",)),
    InContextConfig(layers=2, steps="descent", momentum=True, score_unitaries=True, blocks=2),
    InContextConfig(layers=2, steps="descent", kernel_degree=2, completion_layers=1),
    InContextConfig(layers=2, unitaries="hardware_efficient", circuit_layers=3, train_value=False),
    InContextConfig(layers=2, heads=2, backward_heads=1, feed_forward=2, head_start="cold"),
    InContextConfig(layers=2, steps="descent", kernel_degree=1, heads=2, feed_forward=1, blocks=2),
]


@pytest.mark.parametrize("config", EVERY_CONFIG, ids=range(len(EVERY_CONFIG)))
def test_forecasts_are_unit_vectors_that_never_see_what_comes_after(config: InContextConfig) -> None:
    model = build_model(config, METADATA, seed=0)
    data = chains()
    inputs, other = data.batch(range(3)).inputs, data.batch(range(3, 6)).inputs
    forecast = model.forecast(inputs)
    torch.testing.assert_close(
        torch.linalg.vector_norm(forecast, dim=-1), torch.ones(3, 8), atol=1e-5, rtol=0
    )
    for step in (0, 1, 4, 6):
        changed = torch.cat([inputs[:, : step + 1], other[:, step + 1 :]], dim=1)
        torch.testing.assert_close(model.forecast(changed)[:, : step + 1], forecast[:, : step + 1])
        shorter = model.predict(inputs[:, : step + 1])
        torch.testing.assert_close(shorter, forecast[:, step], atol=1e-4, rtol=1e-3)
    assert model.rollout(inputs[:, :1], 3).shape == (3, 3, 4)


@pytest.mark.parametrize("config", EVERY_CONFIG, ids=range(len(EVERY_CONFIG)))
def test_every_kind_trains_from_five_seeds_as_one_batch(config: InContextConfig, tmp_path: Path) -> None:
    data = chains(steps=5)
    training = TrainingConfig(loss="L_1", steps=4, batch_size=8, seeds=(0, 1, 2, 3, 4), learning_rate=0.1)
    preset = RunConfig("t", DatasetConfig("unused"), model=config, training=training)
    run = qdyn.train(preset, dataset=data, out=tmp_path / "run", progress=False)
    assert run.finished
    assert np.isfinite(run.history.loss).all()
    again = qdyn.load_run(tmp_path / "run")
    batch = data.split("test").batch(range(4))
    for one, two in zip(run.models, again.models, strict=True):
        torch.testing.assert_close(one.forecast(batch.inputs), two.forecast(batch.inputs), atol=0, rtol=0)
    assert again.config.model == config


@pytest.mark.parametrize("phase_convention", ["raw", "first_real"])
def test_it_beats_what_it_is_made_of(phase_convention: str, tmp_path: Path) -> None:
    """One average unitary, and least squares in context with that unitary for the rest."""
    data = chains(steps=4, phase_convention=phase_convention)
    phases = "as_given" if phase_convention == "raw" else "transport"
    run = qdyn.train(run_config(layers=4, phases=phases), dataset=data, out=tmp_path / "run", progress=False)
    losses = [loss_on_test(model, data) for model in run.models]
    rivals = [
        loss_on_test(rival.fit(data), data) for rival in (Procrustes(), InContextDMD(residual="procrustes"))
    ]
    assert max(losses) < min(rivals)


def test_a_run_is_judged_like_any_other(tmp_path: Path) -> None:
    data = chains(steps=4)
    run = qdyn.train(run_config(steps=1), dataset=data, out=tmp_path / "run", progress=False)
    found = qdyn.evaluate(run, context=2, rollout_steps=2, compare=False)
    row = next(row for row in found.rows if row.standing == "trained")
    assert row.n_seeds == 2
    assert {"L_1", "L_B"} <= set(row.metrics)


def test_in_either_phase_convention_it_is_the_same_model() -> None:
    model = build_model(InContextConfig(layers=3), METADATA, seed=0)
    losses = []
    for convention in ("raw", "first_real"):
        batch = chains(phase_convention=convention).batch(range(16))
        losses.append(model.loss("L_1", batch.inputs, batch.targets, batch.mask))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=1e-4)


def test_blocks_filter_noise(tmp_path: Path) -> None:
    data = chains(steps=12, noise=0.15)
    losses = {}
    for blocks in (1, 2):
        config = run_config(steps=60, blocks=blocks, phases="as_given", completion_layers=1)
        run = qdyn.train(config, dataset=data, out=tmp_path / f"{blocks}", progress=False)
        losses[blocks] = [loss_on_test(model, data) for model in run.models]
    assert max(losses[2]) < min(losses[1])


@pytest.mark.parametrize(("unitaries", "tolerance"), [("free", 1e-5), ("hardware_efficient", 1e-2)])
def test_the_warm_start_is_the_best_single_unitary(unitaries: str, tolerance: float) -> None:
    data = chains()
    config = InContextConfig(unitaries=unitaries, circuit_layers=12, phases="as_given")  # type: ignore[arg-type]
    model = build_model(config, data.metadata, seed=0)
    assert isinstance(model, InContextPredictor)
    model.warm_start(data.split("train"))
    best = Procrustes().fit(data).matrix
    assert best is not None
    value = model.matrices().value.detach().to(torch.complex128)
    overlap = torch.trace(best.mH @ value) / 4
    assert 1 - abs(complex(overlap)) < tolerance
    model.warm_start(data.split("train"))
    cold = build_model(InContextConfig(warm_start=False), data.metadata, seed=0)
    assert isinstance(cold, InContextPredictor)
    before = cold.angles.detach().clone()
    cold.warm_start(data.split("train"))
    assert torch.equal(before, cold.angles)


def test_one_head_and_no_unit_are_the_plain_model() -> None:
    """With the weight of the first head 1 and no strength, whatever the unitaries are."""
    config = InContextConfig(layers=3, blocks=2)
    plain = build_model(config, METADATA, seed=0)
    more = build_model(replace(config, heads=3, backward_heads=1, feed_forward=2), METADATA, seed=0)
    assert isinstance(more, InContextPredictor)
    assert more.head_logits is not None
    assert more.unit_logits is not None
    with torch.no_grad():
        more.head_logits.fill_(-100.0)
        more.unit_logits.zero_()
        more.unit_logits[..., 0] = -100.0
    inputs = chains().batch(range(4)).inputs
    torch.testing.assert_close(more.forecast(inputs), plain.forecast(inputs), atol=1e-5, rtol=0)


def symmetric_chains() -> SequenceDataset:
    """Orbits of real Hamiltonians that are the same when both spins are flipped."""
    random = np.random.default_rng(5)
    flip = np.eye(4)[::-1]
    matrix = random.standard_normal((128, 4, 4))
    h = matrix + matrix.swapaxes(-1, -2)
    propagators = torch.linalg.matrix_exp(torch.from_numpy(-0.2j * (h + flip @ h @ flip))).numpy()
    state = random.standard_normal((128, 4)) + 1j * random.standard_normal((128, 4))
    orbit = [state / np.linalg.norm(state, axis=1, keepdims=True)]
    for _ in range(8):
        orbit.append(np.einsum("bij,bj->bi", propagators, orbit[-1]))
    return SequenceDataset.from_arrays(np.stack(orbit, axis=1), kind="quantum_state", splits=SPLITS)


@pytest.mark.parametrize("phase_convention", ["raw", "first_real"])
def test_heads_start_from_the_symmetries_of_the_data(phase_convention: str) -> None:
    """Untrained, they are worth what the symmetries are when they are told."""
    data = symmetric_chains().with_phase_convention(phase_convention)
    losses = {}
    for name, told in {
        "none": {},
        "told": {"symmetries": ("spin_flip", "time_reversal")},
        "found": {"heads": 2, "backward_heads": 2},
        "cold": {"heads": 2, "backward_heads": 2, "head_start": "cold"},
    }.items():
        model = build_model(InContextConfig(layers=8, **told), data.metadata, seed=0)  # type: ignore[arg-type]
        assert isinstance(model, InContextPredictor)
        model.warm_start(data.split("train"))
        losses[name] = loss_on_test(model, data)
    assert losses["found"] == pytest.approx(losses["told"], rel=1e-3)
    assert losses["found"] < min(losses["none"], losses["cold"])


def test_symmetries_are_looked_for_in_few_qubits_only() -> None:
    large = SequenceMetadata("states", "quantum_state", 64)
    with pytest.raises(ConfigError, match="must be 'cold' for states of more than 32 amplitudes"):
        build_model(InContextConfig(heads=2), large, seed=0)
    build_model(InContextConfig(heads=2, head_start="cold"), large, seed=0)


def test_a_roll_out_asks_and_does_not_learn() -> None:
    """With as many layers as transitions it is the powers of one matrix, that of the context."""
    data = chains(steps=12)
    states = data.batch(range(4)).inputs
    model = build_model(InContextConfig(layers=6, completion_layers=4), METADATA, seed=0)
    set_precision(model, "complex128")
    with torch.no_grad():
        for logits in model.parameters():
            if logits.shape[-1] == 3:
                logits.zero_()
                logits[..., 0] = -100.0
    rolled = model.rollout(states[:, :6], 6)
    torch.testing.assert_close(rolled[:, 0], model.element(model.predict(states[:, :6])).to(rolled.dtype))
    assert float(fidelity(rolled, states[:, 6:]).min()) > 1 - 1e-6


def test_single_and_double_precision_agree() -> None:
    data = chains(steps=16)
    batch = data.batch(range(8))
    losses = []
    for dtype in ("complex64", "complex128"):
        model = build_model(InContextConfig(layers=8, completion_layers=4), METADATA, seed=0)
        set_precision(model, dtype)  # type: ignore[arg-type]
        losses.append(model.loss("L_1", batch.inputs, batch.targets, batch.mask).double())
    torch.testing.assert_close(losses[0], losses[1], atol=2e-3, rtol=0)


def test_a_sequence_that_stands_still_has_finite_gradients() -> None:
    model = build_model(InContextConfig(layers=4, blocks=2), METADATA, seed=0)
    states = torch.zeros(2, 6, 4, dtype=torch.complex64)
    states[..., 0] = 1.0
    loss = model.loss("L_1", states[:, :-1], states[:, 1:], None).sum()
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, r"model\.layers"),
        ({"symmetries": ("reflection", "reflection")}, "each symmetry once"),
        ({"heads": 0}, r"model\.heads"),
        ({"feed_forward": -1}, r"model\.feed_forward"),
        ({"momentum": True}, r"`model\.momentum` needs `model\.steps` 'descent'"),
        ({"kernel_degree": 2}, r"`model\.kernel_degree` needs"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, qdyn.QdynError), match=message):
        InContextConfig(**arguments)


def test_it_takes_quantum_states_only() -> None:
    with pytest.raises(ConfigError, match="forecasts quantum states, but the data are of kind 'token'"):
        build_model(InContextConfig(), SequenceMetadata("words", "token", 8), seed=0)
