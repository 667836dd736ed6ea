"""Ways to put data into a state: basis, amplitude, angle, re-uploading, unary, and positions.

Every encoding returns a Program: a circuit and the values of its slots. Data may carry leading batch axes;
they become batch axes of the values. For matrices see qdyn.quantum.block_encodings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Inexact, Int
from torch import Tensor

from qdyn.checks import check_choice, check_finite, check_integer
from qdyn.errors import ArgumentError
from qdyn.quantum.ansatz_circuits import ansatz_circuit
from qdyn.quantum.circuit import Angle, Circuit
from qdyn.quantum.program import Program
from qdyn.quantum.state_preparation import (
    add_global_phase,
    diagonal_angles,
    loading_circuit,
    preparation_angles,
)

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


def unary_encoding(x: Float[Tensor, "*batch features"]) -> Program:
    """The state sum_i x_i |0..1_i..0> / ||x||, by n - 1 rotations in the space of one excitation.

    The rotations are laid out as a tree, so that their depth is log2 n.

    Args:
        x: real data (*batch, n), n >= 1, no vector zero.

    Source: Cherrat et al., arXiv:2209.08167, section on data loaders.

    Example: the amplitudes stand at the indices with one bit set, qubit 0 first.
        >>> unary_encoding(torch.tensor([0.6, 0.0, 0.8])).states().real[[4, 2, 1]]
        tensor([0.6000, 0.0000, 0.8000], dtype=torch.float64)
    """
    x = torch.as_tensor(x)
    check_finite("x", x)
    if x.ndim == 0 or bool((x == 0).all(-1).any()):
        raise ArgumentError("Argument `x` must hold vectors that can be normalised, but one is zero.")
    size = x.shape[-1]
    circuit = Circuit(q=size).x(0)
    if size == 1:
        add_global_phase(circuit, 0, circuit.slot("x", 1)[0])
        return Program(circuit, {"x": torch.where(x < 0, math.pi, 0.0).to(torch.float64)})
    angles = circuit.slot("x", size - 1)
    values: list[Tensor] = []
    spans = [(0, size)]
    while spans:
        first, last = spans.pop(0)
        if last - first < 2:
            continue
        middle = (first + last + 1) // 2
        add_excitation_rotation(circuit, first, middle, angles[len(values)])
        values.append(2 * torch.atan2(_weight(x, middle, last), _weight(x, first, middle)))
        spans += [(first, middle), (middle, last)]
    return Program(circuit, {"x": torch.stack(values, dim=-1)})


def add_excitation_rotation(circuit: Circuit, first: int, second: int, angle: Angle) -> Circuit:
    """Append the rotation |10> -> cos(angle/2)|10> + sin(angle/2)|01>; it leaves |00> and |11> alone."""
    return circuit.cx(first, second).ry(first, -angle, controls=(second,)).cx(first, second)


def rotary_positions(
    positions: Int[Tensor, "*batch"] | Float[Tensor, "*batch"], *, n_qubits: int, base: float = 10000.0
) -> Program:
    """Position by rotation: prod_k RZ(p omega_k) with omega_k = base^(-k/n).

    It multiplies basis state b by exp(-i p Omega_b), Omega_b = 1/2 sum_k omega_k (-1)^(b_k). An overlap of
    two states at positions p and q then depends on p - q only.

    Args:
        positions: p, (*batch).
        n_qubits: n.
        base: ratio of the largest to the smallest frequency, > 1.

    Example: a common shift of both positions leaves an overlap as it was.
        >>> state = amplitude_encoding(torch.tensor([0.6, 0.8, 0.0, 1.0])).states()
        >>> from qdyn.quantum.statevector import run_statevector
        >>> program = rotary_positions(torch.tensor([1, 4, 11, 14]), n_qubits=2)
        >>> placed = run_statevector(program.circuit, program.values, initial=state)
        >>> bool(torch.isclose(torch.vdot(placed[0], placed[1]), torch.vdot(placed[2], placed[3])))
        True
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    circuit = Circuit(q=n_qubits)
    (position,) = circuit.slot("position", 1)
    for qubit in range(n_qubits):
        circuit.rz(qubit, position * base ** (-qubit / n_qubits))
    return Program(circuit, {"position": torch.as_tensor(positions).to(torch.float64)[..., None]})


def entangled_positions(angles: Float[Tensor, "*batch n"]) -> Program:
    """Position by rotation and entanglement: RY(angle_k) on every qubit, then a ring of controlled Z.

    Args:
        angles: one angle a qubit for each position, (*batch, n), such as rows of a trained (T, n) table.

    Example:
        >>> entangled_positions(torch.zeros(3)).circuit
        Circuit(q=3; 6 gates: ry 3, z 3; slots position(3,))
    """
    angles = torch.as_tensor(angles)
    circuit = Circuit(q=angles.shape[-1])
    for qubit, angle in enumerate(circuit.slot("position", angles.shape[-1])):
        circuit.ry(qubit, angle)
    for qubit in range(circuit.n_qubits if circuit.n_qubits > 1 else 0):
        following = (qubit + 1) % circuit.n_qubits
        if qubit < following or circuit.n_qubits > 2:
            circuit.cz(qubit, following)
    return Program(circuit, {"position": angles})


def position_register(token: Program, angles: Float[Tensor, "*batch n"]) -> Program:
    """Position on a register of its own: |token> (x) |position>, the latter by RY and a ring of CNOTs.

    Args:
        token: the program that encodes the token; its slots may not be called "position".
        angles: one angle for each qubit of the position register, (*batch, n).

    Source: Smaldone et al., arXiv:2502.19214.

    Example:
        >>> joint = position_register(angle_encoding(torch.zeros(2)), torch.zeros(2))
        >>> joint.circuit.registers
        {'token': (0, 1), 'position': (2, 3)}
    """
    angles = torch.as_tensor(angles)
    if "position" in token.circuit.slots:
        raise ArgumentError("Argument `token` must not have a slot called 'position'.")
    circuit = Circuit(token=token.n_qubits, position=angles.shape[-1])
    circuit.compose(token.circuit, circuit["token"])
    block = ansatz_circuit("real", n_qubits=angles.shape[-1], layers=1, slot="position")
    circuit.compose(block, circuit["position"])
    return Program(circuit, {**token.values, "position": angles[..., None, :]})


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


def _weight(x: Tensor, first: int, last: int) -> Tensor:
    """The norm of a span of entries; of one entry, the entry with its sign."""
    if last - first == 1:
        return x[..., first].to(torch.float64)
    return torch.linalg.vector_norm(x[..., first:last].to(torch.float64), dim=-1)
