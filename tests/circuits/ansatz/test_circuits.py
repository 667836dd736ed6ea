from __future__ import annotations

import pytest
import torch

from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError


@pytest.mark.parametrize("name", ["hardware_efficient", "brick_wall", "real"])
@pytest.mark.parametrize("n_qubits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("layers", [1, 3])
def test_circuits_equal_the_matrices(name: str, n_qubits: int, layers: int) -> None:
    if name == "brick_wall" and n_qubits == 1:
        pytest.skip("a brick wall has blocks of two qubits")
    shape = ansatz(name).parameter_shape(n_qubits, layers)
    angles = torch.rand(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(n_qubits)) * 6
    circuit = ansatz_circuit(name, n_qubits=n_qubits, layers=layers, slot="w")
    expected = ansatz(name).unitary(angles).to(torch.complex128)
    torch.testing.assert_close(circuit_unitary(circuit, {"w": angles}), expected, atol=1e-13, rtol=0)


def test_free_unitaries_are_no_circuits_of_angles() -> None:
    with pytest.raises(ArgumentError, match="a free unitary has none"):
        ansatz_circuit("free", n_qubits=2, layers=1, slot="w")
    with pytest.raises(ArgumentError, match="did you mean 'real'"):
        ansatz_circuit("reel", n_qubits=2, layers=1, slot="w")
