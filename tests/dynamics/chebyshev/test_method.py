"""The Chebyshev method against diagonalisation and free fermions, over models, sizes, times and errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.free_fermions import ising_quench
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states, product_state, random_product_states

TIMES = torch.linspace(0, 5, 51, dtype=torch.float64)
MODELS: dict[str, Callable[[int], Hamiltonian]] = {
    "ising": lambda n: TransverseFieldIsing(n, coupling=1.0, field=1.05),
    "ring": lambda n: TransverseFieldIsing(n, coupling=-0.7, field=1.3, periodic=True),
    "mixed": lambda n: MixedFieldIsing(n, field=0.9, longitudinal_field=0.5),
    "long range": lambda n: LongRangeIsing(n, field=1.1, longitudinal_field=0.2),
    "xxz": lambda n: XXZ(n, coupling=1.0, anisotropy=1.05, field=0.3, transverse_field=0.2),
    "strings": lambda n: PauliSum(
        {"Y0 X1": 0.7, "Y1": -0.4, "X0 Y1 Z2": 0.3, "Y0 Y2": 1.1, "": 2.0}, n_sites=n
    ),
}


# The compiled kernels, and what runs on a GPU.
both_methods = pytest.mark.parametrize("method", ["chebyshev", "chebyshev_torch"])


def largest_deviation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


@both_methods
@pytest.mark.parametrize("n_sites", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("model", MODELS)
def test_agrees_with_diagonalisation(n_sites: int, model: str, method: str) -> None:
    H = MODELS[model](n_sites)
    initial = haar_random_states(n_qubits=n_sites, batch=2, seed=n_sites)
    exact = evolve(H, initial, TIMES, method="exact").states
    double = evolve(H, initial, TIMES, method=method)
    assert double.method == method
    assert largest_deviation(double.states, exact) < 1e-13
    single = evolve(H, initial, TIMES, method=method, dtype=torch.complex64).states
    assert single.dtype == torch.complex64
    assert largest_deviation(single, exact) < 1e-6


@pytest.mark.parametrize("n_sites", [1, 2])
def test_smallest_chains(n_sites: int) -> None:
    H = TransverseFieldIsing(n_sites, coupling=0.8, field=1.1)
    initial = haar_random_states(n_qubits=n_sites, seed=3)
    exact = evolve(H, initial, TIMES, method="exact").states
    assert largest_deviation(evolve(H, initial, TIMES, method="chebyshev").states, exact) < 1e-13


@both_methods
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_sites=st.integers(1, 8),
    n_strings=st.integers(1, 10),
    n_times=st.integers(1, 30),
    longest=st.floats(0.01, 20.0),
)
def test_any_pauli_strings_at_any_times(
    *, seed: int, n_sites: int, n_strings: int, n_times: int, longest: float, method: str
) -> None:
    """Real and complex Hamiltonians; uneven times, before and after 0."""
    random = np.random.default_rng(seed)
    strings = {
        "".join(random.choice(list("IXYZ"), n_sites)): float(random.normal()) for _ in range(n_strings)
    }
    H = PauliSum(strings)
    times = np.unique(random.uniform(-longest, longest, n_times))
    initial = haar_random_states(n_qubits=n_sites, seed=seed)
    exact = evolve(H, initial, times, method="exact").states
    assert largest_deviation(evolve(H, initial, times, method=method).states, exact) < 1e-12


@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-9, 3e-12])
@pytest.mark.parametrize("longest", [0.3, 5.0, 60.0])
@pytest.mark.parametrize("model", ["ising", "mixed", "xxz"])
def test_error_is_honoured(error: float, longest: float, model: str) -> None:
    H = MODELS[model](8)
    times = np.linspace(0, longest, 23)
    initial = random_product_states(n_qubits=8, batch=2, seed=1)
    exact = evolve(H, initial, times, method="exact").states
    traj = evolve(H, initial, times, method="chebyshev", error=error)
    assert largest_deviation(traj.states, exact) < error
    assert traj.details["estimated_error"] <= error
    if error >= 1e-6:
        single = evolve(H, initial, times, method="chebyshev", error=error, dtype=torch.complex64)
        assert largest_deviation(single.states, exact) < error


def test_a_larger_error_costs_less() -> None:
    H, initial = MODELS["ising"](8), product_state("00000000")
    key = "products_with_hamiltonian"
    counts = [
        evolve(H, initial, TIMES, method="chebyshev", error=error).details[key]
        for error in (1e-12, 1e-6, 1e-2)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_refuses_an_error_below_rounding() -> None:
    with pytest.raises(ArgumentError, match=r"Argument `error` must be at least .* for method 'chebyshev'"):
        evolve(MODELS["ising"](4), product_state("0000"), TIMES, method="chebyshev", error=1e-17)
    with pytest.raises(ArgumentError, match="Argument `error`"):
        evolve(
            MODELS["ising"](4),
            product_state("0000"),
            TIMES,
            method="chebyshev",
            error=1e-9,
            dtype=torch.complex64,
        )


def disordered(n_sites: int, batch: int, seed: int) -> TransverseFieldIsing:
    random = np.random.default_rng(seed)
    return TransverseFieldIsing(
        n_sites,
        coupling=random.uniform(0.2, 2.0, (batch, n_sites - 1)),
        field=random.uniform(0.2, 2.0, (batch, n_sites)),
    )


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
@pytest.mark.parametrize("store", ["states", "final"])
def test_bits_depend_neither_on_threads_nor_on_the_batch(dtype: torch.dtype, store: str) -> None:
    H = disordered(7, 6, seed=2)
    initial = haar_random_states(n_qubits=7, batch=6, seed=2)
    options = {"method": "chebyshev", "dtype": dtype, "store": store}

    def run(model: Hamiltonian, states: torch.Tensor) -> torch.Tensor:
        traj = evolve(model, states, TIMES, **options)
        return traj.states if store == "states" else traj.final_state

    together = run(H, initial)
    torch.set_num_threads(2)
    try:
        threaded = run(H, initial)
    finally:
        torch.set_num_threads(1)
    assert torch.equal(together, threaded)
    for member in range(6):
        assert torch.equal(together[member], run(H.member(member), initial[member]))


@pytest.mark.parametrize("model", ["ising", "xxz"])
def test_threads_share_a_long_state_bit_for_bit(model: str) -> None:
    """Each its own places, and all meet before every product."""
    H, initial = MODELS[model](14), random_product_states(n_qubits=14, seed=3)
    options = {"method": "chebyshev", "dtype": torch.complex64}
    alone = evolve(H, initial, TIMES[:7], **options).states
    for n_threads in (2, 3):
        torch.set_num_threads(n_threads)
        try:
            shared = evolve(H, initial, TIMES[:7], **options).states
        finally:
            torch.set_num_threads(1)
        assert torch.equal(alone, shared)


@both_methods
def test_disorder_agrees_with_diagonalisation(method: str) -> None:
    H = disordered(8, 5, seed=4)
    initial = haar_random_states(n_qubits=8, batch=5, seed=4)
    exact = evolve(H, initial, TIMES, method="exact").states
    assert largest_deviation(evolve(H, initial, TIMES, method=method).states, exact) < 1e-13


@both_methods
def test_observables_on_the_way_equal_those_of_stored_states(method: str) -> None:
    H = disordered(7, 3, seed=5)
    initial = haar_random_states(n_qubits=7, batch=3, seed=5)
    names = ["energy", "site_magnetisation_x", "entanglement_entropy"]
    times = np.concatenate([[-1.3, -0.2, 0.0], np.linspace(0.05, 4, 37)])
    stored = evolve(H, initial, times, method=method, observables=names)
    passing = evolve(H, initial, times, method=method, observables=names, store="none")
    assert passing.states is None
    for name in names:
        assert largest_deviation(stored.expectations[name], passing.expectations[name]) < 1e-12


@pytest.mark.parametrize("field", [0.5, 1.05])
def test_free_fermions_at_twelve_sites(field: float) -> None:
    """Where diagonalisation is out of reach of a test."""
    n_sites = 12
    H = TransverseFieldIsing(n_sites, coupling=1.0, field=field)
    quench = ising_quench(np.ones(n_sites - 1), np.full(n_sites, field), "0" * n_sites, TIMES.numpy())
    names = ["site_magnetisation_x", *(f"correlator_z_{i}_{i + 1}" for i in range(n_sites - 1))]
    traj = evolve(H, product_state("0" * n_sites), TIMES, method="chebyshev", observables=names, store="none")
    np.testing.assert_allclose(traj.expectations[names[0]].numpy(), quench.magnetisation, atol=1e-12)
    for bond, name in enumerate(names[1:]):
        np.testing.assert_allclose(
            traj.expectations[name].numpy(), quench.bond_correlation[:, bond], atol=1e-12
        )


def test_rounding_of_many_equal_steps_does_not_add_up() -> None:
    H, initial = MODELS["ising"](6), haar_random_states(n_qubits=6, seed=10)
    times = np.linspace(0, 1000, 10001)
    exact = evolve(H, initial, times, method="exact").states
    traj = evolve(H, initial, times, method="chebyshev")
    assert largest_deviation(traj.states, exact) < 2e-12
    assert traj.details["estimated_error"] > largest_deviation(traj.states, exact)


def test_norm_and_energy_are_conserved() -> None:
    H = MODELS["xxz"](10)
    initial = haar_random_states(n_qubits=10, seed=6)
    times = np.linspace(0, 50, 40)
    traj = evolve(H, initial, times, method="chebyshev", observables="energy")
    assert (torch.linalg.vector_norm(traj.states, dim=-1) - 1).abs().max() < 1e-12
    assert np.ptp(traj.expectations["energy"].numpy()) < 1e-11


@pytest.mark.gpu
def test_a_gpu_agrees_with_the_compiled_kernels() -> None:
    H, initial = MODELS["xxz"](12), haar_random_states(n_qubits=12, batch=3, seed=9)
    there = evolve(H, initial, TIMES, method="chebyshev_torch", device="cuda")
    assert there.states.device.type == "cuda"
    here = evolve(H, initial, TIMES, method="chebyshev")
    assert largest_deviation(there.states.cpu(), here.states) < 1e-13


def test_automatic_choice_says_what_it_chose() -> None:
    few = evolve(MODELS["ising"](4), product_state("0000"), TIMES)
    many = evolve(MODELS["ising"](11), product_state("0" * 11), TIMES)
    assert (few.method, many.method) == ("exact", "chebyshev")


def test_only_time_zero() -> None:
    H, initial = MODELS["ising"](6), haar_random_states(n_qubits=6, seed=7)
    assert torch.equal(evolve(H, initial, [0.0], method="chebyshev").states[0], initial)


def test_a_vanishing_hamiltonian_leaves_the_state() -> None:
    H, initial = TransverseFieldIsing(6, coupling=0.0, field=0.0), haar_random_states(n_qubits=6, seed=8)
    assert largest_deviation(evolve(H, initial, TIMES, method="chebyshev").states, initial) < 1e-13


def test_numba_is_imported_on_use_only() -> None:
    code = "import sys, qdyn.dynamics.evolve; print('numba' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.slow
def test_twenty_two_sites_fit_in_two_gibibytes() -> None:
    code = (
        "import resource, qdyn\n"
        "H = qdyn.TransverseFieldIsing(22, 1.0, 1.05)\n"
        "qdyn.evolve(H, qdyn.product_state('0' * 22), [0.1, 0.2, 0.3, 0.4], method='chebyshev',\n"
        "            store='none', observables=['magnetisation_x', 'magnetisation_z', 'energy',\n"
        "            'energy_variance'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 2 * 2**20
