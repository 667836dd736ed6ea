"""Systems solved on paper, by every method that works on state vectors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import entr

from qdyn.dynamics.evolve import METHODS, evolve
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observables import entanglement_entropy
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, MixedFieldIsing
from qdyn.quantum.states import product_state

TIMES = np.linspace(0, 3, 7)
# Error asked for where a method takes very many steps to be exact. CUDA-Q and drives in steps have tests of
# their own.
ERRORS = {"trotter2": 1e-4, "qutip": 1e-7}
ELSEWHERE = {"cudaq", "piecewise"}
every_method = pytest.mark.parametrize(
    "method", [name for name in sorted(METHODS) if METHODS[name].vectors and name not in ELSEWHERE]
)


@every_method
def test_rabi_oscillation_off_resonance(method: str) -> None:
    """H = -h X - g Z from |0>: <Z> = 1 - 2 (h / w)^2 sin^2 wt with w^2 = h^2 + g^2."""
    h, g, error = 0.8, 0.5, ERRORS.get(method, 1e-8)
    w = np.hypot(h, g)
    model = MixedFieldIsing(1, field=h, longitudinal_field=g)
    traj = evolve(model, product_state("0"), TIMES, method=method, error=error, observables="magnetisation_z")
    expected = 1 - 2 * (h / w) ** 2 * np.sin(w * TIMES) ** 2
    np.testing.assert_allclose(traj.expectations["magnetisation_z"].numpy(), expected, atol=10 * error)


@every_method
def test_two_spins_exchange_their_direction_and_are_entangled_on_the_way(method: str) -> None:
    """XXZ from |01>: cos 2Jt |01> - i sin 2Jt |10> up to a phase, so <Z_0> = cos 4Jt = -<Z_1>."""
    J, error = 0.7, ERRORS.get(method, 1e-8)
    traj = evolve(
        XXZ(2, coupling=J, anisotropy=1.3, field=0.4),
        product_state("01"),
        TIMES,
        method=method,
        error=error,
        observables=["site_magnetisation_z", "entanglement_entropy"],
    )
    z = np.cos(4 * J * TIMES)
    expected = np.stack([z, -z], axis=1)
    np.testing.assert_allclose(traj.expectations["site_magnetisation_z"].numpy(), expected, atol=10 * error)
    entropy = entr((1 + z) / 2) + entr((1 - z) / 2)
    # dS/dp = ln (1-p)/p is large where one weight is small: the error of S is that much larger.
    np.testing.assert_allclose(traj.expectations["entanglement_entropy"].numpy(), entropy, atol=40 * error)


@every_method
def test_an_ising_chain_without_field_entangles_and_returns(method: str) -> None:
    """h = 0 from |++++>: every cut passes one bond, with weights cos^2 Jt and sin^2 Jt; the echo is
    cos^(2 bonds) Jt."""
    J, n_sites, error = 0.9, 4, ERRORS.get(method, 1e-8)
    cuts = [entanglement_entropy(cut) for cut in (1, 2, 3)]
    traj = evolve(
        TransverseFieldIsing(n_sites, coupling=J, field=0.0),
        product_state("+" * n_sites),
        TIMES,
        method=method,
        error=error,
        observables=[*cuts, "loschmidt_echo"],
    )
    weight = np.cos(J * TIMES) ** 2
    for cut in cuts:
        found = traj.expectations[cut.name].numpy()
        np.testing.assert_allclose(found, entr(weight) + entr(1 - weight), atol=40 * error)
    np.testing.assert_allclose(
        traj.expectations["loschmidt_echo"].numpy(), weight ** (n_sites - 1), atol=10 * error
    )


@every_method
def test_one_string_makes_a_ghz_state(method: str) -> None:
    """exp(i pi/4 YXX) |000> = (|000> - |111>) / sqrt 2: every cut then holds ln 2."""
    error = ERRORS.get(method, 1e-8)
    traj = evolve(
        PauliSum({"YXX": -1.0}),
        product_state("000"),
        [np.pi / 4],
        method=method,
        error=error,
        observables=["entanglement_entropy_1", "entanglement_entropy_2", "pauli_XXX"],
    )
    state = traj.states[0].numpy()
    np.testing.assert_allclose(np.abs(state[[0, 7]]) ** 2, 0.5, atol=10 * error)
    for cut in (1, 2):
        assert float(traj.expectations[f"entanglement_entropy_{cut}"][0]) == pytest.approx(
            np.log(2), abs=10 * error
        )
    assert float(traj.expectations["pauli_XXX"][0]) == pytest.approx(-1, abs=10 * error)


@every_method
def test_energy_and_its_variance_are_conserved(method: str) -> None:
    """Also by product formulas, whose own energy is another: their drift is that of their error."""
    error = ERRORS.get(method, 1e-8)
    model = XXZ(4, anisotropy=0.6, field=0.3, transverse_field=0.5)
    names = ["energy", "energy_variance"]
    traj = evolve(model, product_state("+0-1"), TIMES, method=method, error=error, observables=names)
    norm = float(model.pauli_terms().coefficients.abs().sum())
    for name, scale in zip(names, (norm, norm**2), strict=True):
        values = traj.expectations[name].numpy()
        # |d<A>| <= 2 ||A|| ||d psi||, and ||d psi|| <= sqrt(16) times the largest deviation of an amplitude.
        assert np.abs(values - values[0]).max() <= 2 * scale * 4 * error + 1e-12
        assert values[0] > 0.1 or name == "energy"
