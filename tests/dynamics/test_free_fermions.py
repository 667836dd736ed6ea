"""The free-fermion solution against exact state vectors, closed forms and conservation laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.free_fermions import (
    ising_correlation,
    ising_magnetisation_z,
    ising_quench,
    ring_magnetisation,
)
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observables import correlator
from qdyn.quantum.states import product_state

TIMES = np.linspace(0, 5, 11)


def disordered_chain(n_sites: int) -> tuple[np.ndarray, np.ndarray, TransverseFieldIsing]:
    random = np.random.default_rng(n_sites)
    J, h = random.uniform(0.5, 1.5, n_sites - 1), random.uniform(0.5, 1.5, n_sites)
    return J, h, TransverseFieldIsing(n_sites, coupling=J[None], field=h[None])


@pytest.mark.parametrize("initial", ["+-++-+--", "01101001", "+++++++", "0000000"])
def test_agrees_with_state_vectors(initial: str) -> None:
    n_sites = len(initial)
    J, h, H = disordered_chain(n_sites)
    bonds = [correlator("z", i, i + 1) for i in range(n_sites - 1)]
    traj = evolve(
        H,
        product_state(initial),
        TIMES,
        method="exact",
        observables=["site_magnetisation_x", "energy", "entanglement_entropy", "loschmidt_echo", *bonds],
    )
    seen = {name: values.numpy() for name, values in traj.expectations.items()}
    quench = ising_quench(J, h, initial, TIMES)
    np.testing.assert_allclose(quench.magnetisation, seen["site_magnetisation_x"], atol=1e-12)
    np.testing.assert_allclose(quench.energy, seen["energy"], atol=1e-11)
    for i, bond in enumerate(bonds):
        np.testing.assert_allclose(quench.bond_correlation[:, i], seen[bond.name], atol=1e-12)
    if set(initial) <= set("+-"):
        np.testing.assert_allclose(quench.entropy, seen["entanglement_entropy"], atol=1e-10)
        np.testing.assert_allclose(quench.echo, seen["loschmidt_echo"], atol=1e-11)
    else:
        assert quench.entropy is None
        assert quench.echo is None


@pytest.mark.parametrize("initial", ["+-++-+-", "0110100"])
def test_correlations_and_order_parameter(initial: str) -> None:
    J, h, H = disordered_chain(7)
    pairs = [(0, 1), (0, 6), (2, 5), (1, 3)]
    observables = ["site_magnetisation_z", *(correlator("z", *pair) for pair in pairs)]
    traj = evolve(H, product_state(initial), TIMES, method="exact", observables=observables)
    found = ising_correlation(J, h, initial, TIMES, pairs=pairs)
    expected = np.stack([traj.expectations[f"correlator_z_{i}_{j}"].numpy() for i, j in pairs], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    order = ising_magnetisation_z(J, h, initial, TIMES, sites=range(7))
    np.testing.assert_allclose(order, traj.expectations["site_magnetisation_z"].numpy(), atol=1e-12)


@pytest.mark.parametrize("n_sites", [8, 9])
def test_ring(n_sites: int) -> None:
    H = TransverseFieldIsing(n_sites, coupling=1.0, field=1.05, periodic=True)
    traj = evolve(H, product_state("+" * n_sites), TIMES, observables="magnetisation_x")
    expected = ring_magnetisation(n_sites, 1.0, 1.05, TIMES)
    np.testing.assert_allclose(traj.expectations["magnetisation_x"].numpy(), expected, atol=1e-12)


def test_without_field_every_bond_turns_its_spins() -> None:
    """h = 0 from all spins along x: <X_j> = cos(2 J t) for each bond at j."""
    quench = ising_quench(np.ones(29), np.zeros(30), "+" * 30, TIMES)
    expected = np.cos(2 * TIMES)[:, None] ** np.array([1, *[2] * 28, 1])
    np.testing.assert_allclose(quench.magnetisation, expected, atol=1e-12)


def test_conservation_and_light_cone_of_a_long_chain() -> None:
    """Energy is constant; correlations stay nought outside the cone of velocity 2 min(J, h) * 2."""
    n_sites, field = 100, 0.5
    times = np.linspace(0, 8, 5)
    quench = ising_quench(np.ones(n_sites - 1), np.full(n_sites, field), "+" * n_sites, times)
    np.testing.assert_allclose(quench.energy, quench.energy[0], atol=1e-10)
    pairs = [(30, 30 + distance) for distance in (2, 40)]
    correlation = ising_correlation(
        np.ones(n_sites - 1), np.full(n_sites, field), "+" * n_sites, times, pairs=pairs
    )
    assert np.abs(correlation[:, 0]).max() > 0.1
    assert np.abs(correlation[:, 1]).max() < 1e-8


def test_agrees_with_chebyshev_at_fourteen_sites() -> None:
    J, h, H = disordered_chain(14)
    initial = "01001110010110"
    traj = evolve(
        H,
        product_state(initial),
        [1.0, 4.0],
        method="chebyshev",
        observables=["site_magnetisation_x", "site_magnetisation_z"],
        store="none",
    )
    quench = ising_quench(J, h, initial, [1.0, 4.0])
    np.testing.assert_allclose(
        traj.expectations["site_magnetisation_x"].numpy(), quench.magnetisation, atol=1e-12
    )
    order = ising_magnetisation_z(J, h, initial, [1.0, 4.0], sites=range(14))
    np.testing.assert_allclose(traj.expectations["site_magnetisation_z"].numpy(), order, atol=1e-12)
    assert torch.equal(traj.times, torch.tensor([1.0, 4.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("couplings", "initial", "message"),
    [
        (np.ones(2), "+++0", "must have one value for each of 3 bonds"),
        (np.ones(3), "+++", "must have one letter for each of 4 sites"),
        (np.ones(3), "+++0", "must consist of"),
    ],
)
def test_refuses_bad_arguments(couplings: np.ndarray, initial: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ising_quench(couplings, np.ones(4), initial, TIMES)
