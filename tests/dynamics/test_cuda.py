"""The same evolution on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import MixedFieldIsing
from qdyn.quantum.states import haar_random_states


@pytest.mark.gpu
@pytest.mark.parametrize(
    "model", [MixedFieldIsing(5, field=np.linspace(0.5, 1.5, 3)), PauliSum({"XYIII": 0.7, "IZZII": 0.4})]
)
def test_a_gpu_gives_what_the_processor_gives(model: Hamiltonian) -> None:
    psi0 = haar_random_states(n_qubits=5, batch=3, seed=0)
    names = ["energy", "site_magnetisation_y", "entanglement_entropy", "loschmidt_echo", "correlator_z_0_3"]
    times = np.linspace(0, 4, 9)
    here = evolve(model, psi0, times, observables=names)
    there = evolve(model, psi0, times, observables=names, device="cuda")
    assert there.states.device.type == "cuda"
    assert float((there.states.cpu() - here.states).abs().max()) < 1e-12
    for name in names:
        assert float((there.expectations[name].cpu() - here.expectations[name]).abs().max()) < 1e-11
    assert there.to_xarray().equals(evolve(model, psi0.cuda(), times, observables=names).to_xarray())
    assert torch.equal(there.times, here.times)
