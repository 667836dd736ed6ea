"""Ways to put data into a state: basis, amplitude, angle, re-uploading, and every angle of an ansatz.

Every encoding returns a Program: a circuit and the values of its slots. Data may carry leading batch axes;
they become batch axes of the values. Beside it: qdyn.circuits.encodings.unary,
qdyn.circuits.encodings.positions and, for operators, qdyn.circuits.encodings.blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Inexact, Int
from torch import Tensor

from qdyn.checks import check_choice, check_finite, check_integer
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import (
    add_global_phase,
    diagonal_angles,
    loading_circuit,
    preparation_angles,
)
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError

_AXES = {"x": "rx", "y": "ry", "z": "rz"}


def basis_encoding(bits: Int[Tensor, "*batch n"] | Bool[Tensor, "*batch n"] | Sequence[int]) -> Program:
    """The basis state |b_0 b_1 ...>: RY(pi) on every qubit whose bit is 1.

    Args:
        bits: 0 and 1, (*batch, n).

    Example:
        >>> int(basis_encoding([1, 0, 1]).states().abs().argmax())
        5
    """
    digits = torch.as_tensor(bits)
    if digits.ndim == 0 or not bool(((digits == 0) | (digits == 1)).all()):
        raise ArgumentError("Argument `bits` must hold 0 and 1 only, of shape (..., n).")
    circuit = Circuit(q=digits.shape[-1])
    for qubit, angle in enumerate(circuit.slot("bits", digits.shape[-1])):
        circuit.ry(qubit, angle)
    return Program(circuit, {"bits": math.pi * digits.to(torch.float64)})


def amplitude_encoding(x: Inexact[Tensor, "*batch features"]) -> Program:
    """The state sum_i x_i |i> / ||x||, padded by zeros to 2**n amplitudes, phases and signs included.

    Args:
        x: real or complex data (*batch, D), D >= 2, no vector zero.

    Source: Möttönen et al., quant-ph/0407010.

    Example:
        >>> amplitude_encoding(torch.tensor([3.0, 0.0, -4.0])).states().real[[0, 2]]
        tensor([ 0.6000, -0.8000], dtype=torch.float64)
    """
    x = torch.as_tensor(x)
    check_finite("x", x)
    if x.ndim == 0 or x.shape[-1] < 2:
        raise ArgumentError(f"Argument `x` must have shape (..., D) with D >= 2, but has {tuple(x.shape)}.")
    if bool((x == 0).all(-1).any()):
        raise ArgumentError("Argument `x` must hold vectors that can be normalised, but one is zero.")
    n_qubits = (x.shape[-1] - 1).bit_length()
    x = x.to(torch.promote_types(x.dtype, torch.float64))
    padded = torch.nn.functional.pad(x, (0, 2**n_qubits - x.shape[-1]))
    circuit = Circuit(q=n_qubits).compose(loading_circuit(n_qubits, 0, "x", real=not x.is_complex()))
    values = {"x": preparation_angles(padded[..., None, :])}
    if x.is_complex():
        # The loading circuit leaves out the phase common to all amplitudes.
        add_global_phase(circuit, 0, circuit.slot("phase", 1)[0])
        known = torch.where(padded == 0, torch.ones_like(padded), padded)
        values["phase"] = diagonal_angles(known.angle())[-1]
    return Program(circuit, values)


def angle_encoding(x: Float[Tensor, "*batch features"], *, axes: str = "y") -> Program:
    """Rotations by the data: qubit q gets R_{axes[0]}(x_{qm}), R_{axes[1]}(x_{qm+1}), ... with m = len(axes).

    Args:
        x: angles (*batch, n m), in radians.
        axes: the rotations of a qubit, the first to act first, such as "y" or "zx".

    Example:
        >>> angle_encoding(torch.tensor([torch.pi, 0.0])).states().real.round()
        tensor([-0., 0., 1., 0.], dtype=torch.float64)
    """
    x, circuit = _angle_register(x, axes)
    _add_angles(circuit, axes, x.shape[-1])
    return Program(circuit, {"x": x})


def reuploading(
    x: Float[Tensor, "*batch features"],
    weights: Float[Tensor, "*more layers qubits 3"],
    *,
    axes: str = "y",
) -> Program:
    """Data re-uploading: prod_l V(w_l) S(x), with S the angle encoding and V one layer of the default ansatz.

    The output is a trigonometric polynomial in every x_i of a degree that grows with the number of layers.

    Args:
        x: angles (*batch, n m), in radians.
        weights: (*batch, L, n, 3), in the order RX, RY, RZ.
        axes: the rotations of S on a qubit, the first to act first.

    Source: Pérez-Salinas et al., arXiv:1907.02085.

    Example:
        >>> reuploading(torch.zeros(2), torch.zeros(3, 2, 3)).circuit
        Circuit(q=2; 30 gates: rx 6, ry 12, rz 6, x 6; slots x(2,), weights(3, 2, 3))
    """
    x, circuit = _angle_register(x, axes)
    layers = weights.shape[-3] if weights.ndim >= 3 else 0
    if tuple(weights.shape[-2:]) != (circuit.n_qubits, 3) or layers < 1:
        raise ArgumentError(
            f"Argument `weights` must have shape (..., L, {circuit.n_qubits}, 3), "
            f"but has {tuple(weights.shape)}."
        )
    circuit.slot("x", x.shape[-1])
    entries = circuit.slot("weights", layers, circuit.n_qubits, 3)
    block = ansatz_circuit("hardware_efficient", n_qubits=circuit.n_qubits, layers=1, slot="layer")
    for layer in range(layers):
        _add_angles(circuit, axes, x.shape[-1])
        circuit.compose(block.with_angles("layer", entries[layer]))
    return Program(circuit, {"x": x, "weights": weights})


def ansatz_encoding(x: Float[Tensor, "*batch features"], *, n_qubits: int) -> Program:
    """The state U(x) H^n |0...0>, U a layered ansatz with every angle given by the data.

    U is RX on all qubits, RY on all, then D times a ring of CNOTs and RY on all: n (D + 2) angles.

    Args:
        x: angles (*batch, n (D + 2)), D >= 0, in radians, in the order in which they act.
        n_qubits: n.

    Source: Li, Zhao, Wang, arXiv:2205.05625.

    Example:
        >>> ansatz_encoding(torch.zeros(6), n_qubits=2).circuit
        Circuit(q=2; 10 gates: h 2, rx 2, ry 4, x 2; slots x(6,))
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    x = torch.as_tensor(x)
    check_finite("x", x)
    if x.ndim == 0 or x.shape[-1] % n_qubits or x.shape[-1] < 2 * n_qubits:
        raise ArgumentError(
            f"Argument `x` must have shape (..., {n_qubits} (D + 2)) for {n_qubits} qubits, "
            f"but has {tuple(x.shape)}."
        )
    circuit = Circuit(q=n_qubits)
    for qubit in range(n_qubits):
        circuit.h(qubit)
    angles = circuit.slot("x", x.shape[-1]).reshape(-1, n_qubits)
    block = ansatz_circuit("layered", n_qubits=n_qubits, layers=len(angles) - 2, slot="layer")
    circuit.compose(block.with_angles("layer", angles))
    return Program(circuit, {"x": x})


def _angle_register(x: Tensor, axes: str) -> tuple[Tensor, Circuit]:
    x = torch.as_tensor(x)
    check_finite("x", x)
    for axis in axes or "?":
        check_choice("axes", axis, _AXES)
    if x.ndim == 0 or x.shape[-1] % len(axes):
        raise ArgumentError(
            f"Argument `x` must have shape (..., n m) with {len(axes)} angles a qubit, "
            f"but has {tuple(x.shape)}."
        )
    return x, Circuit(q=x.shape[-1] // len(axes))


def _add_angles(circuit: Circuit, axes: str, count: int) -> None:
    for qubit, own in enumerate(circuit.slot("x", count).reshape(-1, len(axes))):
        for axis, angle in zip(axes, own, strict=True):
            circuit.rotation(_AXES[axis], qubit, angle)
