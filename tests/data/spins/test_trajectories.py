from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qdyn
from qdyn.data.recipes import Recipe
from qdyn.data.spins.trajectories import Trajectories

PAULI_X = np.array([[0, 1], [1, 0]])
PAULI_Z = np.diag([1, -1])


def ising(n_sites: int, coupling: float, field: float) -> np.ndarray:
    """H = -J sum Z Z - h sum X by Kronecker products, site 0 first."""

    def on(sites: dict[int, np.ndarray]) -> np.ndarray:
        matrix = np.eye(1)
        for site in range(n_sites):
            matrix = np.kron(matrix, sites.get(site, np.eye(2)))
        return matrix

    bonds = sum((on({i: PAULI_Z, i + 1: PAULI_Z}) for i in range(n_sites - 1)), np.zeros((2**n_sites,) * 2))
    return -coupling * bonds - field * sum(on({i: PAULI_X}) for i in range(n_sites))


@pytest.fixture(scope="module")
def tfim() -> qdyn.SequenceDataset:
    return qdyn.load_dataset("tfim-4q", phase_convention="raw", progress=False)


def test_stored_states_obey_the_schroedinger_equation(tfim: qdyn.SequenceDataset) -> None:
    states, known = tfim.sequences().numpy(), tfim.conditions
    for index in range(0, len(tfim), 7):
        step = scipy.linalg.expm(
            -0.35j * ising(4, float(known["coupling"][index]), float(known["field"][index]))
        )
        expected = states[index, 0].astype(np.complex128)
        for element in states[index]:
            # Single precision on disk: 2**-24 an amplitude, for the first state and for this one.
            assert np.abs(element - expected).max() < 3e-7
            expected = step @ expected


def test_energy_norm_and_persistence_are_conserved(tfim: qdyn.SequenceDataset) -> None:
    states = tfim.sequences().to(torch.complex128)
    known = tfim.conditions
    hamiltonian = qdyn.TransverseFieldIsing(n_sites=4, coupling=known["coupling"], field=known["field"])
    energies = torch.linalg.vecdot(states, hamiltonian.apply(states)).real
    assert float((energies - energies[:, :1]).abs().max()) < 1e-5
    assert float((torch.linalg.vector_norm(states, dim=-1) - 1).abs().max()) < 3e-7
    overlaps = qdyn.fidelity(states[:, 1:], states[:, :-1])
    assert float((overlaps - overlaps[:, :1]).abs().max()) < 2e-6


def test_the_couplings_are_uniform_and_the_states_haar(tfim: qdyn.SequenceDataset) -> None:
    for name in ("coupling", "field"):
        values = np.sort(tfim.conditions[name].numpy())
        assert values.min() >= 0.2
        assert values.max() <= 2.0
        # Kolmogorov-Smirnov: passed by 99.9 % of uniform samples; this sample is fixed.
        expected = (values - 0.2) / 1.8
        assert np.abs(expected - np.arange(1, 449) / 448).max() < 1.95 / np.sqrt(448)
    # Haar in d dimensions: |a|^2 has mean 1/d and variance (d-1) / (d^2 (d+1)).
    weights = tfim.sequences()[:, 0].abs().square().double()
    assert float(weights.mean()) == pytest.approx(1 / 16)
    assert float(weights.var()) == pytest.approx(15 / (256 * 17), rel=0.1)


def test_persistence_on_the_test_split_is_near_the_published_figure(tfim: qdyn.SequenceDataset) -> None:
    states = tfim.split("test").sequences()
    fidelities = qdyn.fidelity(states[:, 1:], states[:, :-1])
    # The theory page gives 0.372 for 128 trajectories of other random numbers: within the error of two means.
    mean_of_each = fidelities.mean(dim=1)
    error = float(mean_of_each.std()) / np.sqrt(128) * np.sqrt(2)
    assert float(mean_of_each.mean()) == pytest.approx(0.372, abs=3 * error)
    assert error < 0.04


def test_the_recipe_is_the_published_one(tfim: qdyn.SequenceDataset) -> None:
    assert tfim.n_steps == 32
    assert tfim.metadata.time_step == pytest.approx(0.35)
    assert tfim.metadata.units == {"states": "1", "time": "1/J", "coupling": "J", "field": "J"}
    assert [len(tfim.split(name)) for name in ("train", "validation", "test")] == [256, 64, 128]


def source(**changes: object) -> Trajectories:
    chain = {"model": "transverse_field_ising", "n_sites": 2, "coupling": 1.0, "field": {"uniform": [0.2, 2]}}
    return Trajectories(**{"hamiltonian": chain, "time_step": 0.1, "n_steps": 4, **changes})


@settings(max_examples=20)
@given(seed=st.integers(0, 2**64), first=st.integers(0, 10**6), count=st.integers(1, 6))
def test_a_trajectory_depends_on_seed_and_number_alone(seed: int, first: int, count: int) -> None:
    together = source().block(seed=seed, first=first, count=count, precision="double")
    alone = source().block(seed=seed, first=first + count - 1, count=1, precision="double")
    assert together.conditions["field"][-1] == alone.conditions["field"][0]
    np.testing.assert_allclose(together.values[-1], alone.values[0], atol=1e-14)


def test_seeds_and_numbers_give_other_trajectories() -> None:
    one = source().block(seed=1, first=0, count=4, precision="double")
    two = source().block(seed=2, first=0, count=4, precision="double")
    firsts = np.concatenate([one.values[:, 0], two.values[:, 0]])
    gram = np.abs(firsts @ firsts.conj().T) ** 2
    assert (gram[~np.eye(8, dtype=bool)] < 0.999).all()
    assert len({*one.conditions["field"], *two.conditions["field"]}) == 8


def test_initial_states_by_name() -> None:
    product = source(initial_states="product").block(seed=0, first=0, count=5, precision="double")
    matrices = product.values[:, 0].reshape(5, 2, 2)
    assert np.abs(np.linalg.det(matrices)).max() < 1e-14  # a product state has Schmidt rank 1
    fixed = source(initial_states="+0").block(seed=0, first=0, count=2, precision="single")
    np.testing.assert_allclose(fixed.values[:, 0], [[0.5**0.5, 0, 0.5**0.5, 0]] * 2, atol=1e-7)
    assert fixed.values.dtype == np.complex64
    assert fixed.conditions["coupling"].tolist() == [1.0, 1.0]


def test_a_larger_chain_takes_smaller_blocks() -> None:
    def blocks(n_sites: int) -> int:
        return source(hamiltonian={"model": "transverse_field_ising", "n_sites": n_sites}).block_size()

    sizes = [blocks(n_sites) for n_sites in (2, 8, 10, 12)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64
    assert sizes[-1] >= 1


def test_trajectories_are_states_with_a_convention() -> None:
    recipe = Recipe("a", "trajectories", 0, {"train": 1}, vars(source()), phase_convention="raw")
    layout = recipe.make_source().layout("double")
    assert (layout.kind, layout.dtype, layout.conditions) == (
        "quantum_state", "complex128", {"coupling": "J", "field": "J"},
    )  # fmt: skip
