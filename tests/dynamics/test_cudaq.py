"""CUDA-Q as a witness: it simulates Trotter circuits and agrees with diagonalisation."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError, MissingExtraError
from qdyn.quantum.drives import DrivenHamiltonian, SampledDrive
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import basis_state, haar_random_states

MODELS = [
    TransverseFieldIsing(4, field=1.05, periodic=True),
    MixedFieldIsing(4, field=[[0.2, 1.0, 0.4, 0.9]]),
    LongRangeIsing(4),
    XXZ(3, anisotropy=0.7, field=0.3),
    PauliSum({"X0 Y1 Z2": 0.5, "Y3": 0.3, "Z0": 1.0, "": -2.0}, n_sites=4),
]


@pytest.mark.cudaq
@pytest.mark.parametrize("error", [None, 1e-10])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_agrees_with_diagonalisation_within_the_error_it_states(
    model: Hamiltonian, error: float | None
) -> None:
    pytest.importorskip("cudaq")
    psi0 = haar_random_states(n_qubits=model.n_sites, batch=2, seed=1)
    times = [-0.7, 0.0, 0.4, 2.0]
    witness = evolve(model, psi0, times, method="cudaq", observables="energy", error=error)
    exact = evolve(model, psi0, times, method="exact", observables="energy")
    assert witness.method == "cudaq"
    deviation = float((witness.states - exact.states).abs().max())
    assert deviation < witness.details["estimated_error"] == (error or 1e-6)
    assert deviation < 2 * witness.details["measured_error"] + 1e-12
    energies = witness.expectations["energy"] - exact.expectations["energy"]
    assert float(energies.abs().max()) < 20 * (error or 1e-6)


@pytest.mark.cudaq
def test_every_trajectory_has_its_own_hamiltonian_and_drives_are_followed() -> None:
    pytest.importorskip("cudaq")
    static = TransverseFieldIsing(3, field=[0.3, 0.9])
    kinked = SampledDrive([0.0, 0.5, 2.0], [0.0, 1.0, 0.2])
    model = DrivenHamiltonian(static, [(kinked, TransverseFieldIsing(3, coupling=0.0))])
    psi0 = haar_random_states(n_qubits=3, seed=0)
    for hamiltonian, reference in ((static, "exact"), (model, "qutip")):
        witness = evolve(hamiltonian, psi0, [0.8, 1.5], method="cudaq", error=1e-8).states
        other = evolve(hamiltonian, psi0, [0.8, 1.5], method=reference).states
        assert float((witness - other).abs().max()) < 1e-8


@pytest.mark.cudaq
def test_cudaq_own_dynamics_agrees_too() -> None:
    """The same Hamiltonian given to cudaq.evolve, a third opinion that shares no product formula."""
    cudaq = pytest.importorskip("cudaq")
    model = MixedFieldIsing(3, field=[[0.2, 1.0, 0.4]])
    psi0, times = haar_random_states(n_qubits=3, seed=2), np.linspace(0, 1, 11)
    reversal = np.arange(8).reshape(2, 2, 2).transpose(2, 1, 0).ravel()
    result = cudaq.evolve(
        model.to_cudaq(),
        dict.fromkeys(range(3), 2),
        cudaq.Schedule(times, []),
        cudaq.State.from_data(psi0.numpy()[reversal]),
    )
    theirs = np.array(result.final_state())[reversal]
    for method in ("exact", "cudaq"):
        ours = evolve(model, psi0, [1.0], method=method, error=1e-9).states[0]
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-9)


@pytest.mark.cudaq
def test_an_error_below_rounding_is_refused() -> None:
    pytest.importorskip("cudaq")
    with pytest.raises(ArgumentError, match=r"`error` must be at least .* for method 'cudaq'"):
        evolve(TransverseFieldIsing(2), basis_state("00"), [1.0], method="cudaq", error=1e-14)


def test_without_cudaq_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cudaq", None)
    model, psi0 = TransverseFieldIsing(2), basis_state("00")
    with pytest.raises(MissingExtraError, match=r"pip install 'qdyn-toolkit\[cudaq\]'"):
        evolve(model, psi0, [1.0], method="cudaq")
    assert evolve(model, psi0, [1.0]).method != "cudaq"


@pytest.mark.gpu
@pytest.mark.cudaq
def test_a_gpu_simulates_the_same_circuits() -> None:
    pytest.importorskip("cudaq")
    model, psi0 = XXZ(4, anisotropy=0.7), haar_random_states(n_qubits=4, batch=2, seed=1)
    there = evolve(model, psi0, [0.5, 2.0], method="cudaq", error=1e-9, device="cuda")
    exact = evolve(model, psi0, [0.5, 2.0], method="exact")
    assert there.states.device.type == "cuda"
    assert float((there.states.cpu() - exact.states).abs().max()) < 1e-9
    assert torch.equal(there.times, exact.times)
