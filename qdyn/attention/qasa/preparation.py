"""What the circuits of QASA's rivals begin and end with: product states of RY, and one Pauli matrix read."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.circuits.executors.program import PauliObservable
from qdyn.errors import ArgumentError


def check_shapes(inputs: Tensor, weights: Tensor, qubits: int, shape: tuple[int, ...]) -> None:
    """Refuse inputs that are not for ``qubits``, or weights that do not end with ``shape``."""
    if inputs.ndim < 1 or inputs.shape[-1] != qubits:
        raise ArgumentError(
            f"Argument `inputs` must have shape (..., {qubits}), but has shape {tuple(inputs.shape)}."
        )
    if tuple(weights.shape[-len(shape) :]) != shape:
        raise ArgumentError(
            f"Argument `weights` must end with the shape {shape}, but has shape {tuple(weights.shape)}."
        )


def check_output(output: int, outputs: int) -> None:
    """Refuse a reading that there is none of."""
    if not 0 <= output < outputs:
        raise ArgumentError(f"Argument `output` must be an integer in [0, {outputs - 1}], but is {output!r}.")


def one_pauli(letter: str, qubit: int, qubits: int) -> PauliObservable:
    """One Pauli matrix on one qubit."""
    return PauliObservable(((1.0, "I" * qubit + letter + "I" * (qubits - qubit - 1)),))


def product_state(angles: Tensor) -> Tensor:
    """RY(angle_0)|0> (x) RY(angle_1)|0> ... of each row of ``angles`` (..., batch, n) as columns."""
    half = angles.mT / 2
    each = torch.stack([half.cos(), half.sin()], dim=-2).unbind(-3)
    state = each[0]
    for one in each[1:]:
        state = (state.unsqueeze(-2) * one.unsqueeze(-3)).flatten(-3, -2)
    return state


def rotations_y(angles: Tensor) -> Tensor:
    """RY of every angle, (..., 2, 2)."""
    c, s = (angles / 2).cos(), (angles / 2).sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
