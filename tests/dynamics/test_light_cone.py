"""Correlations spread in a light cone: front, velocity, and next to nothing outside."""

from __future__ import annotations

import numpy as np
import pytest

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.free_fermions import ising_field_correlation
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observables import correlator
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import product_state

TIMES = np.linspace(0, 4, 9)


@pytest.mark.parametrize("initial", ["+-++-+--", "01101001", "++++++++"])
def test_field_correlations_agree_with_state_vectors(initial: str) -> None:
    random = np.random.default_rng(3)
    J, h = random.uniform(0.5, 1.5, 7), random.uniform(0.5, 1.5, 8)
    traj = evolve(
        TransverseFieldIsing(8, coupling=J[None], field=h[None]),
        product_state(initial),
        TIMES,
        observables="connected_correlators_x_2",
        store="none",
    )
    pairs = [(2, j) for j in range(3, 8)]
    found = ising_field_correlation(J, h, initial, TIMES, pairs=pairs)
    measured = traj.expectations["connected_correlators_x_2"].numpy()
    np.testing.assert_allclose(found, measured[:, 3:], atol=1e-12)
    np.testing.assert_allclose(
        ising_field_correlation(J, h, initial, TIMES, pairs=[(0, 2), (1, 2)]), measured[:, :2], atol=1e-12
    )


@pytest.mark.parametrize(("J", "h"), [(1.0, 0.5), (0.6, 1.0), (1.0, 1.5)])
def test_the_front_moves_at_twice_the_velocity_of_quasiparticles(J: float, h: float) -> None:
    """Largest slope of E_k = 2 sqrt(J^2 + h^2 - 2 J h cos k): 2 min(J, h); pairs part at twice that.

    The front is an Airy function of width d^(1/3), so that it arrives at d / v + c d^(1/3); what the next
    order leaves of v at these distances is a few per cent.
    """
    n_sites, first = 100, 25
    distances = np.arange(10, 51, 5)
    k = np.linspace(0, np.pi, 20001)
    speed = 2 * np.abs(np.gradient(2 * np.sqrt(J**2 + h**2 - 2 * J * h * np.cos(k)), k)).max()
    assert speed == pytest.approx(4 * min(J, h), rel=1e-3)
    times = np.linspace(0, 1.3 * distances[-1] / speed + 1, 240)
    pairs = [(first, first + int(distance)) for distance in distances]
    couplings, fields = np.full(n_sites - 1, J), np.full(n_sites, h)
    found = np.abs(ising_field_correlation(couplings, fields, "+" * n_sites, times, pairs=pairs))
    arrivals = times[(found > found.max(axis=0) / 2).argmax(axis=0)]
    laws = np.stack([distances, distances ** (1 / 3)], axis=1)
    (slowness, _), *_ = np.linalg.lstsq(laws, arrivals, rcond=None)
    assert 1 / slowness == pytest.approx(speed, rel=0.05)
    # Half way to the front there is next to nothing, a tenth of the way nothing but rounding.
    for column, distance in enumerate(distances[2:], start=2):
        largest = found[:, column].max()
        assert found[times < 0.5 * distance / speed, column].max() < 1e-6 * largest
        assert found[times < 0.1 * distance / speed, column].max() < 1e-15


def test_correlations_at_a_distance_start_as_a_high_power_of_time() -> None:
    """From |+...+> each of d bonds must act twice before Z_0 Z_d can correlate: t^(2 d)."""
    times = np.array([0.04, 0.08])
    traj = evolve(
        TransverseFieldIsing(7, field=0.7),
        product_state("+" * 7),
        times,
        observables=[correlator("z", 1, 1 + distance) for distance in (1, 2, 3)],
    )
    for distance in (1, 2, 3):
        early, late = traj.expectations[f"correlator_z_1_{1 + distance}"].numpy()
        assert np.log2(late / early) == pytest.approx(2 * distance, rel=0.02)


@pytest.mark.parametrize("method", ["exact", "chebyshev"])
def test_nothing_is_outside_the_cone_of_an_interacting_chain(method: str) -> None:
    """XXZ from a Neel state: no closed form, but Lieb and Robinson's bound: at early times the correlations
    fall off with distance faster than exponentially."""
    n_sites, time = 10, 0.15
    traj = evolve(
        XXZ(n_sites, anisotropy=1.0),
        product_state("01" * 5),
        [time],
        method=method,
        observables="connected_correlators_z_0",
    )
    sizes = np.abs(traj.expectations["connected_correlators_z_0"].numpy()[0])[1:]
    assert sizes[0] > 0.1
    falls = sizes[1:7] / sizes[:6]
    assert (falls < 0.5).all()
    assert falls[-1] < 0.5 * falls[0]
    assert sizes[-1] < 1e-7


def test_bad_pairs_are_named() -> None:
    with pytest.raises(ArgumentError, match="must hold sites i < j below 4"):
        ising_field_correlation(np.ones(3), np.ones(4), "++++", [1.0], pairs=[(2, 2)])
