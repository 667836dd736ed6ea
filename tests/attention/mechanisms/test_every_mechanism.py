"""What every mechanism owes, whatever it computes: gradients, causality, masks, biases, many seeds."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

import qdyn
from qdyn.attention.mechanism import Attention, attention_class, controls, describe
from qdyn.errors import ArgumentError

NAMES = (*qdyn.attention.names(), *controls())
BIDIRECTIONAL = {name for name in NAMES if not attention_class(name).can_be_causal}
# Few qubits and elements, so that derivatives by differences are quick.
SMALL = {
    "compound": {"steps": 4},
    "frozen": {"options": {"qubits": 2}},
    "hadamard": {"qubits": 2, "values": "measured", "part": "complex"},
    "quixer": {"qubits": 2, "steps": 4, "degree": 2},
} | {
    name: {"qubits": 2}
    for name in ("fidelity", "gaussian_projected", "logic", "measured", "mixed_state", "overlap", "qksan")
}


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(name: str, *, heads: int = 1, seed: int = 0, **chosen: object) -> Attention:
    torch.manual_seed(seed)
    options = chosen or SMALL.get(name, {})
    causal = name not in BIDIRECTIONAL
    return qdyn.attention.build(name, dim=4, heads=heads, causal=causal, **options).double()  # type: ignore[arg-type]


VARIANTS = [
    *((name, {}) for name in NAMES),
    ("hadamard", {"qubits": 2, "ansatz": "brick_wall"}),
    ("fidelity", {"qubits": 2, "normalisation": "softmax", "beta": 3.0, "ansatz": "controlled_rings"}),
    ("overlap", {"encoding": "complex_amplitude", "kernel": "softmax", "normalise": False}),
    ("overlap", {"encoding": "amplitude", "kernel": "monomial", "degree": 2, "ansatz": "real"}),
    ("measured", {"encoding": "reuploading", "qubits": 2, "axes": "zx", "positions": "register", "steps": 3}),
    ("gaussian_projected", {"encoding": "unary", "qubits": 2, "projected": 4, "values": "linear"}),
    ("mixed_state", {"encoding": "real", "qubits": 3, "traced": 2, "positions": "entangled"}),
    ("qasa", {"place": "values"}),
    ("uniform", {"sees": "itself"}),
    ("frozen", {"mechanism": "quixer", "options": {"qubits": 2, "steps": 3}, "maps": False}),
    ("orthogonal", {"layout": "butterfly", "output": True}),
    ("quixer", {"qubits": 2, "ansatz": "hardware_efficient", "degree": 1, "steps": 3}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_gradients_are_those_of_differences(name: str, options: dict[str, object]) -> None:
    attention = small(name, **options)
    parameters = {key: held.detach() for key, held in attention.named_parameters()}
    q, k, v = features(3, 1, 3, 4)

    def output(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *held: torch.Tensor) -> torch.Tensor:
        found = functional_call(attention, dict(zip(parameters, held, strict=True)), (q, k, v))
        return torch.cat([found[0].flatten(), found[1].flatten()])

    inputs = [one.clone().requires_grad_() for one in (q, k, v, *parameters.values())]
    assert torch.autograd.gradcheck(output, inputs, fast_mode=True, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_a_reload(name: str) -> None:
    attention, other = small(name, heads=2), small(name, heads=2, seed=1)
    x = features(2, 4, 4)
    output, weights = attention(x, x, x)
    assert output.shape == (2, 4, 4)
    assert weights.shape == (2, 2, 4, 4)
    assert not weights.is_complex()
    assert output.isfinite().all()
    assert weights.isfinite().all()
    other.load_state_dict(attention.state_dict())
    assert torch.equal(other(x, x, x)[0], output)
    single = attention.float()(x.float(), x.float(), x.float())[0]
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), output, rtol=0, atol=1e-4)
    assert describe(name).endswith(".")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BIDIRECTIONAL])
def test_nobody_sees_the_future(name: str) -> None:
    attention = small(name, heads=2)
    x = features(1, 4, 4)
    output, weights = attention(x, x, x)
    changed = x.clone()
    changed[:, 2:] = features(1, 2, 4, seed=1)
    torch.testing.assert_close(attention(changed, changed, changed)[0][:, :2], output[:, :2])
    assert (output[:, 2:] - attention(changed, changed, changed)[0][:, 2:]).abs().max() > 1e-4
    assert not weights.triu(1).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_element_does_not_count(name: str) -> None:
    attention = small(name, heads=2)
    x = features(1, 4, 4)
    changed = x.clone()
    changed[:, 1] = features(1, 1, 4, seed=1)
    mask = torch.tensor([[True, False, True, True]])
    seen = [0, 2, 3]
    found = [attention(one, one, one, mask) for one in (x, changed)]
    torch.testing.assert_close(found[0][0][:, seen], found[1][0][:, seen])
    assert not found[0][1][:, :, seen][..., 1].any()
    nobody = torch.zeros(1, 4, dtype=torch.bool)
    output, weights = attention(x, x, x, nobody)
    assert output.isfinite().all()
    if name not in BIDIRECTIONAL:
        assert not weights.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_bias_weighs_pairs(name: str) -> None:
    """None of 0 changes anything, and one of minus infinity, nearly, is a mask of pairs."""
    attention = small(name, heads=2)
    x = features(2, 4, 4)
    plain = attention(x, x, x)
    torch.testing.assert_close(attention(x, x, x, bias=torch.zeros(1, 1, 4, 4).double())[0], plain[0])
    pairs = torch.ones(4, 4, dtype=torch.bool)
    pairs[2, 1] = pairs[1, 2] = pairs[3, 0] = pairs[0, 3] = False
    bias = torch.where(pairs, 0.0, -1e3).double().expand(2, 2, 4, 4)
    for one, other in zip(attention(x, x, x, pairs[None]), attention(x, x, x, bias=bias), strict=True):
        torch.testing.assert_close(one, other)
    assert (attention(x, x, x, bias=bias)[0] - plain[0]).abs().max() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_one_batch(name: str) -> None:
    models = [small(name, heads=2, seed=seed) for seed in range(2)]
    parameters, buffers = stack_module_state(models)
    x = features(2, 2, 3, 4)
    mask = torch.tensor([[[True, True, True], [True, True, False]]] * 2)

    def loss(
        own: dict[str, torch.Tensor], held: dict[str, torch.Tensor], one: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        return functional_call(models[0], (own, held), (one, one, one, seen))[0].square().sum()

    batched = vmap(grad(loss))(parameters, buffers, x, mask)
    for seed, model in enumerate(models):
        model(x[seed], x[seed], x[seed], mask[seed])[0].square().sum().backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            torch.testing.assert_close(batched[key][seed], parameter.grad, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["fidelity", "overlap", "logic"])
@pytest.mark.parametrize("positions", ["none", "rotary", "entangled", "register"])
def test_positions_tell_equal_elements_apart(name: str, positions: str) -> None:
    """Without a position, an order of equal elements changes nothing; with one, weights differ along a row.

    Entangled positions rotate both states alike but by other angles, so they are seen as well.
    """
    torch.manual_seed(0)
    attention = qdyn.attention.build(
        name, dim=6, qubits=2, positions=positions, encoding="angle", initial_angle=1.0
    ).double()
    x = features(1, 1, 6).expand(1, 5, 6)
    row = attention(x, x, x)[1][0, 0, 4]
    spread = (row - row.mean()).abs().max()
    assert spread < 1e-12 if positions == "none" else spread > 1e-4


NORMALISED = ("fidelity", "kernel", "measured", "mixed_state", "orthogonal", "quixer", "softmax", "uniform")


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("level", [200.0, -200.0])
def test_where_rows_are_normalised_only_differences_of_a_bias_count(name: str, level: float) -> None:
    """In single precision exp(200) is no number any more, and exp(-200) is 0."""
    attention = small(name, heads=2).float()
    x, bias = features(2, 4, 4).float(), features(1, 2, 4, 4)
    plain = attention(x, x, x, bias=bias.float())
    for one, other in zip(attention(x, x, x, bias=bias + level), plain, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_prefixes_are_of_elements(name: str, as_user: None) -> None:
    attention = small(name)
    x = features(2, 4, 4)
    for wrong, message in (
        (torch.ones(4, 4, dtype=torch.bool), r"must have shape \(2, 4\)"),
        (torch.ones(2, 3, dtype=torch.bool), r"must have shape \(2, 4\)"),
        (torch.ones(2, 4), "must be of torch.bool"),
    ):
        with pytest.raises(ArgumentError, match=message):
            attention.over_prefixes(x, x, x, wrong)
