"""What circuits cost, around a size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.attention.qsa.circuit import qsa_circuit
from qdyn.attention.qsa.circuit_costs import CircuitSize, circuit_growth
from qdyn.circuits.counting import count_circuit
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states


def test_a_size_stands_for_every_circuit_of_that_size() -> None:
    """Also with the numbers of one instance in place of the slots."""
    states = haar_random_states(n_qubits=2, batch=4, seed=0)
    angles = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 2, 3)))
    program = qsa_circuit(states[:3], states[1:], *angles, kernel="polynomial", degree=2)
    size = CircuitSize(steps=3, n_qubits=2, degree=2, layers=3, kernel="polynomial")
    assert size.count() == count_circuit(program.circuit)
    bound = count_circuit(program.circuits()[0])
    assert (bound.two_qubit_depth, bound.qubits) == (size.count().two_qubit_depth, 12)


def test_growth_is_that_of_the_loads() -> None:
    steps, dimension, degree = circuit_growth(CircuitSize(steps=8, n_qubits=3, degree=2, layers=1))
    assert [one.name for one in (steps, dimension, degree)] == ["T", "d", "k"]
    assert (steps.sizes, dimension.sizes, degree.sizes) == ((4, 8, 16), (4, 8, 16), (1, 2, 4))
    assert 0.95 < steps.exponent < 1.2
    assert 0.8 < dimension.exponent < 1.1
    assert 0.4 < degree.exponent < 0.9
    with pytest.raises(ArgumentError, match="`degree`"):
        CircuitSize(steps=2, n_qubits=1, degree=0).count()
