"""The metric that the angles of a circuit inherit from the unitary group."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def circuit_metric(
    angles: Float[Tensor, "*batch layers qubits 3"], layers: Complex[Tensor, "*batch layers d d"]
) -> Float[Tensor, "*batch parameters parameters"]:
    r"""M_ab = Re tr(d_a U^\dagger d_b U) / d of layers RZ RY RX on every qubit, each ended by a fixed gate.

    The derivative by the angle of a Pauli rotation in layer l is $-\tfrac i2\,U_{\ge l}\,(n_a\cdot\sigma)\,
    U_{<l}$, so M is the Gram matrix of the $U_{<l}^\dagger (n_a\cdot\sigma) U_{<l}$ over 4, $n_a$ being the
    axis of the rotation as the earlier rotations of the same qubit leave it.

    Args:
        angles: (..., L, n, 3) about x, y, z in this order.
        layers: The matrices of the layers, (..., L, d, d).

    Returns:
        Symmetric and positive semidefinite, (..., 3 L n, 3 L n); its rank, at most d^2 - 1, is the number of
        directions in which the circuit can move.

    Example: every rotation by a Pauli string moves a unitary at the same speed.
        >>> angles = torch.tensor([[[1.0, 0.3, 0.1]]])
        >>> circuit_metric(angles, torch.eye(2, dtype=torch.complex64)[None]).diagonal()
        tensor([0.2500, 0.2500, 0.2500])
    """
    *batch, depth, n_qubits, _ = angles.shape
    d = layers.shape[-1]
    before = [torch.eye(d, dtype=layers.dtype, device=layers.device).expand(*batch, d, d)]
    for layer in range(depth - 1):
        before.append(layers[..., layer, :, :] @ before[-1])
    prefix = torch.stack(before, dim=-3)[..., None, :, :]
    basis = torch.arange(d, device=layers.device)
    pulled = []
    for qubit in range(n_qubits):
        bit = 1 << (n_qubits - 1 - qubit)
        sign = torch.where((basis & bit) > 0, -1.0, 1.0).to(angles.dtype)[:, None]
        flipped = prefix[..., basis ^ bit, :]
        sigma = torch.cat([flipped, flipped * (-1j * sign), prefix * sign], dim=-3)
        heisenberg = torch.view_as_real(prefix.mH @ sigma).flatten(-3)
        pulled.append(_axes(angles[..., qubit, :]).to(heisenberg.dtype) @ heisenberg)
    generators = torch.stack(pulled, dim=-3).flatten(-4, -2)
    return generators @ generators.mT / (4 * d)


def _axes(angles: Tensor) -> Tensor:
    """Rows: the axes of RX, RY and RZ seen from the state before RX, (..., 3, 3)."""
    (cx, cy, _), (sx, sy, _) = torch.cos(angles).unbind(-1), torch.sin(angles).unbind(-1)
    one, zero = torch.ones_like(cx), torch.zeros_like(cx)
    about_x = torch.stack([one, zero, zero], dim=-1)
    about_y = torch.stack([zero, cx, -sx], dim=-1)
    about_z = torch.stack([-sy, cy * sx, cy * cx], dim=-1)
    return torch.stack([about_x, about_y, about_z], dim=-2)
