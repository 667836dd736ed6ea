"""Descent measured on the unitary group: Riemannian steps of free unitaries, natural gradients of circuits.

A small step of a unitary is U -> exp(A) U with A anti-Hermitian; its length is |A|_F / sqrt(d), the root mean
square of the angles by which A turns its eigenvectors. That length does not depend on how U is parametrised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM, MEMORY = 0.9, 0.999
DAMPING = 1e-3

Metric = Callable[[Tensor], Tensor]


class UnitaryDescent(torch.optim.Optimizer):
    r"""Steps of a given length on the unitary group, one for each unitary of each member.

    With the gradient $g$ and the metric $M$ of the group the update is

    $$-\eta\,\frac{\overline{M^{-1} g}}{\sqrt{\overline{g^T M^{-1} g}}}$$

    where the upper bar averages over the last 10 steps and the lower one over the last 1000, both corrected
    for their start at zero, as in Adam. For unitaries that are stored as matrices, $M$ is the identity on the
    anti-Hermitian matrices and the update is the geodesic $U \to e^{A} U$ (Riemannian). For angles of a
    circuit, $M_{ab} = \mathrm{Re\,tr} (\partial_a U^\dagger\,\partial_b U)/d$ is what the circuit pulls back
    from the group, damped by `DAMPING` times its mean diagonal (natural). Parameters that belong to no
    unitary are Adam's.

    The diagonal of $M$ alone would change nothing: every rotation by a Pauli string has $M_{aa} = 1/4$.

    Args:
        parameters: Tensors (members, ...) with their metrics: "matrices" for (members, k, 2, d, d) real and
            imaginary parts, a function from angles (members, k, ...) to metrics (members, k, P, P), or None.
        lr: The length of a step, in radians.

    Source: S. Amari, Neural Comput. 10, 251 (1998); J. Stokes et al., Quantum 4, 269 (2020), with states
        averaged over the unit sphere; T. Abrudan et al., IEEE Trans. Signal Process. 56, 1134 (2008).
    """

    def __init__(self, parameters: Iterable[tuple[Tensor, Metric | str | None]], *, lr: float) -> None:
        pairs = list(parameters)
        super().__init__([parameter for parameter, _ in pairs], {"lr": lr})
        self._metrics = [metric for _, metric in pairs]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every member."""
        group = self.param_groups[0]
        gradient: Tensor
        size: Tensor
        move: Move
        for parameter, metric in zip(group["params"], self._metrics, strict=True):
            if parameter.grad is None:
                continue
            if metric is None:
                gradient, size, move = parameter.grad, parameter.grad.square(), _plain
            elif callable(metric):
                gradient, size, move = _natural(parameter, metric(parameter))
            else:
                gradient, size, move = _riemannian(parameter)
            averaged, scale = self._averages(parameter, gradient, size)
            move(parameter, averaged, -group["lr"] / (scale.sqrt() + 1e-12))

    def _averages(self, parameter: Tensor, gradient: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(size)
        state["step"] += 1
        count = float(state["step"])
        state["exp_avg"].lerp_(gradient, 1 - MOMENTUM)
        state["exp_avg_sq"].lerp_(size, 1 - MEMORY)
        return state["exp_avg"] / (1 - MOMENTUM**count), state["exp_avg_sq"] / (1 - MEMORY**count)


Move = Callable[[Tensor, Tensor, Tensor], None]


def _plain(parameter: Tensor, averaged: Tensor, rate: Tensor) -> None:
    parameter.add_(rate * averaged)


def _natural(parameter: Tensor, metric: Tensor) -> tuple[Tensor, Tensor, Move]:
    """The direction M^-1 g, its squared length, and the step along an average of directions.

    Gradients of other steps do not lie in the range of this step's metric, which is singular: M^-1 is taken
    of each before they are averaged.
    """
    gradient = parameter.grad.flatten(2)  # type: ignore[union-attr]
    mean = metric.diagonal(dim1=-2, dim2=-1).mean(-1)
    damped = metric + DAMPING * torch.diag_embed(mean[..., None].expand(gradient.shape))
    factor = torch.linalg.cholesky(damped)

    direction = torch.cholesky_solve(gradient[..., None], factor)[..., 0]

    def move(angles: Tensor, averaged: Tensor, rate: Tensor) -> None:
        angles.add_((rate * averaged).reshape(angles.shape))

    return direction, (gradient * direction).sum(-1, keepdim=True), move


def _riemannian(parameter: Tensor) -> tuple[Tensor, Tensor, Move]:
    """The gradient in the Lie algebra, its squared length, and the geodesic step along an averaged one."""
    unitary = torch.complex(*parameter.unbind(-3))
    slope = torch.complex(*parameter.grad.unbind(-3)) @ unitary.mH  # type: ignore[union-attr]
    gradient = 0.5 * (slope - slope.mH)
    size = torch.view_as_real(gradient).square().sum((-3, -2, -1)) / unitary.shape[-1]

    def move(matrices: Tensor, averaged: Tensor, rate: Tensor) -> None:
        generator = torch.view_as_complex(averaged) * rate[..., None, None]
        moved = torch.linalg.matrix_exp(generator) @ unitary
        # One Newton step towards the nearest unitary keeps rounding from adding up.
        moved = 1.5 * moved - 0.5 * moved @ (moved.mH @ moved)
        matrices.copy_(torch.stack([moved.real, moved.imag], dim=-3))

    return torch.view_as_real(gradient), size, move
