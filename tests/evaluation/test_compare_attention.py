"""The comparison of all mechanisms: matched parameters, and what its numbers are taken to say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import qdyn
from qdyn.data.sequences import SequenceMetadata
from qdyn.evaluation.campaigns import Figure

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_attention.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_attention", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def figures(script: ModuleType, **planted: float) -> dict[str, Figure]:
    """Of every contestant, five seeds about 1, with what is planted added to its mean."""
    noise = np.random.default_rng(0)
    return {
        name: Figure(tuple((1 + planted.get(name, 0.0) + 0.01 * noise.standard_normal(5)).tolist()), None)
        for name in script.CONTESTANTS
    }


def test_every_mechanism_takes_part_with_its_controls(script: ModuleType) -> None:
    taking_part = set(script.CONTESTANTS)
    assert set(qdyn.attention.names()) <= taking_part
    assert {"identity", "uniform", "tanh_bottleneck", "kernel"} <= taking_part
    assert {f"frozen-{name}" for name in qdyn.attention.names() if name != "softmax"} <= taking_part


def test_trained_numbers_are_matched(script: ModuleType) -> None:
    """Half a unit of the feed-forward network is the largest deviation that can be needed."""
    metadata = SequenceMetadata("words", "token", 9)
    for name in script.CONTESTANTS:
        config, weights, deviation = script.matched(name, metadata, 8)
        model = qdyn.models.registry.build_model(config, metadata, seed=0)
        total = sum(one.numel() for one in model.parameters())
        assert weights < total
        assert abs(deviation) <= min(script.BAND, (script.WIDTH + 0.5) / (total - script.WIDTH)), name


def test_the_controls_have_the_weights_of_what_they_replace(script: ModuleType) -> None:
    metadata = SequenceMetadata("words", "token", 9)
    for control, mechanism in script.REPLACED.items():
        weights = [script.matched(name, metadata, 8)[1] for name in (control, mechanism)]
        assert abs(weights[0] / weights[1] - 1) < 0.1


def test_a_planted_difference_is_found_and_noise_is_not(script: ModuleType) -> None:
    said = script.verdict(figures(script, softmax=-0.05))
    assert said.control == "softmax"
    assert not any(one.better for one in said.against_control.values())
    found = figures(script, softmax=-0.05, fidelity=-0.2, overlap=0.3, quixer=0.2)
    said = script.verdict(found)
    assert [name for name, one in said.against_control.items() if one.better] == ["fidelity"]
    assert {"overlap", "quixer"} <= {name for name, one in said.against_control.items() if one.worse}
    assert said.against_frozen["fidelity"].better
    text = script.statement("words", found, said, {"Bigram": Figure((0.9,), None)})
    assert f"1 of {len(script.QUANTUM)} quantum mechanisms beat the best control, softmax" in text
    assert "Bigram, has 0.9: 1 of" in text


def test_it_says_plainly_where_nothing_is_better(script: ModuleType) -> None:
    found = figures(script, kernel=-0.05)
    text = script.statement("words", found, script.verdict(found), {})
    assert f"**No quantum mechanism of the {len(script.QUANTUM)} run beats the best control, kernel" in text


def test_the_standard_error_is_that_of_paired_seeds(script: ModuleType) -> None:
    """What two contestants share by seed cancels."""
    shared, own = 10.0 * np.arange(5), np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    found = {"a": Figure(tuple(shared + own - 1), None), "b": Figure(tuple(shared), None)}
    one = script.compare("a", "b", found, comparisons=3)
    assert one.difference == pytest.approx(-1)
    assert one.standard_error == pytest.approx(own.std(ddof=1) / np.sqrt(5))
    assert one.p_value == pytest.approx(3 * script.compare("a", "b", found, comparisons=1).p_value)
    assert one.better
