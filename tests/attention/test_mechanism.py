"""What holds for attention by name: shapes, masks, biases, options, and mechanisms of other packages."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

import qdyn
from qdyn.attention import mechanism
from qdyn.attention.pair_weights import normalised_weights, softmax_weights
from qdyn.errors import ArgumentError, ConfigError, QdynError


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_names_cost_no_torch() -> None:
    program = (
        "import sys, qdyn; qdyn.attention; print('torch' in sys.modules, 'softmax' in qdyn.attention.names())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_softmax_is_that_of_torch() -> None:
    attention = qdyn.attention.build("softmax", dim=12, heads=3).double()
    peer = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(
            torch.cat([one.weight for one in (attention.query, attention.key, attention.value)])
        )
        peer.out_proj.weight.copy_(attention.output.weight)
    q, k, v = random_features(3, 2, 5, 12)
    mask = torch.tensor([[True] * 5, [True, True, False, True, False]])
    blocked = torch.ones(5, 5, dtype=torch.bool).triu(1)
    wanted, weights = peer(q, k, v, key_padding_mask=~mask, attn_mask=blocked, average_attn_weights=False)
    output, found = attention(q, k, v, mask)
    torch.testing.assert_close(output, wanted, rtol=0, atol=1e-13)
    torch.testing.assert_close(found, weights, rtol=0, atol=1e-13)


def test_masks_of_elements_and_of_pairs_agree() -> None:
    x = random_features(2, 4, 6)
    attention = qdyn.attention.build("softmax", dim=6, causal=False).double()
    elements = torch.tensor([[True, True, False, True], [False, True, True, True]])
    pairs = elements[:, None, :].expand(2, 4, 4)
    for one, other in zip(attention(x, x, x, elements), attention(x, x, x, pairs), strict=True):
        assert torch.equal(one, other)
    causal = qdyn.attention.build("softmax", dim=6).double()
    causal.load_state_dict(attention.state_dict())
    lower = torch.ones(4, 4, dtype=torch.bool).tril()
    for one, other in zip(causal(x, x, x), attention(x, x, x, lower[None]), strict=True):
        assert torch.equal(one, other)


def test_a_row_that_sees_nobody_is_zero_and_differentiable() -> None:
    x = random_features(1, 3, 4).requires_grad_()
    mask = torch.tensor([[False, False, True]])
    output, weights = qdyn.attention.build("softmax", dim=4).double()(x, x, x, mask)
    assert not weights[0, 0, :2].any()
    assert not output[0, :2].any()
    output.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_bias_adds_to_the_logarithm_of_weights() -> None:
    x = random_features(2, 4, 6)
    attention = qdyn.attention.build("softmax", dim=6, heads=2).double()
    bias = random_features(1, 2, 4, 4, seed=1)
    plain, biased = attention(x, x, x)[1], attention(x, x, x, bias=bias)[1]
    wanted = plain * bias.exp()
    torch.testing.assert_close(biased, wanted / wanted.sum(-1, keepdim=True), rtol=0, atol=1e-14)
    torch.testing.assert_close(
        normalised_weights(plain, torch.ones(4, 4, dtype=torch.bool), bias),
        biased,
        rtol=0,
        atol=1e-14,
    )


def test_many_seeds_are_one_batch() -> None:
    models = [qdyn.attention.build("softmax", dim=4, heads=2).double() for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    x = random_features(3, 2, 5, 4)

    def loss(own: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        return functional_call(models[0], (own, {}), (one, one, one))[0].square().sum()

    assert buffers == {}
    batched = vmap(grad(loss))(parameters, x)
    for seed, model in enumerate(models):
        model.zero_grad()
        model(x[seed], x[seed], x[seed])[0].square().sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(batched[name][seed], parameter.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 2.0}, "did you mean 'temperature'"),
        ({"temperature": -1.0}, "must be a finite number > 0"),
        ({"projection": 1}, "must be true or false"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        qdyn.attention.build("softmax", dim=4, **options)
    assert "\n" not in str(refusal.value)


def test_wrong_arguments_are_refused_in_one_line() -> None:
    attention = qdyn.attention.build("softmax", dim=4)
    x = torch.zeros(2, 3, 4)
    for call, message in (
        (lambda: qdyn.attention.build("softmx", dim=4), "did you mean 'softmax'"),
        (lambda: qdyn.attention.build("softmax", dim=4, heads=3), "must divide dim=4"),
        (lambda: qdyn.attention.build("softmax", dim=0), "an integer >= 1"),
        (lambda: attention(x, x[:, :2], x), "one for all three"),
        (lambda: attention(x.int(), x.int(), x.int()), "real floating-point"),
        (lambda: attention(x, x, x, torch.ones(2, 3)), "torch.bool"),
        (lambda: attention(x, x, x, torch.ones(2, 4, dtype=torch.bool)), "must have shape"),
        (lambda: attention(x, x, x, bias=torch.zeros(3, 3)), "Argument `bias`"),
    ):
        with pytest.raises(QdynError, match=message) as refusal:
            call()
        assert "\n" not in str(refusal.value)


@dataclass(frozen=True)
class LagOptions:
    rate: float = 1.0


class Lag(mechanism.Attention):
    """Weights that fall with the distance."""

    options_class = LagOptions
    options: LagOptions

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        allowed: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        place = torch.arange(queries.shape[1], dtype=queries.dtype)
        scores = -self.options.rate * (place[:, None] - place).abs()
        shape = (len(queries), self.heads, *allowed.shape[-2:])
        weights = softmax_weights(scores.expand(shape), allowed, bias)
        return self.join_heads(weights @ self.split_heads(values)), weights


def test_other_packages_offer_mechanisms(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("lag", f"{__name__}:Lag", mechanism.ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Lag)
    monkeypatch.setattr(mechanism, "entry_points", lambda group: [point])
    try:
        assert "lag" in qdyn.attention.names()
        x = torch.ones(1, 2, 2)
        weights = qdyn.attention.build("lag", dim=2, rate=2.0)(x, x, x)[1]
        assert weights[0, 0, 1, 0] == pytest.approx(1 / (1 + math.exp(2.0)))
        assert mechanism.describe("lag") == "Weights that fall with the distance."
        with pytest.raises(ConfigError, match="did you mean 'rate'"):
            qdyn.attention.build("lag", dim=2, rat=1.0)
    finally:
        mechanism.unregister_attention("lag")


def test_a_foreign_entry_point_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken", "math:sqrt", mechanism.ENTRY_POINTS)
    monkeypatch.setattr(mechanism, "entry_points", lambda group: [point])
    with pytest.raises(ConfigError, match="must be a subclass"):
        qdyn.attention.build("broken", dim=2)


def test_a_name_is_given_once() -> None:
    for name in ("softmax", "not a name"):
        with pytest.raises(ArgumentError, match="Argument `name`"):
            mechanism.register_attention(name)(Lag)
    assert mechanism.attention_class("softmax").name == "softmax"
