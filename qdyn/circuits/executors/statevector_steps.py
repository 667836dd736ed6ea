"""What is done to a state vector, in order: the gates of a circuit gathered into a few large steps.

* Runs of one-qubit gates on a qubit become one matrix, and neighbouring qubits' matrices that are the same
  for the whole batch become one matrix on up to four qubits, applied as a matrix product.
* Runs of X, CNOT and Toffoli gates become one permutation of the basis.
* Diagonal gates multiply in place of the general rule, and a controlled gate touches only the part of the
  state where its controls are 1.

A state has the basis index first and the batch axes last, so that every step is contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdyn.circuits.circuit import Circuit, Gate
from qdyn.circuits.executors.gate_matrices import DIAGONAL, GateMatrices

_WIDEST_MATRIX = 4  # qubits: beyond 16 x 16 a product of matrices costs more than applying them in turn


def steps_of(circuit: Circuit) -> list[_OneQubitGates | _Permutation | _General]:
    """Group the gates of a circuit into steps; gates are only moved past gates on other qubits."""
    steps: list[_OneQubitGates | _Permutation | _General] = []
    waiting: dict[int, list[tuple[int, Gate]]] = {}

    def flush() -> None:
        if waiting:
            steps.append(_OneQubitGates(circuit.n_qubits, dict(waiting)))
            waiting.clear()

    for place, gate in enumerate(circuit.gates):
        alone = len(gate.qubits) == 1
        if alone and (gate.name != "x" or gate.target in waiting):
            waiting.setdefault(gate.target, []).append((place, gate))
            continue
        if any(qubit in waiting for qubit in gate.qubits):
            flush()
        if gate.name == "x":
            last = steps[-1] if steps else None
            permutation = last if isinstance(last, _Permutation) else _Permutation(circuit.n_qubits)
            if permutation is not last:
                steps.append(permutation)
            permutation.add(gate)
        else:
            steps.append(_General(circuit.n_qubits, place, gate))
    flush()
    return steps


class _OneQubitGates:
    """Runs of one-qubit gates on several qubits."""

    def __init__(self, n_qubits: int, runs: dict[int, list[tuple[int, Gate]]]) -> None:
        self.n_qubits = n_qubits
        self.runs = dict(sorted(runs.items()))

    def apply(self, state: Tensor, matrices: GateMatrices) -> Tensor:
        shared: list[tuple[int, Tensor]] = []
        for qubit, run in self.runs.items():
            matrix = _product([matrices.of(place, gate)[0] for place, gate in run])
            if matrix.numel() == 4:
                shared.append((qubit, matrix.reshape(2, 2)))
            else:
                state = _apply_elementwise(state, self.n_qubits, qubit, matrix)
        block: list[tuple[int, Tensor]] = []
        for qubit, matrix in shared:
            if block and (qubit != block[-1][0] + 1 or len(block) == _WIDEST_MATRIX):
                state = _apply_block(state, self.n_qubits, block)
                block = []
            block.append((qubit, matrix))
        return _apply_block(state, self.n_qubits, block) if block else state


class _Permutation:
    """A run of X gates with any controls: new[b] = old[source[b]]."""

    def __init__(self, n_qubits: int) -> None:
        self.n_qubits = n_qubits
        self.source = np.arange(2**n_qubits)

    def add(self, gate: Gate) -> None:
        bits = self.n_qubits - 1
        switches = sum(1 << (bits - control) for control in gate.controls)
        basis = np.arange(2**self.n_qubits)
        flipped = np.where(basis & switches == switches, basis ^ (1 << (bits - gate.target)), basis)
        self.source = self.source[flipped]

    def apply(self, state: Tensor, matrices: GateMatrices) -> Tensor:
        source = torch.from_numpy(self.source).to(state.device)
        if not (torch.is_grad_enabled() and state.requires_grad):
            return state.index_select(0, source)
        return _permuted(state, source, torch.from_numpy(np.argsort(self.source)).to(state.device))


class _Permute(torch.autograd.Function):
    """Gathers forward and backward; the gradient torch derives would scatter, which is much slower."""

    generate_vmap_rule = True

    @staticmethod
    def forward(state: Tensor, source: Tensor, inverse: Tensor) -> Tensor:
        return state.index_select(0, source)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        source, inverse = ctx.saved_tensors
        return _permuted(grads[0], inverse, source), None, None


def _permuted(state: Tensor, source: Tensor, inverse: Tensor) -> Tensor:
    return _Permute.apply(state, source, inverse)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _General:
    """A controlled or multiplexed gate."""

    n_qubits: int
    place: int
    gate: Gate

    def apply(self, state: Tensor, matrices: GateMatrices) -> Tensor:
        gate = self.gate
        involved = sorted(gate.qubits)
        shape = axes_of(self.n_qubits, involved)
        axis_of = {qubit: 2 * number + 1 for number, qubit in enumerate(involved)}
        halves: list[list[int | slice]] = [[slice(None)] * len(shape) for _ in (0, 1)]
        for bit, half in enumerate(halves):
            for control in gate.controls:
                half[axis_of[control]] = 1
            half[axis_of[gate.target]] = bit
        upper_where, lower_where = (tuple(half) for half in halves)

        # One 2 x 2 matrix for each number on the select qubits, laid out to broadcast against half a state.
        matrix = matrices.of(self.place, gate)
        rest = matrix.shape[3:]
        order = sorted(range(len(gate.select)), key=lambda number: gate.select[number])
        selecting = {axis_of[qubit] for qubit in gate.select}
        layout = [2 if axis in selecting else 1 for axis, at in enumerate(upper_where) if at == slice(None)]
        matrix = matrix.reshape(*[2] * len(order), 2, 2, *rest).movedim(order, list(range(len(order))))
        matrix = matrix.movedim((len(order), len(order) + 1), (0, 1)).reshape(2, 2, *layout, *rest)

        view = state.reshape(*shape, *state.shape[1:])
        upper, lower = view[upper_where], view[lower_where]
        if gate.name in DIAGONAL:
            new_upper, new_lower = matrix[0, 0] * upper, matrix[1, 1] * lower
        else:
            new_upper = matrix[0, 0] * upper + matrix[0, 1] * lower
            new_lower = matrix[1, 0] * upper + matrix[1, 1] * lower
        if not gate.controls:
            stacked = torch.stack((new_upper, new_lower), dim=axis_of[gate.target])
            return stacked.reshape(2**self.n_qubits, *stacked.shape[len(shape) :])
        batch = np.broadcast_shapes(tuple(state.shape[1:]), tuple(rest))
        result = view.expand(*shape, *batch).clone()
        result[upper_where] = new_upper
        result[lower_where] = new_lower
        return result.reshape(2**self.n_qubits, *batch)


# -- applying matrices -----------------------------------------------------------------------------


def axes_of(n_qubits: int, qubits: Sequence[int]) -> list[int]:
    """The shape that gives each of the (sorted) qubits its own axis: qubit number k is axis 2 k + 1."""
    shape, first = [], 0
    for qubit in qubits:
        shape += [2 ** (qubit - first), 2]
        first = qubit + 1
    return [*shape, 2 ** (n_qubits - first)]


def _product(matrices: list[Tensor]) -> Tensor:
    """The product of 2 x 2 matrices of shape (2, 2, *batch), the first to act first."""
    result = matrices[0]
    for matrix in matrices[1:]:
        if matrix.numel() == result.numel() == 4:
            result = (matrix.reshape(2, 2) @ result.reshape(2, 2)).reshape(matrix.shape)
        else:
            result = (matrix[:, :, None] * result[None]).sum(1)
    return result


def _apply_elementwise(state: Tensor, n_qubits: int, qubit: int, matrix: Tensor) -> Tensor:
    """Apply a 2 x 2 matrix with batch axes to one qubit."""
    view = state.reshape(*axes_of(n_qubits, [qubit]), *state.shape[1:])
    upper, lower = view[:, 0], view[:, 1]
    halves = [matrix[row, 0] * upper + matrix[row, 1] * lower for row in (0, 1)]
    stacked = torch.stack(halves, dim=1)
    return stacked.reshape(2**n_qubits, *stacked.shape[3:])


def _apply_block(state: Tensor, n_qubits: int, block: list[tuple[int, Tensor]]) -> Tensor:
    """Apply the tensor product of shared 2 x 2 matrices on neighbouring qubits as one matrix product."""
    matrix = block[0][1]
    for _, factor in block[1:]:
        matrix = torch.kron(matrix, factor)
    first, width = block[0][0], matrix.shape[0]
    if first + len(block) == n_qubits and state.numel() == state.shape[0]:
        return (state.reshape(-1, width) @ matrix.mT).reshape(state.shape)
    return torch.matmul(matrix, state.reshape(2**first, width, -1)).reshape(state.shape)
