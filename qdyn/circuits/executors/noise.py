"""Noise after every gate: depolarisation and amplitude damping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class GateNoise:
    """Channels that follow each gate of the lowered circuit, on the qubits that it touches.

    Depolarisation: with probability p a random Pauli error acts, one of the 3 of a qubit after a one-qubit
    gate, one of the 15 of two qubits after a CNOT. Amplitude damping with probability gamma lets each touched
    qubit fall from 1 to 0. Damping acts first.

    Raises:
        ArgumentError: a probability is out of range.

    Attributes:
        depolarising: p after a one-qubit gate, in [0, 3/4].
        depolarising_cnot: p after a CNOT, in [0, 15/16]; as ``depolarising`` when None.
        amplitude_damping: gamma, in [0, 1].

    Example:
        >>> [operator.shape for operator in GateNoise(amplitude_damping=0.1).kraus_operators(2)][:2]
        [(4, 4), (4, 4)]
    """

    depolarising: float = 0.0
    depolarising_cnot: float | None = None
    amplitude_damping: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "depolarising": (self.depolarising, 3 / 4),
            "depolarising_cnot": (self._cnot_probability, 15 / 16),
            "amplitude_damping": (self.amplitude_damping, 1.0),
        }
        for name, (value, limit) in limits.items():
            if not 0 <= value <= limit:
                raise ArgumentError(f"Argument `{name}` must be in [0, {limit:g}], but is {value!r}.")

    @property
    def _cnot_probability(self) -> float:
        return self.depolarising if self.depolarising_cnot is None else self.depolarising_cnot

    def kraus_operators(self, n_qubits: int) -> list[NDArray[np.complex128]]:
        """The operators K_a of the channel rho -> sum_a K_a rho K_a^H after a gate on one or two qubits."""
        gamma = self.amplitude_damping
        damping = [np.diag([1, np.sqrt(1 - gamma)]), np.array([[0, np.sqrt(gamma)], [0, 0]])]
        paulis = [np.eye(2), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])]
        if n_qubits == 2:
            damping = [np.kron(a, b) for a in damping for b in damping]
            paulis = [np.kron(a, b) for a in paulis for b in paulis]
        p = self.depolarising if n_qubits == 1 else self._cnot_probability
        weights = np.sqrt([1 - p] + [p / (len(paulis) - 1)] * (len(paulis) - 1))
        products = [
            weight * (pauli @ fall) for weight, pauli in zip(weights, paulis, strict=True) for fall in damping
        ]
        return [product.astype(np.complex128) for product in products if np.abs(product).max() > 0]

    def for_cudaq(self, cudaq: Any) -> Any:
        """The same noise as CUDA-Q's own model."""
        model = cudaq.NoiseModel()
        one, two = (cudaq.KrausChannel(self.kraus_operators(n)) for n in (1, 2))
        for name in ("x", "y", "h", "rx", "ry", "rz", "r1"):
            model.add_all_qubit_channel(name, one)
        model.add_all_qubit_channel("x", two, num_controls=1)
        return model
