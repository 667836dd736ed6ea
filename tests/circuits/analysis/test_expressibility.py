"""Expressibility: random states against their own law, closed forms, the bias of a finite sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.attention.qasa.adapter import qasa_circuit
from qdyn.circuits.analysis.expressibility import (
    _jackknife,
    expressibility,
    expressibility_of,
    fidelity_density,
    pair_fidelities,
)
from qdyn.circuits.analysis.family import CircuitFamily
from qdyn.circuits.circuit import Circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.states import fidelity, haar_random_states


def one_turn() -> CircuitFamily:
    circuit = Circuit(q=1)
    return CircuitFamily(circuit.ry(0, circuit.slot("weights", 1)[0]))


def null_spread(expected: np.ndarray, pairs: int) -> tuple[float, float]:
    """Mean and standard deviation of D when the pairs follow the law, by drawing histograms."""
    draws = np.random.default_rng(0).multinomial(pairs, expected, size=2000) / pairs
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(draws > 0, draws * np.log(draws / expected), 0.0).sum(axis=1)
    return float(found.mean()), float(found.std(ddof=1))


@pytest.mark.parametrize("kind", ["equal", "uniform"])
def test_random_states_are_as_expressive_as_their_sample_allows(kind: str) -> None:
    states = haar_random_states(n_qubits=3, batch=6000, seed=1)
    found = expressibility_of(fidelity(states[:3000], states[3000:]).numpy(), dimension=8, bins=30, kind=kind)  # type: ignore[arg-type]
    mean, std = null_spread(found.expected, 3000)
    # The level is summed exactly: the drawn histograms must agree within their own error.
    assert abs(found.random_level - mean) < 4 * std / 2000**0.5
    assert abs(found.divergence - found.random_level) < 4 * std
    assert abs(found.corrected) < 4 * std
    assert found.mean_fidelity == pytest.approx(1 / 8, abs=4 * 0.11 / 3000**0.5)


def test_real_random_states_follow_the_real_law_and_not_the_other() -> None:
    vectors = np.random.default_rng(2).standard_normal((2, 4000, 8))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    fidelities = np.square((vectors[0] * vectors[1]).sum(-1))
    right, wrong = (expressibility_of(fidelities, dimension=8, real=real, bins=30) for real in (True, False))
    assert abs(right.divergence - right.random_level) < 4 * null_spread(right.expected, 4000)[1]
    assert wrong.corrected > 10 * wrong.standard_error > 0


def test_one_turn_has_the_arcsine_law() -> None:
    """F = cos(d/2)^2 of two random angles: real random states of a qubit, and ln(4/pi) from complex ones."""
    assert one_turn().is_real
    found = expressibility(one_turn(), pairs=8000, bins=20)
    assert abs(found.divergence - found.random_level) < 4 * null_spread(found.expected, 8000)[1]
    complex_law = expressibility_of(pair_fidelities(one_turn(), pairs=8000), dimension=2, bins=200)

    def exact(bins: int) -> float:
        shares = np.diff(2 / np.pi * np.arcsin(np.sqrt(np.linspace(0, 1, bins + 1))))
        return float((shares * np.log(shares * bins)).sum())

    assert exact(10**6) == pytest.approx(np.log(4 / np.pi), abs=1e-3)
    assert abs(complex_law.corrected - exact(200)) < 4 * complex_law.standard_error


def test_a_circuit_that_does_nothing_has_one_bin() -> None:
    circuit = Circuit(q=2)
    family = CircuitFamily(circuit.rz(0, circuit.slot("weights", 1)[0]))
    found = expressibility(family, pairs=50, bins=10)
    # All fidelities are 1, in the bin of probability 1/10.
    assert found.divergence == pytest.approx(np.log(10))
    assert found.standard_error == 0


def test_the_jackknife_is_that_of_every_pair_left_out() -> None:
    counts, expected = np.array([5, 0, 3, 9]), np.array([0.3, 0.2, 0.25, 0.25])
    pairs = np.repeat(np.arange(4), counts)

    def divergence(which: np.ndarray) -> float:
        share = np.bincount(which, minlength=4) / len(which)
        used = share > 0
        return float((share[used] * np.log(share[used] / expected[used])).sum())

    whole = divergence(pairs)
    others = np.array([divergence(np.delete(pairs, k)) for k in range(len(pairs))])
    n = len(pairs)
    bias, error = (
        (n - 1) * (others.mean() - whole),
        np.sqrt((n - 1) / n * np.square(others - others.mean()).sum()),
    )
    assert _jackknife(counts, expected) == pytest.approx((whole, bias, error))


@given(dimension=st.integers(2, 2048), bins=st.integers(2, 100), real=st.booleans())
@settings(max_examples=25)
def test_the_law_is_a_law_at_every_dimension(dimension: int, bins: int, real: bool) -> None:
    fidelities = np.linspace(0, 1, 40)
    for kind in ("equal", "uniform"):
        found = expressibility_of(fidelities, dimension=dimension, real=real, bins=bins, kind=kind)  # type: ignore[arg-type]
        assert found.expected.sum() == pytest.approx(1)
        assert found.observed.sum() == pytest.approx(1)
        assert 0 < found.random_level < np.inf
    if not real:
        assert kind == "uniform"
        assert found.expected[0] == pytest.approx(1 - (1 - 1 / bins) ** (dimension - 1))
        density = fidelity_density(np.array([0.0]), dimension=dimension)
        assert density[0] == pytest.approx(dimension - 1)


def test_qasa_has_the_recomputed_figures(shared: Path) -> None:
    """Published: 9-qubit fidelities against the law of 8 qubits. The right law leaves nothing to see."""
    golden = json.loads((shared / "golden" / "qasa.json").read_text())["pqc"]["circuit_analysis_recomputed"]
    circuit = qasa_circuit(torch.zeros(8), torch.zeros(4, 9)).circuit
    family = CircuitFamily(circuit, inputs=("inputs",), read=tuple(range(8)))
    fidelities = pair_fidelities(family, pairs=1500, seed=3)
    wrong = expressibility_of(fidelities, dimension=256, kind="uniform")
    expected = golden["QASA"]["kl_published_def_9q_fid_vs_8q_haar"]
    # The other program drew 5000 pairs.
    assert abs(wrong.divergence - expected) < 4 * wrong.standard_error * (1 + 1500 / 5000) ** 0.5
    right = expressibility_of(fidelities, dimension=512)
    assert right.corrected < 4 * right.standard_error


def test_pairs_share_their_data_and_depend_on_their_number_alone() -> None:
    circuit = Circuit(q=1)
    x, w = circuit.slot("x", 2), circuit.slot("w", 3)
    circuit.rx(0, x[0] + w[0]).ry(0, x[1] + w[1]).rz(0, w[2])
    family = CircuitFamily(circuit, inputs=("x",), interval=(0.0, 1.0))
    left, right, longer = family.draw(4, seed=5), family.draw(4, seed=5, member=1), family.draw(9, seed=5)
    assert torch.equal(left["x"], right["x"])
    assert not torch.equal(left["w"], right["w"])
    assert all(torch.equal(longer[name][:4], left[name]) for name in left)
    assert all(bool(((value >= 0) & (value < 1)).all()) for value in longer.values())
    assert family.n_weights == 3


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must have a slot of weights, but has none"):
        CircuitFamily(Circuit(q=1).h(0))
    with pytest.raises(ArgumentError, match=r"`interval` must be \(low, high\)"):
        CircuitFamily(one_turn().circuit, interval=(1.0, 1.0))
    with pytest.raises(ArgumentError, match="at least 2 pairs, but holds 1"):
        expressibility_of(np.array([0.5]), dimension=2)
    for wrong in (np.nan, 1.5, -3.0):
        with pytest.raises(ArgumentError, match=rf"must hold numbers in \[0, 1\], but holds {wrong:g}"):
            expressibility_of(np.array([0.5, wrong]), dimension=2)
    with pytest.raises(ArgumentError, match="`kind` is 'equalish', which is unknown: did you mean 'equal'"):
        expressibility(one_turn(), kind="equalish")  # type: ignore[arg-type]
