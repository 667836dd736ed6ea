"""QuTiP as a witness: it shares only the matrix of H with the other methods, and they agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states

MODELS = [
    TransverseFieldIsing(4, field=1.05, periodic=True),
    MixedFieldIsing(4, field=[[0.2, 1.0, 0.4, 0.9]]),
    LongRangeIsing(4),
    XXZ(4, anisotropy=0.7, field=0.3),
    PauliSum({"X0 Y1 Z2": 0.5, "Y3": 0.3, "Z0": 1.0}, n_sites=4),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_agrees_with_diagonalisation_within_its_own_estimate(model: Hamiltonian) -> None:
    """Forwards and backwards, and over more times than it hands on at once."""
    psi0 = haar_random_states(n_qubits=4, batch=2, seed=1)
    times = np.linspace(-1, 3, 41)
    witness = evolve(model, psi0, times, method="qutip", observables="energy")
    exact = evolve(model, psi0, times, method="exact", observables="energy")
    assert witness.method == "qutip"
    deviation = float((witness.states - exact.states).abs().max())
    assert deviation < witness.details["estimated_error"] < 1e-9
    assert torch.allclose(witness.expectations["energy"], exact.expectations["energy"], atol=1e-9, rtol=0)


def test_every_trajectory_has_its_own_hamiltonian() -> None:
    model = TransverseFieldIsing(3, field=[0.3, 0.9])
    psi0 = haar_random_states(n_qubits=3, seed=0)
    witness = evolve(model, psi0, [1.0], method="qutip").states
    exact = evolve(model, psi0, [1.0], method="exact").states
    assert float((witness - exact).abs().max()) < 1e-10
