r"""The circuits of QASA's quantum rivals: those of the gates of QLSTM, and of the projections of QnnFormer.

**QLSTM**, 8 qubits. H and RY(v_i) on every qubit, then for each of the rows l = 0 … 3 the CNOTs 0→1, 2→3,
4→5, 6→7 and 1→2, 3→4, 5→6, and RY(w_{l,i}); <Z_0> … <Z_7> are read. All of it is real. A layer
is a real 16 x 16 matrix on either half of the qubits, and the CNOT 3→4 between them.

**QnnFormer**, 4 qubits. RY(v_i), then for l = 0, 1, 2: RX, RY and RZ of one angle w_{l,i} on every qubit;
controlled RX(e_{l,i}) from i to i + 1 mod 4; the reflection 1 - 2|s><s| with the uniform superposition |s>;
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

from qdyn.attention.qasa.adapter import z_eigenvalues
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.errors import ArgumentError
from qdyn.quantum.products import kronecker_product

N_LSTM = 8
"""Qubits of a circuit of QLSTM: its inputs and outputs."""

LSTM_WEIGHTS = (4, N_LSTM)
"""Shape of the weights of a circuit of QLSTM."""

N_QNN = 4
"""Qubits of a circuit of QnnFormer: its inputs; it has three outputs a qubit."""

QNN_WEIGHTS = 30
"""Weights of a circuit of QnnFormer: w (3, 4), e (3, 4), g (3) and b (3), one after the other."""

_LSTM_PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6))
_QNN_LAYERS = 3


def qlstm_expectations(
    inputs: Float[Tensor, "*batch 8"], weights: Float[Tensor, "*gates 4 8"]
) -> Float[Tensor, "*gates *batch 8"]:
    """<Z_0> … <Z_7> of the circuit of a gate of QLSTM, differentiable and under `torch.vmap`.

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
    _check_shapes(inputs, weights, N_LSTM, LSTM_WEIGHTS)
    gates, batch = weights.shape[:-2], inputs.shape[:-1]
    rotations = qlstm_rotations(weights.reshape(-1, *LSTM_WEIGHTS))
    return qlstm_readings(inputs.reshape(-1, N_LSTM), *rotations).reshape(*gates, *batch, N_LSTM)


def qlstm_rotations(
    weights: Float[Tensor, "*gates 4 8"],
) -> tuple[Float[Tensor, "*gates 4 16 16"], Float[Tensor, "*gates 4 16 16"]]:
    """The matrices of each layer on qubits 0 to 3 and on 4 to 7: what all inputs have in common.

    Those of the rotations, and after all but the last those CNOTs of the next layer that stay in a half. Of
    the seven only 3→4 does not, and it commutes with the two that come after it.
    """
    single = _rotations_y(weights)
    halves = []
    for qubits in (range(4), range(4, 8)):
        rotations = kronecker_product([single[..., i, :, :] for i in qubits])
        inner = rotations[..., :-1, :, :][..., _half_order(weights.device), :]
        halves.append(torch.cat([inner, rotations[..., -1:, :, :]], dim=-3))
    return halves[0], halves[1]


def qlstm_readings(
    inputs: Float[Tensor, "*models batch 8"],
    first: Float[Tensor, "*models gates 4 16 16"],
    rest: Float[Tensor, "*models gates 4 16 16"],
) -> Float[Tensor, "*models gates batch 8"]:
    """`qlstm_expectations` from the matrices of `qlstm_rotations`, for several gates and models."""
    # H|0> is RY(pi/2)|0>.
    angles = inputs + torch.pi / 2
    order = _half_order(inputs.device)
    high, low = (_product_state(half)[..., order, :] for half in torch.split(angles, 4, dim=-1))
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
    _check_shapes(inputs, weights, N_QNN, (QNN_WEIGHTS,))
    projections, batch = weights.shape[:-1], inputs.shape[:-1]
    matrix = _qnn_matrix(weights)
    state = matrix @ _product_state(inputs.reshape(-1, N_QNN)).to(matrix.dtype)
    read = _readings(inputs.device, matrix.dtype) @ state[..., None, :, :]
    found = (state.conj()[..., None, :, :] * read).sum(-2).real
    return found.mT.reshape(*projections, *batch, 3 * N_QNN)


def qlstm_circuit(
    inputs: Float[Tensor, "*batch 8"], weights: Float[Tensor, "4 8"], *, output: int = 0
) -> Program:
    """The circuit of a gate of QLSTM for `qdyn.run_circuit`, gate by gate; ``output`` says which <Z> is read.

    Example:
        >>> len(qlstm_circuit(torch.zeros(8), torch.zeros(4, 8)).circuit)
        76
    """
    _check_shapes(inputs, weights, N_LSTM, LSTM_WEIGHTS)
    _check_output(output, N_LSTM)
    circuit = Circuit(data=N_LSTM)
    v, w = circuit.slot("inputs", N_LSTM), circuit.slot("weights", *LSTM_WEIGHTS)
    for i in circuit["data"]:
        circuit.h(i).ry(i, v[i])
    for row in w:
        for control, target in _LSTM_PAIRS:
            circuit.cx(control, target)
        for i in circuit["data"]:
            circuit.ry(i, row[i])
    return Program(circuit, {"inputs": inputs, "weights": weights}, _one_pauli("Z", output, N_LSTM))


def qnnformer_circuit(
    inputs: Float[Tensor, "*batch 4"], weights: Float[Tensor, " 30"], *, output: int = 0
) -> Program:
    """The circuit of a projection of QnnFormer for `qdyn.run_circuit`; ``output`` 0 to 11 says what is read.

    Example:
        >>> len(qnnformer_circuit(torch.zeros(4), torch.zeros(30)).circuit)
        142
    """
    _check_shapes(inputs, weights, N_QNN, (QNN_WEIGHTS,))
    _check_output(output, 3 * N_QNN)
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
    return Program(circuit, {"inputs": inputs, "weights": weights}, _one_pauli(letter, qubit, N_QNN))


def _check_shapes(inputs: Tensor, weights: Tensor, qubits: int, shape: tuple[int, ...]) -> None:
    if inputs.ndim < 1 or inputs.shape[-1] != qubits:
        raise ArgumentError(
            f"Argument `inputs` must have shape (..., {qubits}), but has shape {tuple(inputs.shape)}."
        )
    if tuple(weights.shape[-len(shape) :]) != shape:
        raise ArgumentError(
            f"Argument `weights` must end with the shape {shape}, but has shape {tuple(weights.shape)}."
        )


def _check_output(output: int, outputs: int) -> None:
    if not 0 <= output < outputs:
        raise ArgumentError(f"Argument `output` must be an integer in [0, {outputs - 1}], but is {output!r}.")


def _one_pauli(letter: str, qubit: int, qubits: int) -> PauliObservable:
    return PauliObservable(((1.0, "I" * qubit + letter + "I" * (qubits - qubit - 1)),))


def _product_state(angles: Tensor) -> Tensor:
    """RY(angle_0)|0> (x) RY(angle_1)|0> ... of each row of ``angles`` (..., batch, n) as columns."""
    half = angles.mT / 2
    each = torch.stack([half.cos(), half.sin()], dim=-2).unbind(-3)
    state = each[0]
    for one in each[1:]:
        state = (state.unsqueeze(-2) * one.unsqueeze(-3)).flatten(-3, -2)
    return state


def _rotations_y(angles: Tensor) -> Tensor:
    """RY of every angle, (..., 2, 2)."""
    c, s = (angles / 2).cos(), (angles / 2).sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


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
    rest = torch.stack([before, after], dim=-1)[..., None] * _rotations_y(w)
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
