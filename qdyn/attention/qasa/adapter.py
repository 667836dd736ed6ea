r"""The value circuit of Quantum Adaptive Self-Attention (QASA): eight angles in, eight numbers <Z> out.

Eight data qubits 0 … 7 and one more, 8, start from |0>. With inputs theta_i and weights w_{l,i}:

1. RX(theta_i), RZ(theta_i), RX(w_{0,i}), RZ(w_{1,i}) on each data qubit i;
2. for l = 1, 2, 3: for i = 0 … 7 in turn CNOT from i to i + 1 mod 8, then RY(w_{l,i}), RZ(w_{l,i}) on the
   control i; then CNOT from 7 to 8 and RY(w_{l,8}) on 8.

Source: arXiv:2504.05336 and the program of its authors. A layer is simpler than it looks. No CNOT touches a
control again, but for the one from 7 to 0, so that with R_{l,i} = RZ(w_{l,i}) RY(w_{l,i})

$$U_l = (R_{l,4} \otimes \dots \otimes R_{l,7})\; \mathrm{CNOT}_{7 \to 0}\;
        (R_{l,0} \otimes \dots \otimes R_{l,3})\; P, \qquad P|x_0 \dots x_7> = |p_0 \dots p_7>,$$

with the parities p_i = x_0 + … + x_i mod 2. Split between qubits 3 and 4, it is a 16 x 16 matrix on either
half and two conditional flips between them. Qubit 8 sees the data at the end of layers 1 and 2 only, where
anything can come of it: it is added after layer 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.attention.qasa.compiled import CompiledCircuit, compiled_values, is_compiled_for
from qdyn.checks import check_choice
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.errors import ArgumentError
from qdyn.quantum.products import kronecker_product

N_DATA = 8
"""Data qubits: inputs and outputs of the circuit."""

WEIGHT_SHAPE = (4, 9)
"""Rows l = 0 … 3; the last column belongs to the qubit that is not read."""

INERT_WEIGHTS = ((0, 8), (2, 8), (3, 8))
"""The weights that no output depends on: the first drives no gate, the others the qubit that is not read."""

EncodingName = Literal["rx_rz", "ry", "phase"]
ENCODINGS: tuple[EncodingName, ...] = ("rx_rz", "ry", "phase")
"""How an input turns its qubit: RZ RX, its angle used twice, as published; RY, once; or RZ H, a phase alone.

Outputs are trigonometric polynomials of degree 2 in an input in the first, and of degree 1 in the others.
"""

_LAYERS = (1, 2, 3)
_HALVES = ((0, 1, 2, 3), (7, 4, 5, 6))
"""Qubits of either half, the most significant first: what depends on qubit 7 is then a contiguous part."""
_EFFECTIVE = tuple(
    (row, column)
    for row in range(WEIGHT_SHAPE[0])
    for column in range(WEIGHT_SHAPE[1])
    if (row, column) not in INERT_WEIGHTS
)


def qasa_expectations(
    inputs: Float[Tensor, "*models *batch 8"],
    weights: Float[Tensor, "*models 4 9"] | Float[Tensor, "*models effective"],
    *,
    encoding: EncodingName = "rx_rz",
) -> Float[Tensor, "*models *batch 8"]:
    r"""<Z_0> … <Z_7> of QASA's value circuit, in closed form and differentiable.

    Inert gates are never computed; the gradient with respect to an inert weight is exactly 0. Several models
    are computed as one batch where both arguments begin with an axis of models, or under `torch.vmap`. Many
    inputs on a CPU are computed by compiled kernels, which keep nothing for the gradient.

    Args:
        inputs: theta, in radians, real. Models pass their activations shifted by the length of the window.
        weights: w in radians, real, (4, 9); or the 33 weights that have an effect (see `prune_weights`).
        encoding: how an input turns its qubit, see `ENCODINGS`.

    Returns:
        Numbers from -1 to 1, in the wider precision of the two arguments.

    Raises:
        ArgumentError: wrong shapes, numbers that are not real floating-point ones, or an unknown encoding.

    Source: arXiv:2504.05336, restated at the top of this file.

    Example:
        Without weights the layers only permute, and each <Z> is the product of some cosines.

        >>> theta = torch.linspace(0.1, 0.8, 8, dtype=torch.float64)
        >>> found = qasa_expectations(theta, torch.zeros(4, 9, dtype=torch.float64))
        >>> bool((found[6] - theta.cos()[[2, 3, 6, 7]].prod()).abs() < 1e-14)
        True
    """
    _check(inputs, weights, encoding)
    real = torch.promote_types(inputs.dtype, weights.dtype)
    w = restore_weights(weights).to(real).reshape(-1, *WEIGHT_SHAPE)
    if not inputs.numel():
        return inputs.to(real)
    theta = inputs.to(real).reshape(len(w), -1, N_DATA)
    qubits = _turned_qubits(theta, w[:, None], encoding)
    angles = torch.cat([w[:, 1:, :N_DATA].flatten(1), w[:, 1, N_DATA:]], dim=-1)
    if is_compiled_for(theta, circuits=theta.shape[:2].numel()):
        found = compiled_values(qubits, angles, _COMPILED)
    elif len(w) == 1:
        found = _closed_form(qubits[0], angles[0])
    else:
        found = torch.vmap(_closed_form)(qubits, angles)
    return found.reshape(inputs.shape)


def _closed_form(
    qubits: Complex[Tensor, "inputs 8 2"], angles: Float[Tensor, " 25"]
) -> Float[Tensor, "inputs 8"]:
    """The circuit after the first rotations, of one model, in plain PyTorch."""
    layers = angles[:-1].reshape(len(_LAYERS), N_DATA)
    state = _product_state(qubits)
    state = _layer(state, layers[0], last=False)
    state = _attach(state, angles[-1])
    state = _layer(state, layers[1], last=False)
    state = _layer(_leave(state), layers[2], last=True)
    probabilities = state.real.square() + state.imag.square()
    probabilities = torch.unflatten(probabilities, 1, (2, -1)).sum(dim=1)
    signs = z_eigenvalues(angles.device, angles.dtype)[::16, :4]
    first, rest = probabilities.sum(dim=2).mT @ signs, probabilities.sum(dim=0) @ signs
    return torch.cat([first, rest.roll(-1, dims=-1)], dim=-1)


def _values(
    qubits: Complex[Tensor, "models inputs 8 2"], angles: Float[Tensor, "models 25"]
) -> Float[Tensor, "models inputs 8"]:
    """`_closed_form` of several models by a compiled kernel."""
    from qdyn.attention.qasa.kernels import expectations

    rows, trigonometric, work = _for_kernels(qubits, angles)
    found = np.empty((len(rows), N_DATA), dtype=rows.dtype)
    expectations(rows, trigonometric, qubits.shape[1], found, work)
    return torch.from_numpy(found).reshape(qubits.shape[:3])


def _gradients(qubits: Tensor, angles: Tensor, arriving: Tensor) -> tuple[Tensor, Tensor]:
    from qdyn.attention.qasa.gradient_kernels import gradients

    rows, trigonometric, work = _for_kernels(qubits, angles)
    by_qubit = np.empty_like(rows)
    by_angle = np.zeros(angles.shape, dtype=np.float64)
    weights = arriving.contiguous().numpy().reshape(-1, N_DATA)
    gradients(rows, trigonometric, qubits.shape[1], weights, by_qubit, by_angle, work)
    real = torch.from_numpy(by_qubit).reshape(*qubits.shape, 2)
    return torch.view_as_complex(real), torch.from_numpy(by_angle).to(angles.dtype)


def _for_kernels(qubits: Tensor, angles: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs as rows of real numbers, the trigonometric functions of the angles, and room to work."""
    from qdyn.attention.qasa.kernels import WORKSPACE

    rows = torch.view_as_real(qubits.resolve_conj().contiguous()).reshape(-1, 4 * N_DATA).numpy()
    half = angles / 2
    trigonometric = torch.stack([half.cos(), half.sin(), angles.cos(), angles.sin()], dim=-1).numpy()
    return rows, trigonometric, np.empty(WORKSPACE * 64 // rows.itemsize, dtype=rows.dtype)


_COMPILED = CompiledCircuit(_values, _gradients, _closed_form)


def qasa_circuit(
    inputs: Float[Tensor, "*batch 8"],
    weights: Float[Tensor, "4 9"] | Float[Tensor, " effective"],
    *,
    output: int = 0,
    pruned: bool = False,
    encoding: EncodingName = "rx_rz",
) -> Program:
    """QASA's value circuit as a program for `qdyn.run_circuit`, gate by gate as published.

    Args:
        inputs: theta, in radians, slot ``inputs``.
        weights: w in radians, (4, 9) or the 33 that have an effect, slot ``weights``.
        output: which <Z> is read, 0 to 7.
        pruned: leave out the gates that change no output, whatever the weights: the last CNOT onto qubit 8,
            its last two rotations, and the last RZ of every qubit but qubit 0. (That one stands before the
            CNOT from 7 to 0, through which <Z_7> sees it.)
        encoding: how an input turns its qubit, see `ENCODINGS`.

    Raises:
        ArgumentError: wrong shapes, no such output, or an unknown encoding.

    Example:
        >>> import qdyn
        >>> theta, w = torch.full((8,), 0.5), torch.full((4, 9), 0.3)
        >>> full, pruned = (qasa_circuit(theta, w, output=7, pruned=one) for one in (False, True))
        >>> len(full.circuit), len(pruned.circuit)
        (110, 100)
        >>> closed = qdyn.qasa_expectations(theta, w)[7]
        >>> bool((qdyn.run_circuit(pruned).value - closed).abs() < 1e-6)
        True
    """
    _check(inputs, weights, encoding)
    if not 0 <= output < N_DATA:
        raise ArgumentError(f"Argument `output` must be an integer in [0, {N_DATA - 1}], but is {output!r}.")
    circuit = Circuit(data=N_DATA, spare=1)
    (spare,) = circuit["spare"]
    theta, w = circuit.slot("inputs", N_DATA), circuit.slot("weights", *WEIGHT_SHAPE)
    for i in circuit["data"]:
        if encoding == "rx_rz":
            circuit.rx(i, theta[i]).rz(i, theta[i])
        elif encoding == "ry":
            circuit.ry(i, theta[i])
        else:
            circuit.h(i).rz(i, theta[i])
    for i in circuit["data"]:
        circuit.rx(i, w[0, i]).rz(i, w[1, i])
    for layer in _LAYERS:
        last = pruned and layer == _LAYERS[-1]
        for i in circuit["data"]:
            circuit.cx(i, (i + 1) % N_DATA).ry(i, w[layer, i])
            if not last or i == 0:
                circuit.rz(i, w[layer, i])
        if not last:
            circuit.cx(N_DATA - 1, spare)
        if not pruned or layer == _LAYERS[0]:
            circuit.ry(spare, w[layer, N_DATA])
    word = "".join("Z" if i == output else "I" for i in range(N_DATA + 1))
    values = {"inputs": inputs, "weights": restore_weights(weights)}
    return Program(circuit, values, PauliObservable(((1.0, word),)))


def prune_weights(weights: Float[Tensor, "*models 4 9"]) -> Float[Tensor, "*models effective"]:
    """The 33 weights that have an effect, row by row: all but `INERT_WEIGHTS`.

    >>> prune_weights(torch.arange(36.0).reshape(4, 9))[[7, 8, -1]]
    tensor([ 7.,  9., 34.])
    """
    return weights.flatten(-2)[..., _effective(weights.device)]


def restore_weights(
    weights: Float[Tensor, "*models 4 9"] | Float[Tensor, "*models effective"],
) -> Float[Tensor, "*models 4 9"]:
    """All 36 weights from the 33 of `prune_weights`, the inert ones 0; 36 come back as they are."""
    if weights.shape[-2:] == WEIGHT_SHAPE:
        return weights
    full = weights.new_zeros(*weights.shape[:-1], WEIGHT_SHAPE[0] * WEIGHT_SHAPE[1])
    places = _effective(weights.device)
    return torch.unflatten(full.index_copy(-1, places, weights), -1, WEIGHT_SHAPE)


def _check(inputs: Tensor, weights: Tensor, encoding: str) -> None:
    check_choice("encoding", encoding, ENCODINGS)
    for name, value in (("inputs", inputs), ("weights", weights)):
        if not isinstance(value, Tensor):
            raise ArgumentError(f"Argument `{name}` must be a tensor, but is of type {type(value).__name__}.")
    if inputs.ndim < 1 or inputs.shape[-1] != N_DATA:
        raise ArgumentError(
            f"Argument `inputs` must have shape (..., {N_DATA}), but has shape {tuple(inputs.shape)}."
        )
    full = tuple(weights.shape[-2:]) == WEIGHT_SHAPE
    if not full and weights.shape[-1:] != (len(_EFFECTIVE),):
        raise ArgumentError(
            f"Argument `weights` must have shape {WEIGHT_SHAPE} or ({len(_EFFECTIVE)},), "
            f"but has shape {tuple(weights.shape)}."
        )
    models = weights.shape[: -2 if full else -1]
    if models and inputs.shape[: len(models)] != models:
        raise ArgumentError(
            f"Argument `weights` of shape {tuple(weights.shape)} is for inputs of shape {tuple(models)} + "
            f"(..., {N_DATA}), but `inputs` has shape {tuple(inputs.shape)}."
        )
    for name, tensor in (("inputs", inputs), ("weights", weights)):
        if not tensor.is_floating_point():
            raise ArgumentError(
                f"Argument `{name}` must be real floating-point numbers, but is {tensor.dtype}."
            )


def _turned_qubits(theta: Tensor, w: Tensor, encoding: EncodingName) -> Tensor:
    """Amplitudes (..., 8, 2) of each qubit after the rotations by its input and by rows 0 and 1."""
    half, x, z = theta / 2, w[..., 0, :N_DATA] / 2, w[..., 1, :N_DATA] / 2
    c, s, cx, sx = half.cos(), half.sin(), x.cos(), x.sin()
    before, after = torch.polar(torch.ones_like(half), half), torch.polar(torch.ones_like(z), z)
    if encoding == "rx_rz":
        a0, a1 = c * before.conj(), -1j * s * before
    elif encoding == "ry":
        a0, a1 = c + 0j, s + 0j
    else:
        a0, a1 = before.conj() * math.sqrt(0.5), before * math.sqrt(0.5)
    # RX and RZ by the weights.
    b0, b1 = (cx * a0 - 1j * sx * a1) * after.conj(), (-1j * sx * a0 + cx * a1) * after
    return torch.stack([b0, b1], dim=-1)


def _product_state(qubits: Tensor) -> Tensor:
    """The state (16, batch, 16) before the first layer, after the CNOTs of it that stay in a half."""
    each = qubits.movedim(0, -1)
    halves = []
    for places, order in zip(_HALVES, _parities(qubits.device), strict=True):
        state = each[places[0]]
        for i in places[1:]:
            state = (state[:, None] * each[i][None]).flatten(0, 1)
        halves.append(state[order])
    return halves[0][:, :, None] * halves[1].mT


def _layer(state: Tensor, row: Tensor, *, last: bool) -> Tensor:
    """U_l on ``state`` (16, others, 16), with the next layer's CNOTs inside the halves unless it is the last.

    The CNOTs before the layer are done but for those between the halves, which flip all of qubits 4 to 7
    where the parity of the first four, now qubit 3, is odd. Those after it inside the first half may be done
    before CNOT 7→0, which then flips all of qubits 0 to 3.
    """
    first, rest = _rotations(row)
    if not last:
        orders = _parities(row.device)
        first, rest = first[orders[0]], rest[orders[1]]
    shape = state.shape
    even, odd = state.reshape(8, 2, *shape[1:]).unbind(1)
    state = torch.stack([even, odd.flip(-1)], dim=1).reshape(16, -1)
    even, odd = (first @ state).reshape(16, shape[1], 2, 8).unbind(2)
    odd = odd.roll(8, dims=0) if last else odd.flip(0)
    state = torch.stack([even, odd], dim=2).reshape(-1, 16)
    return (state @ rest.mT).reshape(shape)


def _rotations(row: Tensor) -> tuple[Tensor, Tensor]:
    """R_0 ⊗ … ⊗ R_3 and R_4 ⊗ … ⊗ R_7 of one layer, (16, 16) each."""
    half = row / 2
    c, s = half.cos(), half.sin()
    phase = torch.polar(torch.ones_like(half), half)
    low, high = phase.conj(), phase
    single = torch.stack([c * low, -s * low, s * high, c * high], dim=-1).reshape(N_DATA, 2, 2)
    halves = torch.tensor(_HALVES, device=row.device)
    product = kronecker_product([single[halves[:, i]] for i in range(4)])
    return product[0], product[1]


def _attach(state: Tensor, angle: Tensor) -> Tensor:
    """(16, batch, 16) -> (16, 2 batch, 16): qubit 8 after its first CNOT from qubit 7 and RY(angle)."""
    c, s = (angle / 2).cos(), (angle / 2).sin()
    # Columns of RY: |0> becomes (c, s), |1> becomes (-s, c).
    spare = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])[:, _qubit_7(state.device)]
    return (state[:, None] * spare[:, None]).flatten(1, 2)


def _leave(state: Tensor) -> Tensor:
    """The second CNOT from qubit 7 to qubit 8 on (16, 2 batch, 16)."""
    split = torch.unflatten(state, 1, (2, -1))
    return torch.where(_qubit_7(state.device).bool(), split.flip(1), split).reshape(state.shape)


@lru_cache(maxsize=8)
def _parities(device: torch.device) -> Tensor:
    """(2, 16): where amplitudes of either half stood before the CNOTs inside it from each qubit to the next.

    After them qubit i holds the parity of the first ones of its half, up to itself.
    """
    orders = []
    for qubits in _HALVES:
        index = np.arange(16)
        now = {qubit: index >> (3 - place) & 1 for place, qubit in enumerate(qubits)}
        before = {qubit: now[qubit] ^ now.get(qubit - 1, 0) for qubit in qubits}
        orders.append(sum(before[qubit] << (3 - place) for place, qubit in enumerate(qubits)))
    return torch.from_numpy(np.array(orders)).to(device)


def _qubit_7(device: torch.device) -> Tensor:
    """Qubit 7 before those CNOTs, for each state of the second half after them."""
    return _parities(device)[1] >> 3


@lru_cache(maxsize=8)
def z_eigenvalues(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(256, 8): the eigenvalue of Z_i in each basis state of 8 qubits."""
    bits = np.arange(2**N_DATA)[:, None] >> np.arange(N_DATA)[::-1] & 1
    return torch.from_numpy(1.0 - 2.0 * bits).to(device, dtype)


@lru_cache(maxsize=8)
def _effective(device: torch.device) -> Tensor:
    """Places of the weights that have an effect among all, row by row."""
    return torch.tensor([row * WEIGHT_SHAPE[1] + column for row, column in _EFFECTIVE], device=device)
