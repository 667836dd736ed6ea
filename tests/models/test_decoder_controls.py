"""Beside the decoder of molecules: gradients from circuits, frozen angles, other attention, an LSTM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import qdyn
from qdyn.attention import names
from qdyn.cli import main
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.data.smiles import QM9_VOCABULARY, SmilesVocabulary
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.dropout import BatchDropout, share_of_batch
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.models.hybrid_decoder.decoder import HybridDecoder
from qdyn.models.hybrid_decoder.gradients import measured_scores
from qdyn.models.hybrid_decoder.scores import quantum_scores
from qdyn.models.lstm_decoder import LSTMDecoder, LSTMDecoderConfig
from qdyn.models.token_model import TokenModel
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.ensembles import Ensemble

QM9 = SequenceMetadata("qm9", "token", 33, vocabulary=QM9_VOCABULARY)
WORDS = torch.from_numpy(SmilesVocabulary.of_qm9().encode(["CNC1(C(=O)OC)CC1", "CCO", "c1ccoc1"])[0])
TOKENS = torch.tensor([[4, 0, 2, 4], [1, 1, 1, 1], [0, 3, 2, 1]])


def decoder(seed: int = 0, **settings: Any) -> HybridDecoder:
    return HybridDecoder(HybridDecoderConfig(**settings), QM9, seed=seed)


def scores_and_gradients(config: HybridDecoderConfig) -> tuple[Tensor, Tensor]:
    """Scores of random angles, and the derivatives of a random sum of them, in double precision."""
    draw = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    count, circuit = config.register_angles, config.layers * config.qubits * config.angles_per_qubit
    words, places, query, key = normal(5, count), normal(4, count), normal(circuit), normal(circuit)
    told = normal(3, count) if config.conditions else None
    upstream = normal(3, 4, 4).detach()
    scores = (quantum_scores if config.gradient == "exact" else measured_scores)(
        config, TOKENS, words, places, query=query, key=key, conditions=told
    )
    leaves = [leaf for leaf in (words, places, query, key, told) if leaf is not None]
    gradients = torch.autograd.grad((scores * upstream).sum(), leaves)
    return scores.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("conditions", [(), ("a", "b")])
@pytest.mark.parametrize("ansatz", ["real", "hardware_efficient"])
@pytest.mark.parametrize("layers", [1, 2])
def test_parameter_shift_is_the_exact_gradient(layers: int, ansatz: str, conditions: tuple[str, ...]) -> None:
    """With half angles' own prefactor; that of whole angles would be larger by the square root of 2."""
    settings: dict[str, Any] = {"layers": layers, "ansatz": ansatz, "conditions": conditions}
    exact = scores_and_gradients(HybridDecoderConfig(**settings))
    shifted = scores_and_gradients(HybridDecoderConfig(gradient="parameter_shift", **settings))
    assert float((exact[0] - shifted[0]).abs().max()) < 1e-12
    assert float((exact[1] - shifted[1]).abs().max()) < 1e-10


@pytest.mark.parametrize("conditions", [(), ("a", "b")])
def test_simultaneous_perturbation_has_no_bias(conditions: tuple[str, ...]) -> None:
    _, exact = scores_and_gradients(HybridDecoderConfig(conditions=conditions))
    torch.manual_seed(0)
    config = HybridDecoderConfig(gradient="spsa", spsa_step=1e-3, conditions=conditions)
    drawn = torch.stack([scores_and_gradients(config)[1] for _ in range(49)])
    moved = exact.abs() > 1e-12
    errors = (drawn.mean(0) - exact)[moved] / (drawn.std(0)[moved] / 7)
    assert 0.7 < float(errors.square().mean().sqrt()) < 1.3
    assert float(drawn.std(0)[moved].median()) > 0.1 * float(
        exact.abs().median()
    )  # there is noise to be averaged


@pytest.mark.parametrize("gradient", ["parameter_shift", "spsa"])
def test_measured_gradients_of_seeds_as_one_batch(gradient: str) -> None:
    models = [decoder(seed, gradient=gradient).double() for seed in (0, 1)]
    data = WORDS[:, :9], WORDS[:, 1:10], torch.ones(3, 9, dtype=torch.bool)

    def gradients(ensemble: Ensemble) -> list[Tensor]:
        torch.manual_seed(3)
        ensemble.losses("L_1", *data, same_data=True).sum().backward()  # type: ignore[no-untyped-call]
        return [tensor.grad for tensor in ensemble.parameters.values() if tensor.grad is not None]

    together = gradients(Ensemble(models))
    for place in (0, 1):
        alone = gradients(Ensemble(models[place : place + 1]))
        for both, one in zip(together, alone, strict=True):
            assert torch.allclose(both[place], one[0], atol=1e-12)
    with torch.no_grad():  # judged without further circuits
        assert torch.equal(models[0](WORDS)[0], decoder(0).double()(WORDS)[0])


@pytest.mark.parametrize(("layers", "is_temperature"), [(1, True), (2, False)])
def test_properties_are_a_temperature_unless_registers_entangle(layers: int, is_temperature: bool) -> None:
    """The scores of one molecule under two conditions: one factor for all pairs, or not."""
    config = HybridDecoderConfig(layers=layers, conditions=("a", "b"))
    draw = torch.Generator().manual_seed(2)
    count = config.register_angles
    words, places = torch.randn(5, count, generator=draw), torch.randn(4, count, generator=draw)
    query, key = torch.randn(2, layers * 6, generator=draw)
    tokens = TOKENS[2:].expand(2, 4)
    told = torch.randn(2, count, generator=draw)
    one, other = quantum_scores(config, tokens, words, places, query=query, key=key, conditions=told)
    ratios = (one / other).flatten()
    assert (float(ratios.std() / ratios.mean().abs()) < 1e-4) == is_temperature


def test_frozen_angles_stay_as_drawn(tmp_path: Path) -> None:
    config = HybridDecoderConfig(frozen=True, conditions=("atoms",), initial_spread=1.0)
    run = train(tmp_path / "run", config)
    start = HybridDecoder(config, chains().metadata, seed=0)
    moved = {
        name: not torch.equal(one, other)
        for (name, one), other in zip(module(run, 0).named_parameters(), start.parameters(), strict=True)
    }
    circuit = {name for name in moved if "quantum" in name or "_angles" in name}
    assert len(circuit) == 6
    assert {name for name, found in moved.items() if not found} == circuit
    assert start.label == "Frozen quantum decoder"
    trained = sum(one.numel() for name, one in start.named_parameters() if name not in circuit)
    assert run.record.parameters == trained


@pytest.mark.parametrize("kind", ["quantum", "classical_eq", "lstm"])
def test_standardised_conditions_know_no_units(kind: str) -> None:
    """A property in other units, from another zero, tells the same."""
    found = []
    for factor, zero in ((1.0, 0.0), (1000.0, -7.0)):
        lengths = factor * chains().conditions["atoms"] + zero
        data = chains(length=lengths)
        model: TokenModel
        if kind == "lstm":
            model = LSTMDecoder(LSTMDecoderConfig(conditions=("atoms",), standardise=True), data.metadata)
        else:
            config = HybridDecoderConfig(conditions=("atoms",), standardise=True, score=kind)  # type: ignore[arg-type]
            model = HybridDecoder(config, data.metadata)
        model.double().eval().warm_start(data.split("train"))
        batch = data.batch(range(4))
        found.append(model.with_conditions(batch.conditions).forecast(batch.inputs))
        other = model.with_conditions({"atoms": batch.conditions["atoms"] + 2 * factor}).forecast(
            batch.inputs
        )
        assert float((found[-1] - other).abs().max()) > 1e-4
    assert torch.allclose(found[0], found[1], atol=1e-10)


def test_attention_by_name_is_the_decoders_own() -> None:
    """Softmax attention built by its name, given the matrices of the classical decoder."""
    named = decoder(score="attention", attention="softmax").eval()
    own = decoder(score="classical").eval()
    state = own.state_dict()
    attention: Any = own.block.attention
    mechanism: Any = named.block.attention.mechanism
    with torch.no_grad():
        attention.projection.bias.zero_()
        shared = {name: tensor for name, tensor in state.items() if "attention" not in name}
        named.load_state_dict(shared, strict=False)
        for matrix, source in (
            ("query", "query"),
            ("key", "key"),
            ("value", "value"),
            ("output", "projection"),
        ):
            getattr(mechanism, matrix).weight.copy_(getattr(attention, source).weight)
        logits, weights = named(WORDS)
        expected, expected_weights = own(WORDS)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(weights, expected_weights, atol=1e-6)
    assert named.label == "Softmax-attention decoder"


@pytest.mark.parametrize("name", names())
def test_any_attention_can_be_named(name: str) -> None:
    if name == "doubly_stochastic":
        with pytest.raises(ArgumentError, match="causal"):
            decoder(score="attention", attention=name)
        return
    model = decoder(score="attention", attention=name).eval()
    whole = model.forecast(WORDS[:, :-1])
    assert torch.allclose(whole.sum(-1), torch.ones(3, 23), atol=1e-5)
    assert torch.allclose(model.forecast(WORDS[:, :7]), whole[:, :7], atol=1e-6)
    weights = model.attention_weights(WORDS[:, :-1])
    assert torch.allclose(weights.sum(-1), torch.ones(3, 23), atol=1e-5)
    assert float(weights.triu(1).abs().max()) == 0


def test_the_lstm_is_that_of_pytorch() -> None:
    model = LSTMDecoder(LSTMDecoderConfig(width=5, hidden=4), SequenceMetadata("x", "token", 7)).double()
    reference: Any = nn.LSTM(5, 4, batch_first=True).double()
    words = torch.randint(0, 7, (3, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        reference.weight_ih_l0.copy_(model.gates.weight)
        reference.bias_ih_l0.copy_(model.gates.bias)
        reference.weight_hh_l0.copy_(model.recurrence.weight)
        reference.bias_hh_l0.zero_()
        expected = model.output(reference(model.token_embed(words))[0])
        assert torch.allclose(model(words)[0], expected, atol=1e-12)
        mask = torch.ones(3, 6, dtype=torch.bool)
        mask[:, 2] = False
        passed = model(words, None, mask)[0][:, 3:]
        assert torch.allclose(passed, model(words[:, [0, 1, 3, 4, 5]])[0][:, 2:], atol=1e-12)


def test_lstms_of_several_seeds_are_one_batch(tmp_path: Path) -> None:
    config = LSTMDecoderConfig(conditions=("atoms",), dropout=0.2)
    both = train(tmp_path / "both", config, seeds=(0, 3), dtype="complex128")
    alone = train(tmp_path / "alone", config, seeds=(3,), dtype="complex128")
    for one, other in zip(module(both, 1).parameters(), module(alone, 0).parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-8)


def test_dropout_of_a_share_is_that_of_the_whole() -> None:
    dropout, x = BatchDropout(0.3), torch.ones(1000, 20)
    torch.manual_seed(0)
    whole = dropout(x)
    torch.manual_seed(0)
    with share_of_batch(600, 1000):
        assert torch.equal(dropout(x[600:]), whole[600:])
    assert abs(float(whole.mean()) - 1) < 5 * (0.3 / 0.7 / 20_000) ** 0.5
    assert torch.equal(dropout.eval()(x), x)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_one_seed_goes_on_to_the_same_bits(tmp_path: Path, keep: str) -> None:
    """As the presets train: decoupled decay, clipping, dropout, padding counted."""
    settings: dict[str, Any] = {
        "optimiser": "adamw", "weight_decay": 0.1, "gradient_clip": 1.0, "learning_rate": 5e-3,
        "evaluate_every": 2, "checkpoint_every": 2, "keep": keep,
    }  # fmt: skip
    config = HybridDecoderConfig(conditions=("atoms",), standardise=True, dropout=0.1)
    whole = train(tmp_path / "whole", config, padding=True, steps=6, **settings)
    train(tmp_path / "parts", config, padding=True, steps=4, **settings)
    parts = train(tmp_path / "parts", config, padding=True, steps=6, resume=True, **settings)
    for one, other in zip(module(whole, 0).parameters(), module(parts, 0).parameters(), strict=True):
        assert torch.equal(one, other)
    assert np.array_equal(whole.history.loss, parts.history.loss)


def chains(length: Tensor | None = None) -> SequenceDataset:
    """Chains of carbon with an end, of lengths that padding completes."""
    smiles = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "F", "=O")]
    vocabulary = SmilesVocabulary.of_qm9()
    rows, lengths = vocabulary.encode(smiles)
    known = torch.from_numpy(lengths.astype(float)) if length is None else length
    return SequenceDataset.from_arrays(
        rows, kind="token", vocabulary=vocabulary.words, lengths=lengths, name="chains",
        conditions={"atoms": known}, splits={"train": (0, 24), "validation": (24, 32)},
    )  # fmt: skip


def module(run: qdyn.Run, place: int) -> nn.Module:
    """A model of a run, as what has parameters."""
    return cast(nn.Module, run.model(place))


def train(
    out: Path,
    model: HybridDecoderConfig | LSTMDecoderConfig,
    *,
    padding: bool = False,
    resume: bool = False,
    **settings: Any,
) -> qdyn.Run:
    defaults: dict[str, Any] = {"steps": 3, "batch_size": 8, "seeds": (0,), "evaluate_every": 3}
    config = RunConfig(
        name="chains",
        dataset=DatasetConfig("chains.h5", count_padding=padding),
        model=model,
        training=TrainingConfig(loss="L_1", schedule="constant", **{**defaults, **settings}),
    )
    data = None if Path("chains.h5").exists() else chains()
    return qdyn.train(config, dataset=data, out=out, resume=resume, progress=False)


def test_it_is_judged_with_and_without_padding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told conditions, by the command, on the validation split where there is no test split."""
    monkeypatch.chdir(tmp_path)
    chains().save("chains.h5")
    run = train(Path("run"), HybridDecoderConfig(conditions=("atoms",)), padding=True, seeds=(0, 1))
    assert main(["evaluate", "run"]) == 0
    assert "validation split: 8 sequences" in capsys.readouterr().out
    rows = json.loads(Path("run/evaluation/table.json").read_text())["rows"]
    found = {row["key"]: {name: value["mean"] for name, value in row["metrics"].items()} for row in rows}
    batch = chains().split("validation").batch(range(8))
    nats: list[Tensor] = []
    for model in run.models:
        assert isinstance(model, HybridDecoder)
        with torch.no_grad():
            logits, _ = model(batch.inputs, batch.conditions["atoms"][:, None].float())
        nats.append(nn.functional.cross_entropy(logits.mT, batch.targets, reduction="none").double())
    steps = torch.stack(nats)
    real = (steps * batch.mask).sum(-1) / batch.mask.sum(-1)
    assert found["chains"]["L_1_padded"] == pytest.approx(float(steps.mean()), abs=1e-5)
    assert found["chains"]["L_1"] == pytest.approx(float(real.mean()), abs=1e-5)
    assert run.history.validation["L_1"][-1].mean() == pytest.approx(float(steps.mean()), abs=1e-5)
    for rival in ("bigram", "trigram"):  # which know that padding follows padding
        assert found[rival]["L_1_padded"] < found[rival]["L_1"]
    with pytest.raises(ArgumentError, match="must hold 'atoms'"):
        run.model(0).with_conditions({})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score": "attention"}, "must name an attention exactly where"),
        ({"attention": "softmax"}, "must name an attention exactly where"),
        ({"score": "uniform", "frozen": True}, "for the circuits of model.score 'quantum'"),
        ({"score": "classical", "gradient": "spsa"}, "for the circuits of model.score 'quantum'"),
        ({"attention_options": {"temperature": 2.0}}, "for model.score 'attention', but that is 'quantum'"),
        ({"score": "uniform", "heads": 2}, "for model.score 'attention', but that is 'uniform'"),
        ({"standardise": True}, "`model.standardise` must be false without `model.conditions`"),
        ({"spsa_step": 0.0}, "spsa_step"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ArgumentError), match=message):
        HybridDecoderConfig(**settings)


def test_an_unknown_attention_gets_one_line() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'softmax'"):
        decoder(score="attention", attention="softmx")


def test_padding_is_forecast_where_it_counts() -> None:
    data = chains()
    shown = data.with_padding()
    assert bool(shown.batch([0]).mask.all())
    assert bool(shown.split("train").batch([0]).mask.all())
    assert not bool(data.batch([0]).mask.all())
    assert torch.equal(shown.batch([0]).inputs, data.batch([0]).inputs)
    assert np.array_equal(shown.batch([5]).conditions["atoms"], data.batch([5]).conditions["atoms"])
