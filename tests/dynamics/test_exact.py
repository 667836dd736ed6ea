"""Exact evolution against closed forms, free fermions, scipy and QuTiP, and its conservation laws."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.dynamics import recorder
from qdyn.dynamics.evolve import evolve as evolve_by_any_method
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import (
    basis_state,
    fidelity,
    haar_random_states,
    product_state,
    random_product_states,
)

TIMES = np.linspace(0, 6, 25)
evolve = partial(evolve_by_any_method, method="exact")


def test_rabi_oscillation() -> None:
    """H = -h X from |0>: psi = cos(h t)|0> + i sin(h t)|1>, <Z> = cos 2ht, <Y> = sin 2ht."""
    h = 0.7
    names = ["magnetisation_z", "magnetisation_y"]
    traj = evolve(TransverseFieldIsing(1, field=h), basis_state("0"), TIMES, observables=names)
    expected = np.stack([np.cos(h * TIMES), 1j * np.sin(h * TIMES)], axis=-1)
    np.testing.assert_allclose(traj.states.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(
        traj.expectations["magnetisation_z"].numpy(), np.cos(2 * h * TIMES), atol=1e-14
    )
    np.testing.assert_allclose(
        traj.expectations["magnetisation_y"].numpy(), np.sin(2 * h * TIMES), atol=1e-14
    )


def test_two_sites_in_closed_form() -> None:
    """From |00>: with w^2 = J^2 + 4 h^2 the amplitudes of 01 and 10 are i (h/w) sin wt."""
    J, h = 0.8, 1.1
    w = math.hypot(J, 2 * h)
    symmetric = np.cos(w * TIMES) + 1j * J / w * np.sin(w * TIMES)
    single = 1j * h / w * np.sin(w * TIMES)
    antisymmetric = np.exp(1j * J * TIMES)
    expected = np.stack(
        [(symmetric + antisymmetric) / 2, single, single, (symmetric - antisymmetric) / 2], -1
    )
    traj = evolve(TransverseFieldIsing(2, coupling=J, field=h), basis_state("00"), TIMES)
    np.testing.assert_allclose(traj.states.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("periodic", [False, True])
def test_without_a_field_spins_along_x_dephase(periodic: bool) -> None:
    """h = 0 from |++...+>: <X_j> = cos(2 J t)^(number of bonds at j)."""
    J, n_sites = 0.9, 5
    model = TransverseFieldIsing(n_sites, coupling=J, field=0.0, periodic=periodic)
    traj = evolve(
        model, product_state("+" * n_sites), TIMES, observables="site_magnetisation_x", store="none"
    )
    bonds = np.array([sum(site in bond for bond in model.bond_list) for site in range(n_sites)])
    expected = np.cos(2 * J * TIMES)[:, None] ** bonds
    np.testing.assert_allclose(traj.expectations["site_magnetisation_x"].numpy(), expected, atol=1e-13)


def test_without_a_coupling_every_spin_precesses_at_its_own_rate() -> None:
    fields = np.array([[0.3, 1.0, -0.6]])
    model = TransverseFieldIsing(3, coupling=0.0, field=fields)
    traj = evolve(model, basis_state("010"), TIMES, observables="site_magnetisation_z")
    expected = np.array([1, -1, 1]) * np.cos(2 * fields * TIMES[:, None])
    np.testing.assert_allclose(traj.expectations["site_magnetisation_z"].numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("n_sites", [5, 8])
def test_free_fermions_on_a_ring(n_sites: int) -> None:
    """From |++...+>, k = (2m+1) pi/n, w_k^2 = J^2 + h^2 - 2 J h cos k:
    <X> = (1/n) sum_k [1 - (J sin k / w_k)^2 (1 - cos 4 w_k t)]."""
    J, h = 1.0, 1.05
    k = (2 * np.arange(n_sites) + 1) * np.pi / n_sites
    w = np.sqrt(J**2 + h**2 - 2 * J * h * np.cos(k))
    expected = np.mean(1 - (J * np.sin(k) / w) ** 2 * (1 - np.cos(4 * w * TIMES[:, None])), axis=1)
    model = TransverseFieldIsing(n_sites, coupling=J, field=h, periodic=True)
    traj = evolve(model, product_state("+" * n_sites), TIMES, observables="magnetisation_x", store="none")
    np.testing.assert_allclose(traj.expectations["magnetisation_x"].numpy(), expected, atol=1e-13)


def free_fermion_magnetisation(couplings: np.ndarray, fields: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """<X_j>(t) of an open chain from the X product state with <X_j> = signs, by 2n Majorana modes.

    H = (i/4) sum A_mn g_m g_n, modes ordered a_1, b_1, a_2, ...; the covariance turns as G(t) = O G(0) O^T,
    O = exp(A t), and <X_j> = G[a_j, b_j].
    """
    n_sites = len(fields)
    a, b = 2 * np.arange(n_sites), 2 * np.arange(n_sites) + 1
    generator, start = np.zeros((2, 2 * n_sites, 2 * n_sites))
    generator[a, b] = -2 * fields
    generator[b[:-1], a[1:]] = -2 * couplings
    start[a, b] = signs
    generator, start = generator - generator.T, start - start.T
    values = []
    for time in TIMES:
        turn = scipy.linalg.expm(generator * time)
        values.append((turn @ start @ turn.T)[a, b])
    return np.array(values)


def test_free_fermions_on_a_disordered_open_chain() -> None:
    rng = np.random.default_rng(4)
    couplings, fields = rng.uniform(0.2, 2, (1, 6)), rng.uniform(0.2, 2, (1, 7))
    traj = evolve(
        TransverseFieldIsing(7, coupling=couplings, field=fields),
        product_state("+--+-++"),
        TIMES,
        observables="site_magnetisation_x",
    )
    signs = np.array([1, -1, -1, 1, -1, 1, 1])
    expected = free_fermion_magnetisation(couplings[0], fields[0], signs)
    np.testing.assert_allclose(traj.expectations["site_magnetisation_x"].numpy(), expected, atol=1e-12)


@given(
    n_sites=st.integers(1, 5),
    coupling=st.floats(-2, 2),
    field=st.floats(-2, 2),
    time=st.floats(-20, 20),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40)
def test_agrees_with_the_dense_exponential(
    n_sites: int, coupling: float, field: float, time: float, seed: int
) -> None:
    model = TransverseFieldIsing(n_sites, coupling=coupling, field=field)
    psi0 = haar_random_states(n_qubits=n_sites, seed=seed)
    expected = scipy.linalg.expm(-1j * time * model.to_dense().numpy()) @ psi0.numpy()
    np.testing.assert_allclose(evolve(model, psi0, [time]).states[0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["diag", "vern9"])
def test_agrees_with_qutip(method: str) -> None:
    import qutip

    n_sites, times = 5, np.linspace(0, 4, 9)
    model = TransverseFieldIsing(n_sites, coupling=0.8, field=1.2, periodic=True)
    psi0 = random_product_states(n_qubits=n_sites, seed=3)
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * n_sites, [1] * n_sites])
    options = {"method": method, "store_states": True, "progress_bar": ""}
    tolerance = 1e-11
    if method == "vern9":
        options |= {"atol": 1e-12, "rtol": 1e-12, "nsteps": 10_000}
        tolerance = 1e-9
    measured = [qutip.tensor([qutip.sigmay() if k == 1 else qutip.qeye(2) for k in range(n_sites)])]
    theirs = qutip.sesolve(model.to_qutip(), ket, times, e_ops=measured, options=options)
    ours = evolve(model, psi0, times, observables="magnetisation_y_1")
    expected = np.stack([state.full()[:, 0] for state in theirs.states])
    np.testing.assert_allclose(ours.states.numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(
        ours.expectations["magnetisation_y_1"].numpy(), theirs.expect[0], atol=tolerance
    )


@given(seed=st.integers(0, 2**31), field=st.floats(0.1, 2), duration=st.floats(0.1, 50))
@settings(max_examples=20)
def test_norm_and_energy_are_conserved(seed: int, field: float, duration: float) -> None:
    psi0 = haar_random_states(n_qubits=4, batch=3, seed=seed)
    times = np.linspace(0, duration, 11)
    names = ["energy", "energy_variance"]
    traj = evolve(TransverseFieldIsing(4, field=field), psi0, times, observables=names)
    np.testing.assert_allclose(traj.states.norm(dim=-1).numpy(), 1, atol=1e-13)
    for name in names:
        drift = traj.expectations[name] - traj.expectations[name][:, :1]
        assert float(drift.abs().max()) < 1e-11


@given(seed=st.integers(0, 2**31), field=st.floats(0.1, 2), step=st.floats(0.01, 2))
@settings(max_examples=20)
def test_persistence_fidelity_is_constant_in_time(seed: int, field: float, step: float) -> None:
    """|<psi(t+dt)|psi(t)>|^2 does not depend on t for a static H."""
    psi0 = haar_random_states(n_qubits=4, seed=seed)
    states = evolve(TransverseFieldIsing(4, field=field), psi0, step * np.arange(20)).states
    overlap = fidelity(states[1:], states[:-1])
    assert float(overlap.max() - overlap.min()) < 1e-12


def test_time_reversal_returns_the_start() -> None:
    model = TransverseFieldIsing(6, coupling=[0.4, 1.6], field=[1.3, 0.9])
    psi0 = haar_random_states(n_qubits=6, batch=2, seed=8)
    there = evolve(model, psi0, [7.5], store="final").final_state
    back = evolve(model, there, [-7.5], store="final").final_state
    np.testing.assert_allclose(back.numpy(), psi0.numpy(), atol=1e-12)


def test_times_need_not_start_at_zero_nor_be_even() -> None:
    model, psi0 = TransverseFieldIsing(4, field=0.6), haar_random_states(n_qubits=4, seed=1)
    times = [-1.5, -0.2, 0.0, 0.3, 4.0]
    traj = evolve(model, psi0, times)
    np.testing.assert_allclose(traj.states[2].numpy(), psi0.numpy(), atol=1e-14)
    later = evolve(model, traj.states[1], np.array(times[3:]) + 0.2)
    np.testing.assert_allclose(later.states.numpy(), traj.states[3:].numpy(), atol=1e-13)


def test_eigenstates_only_turn_their_phase() -> None:
    model = TransverseFieldIsing(5, field=1.4)
    energies, vectors = torch.linalg.eigh(model.to_dense())
    psi0 = vectors.T.to(torch.complex128)[[0, 7, 31]]
    traj = evolve(model, psi0, TIMES)
    phases = np.exp(-1j * energies.numpy()[[0, 7, 31], None] * TIMES)
    expected = phases[..., None] * psi0.numpy()[:, None]
    np.testing.assert_allclose(traj.states.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_blocks_of_bounded_memory_give_the_same_trajectories(
    monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    model = TransverseFieldIsing(4, field=0.5 if shared else np.linspace(0.2, 2, 7))
    psi0 = haar_random_states(n_qubits=4, batch=7, seed=2)
    names = ["energy", "site_magnetisation_x", "loschmidt_echo", "entanglement_entropy"]
    whole = evolve(model, psi0, TIMES, observables=names)
    monkeypatch.setattr(recorder, "_BLOCK_BYTES", 16 * 6 * 16 * 10)
    monkeypatch.setattr("qdyn.dynamics.exact._MATRIX_BYTES", 5 * 8 * 16**2 * 3)
    for store in ("states", "final", "none"):
        parts = evolve(model, psi0, TIMES, observables=names, store=store)
        for name in names:
            difference = parts.expectations[name] - whole.expectations[name]
            assert float(difference.abs().max()) < 1e-13
        if store == "states":
            assert float((parts.states - whole.states).abs().max()) < 1e-13
        if store != "none":
            assert float((parts.final_state - whole.states[:, -1]).abs().max()) < 1e-13


@pytest.mark.parametrize(("n_sites", "duration"), [(2, 0.5), (3, 30.0), (4, 1000.0)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_estimated_error_covers_the_measured_one(
    n_sites: int, duration: float, dtype: torch.dtype
) -> None:
    """Against the same evolution in 40 decimal digits."""
    import mpmath

    model = TransverseFieldIsing(n_sites, coupling=0.75, field=1.3125)
    psi0 = haar_random_states(n_qubits=n_sites, seed=1)
    traj = evolve(model, psi0, [duration], dtype=dtype)
    with mpmath.workdps(40):
        energies, vectors = mpmath.eigsy(mpmath.matrix(model.to_dense().tolist()))
        amplitudes = vectors.T * mpmath.matrix([mpmath.mpc(value) for value in psi0.tolist()])
        turned = [mpmath.expj(-energy * duration) * c for energy, c in zip(energies, amplitudes, strict=True)]
        expected = [complex(value) for value in vectors * mpmath.matrix(turned)]
    deviation = np.abs(traj.states[0].numpy() - np.array(expected)).max()
    assert deviation <= traj.details["estimated_error"]
    assert traj.details["estimated_error"] < (2e-7 if dtype == torch.complex64 else 1e-11)
