"""Hamiltonians as CUDA-Q's spin operators: site 0 is our most significant bit and CUDA-Q's least."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from qdyn.circuits.encodings.vectors import amplitude_encoding
from qdyn.circuits.executors.cudaq import CudaqExecutor
from qdyn.errors import ArgumentError, MissingExtraError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states

MODELS: list[Hamiltonian] = [
    TransverseFieldIsing(3, coupling=[[0.3, 1.7]], field=[[0.2, 1.0, 0.4]]),
    MixedFieldIsing(4, field=[[0.2, 1.0, 0.4, 0.9]], periodic=True),
    LongRangeIsing(3),
    XXZ(3, anisotropy=0.7, field=[[0.1, 0.5, -0.3]]),
    PauliSum({"X0 Y1 Z2": 0.5, "Y1": 0.3, "Z0": 1.0, "": -2.0}, n_sites=3),
]


@pytest.mark.cudaq
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_the_matrix_is_ours_in_either_order_of_the_bits(model: Hamiltonian) -> None:
    pytest.importorskip("cudaq")
    n = model.n_sites
    operator, ours = model.to_cudaq(), model.to_dense().numpy()
    dimensions = dict.fromkeys(range(n), 2)
    np.testing.assert_allclose(np.array(operator.to_matrix(dimensions, invert_order=True)), ours, atol=1e-14)
    reversal = np.arange(2**n).reshape([2] * n).transpose(range(n)[::-1]).ravel()
    np.testing.assert_allclose(np.array(operator.to_matrix()), ours[np.ix_(reversal, reversal)], atol=1e-14)


@pytest.mark.cudaq
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_expectations_that_cudaq_observes_are_ours(model: Hamiltonian) -> None:
    """The state is prepared gate by gate, so that no matrix or vector changes hands."""
    cudaq = pytest.importorskip("cudaq")
    from qdyn.circuits.executors.cudaq import kernel_arguments
    from qdyn.circuits.executors.cudaq_kernel import run_gates

    psi = haar_random_states(n_qubits=model.n_sites, seed=5)
    (circuit,) = amplitude_encoding(psi).circuits()
    torch.testing.assert_close(torch.from_numpy(CudaqExecutor().state(circuit)), psi, atol=1e-12, rtol=0)
    seen = cudaq.observe(run_gates, model.to_cudaq(), *kernel_arguments(circuit)).expectation()
    assert abs(seen - float(torch.vdot(psi, model.apply(psi)).real)) < 1e-12


@pytest.mark.cudaq
def test_batches_give_their_members_and_drives_refuse() -> None:
    pytest.importorskip("cudaq")
    batch = TransverseFieldIsing(2, field=[0.3, 0.9])
    with pytest.raises(ArgumentError, match=r"a batch of 2: take member\(i\)"):
        batch.to_cudaq()
    alone = batch.member(1).to_cudaq()
    np.testing.assert_allclose(np.array(alone.to_matrix()).real, batch.member(1).to_dense().numpy())
    driven = DrivenHamiltonian(TransverseFieldIsing(2), [(np.cos, TransverseFieldIsing(2))])
    with pytest.raises(ArgumentError, match="depends on time"):
        driven.to_cudaq()


def test_without_cudaq_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudaq", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qdyn-toolkit\[cudaq\]'"):
        TransverseFieldIsing(2).to_cudaq()
