"""Drives in a recipe: the pulses by their formulas, and driven trajectories against QuTiP."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import qutip
import torch

from qdyn import TransverseFieldIsing, evolve
from qdyn.data.spins.drive_recipe import read_drives
from qdyn.data.spins.hamiltonian_recipe import read_hamiltonian
from qdyn.data.spins.trajectories import Trajectories
from qdyn.quantum.drives import SampledDrive

CHAIN = {"model": "transverse_field_ising", "n_sites": 3, "field": {"uniform": [0.5, 1.5]}}
FIELD = {"model": "transverse_field_ising", "field": 1.0}


def pulse(shape: str, **parameters: float) -> Any:
    section = {"shape": shape, **parameters, "hamiltonian": FIELD}
    (drive,) = read_drives([section], read_hamiltonian(CHAIN))
    return drive.function(drive.draw(np.random.default_rng(0)), 5.0)


@pytest.mark.parametrize("time", [0.0, 0.7, 1.0, 2.3, 3.0, 5.0])
def test_pulses_are_their_formulas(time: float) -> None:
    assert pulse("constant", amplitude=0.4)(time) == 0.4
    assert pulse("sine", amplitude=0.4, frequency=2.0, phase=0.3)(time) == 0.4 * math.sin(2.0 * time + 0.3)
    bell = pulse("gaussian", amplitude=0.4, centre=2.0, width=0.5)
    assert bell(time) == pytest.approx(0.4 * math.exp(-((time - 2) ** 2) / (2 * 0.5**2)), abs=1e-16)
    ramp = pulse("ramp", first=1.0, last=-1.0, begin=1.0, end=3.0)
    assert ramp(time) == pytest.approx(min(1.0, max(-1.0, 2.0 - time)), abs=1e-15)
    assert pulse("step", before=0.2, after=0.9, time=1.0)(time) == (0.2 if time < 1.0 else 0.9)


def test_a_solver_knows_of_kinks_and_steps() -> None:
    for drive in (
        pulse("ramp", first=1.0, last=0.0, begin=-1.0, end=9.0),
        pulse("step", before=0.0, after=1.0, time=0.0),
    ):
        assert isinstance(drive, SampledDrive)
        drive.check_covers(0.0, 5.0)


def test_a_quench_is_two_evolutions() -> None:
    quench = {"shape": "step", "before": 0.0, "after": 1.0, "time": 0.6, "hamiltonian": FIELD}
    chain = {**CHAIN, "field": 0.5}
    source = Trajectories(chain, 0.3, 4, initial_states="0+1", method="magnus", error=1e-8, drives=(quench,))
    states = torch.from_numpy(source.block(seed=0, first=0, count=1, precision="double").values[0])
    before, after = TransverseFieldIsing(3, field=0.5), TransverseFieldIsing(3, field=1.5)
    halfway = evolve(before, states[0], [0.6]).final_state
    assert float((states[2] - halfway).abs().max()) < 1e-8
    assert float((states[4] - evolve(after, halfway, [0.6]).final_state).abs().max()) < 2e-8


def test_driven_trajectories_agree_with_qutip() -> None:
    """From the conditions alone, as a reader of the file would do it."""
    sine = {
        "shape": "sine",
        "amplitude": {"uniform": [0.5, 1.0]},
        "frequency": {"uniform": [1.0, 3.0]},
        "phase": 0.4,
        "hamiltonian": {"model": "mixed_field_ising", "longitudinal_field": {"uniform": [0.5, 1.0]}},
    }
    bell = {"shape": "gaussian", "amplitude": 1.0, "centre": {"uniform": [0.5, 1.0]}, "width": 0.3,
            "hamiltonian": FIELD}  # fmt: skip
    source = Trajectories(CHAIN, 0.25, 8, method="magnus", error=1e-8, drives=(sine, bell))
    block = source.block(seed=5, first=3, count=3, precision="double")
    assert source.condition_units().keys() == block.conditions.keys()
    assert source.condition_units()["drive_0_frequency"] == "J"
    x, z = (
        sum(qutip.expand_operator(matrix, dims=[2, 2, 2], targets=site) for site in range(3))
        for matrix in (qutip.sigmax(), qutip.sigmaz())
    )
    for index in range(3):
        known = {name: float(values[index]) for name, values in block.conditions.items()}
        static = TransverseFieldIsing(3, coupling=known["coupling"], field=known["field"]).to_qutip()
        shaken = lambda t, k=known: k["drive_0_amplitude"] * math.sin(k["drive_0_frequency"] * t + 0.4)  # noqa: E731
        struck = lambda t, k=known: math.exp(-0.5 * ((t - k["drive_1_centre"]) / 0.3) ** 2)  # noqa: E731
        H = [static, [-known["drive_0_longitudinal_field"] * z, shaken], [-x, struck]]
        start = qutip.Qobj(block.values[index, 0], dims=[[2] * 3, [1]])
        options = {"atol": 1e-11, "rtol": 1e-10, "max_step": 0.05}
        exact = qutip.sesolve(H, start, source.times, options=options).states
        for found, expected in zip(block.values[index], exact, strict=True):
            assert np.abs(found - expected.full()[:, 0]).max() < 2e-8


def test_what_a_drive_does_not_name_is_zero_and_draws_are_its_own() -> None:
    many = [{**{"shape": "constant", "amplitude": {"uniform": [0, 1]}}, "hamiltonian": FIELD}] * 2
    source = Trajectories(CHAIN, 0.1, 2, method="magnus", drives=tuple(many))
    conditions = source.block(seed=0, first=0, count=4, precision="double").conditions
    assert (conditions["drive_0_coupling"] == 0).all()
    values = np.concatenate([conditions["drive_0_amplitude"], conditions["drive_1_amplitude"]])
    assert len(set(values)) == 8
    again = source.block(seed=0, first=2, count=1, precision="double").conditions
    assert {name: value[0] for name, value in again.items()} == {
        name: value[2] for name, value in conditions.items()
    }
