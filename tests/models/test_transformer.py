"""The transformer with any attention: causality, masks, kinds of data, losses, presets, many seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import qdyn
from qdyn.attention.mechanism import attention_class
from qdyn.config import build, to_mapping
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError, DatasetError
from qdyn.models.config import ModelSection
from qdyn.models.dropout import share_of_batch
from qdyn.models.registry import build_model
from qdyn.models.sampling import sample_sequences
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.ensembles import Ensemble

KINDS = {
    "token": SequenceMetadata("words", "token", 7),
    "quantum_state": SequenceMetadata("states", "quantum_state", 4, phase_convention="first_real"),
    "unit": SequenceMetadata("directions", "real", 3),
    "real": SequenceMetadata("series", "real", 3, normalised=False),
}


def elements(kind: str, count: int = 2, steps: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    if kind == "token":
        return torch.randint(0, 7, (count, steps), generator=generator)
    if kind == "quantum_state":
        return qdyn.haar_random_states(n_qubits=2, batch=count * steps, seed=0).reshape(count, steps, 4)
    vectors = torch.randn(count, steps, 3, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1) if kind == "unit" else vectors


def model_of(kind: str, **options: object) -> Transformer:
    config = TransformerConfig(**{"width": 8, "heads": 2, "blocks": 2, "steps": 10, **options})  # type: ignore[arg-type]
    model = build_model(config, KINDS[kind], seed=1)
    assert isinstance(model, Transformer)
    return model.double()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_see_no_future_and_no_masked_element(kind: str, causal: bool) -> None:
    model, x = model_of(kind, causal=causal), elements(kind)
    whole = model.forecast(x)
    torch.testing.assert_close(model.forecast(x[:, :4]), whole[:, :4], rtol=0, atol=1e-14)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[:, 2] = False
    other = x.clone()
    other[:, 2] = 3 if kind == "token" else float("nan")
    found = model.forecast(x, mask), model.forecast(other, mask)
    seen = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found[0][:, seen], found[1][:, seen], rtol=0, atol=1e-14)


@pytest.mark.parametrize("blocks", [1, 2])
def test_without_causality_every_prefix_is_a_sequence(blocks: int) -> None:
    """The forecast after element j is that of the sequence that ends there; its weights reach back only."""
    model, x = model_of("token", causal=False, blocks=blocks), elements("token")
    bias = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits, weights = model(x, bias=bias)
    for j in (0, 3):
        alone, spread = model(x[:, : j + 1], bias=bias[..., : j + 1, : j + 1])
        torch.testing.assert_close(alone[:, -1], logits[:, j], rtol=0, atol=1e-13)
        torch.testing.assert_close(spread[-1][:, :, -1], weights[-1][:, :, j, : j + 1], rtol=0, atol=1e-13)
    assert weights[0].shape == (2, 2, 6, 6)
    assert not weights[-1].triu(1).any()
    # One block of softmax is causal either way. The first of two shows the elements of a prefix what follows.
    other = model_of("token", blocks=blocks).forecast(x) - model.forecast(x)
    assert (float(other.abs().max()) > 1e-6) == (blocks == 2)


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_are_elements_of_their_kind(kind: str) -> None:
    model, x = model_of(kind), elements(kind)
    forecast = model.forecast(x[:, None])
    assert forecast.shape == (2, 1, 6, KINDS[kind].dimension)
    if kind == "token":
        torch.testing.assert_close(forecast.sum(-1), torch.ones(2, 1, 6).double())
    elif kind != "real":
        torch.testing.assert_close(torch.linalg.vector_norm(forecast, dim=-1), torch.ones(2, 1, 6).double())
    assert model.rollout(x, 3).shape == (2, 3, *x.shape[2:])
    weights = model.attention_weights(x)
    assert weights.shape == (2, 6, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6).double())


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_surprise_of_the_forecast(kind: str) -> None:
    """L_1 from `loss` equals that of what `forecast` says, over the steps that exist."""
    model, x = model_of(kind), elements(kind, steps=7)
    inputs, targets = x[:, :-1], x[:, 1:]
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 4:] = False
    forecast = model.forecast(inputs, mask)
    if kind == "token":
        steps = -forecast.gather(-1, targets[..., None])[..., 0].log()
    elif kind == "real":
        steps = (forecast - targets).square().mean(-1)
    else:
        steps = -(forecast.conj() * targets).sum(-1).abs().square().log()
    wanted = (steps * mask).sum(-1) / mask.sum(-1)
    torch.testing.assert_close(model.loss("L_1", inputs, targets, mask), wanted)
    torch.testing.assert_close(model.loss("L_1", inputs, targets)[0], wanted[0])


def test_a_bias_reaches_every_block() -> None:
    model, x = model_of("token"), elements("token")
    blocked = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    blocked[..., 0] = -1e9
    found = model(x, bias=blocked)[1]
    assert len(found) == 2
    for weights in found:
        assert not weights[:, :, 1:, 0].any()


def test_seeds_start_apart_and_train_as_one_batch() -> None:
    models = [build_model(TransformerConfig(width=8), KINDS["token"], seed=seed) for seed in (0, 1, 1)]
    x = elements("token")
    losses = Ensemble(
        models
    ).losses(  # type: ignore[arg-type]
        "L_1", x[:, :-1], x[:, 1:], torch.ones(2, 5, dtype=torch.bool), same_data=True
    )
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]
    for model, loss in zip(models, losses, strict=True):
        assert loss.item() == pytest.approx(model.loss("L_1", x[:, :-1], x[:, 1:]).mean().item(), rel=1e-6)  # type: ignore[attr-defined]


def test_learns_to_repeat_what_came_before(tmp_path: Path) -> None:
    """Periodic words with a period that differs from sequence to sequence: only attention tells it."""
    random = np.random.default_rng(0)
    words = np.stack([np.tile(random.permutation(6)[:3], 4) for _ in range(256)])
    dataset = SequenceDataset.from_arrays(
        words, kind="token", dimension=6, splits={"train": (0, 192), "validation": (192, 256)}
    )
    config = RunConfig(
        name="repeat",
        dataset=DatasetConfig(name="repeat"),
        model=TransformerConfig(width=16, blocks=2, steps=11),
        training=TrainingConfig(loss="L_1", steps=150, seeds=(0,), threads=1, evaluate_every=150),
    )
    run = qdyn.train(config, dataset=dataset, out=tmp_path / "run", progress=False)
    model = run.models[0]
    test = dataset.split("validation").batch(range(64))
    p = model.forecast(test.inputs).gather(-1, test.targets[..., None])[..., 0]
    # The first two steps cannot be known: 1/5 and then 1/4, or 1/3 with the first word left out.
    assert p[:, 3:].mean() > 0.8
    assert p[:, 0].mean() < 0.4
    again = qdyn.load_run(tmp_path / "run").models[0]
    assert torch.equal(again.forecast(test.inputs), model.forecast(test.inputs))


MOLECULES = SequenceMetadata(
    "molecules",
    "token",
    8,
    vocabulary=("<pad>", "[CLS]", "[EOS]", "C", "O", "1", "(", ")"),
)


@pytest.mark.parametrize("attention", qdyn.attention.names())
def test_a_graph_biases_the_scores_of_every_mechanism(attention: str) -> None:
    """Zero at the start, where it changes nothing; then it does, at an element whose paths it knows."""
    causal = attention_class(attention).can_be_causal
    section = TransformerConfig(attention=attention, width=8, steps=8, graph="bonds", causal=causal)
    model, plain = (
        build_model(config, MOLECULES, seed=1) for config in (section, replace(section, graph="none"))
    )
    assert isinstance(model, Transformer)
    tokens = torch.tensor([[1, 3, 5, 3, 4, 5, 2, 0], [1, 3, 6, 4, 7, 3, 2, 0]])
    mask = tokens != 0
    torch.testing.assert_close(model.forecast(tokens, mask), plain.forecast(tokens, mask))
    model.loss("L_1", tokens[:, :-1], tokens[:, 1:], mask[:, 1:]).sum().backward()
    gradient = model.graph_bias.table.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    torch.nn.init.normal_(model.graph_bias.table)
    changed = (model.forecast(tokens, mask) - plain.forecast(tokens, mask)).abs().amax((0, 2))
    assert changed[3] > 1e-5
    whole = model.forecast(tokens, mask)
    torch.testing.assert_close(model.forecast(tokens[:, :5], mask[:, :5]), whole[:, :5])


def test_a_graph_is_read_for_all_seeds_at_once() -> None:
    config = TransformerConfig(width=8, steps=8, graph="bonds", graph_reach=2)
    models = [build_model(config, MOLECULES, seed=seed) for seed in (0, 1)]
    for model in models:
        torch.nn.init.normal_(model.graph_bias.table)  # type: ignore[attr-defined]
    x = torch.randint(0, 8, (2, 4, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 4, 6, dtype=torch.bool)
    together = Ensemble(models).losses("L_1", x[..., :-1], x[..., 1:], mask)  # type: ignore[arg-type]
    for model, row, loss in zip(models, x, together, strict=True):
        alone = model.loss("L_1", row[:, :-1], row[:, 1:]).mean()  # type: ignore[attr-defined]
        assert loss.item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [True, False])
def test_forecasts_depend_on_what_is_told(kind: str, causal: bool) -> None:
    model, x = model_of(kind, conditions=("a", "b"), causal=causal), elements(kind)
    told = torch.tensor([[0.5, -1.0], [2.0, 0.0]], dtype=torch.float64)
    found = model.forecast(x, None, told)
    known = model.with_conditions({"b": told[:, 1], "c": told[:, 1], "a": told[:, 0]})
    torch.testing.assert_close(known.forecast(x), found)
    torch.testing.assert_close(found[:, :3], model.forecast(x[:, :3], None, told))
    other = model.forecast(x, None, told.flip(0))
    assert (other - found).abs().amax() > 1e-4
    torch.testing.assert_close(other[:1], model.forecast(x[:1], None, told[1:]))
    for wrong in (None, told[:, :1]):
        with pytest.raises(ArgumentError, match="`conditions` must"):
            model.forecast(x, None, wrong)
    with pytest.raises(ArgumentError, match="must hold 'b'"):
        model.with_conditions({"a": told[:, 0]})
    with pytest.raises(ArgumentError, match="must be None for a model that is told none"):
        model_of(kind).forecast(x, None, told)


def test_molecules_are_drawn_as_told() -> None:
    model = build_model(TransformerConfig(width=8, steps=8, conditions=("LogP",)), MOLECULES, seed=0)
    assert isinstance(model, Transformer)
    with torch.no_grad():
        # Far from 0 the condition is all that a word depends on.
        model.condition_embedding.weight.mul_(1e4)
    low, high = (
        sample_sequences(model, 40, elements=8, conditions=torch.tensor([told]), seed=3)
        for told in (-1.0, 1.0)
    )
    assert (low != high).double().mean() > 0.3
    with pytest.raises(ArgumentError, match="must hold LogP of every sequence"):
        sample_sequences(model, 4, elements=8)


def test_learns_what_conditions_say(tmp_path: Path) -> None:
    """Words that nothing but the condition tells: half of the surprise of two words is all that is left."""
    random = np.random.default_rng(0)
    coupling = random.uniform(100, 102, 160)
    words = np.where(coupling[:, None] > 101, 1, 2) * np.ones((1, 4), dtype=int)
    words[:, 0] = 0
    dataset = SequenceDataset.from_arrays(
        words,
        kind="token",
        dimension=3,
        conditions={"coupling": coupling},
        splits={"train": (0, 128), "validation": (128, 160)},
    )
    config = RunConfig(
        name="told",
        dataset=DatasetConfig(name="told"),
        model=TransformerConfig(width=8, steps=3, conditions=("coupling",), standardise=True),
        training=TrainingConfig(loss="L_1", steps=60, learning_rate=2e-2, seeds=(0, 1), threads=1),
    )
    run = qdyn.train(config, dataset=dataset, out=tmp_path / "run", progress=False)
    test = dataset.split("validation").batch(range(32))
    for model in run.models:
        p = model.with_conditions(test.conditions).forecast(test.inputs)  # type: ignore[attr-defined]
        hit = p[:, 0].argmax(-1) == test.targets[:, 0]
        assert hit.double().mean() > 0.9
    row = qdyn.evaluate(run, dataset=dataset, split="validation").rows[0]
    assert row.metrics["accuracy"].mean > 0.9
    missing = replace(config, model=TransformerConfig(width=8, steps=3, conditions=("couplng",)))
    with pytest.raises(DatasetError, match=r"no condition 'couplng'.*'coupling'"):
        qdyn.train(missing, dataset=dataset, out=tmp_path / "missing", progress=False)


def test_presets_say_which_attention() -> None:
    section = {"kind": "transformer", "attention": "softmax", "attention_options": {"temperature": 2.0}}
    config = build(ModelSection, section, where="mine.yaml", key="model")
    assert isinstance(config, TransformerConfig)
    assert build(ModelSection, to_mapping(config), where="again") == config
    model = build_model(config, KINDS["unit"], seed=0)
    assert isinstance(model, Transformer)
    assert model.blocks[0].attention.options.temperature == 2.0
    for wrong, message in (
        ({"attention": "softmx"}, "mine.yaml: .*did you mean 'softmax'"),
        ({"attention_options": {"temprature": 1.0}}, "did you mean 'temperature'"),
        ({"width": 0}, "an integer >= 1"),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)"),
        ({"graph": "bond"}, "model.graph"),
        ({"graph_reach": 0}, "an integer >= 1"),
        ({"conditions": ["J", "J"]}, "must name each once"),
        ({"conditions": ["J"], "embedding": "identity"}, "needs model.embedding 'linear'"),
    ):
        with pytest.raises(ConfigError, match=message) as refusal:
            build(ModelSection, section | wrong, where="mine.yaml", key="model")
        assert "\n" not in str(refusal.value)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="the data are tokens"):
        model_of("token", embedding="identity")
    with pytest.raises(ArgumentError, match="gives positions to 10"):
        model_of("token").forecast(elements("token", steps=11))
    with pytest.raises(ArgumentError, match="'L_B'"):
        model_of("real").loss("L_B", elements("real"), elements("real"))
    for kind in KINDS:
        with pytest.raises(ArgumentError, match=r"`model.graph` 'bonds' is for molecules in SMILES"):
            model_of(kind, graph="bonds")
    assert model_of("unit").loss("L_B", elements("unit"), elements("unit")).isfinite().all()


def test_states_meet_quantum_attention_as_they_are() -> None:
    """Nothing but two circuits and the head: amplitudes go in, and one update moves every angle."""
    model = model_of(
        "quantum_state",
        attention="overlap",
        attention_options={"encoding": "complex_amplitude"},
        embedding="identity",
        positions="none",
        normalise=False,
        feed_forward=0,
        heads=1,
        blocks=1,
    )
    assert {name.rsplit(".", 1)[0] for name, _ in model.named_parameters()} == {
        "blocks.0.attention.score_circuits",
        "blocks.0.attention.value_circuits",
        "head",
    }
    x = elements("quantum_state")
    model.loss("L_1", x[:, :-1], x[:, 1:]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-8, name


@pytest.mark.parametrize("kind", ["quantum_state", "unit", "real"])
def test_vectors_may_go_in_as_they_are(kind: str) -> None:
    model = model_of(kind, embedding="identity", heads=1, positions="sinusoidal", normalise=False)
    assert model.blocks[0].attention.dim == KINDS[kind].dimension * (2 if kind == "quantum_state" else 1)
    assert model.forecast(elements(kind)).shape == elements(kind).shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("causal", "blocks"), [(True, 2), (False, 1), (False, 2)])
def test_the_element_asked_for_is_the_last_of_all_forecasts(kind: str, causal: bool, blocks: int) -> None:
    model, x = model_of(kind, causal=causal, blocks=blocks), elements(kind)
    torch.testing.assert_close(model.predict(x), model.forecast(x)[:, -1], rtol=0, atol=1e-13)


def test_a_series_of_integers_goes_on_with_what_is_forecast() -> None:
    model = model_of("real")
    whole = torch.tensor([[[1, 2, 0], [3, 4, 1], [5, 6, 2]]])
    found = model.rollout(whole, 2)
    torch.testing.assert_close(found.double(), model.rollout(whole.double(), 2), rtol=0, atol=1e-6)
    assert (found % 1 != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_drop_nothing(kind: str) -> None:
    model, x = model_of(kind, dropout=0.5).train(), elements(kind)
    for asked in (model.forecast, model.predict, model.attention_weights):
        assert torch.equal(asked(x), asked(x))
    assert model.training
    found = asked(x)
    assert torch.equal(model.eval().attention_weights(x), found)


def test_what_is_dropped_does_not_depend_on_how_a_batch_is_shared() -> None:
    model, x = model_of("real", dropout=0.3).train(), elements("real", count=4)
    losses = []
    for share in (slice(0, 4), slice(0, 1), slice(1, 4)):
        torch.manual_seed(7)
        with share_of_batch(share.start, 4):
            losses.append(model.loss("L_1", x[share, :-1], x[share, 1:]))
    torch.testing.assert_close(torch.cat(losses[1:]), losses[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", ["token", "real"])
def test_masks_that_do_not_fit_are_refused(kind: str, causal: bool, as_user: None) -> None:
    model, x = model_of(kind, causal=causal), elements(kind)
    with pytest.raises(ArgumentError, match=r"`mask` must have shape \(2, 6\)"):
        model(x, torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(ArgumentError, match=r"`mask` must be of torch.bool"):
        model(x, torch.ones(2, 6))
