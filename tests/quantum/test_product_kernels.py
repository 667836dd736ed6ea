"""Products with a Hamiltonian that is never a matrix, against the matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qdyn.quantum import product_kernels
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.kernel_operator import KernelOperator
from qdyn.quantum.lattices import ladder_bonds, square_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ

PRECISIONS = {False: 1e-13, True: 2e-6}


def product(
    H: Hamiltonian, states: np.ndarray, *, single: bool, member: int = 0, shares: int = 1
) -> np.ndarray:
    """2.5 (H - 0.3) psi - phi for the rows psi, phi, by the kernels."""
    operator = KernelOperator.of(H.pauli_terms(), single=single)
    size = 2 << operator.n_sites
    rows = np.zeros((3, size // 2), dtype=np.complex64 if single else np.complex128)
    rows[:2, : states.shape[1]] = states
    flat = rows.view(operator.dtype).reshape(-1)
    diagonal, outer, inner = operator.workspaces()
    product_kernels.prepare(operator.tables, member, 0.3, diagonal, outer, inner)
    for share in range(shares):
        begin, end = size * share // shares, size * (share + 1) // shares
        product_kernels.apply(
            flat, 2 * size, 0, size, begin, end, False, operator.dtype(2.5),
            diagonal, flat[:0], operator.tables, member, outer, inner,
        )  # fmt: skip
    assert not rows[2, states.shape[1] :].any()
    return rows[2, : states.shape[1]]


def expected(H: Hamiltonian, states: np.ndarray) -> np.ndarray:
    matrix = H.to_sparse()
    return 2.5 * (matrix @ states[0] - 0.3 * states[0]) - states[1]


def random_states(n_sites: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    parts = random.normal(size=(2, 2, 2**n_sites))
    states = parts[0] + 1j * parts[1]
    return states / np.linalg.norm(states, axis=1, keepdims=True)


@pytest.mark.parametrize("single", [False, True])
@given(
    seed=st.integers(0, 2**32 - 1),
    n_sites=st.integers(1, 8),
    n_strings=st.integers(1, 12),
    weight=st.integers(1, 8),
)
@example(seed=1, n_sites=8, n_strings=200, weight=2)
def test_any_pauli_strings(*, seed: int, n_sites: int, n_strings: int, weight: int, single: bool) -> None:
    random = np.random.default_rng(seed)
    strings = {}
    for _ in range(n_strings):
        letters = ["I"] * n_sites
        for site in random.choice(n_sites, min(weight, n_sites), replace=False):
            letters[site] = str(random.choice(list("XYZ")))
        strings["".join(letters)] = float(random.normal())
    H, states = PauliSum(strings), random_states(n_sites, seed)
    scale = 1 + sum(map(abs, strings.values()))
    found = product(H, states, single=single)
    assert np.abs(found - expected(H, states)).max() < PRECISIONS[single] * scale


LATTICES = {
    "chain": lambda: XXZ(9, anisotropy=0.7, field=0.2),
    "with a field across": lambda: XXZ(9, anisotropy=0.7, transverse_field=0.4),
    "ring": lambda: XXZ(8, anisotropy=1.3, periodic=True),
    "ladder": lambda: XXZ(10, anisotropy=1.1, bonds=ladder_bonds(5)),
    "square": lambda: XXZ(9, anisotropy=0.9, bonds=square_bonds(3, 3)),
    "XYZ": lambda: PauliSum(
        {f"{letter}{i} {letter}{i + 1}": 0.1 * i + ord(letter) / 90 for letter in "XYZ" for i in range(8)},
        n_sites=9,
    ),
    "Dzyaloshinskii-Moriya": lambda: PauliSum(
        {f"X{i} Y{i + 1}": 0.5 for i in range(8)}
        | {f"Y{i} X{i + 1}": -0.5 for i in range(8)}
        | {f"Z{i}": 0.1 * i for i in range(9)},
        n_sites=9,
    ),
}


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("lattice", LATTICES)
def test_spin_models(lattice: str, single: bool) -> None:
    H = LATTICES[lattice]()
    states = random_states(H.n_sites, 5)
    found = product(H, states, single=single)
    assert np.abs(found - expected(H, states)).max() < 5 * PRECISIONS[single]
    np.testing.assert_array_equal(product(H, states, single=single, shares=4), found)


def test_a_member_of_a_batch_is_the_same_alone() -> None:
    random = np.random.default_rng(3)
    H = XXZ(8, coupling=random.normal(size=(4, 7)), anisotropy=random.normal(size=(4, 7)))
    states = random_states(8, 2)
    for member in range(4):
        together = product(H, states, single=False, member=member)
        np.testing.assert_array_equal(product(H.member(member), states, single=False), together)


def test_an_exchange_takes_no_table() -> None:
    """Bonds inside a block are exchanges; of the chain only the one that leaves it has a table."""
    tables = KernelOperator.of(XXZ(12).pauli_terms(), single=False).tables
    assert tables.exchanges[0].tolist() == [2, 2, 2, 2, 0]
    assert (len(tables.inner_flips), len(tables.outer_flips)) == (1, 6)
