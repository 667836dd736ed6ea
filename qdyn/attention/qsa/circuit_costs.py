"""How the circuits of quantum self-attention grow with the number of steps, the dimension and the degree."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from qdyn.attention.qsa.circuit import qsa_circuit
from qdyn.checks import check_integer
from qdyn.circuits.ansatz.variational import ansatz as find_ansatz
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.counting import CircuitCount, count_circuit, growth_exponent


@dataclass(frozen=True)
class CircuitSize:
    """What fixes the gates of the circuit of mu.

    Attributes:
        steps: T.
        n_qubits: n = log2 d.
        degree: k.
        layers: layers of W and of V.
        kernel: "monomial" or "polynomial".
        ansatz: the circuit of W and V.
    """

    steps: int
    n_qubits: int
    degree: int
    layers: int = 4
    kernel: str = "monomial"
    ansatz: str = "hardware_efficient"

    def circuit(self) -> Circuit:
        """The circuit of mu, with slots for everything that depends on data or parameters."""
        for name in ("steps", "n_qubits", "degree", "layers"):
            check_integer(name, getattr(self, name), minimum=1)
        states = torch.zeros(self.steps, 2**self.n_qubits, dtype=torch.complex128)
        states[:, 0] = 1
        angles = torch.zeros(find_ansatz(self.ansatz).parameter_shape(self.n_qubits, self.layers))
        return qsa_circuit(
            states,
            states,
            angles,
            angles,
            kernel=self.kernel,
            degree=self.degree,
            phases=torch.zeros(self.steps),
            ansatz=self.ansatz,
        ).circuit

    def count(self) -> CircuitCount:
        """What the circuit costs.

        Example:
            >>> CircuitSize(steps=4, n_qubits=2, degree=1).count().qubits
            8
        """
        return count_circuit(self.circuit())


@dataclass(frozen=True)
class Growth:
    """CNOTs along a series of sizes, and the exponent a of CNOTs ~ size^a fitted to it.

    Attributes:
        name: "T", "d" or "k".
        sizes: its values.
        cnots: CNOTs of each circuit.
        exponent: a.
    """

    name: str
    sizes: tuple[int, ...]
    cnots: tuple[int, ...]
    exponent: float


def circuit_growth(size: CircuitSize) -> list[Growth]:
    """How the CNOTs grow in T, d and k around a size: each is halved and doubled, the others stay.

    Example: the loads make it linear in the number of steps, up to what does not depend on it.
        >>> growth = circuit_growth(CircuitSize(steps=16, n_qubits=3, degree=1))[0]
        >>> growth.name, growth.sizes, 0.9 < growth.exponent < 1.2
        ('T', (8, 16, 32), True)
    """
    qubits = sorted({max(1, size.n_qubits - 1), size.n_qubits, size.n_qubits + 1})
    series = {
        "T": [(steps, replace(size, steps=steps)) for steps in _around(size.steps)],
        "d": [(2**n, replace(size, n_qubits=n)) for n in qubits],
        "k": [(degree, replace(size, degree=degree)) for degree in _around(size.degree)],
    }
    found = []
    for name, rows in series.items():
        sizes = tuple(value for value, _ in rows)
        cnots = tuple(one.count().two_qubit_gates for _, one in rows)
        found.append(Growth(name, sizes, cnots, growth_exponent(np.array(sizes), np.array(cnots))))
    return found


def _around(value: int) -> list[int]:
    """Half of it, itself and twice of it; one is not halved."""
    return sorted({max(1, value // 2), value, 2 * value})
