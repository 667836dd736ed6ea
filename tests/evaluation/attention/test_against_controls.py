"""What the numbers of a comparison are taken to say."""

from __future__ import annotations

import numpy as np
import pytest

from qdyn.errors import ArgumentError
from qdyn.evaluation.attention.against_controls import compare_by_seed, statement, verdict
from qdyn.evaluation.campaigns.trials import Figure
from qdyn.models.matched import contestants, quantum_mechanisms


def figures(**planted: float) -> dict[str, Figure]:
    """Of every contestant, five seeds about 1, with what is planted added to its mean."""
    noise = np.random.default_rng(0)
    return {
        name: Figure(tuple((1 + planted.get(name, 0.0) + 0.01 * noise.standard_normal(5)).tolist()), None)
        for name in contestants()
    }


def test_a_planted_difference_is_found_and_noise_is_not() -> None:
    said = verdict(figures(softmax=-0.05))
    assert said.control == "softmax"
    assert not any(one.better for one in said.against_control.values())
    found = figures(softmax=-0.05, fidelity=-0.2, overlap=0.3, quixer=0.2)
    said = verdict(found)
    assert [name for name, one in said.against_control.items() if one.better] == ["fidelity"]
    assert {"overlap", "quixer"} <= {name for name, one in said.against_control.items() if one.worse}
    assert said.against_frozen["fidelity"].better
    text = statement("words", found, said, {"Bigram": Figure((0.9,), None)})
    assert f"1 of {len(quantum_mechanisms())} quantum mechanisms beat the best control, softmax" in text
    assert "Bigram, has 0.9: 1 of" in text


def test_it_says_plainly_where_nothing_is_better() -> None:
    found = figures(kernel=-0.05)
    text = statement("words", found, verdict(found), {})
    assert (
        f"**No quantum mechanism of the {len(quantum_mechanisms())} run beats the best control, kernel"
        in text
    )


def test_without_a_control_nothing_is_said() -> None:
    alone = {name: one for name, one in figures().items() if name in ("fidelity", "overlap")}
    said = verdict(alone)
    assert said.control is None
    assert not said.against_control
    assert not said.against_frozen
    assert "stands beside a control" in statement("words", alone, said, {})


def test_the_standard_error_is_that_of_paired_seeds() -> None:
    """What two contestants share by seed cancels."""
    shared, own = 10.0 * np.arange(5), np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    found = {"a": Figure(tuple(shared + own - 1), None), "b": Figure(tuple(shared), None)}
    one = compare_by_seed("a", "b", found, comparisons=3)
    assert one.difference == pytest.approx(-1)
    assert one.standard_error == pytest.approx(own.std(ddof=1) / np.sqrt(5))
    assert one.p_value == pytest.approx(3 * compare_by_seed("a", "b", found).p_value)
    assert one.better
    assert compare_by_seed("b", "a", found).worse
    same = compare_by_seed("a", "a", found)
    assert (same.difference, same.p_value, same.better, same.worse) == (0.0, 1.0, False, False)
    with pytest.raises(ArgumentError, match="must hold 'c'"):
        compare_by_seed("a", "c", found)
