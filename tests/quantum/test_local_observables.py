"""Local observables of a basis, against the observables by name and the Born rule by matrices."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch

from qdyn import haar_random_states
from qdyn.errors import ArgumentError
from qdyn.quantum.lattices import square_bonds
from qdyn.quantum.local_observables import (
    local_names,
    local_observables,
    outcome_probabilities,
    outcome_values,
)
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.observables import Axis

EIGENVECTORS = {
    "x": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "y": np.array([[1, 1], [1j, -1j]]) / np.sqrt(2),
    "z": np.eye(2),
}


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("n_sites", [1, 3])
def test_the_born_rule(axis: Axis, n_sites: int) -> None:
    states = haar_random_states(n_qubits=n_sites, batch=5, seed=1)
    basis = reduce(np.kron, [EIGENVECTORS[axis]] * n_sites)
    expected = np.abs(states.numpy() @ basis.conj()) ** 2
    np.testing.assert_allclose(outcome_probabilities(states, axis), expected, atol=1e-15)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_components_are_the_observables_of_their_names(axis: Axis) -> None:
    bonds = square_bonds(2, 3)
    states = haar_random_states(n_qubits=6, batch=6, seed=2).reshape(2, 3, 64)
    found = local_observables(axis, 6, bonds).expectation(states)
    names = local_names(axis, 6, bonds)
    assert found.shape == (2, 3, len(names))
    for place, name in enumerate(names):
        expected = named_observable(name, 6).expectation(states)
        assert torch.allclose(found[..., place], expected, atol=1e-13)


def test_signs() -> None:
    values = outcome_values(3, [(2, 0)])
    assert values[0b011].tolist() == [1, -1, -1, -1]


def test_refusals(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="`axis` is 'w'"):
        local_observables("w", 2)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="different sites from 0 to 1"):
        outcome_values(2, [(0, 2)])
    with pytest.raises(ArgumentError, match="for 2 sites, but the system has 3"):
        local_observables("x", 2).check_sites(3)
    with pytest.raises(ArgumentError, match="for 2 sites, but the system has 3"):
        local_observables("x", 2).expectation(haar_random_states(n_qubits=3, seed=0))


def test_the_size_counts_bonds_too() -> None:
    """Memory is estimated from it before an evolution."""
    observable = local_observables("z", 6, square_bonds(2, 3))
    assert observable.size(6) == observable.expectation(haar_random_states(n_qubits=6, seed=0)).numel() == 13
