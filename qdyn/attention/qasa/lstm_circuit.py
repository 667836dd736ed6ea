r"""The circuit of QLSTM's gates, 8 qubits.

H and RY(v_i) on every qubit, then for each of the rows l = 0 … 3 the CNOTs 0→1, 2→3, 4→5, 6→7 and 1→2, 3→4,
5→6, and RY(w_{l,i}); <Z_0> … <Z_7> are read. All of it is real. A layer is a real 16 x 16 matrix on either
half of the qubits, and the CNOT 3→4 between them.

Source: arXiv:2504.05336 and the program of its authors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qdyn.attention.qasa.adapter import z_eigenvalues
from qdyn.attention.qasa.compiled import CompiledCircuit, compiled_values, is_compiled_for
from qdyn.attention.qasa.preparation import check_output, check_shapes, one_pauli, product_state, rotations_y
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program
from qdyn.quantum.products import kronecker_product

N_LSTM = 8
"""Qubits of a circuit of QLSTM: its inputs and outputs."""

LSTM_WEIGHTS = (4, N_LSTM)
"""Shape of the weights of a circuit of QLSTM."""

_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6))


def qlstm_expectations(
    inputs: Float[Tensor, "*batch 8"], weights: Float[Tensor, "*gates 4 8"]
) -> Float[Tensor, "*gates *batch 8"]:
    """<Z_0> … <Z_7> of the circuit of a gate of QLSTM, differentiable and under `torch.vmap`.

    Many circuits on a CPU are computed by compiled kernels, which keep nothing for the gradient.

    Args:
        inputs: v in radians; the same for all gates.
        weights: w in radians, of one gate or of several.

    Returns:
        Numbers from -1 to 1.

    Raises:
        ArgumentError: wrong shapes.

    Source: arXiv:2504.05336, restated at the top of this file.

    Example:
        H and RY(-pi/2) leave |0>, whose CNOTs do nothing.

        >>> qlstm_expectations(torch.full((8,), -torch.pi / 2), torch.zeros(4, 8)).round(decimals=4)
        tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    check_shapes(inputs, weights, N_LSTM, LSTM_WEIGHTS)
    gates, batch = weights.shape[:-2], inputs.shape[:-1]
    readings = qlstm_readings(weights.reshape(-1, *LSTM_WEIGHTS))
    return readings(inputs.reshape(-1, N_LSTM)).reshape(*gates, *batch, N_LSTM)


def qlstm_readings(
    weights: Float[Tensor, "*models gates 4 8"],
) -> Callable[[Float[Tensor, "*models batch 8"]], Float[Tensor, "*models gates batch 8"]]:
    """`qlstm_expectations` as a function of the inputs, for several gates and models.

    What all inputs have in common is computed once.
    """
    circuits = weights.shape[:-2].numel()
    common: list[tuple[Tensor, Tensor]] = []

    def readings(inputs: Tensor) -> Tensor:
        batch = inputs.shape[-2]
        if is_compiled_for(inputs, circuits=circuits * batch) and weights.dtype == inputs.dtype:
            models = weights.shape[:-3]
            found = compiled_values(
                inputs.reshape(-1, batch, N_LSTM), weights.reshape(-1, *weights.shape[-3:]), _COMPILED
            )
            return found.reshape(*models, *found.shape[1:])
        if not common:
            common.append(_matrices(weights))
        return _read(inputs, *common[0])

    return readings


def _closed_form(inputs: Float[Tensor, "batch 8"], weights: Float[Tensor, "gates 4 8"]) -> Tensor:
    return _read(inputs, *_matrices(weights))


def _values(
    inputs: Float[Tensor, "models batch 8"], weights: Float[Tensor, "models gates 4 8"]
) -> Float[Tensor, "models gates batch 8"]:
    """`_closed_form` of several models by a compiled kernel."""
    from qdyn.attention.qasa.lstm_kernels import expectations

    (models, batch), gates = inputs.shape[:2], weights.shape[1]
    found = torch.empty(models, gates, batch, N_LSTM, dtype=inputs.dtype)
    rows, turns, work = _for_kernels(inputs, weights)
    expectations(rows, turns, gates, batch, found.reshape(-1, N_LSTM).numpy(), work)
    return found


def _gradients(inputs: Tensor, weights: Tensor, arriving: Tensor) -> tuple[Tensor, Tensor]:
    from qdyn.attention.qasa.lstm_kernels import gradients

    by_input, by_weight = (torch.zeros(one.shape, dtype=torch.float64) for one in (inputs, weights))
    rows, turns, work = _for_kernels(inputs, weights)
    gradients(
        rows,
        turns,
        weights.shape[1],
        inputs.shape[1],
        arriving.contiguous().reshape(-1, N_LSTM).numpy(),
        by_input.reshape(-1, N_LSTM).numpy(),
        by_weight.reshape(len(turns), -1).numpy(),
        work,
    )
    return by_input.to(inputs.dtype), by_weight.to(weights.dtype)


def _for_kernels(inputs: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines and sines of half of every angle, those of the inputs with H in them, and room to work."""
    from qdyn.attention.qasa.lstm_kernels import WORKSPACE

    rows, turns = (
        torch.stack([half.cos(), half.sin()], dim=-1).numpy()
        for half in ((inputs.reshape(-1, N_LSTM) + torch.pi / 2) / 2, weights.flatten(0, 1).flatten(1) / 2)
    )
    work = np.empty(WORKSPACE * 64 // rows.itemsize, dtype=rows.dtype)
    return rows.reshape(len(rows), -1), turns.reshape(len(turns), -1), work


_COMPILED = CompiledCircuit(_values, _gradients, _closed_form)


def _matrices(
    weights: Float[Tensor, "*gates 4 8"],
) -> tuple[Float[Tensor, "*gates 4 16 16"], Float[Tensor, "*gates 4 16 16"]]:
    """The matrices of each layer on qubits 0 to 3 and on 4 to 7: what all inputs have in common.

    Those of the rotations, and after all but the last those CNOTs of the next layer that stay in a half. Of
    the seven only 3→4 does not, and it commutes with the two that come after it.
    """
    single = rotations_y(weights)
    halves = []
    for qubits in (range(4), range(4, 8)):
        rotations = kronecker_product([single[..., i, :, :] for i in qubits])
        inner = rotations[..., :-1, :, :][..., _half_order(weights.device), :]
        halves.append(torch.cat([inner, rotations[..., -1:, :, :]], dim=-3))
    return halves[0], halves[1]


def _read(
    inputs: Float[Tensor, "*models batch 8"],
    first: Float[Tensor, "*models gates 4 16 16"],
    rest: Float[Tensor, "*models gates 4 16 16"],
) -> Float[Tensor, "*models gates batch 8"]:
    """The readings from the matrices of `_matrices`."""
    # H|0> is RY(pi/2)|0>.
    angles = inputs + torch.pi / 2
    order = _half_order(inputs.device)
    high, low = (product_state(half)[..., order, :] for half in torch.split(angles, 4, dim=-1))
    # Amplitudes by half, input and half: either side is then multiplied at once for all inputs.
    state = (high[..., None] * low.mT.unsqueeze(-3)).unsqueeze(-4)
    shape = (*first.shape[:-3], *state.shape[-3:])
    for layer in range(LSTM_WEIGHTS[0]):
        state = _cnot_between(state).flatten(-2)
        state = torch.unflatten(first[..., layer, :, :] @ state, -1, (-1, 16))
        state = (state.flatten(-3, -2) @ rest[..., layer, :, :].mT).reshape(shape)
    probabilities = state.square()
    signs = _half_signs(inputs.device, state.dtype)
    return torch.cat([probabilities.sum(-1).mT @ signs, probabilities.sum(-3) @ signs], dim=-1)


def _cnot_between(state: Tensor) -> Tensor:
    """CNOT from qubit 3 to 4 on amplitudes (..., 16, inputs, 16)."""
    split = state.reshape(*state.shape[:-3], 8, 2, state.shape[-2], 2, 8)
    off, on = split.unbind(-4)
    return torch.stack([off, on.flip(-2)], dim=-4).reshape(state.shape)


def qlstm_circuit(
    inputs: Float[Tensor, "*batch 8"], weights: Float[Tensor, "4 8"], *, output: int = 0
) -> Program:
    """The circuit of a gate of QLSTM for `qdyn.run_circuit`, gate by gate; ``output`` says which <Z> is read.

    Example:
        >>> len(qlstm_circuit(torch.zeros(8), torch.zeros(4, 8)).circuit)
        76
    """
    check_shapes(inputs, weights, N_LSTM, LSTM_WEIGHTS)
    check_output(output, N_LSTM)
    circuit = Circuit(data=N_LSTM)
    v, w = circuit.slot("inputs", N_LSTM), circuit.slot("weights", *LSTM_WEIGHTS)
    for i in circuit["data"]:
        circuit.h(i).ry(i, v[i])
    for row in w:
        for control, target in _PAIRS:
            circuit.cx(control, target)
        for i in circuit["data"]:
            circuit.ry(i, row[i])
    return Program(circuit, {"inputs": inputs, "weights": weights}, one_pauli("Z", output, N_LSTM))


@lru_cache(maxsize=8)
def _half_order(device: torch.device) -> Tensor:
    """Where the amplitudes of four qubits stood before the CNOTs 0→1, 2→3 and 1→2."""
    index = np.arange(16)
    # The last CNOT is undone first.
    for control, target in ((1, 2), (2, 3), (0, 1)):
        index = index ^ ((index >> (3 - control) & 1) << (3 - target))
    return torch.from_numpy(index).to(device)


@lru_cache(maxsize=8)
def _half_signs(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(16, 4): the eigenvalue of Z_i in each basis state of four qubits."""
    return z_eigenvalues(device, dtype)[:: 2**4, :4]
