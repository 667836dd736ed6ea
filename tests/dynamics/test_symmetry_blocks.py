"""Evolution in symmetry blocks against the dense exponential: any Hamiltonian, any initial state."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.dynamics import exact
from qdyn.dynamics.evolve import evolve as evolve_by_any_method
from qdyn.dynamics.symmetry_blocks import SymmetricBasis
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.lattices import ladder_bonds, square_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states, product_state
from qdyn.quantum.symmetries import symmetries

evolve = partial(evolve_by_any_method, method="exact")
TIMES = np.array([-1.3, 0.0, 0.4, 2.9, 6.0])


@pytest.fixture(autouse=True)
def _always_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small systems too, so that the dense exponential stays cheap."""
    monkeypatch.setattr(exact, "_FEWEST_SITES", 1)
    monkeypatch.setattr(exact, "_WORTH_LOOKING", 0.0)
    whole = exact._Work.seconds
    monkeypatch.setattr(exact._Work, "seconds", lambda self, *n: -1.0 if self.order else whole(self, *n))


def dense(model: Hamiltonian, states: torch.Tensor) -> np.ndarray:
    matrices = [model.to_dense()] * len(states) if model.batch_size is None else list(model.to_dense())
    return np.array(
        [
            [scipy.linalg.expm(-1j * time * matrix.numpy()) @ state.numpy() for time in TIMES]
            for matrix, state in zip(matrices, states, strict=True)
        ]
    )


FIELDS = np.random.default_rng(1).uniform(0.2, 1.5, (1, 6))
# Each with its number of blocks, counted by hand: 2 a string, n a ring, n + 1 magnetisations.
MODELS: list[tuple[Hamiltonian, int]] = [
    (TransverseFieldIsing(6, field=1.05), 4),
    (TransverseFieldIsing(6, field=FIELDS), 2),
    (TransverseFieldIsing(7, coupling=-0.7, field=1.3, periodic=True), 14),
    (MixedFieldIsing(6, periodic=True), 6),
    (MixedFieldIsing(6, field=FIELDS), 1),
    (LongRangeIsing(6, field=0.8, periodic=True), 12),
    (XXZ(6, anisotropy=0.6, field=FIELDS), 7),
    (XXZ(5, anisotropy=0.6, field=0.3, periodic=True), 22),
    (XXZ(5, anisotropy=0.6, field=0.3, transverse_field=0.4), 2),
    (TransverseFieldIsing(5, field=0.0), 32),
    (TransverseFieldIsing(6, bonds=ladder_bonds(3, periodic=True)), 12),
    (TransverseFieldIsing(6, bonds=square_bonds(2, 3)), 8),
]


@pytest.mark.parametrize(("model", "n_blocks"), MODELS, ids=lambda part: str(part)[:70])
def test_agrees_with_the_dense_exponential(model: Hamiltonian, n_blocks: int) -> None:
    psi0 = haar_random_states(n_qubits=model.n_sites, batch=3, seed=5)
    traj = evolve(model, psi0, TIMES)
    np.testing.assert_allclose(traj.states.numpy(), dense(model, psi0), atol=1e-13)
    assert traj.details["blocks"] == n_blocks
    assert n_blocks > 1 or traj.details["symmetries"] == "none"


def test_a_batch_of_hamiltonians_with_different_symmetries() -> None:
    model = XXZ(
        5, coupling=[1.0, 0.8, 1.2, 0.9], field=[0.3, 0.0, 0.0, 0.0], transverse_field=[0.0, 0.0, 0.5, 0.0]
    )
    psi0 = haar_random_states(n_qubits=5, batch=4, seed=5)
    traj = evolve(model, psi0, TIMES, observables="energy")
    np.testing.assert_allclose(traj.states.numpy(), dense(model, psi0), atol=1e-13)
    assert traj.details["symmetries"].split("; ")[0] == "reflection, magnetisation"
    for index in range(4):
        alone = evolve(model.member(index), psi0[index], TIMES).states
        np.testing.assert_allclose(traj.states[index].numpy(), alone.numpy(), atol=1e-13)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n_sites=st.integers(1, 5), n_strings=st.integers(1, 4))
def test_random_strings(seed: int, n_sites: int, n_strings: int) -> None:
    """Real and complex, with every kind of symmetry that chance gives; some rings of translated strings."""
    random = np.random.default_rng(seed)
    strings = {}
    for _ in range(n_strings):
        letters, value = "".join(random.choice(list("IXYZ"), n_sites)), float(random.integers(-2, 3))
        for shift in range(n_sites if seed % 2 else 1):
            strings[letters[shift:] + letters[:shift]] = value
    model = PauliSum(strings)
    psi0 = haar_random_states(n_qubits=n_sites, batch=2, seed=seed % 1000)
    np.testing.assert_allclose(evolve(model, psi0, TIMES).states.numpy(), dense(model, psi0), atol=2e-13)


@pytest.mark.parametrize("model", [model for model, _ in MODELS], ids=lambda part: str(part)[:70])
def test_the_blocks_hold_the_spectrum(model: Hamiltonian) -> None:
    terms = model.pauli_terms()
    basis = SymmetricBasis(terms, symmetries(terms))
    energies = []
    for group, matrices in zip(basis.groups, basis.block_matrices(terms), strict=True):
        assert float((matrices - matrices.mH).abs().max()) < 1e-14
        found = torch.linalg.eigvalsh(matrices).flatten().tolist()
        energies += found * (2 if group.conjugates else 1)
    expected = torch.linalg.eigvalsh(model.to_dense()).numpy()
    np.testing.assert_allclose(np.sort(energies), expected, atol=1e-13)


@pytest.mark.parametrize("model", [model for model, _ in MODELS], ids=lambda part: str(part)[:70])
def test_the_new_basis_is_orthonormal(model: Hamiltonian) -> None:
    terms = model.pauli_terms()
    basis = SymmetricBasis(terms, symmetries(terms))
    one = torch.eye(2**model.n_sites, dtype=torch.complex128)[None]
    rows = basis.to_blocks(one)
    np.testing.assert_allclose((rows[0] @ rows[0].mH).numpy(), one[0].numpy(), atol=1e-14)
    scaled = torch.cat([rows * basis.scale[:, None], torch.zeros_like(rows[:, :1])], dim=1)
    np.testing.assert_allclose(basis.from_blocks(scaled).numpy(), one.numpy(), atol=1e-14)


def test_blocks_without_weight_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """All spins along the field: of a ring's blocks only momentum nought and positive parity are needed."""
    sizes: list[int] = []
    eigh = torch.linalg.eigh

    def counting(matrices: torch.Tensor):
        sizes.extend([matrices.shape[-1]] * (matrices.numel() // matrices.shape[-1] ** 2))
        return eigh(matrices)

    monkeypatch.setattr(torch.linalg, "eigh", counting)
    model = TransverseFieldIsing(6, field=1.05, periodic=True)
    psi0 = product_state("++++++")[None]
    traj = evolve(model, psi0, TIMES)
    assert sizes == [8]
    np.testing.assert_allclose(traj.states.numpy(), dense(model, psi0), atol=1e-13)


def test_large_systems_are_cut_and_small_ones_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    details = [
        evolve(TransverseFieldIsing(n_sites, periodic=True), product_state("0" * n_sites), [0.5]).details
        for n_sites in (4, 10)
    ]
    assert (details[0]["symmetries"], details[0]["blocks"]) == ("none", 1)
    assert (details[1]["symmetries"], details[1]["blocks"]) == ("translation by 1 site, XXXXXXXXXX", 20)
    assert details[1]["largest_block"] == 56


def test_the_estimate_of_memory_follows_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """13 sites are 5 GiB as one matrix and a hundredth of it as the blocks of a ring."""
    from qdyn.errors import MemoryLimitError

    monkeypatch.undo()
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "400M")
    psi0 = product_state("+" * 13)
    ring = evolve(TransverseFieldIsing(13, periodic=True), psi0, [0.5], observables="energy")
    assert float(ring.expectations["energy"][0]) == pytest.approx(-13.0, abs=1e-11)
    with pytest.raises(MemoryLimitError):
        evolve(TransverseFieldIsing(13, field=np.linspace(0.5, 1.5, 13)[None]), psi0, [0.5])
