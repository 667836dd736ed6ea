"""Pulses between the steps: none is missed, and smooth drives are no slower for it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from qdyn.dynamics.drive_scan import scan_drives
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian, GaussianDrive, SampledDrive
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum


def spin(letter: str, value: float) -> PauliSum:
    return PauliSum({f"{letter}0": value}, n_sites=1)


def pulse(centre: float, width: float, area: float = math.pi / 2) -> Callable[[float], float]:
    height = area / width / math.sqrt(2 * math.pi)
    return lambda t: height * math.exp(-(((t - centre) / width) ** 2) / 2)


@pytest.mark.parametrize(
    ("method", "centre", "width"),
    [("auto", 50.0, 1.0), ("magnus", 37.0, 0.3), ("trotter4", 50.0, 1.0), ("qutip", 37.0, 1.0)],
)
def test_a_pi_pulse_turns_a_spin_round_wherever_it_stands(method: str, centre: float, width: float) -> None:
    H = DrivenHamiltonian(spin("Z", 0.0), [(pulse(centre, width), spin("X", 1.0))])
    traj = evolve(H, "0", [100.0], method=method, observables="magnetisation_z", error=1e-3)
    assert float(traj.expectations["magnetisation_z"]) == pytest.approx(-1, abs=4e-3)


@pytest.mark.parametrize("method", ["magnus", "qutip"])
def test_pulses_between_free_precession_turn_by_their_fourier_transform(method: str) -> None:
    """A weak pulse f(t) X in a field Z / 2 gives the amplitude |integral f(t) exp(i t) dt|."""
    area, width = 0.02, 0.3
    H = DrivenHamiltonian(
        spin("Z", 0.5), [(lambda t: sum(pulse(at, width, area)(t) for at in (-30.0, 40.0)), spin("X", 1.0))]
    )
    traj = evolve(H, "0", [-50.0, 60.0], method=method, error=1e-5)
    # Two orders of perturbation theory further on it is off by area**3.
    expected = area * math.exp(-(width**2) / 2)
    assert traj.states[:, 1].abs().tolist() == pytest.approx([expected] * 2, abs=2e-5)


def test_steps_are_limited_where_a_drive_is_fine_only() -> None:
    def longest(function: Callable[[float], float], end: float = 10.0) -> float:
        H = DrivenHamiltonian(spin("Z", 1.0), [(function, spin("X", 1.0))])
        return scan_drives(H, 0.0, end, error=1e-8).longest_step

    assert longest(lambda t: 3.0 - 0.1 * t) == np.inf
    assert longest(lambda t: 0.3 + 1e-15 * math.sin(1e4 * t)) == np.inf
    # A few steps a period are enough to see an oscillation: its error asks for many more.
    assert longest(lambda t: math.cos(3 * t)) > 2 * math.pi / 3 / 20
    assert longest(pulse(4.0, 0.2)) < 0.2
    assert longest(pulse(4.0, 0.02)) <= 0.02
    # Its jump is where steps end, and beside that there is nothing to see.
    assert longest(lambda t: float(t > 4)) == np.inf
    # A period that divides the samples of 2,000 gaps is no constant.
    assert longest(lambda t: math.sin(2 * math.pi * t / 0.005), end=10.0) <= 0.005


def test_the_largest_drive_is_found_between_33_times() -> None:
    from qdyn.dynamics.evolve import check_problem

    H = DrivenHamiltonian(spin("Z", 0.5), [(pulse(4.1, 0.02), spin("X", 1.0))])
    problem, _ = check_problem(H, "0", [10.0], None, "states", None, torch.complex128, "cpu")
    height = math.pi / 2 / 0.02 / math.sqrt(2 * math.pi)
    assert problem.largest_norm == pytest.approx(0.5 + height, rel=1e-2)


def test_a_witness_that_has_lost_the_norm_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from qdyn.dynamics import qutip

    monkeypatch.setattr(qutip, "_NORM_TOLERANCE", 1e-18)
    H = DrivenHamiltonian(spin("Z", 0.5), [(math.cos, spin("X", 1.0))])
    with pytest.raises(ArgumentError, match="changed the norm"):
        evolve(H, "0", [10.0], method="qutip")


def jumping(begin: float, end: float, height: float) -> Callable[[float], float]:
    return lambda t: height if begin <= t < end else 0.0


def test_jumps_are_found_to_rounding_and_steep_functions_have_none() -> None:
    def jumps(function: Callable[[float], float]) -> tuple[float, ...]:
        H = DrivenHamiltonian(spin("Z", 1.0), [(function, spin("X", 1.0))])
        found = scan_drives(H, 0.0, 3.0, error=1e-8)
        assert found.longest_step > 0.5 or not found.jumps
        return found.jumps

    # The second pair lies between two samples, 0.0015 apart.
    assert jumps(jumping(1.3355794204569518, 1.8606497235319621, 3.7)) == (
        1.3355794204569518,
        1.8606497235319621,
    )
    steps = [0.1 * k for k in range(1, 30)]
    assert jumps(lambda t: 0.2 * t + sum(t >= step for step in steps)) == pytest.approx(steps, abs=1e-15)
    assert jumps(lambda t: float(t >= 1.0002) + 0.5 * (t >= 1.0004)) == pytest.approx([1.0002, 1.0004])
    assert jumps(lambda t: math.tanh(1e4 * (t - 1.0))) == ()
    assert jumps(lambda t: math.cos(300 * t)) == ()
    assert jumps(pulse(1.0, 1e-3)) == ()


@pytest.mark.parametrize("error", [1e-3, 1e-6])
def test_a_function_that_jumps_is_as_good_as_its_steps(error: float) -> None:
    """Steps never cross the jump, so that the error that is asked for is kept and nothing is refined."""
    begin, end, height = 1.3355794204569518, 1.8606497235319621, 3.737865800922657
    chain = TransverseFieldIsing(n_sites=3, field=0.5)
    field = TransverseFieldIsing(n_sites=3, coupling=0.0, field=1.0)
    times = np.linspace(0, 3, 38)
    found = evolve(
        DrivenHamiltonian(chain, [(jumping(begin, end, height), field)]), "000", times, error=error
    )
    drive = SampledDrive([0.0, begin, end], [0.0, height, 0.0], kind="steps")
    exact = evolve(DrivenHamiltonian(chain, [(drive, field)]), "000", times)
    assert float((found.states - exact.states).abs().max()) <= error


@pytest.mark.parametrize("width", [1e-5, 1e-2, 0.5])
@pytest.mark.parametrize("method", ["magnus", "trotter4", "qutip"])
def test_a_gaussian_drive_is_seen_however_short_it_is(method: str, width: float) -> None:
    """A quarter turn about x between two precessions about z, by product of the three where it is short."""
    amplitude = math.pi / 4 / width / math.sqrt(2 * math.pi)
    centre = 4.3217
    H = DrivenHamiltonian(spin("Z", 0.5), [(GaussianDrive(amplitude, centre, width), spin("X", 1.0))])
    found = evolve(H, "+", [10.0], method=method, error=1e-6).states[0]
    sampled = centre + width * np.linspace(-8, 8, 2001)
    values = [GaussianDrive(amplitude, centre, width)(time) for time in sampled]
    line = SampledDrive([-1.0, *sampled, 11.0], [0.0, *values, 0.0])
    expected = evolve(DrivenHamiltonian(spin("Z", 0.5), [(line, spin("X", 1.0))]), "+", [10.0]).states[0]
    # Straight lines between the samples of the witness are off by (gap / width)^2 / 12 of the area.
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.usefixtures("as_user")
def test_a_pulse_has_a_width() -> None:
    with pytest.raises(ArgumentError, match=r"`width` must be a finite number > 0, but is 0\.0"):
        GaussianDrive(1.0, 0.0, 0.0)
    with pytest.raises(ArgumentError, match="`centre` must be finite"):
        GaussianDrive(1.0, math.nan, 1.0)


@pytest.mark.parametrize("method", ["magnus", "trotter4", "qutip"])
def test_no_solver_steps_across_a_pulse_between_two_jumps(method: str) -> None:
    """A half turn in a long run in which nothing else happens."""
    H = DrivenHamiltonian(spin("Z", 0.0), [(jumping(63.17, 63.67, math.pi), spin("X", 1.0))])
    traj = evolve(H, "0", [100.0], method=method, observables="magnetisation_z", error=1e-6)
    assert float(traj.expectations["magnetisation_z"]) == pytest.approx(-1, abs=1e-5)
