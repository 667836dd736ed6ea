"""Lowers a circuit to CNOTs and one-qubit gates: what hardware runs, and what gates are counted in.

* A control of a rotation is one more select qubit whose angle for 0 is zero.
* RY or RZ selected by k qubits is 2^k rotations and 2^k CNOTs in the order of a Gray code; RX is RZ
  between Hadamards.
* A phase, and every controlled diagonal gate, is a diagonal of phases, a ladder of such RZ.
* X, Y and H with controls are a controlled Z in another basis.

All of it is exact, global phase included, and angles stay linear in the slots.

Source: Möttönen et al., quant-ph/0404089 (Gray code), and quant-ph/0407010.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qdyn.circuits.circuit import Angle, Circuit, Gate

_ZERO = Angle()
_PHASE_OF = {"z": math.pi, "s": math.pi / 2, "sdg": -math.pi / 2, "t": math.pi / 4, "tdg": -math.pi / 4}


def lower(circuit: Circuit) -> Circuit:
    """The same unitary by CNOTs and one-qubit gates only.

    Example: a Toffoli gate takes six CNOTs.
        >>> lower(Circuit(q=3).x(2, controls=(0, 1)))
        Circuit(q=3; 15 gates: h 2, phase 1, rz 6, x 6)
    """
    gates: list[Gate] = []
    for gate in circuit:
        for lowered in _lowered(gate):
            if gates and lowered == gates[-1] and lowered.name == "x":
                gates.pop()  # two equal CNOTs in a row are nothing
            else:
                gates.append(lowered)
    return circuit.like(gates)


def _lowered(gate: Gate) -> Iterator[Gate]:
    target, controls = gate.target, gate.controls
    if gate.angles:
        select = controls + gate.select
        angles = (_ZERO,) * (2 ** len(select) - len(gate.angles)) + gate.angles
        if len(set(angles)) == 1:
            select, angles = (), angles[:1]
        yield from _rotation(gate.name, target, select, angles)
    elif not controls or (gate.name == "x" and len(controls) == 1):
        yield gate
    elif gate.name == "x":
        yield from _between(Gate("h", target), Gate("h", target), Gate("z", target, controls))
    elif gate.name == "y":
        yield from _between(Gate("sdg", target), Gate("s", target), Gate("x", target, controls))
    elif gate.name == "h":
        turn = Gate("ry", target, angles=(Angle(-math.pi / 4),))
        yield from _between(turn, turn.adjoint(), Gate("z", target, controls))
    elif gate.name == "z" and len(controls) == 1:
        yield from _between(Gate("h", target), Gate("h", target), Gate("x", target, controls))
    else:
        yield from _lowered(Gate("phase", target, controls, (), (Angle(_PHASE_OF[gate.name]),)))


def _between(before: Gate, after: Gate, gate: Gate) -> Iterator[Gate]:
    yield before
    yield from _lowered(gate)
    yield after


def _rotation(name: str, target: int, select: tuple[int, ...], angles: Sequence[Angle]) -> Iterator[Gate]:
    if not select:
        if angles[0] != _ZERO:
            yield Gate(name, target, angles=(angles[0],))
    elif name == "rx":
        yield Gate("h", target)
        yield from _rotation("rz", target, select, angles)
        yield Gate("h", target)
    elif name == "phase":
        yield from _selected_phase(target, select, angles)
    else:
        yield from _gray_code(name, target, select, angles)


def _gray_code(name: str, target: int, select: tuple[int, ...], angles: Sequence[Angle]) -> Iterator[Gate]:
    """CNOTs between the rotations flip their signs; the signs of all select numbers form a Walsh matrix."""
    turns = _walsh(angles)
    count = len(turns)
    for place in range(count):
        code, following = place ^ (place >> 1), (place + 1) % count ^ ((place + 1) % count >> 1)
        yield from _rotation(name, target, (), [turns[code]])
        changed_bit = (code ^ following).bit_length() - 1
        yield Gate("x", target, (select[len(select) - 1 - changed_bit],))


def _selected_phase(target: int, select: tuple[int, ...], angles: Sequence[Angle]) -> Iterator[Gate]:
    """diag(1, exp(i angle_s)): with the target as the first bit, no global phase is left over."""
    qubits = (target, *select)
    phases = _as_array([_ZERO] * len(angles) + list(angles))
    for level in reversed(range(1, len(qubits))):
        lower_half, upper_half = phases[0::2], phases[1::2]
        yield from _gray_code("rz", qubits[level], qubits[:level], _as_angles(upper_half - lower_half))
        phases = (lower_half + upper_half) * 0.5
    yield from _rotation("phase", target, (), _as_angles(phases[1:]))


def _walsh(angles: Sequence[Angle]) -> list[Angle]:
    """w_g = 2^-k sum_b (-1)^(b.g) angle_b, by butterflies."""
    values = _as_array(angles)
    width = 1
    while width < len(values):
        pairs = values.reshape(-1, 2, width)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1) * 0.5
        width *= 2
    return _as_angles(values)


def _as_array(angles: Sequence[Angle]) -> NDArray[np.object_] | NDArray[np.float64]:
    """Numbers where all angles are numbers, which is much faster, else the angles themselves."""
    if not any(angle.terms for angle in angles):
        return np.array([angle.constant for angle in angles])
    values = np.empty(len(angles), dtype=object)
    values[:] = angles
    return values


def _as_angles(values: NDArray[np.object_] | NDArray[np.float64]) -> list[Angle]:
    return [Angle.of(value) for value in values.tolist()]
