"""Encodings and positions by name: batched states are those of the circuits, and learn."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

from qdyn.attention.feature_states import EncodingName, FeatureStates, PositionName, StateOptions
from qdyn.config import build
from qdyn.errors import ArgumentError, ConfigError

ENCODINGS, POSITIONS = get_args(EncodingName), get_args(PositionName)


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states_of(
    encoding: str, positions: str = "none", dim: int = 8, heads: int = 2, **more: object
) -> FeatureStates:
    torch.manual_seed(3)
    options = StateOptions(encoding=encoding, positions=positions, **more)  # type: ignore[arg-type]
    return FeatureStates(dim, heads, options).double()


@pytest.mark.parametrize(("encoding", "positions"), list(itertools.product(ENCODINGS, POSITIONS)))
def test_batched_states_are_those_of_the_circuit(encoding: str, positions: str) -> None:
    for steps in (None, 5) if positions in ("entangled", "register") else (None,):
        states = states_of(encoding, positions, steps=steps)
        x = features(2, 5, 8)
        found = states(x)
        assert found.shape == (2, 2, 5, 2**states.n_qubits)
        for head in range(2):
            torch.testing.assert_close(
                states.program(x, head=head).states(), found[:, head], rtol=0, atol=1e-12
            )
        one = states.program(x, head=1, time=3).states()
        torch.testing.assert_close(one, found[:, 1, 3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_states_train_for_many_seeds_at_once(encoding: str) -> None:
    models = [
        FeatureStates(6, 2, StateOptions(encoding=encoding, projection=True)).double() for _ in range(2)
    ]  # type: ignore[arg-type]
    parameters, _ = stack_module_state(models)
    x = features(2, 3, 6)

    def loss(own: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(models[0], (own, {}), (x,))[..., 1].abs().square().sum()

    batched = vmap(grad(loss))(parameters)
    for seed, model in enumerate(models):
        model(x)[..., 1].abs().square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(batched[name][seed], parameter.grad, rtol=1e-10, atol=1e-12)
            assert encoding == "basis" or parameter.grad.abs().max() > 1e-6


def test_rotary_positions_are_relative() -> None:
    """The overlap of two elements changes only with the distance between them."""
    x = features(1, 1, 8).expand(1, 6, 8)
    found = states_of("amplitude", "rotary", heads=1)(x)[0, 0]
    overlaps = found.conj() @ found.mT
    for lag in range(1, 5):
        along = overlaps.diagonal(lag)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-12)
    assert (overlaps.diagonal(1)[0] - overlaps.diagonal(2)[0]).abs() > 1e-3


def test_amplitudes_may_be_complex_states_as_they_are() -> None:
    vectors = torch.complex(features(3, 4, 4), features(3, 4, 4, seed=1))
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    states = states_of("complex_amplitude", heads=1, projection=False)
    found = states(torch.cat([vectors.real, vectors.imag], dim=-1))
    torch.testing.assert_close(found[:, 0], vectors, rtol=0, atol=1e-14)


def test_nothing_is_a_state_too() -> None:
    x = torch.zeros(1, 2, 8, dtype=torch.float64, requires_grad=True)
    found = states_of("amplitude")(x)
    torch.testing.assert_close(torch.linalg.vector_norm(found, dim=-1), torch.ones(1, 2, 2).double())
    found.abs().square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="takes 12 numbers a head, but 1 heads share 8"):
        states_of("ansatz", heads=1, qubits=4, projection=False)
    with pytest.raises(ArgumentError, match="gives positions to 2 elements, but there are 3"):
        states_of("angle", "register", steps=2)(features(1, 3, 8))
    for wrong in (
        {"encoding": "amplitud"},
        {"positions": "rotari"},
        {"axes": "w"},
        {"qubits": 0},
        {"steps": 3},
    ):
        with pytest.raises(ConfigError):
            build(StateOptions, wrong, where="here")


@pytest.mark.parametrize("encoding", ["amplitude", "complex_amplitude"])
def test_qubits_to_spare_stay_in_their_first_states(encoding: str) -> None:
    states = states_of(
        encoding, dim=3, heads=1, qubits=3, projection=False if encoding == "amplitude" else None
    )
    x = features(2, 4, 3)
    torch.testing.assert_close(states.program(x).states(), states(x)[:, 0], rtol=0, atol=1e-13)
