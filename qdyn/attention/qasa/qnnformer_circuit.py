r"""The circuit of QnnFormer's projections, 4 qubits.

RY(v_i), then for l = 0, 1, 2: RX, RY and RZ of one angle w_{l,i} on every qubit; controlled RX(e_{l,i}) from
i to i + 1 mod 4; the reflection 1 - 2|s><s| with the uniform superposition |s>;
exp(-i g_l/2 sum_i Z_i Z_{i+1}) along the chain; RX(b_l) on every qubit. <Z_i>, <X_i>, <Y_i> are read, in this
order. Everything after RY(v) is one 16 x 16 matrix, whatever the inputs.

Source: arXiv:2504.05336 and the program of its authors.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qdyn.attention.qasa.preparation import check_output, check_shapes, one_pauli, product_state, rotations_y
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program
from qdyn.quantum.products import kronecker_product

N_QNN = 4
"""Qubits of a circuit of QnnFormer: its inputs; it has three outputs a qubit."""

QNN_WEIGHTS = 30
"""Weights of a circuit of QnnFormer: w (3, 4), e (3, 4), g (3) and b (3), one after the other."""

_QNN_LAYERS = 3


def qnnformer_expectations(
    inputs: Float[Tensor, "*batch 4"], weights: Float[Tensor, "*projections 30"]
) -> Float[Tensor, "*projections *batch 12"]:
    """<Z_i>, <X_i>, <Y_i> of the circuit of a projection of QnnFormer, differentiable, under `torch.vmap`.

    Args:
        inputs: v in radians; the same for all projections.
        weights: w, e, g and b in radians, see `QNN_WEIGHTS`, of one projection or of several.

    Returns:
        Numbers from -1 to 1.

    Raises:
        ArgumentError: wrong shapes.

    Source: arXiv:2504.05336, restated at the top of this file.

    Example:
        Without angles three reflections are left, and three are one: |0000> becomes |0000> - |s>/2.

        >>> found = qnnformer_expectations(torch.zeros(4), torch.zeros(30))
        >>> found.round(decimals=4).tolist() == 4 * [0.75] + 8 * [0.0]
        True
    """
    check_shapes(inputs, weights, N_QNN, (QNN_WEIGHTS,))
    projections, batch = weights.shape[:-1], inputs.shape[:-1]
    matrix = _qnn_matrix(weights)
    state = matrix @ product_state(inputs.reshape(-1, N_QNN)).to(matrix.dtype)
    read = _readings(inputs.device, matrix.dtype) @ state[..., None, :, :]
    found = (state.conj()[..., None, :, :] * read).sum(-2).real
    return found.mT.reshape(*projections, *batch, 3 * N_QNN)


def qnnformer_circuit(
    inputs: Float[Tensor, "*batch 4"], weights: Float[Tensor, " 30"], *, output: int = 0
) -> Program:
    """The circuit of a projection of QnnFormer for `qdyn.run_circuit`; ``output`` 0 to 11 says what is read.

    Example:
        >>> len(qnnformer_circuit(torch.zeros(4), torch.zeros(30)).circuit)
        142
    """
    check_shapes(inputs, weights, N_QNN, (QNN_WEIGHTS,))
    check_output(output, 3 * N_QNN)
    circuit = Circuit(data=N_QNN)
    v, flat = circuit.slot("inputs", N_QNN), circuit.slot("weights", QNN_WEIGHTS)
    w, e, g, b = flat[:12].reshape(3, 4), flat[12:24].reshape(3, 4), flat[24:27], flat[27:]
    data = circuit["data"]
    for i in data:
        circuit.ry(i, v[i])
    for layer in range(_QNN_LAYERS):
        for i in data:
            circuit.rx(i, w[layer, i]).ry(i, w[layer, i]).rz(i, w[layer, i])
        for i in data:
            circuit.rx((i + 1) % N_QNN, e[layer, i], controls=(i,))
        for i in data:
            circuit.h(i).x(i)
        circuit.z(data[-1], controls=data[:-1])
        for i in data:
            circuit.x(i).h(i)
        for i in data[:-1]:
            circuit.cx(i, i + 1).rz(i + 1, g[layer]).cx(i, i + 1)
        for i in data:
            circuit.rx(i, b[layer])
    letter, qubit = "ZXY"[output // N_QNN], output % N_QNN
    return Program(circuit, {"inputs": inputs, "weights": weights}, one_pauli(letter, qubit, N_QNN))


def _qnn_matrix(weights: Tensor) -> Tensor:
    """All gates after RY(v), (..., 16, 16)."""
    complex_dtype = weights.dtype.to_complex()
    w, e = (weights[..., part].reshape(*weights.shape[:-1], 3, 4) for part in (slice(12), slice(12, 24)))
    g, b = weights[..., 24:27], weights[..., 27:]
    # One RX for all angles of the circuit: rows w, e, and b on every qubit.
    turns = torch.stack([w, e, b[..., None].expand_as(w)], dim=-2)
    c, s = (turns / 2).cos().to(complex_dtype), -1j * (turns / 2).sin()
    about_x = torch.stack([torch.stack([c, s], -1), torch.stack([s, c], -1)], -2)
    before, after = torch.polar(torch.ones_like(w), -w / 2), torch.polar(torch.ones_like(w), w / 2)
    rest = torch.stack([before, after], dim=-1)[..., None] * rotations_y(w)
    single = rest @ about_x[..., 0, :, :, :]
    fixed = _qnn_constants(weights.device, complex_dtype)
    zz = fixed["zz"].real
    matrix: Tensor | None = None
    for layer in range(_QNN_LAYERS):
        turned = kronecker_product([single[..., layer, i, :, :] for i in range(N_QNN)])
        matrix = turned if matrix is None else turned @ matrix
        for i in range(N_QNN):
            # cos and -i sin of the angle, where the control is 1.
            cosine, sine = (
                about_x[..., layer, 1, i, 0, 0, None, None],
                about_x[..., layer, 1, i, 0, 1, None, None],
            )
            controlled = fixed["off"][i] + cosine * fixed["on"][i] + sine * fixed["flip"][i]
            matrix = controlled @ matrix
        matrix = matrix - matrix.mean(dim=-2, keepdim=True) * 2
        phases = torch.polar(torch.ones_like(zz * g[..., layer, None]), -zz * g[..., layer, None] / 2)
        mixed = kronecker_product([about_x[..., layer, 2, i, :, :] for i in range(N_QNN)])
        matrix = mixed @ (phases[..., None] * matrix)
    assert matrix is not None
    return matrix


def _kronecker(factors: list[np.ndarray]) -> np.ndarray:
    product = np.ones((1, 1))
    for factor in factors:
        product = np.kron(product, factor)
    return product


@lru_cache(maxsize=8)
def _qnn_constants(device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Projectors and flips of controlled rotations, (4, 16, 16), and the diagonal of sum_i Z_i Z_{i+1}."""
    unit, flip = np.eye(2), np.array([[0, 1], [1, 0]])
    zero, one = np.diag([1, 0]), np.diag([0, 1])
    found: dict[str, list[np.ndarray]] = {"off": [], "on": [], "flip": []}
    for i in range(N_QNN):
        for name, control, target in (("off", zero, unit), ("on", one, unit), ("flip", one, flip)):
            factors = [unit] * N_QNN
            factors[i], factors[(i + 1) % N_QNN] = control, target
            found[name].append(_kronecker(factors))
    signs = 1 - 2 * (np.arange(2**N_QNN)[:, None] >> np.arange(N_QNN)[::-1] & 1)
    arrays = {name: np.stack(matrices) for name, matrices in found.items()}
    arrays["zz"] = (signs[:, :-1] * signs[:, 1:]).sum(axis=1)
    return {name: torch.from_numpy(array).to(device, dtype) for name, array in arrays.items()}


@lru_cache(maxsize=8)
def _readings(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Z_0 … Z_3, X_0 … X_3, Y_0 … Y_3 as matrices, (12, 16, 16)."""
    letters = (np.diag([1, -1]), np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]))
    matrices = []
    for letter, i in itertools.product(letters, range(N_QNN)):
        factors = [np.eye(2)] * N_QNN
        factors[i] = letter
        matrices.append(_kronecker(factors))
    return torch.from_numpy(np.stack(matrices)).to(device, dtype)
