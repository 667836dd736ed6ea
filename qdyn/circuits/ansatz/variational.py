"""Variational unitaries: circuits whose angles are trained, and the free unitaries they are compared with.

Qubit 0 is the most significant bit of the basis index. A rotation about the axis P is R_P(t) = exp(-i t P /
2). Angles carry any leading axes: all members of an ensemble, and both unitaries of a model, are built in one
call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.circuits.ansatz.layers import apply_layers
from qdyn.circuits.ansatz.metric import circuit_metric
from qdyn.circuits.ansatz.order import brick_wall_pairs, ring_order, rotated_basis
from qdyn.errors import ArgumentError
from qdyn.quantum.products import kronecker_product, ordered_product

# From so many qubits on, layers act faster on the columns of the identity than they multiply as matrices:
# measured 3.1, 2.7 and 5.5 times at 6, 7 and 8 qubits and 43 layers with rings, value and derivative.
_QUBITS_BY_LAYERS = 6


@dataclass(frozen=True)
class Ansatz:
    """A family of unitaries with real parameters.

    Attributes:
        name: How presets call it.
        label: How figures call it.
        real: Whether the matrices are real (orthogonal).
        parameter_shape: (n_qubits, layers) -> shape of one unitary's parameters.
        unitary: Parameters (..., *parameter_shape) -> matrices (..., 2**n, 2**n).
        start: (shape, scale, generator) -> initial parameters, float64.
        metric: Parameters -> what they inherit from the unitary group, (..., P, P); None where it is not
            there.
        is_circuit: Whether a circuit of angles stands behind it; else it is a classical twin.
        on_group: Whether the parameters are the unitaries' entries, to be kept unitary by the optimiser.
    """

    name: str
    label: str
    real: bool
    parameter_shape: Callable[[int, int], tuple[int, ...]]
    unitary: Callable[[Tensor], Tensor]
    start: Callable[[tuple[int, ...], float, np.random.Generator], np.ndarray]
    metric: Callable[[Tensor], Tensor] | None = None
    is_circuit: bool = True
    on_group: bool = False

    def initial(self, *, n_qubits: int, layers: int, scale: float, generator: np.random.Generator) -> Tensor:
        """Random parameters to start training from.

        Args:
            n_qubits: Number of qubits.
            layers: Number of layers; free unitaries have none and ignore it.
            scale: Circuits: angles are uniform in [0, scale]. Free unitaries: the typical norm of H.
            generator: Source of the random numbers.

        Returns:
            float32 tensor of shape ``parameter_shape(n_qubits, layers)``.
        """
        shape = self.parameter_shape(n_qubits, layers)
        return torch.from_numpy(self.start(shape, scale, generator)).to(torch.float32)


def ansatz(name: str) -> Ansatz:
    """The ansatz of that name: "hardware_efficient", "brick_wall", "real", "free" or "matrix".

    Raises:
        ArgumentError: the name is unknown; the nearest is given.

    Example: 43 layers on 4 qubits have about as many parameters as a free unitary.
        >>> ansatz("hardware_efficient").parameter_shape(4, 43), ansatz("free").parameter_shape(4, 43)
        ((43, 4, 3), (2, 16, 16))
    """
    check_choice("name", name, ANSATZE)
    return ANSATZE[name]


def hardware_efficient_unitary(
    angles: Float[Tensor, "*batch layers qubits 3"],
) -> Complex[Tensor, "*batch d d"]:
    """L layers, each RZ(t_z) RY(t_y) RX(t_x) on every qubit (RX acts first), then a ring of CNOTs.

    The ring is CNOT(0->1), CNOT(1->2), ..., CNOT(n-1->0) in this order; one qubit has none.

    Args:
        angles: (..., L, n, 3) in radians, in the order x, y, z.

    Returns:
        Unitaries (..., 2**n, 2**n).

    Source: arXiv:2602.06699, the default ansatz of v2.

    Example: without rotations one layer on two qubits is CNOT(0->1), then CNOT(1->0).
        >>> hardware_efficient_unitary(torch.zeros(1, 2, 3)).real.argmax(dim=0)
        tensor([0, 3, 1, 2])
    """
    if angles.shape[-2] >= _QUBITS_BY_LAYERS:
        return _rings_by_layers(_rotations(angles))
    return ordered_product(_RotationLayer.apply(angles, True)[0])  # type: ignore[no-untyped-call]


def brick_wall_unitary(angles: Float[Tensor, "*batch layers qubits 12"]) -> Complex[Tensor, "*batch d d"]:
    """L layers of two-qubit blocks on the pairs of `brick_wall_pairs`.

    A block is RX, RY, RZ on both qubits, CNOT, RX, RY, RZ on both qubits, CNOT; the first qubit of the pair
    is the control.

    Args:
        angles: (..., L, n, 12) in radians: as many blocks in a layer as qubits, n >= 2. In a block: x, y, z
            of the first qubit, x, y, z of the second, then the same again after the first CNOT.

    Returns:
        Unitaries (..., 2**n, 2**n).

    Source: arXiv:2602.06699 v1.

    Example:
        >>> brick_wall_unitary(torch.zeros(1, 4, 12)).shape
        torch.Size([16, 16])
    """
    n_qubits = angles.shape[-2]
    rows = brick_wall_pairs(n_qubits)
    halves = _RotationLayer.apply(angles.reshape(*angles.shape[:-1], 2, 2, 3), False)[0]  # type: ignore[no-untyped-call]
    blocks = ordered_product(_cnot(halves) @ halves)
    if n_qubits >= _QUBITS_BY_LAYERS:
        return _wall_by_layers(blocks, rows)
    layers, first = [], 0
    for row in rows:
        members = [blocks[..., first + index, :, :] for index in range(len(row))]
        first += len(row)
        idle = n_qubits - 2 * len(row)
        if idle:
            rest = torch.eye(2**idle, dtype=blocks.dtype, device=blocks.device)
            members.append(rest.expand(*members[0].shape[:-2], -1, -1))
        order = rotated_basis(n_qubits, row[0][0]).to(blocks.device)
        layers.append(kronecker_product(members).index_select(-2, order).index_select(-1, order))
    return ordered_product(torch.stack(layers, dim=-3).flatten(-4, -3))


def real_unitary(angles: Float[Tensor, "*batch layers qubits"]) -> Float[Tensor, "*batch d d"]:
    """L layers of RY on every qubit, then the ring of CNOTs: an orthogonal matrix, for real data.

    Args:
        angles: (..., L, n) in radians.

    Returns:
        Real orthogonal matrices (..., 2**n, 2**n).

    Example: a rotation by pi takes |0> to |1>.
        >>> real_unitary(torch.tensor([[torch.pi]], dtype=torch.float64)).round()
        tensor([[ 0., -1.],
                [ 1.,  0.]], dtype=torch.float64)
    """
    cosine, sine = torch.cos(angles / 2), torch.sin(angles / 2)
    entries = torch.stack([cosine, -sine, sine, cosine], dim=-1)
    rotation = entries.reshape(*angles.shape, 2, 2)
    if angles.shape[-1] >= _QUBITS_BY_LAYERS:
        return _rings_by_layers(rotation)
    layers = kronecker_product(rotation.unbind(-3))
    ring = torch.eye(layers.shape[-1], dtype=layers.dtype, device=layers.device)
    order = ring_order(angles.shape[-1]).to(layers.device)
    return ordered_product(ring.index_select(0, order) @ layers)


def free_unitary(parameters: Float[Tensor, "*batch 2 d d"]) -> Complex[Tensor, "*batch d d"]:
    """exp(iH) with H = (G + G^H)/2: any unitary, from the 2 d^2 real numbers of a complex matrix G.

    The classical twin of a circuit.

    Args:
        parameters: (..., 2, d, d), real and imaginary part of G.

    Returns:
        Unitaries (..., d, d).

    Source: arXiv:2602.06699 v2, the CSA models.

    Example: H = pi/2 X gives exp(iH) = i X.
        >>> quarter = torch.tensor([[[0.0, torch.pi], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
        >>> free_unitary(quarter).imag.round()
        tensor([[0., 1.],
                [1., 0.]])
    """
    general = torch.complex(*parameters.unbind(-3))
    return torch.linalg.matrix_exp(0.5j * (general + general.mH))


def _by_layers(factors: Sequence[Tensor], orders: Tensor) -> Tensor:
    """The matrix of layers P_l (f_l0 (x) f_l1 (x) ...), the factors (..., L, k, k) split into two halves."""
    half = len(factors) // 2
    first, rest = kronecker_product(factors[:half]), kronecker_product(factors[half:])
    identity = torch.eye(orders.shape[-1], dtype=first.dtype, device=first.device)
    return apply_layers(first, rest, orders, identity.expand(*first.shape[:-3], -1, -1))


def _rings_by_layers(rotations: Tensor) -> Tensor:
    """The matrix of (..., L, n, 2, 2) rotations, each layer followed by the ring of CNOTs."""
    order = ring_order(rotations.shape[-3])
    return _by_layers(rotations.unbind(-3), order.expand(rotations.shape[-4], -1))


def _wall_by_layers(blocks: Tensor, rows: list[list[tuple[int, int]]]) -> Tensor:
    """The matrix of a brick wall of (..., L, n, 4, 4) blocks; between rows the qubits are read in turn.

    Row r reads them from the first qubit of its first pair on, so that its pairs stand side by side.
    """
    n_qubits, layers = blocks.shape[-3], blocks.shape[-4]
    starts = [row[0][0] for row in rows]
    turns = [rotated_basis(n_qubits, start) for start in starts]
    orders = [
        # From the order of this row to that of the next; after the last, back to the order of the qubits.
        turn[torch.argsort(turns[(place + 1) % len(turns)])]
        for place, turn in enumerate(turns)
    ]
    identity = torch.eye(4, dtype=blocks.dtype, device=blocks.device).expand_as(blocks[..., 0, :, :])
    stacked, used = [], 0
    for row in rows:
        members = [blocks[..., used + place, :, :] for place in range(len(row))]
        used += len(row)
        stacked.append(members + [identity] * (n_qubits // 2 - len(row)))
    factors = [torch.stack(place, dim=-3).flatten(-4, -3) for place in zip(*stacked, strict=True)]
    if n_qubits % 2:
        factors.append(identity[..., :2, :2].repeat_interleave(len(rows), dim=-3))
    return _by_layers(factors, torch.stack(orders).repeat(layers, 1))


class _RotationLayer(torch.autograd.Function):
    """RZ RY RX on every qubit as one matrix, optionally followed by the ring of CNOTs.

    The derivative needs no Kronecker factors: a small rotation of qubit q about the axis a multiplies the
    layer K by exp(-i dt n_a . sigma / 2), so dL/dt = Im tr(N n_a . sigma^(q)) / 2 with N = K (dL/dK)^H. Only
    the entries of N on the diagonal and one bit flip away from it enter.
    """

    @staticmethod
    def forward(angles: Tensor, ring: bool) -> tuple[Tensor, ...]:
        layers = kronecker_product(_rotations(angles).unbind(-3))
        if ring:
            layers = layers.index_select(-2, ring_order(angles.shape[-2]).to(layers.device))
        return (layers,)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: tuple[Tensor, ...]) -> None:
        ctx.ring = inputs[1]
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        angles, layers = ctx.saved_tensors
        places, sign = _moment_entries(angles.shape[-2], ctx.ring)
        moments = (layers @ gradient.mH).flatten(-2).index_select(-1, places.to(angles.device))
        moments = moments.reshape(*moments.shape[:-1], 1 + angles.shape[-2], -1)
        sign = sign.to(angles.device, angles.dtype)
        flips = moments[..., 1:, :]
        x = 0.5 * flips.imag.sum(-1)
        y = 0.5 * (flips.real * sign).sum(-1)
        z = 0.5 * moments[..., 0, :].imag @ sign.mT
        # The axes of RX and RY as the later rotations of the same qubit leave them.
        (_, cos_y, cos_z), (_, sin_y, sin_z) = torch.cos(angles).unbind(-1), torch.sin(angles).unbind(-1)
        about_x = cos_y * (cos_z * x + sin_z * y) - sin_y * z
        return torch.stack([about_x, cos_z * y - sin_z * x, z], dim=-1), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], angles: Tensor, ring: bool
    ) -> tuple[tuple[Tensor, ...], tuple[int]]:
        return _RotationLayer.apply(angles.movedim(in_dims[0], 0), ring), (0,)  # type: ignore[no-untyped-call]


def _rotations(angles: Tensor) -> Tensor:
    """(..., 3) angles -> (..., 2, 2) matrices RZ RY RX."""
    cosine, sine = torch.cos(angles / 2), torch.sin(angles / 2)
    (cx, cy, cz), (sx, sy, sz) = cosine.unbind(-1), sine.unbind(-1)
    turn = torch.complex(cz, -sz)
    stay = turn * torch.complex(cy * cx, sy * sx)
    flip = turn * torch.complex(-sy * cx, -cy * sx)
    entries = torch.stack([stay, flip, -flip.conj(), stay.conj()], dim=-1)
    return entries.reshape(*stay.shape, 2, 2)


def _cnot(like: Tensor) -> Tensor:
    gate = torch.eye(4, dtype=like.dtype, device=like.device)
    return gate.index_select(0, torch.tensor([0, 1, 3, 2], device=like.device))


@lru_cache(maxsize=64)
def _moment_entries(n_qubits: int, ring: bool) -> tuple[Tensor, Tensor]:
    """Flat places in N of (b, b) and of (b, b with bit q flipped), and the sign (-1)^(bit q of b)."""
    basis = np.arange(2**n_qubits)
    bits = np.array([1 << (n_qubits - 1 - qubit) for qubit in range(n_qubits)])
    partner = np.stack([basis, *(basis ^ bit for bit in bits)])
    where = np.argsort(ring_order(n_qubits).numpy()) if ring else basis
    places = where[basis] * len(basis) + where[partner]
    sign = 1.0 - 2.0 * ((basis & bits[:, None]) > 0)
    return torch.from_numpy(places.reshape(-1)), torch.from_numpy(sign)


def _ring_metric(angles: Tensor) -> Tensor:
    return circuit_metric(angles, _RotationLayer.apply(angles, True)[0])  # type: ignore[no-untyped-call]


def _uniform_angles(shape: tuple[int, ...], scale: float, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0.0, scale, shape)


def _small_hermitian(shape: tuple[int, ...], scale: float, generator: np.random.Generator) -> np.ndarray:
    # The spectrum of H fills [-2, 2] sqrt(d) sigma (the semicircle), where sigma deviates each number of G.
    return generator.normal(0.0, scale / (2 * np.sqrt(shape[-1])), shape)


def _near_identity(shape: tuple[int, ...], scale: float, generator: np.random.Generator) -> np.ndarray:
    parameters = torch.from_numpy(_small_hermitian(shape, scale, generator))
    unitary = free_unitary(parameters)
    return torch.stack([unitary.real, unitary.imag]).numpy()


def _wall_shape(n_qubits: int, layers: int) -> tuple[int, ...]:
    if n_qubits < 2:
        raise ArgumentError(
            f"Argument `unitaries` 'brick_wall' needs at least 2 qubits, but there is {n_qubits}."
        )
    return layers, n_qubits, 12


ANSATZE: dict[str, Ansatz] = {
    entry.name: entry
    for entry in (
        Ansatz(
            name="hardware_efficient",
            label="RX RY RZ + CNOT ring",
            real=False,
            parameter_shape=lambda n_qubits, layers: (layers, n_qubits, 3),
            unitary=hardware_efficient_unitary,
            start=_uniform_angles,
            metric=_ring_metric,
        ),
        Ansatz(
            name="brick_wall",
            label="brick wall",
            real=False,
            parameter_shape=_wall_shape,
            unitary=brick_wall_unitary,
            start=_uniform_angles,
        ),
        Ansatz(
            name="real",
            label="RY + CNOT ring",
            real=True,
            parameter_shape=lambda n_qubits, layers: (layers, n_qubits),
            unitary=real_unitary,
            start=_uniform_angles,
        ),
        Ansatz(
            name="free",
            label="exp(iH)",
            real=False,
            parameter_shape=lambda n_qubits, layers: (2, 2**n_qubits, 2**n_qubits),
            unitary=free_unitary,
            start=_small_hermitian,
            is_circuit=False,
        ),
        Ansatz(
            name="matrix",
            label="unitary matrix",
            real=False,
            parameter_shape=lambda n_qubits, layers: (2, 2**n_qubits, 2**n_qubits),
            unitary=lambda parameters: torch.complex(*parameters.unbind(-3)),
            start=_near_identity,
            is_circuit=False,
            on_group=True,
        ),
    )
}
