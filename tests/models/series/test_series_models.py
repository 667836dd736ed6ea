"""Forecasters of time series: counts, causality, windows, and what no output depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qdyn.attention.mechanism import names
from qdyn.attention.qasa.adapter import prune_weights
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.adapters import QuantumAdapter, make_adapter
from qdyn.models.dropout import share_of_batch
from qdyn.models.registry import build_model
from qdyn.models.series.config import QLSTMConfig, QnnFormerConfig, SeriesEncoderConfig, SeriesSection
from qdyn.models.series.dropout import SeededDropout
from qdyn.models.series.predictor import SeriesPredictor
from qdyn.models.transformer_config import TransformerConfig
from qdyn.training.ensembles import Ensemble

SERIES = SequenceMetadata("series", "real", 1, normalised=False)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def encoder(**options: object) -> SeriesEncoderConfig:
    return SeriesEncoderConfig(**options)  # type: ignore[arg-type]


def qasa(*layers: int, **options: object) -> SeriesEncoderConfig:
    return encoder(adapter="quantum", adapter_layers=layers, **options)


def layers_of(model: SeriesPredictor) -> Any:
    return model.layers


def made(config: SeriesSection, seed: int = 0, metadata: SequenceMetadata = SERIES) -> SeriesPredictor:
    model = build_model(config, metadata, seed=seed)
    assert isinstance(model, SeriesPredictor)
    return model.eval()


EVERY = [
    encoder(),
    encoder(start="copies"),
    encoder(attention="softmax"),
    qasa(3),
    qasa(0, 2),
    encoder(adapter="bottleneck", adapter_layers=(3,)),
    encoder(adapter="none", adapter_layers=(1,)),
    QnnFormerConfig(),
    QLSTMConfig(),
]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_as_many_as_published(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "qasa.json").read_text())["param_counts"]
    assert count(made(encoder(start="copies"))) == golden["Classical"]
    for place in range(4):
        assert count(made(qasa(place))) == golden["QASA_1Q"]
    assert count(made(qasa(2, 3))) == golden["QASA_2Q"]
    assert count(made(qasa(0, 1, 2, 3))) == golden["QASA_4Q"]
    assert count(made(encoder(adapter="bottleneck", adapter_layers=(3,)))) == golden["bottleneck"]
    lstm, qnn = made(QLSTMConfig()), made(QnnFormerConfig())
    assert (count(lstm), count(qnn)) == (golden["QLSTM"], golden["QnnFormer"])
    quantum = golden["quantum_weights"]
    assert dict(lstm.named_parameters())["weights"].numel() == quantum["QLSTM"]
    assert layers_of(qnn)[3].attention.weights.numel() == quantum["QnnFormer"]
    assert count(QuantumAdapter(64)) == 1148
    assert QuantumAdapter(64, pruned=True).weights.numel() == quantum["QASA_effective"]


def test_the_classical_layer_is_that_of_pytorch() -> None:
    """Same weights, same outputs as torch.nn.TransformerEncoderLayer, with and without a causal mask."""
    for causal in (False, True):
        model = made(encoder(layers=1, causal=causal))
        layer = layers_of(model)[0]
        theirs = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, batch_first=True).eval()
        theirs.self_attn.in_proj_weight.data = layer.attention.project.weight.data
        theirs.self_attn.in_proj_bias.data = layer.attention.project.bias.data
        pairs: list[tuple[Any, Any]] = [
            (theirs.self_attn.out_proj, layer.attention.out),
            (theirs.linear1, layer.first),
        ]
        pairs += [(theirs.linear2, layer.second), (theirs.norm1, layer.norm1), (theirs.norm2, layer.norm2)]
        for mine, other in pairs:
            mine.load_state_dict(other.state_dict())
        x = torch.randn(3, 7, 64)
        hidden = torch.ones(7, 7, dtype=torch.bool).triu(1) if causal else None
        seen = torch.ones(3, 7, 7, dtype=torch.bool)
        found = layer(x.reshape(21, 64), seen.tril() if causal else seen, lambda one: one)
        torch.testing.assert_close(found.reshape(3, 7, 64), theirs(x, src_mask=hidden), atol=2e-6, rtol=0)


@pytest.mark.parametrize("config", EVERY, ids=str)
def test_forecasts_look_at_the_past_alone(config: SeriesSection) -> None:
    model = made(config)
    seen = torch.randn(2, 12, 1)
    later = seen.clone()
    later[:, 7:] += 5
    torch.testing.assert_close(model.forecast(seen)[:, :7], model.forecast(later)[:, :7], atol=0, rtol=0)
    assert float((model.forecast(seen) - model.forecast(later))[:, 7:].abs().max()) > 1e-4


@pytest.mark.parametrize(
    "config", [encoder(causal=False), qasa(3, causal=False), QnnFormerConfig(causal=False)]
)
def test_without_a_mask_outputs_see_what_comes_and_forecasts_do_not(config: SeriesSection) -> None:
    """The published loss is leaky: the output at position 3 depends on value 4, its target."""
    model = made(config)
    seen = torch.randn(1, 12, 1)
    later = seen.clone()
    # Untrained models see little but signs: the LayerNorm of the stem takes the length of W x away.
    later[:, 4] *= -1
    assert float((model(seen) - model(later))[:, 3].abs().detach()) > 1e-4
    torch.testing.assert_close(model.forecast(seen)[:, :4], model.forecast(later)[:, :4], atol=0, rtol=0)
    torch.testing.assert_close(model.forecast(seen)[:, -1], model(seen)[:, -1])
    assert model.validation_metric == "MSE_last"


@pytest.mark.parametrize("config", [encoder(), encoder(causal=False), QLSTMConfig()])
def test_long_sequences_are_forecast_window_by_window(config: SeriesSection) -> None:
    model = made(config)
    seen = torch.randn(2, 26, 1)
    found = model.forecast(seen)
    for step in (3, 19, 20, 25):
        torch.testing.assert_close(found[:, step], model.predict(seen[:, : step + 1]), atol=1e-6, rtol=0)
    ahead = model.rollout(seen, 3)
    again = model.rollout(torch.cat([seen[:, -19:], ahead[:, :1]], dim=1), 2)
    torch.testing.assert_close(ahead[:, 1:], again, atol=1e-6, rtol=0)


def test_losses_are_mean_squared_errors() -> None:
    model = made(encoder(causal=False))
    inputs, targets = torch.randn(3, 20, 1), torch.randn(3, 20, 1)
    mask = torch.ones(3, 20, dtype=torch.bool)
    mask[1, 13:] = False
    found = model.loss("MSE", inputs, targets, mask), model.loss("MSE_last", inputs, targets, mask)
    for index, length in ((0, 20), (1, 13)):
        errors = (model(inputs[index : index + 1, :length]) - targets[index : index + 1, :length]).square()
        torch.testing.assert_close(found[0][index], errors.mean(), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found[1][index], errors[0, -1, 0], atol=1e-6, rtol=1e-5)
    with pytest.raises(ArgumentError, match="`loss` is 'L_1', which is unknown: valid: MSE, MSE_last"):
        model.loss("L_1", inputs, targets)


@pytest.mark.parametrize(
    "config", [encoder(window=4), encoder(window=4, causal=False), QLSTMConfig(window=4)]
)
def test_losses_know_no_padding(config: SeriesSection) -> None:
    """Windows that reach into padding would count the last steps again, with ever shorter contexts."""
    model = made(config)
    inputs, targets = torch.randn(2, 3, 13, 1).unbind()
    lengths = torch.tensor([8, 13, 3])
    mask = torch.arange(13) < lengths[:, None]
    for name in ("MSE", "MSE_last"):
        together = model.loss(name, inputs, targets, mask)
        for row, length in enumerate(lengths.tolist()):
            one = slice(row, row + 1)
            alone = model.loss(name, inputs[one, :length], targets[one, :length])
            padded = model.loss(name, inputs[one], targets[one], mask[one])
            torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(together[one], alone, atol=1e-6, rtol=1e-5)


def test_integers_are_forecast_as_numbers_with_a_fraction() -> None:
    model = made(encoder(window=4))
    seen = torch.randint(-5, 5, (2, 6, 1))
    for forecast in (model.forecast, model.predict, lambda context: model.rollout(context, 3)):
        found, expected = forecast(seen), forecast(seen.float())
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)
        assert forecast(seen.double()).dtype == torch.float64
    assert float((model.predict(seen) % 1).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "config", [encoder(window=4), encoder(window=4, causal=False), QLSTMConfig(window=4)]
)
def test_forecasts_drop_nothing(config: SeriesSection) -> None:
    model, seen = made(config), torch.randn(2, 6, 1)
    expected = model.forecast(seen), model.predict(seen)
    assert model.train().training
    assert torch.equal(model.forecast(seen), expected[0])
    assert torch.equal(model.predict(seen), expected[1])
    assert model.training


@pytest.mark.usefixtures("as_user")
def test_a_context_that_cannot_be_gone_on_from_is_refused() -> None:
    model = made(encoder(window=4))
    seen = torch.randn(2, 6, 1)
    assert torch.equal(model.predict(seen.numpy()), model.predict(seen))  # type: ignore[arg-type]
    for wrong, message in (
        (seen[:, :0], r"must hold at least one element, but has shape \(2, 0, 1\)"),
        (torch.randn(2, 6, 3), r"must have shape \(\.\.\., T, 1\), but has shape \(2, 6, 3\)"),
        (seen.to(torch.complex64), "must hold real vectors, but is of type torch.complex64"),
    ):
        with pytest.raises(ArgumentError, match=f"Argument `context` {message}"):
            model.predict(wrong)


def test_pruned_weights_change_no_output() -> None:
    full, pruned = made(qasa(1, 3)), made(qasa(1, 3, pruned=True))
    state = full.state_dict()
    for place in (1, 3):
        name = f"layers.{place}.adapter.weights"
        state[name] = prune_weights(state[name])
    pruned.load_state_dict(state)
    seen = torch.randn(4, 20, 1)
    assert torch.equal(full(seen), pruned(seen))
    assert count(full) - count(pruned) == 6


def test_the_shift_is_an_offset_of_the_normalisation() -> None:
    """QASA's time shift does nothing that the LayerNorm before the circuit cannot."""
    shifted, plain = QuantumAdapter(16, shift=20.0), QuantumAdapter(16)
    state = shifted.state_dict()
    state["norm.bias"] = state["norm.bias"] + 20 - 6 * torch.pi
    plain.load_state_dict(state)
    u = torch.randn(30, 16)
    torch.testing.assert_close(shifted(u), plain(u), atol=2e-5, rtol=0)


def test_the_shift_saturates_the_classical_bottleneck(shared: Path) -> None:
    content = json.loads((shared / "golden" / "qasa.json").read_text())
    golden = content["bottleneck_control_saturation_at_init"]
    torch.manual_seed(0)
    u = nn.functional.layer_norm(torch.randn(200, 64), (64,))
    saturated, spread = {}, {}
    for shift in (0.0, 20.0):
        values = []
        for _ in range(200):
            adapter = make_adapter("bottleneck", 64, shift=shift)
            with torch.no_grad():
                values.append(adapter.values(adapter.norm(torch.tanh(adapter.narrow(u))) + shift))
        q = torch.stack(values)
        saturated[shift] = float((q.abs() > 0.99).float().mean())
        spread[shift] = float(q.std(dim=1).mean())
    assert saturated[0.0] < 0.02
    # Means over random starts: theirs are of as many, so a few per cent apart.
    assert saturated[20.0] == pytest.approx(golden["fraction_abs_gt_0.99"], abs=0.08)
    assert spread[20.0] == pytest.approx(golden["token_std_with_shift20"], rel=0.3)
    assert spread[0.0] == pytest.approx(golden["token_std_without"], rel=0.15)


@pytest.mark.parametrize("name", names())
def test_any_attention_may_be_named(name: str) -> None:
    """Forecasts never look ahead; what is not causal by nature forecasts from the last position."""
    causal = name != "doubly_stochastic"
    model = made(encoder(attention=name, layers=1, width=16, heads=2, window=6, causal=causal))
    seen = torch.randn(2, 6, 1)
    later = seen.clone()
    later[:, 4:] *= -1
    found = model.forecast(seen)
    assert found.isfinite().all()
    torch.testing.assert_close(found[:, :4], model.forecast(later)[:, :4], atol=1e-6, rtol=0)


def test_the_adapter_fits_into_the_transformer_of_any_attention() -> None:
    config = TransformerConfig(attention="fidelity", width=8, blocks=2, adapter_blocks=(1,))
    model: Any = build_model(config, SequenceMetadata("words", "token", 5), seed=0)
    plain: Any = build_model(replace(config, adapter_blocks=()), model.metadata, seed=0)
    assert count(model) - count(plain) == count(QuantumAdapter(8))
    loss = model.loss("L_1", torch.tensor([[0, 1, 2, 3]]), torch.tensor([[1, 2, 3, 4]]))
    loss.sum().backward()
    assert float(model.blocks[1].adapter.weights.grad.abs().max()) > 0
    with pytest.raises(ArgumentError, match=r"`model.adapter_blocks\[0\]` must be an integer in \[0, 1\]"):
        replace(config, adapter_blocks=(2,))
    with pytest.raises(ConfigError, match="must name the blocks of the adapter 'bottleneck', but is empty"):
        replace(config, adapter="bottleneck", adapter_blocks=())
    with pytest.raises(ConfigError, match=r"`model\.standardise` must be false without `model\.conditions`"):
        replace(config, standardise=True)


@pytest.mark.parametrize("name", ["quantum", "bottleneck"])
def test_adapters_keep_the_shape_of_what_they_are_given(name: Any) -> None:
    adapter = make_adapter(name, 8)
    assert adapter.values(torch.zeros(8)).shape == (8,)
    for shape in ((3, 8), (2, 5, 8)):
        assert adapter(torch.zeros(shape)).shape == shape


@pytest.mark.usefixtures("as_user")
def test_unknown_words_are_refused_where_they_are_said() -> None:
    for name, word in (("start", "copy"), ("adapter", "quantm"), ("adapter_encoding", "rz")):
        with pytest.raises(ArgumentError, match=rf"`model.{name}` is '{word}', which is unknown"):
            encoder(**{name: word})


def test_an_adapter_fits_into_any_transformer() -> None:
    class Adapted(nn.TransformerEncoderLayer):
        """PyTorch's own layer with a circuit after its attention."""

        def __init__(self) -> None:
            super().__init__(32, 2, 64, dropout=0.0, batch_first=True)
            self.adapter = QuantumAdapter(32)

        def _sa_block(self, *arguments: object, **options: object) -> torch.Tensor:
            return self.adapter(super()._sa_block(*arguments, **options))  # type: ignore[arg-type]

    layer = Adapted()
    layer(torch.randn(2, 5, 32)).square().sum().backward()
    gradient = layer.adapter.weights.grad
    assert gradient is not None
    assert int((gradient != 0).sum()) == 33


def test_seeds_differ_and_copies_start_alike() -> None:
    one, same, other = made(encoder(), 1), made(encoder(), 1), made(encoder(), 2)
    seen = torch.randn(1, 20, 1)
    assert torch.equal(one(seen), same(seen))
    assert not torch.equal(one(seen), other(seen))
    copied = layers_of(made(encoder(start="copies")))
    assert torch.equal(copied[0].first.weight, copied[3].first.weight)
    assert not torch.equal(layers_of(one)[0].first.weight, layers_of(one)[3].first.weight)


def test_dropout_depends_on_seed_and_update_alone() -> None:
    """One entry in ten, independent between seeds and updates, the same whoever else is in the batch."""
    like = torch.ones(1, 1, 1)

    def dropped(seed: int, step: int) -> torch.Tensor:
        torch.manual_seed(step)
        return SeededDropout(0.1, seed=seed)(like)(torch.ones(100_000)) == 0

    one, same, other, later = dropped(1, 0), dropped(1, 0), dropped(2, 0), dropped(1, 1)
    assert torch.equal(one, same)
    for mask in (one, other, later):
        # Four standard deviations of a binomial law.
        assert abs(float(mask.float().mean()) - 0.1) < 4 * np.sqrt(0.09 / 100_000)
    for mask in (other, later, one.roll(1), one.roll(64)):
        assert abs(float((one & mask).float().mean()) - 0.01) < 4 * np.sqrt(0.01 * 0.99 / 100_000)
    kept = SeededDropout(0.1, seed=1)(like)(torch.ones(10))
    assert set(kept.tolist()) <= {0.0, float(torch.tensor(1.0) / 0.9)}


@pytest.mark.parametrize(
    "config", [qasa(1, layers=2), encoder(attention="softmax", layers=1), QLSTMConfig()], ids=str
)
def test_shares_of_a_batch_lose_what_the_whole_batch_loses(config: SeriesSection) -> None:
    """Shares of 3 and 2 sequences, each cut into two windows, for two seeds."""
    ensemble = Ensemble([made(replace(config, dropout=0.5), seed).double().train() for seed in range(2)])
    inputs, targets = torch.randn(2, 2, 5, 21, 1, dtype=torch.float64).unbind()
    mask = torch.ones(2, 5, 21, dtype=torch.bool)

    def losses(rows: slice) -> torch.Tensor:
        torch.manual_seed(7)
        return ensemble.losses("MSE", inputs[:, rows], targets[:, rows], mask[:, rows])

    whole = losses(slice(0, 5))
    found = torch.zeros_like(whole)
    for rows in (slice(0, 3), slice(3, 5)):
        with share_of_batch(rows.start, 5):
            found += losses(rows) * (rows.stop - rows.start) / 5
    torch.testing.assert_close(found, whole, atol=1e-11, rtol=1e-10)
    # What is dropped matters to the figure.
    assert not torch.allclose(losses(slice(3, 5)) * 2 + losses(slice(0, 3)) * 3, 5 * whole, rtol=1e-5)


@pytest.mark.parametrize("config", [one for one in EVERY if made(one).stackable], ids=str)
def test_stacked_models_are_the_models_one_by_one(config: SeriesSection) -> None:
    """Losses and gradients with dropout, stacked with kernels and by `torch.vmap` without."""
    ensemble = Ensemble([made(config, seed).double().train() for seed in range(3)])
    assert ensemble.stackable
    inputs, targets = torch.randn(2, 3, 2, 21, 1, dtype=torch.float64).unbind()
    mask = torch.ones(3, 2, 21, dtype=torch.bool)
    mask[:, 0, 12:] = False
    found = []
    for ensemble.stackable in (True, False):
        torch.manual_seed(5)
        losses = ensemble.losses("MSE", inputs, targets, mask)
        found.append((losses, *torch.autograd.grad(losses.sum(), list(ensemble.parameters.values()))))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=1e-10)


def test_a_frozen_circuit_has_no_trained_weights() -> None:
    model = made(qasa(3, trained_adapter=False))
    assert count(model) == 201405 - 36
    assert "layers.3.adapter.weights" in model.state_dict()


def test_several_components_are_forecast_together() -> None:
    model = made(qasa(3), metadata=SequenceMetadata("spins", "real", 3, normalised=False))
    assert model.rollout(torch.randn(4, 20, 3), 2).shape == (4, 2, 3)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="for real vectors of any length, but the data x are 'token'"):
        build_model(encoder(), SequenceMetadata("x", "token", 3, vocabulary=("a", "b", "c")), seed=0)
    with pytest.raises(ConfigError, match="but the data x are unit vectors"):
        build_model(QLSTMConfig(), SequenceMetadata("x", "real", 3), seed=0)
    with pytest.raises(ConfigError, match="must name the layers of the adapter 'quantum'"):
        encoder(adapter="quantum")
    with pytest.raises(ArgumentError, match=r"`model.adapter_layers\[1\]` must be an integer in \[0, 3\]"):
        qasa(0, 4)
    with pytest.raises(ConfigError, match=r"`model.start` 'copies' is for an encoder without"):
        qasa(3, start="copies")
    with pytest.raises(ConfigError, match=r"`model.heads` must divide `model.width` \(64\), but is 5"):
        encoder(heads=5)
    with pytest.raises(ArgumentError, match="`attention` is 'softmx', which is unknown"):
        made(encoder(attention="softmx"))
