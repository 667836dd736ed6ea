"""Bessel functions, truncation, spectral bounds and windows: what the Chebyshev method rests on."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.dynamics.chebyshev import bessel_kernels
from qdyn.dynamics.chebyshev.plan import make_plan
from qdyn.dynamics.chebyshev.spectral_bounds import spectral_bounds
from qdyn.quantum import product_kernels
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing


@pytest.mark.parametrize("x", [0.0, 1e-12, 1e-3, 0.7, 5.0, 40.0, 300.0])
def test_bessel_functions_equal_scipy(x: float) -> None:
    orders = np.arange(200)
    np.testing.assert_allclose(
        bessel_kernels.bessel(np.array([x]), 200)[0], scipy.special.jv(orders, x), rtol=0, atol=1e-14
    )


@given(x=st.floats(0, 2000))
def test_bessel_functions_are_normalised(x: float) -> None:
    """J_0^2 + 2 sum J_k^2 = 1."""
    table = bessel_kernels.bessel(np.array([x]), int(x) + 120)[0]
    assert abs(table[0] ** 2 + 2 * (table[1:] ** 2).sum() - 1) < 1e-12


@given(x=st.floats(0, 500), digits=st.floats(1, 14))
def test_number_of_terms_bounds_the_tail(x: float, digits: float) -> None:
    tolerance = 10.0**-digits
    count = int(bessel_kernels.count_terms(np.array([x]), tolerance)[0])
    tail = np.abs(scipy.special.jv(np.arange(count, count + 200), x))
    assert 2 * tail.sum() <= tolerance * (1 + 1e-9) + 1e-15
    # No more than a few terms are spent on the safety of the bound.
    assert count <= x + 12 * max(1.0, x) ** (1 / 3) + 30


def test_walsh_transform_is_the_diagonal() -> None:
    H = LongRangeIsing(7, longitudinal_field=0.3, field=0.0)
    terms = H.pauli_terms()
    diagonal = np.empty(2**7)
    product_kernels.walsh(np.array(terms.signs), terms.coefficients.numpy(), 0.25, diagonal)
    np.testing.assert_allclose(diagonal + 0.25, np.diag(H.to_dense().numpy()), atol=1e-13)


@pytest.mark.parametrize("n_sites", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("periodic", [False, True])
def test_bounds_of_the_ising_chain_are_sharp(n_sites: int, periodic: bool) -> None:
    if periodic and n_sites < 3:
        pytest.skip("a ring has at least 3 sites")
    random = np.random.default_rng(n_sites)
    n_bonds = n_sites if periodic else n_sites - 1
    H = TransverseFieldIsing(
        n_sites,
        coupling=random.uniform(-1, 1, (1, n_bonds)) if n_bonds else 1.0,
        field=random.uniform(-1, 1, (1, n_sites)),
        periodic=periodic,
    )
    lower, upper = spectral_bounds(H.pauli_terms())
    energies = torch.linalg.eigvalsh(H.to_dense())
    assert float(upper) >= float(energies[-1]) - 1e-12
    assert float(lower) <= float(energies[0]) + 1e-12
    if not periodic:
        np.testing.assert_allclose(float(upper), float(energies.abs().max()), rtol=1e-13)


@pytest.mark.parametrize(
    "H",
    [
        MixedFieldIsing(7, field=0.9, longitudinal_field=-0.5),
        LongRangeIsing(7, field=1.1),
        XXZ(7, anisotropy=-1.5, field=0.4, transverse_field=0.3),
        PauliSum({"Y0 X3": 0.4, "Z1 Z2": 1.0, "X6": -0.3, "": 5.0}, n_sites=7),
    ],
)
def test_bounds_enclose_the_spectrum(H: Hamiltonian) -> None:
    lower, upper = spectral_bounds(H.pauli_terms())
    energies = torch.linalg.eigvalsh(H.to_dense())
    assert float(lower) <= float(energies[0]) + 1e-12
    assert float(upper) >= float(energies[-1]) - 1e-12


def test_bounds_of_a_heisenberg_chain_are_tight() -> None:
    """Twice too wide a bound would double the cost; the sum of all moduli is."""
    H = XXZ(10, coupling=1.0, anisotropy=1.0)
    lower, upper = spectral_bounds(H.pauli_terms())
    energies = torch.linalg.eigvalsh(H.to_dense())
    assert float(upper - lower) < 1.05 * float(energies[-1] - energies[0])


@given(
    steps=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60),
    shift=st.integers(0, 60),
    limit=st.sampled_from([None, 3, 6]),
)
def test_windows_supply_every_state_once(steps: list[float], shift: int, limit: int | None) -> None:
    times = np.cumsum(steps)
    times = times - times[min(shift, len(times) - 1)]
    plan = make_plan(times, radius=8.0, error=1e-12, n_terms=11, vector_bytes=2**14, limit=limit)
    supplied = np.concatenate([plan.after, plan.before])
    expected = np.flatnonzero(times != 0)
    np.testing.assert_array_equal(np.sort(supplied[supplied >= 0]), expected)
    positions = {int(index): time for index, time in enumerate(times)} | {-1: 0.0}
    done = {-1}
    for window in range(plan.n_windows):
        source = int(plan.sources[window])
        assert source in done
        for entry in range(plan.starts[window], plan.starts[window + 1]):
            for index, sign in ((int(plan.after[entry]), 1), (int(plan.before[entry]), -1)):
                if index >= 0:
                    place = positions[source] + sign * plan.distances[entry]
                    assert place == pytest.approx(positions[index], abs=1e-12)
                    done.add(index)
        own, ahead, _ = plan.one_window(window, np.float64)
        np.testing.assert_array_equal(own, np.arange(own[0], own[0] + len(own)) if len(own) else own)
        assert limit is None or len(own) + ahead <= limit + 1
