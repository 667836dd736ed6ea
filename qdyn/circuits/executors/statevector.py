"""Runs a circuit on state vectors in torch: batched, differentiable, single or double precision, any device.

Slots and the initial state may carry batch axes, which broadcast: one call runs every circuit of a sweep on
every input. What makes it fast is `executors.statevector_steps`, where gates become a few large steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.gate_matrices import GateMatrices
from qdyn.circuits.executors.statevector_steps import axes_of, steps_of
from qdyn.errors import ArgumentError
from qdyn.memory import check_memory


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
    slots, batch, device = checked_slots(circuit, values or {}, initial=initial, dtype=dtype, device=device)
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
    matrices = GateMatrices(circuit, slots, len(batch), dtype, device)
    for step in steps_of(circuit):
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
    shape = axes_of(states.shape[-1].bit_length() - 1, sorted(qubits))
    where: tuple[int | slice, ...] = tuple(0 if axis % 2 else slice(None) for axis in range(len(shape)))
    kept = states.reshape(*states.shape[:-1], *shape)[(..., *where)]
    return (kept.real.square() + kept.imag.square()).flatten(states.ndim - 1).sum(-1)


def checked_slots(
    circuit: Circuit,
    values: Mapping[str, Any],
    *,
    initial: Tensor | None = None,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
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
