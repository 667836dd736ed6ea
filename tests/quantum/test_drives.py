"""Sampled functions of time, and Hamiltonians built from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian, SampledDrive
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.spin_models import XXZ


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6, unique=True), st.floats(0, 1))
def test_lines_are_numpys_interpolation(times: list[float], place: float) -> None:
    times = sorted(round(time, 3) for time in times)
    if min(np.diff(times)) == 0:
        return
    values = np.sin(times)
    moment = times[0] + place * (times[-1] - times[0])
    moment = min(max(moment, times[0]), times[-1])
    assert SampledDrive(times, values)(moment) == pytest.approx(np.interp(moment, times, values), abs=1e-12)


def test_steps_hold_their_value_and_lines_continue_beyond_their_ends() -> None:
    steps = SampledDrive([0.0, 1.0], [3.0, 5.0], kind="steps")
    assert [steps(time) for time in (0.0, 0.999, 1.0, 100.0)] == [3, 3, 5, 5]
    line = SampledDrive([0.0, 1.0, 2.0], [0.0, 1.0, 0.0]).around(0.5)
    assert line(1.5) == 1.5


def test_samples_reach_to_the_rounding_of_their_ends() -> None:
    """0.1 * 3 is an ulp more than the last of four times from 0 to 0.3."""
    drive = SampledDrive(np.linspace(0, 0.3, 4), [1.0, 2.0, 3.0, 4.0])
    assert 0.1 * 3 > 0.3
    assert drive(0.1 * 3) == pytest.approx(4)
    assert drive(-1e-16) == pytest.approx(1)
    H = DrivenHamiltonian(TWO, [(drive, TWO)])
    assert evolve(H, "00", 0.1 * np.arange(4), observables="energy").expectations["energy"].shape == (4,)
    with pytest.raises(ArgumentError, match=r"reach from 0 to 0\.3"):
        drive(0.3 + 1e-12)


def test_the_matrix_at_a_time_is_the_sum() -> None:
    static, driven = TransverseFieldIsing(3, field=0.7), XXZ(3, coupling=0.4)
    H = DrivenHamiltonian(static, [(math.cos, driven), (([0, 4], [0, 1]), static)])
    expected = (1 + 0.5) * static.to_dense() + math.cos(2) * driven.to_dense()
    assert torch.allclose(H.at(2.0).to_dense(), expected, atol=1e-14)
    assert H.breaks(-0.0, 4.0) == []
    assert H.n_sites == 3


def test_a_batch_of_drives() -> None:
    H = DrivenHamiltonian(TWO, [(math.sin, XXZ(2, coupling=[0.1, 0.2, 0.3]))])
    assert H.batch_size == 3
    assert torch.allclose(H.at(0.5).to_dense()[1], H.member(1).at(0.5).to_dense())
    assert H.member(1).batch_size is None


TWO = TransverseFieldIsing(2)
BAD = [
    (lambda: SampledDrive([0, 1, 1], [0, 1, 2]), "times[2]=1 follows 1"),
    (lambda: SampledDrive([0], [0]), "at least 2"),
    (lambda: SampledDrive([0, 1], [0, float("inf")]), "`values` must be finite"),
    (lambda: SampledDrive([0, 1], [0, 1], kind="line"), "did you mean 'linear'"),
    (lambda: SampledDrive([0, 1], [0, 1])(1.5), "must cover the times 1.5"),
    (lambda: DrivenHamiltonian(TWO, []), "at least one drive"),
    (lambda: DrivenHamiltonian(TWO, [math.sin]), "drives[0] is"),
    (lambda: DrivenHamiltonian(TWO, [(0.5, TransverseFieldIsing(2))]), "has 0.5"),
    (lambda: DrivenHamiltonian(TWO, [(math.sin, XXZ(3))]), "numbers of sites"),
    (lambda: DrivenHamiltonian(TransverseFieldIsing(2, field=[1, 2]), [(math.sin, XXZ(2, field=[1, 2, 3]))]),
     "[2, 3]"),
    (lambda: DrivenHamiltonian(TWO, [(math.sin, XXZ(2))]).pauli_terms(), "depends on time"),
]  # fmt: skip


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_drives_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
