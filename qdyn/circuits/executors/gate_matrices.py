"""The 2 x 2 matrices of a circuit's gates in torch, those with angles evaluated all at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from qdyn.circuits.circuit import Circuit, Gate

DIAGONAL = ("z", "s", "sdg", "t", "tdg", "rz", "phase")
"""Gates that only multiply amplitudes."""

_R = math.sqrt(0.5)
_FIXED = {
    "x": [[0, 1], [1, 0]],
    "y": [[0, -1j], [1j, 0]],
    "z": [[1, 0], [0, -1]],
    "h": [[_R, _R], [_R, -_R]],
    "s": [[1, 0], [0, 1j]],
    "sdg": [[1, 0], [0, -1j]],
    "t": [[1, 0], [0, _R + _R * 1j]],
    "tdg": [[1, 0], [0, _R - _R * 1j]],
}
# A rotation by t is constant + cos(rate * t) * even + sin(rate * t) * odd: (rate, constant, even, odd).
_ZERO, _ONE = [[0, 0], [0, 0]], [[1, 0], [0, 1]]
_ROTATION: dict[str, tuple[float, Any, Any, Any]] = {
    "rx": (0.5, _ZERO, _ONE, [[0, -1j], [-1j, 0]]),
    "ry": (0.5, _ZERO, _ONE, [[0, -1], [1, 0]]),
    "rz": (0.5, _ZERO, _ONE, [[-1j, 0], [0, 1j]]),
    "phase": (1.0, [[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 0], [0, 1j]]),
}


class GateMatrices:
    """The 2 x 2 matrices of all gates, of shape (2**selected, 2, 2, *batch).

    Matrices shared by the whole batch have batch axes of length 1. Angles that depend on the same slots are
    evaluated at once.
    """

    def __init__(
        self,
        circuit: Circuit,
        slots: Mapping[str, Tensor],
        batch_axes: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._fixed: dict[str, Tensor] = {}
        self._rotations: list[Tensor] = []
        self._tail = [1] * batch_axes
        self.dtype, self.device = dtype, device
        groups: dict[frozenset[str], list[int]] = {}
        for place, gate in enumerate(circuit.gates):
            if gate.angles:
                names = frozenset().union(*(angle.slots for angle in gate.angles))
                groups.setdefault(names, []).append(place)
        self._where: dict[int, tuple[int, int, int]] = {}
        for names, places in groups.items():
            gates = [circuit.gates[place] for place in places]
            angles = self._angles(sorted(names), gates, slots)
            first = 0
            for place, gate in zip(places, gates, strict=True):
                self._where[place] = (len(self._rotations), first, first + len(gate.angles))
                first += len(gate.angles)
            self._rotations.append(self._rotation_matrices(gates, angles))

    def of(self, place: int, gate: Gate) -> Tensor:
        """The matrices of the gate at ``place``."""
        if place in self._where:
            group, first, last = self._where[place]
            return self._rotations[group][first:last]
        if gate.name not in self._fixed:
            matrix = torch.tensor(_FIXED[gate.name], dtype=self.dtype, device=self.device)
            self._fixed[gate.name] = matrix.reshape(1, 2, 2, *self._tail)
        return self._fixed[gate.name]

    def _angles(self, names: list[str], gates: list[Gate], slots: Mapping[str, Tensor]) -> Tensor:
        """All angles of the gates, of shape (angles, *batch)."""
        angles = [angle for gate in gates for angle in gate.angles]
        real = torch.float32 if self.dtype == torch.complex64 else torch.float64
        constants = torch.tensor([a.constant for a in angles], dtype=real, device=self.device)
        total = constants.reshape(-1, *self._tail)
        for name in names:
            slot = slots[name].movedim(-1, 0)
            rows = [[(i, c) for term, i, c in angle.terms if term == name] for angle in angles]
            if all(len(row) == 1 for row in rows):
                picked = slot[torch.tensor([row[0][0] for row in rows], device=self.device)]
                factors = torch.tensor([row[0][1] for row in rows], dtype=real, device=self.device)
                total = total + picked * factors.reshape(-1, *self._tail)
            else:
                mixing = torch.zeros(len(rows), slot.shape[0], dtype=real, device=self.device)
                for number, row in enumerate(rows):
                    for index, coefficient in row:
                        mixing[number, index] = coefficient
                total = total + torch.tensordot(mixing, slot, dims=1)
        return total

    def _rotation_matrices(self, gates: list[Gate], angles: Tensor) -> Tensor:
        kinds = [gate.name for gate in gates for _ in gate.angles]
        known = list(_ROTATION)
        kind = torch.tensor([known.index(name) for name in kinds], device=self.device)
        rates = torch.tensor([_ROTATION[name][0] for name in known], dtype=angles.dtype, device=self.device)
        turned = angles * rates[kind].reshape(-1, *self._tail)
        tables = [
            torch.tensor([_ROTATION[name][part] for name in known], dtype=self.dtype, device=self.device)[
                kind
            ]
            for part in (1, 2, 3)
        ]
        constant, even, odd = (table.reshape(*table.shape, *self._tail) for table in tables)
        return constant + even * turned.cos()[:, None, None] + odd * turned.sin()[:, None, None]
