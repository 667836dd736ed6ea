"""Symmetries found in Hamiltonians: every one commutes as a matrix, and none is seen where it is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.lattices import ladder_bonds, square_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.symmetries import (
    Symmetry,
    conserves_magnetisation,
    members_with_equal_symmetries,
    symmetries,
)


def matrix(symmetry: Symmetry) -> np.ndarray:
    basis = np.arange(2 ** len(symmetry.sites))
    images, phases = symmetry.act(basis)
    result = np.zeros((len(basis), len(basis)), dtype=complex)
    result[images, basis] = phases
    return result


def names(model: Hamiltonian) -> list[str]:
    return [symmetry.name for symmetry in symmetries(model.pauli_terms())]


def check(model: Hamiltonian) -> None:
    """They commute with H and with each other, are unitary, and have the order they claim."""
    dense = [model.to_dense().numpy()] if model.batch_size is None else list(model.to_dense().numpy())
    found = [(symmetry, matrix(symmetry)) for symmetry in symmetries(model.pauli_terms())]
    one = np.eye(2**model.n_sites)
    for symmetry, U in found:
        powers = [np.linalg.matrix_power(U, power) for power in range(1, symmetry.order + 1)]
        np.testing.assert_array_equal(powers[-1], one)
        assert all(np.abs(power - one).max() > 0.5 for power in powers[:-1])
        for H in dense:
            np.testing.assert_allclose(U @ H, H @ U, atol=1e-13)
        for _, other in found:
            np.testing.assert_array_equal(U @ other, other @ U)


FIELD = torch.tensor([[0.3, 1.1, 0.7, 0.9, 0.4, 1.3]], dtype=torch.float64)
EXPECTED: list[tuple[Hamiltonian, list[str]]] = [
    (TransverseFieldIsing(6), ["reflection", "XXXXXX"]),
    (TransverseFieldIsing(6, periodic=True), ["translation by 1 site", "XXXXXX"]),
    (TransverseFieldIsing(6, field=FIELD), ["XXXXXX"]),
    (TransverseFieldIsing(6, field=FIELD, periodic=True), ["XXXXXX"]),
    (MixedFieldIsing(6), ["reflection"]),
    (MixedFieldIsing(6, longitudinal_field=FIELD), []),
    (MixedFieldIsing(6, longitudinal_field=[[0.0] * 5 + [1e-9]]), []),
    (LongRangeIsing(6, periodic=True), ["translation by 1 site", "XXXXXX"]),
    (XXZ(5, periodic=True), ["translation by 1 site", "XXXXX"]),
    (XXZ(6, field=0.2), ["reflection"]),
    (XXZ(6, field=FIELD), []),
    (XXZ(6, coupling=[[1.0, 0.5, 1.0, 0.5, 1.0]]), ["reflection", "XXXXXX"]),
    (TransverseFieldIsing(6, bonds=ladder_bonds(3)), ["reflection of 3 rows of 2", "reflection", "XXXXXX"]),
    (PauliSum({"YYY": 1.0, "XXX": 0.3, "ZZI": 0.2}), ["reflection of site 0 to site 1", "XXI"]),
]


@pytest.mark.parametrize(("model", "expected"), EXPECTED, ids=lambda part: str(part)[:60])
def test_models_have_the_symmetries_they_should(model: Hamiltonian, expected: list[str]) -> None:
    assert names(model) == expected
    check(model)


def test_a_torus_has_translations_along_both_ways() -> None:
    torus = TransverseFieldIsing(9, bonds=square_bonds(3, 3, periodic=True))
    assert [symmetry.order for symmetry in symmetries(torus.pauli_terms())] == [3, 3, 2]
    check(torus)


def test_the_last_bit_of_a_coupling_breaks_a_symmetry() -> None:
    coupling = np.ones((1, 4))
    assert "reflection" in names(TransverseFieldIsing(5, coupling=coupling))
    coupling[0, 3] = np.nextafter(1.0, 2.0)
    assert "reflection" not in names(TransverseFieldIsing(5, coupling=coupling))


def test_a_batch_is_cut_where_its_symmetries_change() -> None:
    longitudinal = [0.0, 0.0, 0.4, 0.0]
    model = MixedFieldIsing(4, field=[0.5, 0.7, 0.9, 1.1], longitudinal_field=longitudinal)
    runs = [
        (members.start, members.stop, [symmetry.name for symmetry in found])
        for members, found in members_with_equal_symmetries(model.pauli_terms())
    ]
    full = ["reflection", "XXXX"]
    assert runs == [(0, 2, full), (2, 3, ["reflection"]), (3, 4, full)]
    assert names(model) == ["reflection"]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), n_sites=st.integers(1, 5), n_strings=st.integers(1, 5))
def test_what_is_found_in_random_strings_commutes(seed: int, n_sites: int, n_strings: int) -> None:
    random = np.random.default_rng(seed)
    strings = {
        "".join(random.choice(list("IXYZ"), n_sites)): float(random.integers(1, 3)) for _ in range(n_strings)
    }
    check(PauliSum(strings))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([1, 2, 3]))
def test_a_hidden_translation_is_found(seed: int, step: int) -> None:
    """Random strings, each with all its translations by ``step`` on a ring of 6."""
    random = np.random.default_rng(seed)
    strings = {}
    for _ in range(2):
        letters, value = "".join(random.choice(list("IXYZ"), 6)), float(random.normal())
        strings |= {letters[shift:] + letters[:shift]: value for shift in range(0, 6, step)}
    model = PauliSum(strings)
    order = int(np.prod([symmetry.order for symmetry in symmetries(model.pauli_terms())]))
    assert order >= 6 // step
    check(model)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_conserved_magnetisation_commutes_and_its_absence_does_not(seed: int) -> None:
    random = np.random.default_rng(seed)
    strings: dict[str, float] = {"ZZI": 0.4}
    for first, second in (("XX", "YY"), ("XY", "YX")):
        for place in ("{0}{1}I", "I{0}{1}", "{0}Z{1}"):
            value = float(random.integers(-1, 2))
            sign = (1 if first == "XX" else -1) * (1 if random.random() < 0.9 else -1)
            strings |= {place.format(*first): value, place.format(*second): sign * value}
    model = PauliSum(strings)
    total = sum(PauliSum({letters: 1.0}).to_dense() for letters in ("ZII", "IZI", "IIZ"))
    dense = model.to_dense().to(torch.complex128)
    commutator = dense @ total.to(dense.dtype) - total.to(dense.dtype) @ dense
    assert conserves_magnetisation(model.pauli_terms()) == (float(commutator.abs().max()) == 0)
