"""Circuits with trained angles, one a head, and what is measured after them."""

from __future__ import annotations

from itertools import combinations, product

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from qdyn.checks import check_integer
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.ansatz.variational import ANSATZE
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import pauli_expectation
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError


class TrainedCircuits(nn.Module):
    """A unitary for every head, from the trained angles of one ansatz.

    Args:
        ansatz: A name that `qdyn.circuits.ansatz.circuits.ansatz_circuit` knows.
        heads: How many.
        n_qubits: Qubits of each.
        layers: Layers of each.
        initial_angle: Angles start uniform in [0, initial_angle].

    Attributes:
        angles: (heads, *shape of the ansatz), in radians.

    Example:
        >>> circuits = TrainedCircuits("real", heads=2, n_qubits=3, layers=1)
        >>> states = torch.zeros(5, 2, 4, 8, dtype=torch.complex64)
        >>> circuits.angles.shape, circuits(states).shape
        (torch.Size([2, 1, 3]), torch.Size([5, 2, 4, 8]))
    """

    def __init__(
        self, ansatz: str, *, heads: int, n_qubits: int, layers: int, initial_angle: float = 0.3
    ) -> None:
        super().__init__()
        self.circuit = ansatz_circuit(ansatz, n_qubits=n_qubits, layers=layers, slot="angles")
        self.angles = nn.Parameter(initial_angle * torch.rand(heads, *self.circuit.slots["angles"]))
        self._unitary = ANSATZE[ansatz].unitary if ansatz in ANSATZE else None

    def forward(self, states: Complex[Tensor, "batch heads time d"]) -> Complex[Tensor, "batch heads time d"]:
        """U|psi> of every state."""
        return states @ self.matrices().to(states.dtype).mT

    def matrices(self) -> Complex[Tensor, "heads d d"]:
        """The unitaries, in the precision of the angles."""
        dtype = self.angles.dtype.to_complex()
        if self._unitary is not None:
            return self._unitary(self.angles).to(dtype)
        return circuit_unitary(self.circuit, {"angles": self.angles}, dtype=dtype)

    def named(self, slot: str) -> Circuit:
        """The circuit with its angles in a slot of that name."""
        circuit = Circuit(q=self.circuit.n_qubits)
        entries = circuit.slot(slot, *self.circuit.slots["angles"])
        return circuit.compose(self.circuit.with_angles("angles", entries))


def pauli_words(n_qubits: int, count: int) -> tuple[str, ...]:
    """Pauli strings to measure: Z on each qubit, X on each, Y on each, then two-body strings ZZ, ZX, ....

    Args:
        n_qubits: n, >= 1.
        count: How many, from 1 to 3 n + 9 n (n - 1) / 2.

    Raises:
        ArgumentError: more than there are.

    Source: order of the one-body strings as in arXiv:2205.05625.

    Example:
        >>> pauli_words(2, 7)
        ('ZI', 'IZ', 'XI', 'IX', 'YI', 'IY', 'ZZ')
    """
    most = 3 * n_qubits + 9 * n_qubits * (n_qubits - 1) // 2
    check_integer("count", count, minimum=1)
    if count > most:
        raise ArgumentError(
            f"Argument `observables` must be at most {most} one- and two-body strings of {n_qubits} qubits, "
            f"but is {count}."
        )
    words = [_word(n_qubits, {qubit: letter}) for letter in "ZXY" for qubit in range(n_qubits)]
    for letters in product("ZXY", repeat=2):
        for pair in combinations(range(n_qubits), 2):
            words.append(_word(n_qubits, dict(zip(pair, letters, strict=True))))  # noqa: PERF401
    return tuple(words[:count])


def expectations(
    states: Complex[Tensor, "*batch d"], words: tuple[str, ...]
) -> Float[Tensor, "*batch observables"]:
    """<psi|P|psi> of every Pauli string.

    Example:
        >>> expectations(torch.tensor([1.0, 0.0], dtype=torch.complex64), ("Z", "X"))
        tensor([1., 0.])
    """
    return torch.stack([pauli_expectation(states, word) for word in words], dim=-1)


def _word(n_qubits: int, letters: dict[int, str]) -> str:
    return "".join(letters.get(qubit, "I") for qubit in range(n_qubits))
