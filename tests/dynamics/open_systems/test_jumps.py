"""Quantum jumps: exact statistics, averages that solve the Lindblad equation, independence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.open_systems.jumps import quantum_jumps
from qdyn.dynamics.open_systems.lindblad import evolve_open
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.channels import Channel, decay, dephasing, depolarising, excitation
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import haar_random_states, product_state

TIMES = np.linspace(0, 3, 13)


def test_a_lone_spin_decays_at_exponential_times() -> None:
    """The times of decay are exponential: Kolmogorov and Smirnov's test of 2000 of them."""
    rate, times = 0.8, np.linspace(0, 12, 1201)
    traj = quantum_jumps(
        TransverseFieldIsing(1, field=0.0),
        product_state("1"),
        times,
        channels=decay(rate),
        trajectories=2000,
        seed=11,
        store="none",
        observables="magnetisation_z",
    )
    alive = (traj.expectations["magnetisation_z"] < 0).sum(dim=1).numpy()
    # A spin found excited at k times has decayed between times k-1 and k: spread evenly within.
    rng = np.random.default_rng(0)
    moments = times[1] * (alive - rng.random(len(alive)))
    assert stats.kstest(moments, stats.expon(scale=1 / rate).cdf).pvalue > 1e-3
    assert traj.details["mean_jumps"] == pytest.approx(1, abs=1e-3)


def test_dephasing_jumps_are_poisson() -> None:
    """Unitary jumps happen at rate / 2 whatever the state: mean and variance of their number agree."""
    counts = [
        quantum_jumps(
            TransverseFieldIsing(2),
            product_state("01"),
            [5.0],
            channels=dephasing([0.6, 0.2]),
            trajectories=1,
            seed=seed,
        ).details["mean_jumps"]
        for seed in range(200)
    ]
    expected = 5.0 * (0.6 + 0.2) / 2
    assert np.mean(counts) == pytest.approx(expected, abs=4 * math.sqrt(expected / 200))
    assert np.var(counts) == pytest.approx(expected, rel=4 * math.sqrt((2 + 1 / expected) / 200))


CASES = [
    (TransverseFieldIsing(3, field=1.05), [decay(0.3)]),
    (XXZ(3, anisotropy=0.6, field=0.2, transverse_field=0.3), [excitation(0.2), decay(0.6)]),
    (PauliSum({"X0 Y1": 0.5, "Z0 Z2": 1.0, "Y2": 0.3, "": 0.4}, n_sites=3), [dephasing([0.2, 0.0, 1.5])]),
    (TransverseFieldIsing(3, field=0.4), [depolarising(0.4), decay(0.5)]),
]


@pytest.mark.parametrize(("model", "channels"), CASES, ids=lambda case: str(case)[:24])
def test_the_average_solves_the_lindblad_equation(model: Hamiltonian, channels: list[Channel]) -> None:
    """All deviations of independent observables together: chi squared, and the largest in sigmas."""
    n_trajectories, psi0 = 3000, haar_random_states(n_qubits=3, seed=9)
    names = [f"site_magnetisation_{axis}" for axis in "xyz"]
    sampled = quantum_jumps(
        model,
        psi0,
        TIMES,
        channels=channels,
        trajectories=n_trajectories,
        seed=3,
        observables=names,
        store="none",
    )
    exact = evolve_open(model, psi0, TIMES, channels=channels, observables=names, store="none")
    for name in names:
        values = sampled.expectations[name][:, 1:]
        sigma = values.std(dim=0) / math.sqrt(n_trajectories)
        deviation = (values.mean(dim=0) - exact.expectations[name][1:]).abs()
        # 108 correlated numbers a case: 4.5 sigma is passed by chance once in 1400 cases. The error between
        # jumps stands in where all trajectories agree.
        assert float((deviation - 4.5 * sigma).max()) < 1e-8
        assert 0.2 < float((deviation[-1] / (sigma[-1] + 1e-9)).square().mean().sqrt()) < 3


def test_between_jumps_it_is_the_damped_equation() -> None:
    """With a rate so small that no jump happens, a state is the normalised solution of H - i Gamma."""
    model, rate = XXZ(3, anisotropy=0.3, transverse_field=0.5), 1e-6
    psi0 = haar_random_states(n_qubits=3, seed=2)
    traj = quantum_jumps(model, psi0, TIMES, channels=decay(rate), trajectories=2, seed=0)
    assert traj.details["mean_jumps"] == 0
    excited = torch.diag(PauliSum({f"Z{site}": -0.5 for site in range(3)}, n_sites=3).to_dense()) + 1.5
    generator = model.to_dense().to(torch.complex128) - 0.5j * rate * torch.diag(excited)
    for time, state in zip(TIMES, traj.states[1], strict=True):
        expected = torch.linalg.matrix_exp(-1j * time * generator) @ psi0
        assert float((state - expected / torch.linalg.vector_norm(expected)).abs().max()) < 1e-9


class _Stream:
    """The numbers that trajectory ``number`` draws: splitmix64 from its own seed."""

    def __init__(self, seed: int, number: int) -> None:
        self._word = int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0])

    def draw(self) -> float:
        mask = 2**64 - 1
        self._word = (self._word + 0x9E3779B97F4A7C15) & mask
        word = self._word
        word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & mask
        return (((word ^ word >> 31) >> 11) + 0.5) / 2**53


def jumps_by_matrices(
    model: Hamiltonian, psi0: np.ndarray, times: np.ndarray, channels: list[Channel], stream: _Stream
) -> np.ndarray:
    """The same process with dense matrices and a root finder that asks for the exact norm."""
    operators = []
    for site, matrix in (jump for channel in channels for jump in channel.jumps(model.n_sites)):
        left, right = np.eye(2**site), np.eye(2 ** (model.n_sites - 1 - site))
        operators.append(np.kron(np.kron(left, matrix), right))
    damped = model.to_dense().numpy() - 0.5j * sum(L.conj().T @ L for L in operators)
    energies, vectors = np.linalg.eig(damped)
    inverse = np.linalg.inv(vectors)

    def after(state: np.ndarray, time: float) -> np.ndarray:
        return vectors @ (np.exp(-1j * time * energies) * (inverse @ state))

    states, state, now, target = [], psi0, 0.0, stream.draw()
    for time in times:
        while np.linalg.norm(after(state, time - now)) ** 2 <= target:
            moment = optimize.brentq(
                lambda t, psi=state, norm=target: np.linalg.norm(after(psi, t)) ** 2 - norm,
                0.0, time - now, xtol=1e-14,
            )  # fmt: skip
            before = after(state, moment)
            weights = np.cumsum([np.linalg.norm(L @ before) ** 2 for L in operators])
            chosen = operators[int(np.searchsorted(weights, stream.draw() * weights[-1]))]
            state, now, target = chosen @ before, now + moment, stream.draw()
            state = state / np.linalg.norm(state)
        found = after(state, time - now)
        states.append(found / np.linalg.norm(found))
    return np.array(states)


@pytest.mark.parametrize("n_sites", [2, 6, 7])
def test_jumps_happen_when_and_where_matrices_say(n_sites: int) -> None:
    """Trajectory by trajectory with the same random numbers, over uneven times and several jumps."""
    model = XXZ(n_sites, anisotropy=0.6, field=0.2, transverse_field=0.7)
    channels = [decay(0.5), dephasing(0.4)]
    times = np.cumsum(np.random.default_rng(4).uniform(0.02, 0.5, 14))
    psi0 = haar_random_states(n_qubits=n_sites, seed=n_sites)
    found = quantum_jumps(model, psi0, times, channels=channels, trajectories=4, seed=21)
    assert found.details["mean_jumps"] > 1
    for number, states in enumerate(found.states):
        expected = jumps_by_matrices(model, psi0.numpy(), times, channels, _Stream(21, number))
        assert np.abs(states.numpy() - expected).max() < 1e-8


def test_a_trajectory_depends_on_its_seed_and_number_only() -> None:
    model, psi0 = TransverseFieldIsing(3, field=1.05), product_state("01+")
    many = quantum_jumps(model, psi0, TIMES, channels=decay(0.5), trajectories=40, seed=7)
    few = quantum_jumps(model, psi0, TIMES, channels=decay(0.5), trajectories=18, seed=7)
    assert torch.equal(many.states[17], few.states[17])
    assert torch.equal(many.states[:18], few.states)
    other = quantum_jumps(model, psi0, TIMES, channels=decay(0.5), trajectories=18, seed=8)
    assert not torch.equal(other.states, few.states)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        spread = quantum_jumps(model, psi0, TIMES, channels=decay(0.5), trajectories=40, seed=7)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(spread.states, many.states)


def test_each_trajectory_may_have_its_own_hamiltonian_and_start() -> None:
    fields, psi0 = [0.3, 0.7, 1.5], haar_random_states(n_qubits=2, batch=3, seed=1)
    model = TransverseFieldIsing(2, field=fields)
    batch = quantum_jumps(model, psi0, TIMES, channels=decay(0.4), trajectories=3, seed=5)
    assert batch.states.shape == (3, 13, 4)
    same = TransverseFieldIsing(2, field=[fields[2]] * 3)
    again = quantum_jumps(same, psi0[[2, 2, 2]], TIMES, channels=decay(0.4), trajectories=3, seed=5)
    assert torch.equal(again.states[2], batch.states[2])


def test_without_channels_it_is_evolve() -> None:
    model, psi0 = XXZ(4, field=0.4), haar_random_states(n_qubits=4, seed=0)
    for times in (TIMES, TIMES[1:], [7.3], np.geomspace(1e-3, 4, 9)):
        found = quantum_jumps(model, psi0, times, channels=[], trajectories=1, seed=0, error=1e-11)
        exact = evolve(model, psi0, times, method="exact").states
        assert float((found.states[0] - exact).abs().max()) < 1e-11


def test_a_state_in_factors_starts_every_trajectory() -> None:
    model, ask = TransverseFieldIsing(3), {"channels": decay(1.0), "trajectories": 5, "seed": 0}
    found = quantum_jumps(model, MatrixProductState.product("111"), TIMES, **ask)
    assert torch.equal(found.states, quantum_jumps(model, "111", TIMES, **ask).states)
    assert found.states.shape == (5, len(TIMES), 8)
    backwards = product_state("111").numpy()[::-1]
    expected = quantum_jumps(model, "000", TIMES, **ask).states
    assert torch.equal(quantum_jumps(model, backwards, TIMES[::-1][::-1], **ask).states, expected)


def test_what_is_stored() -> None:
    model, psi0 = TransverseFieldIsing(3), product_state("111")
    ask = {"channels": decay(0.3), "trajectories": 5, "seed": 2, "observables": ["magnetisation_z", "energy"]}
    full = quantum_jumps(model, psi0, TIMES, **ask)
    final = quantum_jumps(model, psi0, TIMES, store="final", **ask)
    none = quantum_jumps(model, psi0, TIMES, store="none", **ask)
    single = quantum_jumps(model, psi0, TIMES, dtype=torch.complex64, **ask)
    assert torch.equal(final.final_state, full.states[:, -1])
    assert none.states is None
    for name in ("magnetisation_z", "energy"):
        assert torch.equal(none.expectations[name], full.expectations[name])
    assert single.states.dtype == torch.complex64
    assert float((single.states - full.states).abs().max()) < 1e-6
    norms = torch.linalg.vector_norm(full.states, dim=-1)
    assert float((norms - 1).abs().max()) < 1e-14


def test_states_that_are_followed_but_not_kept_must_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trajectory is followed through all times before it is measured."""
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "10M")
    ask = {"channels": decay(0.1), "trajectories": 2, "seed": 0, "observables": "energy"}
    for store in ("none", "final"):
        with pytest.raises(MemoryLimitError, match="Following 2 trajectories of 8 sites through 5000 times"):
            quantum_jumps(TransverseFieldIsing(8), "0" * 8, np.arange(5000.0), store=store, **ask)


ONE = TransverseFieldIsing(1)
UP = product_state("0")
ASK = {"channels": decay(1), "trajectories": 3, "seed": 0}
BAD = [
    (lambda: quantum_jumps("H", UP, [1.0], **ASK), "`hamiltonian` must be a Hamiltonian, but is of"),
    (lambda: quantum_jumps(ONE, UP, [1.0], **{**ASK, "trajectories": 0}), "`trajectories`"),
    (lambda: quantum_jumps(ONE, UP, [1.0], **{**ASK, "seed": -1}), "`seed`"),
    (lambda: quantum_jumps(ONE, UP, [-1.0], **ASK), "must be >= 0"),
    (lambda: quantum_jumps(ONE, UP.expand(2, 2), [1.0], **ASK), "holds 2"),
    (lambda: quantum_jumps(TransverseFieldIsing(1, field=[1.0, 2.0]), UP, [1.0], **ASK), "holds 2"),
    (lambda: quantum_jumps(DrivenHamiltonian(ONE, [(np.sin, ONE)]), UP, [1.0], **ASK), "depend on time"),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
