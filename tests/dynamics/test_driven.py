"""Hamiltonians that depend on time: closed forms, quenches, and QuTiP's own integrator as a witness."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import METHODS, evolve
from qdyn.dynamics.magnus import Magnus
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian, SampledDrive
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, MixedFieldIsing
from qdyn.quantum.states import basis_state, fidelity, haar_random_states

SOLVERS = [
    pytest.param(name, marks=pytest.mark.cudaq if name == "cudaq" else ())
    for name, method in METHODS.items()
    if method.drives and name != "piecewise"
]
OURS = [solver for solver in SOLVERS if solver.values[0] not in ("qutip", "trotter2")]


def _spin(**coefficients: float) -> PauliSum:
    return PauliSum({f"{letter}0": value for letter, value in coefficients.items()}, n_sites=1)


@pytest.mark.parametrize("method", SOLVERS)
def test_rabi_oscillation_in_a_rotating_field(method: str) -> None:
    """P = (Omega/W)^2 sin^2(W t / 2), W^2 = Omega^2 + delta^2, exactly, as the field is circular."""
    splitting, rabi, frequency, error = 1.7, 0.8, 1.2, 1e-5
    H = DrivenHamiltonian(
        _spin(Z=splitting / 2),
        [
            (lambda t: math.cos(frequency * t), _spin(X=rabi / 2)),
            (lambda t: math.sin(frequency * t), _spin(Y=rabi / 2)),
        ],
    )
    times = np.linspace(-2, 6, 9)
    traj = evolve(H, basis_state("0"), times, method=method, error=error)
    width = math.hypot(rabi, splitting - frequency)
    expected = (rabi / width * np.sin(width * times / 2)) ** 2
    found = traj.states[:, 1].abs().square().numpy()
    assert np.abs(found - expected).max() < 2 * error
    assert traj.method == method


def test_landau_zener() -> None:
    """P = exp(-pi Delta^2 / (2 v)) for H = (v t Z + Delta X) / 2 swept from far below to far above."""
    gap, rate, reach = 0.6, 1.0, 20.0
    H = DrivenHamiltonian(_spin(X=gap / 2), [(([0, 2 * reach], [-reach, reach]), _spin(Z=rate / 2))])
    start = torch.linalg.eigh(H.at(0.0).to_dense())[1][:, 0]
    end = torch.linalg.eigh(H.at(2 * reach).to_dense())[1][:, 1]
    final = evolve(H, start, [2 * reach], error=1e-5).final_state
    stays = float(fidelity(final, end.to(final.dtype)))
    # What starts and ends at a finite field deviates by twice the first adiabatic coefficient.
    assert stays == pytest.approx(math.exp(-math.pi * gap**2 / (2 * rate)), abs=2 * gap / (rate * reach**2))


@pytest.mark.parametrize("method", OURS)
@pytest.mark.parametrize("error", [1e-4, 1e-7])
def test_agrees_with_qutip_to_the_error_that_is_asked_for(method: str, error: float) -> None:
    H = DrivenHamiltonian(
        TransverseFieldIsing(3, field=[0.5, 1.1]),
        [
            (lambda t: math.cos(3 * t), MixedFieldIsing(3, coupling=0.0, field=0.3)),
            (([-1.0, 0.5, 2.0], [0.0, 1.0, -1.0]), XXZ(3, coupling=0.2)),
        ],
    )
    psi0 = haar_random_states(n_qubits=3, batch=2, seed=0)
    times = np.linspace(-0.9, 1.9, 6)
    witness = evolve(H, psi0, times, method="qutip").states
    found = evolve(H, psi0, times, method=method, error=error)
    deviation = float((found.states - witness).abs().max())
    assert deviation <= error
    assert deviation <= 2 * found.details["measured_error"] + 1e-10


@pytest.mark.parametrize("method", [*SOLVERS, "piecewise"])
def test_a_quench_is_two_static_evolutions(method: str) -> None:
    before, after, moment = TransverseFieldIsing(3, field=0.4), TransverseFieldIsing(3, field=1.6), 0.7
    change = PauliSum({f"X{site}": -1.2 for site in range(3)}, n_sites=3)
    H = DrivenHamiltonian(before, [(SampledDrive([0.0, moment], [0.0, 1.0], kind="steps"), change)])
    psi0 = haar_random_states(n_qubits=3, seed=2)
    found = evolve(H, psi0, [0.3, 1.5], method=method, error=1e-5).states
    middle = evolve(before, psi0, [moment], method="exact").states[0]
    expected = torch.stack(
        [
            evolve(before, psi0, [0.3], method="exact").states[0],
            evolve(after, middle, [1.5 - moment], method="exact").states[0],
        ]
    )
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("method", OURS)
def test_a_drive_that_commutes_with_itself_is_its_integral(method: str) -> None:
    """H = f(t) X turns by 2 F(t): <Z> = cos 2 F(t)."""
    H = DrivenHamiltonian(_spin(X=0.0), [(lambda t: math.exp(-t), _spin(X=1.0))])
    times = np.linspace(0, 3, 7)
    found = evolve(H, basis_state("0"), times, method=method, error=1e-7, observables="magnetisation_z")
    expected = np.cos(2 * (1 - np.exp(-times)))
    assert np.abs(found.expectations["magnetisation_z"].numpy() - expected).max() < 4e-7


def test_a_slow_ramp_follows_the_ground_state() -> None:
    losses = []
    for duration in (4.0, 16.0):
        ramp = SampledDrive([0.0, duration], [1.0, 0.0])
        H = DrivenHamiltonian(PauliSum({"ZZ": -0.5, "XI": -1.0, "IX": -1.0}), [(ramp, _pair_field())])
        ground = [torch.linalg.eigh(H.at(time).to_dense())[1][:, 0] for time in (0.0, duration)]
        final = evolve(H, ground[0], [duration], error=1e-7).final_state
        losses.append(1 - float(fidelity(final, ground[1].to(final.dtype))))
    # Adiabatic theorem: the loss falls as the square of the duration, up to its oscillation.
    assert losses[1] < 1e-2
    assert losses[1] < losses[0] / 8


def _pair_field() -> PauliSum:
    return PauliSum({"Z0": -2.0, "Z1": -1.0}, n_sites=2)


def test_each_trajectory_has_its_own_couplings_and_says_so() -> None:
    H = DrivenHamiltonian(
        TransverseFieldIsing(2, field=[0.5, 1.0]), [(math.cos, XXZ(2, coupling=[0.1, 0.3]))]
    )
    psi0 = haar_random_states(n_qubits=2, seed=3)
    batch = evolve(H, psi0, [0.0, 1.0], error=1e-8)
    for index in range(2):
        single = evolve(H.member(index), psi0, [0.0, 1.0], error=1e-8)
        assert float((single.states - batch.states[index]).abs().max()) < 2e-8
    assert batch.parameters["drive_0_coupling"].tolist() == [0.1, 0.3]
    assert "drive" in batch.formula or "f_k(t)" in batch.formula


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_followed_is_named() -> None:
    H = DrivenHamiltonian(TransverseFieldIsing(2), [(([0.0, 1.0], [0.0, 1.0]), TransverseFieldIsing(2))])
    psi0 = basis_state("00")
    with pytest.raises(ArgumentError, match="follows a drive"):
        evolve(H, psi0, [0.5], method="exact")
    with pytest.raises(ArgumentError, match="must cover the times 0 to 2, but reach from 0 to 1"):
        evolve(H, psi0, [2.0], error=1e-5)
    with pytest.raises(ArgumentError, match="needs a Hamiltonian that does not depend on time"):
        evolve(H, psi0, [0.5], observables="energy_variance")
    wild = DrivenHamiltonian(TransverseFieldIsing(2), [(lambda _: float("nan"), TransverseFieldIsing(2))])
    with pytest.raises(ArgumentError, match="must be finite"):
        evolve(wild, psi0, [0.5])


@pytest.mark.parametrize("times", [np.geomspace(1e-4, 10, 11), [1e-9, 10.0], [-1e-7, 10.0]])
def test_a_tiny_first_time_does_not_shorten_all_steps(
    times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first stretch shows of the error is lost in rounding: it says nothing of the step."""
    taken = []
    advance = Magnus.advance

    def counted(self, states, members, start, end, n_steps):
        taken.append(n_steps)
        return advance(self, states, members, start, end, n_steps)

    monkeypatch.setattr(Magnus, "advance", counted)
    shaken = TransverseFieldIsing(2, coupling=0.0, field=0.5)
    H = DrivenHamiltonian(TransverseFieldIsing(2), [(math.sin, shaken)])
    evolve(H, "00", np.linspace(1, 10, 11), method="magnus", error=1e-8)
    evenly = sum(taken)
    taken.clear()
    found = evolve(H, "00", times, method="magnus", error=1e-8).states[-1]
    assert sum(taken) < 3 * evenly
    assert float((found - evolve(H, "00", [10.0], method="qutip").states[0]).abs().max()) < 1e-8


def test_a_pulse_of_many_samples_goes_to_the_method_of_short_stretches() -> None:
    """No step crosses a sample: a formula whose every step is dear must not be chosen for its long steps."""
    times = np.linspace(0.0, 2.0, 401)
    shaken = TransverseFieldIsing(4, coupling=0.0, field=0.5)
    sampled = DrivenHamiltonian(TransverseFieldIsing(4), [(SampledDrive(times, np.cos(3 * times)), shaken)])
    smooth = DrivenHamiltonian(TransverseFieldIsing(4), [(lambda t: math.cos(3 * t), shaken)])
    psi0, wanted = basis_state("0110"), [0.5, 2.0]
    found = evolve(sampled, psi0, wanted)
    assert found.method == "magnus"
    # Straight lines miss the cosine by 9 / 8 of the squared distance of samples.
    expected = evolve(smooth, psi0, wanted, error=1e-10).states
    torch.testing.assert_close(found.states, expected, rtol=0, atol=2 * 4 * 0.5 * 9 / 8 * 0.005**2)


@pytest.mark.parametrize("method", OURS)
def test_a_drive_without_any_flip_turns_phases_alone(method: str) -> None:
    """psi_b(t) = exp(-i (E_b t + E'_b sin t)) psi_b(0) for a diagonal H, of one trajectory and of three."""
    static, shaken = PauliSum({"Z0 Z1": 0.7}, n_sites=2), PauliSum({"Z0": 1.0, "Z1": -0.4}, n_sites=2)
    H = DrivenHamiltonian(static, [(math.cos, shaken)])
    energies = [torch.linalg.diagonal(one.to_dense()).real for one in (static, shaken)]
    for start in (haar_random_states(n_qubits=2, seed=0), haar_random_states(n_qubits=2, batch=3, seed=1)):
        found = evolve(H, start, [2.0], method=method, error=1e-7).final_state
        expected = torch.exp(-1j * (energies[0] * 2 + energies[1] * math.sin(2))) * start
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
