"""Contestants of a comparison: every mechanism with its controls, at as many parameters as softmax."""

from __future__ import annotations

import pytest

import qdyn
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError
from qdyn.models.matched import (
    BAND,
    REPLACED,
    attention_of,
    contestants,
    frozen_twin,
    matched_transformer,
    quantum_mechanisms,
    role_of,
)
from qdyn.models.registry import build_model

WIDTH, STEPS = 16, 8
WORDS = SequenceMetadata("words", "token", 9)


def test_every_mechanism_takes_part_with_its_controls() -> None:
    taking_part = contestants()
    assert len(set(taking_part)) == len(taking_part)
    assert set(qdyn.attention.names()) <= set(taking_part)
    assert {"identity", "uniform", "tanh_bottleneck", "kernel"} <= set(taking_part)
    assert {frozen_twin(name) for name in quantum_mechanisms()} <= set(taking_part)
    assert "softmax" not in quantum_mechanisms()
    roles = [role_of(name) for name in taking_part]
    assert roles.count("quantum") == roles.count("frozen") == len(quantum_mechanisms())
    assert (roles.count("classical"), roles.count("removed")) == (3, 2)


@pytest.mark.parametrize("name", contestants())
def test_trained_numbers_are_matched(name: str) -> None:
    """Half a unit of the feed-forward network is the largest deviation that can be needed."""
    found = matched_transformer(name, WORDS, width=WIDTH, steps=STEPS)
    model = build_model(found.config, WORDS, seed=0)
    total = sum(one.numel() for one in model.parameters())  # type: ignore[attr-defined]
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)  # type: ignore[attr-defined]
    assert 0 <= found.weights < trained <= total
    assert abs(found.deviation) <= min(BAND, (WIDTH + 0.5) / (total - WIDTH))


@pytest.mark.parametrize("control", REPLACED)
def test_the_controls_have_the_weights_of_what_they_replace(control: str) -> None:
    ours, theirs = (
        matched_transformer(name, WORDS, width=WIDTH, steps=STEPS).weights
        for name in (control, REPLACED[control])
    )
    assert abs(ours / theirs - 1) < 0.1


def test_who_is_no_contestant_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"'fidelty'.*'fidelity'"):
        attention_of("fidelty", width=WIDTH, steps=STEPS)
