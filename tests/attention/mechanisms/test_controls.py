"""The classical controls against their closed forms, and circuits that stay as they were drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import qdyn
from qdyn.attention.mechanism import Attention, controls, register_attention
from qdyn.attention.mechanisms.controls import TanhBottleneckAttention, UniformAttention
from qdyn.data.sequences import SequenceMetadata
from qdyn.models.transformer import Transformer
from qdyn.models.transformer_config import TransformerConfig
from qdyn.training.ensembles import Ensemble


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(name: str, **options: Any) -> Attention:
    torch.manual_seed(0)
    return qdyn.attention.build(name, dim=4, **options).double()


def test_controls_are_built_by_name_but_are_no_mechanisms() -> None:
    assert not set(controls()) & set(qdyn.attention.names())
    for name in controls():
        assert built(name).name == name
    with pytest.raises(qdyn.QdynError, match="which another mechanism has"):
        register_attention("kernel")(UniformAttention)


def test_uniform_is_the_running_mean_and_identity_sees_itself_alone() -> None:
    x = features(2, 5, 4)
    for sees, mixed in (("all", x.cumsum(1) / torch.arange(1, 6)[:, None]), ("itself", x)):
        attention = built("uniform", sees=sees)
        assert isinstance(attention, UniformAttention)
        expected = attention.output(attention.value(mixed))
        torch.testing.assert_close(attention(x, x, x)[0], expected)


def test_the_kernel_is_gaussian_and_knows_differences_only() -> None:
    attention = built("kernel", features=3, causal=False)
    with torch.no_grad():
        attention.key.weight.copy_(attention.query.weight)  # type: ignore[union-attr, arg-type, operator]
    x = features(1, 4, 4)
    weights = attention(x, x, x)[1][0, 0]
    numbers = x[0] @ attention.query.weight.T  # type: ignore[union-attr, operator]
    kernel = torch.exp(-(torch.cdist(numbers, numbers) ** 2))
    torch.testing.assert_close(weights, kernel / kernel.sum(-1, keepdim=True))
    moved = x + features(1, 1, 4, seed=1)
    torch.testing.assert_close(attention(moved, moved, x)[1][0, 0], weights)


def test_a_tanh_bottleneck_is_as_bounded_as_measured_numbers() -> None:
    """Weights of a row differ by exp(2 features) at most, however large the elements are."""
    attention = built("tanh_bottleneck", features=2, causal=False)
    assert isinstance(attention, TanhBottleneckAttention)
    x = 1e3 * features(2, 6, 4)
    weights = attention(x, x, x)[1]
    assert (weights.amax(-1) / weights.amin(-1)).max() <= math.exp(4) * (1 + 1e-9)
    largest = attention.output.weight.abs().sum(-1)
    assert (attention(x, x, x)[0].abs() <= largest + 1e-9).all()


def test_frozen_circuits_compute_what_they_would_and_are_not_learnt() -> None:
    options = {"qubits": 2}
    free, frozen = built("fidelity", **options), built("frozen", mechanism="fidelity", options=options)
    x = features(2, 5, 4)
    torch.testing.assert_close(frozen(x, x, x), free(x, x, x), rtol=0, atol=0)
    names = {name.removeprefix("held.") for name, _ in frozen.named_parameters()}
    circuits = {"query_circuits.angles", "key_circuits.angles"}
    assert names == {name for name, _ in free.named_parameters()} - circuits
    still = built("frozen", mechanism="fidelity", options=options, maps=False)
    assert not list(still.parameters())
    assert frozen.state_dict().keys() == still.state_dict().keys()


def test_every_seed_keeps_its_own_circuits_when_seeds_train_as_one_batch() -> None:
    config = TransformerConfig(
        attention="frozen",
        attention_options={"mechanism": "fidelity", "options": {"qubits": 2}},
        width=4,
        steps=6,
    )
    metadata = SequenceMetadata("words", "token", 5)
    models = [Transformer(config, metadata, seed=seed) for seed in range(3)]
    words = torch.randint(0, 5, (2, 7), generator=torch.Generator().manual_seed(0))
    inputs, targets = words[:, :-1], words[:, 1:]
    alone = torch.stack([model.loss("L_1", inputs, targets).mean() for model in models])
    drawn = [model.blocks[0].attention.held.query_circuits.angles.clone() for model in models]  # type: ignore[union-attr, operator]
    ensemble = Ensemble(models)
    assert not any("circuits" in name for name in ensemble.parameters)
    optimiser = torch.optim.Adam(ensemble.parameters.values(), lr=0.1)
    mask = torch.ones_like(targets, dtype=torch.bool)
    losses = ensemble.losses("L_1", inputs, targets, mask, same_data=True)
    torch.testing.assert_close(losses, alone)
    losses.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    after = ensemble.losses("L_1", inputs, targets, mask, same_data=True)
    assert (after < losses).all()
    for model, angles in zip(ensemble.members(), drawn, strict=True):
        assert torch.equal(model.blocks[0].attention.held.query_circuits.angles, angles)  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mechanism": "softmax"}, "must have parameters to freeze"),
        ({"mechanism": "frozen"}, "must be one that is trained"),
        ({"mechanism": "fidelty"}, "did you mean 'fidelity'"),
        ({"options": {"qubit": 2}}, "did you mean 'qubits'"),
    ],
)
def test_what_cannot_be_frozen_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(qdyn.QdynError, match=message):
        built("frozen", **options)
