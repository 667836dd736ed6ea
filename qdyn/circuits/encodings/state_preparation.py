"""Loading states and unitaries by gates: uniformly controlled rotations.

A state of n qubits is prepared by n multiplexed RY, which set the moduli, and a diagonal of phases, which n
multiplexed RZ set. When the state to load depends on an index register, the index bits are further select
qubits, and the diagonal runs over them too: the global phase of each loaded state is then part of the data.

The angles are computed in torch, so that states may come in batches and gradients flow into them.

Source: Möttönen, Vartiainen, Bergholm, Salomaa, quant-ph/0407010 (states), and Shende, Bullock, Markov,
quant-ph/0406176 (unitaries).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Inexact
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer, qubits_of_dimension
from qdyn.circuits.circuit import Angle, Circuit
from qdyn.errors import ArgumentError


def count_preparation_angles(n_qubits: int, n_select: int, *, real: bool) -> int:
    """The number of angles of `loading_circuit`.

    Example: a complex state of 2 qubits has 3 moduli and 3 phases that matter.
        >>> count_preparation_angles(2, 0, real=False)
        6
    """
    moduli = 2**n_select * (2**n_qubits - 1)
    return moduli if real else moduli + 2 ** (n_select + n_qubits) - 1


def preparation_angles(
    states: Inexact[Tensor, "*batch index dim"], *, n_select: int = 0
) -> Float[Tensor, "*batch angles"]:
    """The angles with which `loading_circuit` prepares each of the given states.

    Args:
        states: vectors (..., m, 2**n) with 1 <= m <= 2**n_select; their norm does not matter. For a real
            dtype the angles carry the signs and no phases follow. Index values from m on load |0...0>.
        n_select: number of qubits that hold the index.

    Returns:
        Angles (..., count_preparation_angles(n, n_select)), differentiable in ``states``.

    Raises:
        ArgumentError: more states than the index can name.

    Example:
        >>> preparation_angles(torch.tensor([[1.0, 1.0]])) * 4 / torch.pi
        tensor([2.])
    """
    count, dimension = states.shape[-2:]
    n_qubits = qubits_of_dimension("states", dimension)
    if not 1 <= count <= 2**n_select:
        raise ArgumentError(
            f"Argument `states` must hold 1 to {2**n_select} states for an index of {n_select} qubits, "
            f"but holds {count}."
        )
    padding = 2**n_select - count
    levels: list[Tensor] = []
    weights = _moduli(states) if states.is_complex() else states
    for _ in range(n_qubits):
        pairs = weights.reshape(*weights.shape[:-1], -1, 2)
        levels.insert(0, _turns(pairs[..., 0], pairs[..., 1]))
        weights = _norms(pairs)
    angles = [torch.nn.functional.pad(level, (0, 0, 0, padding)).flatten(-2) for level in levels]
    if states.is_complex():
        phases = torch.nn.functional.pad(_arguments(states), (0, 0, 0, padding)).flatten(-2)
        angles += diagonal_angles(phases)[:-1]
    return torch.cat(angles, dim=-1)


def loading_circuit(n_qubits: int, n_select: int, slot: str, *, real: bool) -> Circuit:
    """The circuit that takes |s>|0...0> to |s>|state s>, for every number s on the register "select".

    The phases are right up to one that all s share, a global phase of the circuit.

    Args:
        n_qubits: qubits of the register "target" that receives the state.
        n_select: qubits of the register "select".
        slot: name of the slot that takes the angles from `preparation_angles`.
        real: whether the states are real.

    Example:
        >>> loading_circuit(2, 1, "x", real=False)
        Circuit(select=1, target=2; 5 gates: ry 2, rz 3; slots x(13,))
    """
    check_integer("n_qubits", n_qubits, minimum=1)
    circuit = Circuit(select=n_select, target=n_qubits)
    angles = circuit.slot(slot, count_preparation_angles(n_qubits, n_select, real=real))
    first = 0
    for level in range(n_qubits):
        before = tuple(range(n_select + level))
        circuit.ry(n_select + level, angles[first : first + 2 ** len(before)], select=before)
        first += 2 ** len(before)
    if not real:
        add_diagonal(circuit, tuple(range(circuit.n_qubits)), angles[first:])
    return circuit


def diagonal_angles(phases: Float[Tensor, "*batch dim"]) -> list[Float[Tensor, "*batch angles"]]:
    """The angles of the multiplexed RZ that make diag(exp(i phases)), last qubit first.

    The last entry is the global phase, which no RZ makes.
    """
    angles = []
    while phases.shape[-1] > 1:
        lower, upper = phases.reshape(*phases.shape[:-1], -1, 2).unbind(-1)
        angles.append(upper - lower)
        phases = (upper + lower) / 2
    return [*angles, phases]


def add_diagonal(circuit: Circuit, qubits: tuple[int, ...], angles: NDArray[np.object_]) -> Circuit:
    """Append diag(exp(i phases)) on the qubits, without the global phase, from `diagonal_angles` joined."""
    first = 0
    for level in reversed(range(len(qubits))):
        circuit.rz(qubits[level], angles[first : first + 2**level], select=qubits[:level])
        first += 2**level
    return circuit


def add_global_phase(circuit: Circuit, qubit: int, angle: Angle | float) -> Circuit:
    """Append exp(i angle), as a phase on both states of one qubit."""
    return circuit.phase(qubit, angle).x(qubit).phase(qubit, angle).x(qubit)


def unitary_circuit(matrix: NDArray[Any] | Tensor) -> Circuit:
    """A circuit of multiplexed RY and RZ for any unitary matrix: the quantum Shannon decomposition.

    Args:
        matrix: unitary of shape (2**n, 2**n), n >= 1.

    Returns:
        A circuit on the register "q" whose matrix is ``matrix``, global phase included.

    Raises:
        ArgumentError: the matrix is not unitary to 1e-8, or its size is no power of two.

    Example:
        >>> unitary_circuit(np.array([[0, 1j], [1j, 0]]))
        Circuit(q=1; 7 gates: phase 2, ry 1, rz 2, x 2)
    """
    unitary = np.asarray(matrix, dtype=np.complex128)
    n_qubits = qubits_of_dimension("matrix", unitary.shape[-1])
    if unitary.shape != (2**n_qubits, 2**n_qubits) or not np.all(np.isfinite(unitary)):
        raise ArgumentError(f"Argument `matrix` must be square and finite, but has shape {unitary.shape}.")
    deviation = float(np.abs(unitary.conj().T @ unitary - np.eye(2**n_qubits)).max())
    if deviation > 1e-8:
        raise ArgumentError(
            f"Argument `matrix` must be unitary, but U^H U deviates from 1 by {deviation:.3g}."
        )
    circuit = Circuit(q=n_qubits)
    phase = _add_unitary(circuit, tuple(range(n_qubits)), unitary)
    return add_global_phase(circuit, 0, phase)


def _add_unitary(circuit: Circuit, qubits: tuple[int, ...], unitary: NDArray[np.complex128]) -> float:
    """Append the unitary but for a global phase, and return that phase."""
    from scipy.linalg import cossin

    if len(qubits) == 1:
        phase = float(np.angle(np.linalg.det(unitary))) / 2
        special = unitary * np.exp(-1j * phase)
        theta = 2 * math.atan2(abs(special[1, 0]), abs(special[0, 0]))
        total = 2 * float(np.angle(special[1, 1])) if abs(special[1, 1]) > 1e-12 else 0.0
        difference = 2 * float(np.angle(special[1, 0])) if abs(special[1, 0]) > 1e-12 else 0.0
        (qubit,) = qubits
        circuit.rz(qubit, (total - difference) / 2).ry(qubit, theta).rz(qubit, (total + difference) / 2)
        return phase
    half = len(unitary) // 2
    left, angles, right = cossin(unitary, p=half, q=half, separate=True)
    top, rest = qubits[0], qubits[1:]
    phase = _add_block_diagonal(circuit, top, rest, *right)
    circuit.ry(top, 2 * angles, select=rest)
    return phase + _add_block_diagonal(circuit, top, rest, *left)


def _add_block_diagonal(
    circuit: Circuit,
    top: int,
    rest: tuple[int, ...],
    upper: NDArray[np.complex128],
    lower: NDArray[np.complex128],
) -> float:
    """Append the unitary that is ``upper`` where the top qubit is 0 and ``lower`` where it is 1.

    upper = V D W and lower = V D^H W with D^2 the eigenvalues of upper lower^H.
    """
    from scipy.linalg import schur

    triangular, basis = schur(upper @ lower.conj().T, output="complex")
    angles = np.angle(np.diag(triangular)) / 2
    first = np.exp(1j * angles)[:, None] * (basis.conj().T @ lower)
    phase = _add_unitary(circuit, rest, first)
    circuit.rz(top, -2 * angles, select=rest)
    return phase + _add_unitary(circuit, rest, basis)


# The square root, the angle and the norm have no derivative at 0. There the angle is 0 and stays 0.


def _turns(upper: Tensor, lower: Tensor) -> Tensor:
    nothing = (upper == 0) & (lower == 0)
    return 2 * torch.atan2(torch.where(nothing, 0.0, lower), torch.where(nothing, 1.0, upper))


def _norms(pairs: Tensor) -> Tensor:
    squares = pairs.square().sum(-1)
    nothing = squares == 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, squares).sqrt())


def _moduli(states: Tensor) -> Tensor:
    return _norms(torch.view_as_real(states))


def _arguments(states: Tensor) -> Tensor:
    nothing = states == 0
    return torch.where(nothing, torch.ones_like(states), states).angle()
