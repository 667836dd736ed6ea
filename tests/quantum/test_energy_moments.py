"""Mean and variance of the energy by compiled products, against sparse matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.errors import ArgumentError
from qdyn.quantum.energy_moments import energy_moments
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import haar_random_states, product_state

MODELS = [
    TransverseFieldIsing(11, field=1.05),
    XXZ(10, anisotropy=0.4, field=0.3, periodic=True),
    PauliSum({"Y0 X4": 0.3, "Y9": -1.1, "Z2 Y3 X10": 0.8, "": 2.0}, n_sites=11),
]


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64])
@pytest.mark.parametrize("H", MODELS, ids=lambda H: type(H).__name__)
def test_agree_with_a_sparse_matrix(H: Hamiltonian, dtype: torch.dtype) -> None:
    states = haar_random_states(n_qubits=H.n_sites, batch=6, seed=1).reshape(2, 3, -1)
    mean, variance = energy_moments(H.pauli_terms(), states.to(dtype), variance=True)
    assert variance is not None
    vectors = states.reshape(6, -1).numpy().T
    applied = H.to_sparse() @ vectors
    expected = (vectors.conj() * applied).sum(axis=0).real
    squares = np.linalg.norm(applied - expected * vectors, axis=0) ** 2
    tolerance = 1e-12 if dtype == torch.complex128 else 2e-5
    np.testing.assert_allclose(mean.reshape(-1).numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(variance.reshape(-1).numpy(), squares, atol=tolerance, rtol=tolerance)
    assert mean.dtype == states.to(dtype).real.dtype
    alone, nothing = energy_moments(H.pauli_terms(), states.to(dtype), variance=False)
    assert torch.equal(alone, mean)
    assert nothing is None


def test_every_state_of_a_batch_has_its_own_hamiltonian() -> None:
    H = TransverseFieldIsing(10, coupling=[0.5, 1.0, 2.0], field=[1.0, 0.2, 0.7])
    states = haar_random_states(n_qubits=10, batch=12, seed=2).reshape(3, 4, -1)
    together, _ = energy_moments(H.pauli_terms(), states, variance=False)
    for member in range(3):
        alone, _ = energy_moments(H.member(member).pauli_terms(), states[member], variance=False)
        np.testing.assert_allclose(together[member].numpy(), alone.numpy(), atol=1e-13)


def test_the_variance_of_an_eigenstate_vanishes() -> None:
    """Also where the energy is 0, and where <H^2> - <H>^2 would leave 1e-13."""
    ferromagnet = XXZ(12, anisotropy=1.0)
    for state in (product_state("0" * 12), product_state("+" * 12)):
        mean, variance = energy_moments(ferromagnet.pauli_terms(), state, variance=True)
        assert float(mean) == pytest.approx(11.0, abs=1e-12)
        assert float(variance) < 1e-24
    fields = PauliSum({f"Z{site}": (-1.0) ** site for site in range(10)}, n_sites=10)
    mean, variance = energy_moments(fields.pauli_terms(), product_state("0" * 10), variance=True)
    assert (float(mean), float(variance)) == (0.0, 0.0)


@pytest.mark.parametrize("n_sites", [3, 12])
def test_states_of_another_shape_are_refused(n_sites: int) -> None:
    """Compiled code would read past the end of the states."""
    H = TransverseFieldIsing(n_sites, field=[0.5, 1.0])
    states = haar_random_states(n_qubits=n_sites, batch=3, seed=0)
    with pytest.raises(ArgumentError, match="first axis of length 2, one for each Hamiltonian"):
        energy_moments(H.pauli_terms(), states, variance=False)
    with pytest.raises(ArgumentError, match=rf"last axis of length 2\*\*{n_sites}"):
        energy_moments(H.member(0).pauli_terms(), states[:, : 2 ** (n_sites - 1)], variance=False)


def test_no_states_have_no_energies() -> None:
    mean, variance = energy_moments(
        TransverseFieldIsing(10).pauli_terms(), torch.zeros(0, 2**10, dtype=torch.complex128), variance=True
    )
    assert mean.shape == (0,)
    assert variance is not None
    assert variance.shape == (0,)
