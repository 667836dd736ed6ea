"""Runs a circuit on state vectors in torch: batched, differentiable, single or double precision, any device.

Slots and the initial state may carry batch axes, which broadcast: one call runs every circuit of a sweep on
every input. What makes it fast is done once for a circuit, in `_plan`:

* runs of one-qubit gates on a qubit become one matrix, and neighbouring qubits' matrices that are the same
  for the whole batch become one matrix on up to four qubits, applied as a matrix product;
* runs of X, CNOT and Toffoli gates become one permutation of the basis;
* diagonal gates multiply in place of the general rule, and a controlled gate touches only the part of the
  state where its controls are 1.

The state is held with the basis index first and the batch axes last, so that every step is contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.errors import ArgumentError
from qdyn.memory import check_memory
from qdyn.quantum.circuit import Circuit, Gate

_WIDEST_MATRIX = 4  # qubits: beyond 16 x 16 a product of matrices costs more than applying them in turn
_DIAGONAL = ("z", "s", "sdg", "t", "tdg", "rz", "phase")
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


def run_statevector(
    circuit: Circuit,
    values: Mapping[str, Tensor | NDArray[np.floating]] | None = None,
    *,
    initial: Tensor | None = None,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> Complex[Tensor, "*batch dim"]:
    """The state that a circuit prepares: U(values) |initial>.

    Args:
        circuit: n qubits.
        values: for every slot a real array of shape (*batch, *slot shape); batch axes broadcast.
        initial: states of shape (*batch, 2**n); |0...0> when None.
        dtype: complex64 or complex128.
        device: where to compute; by default where the first tensor among ``initial`` and ``values`` is.

    Returns:
        States of shape (*batch, 2**n), differentiable in ``values`` and ``initial``.

    Raises:
        ArgumentError: a slot without a value, a wrong shape, or batch axes that do not broadcast.
        MemoryLimitError: the states would not fit in memory.

    Example:
        >>> circuit = Circuit(q=2)
        >>> theta = circuit.slot("theta", 1)
        >>> _ = circuit.ry(0, theta[0]).cx(0, 1)
        >>> states = run_statevector(circuit, {"theta": torch.tensor([[0.0], [torch.pi / 2]])})
        >>> states.abs().square()
        tensor([[1.0000, 0.0000, 0.0000, 0.0000],
                [0.5000, 0.0000, 0.0000, 0.5000]], dtype=torch.float64)
    """
    if dtype not in (torch.complex64, torch.complex128):
        raise ArgumentError(f"Argument `dtype` must be torch.complex64 or torch.complex128, but is {dtype}.")
    slots, batch, device = _checked(circuit, values or {}, initial, dtype, device)
    dimension = 2**circuit.n_qubits
    check_memory(
        4 * dtype.itemsize * dimension * math.prod(batch), f"A batch of {circuit.n_qubits}-qubit states"
    )
    if initial is None:
        state = torch.zeros(dimension, *[1] * len(batch), dtype=dtype, device=device)
        state[0] = 1
    else:
        aligned = initial.to(dtype=dtype, device=device).reshape(
            *[1] * (len(batch) - initial.ndim + 1), *initial.shape
        )
        state = aligned.movedim(-1, 0)
    matrices = _GateMatrices(circuit, slots, len(batch), dtype, device)
    for step in _plan(circuit):
        state = step.apply(state, matrices)
    return state.expand(dimension, *batch).movedim(0, -1)


def circuit_unitary(
    circuit: Circuit,
    values: Mapping[str, Tensor | NDArray[np.floating]] | None = None,
    *,
    dtype: torch.dtype = torch.complex128,
) -> Complex[Tensor, "*batch dim dim"]:
    """The matrix of a circuit, of shape (*batch, 2**n, 2**n).

    Example:
        >>> circuit_unitary(Circuit(q=1).h(0)).real
        tensor([[ 0.7071,  0.7071],
                [ 0.7071, -0.7071]], dtype=torch.float64)
    """
    slots = {name: torch.as_tensor(value) for name, value in (values or {}).items()}
    axis_added = {
        name: value.unsqueeze(value.ndim - len(circuit.slots.get(name, ()))) for name, value in slots.items()
    }
    basis = torch.eye(2**circuit.n_qubits, dtype=dtype)
    return run_statevector(circuit, axis_added, initial=basis, dtype=dtype).mT


def probability_of_zeros(
    states: Complex[Tensor, "*batch dim"], qubits: Sequence[int]
) -> Float[Tensor, "*batch"]:
    """The probability that all the given qubits are read as 0; the other qubits are ignored.

    Example:
        >>> bell = run_statevector(Circuit(q=2).h(0).cx(0, 1))
        >>> round(float(probability_of_zeros(bell, [1])), 12)
        0.5
    """
    shape = _split(states.shape[-1].bit_length() - 1, sorted(qubits))
    where: tuple[int | slice, ...] = tuple(0 if axis % 2 else slice(None) for axis in range(len(shape)))
    kept = states.reshape(*states.shape[:-1], *shape)[(..., *where)]
    return (kept.real.square() + kept.imag.square()).flatten(states.ndim - 1).sum(-1)


# -- arguments -------------------------------------------------------------------------------------


def _checked(
    circuit: Circuit,
    values: Mapping[str, Any],
    initial: Tensor | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> tuple[dict[str, Tensor], tuple[int, ...], torch.device]:
    """The slots as tensors (*batch, size) with equal numbers of axes, the batch shape and the device."""
    for name in values:
        check_choice("values", name, circuit.slots)
    tensors = {}
    for name, shape in circuit.slots.items():
        if name not in values:
            raise ArgumentError(f"Argument `values` must give every slot, but lacks {name!r}.")
        tensor = torch.as_tensor(values[name])
        if tensor.shape[max(tensor.ndim - len(shape), 0) :] != torch.Size(shape):
            raise ArgumentError(
                f"Argument `values` must have shape (..., {', '.join(map(str, shape))}) "
                f"for the slot {name!r}, but has {tuple(tensor.shape)}."
            )
        tensors[name] = tensor.flatten(tensor.ndim - len(shape)) if shape else tensor[..., None]
    batches = [tuple(tensor.shape[:-1]) for tensor in tensors.values()]
    if initial is not None:
        if initial.ndim == 0 or initial.shape[-1] != 2**circuit.n_qubits:
            raise ArgumentError(
                f"Argument `initial` must have shape (..., {2**circuit.n_qubits}), "
                f"but has {tuple(initial.shape)}."
            )
        batches.append(tuple(initial.shape[:-1]))
    try:
        batch = tuple(np.broadcast_shapes(*batches))
    except ValueError:
        raise ArgumentError(
            f"Argument `values` must have batch axes that broadcast, but they are {batches}."
        ) from None
    if device is None:
        given = [initial] if initial is not None else list(tensors.values())
        device = given[0].device if given else "cpu"
    real = torch.float32 if dtype == torch.complex64 else torch.float64
    aligned = {
        name: tensor.to(dtype=real, device=device).reshape(
            *[1] * (len(batch) + 1 - tensor.ndim), *tensor.shape
        )
        for name, tensor in tensors.items()
    }
    return aligned, batch, torch.device(device)


# -- gate matrices ---------------------------------------------------------------------------------


class _GateMatrices:
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


# -- the plan: what is done to the state, in order -------------------------------------------------


def _plan(circuit: Circuit) -> list[_OneQubitGates | _Permutation | _General]:
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

    def apply(self, state: Tensor, matrices: _GateMatrices) -> Tensor:
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

    def apply(self, state: Tensor, matrices: _GateMatrices) -> Tensor:
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

    def apply(self, state: Tensor, matrices: _GateMatrices) -> Tensor:
        gate = self.gate
        involved = sorted(gate.qubits)
        shape = _split(self.n_qubits, involved)
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
        if gate.name in _DIAGONAL:
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


def _split(n_qubits: int, qubits: Sequence[int]) -> list[int]:
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
    view = state.reshape(*_split(n_qubits, [qubit]), *state.shape[1:])
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
