"""Trotter circuits: they are the product formulas, gate by gate, and converge at their order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.counting import count_circuit
from qdyn.circuits.executors.statevector import circuit_unitary, run_statevector
from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.trotter import trotter
from qdyn.dynamics.trotter_circuits import add_pauli_rotation, trotter_circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian, SampledDrive
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli import Word
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import haar_random_states

MODELS = [
    TransverseFieldIsing(4, field=[[0.2, 1.0, 0.4, 0.9]]),
    XXZ(3, anisotropy=0.7, field=0.3),
    PauliSum({"X0 Y1 Z2": 0.5, "Y1": 0.3, "Z0 Z2": 1.0, "": -2.0}, n_sites=3),
]


@pytest.mark.parametrize("word", [(), ((1, "Y"),), ((0, "X"), (2, "Y")), ((0, "Z"), (1, "Y"), (2, "X"))])
def test_a_rotation_about_a_string(word: Word) -> None:
    paulis = {
        "X": np.array([[0, 1], [1, 0]]),
        "Y": np.array([[0, -1j], [1j, 0]]),
        "Z": np.diag([1.0, -1.0]),
    }
    string = np.eye(1)
    for site in range(3):
        string = np.kron(string, paulis[dict(word)[site]] if site in dict(word) else np.eye(2))
    expected = math.cos(0.35) * np.eye(8) - 1j * math.sin(0.35) * string
    found = circuit_unitary(add_pauli_rotation(Circuit(q=3), word, 0.7)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-14)


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_circuits_are_the_product_formula_and_converge_at_its_order(model: Hamiltonian, order: int) -> None:
    psi0 = haar_random_states(n_qubits=model.n_sites, seed=1)
    exact = evolve(model, psi0, [1.0], method="exact").states[0]
    found = [
        run_statevector(trotter_circuit(model, 1.0, steps=steps, order=order), initial=psi0)
        for steps in (4, 8)
    ]
    formula = evolve(model, psi0, [1.0], method=trotter(order=order, step=0.25)).states[0]
    torch.testing.assert_close(found[0], formula, atol=1e-12, rtol=0)
    errors = [float((state - exact).abs().max()) for state in found]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.15


@pytest.mark.parametrize("order", [2, 4, 6])
def test_drives_are_followed_at_the_order(order: int) -> None:
    model = DrivenHamiltonian(
        TransverseFieldIsing(3), [(lambda t: math.cos(3 * t), TransverseFieldIsing(3, coupling=0.2))]
    )
    psi0 = haar_random_states(n_qubits=3, seed=1)
    reference = evolve(model, psi0, [0.4, 1.4], method="qutip").states
    errors = []
    for steps in (4, 8):
        circuit = trotter_circuit(model, 1.0, steps=steps, order=order, start=0.4)
        errors.append(float((run_statevector(circuit, initial=reference[0]) - reference[1]).abs().max()))
    assert math.log2(errors[0] / errors[1]) > order - 0.3


@pytest.mark.parametrize("kind", ["linear", "steps"])
@pytest.mark.parametrize("start", [0.0, 2.0])
def test_samples_of_a_drive_lie_where_steps_end(kind: str, start: float) -> None:
    """Beyond a kink the next line holds, forwards and backwards; a kink inside a step is refused."""
    drive = SampledDrive([0.0, 1.0, 2.0], [0.0, 3.0, 0.0], kind=kind)
    H = DrivenHamiltonian(
        TransverseFieldIsing(2), [(drive, TransverseFieldIsing(2, coupling=0.4, field=1.0))]
    )
    psi0 = haar_random_states(n_qubits=2, seed=2)
    there = evolve(H, psi0, [2.0], error=1e-9).states[0]
    initial, expected = (psi0, there) if start == 0 else (there, psi0)
    circuit = trotter_circuit(H, 2.0 - 2 * start, steps=40, order=4, start=start)
    torch.testing.assert_close(run_statevector(circuit, initial=initial), expected, atol=1e-4, rtol=0)
    with pytest.raises(ArgumentError, match=r"with 41 the sample at t=1 lies inside step 20"):
        trotter_circuit(H, 2.0 - 2 * start, steps=41, start=start)


def test_backwards_undoes_forwards() -> None:
    model = XXZ(3, anisotropy=0.7)
    there, back = (trotter_circuit(model, time, steps=2, order=4) for time in (0.9, -0.9))
    torch.testing.assert_close(
        circuit_unitary(there + back), torch.eye(8, dtype=torch.complex128), atol=1e-13, rtol=0
    )


def test_a_step_of_the_ising_chain_costs_two_cnots_a_bond() -> None:
    one, five = (count_circuit(trotter_circuit(TransverseFieldIsing(6), 1.0, steps=n)) for n in (1, 5))
    # Neighbouring steps share the layer of bonds between them.
    assert (one.gates["cx"], five.gates["cx"]) == (2 * 2 * 5, 6 * 2 * 5)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="2, 4 or 6, but is 3"):
        trotter_circuit(TransverseFieldIsing(2), 1.0, order=3)
    with pytest.raises(ArgumentError, match=r"a batch of 2: take member\(i\)"):
        trotter_circuit(TransverseFieldIsing(2, field=[0.1, 0.2]), 1.0)
    with pytest.raises(ArgumentError, match="`time`"):
        trotter_circuit(TransverseFieldIsing(2), math.inf)
