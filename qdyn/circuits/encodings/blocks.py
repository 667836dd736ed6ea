"""Matrices in circuits: block encodings and linear combinations of unitaries.

A block encoding of A is a unitary whose block at |0> of its ancilla register is A/alpha. Reading the ancillas
as 0 applies A, with probability ||A psi||^2 / alpha^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from numpy.typing import ArrayLike
from torch import Tensor

from qdyn.checks import qubits_of_dimension
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import loading_circuit, preparation_angles, unitary_circuit
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class BlockEncoding:
    """A circuit whose block at |0> of the register "ancilla" is A / alpha.

    Attributes:
        circuit: registers "ancilla" and "system".
        alpha: the factor by which A is divided.
    """

    circuit: Circuit
    alpha: float

    def matrix(self, values: dict[str, Any] | None = None) -> Complex[Tensor, "*batch dim dim"]:
        """A itself, read off the circuit's unitary."""
        size = 2 ** len(self.circuit["system"])
        return self.alpha * circuit_unitary(self.circuit, values)[..., :size, :size]


def block_encoding(matrix: ArrayLike, *, alpha: float | None = None) -> BlockEncoding:
    """Encode a matrix with one ancilla.

    With A/alpha = U S V^H the unitary is [[A/alpha, U sqrt(1-S^2) U^H], [V sqrt(1-S^2) V^H, -A^H/alpha]].

    Args:
        matrix: A, real or complex of shape (2**n, 2**n).
        alpha: at least the largest singular value of A, which is taken when None.

    Raises:
        ArgumentError: A is not square, or larger than alpha.

    Example:
        >>> encoded = block_encoding([[0.0, 2.0], [0.0, 0.0]])
        >>> encoded.alpha, encoded.matrix().abs().round(decimals=6).tolist()
        (2.0, [[0.0, 2.0], [0.0, 0.0]])
    """
    array = np.asarray(matrix, dtype=np.complex128)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or not np.all(np.isfinite(array)):
        raise ArgumentError(f"Argument `matrix` must be square and finite, but has shape {array.shape}.")
    n_qubits = qubits_of_dimension("matrix", len(array))
    left, sizes, right = np.linalg.svd(array)
    norm = float(sizes[0])
    factor = float(alpha) if alpha is not None else (norm or 1.0)
    if not factor * (1 + 1e-12) >= norm or factor <= 0:
        raise ArgumentError(f"Argument `alpha` must be at least the norm {norm:.6g} of A, but is {alpha!r}.")
    block, complement = array / factor, np.sqrt(np.clip(1 - (sizes / factor) ** 2, 0, None))
    unitary = np.block(
        [
            [block, left * complement @ left.conj().T],
            [right.conj().T * complement @ right, -block.conj().T],
        ]
    )
    circuit = Circuit(ancilla=1, system=n_qubits).compose(unitary_circuit(unitary))
    return BlockEncoding(circuit, factor)


def linear_combination(coefficients: Sequence[complex], unitaries: Sequence[Circuit]) -> BlockEncoding:
    """Block-encode sum_j b_j U_j by preparing, selecting and un-preparing: alpha = sum_j |b_j|.

    The ancillas, ceil(log2 of the number of terms) qubits or one, hold sum_j sqrt(|b_j|/alpha) |j>;
    where they hold j, U_j acts, with the phase of b_j.

    Args:
        coefficients: b_j, real or complex, not all zero.
        unitaries: U_j as circuits of equal size; their slots become slots of the result.

    Raises:
        ArgumentError: as many coefficients as circuits are needed, of one size.

    Source: Childs and Wiebe, arXiv:1202.5822.

    Example: the projector (1 + Z)/2.
        >>> projector = linear_combination([0.5, 0.5], [Circuit(q=1), Circuit(q=1).z(0)])
        >>> projector.matrix().real.round(decimals=6).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    weights = np.asarray(coefficients, dtype=np.complex128)
    sizes = {circuit.n_qubits for circuit in unitaries}
    if weights.ndim != 1 or len(weights) != len(unitaries) or len(sizes) != 1:
        raise ArgumentError(
            f"Argument `unitaries` must hold a circuit of one size for each of {weights.size} coefficients, "
            f"but holds {len(unitaries)} of sizes {sorted(sizes)}."
        )
    alpha = float(np.abs(weights).sum())
    if not np.isfinite(alpha) or alpha == 0:
        raise ArgumentError("Argument `coefficients` must be finite and not all zero.")
    n_ancillas = max(1, (len(weights) - 1).bit_length())
    circuit = Circuit(ancilla=n_ancillas, system=sizes.pop())
    ancillas = circuit["ancilla"]
    amplitudes = torch.zeros(1, 2**n_ancillas, dtype=torch.float64)
    amplitudes[0, : len(weights)] = torch.from_numpy(np.sqrt(np.abs(weights) / alpha))
    prepare = loading_circuit(n_ancillas, 0, "weights", real=True)
    prepare = prepare.bind({"weights": preparation_angles(amplitudes).numpy()})
    circuit.compose(prepare, ancillas)
    for number, (weight, unitary) in enumerate(zip(weights, unitaries, strict=True)):
        zeros = [q for place, q in enumerate(ancillas) if not number >> (n_ancillas - 1 - place) & 1]
        for qubit in zeros:
            circuit.x(qubit)
        circuit.compose(unitary, circuit["system"], controls=ancillas)
        circuit.phase(ancillas[-1], float(np.angle(weight)), controls=ancillas[:-1])
        for qubit in zeros:
            circuit.x(qubit)
    circuit.compose(prepare.adjoint(), ancillas)
    return BlockEncoding(circuit, alpha)
