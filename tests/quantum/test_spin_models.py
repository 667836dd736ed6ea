"""The family of models: matrices against kron, other lattices, disorder, and dynamics with closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.lattices import all_pairs, ladder_bonds, square_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import basis_state, haar_random_states, product_state

PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]]),
}
TIMES = np.linspace(0, 3, 16)
RNG = np.random.default_rng(7)


def placed(n_sites: int, letters: dict[int, str]) -> np.ndarray:
    result = np.ones((1, 1))
    for site in range(n_sites):
        result = np.kron(result, PAULI[letters.get(site, "I")])
    return result


def summed(n_sites: int, *parts: tuple[str, list, np.ndarray]) -> np.ndarray:
    """sum over parts of strength times a Pauli string on one site or on a bond, by kron."""
    matrix = np.zeros((2**n_sites, 2**n_sites), dtype=complex)
    for letters, places, strengths in parts:
        for place, strength in zip(places, np.broadcast_to(strengths, len(places)), strict=True):
            sites = place if isinstance(place, tuple) else (place,)
            matrix += strength * placed(n_sites, dict(zip(sites, letters, strict=True)))
    return matrix


@pytest.mark.parametrize(
    ("bonds", "periodic"), [(None, False), (None, True), (ladder_bonds(2), False), (((3, 0), (1, 3)), False)]
)
@pytest.mark.parametrize("disordered", [False, True])
def test_matrices_are_sums_of_krons(bonds, periodic: bool, disordered: bool) -> None:
    n_sites, sites = 4, list(range(4))
    pairs = list(TransverseFieldIsing(n_sites, periodic=periodic, bonds=bonds).bond_list)

    def draw(size: int):
        return RNG.normal(size=size) if disordered else RNG.normal(size=1)

    def given(values: np.ndarray):
        return values[None] if disordered else float(values[0])

    J, D, h, g = draw(len(pairs)), draw(len(pairs)), draw(n_sites), draw(n_sites)
    lattice = {"periodic": periodic, "bonds": bonds}
    cases = [
        (TransverseFieldIsing(n_sites, given(J), given(h), **lattice), [("ZZ", pairs, -J), ("X", sites, -h)]),
        (
            MixedFieldIsing(n_sites, given(J), given(h), given(g), **lattice),
            [("ZZ", pairs, -J), ("X", sites, -h), ("Z", sites, -g)],
        ),
        (
            XXZ(n_sites, given(J), given(D), given(g), given(h), **lattice),
            [("XX", pairs, J), ("YY", pairs, J), ("ZZ", pairs, J * D), ("Z", sites, -g), ("X", sites, -h)],
        ),
    ]
    for model, parts in cases:
        expected = summed(n_sites, *parts)
        dense = model.to_dense()
        assert dense.dtype == torch.float64
        np.testing.assert_allclose(dense.numpy(), expected, atol=1e-14)
        np.testing.assert_allclose(model.to_sparse().toarray(), expected, atol=1e-14)
        np.testing.assert_allclose(model.to_qutip().full(), expected, atol=1e-14)
        states = haar_random_states(n_qubits=n_sites, batch=2, seed=1)
        np.testing.assert_allclose(model.apply(states).numpy(), states.numpy() @ expected.T, atol=1e-13)


@pytest.mark.parametrize("periodic", [False, True])
def test_long_range_couplings_fall_off_as_a_power(periodic: bool) -> None:
    n_sites, pairs = 5, list(all_pairs(5))
    gaps = np.array([j - i for i, j in pairs])
    distances = np.minimum(gaps, n_sites - gaps) if periodic else gaps
    model = LongRangeIsing(n_sites, 0.7, 1.1, 0.3, exponent=1.3, periodic=periodic)
    sites = list(range(n_sites))
    expected = summed(
        n_sites,
        ("ZZ", pairs, -0.7 * distances**-1.3),
        ("X", sites, np.array(-1.1)),
        ("Z", sites, np.array(-0.3)),
    )
    np.testing.assert_allclose(model.to_dense().numpy(), expected, atol=1e-14)


def test_a_steep_long_range_ising_chain_is_the_nearest_neighbour_one() -> None:
    steep = LongRangeIsing(4, field=0.8, exponent=200.0).to_dense()
    assert float((steep - TransverseFieldIsing(4, field=0.8).to_dense()).abs().max()) < 1e-14


def test_every_coupling_may_differ_for_each_trajectory() -> None:
    batch = 3
    models: list[Hamiltonian] = [
        MixedFieldIsing(3, RNG.normal(size=batch), RNG.normal(size=(batch, 3)), RNG.normal(size=(1, 3))),
        LongRangeIsing(3, RNG.normal(size=(batch, 3)), exponent=RNG.uniform(0, 3, batch)),
        XXZ(
            3,
            RNG.normal(size=(batch, 2)),
            RNG.normal(size=batch),
            transverse_field=RNG.normal(size=(batch, 3)),
        ),
        PauliSum({"XYZ": RNG.normal(size=batch), "Z0 Z2": 0.5, "Y1": RNG.normal(size=batch)}),
    ]
    psi0 = haar_random_states(n_qubits=3, batch=batch, seed=2)
    for model in models:
        assert model.batch_size == batch
        traj = evolve(model, psi0, [0.4, 2.0], observables="energy")
        for index in range(batch):
            single = model.member(index)
            assert single.batch_size is None
            assert torch.equal(model.to_dense()[index], single.to_dense())
            expected = scipy.linalg.expm(-2j * single.to_dense().numpy()) @ psi0[index].numpy()
            np.testing.assert_allclose(traj.states[index, 1].numpy(), expected, atol=1e-12)
        drift = traj.expectations["energy"].diff(dim=1).abs().max()
        assert float(drift) < 1e-13


def test_one_spin_turns_about_a_tilted_axis() -> None:
    """H = -h X - g Z from |0>: <Z> = (g^2 + h^2 cos 2wt) / w^2, w^2 = h^2 + g^2."""
    h, g = 0.8, 0.6
    model = MixedFieldIsing(1, field=h, longitudinal_field=g)
    traj = evolve(model, basis_state("0"), TIMES, observables="magnetisation_z")
    w = math.hypot(h, g)
    expected = (g**2 + h**2 * np.cos(2 * w * TIMES)) / w**2
    np.testing.assert_allclose(traj.expectations["magnetisation_z"].numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("exponent", [0.0, 1.5, 3.0])
def test_long_range_dephasing_in_closed_form(exponent: float) -> None:
    """Without fields from |+...+>: <X_j> = prod_{k != j} cos(2 J t / |j - k|^alpha)."""
    n_sites, J = 6, 0.9
    model = LongRangeIsing(n_sites, J, field=0.0, exponent=exponent)
    traj = evolve(
        model, product_state("+" * n_sites), TIMES, observables="site_magnetisation_x", store="none"
    )
    site = np.arange(n_sites)
    gaps = np.abs(site[:, None] - site)[~np.eye(n_sites, dtype=bool)].reshape(n_sites, -1)
    expected = np.cos(2 * J * TIMES[:, None, None] * gaps**-exponent).prod(axis=-1)
    np.testing.assert_allclose(traj.expectations["site_magnetisation_x"].numpy(), expected, atol=1e-13)


def test_dephasing_counts_the_neighbours_on_a_square_lattice() -> None:
    """h = 0 from |+...+>: <X_j> = cos(2 J t)^degree(j)."""
    bonds = square_bonds(2, 3)
    model = TransverseFieldIsing(6, field=0.0, bonds=bonds)
    traj = evolve(model, product_state("++++++"), TIMES, observables="site_magnetisation_x")
    degrees = np.array([sum(site in bond for bond in bonds) for site in range(6)])
    expected = np.cos(2 * TIMES)[:, None] ** degrees
    np.testing.assert_allclose(traj.expectations["site_magnetisation_x"].numpy(), expected, atol=1e-13)


def test_one_magnon_on_an_xxz_ring_in_closed_form() -> None:
    """One flipped spin hops with 2J: psi_r = e^{-i J Delta (n-4) t} (1/n) sum_k e^{ikr - 4iJt cos k}."""
    n_sites, J, delta = 6, 0.7, 1.3
    model = XXZ(n_sites, J, delta, periodic=True)
    traj = evolve(model, basis_state("100000"), TIMES)
    k = 2 * np.pi * np.arange(n_sites) / n_sites
    waves = np.exp(1j * k[:, None] * np.arange(n_sites))
    spread = np.exp(-4j * J * np.cos(k) * TIMES[:, None]) @ waves / n_sites
    expected = spread * np.exp(-1j * J * delta * (n_sites - 4) * TIMES)[:, None]
    places = [2 ** (n_sites - 1 - site) for site in range(n_sites)]
    np.testing.assert_allclose(traj.states[:, places].numpy(), expected, atol=1e-13)


def test_heisenberg_conserves_the_total_spin_and_xxz_its_z_component() -> None:
    psi0 = haar_random_states(n_qubits=5, batch=2, seed=3)
    couplings = RNG.uniform(0.5, 1.5, (1, 4))
    names = [f"magnetisation_{axis}" for axis in "xyz"]
    isotropic = evolve(XXZ(5, couplings), psi0, TIMES, observables=names).expectations
    for name in names:
        assert float((isotropic[name] - isotropic[name][:, :1]).abs().max()) < 1e-13
    disordered = XXZ(5, couplings, 0.4, field=RNG.normal(size=(1, 5)))
    anisotropic = evolve(disordered, psi0, TIMES, observables=names).expectations
    assert float((anisotropic["magnetisation_z"] - anisotropic["magnetisation_z"][:, :1]).abs().max()) < 1e-13
    assert float((anisotropic["magnetisation_x"] - anisotropic["magnetisation_x"][:, :1]).abs().max()) > 1e-2


def test_pauli_sums_read_both_notations() -> None:
    expected = 0.5 * placed(3, {0: "X", 2: "Y"}) - placed(3, {1: "Z"}) + 2 * np.eye(8)
    for strings in ({"XIY": 0.5, "IZI": -1, "III": 2}, {"Y2 X0": 0.5, "Z1": -1, "": 2}):
        model = PauliSum(strings, n_sites=3)
        np.testing.assert_allclose(model.to_dense().numpy(), expected, atol=1e-15)
        np.testing.assert_allclose(model.to_sparse().toarray(), expected, atol=1e-15)
    listed = PauliSum(["XIY", "IZI", "III"], [0.5, -1, 2])
    assert listed.n_sites == 3
    np.testing.assert_allclose(listed.to_dense().numpy(), expected, atol=1e-15)


def test_a_complex_hamiltonian_evolves_exactly() -> None:
    """An odd number of Y makes H complex: the other branch of the diagonalisation."""
    model = PauliSum({"XYI": 0.7, "IZZ": -0.4, "Y2": 1.1, "X0 X2": 0.3})
    dense = model.to_dense()
    assert dense.dtype == torch.complex128
    psi0 = haar_random_states(n_qubits=3, batch=4, seed=5)
    traj = evolve(model, psi0, TIMES, observables=["energy", "pauli_XYI"])
    for index, time in ((3, TIMES[3]), (15, TIMES[15])):
        expected = psi0.numpy() @ scipy.linalg.expm(-1j * time * dense.numpy()).T
        np.testing.assert_allclose(traj.states[:, index].numpy(), expected, atol=1e-13)
    assert float(traj.expectations["energy"].diff(dim=1).abs().max()) < 1e-13


def test_a_pauli_sum_is_the_model_it_spells() -> None:
    model = XXZ(4, 0.8, 1.2, 0.3, 0.1, periodic=True)
    terms = model.pauli_terms()
    spelled = PauliSum(dict(zip(terms.labels, terms.coefficients.tolist(), strict=True)))
    assert float((spelled.to_dense() - model.to_dense()).abs().max()) < 1e-15


def test_many_sites_have_terms_without_a_matrix() -> None:
    """What a matrix-product method will read at 100 sites."""
    terms = XXZ(100, periodic=True).pauli_terms()
    assert len(terms.words) == 3 * 100 + 2 * 100
    assert terms.flips[0] == 3 << 98
    assert terms.words[0] == ((0, "X"), (1, "X"))


def test_repr_of_pauli_sums() -> None:
    assert repr(PauliSum({"XZ": 0.5})) == "PauliSum({'XZ': 0.5}, n_sites=2)"
    assert repr(PauliSum({"XZ": [0.5, 1.0]})) == "PauliSum(<batch of 2, 1 strings>, n_sites=2)"
    assert "bonds=<13 pairs>" in repr(XXZ(10, bonds=square_bonds(2, 5)))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: XXZ(4, periodic=True, bonds=[(0, 1)]), "cannot be used with `bonds`"),
        (lambda: XXZ(4, bonds=[(0, 4)]), "bonds[0] is (0, 4)"),
        (lambda: XXZ(4, anisotropy=np.ones((1, 4))), "(batch, 3) for 3 bonds, but has shape (1, 4)"),
        (lambda: MixedFieldIsing(4, longitudinal_field=np.nan), "`longitudinal_field` must be finite"),
        (lambda: LongRangeIsing(4, exponent=-1.0), "`exponent` must be >= 0, but holds -1"),
        (lambda: LongRangeIsing(4, exponent=[[1.0]]), "`exponent` must be a number or have shape (batch,)"),
        (lambda: LongRangeIsing(4, coupling=np.ones((2, 3))), "for 6 bonds, but has shape (2, 3)"),
        (lambda: LongRangeIsing(4, [1.0, 2.0], exponent=[1.0, 2.0, 3.0]), "hold 2 and 3"),
        (lambda: PauliSum({}), "is empty"),
        (lambda: PauliSum("XX", [1.0]), "not 'XX'"),
        (lambda: PauliSum({"XX": 1.0, "X": 2.0}), "'X' has 1, not 2"),
        (lambda: PauliSum({"X0 X1": 1.0}), "`n_sites` is needed"),
        (lambda: PauliSum({"X0 X2": 1.0}, n_sites=2), "holds 'X0 X2'"),
        (lambda: PauliSum({"X0 Y0": 1.0}, n_sites=2), "holds 'X0 Y0'"),
        (lambda: PauliSum({"W0": 1.0}, n_sites=2), "holds 'W0'"),
        (lambda: PauliSum({"XX": 1j}), "must hold real numbers"),
        (lambda: PauliSum({"XX": float("inf")}), "`coefficients` must be finite"),
        (lambda: PauliSum({"XX": [1.0, 2.0], "ZZ": [1.0, 2.0, 3.0]}), "values of one length"),
        (lambda: PauliSum({"XX": 1.0}, [1.0]), "given twice"),
        (lambda: PauliSum(["XX"]), "`coefficients` is missing"),
        (lambda: PauliSum(["XX"], [1.0, 2.0]), "must have shape (1,) or (batch, 1)"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
