"""Positions in a sequence as rotations, with or without entanglement, on the token's qubits or on their own.

Each returns a Program: a circuit and the values of its slots, whose batch axes run over positions. On the
token's qubits it is composed after the circuit that encodes the token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.circuits.ansatz.circuits import ansatz_circuit
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError


def rotary_positions(
    positions: Int[Tensor, "*batch"] | Float[Tensor, "*batch"],
    *,
    n_qubits: int,
    base: float = 10000.0,
    frequencies: Sequence[float] | None = None,
) -> Program:
    """Position by rotation: prod_k RZ(p omega_k) with omega_k = base^(-k/n).

    It multiplies basis state b by exp(-i p Omega_b), Omega_b = 1/2 sum_k omega_k (-1)^(b_k). An overlap of
    two states at positions p and q then depends on p - q only.

    Args:
        positions: p, (*batch).
        n_qubits: n.
        base: ratio of two frequencies n qubits apart, > 1.
        frequencies: omega_k in radians a step in place of these, n of them; 2 pi / 2^(k+1) writes the bits
            of p.

    Example: a common shift of both positions leaves an overlap as it was.
        >>> from qdyn.circuits.encodings.vectors import amplitude_encoding
        >>> state = amplitude_encoding(torch.tensor([0.6, 0.8, 0.0, 1.0])).states()
        >>> from qdyn.circuits.executors.statevector import run_statevector
        >>> program = rotary_positions(torch.tensor([1, 4, 11, 14]), n_qubits=2)
        >>> placed = run_statevector(program.circuit, program.values, initial=state)
        >>> bool(torch.isclose(torch.vdot(placed[0], placed[1]), torch.vdot(placed[2], placed[3])))
        True
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    if frequencies is None:
        frequencies = [base ** (-qubit / n_qubits) for qubit in range(n_qubits)]
    if len(frequencies) != n_qubits:
        raise ArgumentError(
            f"Argument `frequencies` must hold {n_qubits} numbers, one a qubit, but holds {len(frequencies)}."
        )
    circuit = Circuit(q=n_qubits)
    (position,) = circuit.slot("position", 1)
    for qubit, frequency in enumerate(frequencies):
        circuit.rz(qubit, position * float(frequency))
    return Program(circuit, {"position": torch.as_tensor(positions).to(torch.float64)[..., None]})


def entangled_positions(angles: Float[Tensor, "*batch n"]) -> Program:
    """Position by rotation and entanglement: RY(angle_k) on every qubit, then a ring of controlled Z.

    Args:
        angles: one angle a qubit for each position, (*batch, n): rows of a trained (T, n) table, or
            `sinusoidal_angles`.

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


def sinusoidal_angles(
    positions: Int[Tensor, "*batch"] | Float[Tensor, "*batch"], *, n_qubits: int, base: float = 10000.0
) -> Float[Tensor, "*batch n"]:
    """Untrained angles for `entangled_positions`: sin(p omega_k), cos(p omega_k), omega_k = base^(-2k/n).

    Args:
        positions: p, (*batch).
        n_qubits: n, the number of angles.
        base: sets the smallest frequency, > 1.

    Example:
        >>> sinusoidal_angles(torch.tensor([0]), n_qubits=4)
        tensor([[0., 1., 0., 1.]], dtype=torch.float64)
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    place = torch.arange(n_qubits, dtype=torch.float64)
    frequencies = base ** (-2 * (place // 2) / n_qubits)
    turns = torch.as_tensor(positions).to(torch.float64)[..., None] * frequencies
    return torch.where(place % 2 == 0, turns.sin(), turns.cos())


def position_register(
    token: Program, angles: Float[Tensor, "*batch n"], *, name: str = "position"
) -> Program:
    """Position on a register of its own: |token> (x) |position>, the latter by RY and a ring of CNOTs.

    Applied twice, it adds a register for a property that conditions the sequence.

    Args:
        token: the program that encodes the token; a single register is called "token" from then on.
        angles: one angle for each qubit of the new register, (*batch, n).
        name: of the new register and of its slot.

    Source: Smaldone et al., arXiv:2502.19214.

    Example:
        >>> from qdyn.circuits.encodings.vectors import angle_encoding
        >>> joint = position_register(angle_encoding(torch.zeros(2)), torch.zeros(2))
        >>> joint.circuit.registers
        {'token': (0, 1), 'position': (2, 3)}
    """
    angles = torch.as_tensor(angles)
    registers = {key: len(qubits) for key, qubits in token.circuit.registers.items()}
    if len(registers) == 1:
        registers = {"token": token.n_qubits}
    if name in token.circuit.slots or name in registers:
        raise ArgumentError(f"Argument `token` must not have a slot or register called {name!r}.")
    circuit = Circuit(**registers, **{name: angles.shape[-1]})
    circuit.compose(token.circuit, range(token.n_qubits))
    block = ansatz_circuit("real", n_qubits=angles.shape[-1], layers=1, slot=name)
    circuit.compose(block, circuit[name])
    return Program(circuit, {**token.values, name: angles[..., None, :]})
