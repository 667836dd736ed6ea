"""The predictor: causal forecasts, every kind of data, training, phases and roll-outs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from qdyn.attention.qsa.observables import qsa_observables
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.config import ModelConfig
from qdyn.models.qsa.predictor import LOSS_NAMES, QSAPredictor
from qdyn.models.registry import build_model
from qdyn.quantum.states import fidelity, haar_random_states, with_phase_convention

QUANTUM = SequenceMetadata("states", "quantum_state", 4, phase_convention="first_real")
TOKENS = SequenceMetadata("tokens", "token", 7)
REAL = SequenceMetadata("vectors", "real", 4)

EVERY_CONFIG = [
    ModelConfig(layers=2, kernel=kernel, unitaries=unitaries, isometric_value=isometric)
    for kernel in ("monomial", "polynomial", "softmax")
    for unitaries in ("hardware_efficient", "brick_wall", "real", "free")
    for isometric in (True, False)
    if isometric or (kernel == "softmax" and unitaries == "free")
]


def elements(metadata: SequenceMetadata, *, batch: int = 3, steps: int = 6, seed: int = 0) -> Tensor:
    generator = np.random.default_rng(seed)
    if metadata.kind == "token":
        return torch.tensor(generator.integers(0, metadata.dimension, (batch, steps)))
    if metadata.kind == "real":
        vectors = torch.tensor(generator.normal(size=(batch, steps, metadata.dimension)), dtype=torch.float32)
        return torch.nn.functional.normalize(vectors, dim=-1)
    states = haar_random_states(n_qubits=2, batch=batch * steps, seed=seed, dtype=torch.complex64)
    return with_phase_convention(states, metadata.phase_convention or "raw").reshape(batch, steps, -1)


def model_for(metadata: SequenceMetadata, config: ModelConfig | None = None, seed: int = 0) -> QSAPredictor:
    config = config or ModelConfig(layers=2, initial_angle=2.0)
    if metadata.kind == "token":
        config = ModelConfig(**{**vars(config), "embedding_dimension": 4})
    return QSAPredictor(config, metadata, seed=seed)


def evolution() -> np.ndarray:
    generator = np.random.default_rng(5)
    return np.linalg.qr(generator.normal(size=(4, 4)) + 1j * generator.normal(size=(4, 4)))[0]


def linear_dataset(*, phase_convention: str = "raw", n: int = 32, steps: int = 8) -> SequenceDataset:
    """Sequences x, U x, U^2 x, ... of one unitary."""
    unitary = evolution()
    state = haar_random_states(n_qubits=2, batch=n, seed=1).numpy()
    sequence = [state]
    for _ in range(steps):
        sequence.append(sequence[-1] @ unitary.T)
    data = SequenceDataset.from_arrays(
        np.stack(sequence, axis=1), kind="quantum_state", splits={"train": (0, n - 8), "test": (n - 8, n)}
    )
    return data.with_phase_convention(phase_convention)


def train(model: QSAPredictor, data: SequenceDataset, *, loss: str, steps: int, rate: float = 0.05) -> float:
    batch = data.batch(range(len(data))).to(dtype=torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        value = model.loss(loss, batch.inputs, batch.targets, batch.mask).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    with torch.no_grad():
        return float(model.loss(loss, batch.inputs, batch.targets, batch.mask).mean())


@pytest.mark.parametrize("metadata", [QUANTUM, TOKENS, REAL], ids=lambda m: m.kind)
@pytest.mark.parametrize(
    "config", EVERY_CONFIG, ids=lambda c: f"{c.kernel}-{c.unitaries}-{c.isometric_value}"
)
def test_forecasts_never_see_what_comes_after(metadata: SequenceMetadata, config: ModelConfig) -> None:
    model = model_for(metadata, config)
    inputs, other = elements(metadata), elements(metadata, seed=1)
    forecast = model.forecast(inputs)
    for step in range(5):
        changed = torch.cat([inputs[:, : step + 1], other[:, step + 1 :]], dim=1)
        torch.testing.assert_close(model.forecast(changed)[:, : step + 1], forecast[:, : step + 1])
        assert not torch.allclose(model.forecast(changed)[:, step + 1 :], forecast[:, step + 1 :])
        shorter = inputs[:, : step + 1]
        torch.testing.assert_close(model.predict(shorter), forecast[:, step], atol=1e-5, rtol=1e-4)
    if metadata.kind != "token":
        inputs = inputs.requires_grad_()
        for step in range(6):
            gain = model.forecast(inputs)[:, step].abs().pow(3).sum()
            (gradient,) = torch.autograd.grad(gain, inputs)
            assert not gradient[:, step + 1 :].any()
            assert bool((gradient[:, : step + 1].abs().amax(-1) > 0).all())


@pytest.mark.parametrize("metadata", [QUANTUM, TOKENS, REAL], ids=lambda m: m.kind)
@pytest.mark.parametrize(
    "config", EVERY_CONFIG, ids=lambda c: f"{c.kernel}-{c.unitaries}-{c.isometric_value}"
)
def test_forecasts_are_elements_and_agree_with_the_losses(
    metadata: SequenceMetadata, config: ModelConfig
) -> None:
    model = model_for(metadata, config)
    sequence = elements(metadata, steps=7)
    inputs, targets = sequence[:, :-1], sequence[:, 1:]
    forecast = model.forecast(inputs)
    p = model(inputs, targets).step_fidelity
    if metadata.kind == "token":
        torch.testing.assert_close(forecast.sum(-1), torch.ones(3, 6))
        assert forecast.shape == (3, 6, 7)
        torch.testing.assert_close(forecast.gather(-1, targets[..., None])[..., 0], p, atol=1e-5, rtol=1e-4)
        perplexity = torch.exp(-forecast.gather(-1, targets[..., None]).log().mean())
        torch.testing.assert_close(perplexity, model.loss("L_1", inputs, targets).mean().exp())
        torch.testing.assert_close(model.next_token_distribution(inputs), forecast)
        return
    assert forecast.shape == inputs.shape
    torch.testing.assert_close(torch.linalg.vector_norm(forecast, dim=-1), torch.ones(3, 6))
    overlap = (targets.conj() * forecast).sum(-1).abs().square()
    if metadata.kind == "quantum_state":
        torch.testing.assert_close(overlap, p, atol=1e-5, rtol=1e-4)
    else:
        assert not forecast.is_complex()
        # A complex prediction has no real forecast of the same fidelity; a real one is its own.
        if config.unitaries == "real":
            torch.testing.assert_close(overlap, p, atol=1e-5, rtol=1e-4)


def test_the_real_forecast_is_the_real_direction_nearest_to_the_state() -> None:
    model = model_for(REAL)
    inputs = elements(REAL)
    forecast = model.forecast(inputs)
    complex_model = model_for(SequenceMetadata("x", "quantum_state", 4, phase_convention="raw"))
    state = complex_model.forecast(inputs.to(torch.complex64))
    best = torch.linalg.eigvalsh((state.unsqueeze(-1) * state.conj().unsqueeze(-2)).real)[..., -1]
    torch.testing.assert_close((forecast * state).sum(-1).abs().square(), best)


@pytest.mark.parametrize("kernel", ["monomial", "polynomial", "softmax"])
def test_forward_is_the_closed_form(kernel: str) -> None:
    model = model_for(QUANTUM, ModelConfig(layers=3, kernel=kernel, degree=4, initial_angle=3.0)).double()
    sequence = elements(QUANTUM, steps=7).to(torch.complex128)
    sequence = sequence / torch.linalg.vector_norm(sequence, dim=-1, keepdim=True)
    matrices = model.matrices()
    expected = qsa_observables(
        sequence[:, :-1], sequence[:, 1:], matrices.query_key, matrices.value, kernel=kernel, degree=4
    )
    result = model(sequence[:, :-1], sequence[:, 1:])
    for name in result._fields:
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), equal_nan=True)
    names = {"L_B": "loss_b", "L_A": "loss_a", "L_half": "loss_half", "L_1": "loss_1", "v1": "loss_v1"}
    for name, field in names.items():
        if name == "v1" and kernel == "softmax":
            continue
        torch.testing.assert_close(
            model.loss(name, sequence[:, :-1], sequence[:, 1:]), getattr(expected, field)
        )


@pytest.mark.parametrize("metadata", [QUANTUM, TOKENS, REAL], ids=lambda m: m.kind)
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_padding_changes_nothing(metadata: SequenceMetadata, name: str) -> None:
    model = model_for(metadata)
    sequence = elements(metadata, steps=7)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False
    padded = model.loss(name, sequence[:, :-1], sequence[:, 1:], mask)
    torch.testing.assert_close(padded[0], model.loss(name, sequence[:1, :-1], sequence[:1, 1:])[0])
    torch.testing.assert_close(padded[1], model.loss(name, sequence[1:2, :4], sequence[1:2, 1:5])[0])


@pytest.mark.parametrize("metadata", [QUANTUM, TOKENS, REAL], ids=lambda m: m.kind)
@pytest.mark.parametrize("unitaries", ["hardware_efficient", "brick_wall", "real", "free"])
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_an_ensemble_is_its_members(metadata: SequenceMetadata, unitaries: str, name: str) -> None:
    models = [model_for(metadata, ModelConfig(layers=2, unitaries=unitaries), seed=seed) for seed in range(3)]
    sequences = [elements(metadata, steps=7, seed=seed) for seed in range(3)]
    parameters, buffers = stack_module_state([_Loss(model) for model in models])
    base = _Loss(models[0])

    def loss(own: dict, held: dict, sequence: Tensor) -> Tensor:
        return functional_call(base, (own, held), (name, sequence[:, :-1], sequence[:, 1:])).mean()

    vmap(loss)(parameters, buffers, torch.stack(sequences)).sum().backward()
    for member, (model, sequence) in enumerate(zip(models, sequences, strict=True)):
        model.loss(name, sequence[:, :-1], sequence[:, 1:]).mean().backward()
        for key, parameter in model.named_parameters():
            together = parameters[f"model.{key}"].grad[member]
            torch.testing.assert_close(together, parameter.grad, atol=1e-5, rtol=1e-4)


class _Loss(torch.nn.Module):
    def __init__(self, model: QSAPredictor) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: object) -> Tensor:
        return self.model.loss(*arguments)


@pytest.mark.parametrize("unitaries", ["hardware_efficient", "brick_wall", "free"])
def test_training_is_as_good_as_the_solution_we_know(unitaries: str) -> None:
    """V = U and W = 1 forecast powers of U well: the sharper the kernel, the more the present alone counts.

    Each ansatz can represent any unitary of two qubits, so its optimum is at least as good.
    """
    data = linear_dataset().split("train")
    model = QSAPredictor(
        ModelConfig(unitaries=unitaries, layers=6, kernel="monomial", degree=4), data.metadata, seed=0
    )
    batch = data.batch(range(len(data)))
    known = qsa_observables(
        batch.inputs,
        batch.targets,
        torch.eye(4, dtype=torch.complex128),
        torch.tensor(evolution()),
        kernel="monomial",
        degree=4,
    )
    with torch.no_grad():
        before = float(model.loss("L_B", batch.inputs, batch.targets).mean())
    after = train(model, data, loss="L_B", steps=200)
    assert before > 1
    assert after < float(known.loss_b.mean())


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_trains(name: str) -> None:
    data = linear_dataset()
    model = QSAPredictor(ModelConfig(layers=8, kernel="monomial", degree=4), data.metadata, seed=0)
    before = train(model, data.split("train"), loss=name, steps=1)
    assert train(model, data.split("train"), loss=name, steps=60) < before - 0.3


@pytest.mark.parametrize("field", ["complex", "real"])
def test_tokens_are_learnt_and_their_frame_stays_orthonormal(field: str) -> None:
    """A cycle of seven words: the next one follows from the present one alone."""
    start = torch.arange(14).remainder(7)
    words = (start[:, None] + torch.arange(9)).remainder(7)
    config = ModelConfig(
        unitaries="free", kernel="polynomial", embedding_dimension=4, embedding_field=field, initial_angle=1.0
    )
    model = QSAPredictor(config, TOKENS, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        result = model(words[:, :-1], words[:, 1:])
        optimiser.zero_grad()
        result.loss_1.mean().backward()
        optimiser.step()
        frame = model.matrices().frame
        assert frame is not None
        assert float((frame.mH @ frame - torch.eye(4)).abs().max().detach()) < 1e-6
        assert float(result.loss_1_excess.min().detach()) > -1e-4
    # Seven words in four dimensions: leverage 4/7 each leaves log(7/4) at best; chance is log 7.
    floor = math.log(7 / 4)
    with torch.no_grad():
        reached = float(model.loss("L_1", words[:, :-1], words[:, 1:]).mean())
    assert floor < reached < (floor + math.log(7)) / 2
    assert model.rollout(words[:, :4], 3).shape == (14, 3)


def test_trained_phases_reach_the_optimal_value() -> None:
    """For one sequence and fixed W, V every critical point but the best is a strict saddle."""
    sequence = elements(QUANTUM, batch=1, steps=9)
    inputs, targets = sequence[:, :-1], sequence[:, 1:]
    config = ModelConfig(layers=2, initial_angle=3.0, phases="trained", phase_steps=8)
    model = model_for(QUANTUM, config)
    assert model.phases is not None
    model.angles.requires_grad_(False)
    optimal = model_for(QUANTUM, ModelConfig(layers=2, initial_angle=3.0))
    best = float(optimal.loss("L_B", inputs, targets).detach())
    optimiser = torch.optim.Adam([model.phases], lr=0.1)
    start = float(model.loss("L_B", inputs, targets).detach())
    for step in range(400):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / 400)
        loss = model.loss("L_B", inputs, targets).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert start > best + 0.1
    assert float(loss.detach()) == pytest.approx(best, abs=1e-4)


def test_raw_phases_are_calibrated_and_rolled_out() -> None:
    """V = exp(1.9 i) U forecasts U x up to that phase, of which no loss knows; calibration takes it away."""
    data = linear_dataset()
    model = QSAPredictor(ModelConfig(unitaries="free", kernel="monomial", degree=3), data.metadata).double()
    hamiltonian = -1j * scipy.linalg.logm(evolution()) + 1.9 * np.eye(4)
    with torch.no_grad():
        model.angles[0] = 0
        model.angles[1] = torch.tensor(np.stack([hamiltonian.real, hamiltonian.imag]))
    pairs = data.windows(1)  # one step each: nothing to attend to but the present
    batch = pairs.batch(range(20))
    turned = np.exp(1.9j) * batch.targets
    torch.testing.assert_close(model.forecast(batch.inputs), turned)
    assert model.fit(pairs) is model
    assert float(model.forecast_phase) == pytest.approx(-1.9)
    torch.testing.assert_close(model.forecast(batch.inputs), batch.targets)
    torch.testing.assert_close(model.rollout(batch.inputs, 1), batch.targets)
    assert "forecast_phase" in model.state_dict()


def test_calibration_aligns_better_than_any_other_constant_phase() -> None:
    data = linear_dataset()
    model = model_for(data.metadata).fit(data)
    batch = data.split("train").batch(range(len(data.split("train"))))
    overlap = (batch.targets.conj() * model.forecast(batch.inputs)).sum()
    assert abs(float(overlap.angle())) < 1e-5


def test_calibration_leaves_first_real_data_and_tokens_alone() -> None:
    data = linear_dataset(phase_convention="first_real")
    model = QSAPredictor(ModelConfig(layers=2, initial_angle=3.0), data.metadata, seed=0)
    assert float(model.fit(data).forecast_phase) == 0


def test_the_sign_of_real_forecasts_is_calibrated() -> None:
    generator = np.random.default_rng(0)
    state = generator.normal(size=(20, 4))
    rotation = np.linalg.qr(generator.normal(size=(4, 4)))[0]
    sequence = [state / np.linalg.norm(state, axis=1, keepdims=True)]
    for _ in range(6):
        sequence.append(sequence[-1] @ rotation.T)
    data = SequenceDataset.from_arrays(np.stack(sequence, axis=1), kind="real")
    for unitaries in ("real", "free"):
        config = ModelConfig(unitaries=unitaries, layers=4, kernel="monomial", degree=3, initial_angle=3.0)
        model = QSAPredictor(config, data.metadata, seed=1).fit(data)
        batch = data.batch(range(20))
        assert float((batch.targets * model.forecast(batch.inputs)).sum()) > 0


@pytest.mark.parametrize("metadata", [QUANTUM, TOKENS, REAL], ids=lambda m: m.kind)
def test_rollout_feeds_forecasts_back(metadata: SequenceMetadata) -> None:
    model = model_for(metadata)
    context = elements(metadata)
    rolled = model.rollout(context, 3)
    assert rolled.dtype == context.dtype
    seen = context
    for step in range(3):
        following = model.element(model.predict(seen))
        if metadata.kind == "quantum_state":
            torch.testing.assert_close(fidelity(rolled[:, step], following), torch.ones(3))
            assert not rolled[:, step, 0].imag.any()
        else:
            torch.testing.assert_close(rolled[:, step], following)
        seen = torch.cat([seen, following[:, None]], dim=1)


def test_rollout_follows_parameters_that_change_between_calls() -> None:
    model = model_for(QUANTUM)
    context = elements(QUANTUM)
    before = model.rollout(context, 2)
    with torch.no_grad():
        model.angles.add_(0.5)
    assert not torch.allclose(model.rollout(context, 2), before)


@pytest.mark.parametrize("kernel", ["monomial", "polynomial", "softmax"])
def test_attention_rows_are_causal_and_sum_to_one(kernel: str) -> None:
    model = model_for(QUANTUM, ModelConfig(layers=2, kernel=kernel, initial_angle=3.0))
    inputs = elements(QUANTUM)
    weights = model.attention_weights(inputs)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))
    assert not weights.triu(1).any()
    scores = torch.einsum("bjd,de,bie->bji", inputs.conj(), model.matrices().query_key.detach(), inputs)
    if kernel == "monomial":
        expected = scores.abs().pow(3).tril()
        torch.testing.assert_close(weights, expected / expected.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)
    spread = model.participation(inputs)
    assert bool((spread >= 1 - 1e-5).all())
    assert bool((spread <= torch.arange(1, 7) + 1e-5).all())


def test_seeds_fix_the_start_and_nothing_else_does() -> None:
    one, same, other = (model_for(TOKENS, seed=seed) for seed in (3, 3, 4))
    for (name, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, c), name


def test_parameter_counts_of_the_published_comparison() -> None:
    metadata = SequenceMetadata("x", "quantum_state", 16)
    counts = {
        "qsa": ModelConfig(layers=43),
        "csa": ModelConfig(unitaries="free"),
        "gen": ModelConfig(unitaries="free", kernel="softmax", isometric_value=False),
    }
    numbers = {
        key: sum(p.numel() for p in QSAPredictor(c, metadata).parameters()) for key, c in counts.items()
    }
    assert numbers == {"qsa": 1032, "csa": 1024, "gen": 1024}


@pytest.mark.parametrize(
    ("config", "label"),
    [
        (ModelConfig(kernel="monomial", degree=6), "6-QSA"),
        (ModelConfig(degree=3, unitaries="free"), "poly-3-CSA"),
        (ModelConfig(kernel="softmax", unitaries="free"), "nl-CSA iso"),
        (ModelConfig(kernel="softmax", unitaries="free", isometric_value=False), "nl-CSA gen"),
    ],
)
def test_labels_are_those_of_the_paper(config: ModelConfig, label: str) -> None:
    assert QSAPredictor(config, QUANTUM).label == label


@pytest.mark.parametrize(
    ("config", "metadata", "message"),
    [
        (ModelConfig(embedding="parseval"), QUANTUM, "'parseval' is for tokens"),
        (ModelConfig(embedding="identity"), TOKENS, "'identity' is for vectors"),
        (ModelConfig(embedding_dimension=8), QUANTUM, "must be that of the data, 4"),
        (ModelConfig(embedding_dimension=3), TOKENS, r"length 2\*\*n"),
        (ModelConfig(), TOKENS, "at most the size of the vocabulary, 7, but is 16"),
        (ModelConfig(), SequenceMetadata("x", "real", 6), r"length 2\*\*n"),
        (ModelConfig(kind="qsaa"), QUANTUM, "`model.kind` is 'qsaa', which is unknown: did you mean 'qsa'"),
    ],
)
def test_configurations_that_do_not_suit_the_data(
    config: ModelConfig, metadata: SequenceMetadata, message: str
) -> None:
    with pytest.raises((ConfigError, ArgumentError), match=message):
        build_model(config, metadata, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "`model.layers` must be an integer >= 1"),
        ({"degree": 65}, r"`model.degree` must be an integer in \[1, 64\]"),
        ({"beta": -1.0}, "`model.beta` must be a finite number > 0"),
        ({"initial_angle": 0.0}, "`model.initial_angle` must be a finite number > 0"),
        ({"phases": "trained"}, "`model.phase_steps` must say how many steps"),
        ({"isometric_value": False}, "`model.isometric_value` may be false with kernel 'softmax'"),
    ],
)
def test_configurations_out_of_range(arguments: dict, message: str) -> None:
    with pytest.raises((ConfigError, ArgumentError), match=message):
        ModelConfig(**arguments)


def test_requests_that_make_no_sense() -> None:
    sequence = elements(QUANTUM)
    model = model_for(QUANTUM)
    with pytest.raises(ArgumentError, match="did you mean 'L_B'"):
        model.loss("L_b", sequence, sequence)
    with pytest.raises(ArgumentError, match="must be tokens"):
        model.next_token_distribution(sequence)
    softmax = model_for(QUANTUM, ModelConfig(layers=1, kernel="softmax"))
    with pytest.raises(ArgumentError, match="'v1' needs a circuit"):
        softmax.loss("v1", sequence, sequence)
    trained = model_for(QUANTUM, ModelConfig(layers=1, phases="trained", phase_steps=4))
    with pytest.raises(ArgumentError, match="has 6 steps, but there are trained phases for 4"):
        trained.loss("L_B", sequence, sequence)
