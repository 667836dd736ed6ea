"""The Chebyshev method against exact diagonalisation, over models, sizes, times and precisions."""

from __future__ import annotations

import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import haar_random_states

TIMES = torch.linspace(0, 5, 51, dtype=torch.float64)


@pytest.mark.parametrize("n_sites", [1, 2, 3, 5, 6, 7, 9])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex128, 1e-13), (torch.complex64, 1e-6)])
def test_agrees_with_diagonalisation(n_sites: int, dtype: torch.dtype, tolerance: float) -> None:
    H = TransverseFieldIsing(n_sites, coupling=1.0, field=1.05)
    initial = haar_random_states(n_qubits=n_sites, batch=3, seed=n_sites)
    found = evolve(H, initial, TIMES, method="chebyshev", dtype=dtype).states
    exact = evolve(H, initial, TIMES, method="exact").states
    assert (found - exact).abs().max() < tolerance
