"""Runs a circuit with noise on density matrices in torch: batched, exact, up to about ten qubits.

The density matrix of n qubits is kept as n axes of length 4, one for the row and column bit of each qubit, on
which a gate and the noise after it act as one matrix: 4 x 4 for a gate on one qubit, 16 x 16 for a CNOT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.gate_matrices import GateMatrices
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.statevector import checked_slots
from qdyn.circuits.lowering import lower
from qdyn.memory import check_memory


def run_density_matrix(
    circuit: Circuit,
    values: Mapping[str, Tensor | NDArray[Any]] | None = None,
    *,
    noise: GateNoise | None = None,
) -> Complex[Tensor, "*batch dim dim"]:
    """The density matrix that a noisy circuit prepares from |0...0>, in double precision.

    Args:
        circuit: n qubits; it is lowered to CNOTs and one-qubit gates, which the noise follows.
        values: For every slot a real array (*batch, *slot shape); batch axes broadcast.
        noise: None for none.

    Returns:
        (*batch, 2**n, 2**n), differentiable in ``values``.

    Raises:
        ArgumentError: a slot without a value, or of a wrong shape.
        MemoryLimitError: 16 bytes times 4**n for each circuit would not fit in memory.

    Example: a Bell pair loses its coherence to depolarisation.
        >>> bell = Circuit(q=2).h(0).cx(0, 1)
        >>> noisy = run_density_matrix(bell, noise=GateNoise(depolarising_cnot=0.15))
        >>> round(float(noisy[0, 3].real), 12)
        0.42
    """
    lowered = lower(circuit)
    slots, batch, device = checked_slots(lowered, values or {})
    n_qubits, members = circuit.n_qubits, math.prod(batch)
    check_memory(4 * 16 * 4**n_qubits * members, f"A batch of {n_qubits}-qubit density matrices")
    flat = {name: slot.expand(*batch, slot.shape[-1]).reshape(members, -1) for name, slot in slots.items()}
    matrices = GateMatrices(lowered, flat, 1, torch.complex128, device)
    after = _superoperators(noise or GateNoise(), device)
    state = torch.zeros(members, 4**n_qubits, dtype=torch.complex128, device=device)
    state[:, 0] = 1
    for place, gate in enumerate(lowered):
        if gate.controls:
            state = _on_two(state, after[2] @ _CNOT.to(device), gate.controls[0], gate.target)
        else:
            unitary = matrices.of(place, gate)[0].movedim(-1, 0)
            both = torch.einsum("bij,bkl->bikjl", unitary, unitary.conj()).reshape(-1, 4, 4)
            state = _on_one(state, after[1] @ both, gate.target)
    rows = range(1, 2 * n_qubits, 2)
    ordered = state.reshape(members, *[2] * (2 * n_qubits)).permute(0, *rows, *(axis + 1 for axis in rows))
    return ordered.reshape(*batch, 2**n_qubits, 2**n_qubits)


def fidelity_with(
    matrices: Complex[Tensor, "*batch dim dim"], states: Complex[Tensor, "*batch dim"]
) -> Float[Tensor, "*batch"]:
    """<psi|rho|psi> of density matrices (..., d, d) with pure states (..., d).

    >>> state = torch.tensor([1.0, 0.0], dtype=torch.complex128)
    >>> fidelity_with(torch.eye(2, dtype=torch.complex128) / 2, state)
    tensor(0.5000, dtype=torch.float64)
    """
    return torch.linalg.vecdot(states, (matrices @ states[..., None])[..., 0]).real


def _superoperators(noise: GateNoise, device: torch.device) -> dict[int, Tensor]:
    """Number of qubits -> the noise after a gate on as many, on axes of row and column bits."""
    found = {}
    for n_qubits in (1, 2):
        total = torch.zeros(4**n_qubits, 4**n_qubits, dtype=torch.complex128)
        for array in noise.kraus_operators(n_qubits):
            total += _doubled(torch.from_numpy(array))
        found[n_qubits] = total.to(device)
    return found


def _doubled(operator: Tensor) -> Tensor:
    """K rho K^H as a matrix on rho, whose axes are row and column bit of each qubit in turn."""
    bits = operator.shape[0].bit_length() - 1
    both = torch.kron(operator, operator.conj()).reshape([2] * (4 * bits))
    paired = [axis + half for axis in range(bits) for half in (0, bits)]
    return both.permute(*paired, *(2 * bits + axis for axis in paired)).reshape(4**bits, 4**bits)


_CNOT = _doubled(torch.eye(4, dtype=torch.complex128)[[0, 1, 3, 2]])


def _on_one(state: Tensor, matrix: Tensor, qubit: int) -> Tensor:
    """Apply (members or 1, 4, 4) to the axis of one qubit."""
    view = state.reshape(len(state), 4**qubit, 4, -1)
    return (matrix[:, None] @ view).reshape(state.shape)


def _on_two(state: Tensor, matrix: Tensor, control: int, target: int) -> Tensor:
    """Apply (16, 16) to the axes of two qubits."""
    n_qubits = (state.shape[1].bit_length() - 1) // 2
    view = state.reshape(len(state), *[4] * n_qubits).movedim((1 + control, 1 + target), (0, 1))
    moved = (matrix @ view.reshape(16, -1)).reshape(view.shape)
    return moved.movedim((0, 1), (1 + control, 1 + target)).reshape(state.shape)
