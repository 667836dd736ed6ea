"""The observables of a quantum self-attention circuit in closed form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Inexact
from torch import Tensor

from qdyn.attention.kernels import KernelName, SeriesKernel, make_kernel
from qdyn.attention.qsa.overlap import overlap_predictions
from qdyn.attention.qsa.readout import Readout, prefix_norms, read_out
from qdyn.checks import check_normalised
from qdyn.errors import ArgumentError


class QSAObservables(NamedTuple):
    """What the circuit measures and what the losses are, one number a sequence unless it says otherwise.

    Attributes:
        mu: Probability that every register returns to 0: abs(sum_j e^{i phi_j} A_j)^2 / (lambda N)^2.
        nu: The same without un-preparing the step register: sum_j abs(A_j)^2 / (lambda^2 T N).
        zeta: As nu, with the value register ignored: sum_j w_j^2 / (lambda^2 T N).
        fidelity: F = (T+1)/(2T) mu/zeta, in [0, 1].
        loss_b: L_B = -log F, the training objective.
        loss_a: L_A = -log(nu/zeta).
        renyi_half_divergence: D_half = L_B - L_A.
        loss_half: L_half = -2 log(mean_j f_j).
        loss_1: L_1 = -mean_j log p_j, on which models are compared.
        loss_1_excess: L_1 + mean_j log alpha_{j+1}.
        loss_b_excess: L_B + log mean_j alpha_{j+1}.
        step_fidelity: p_j = abs(A_j)^2 / w_j^2, (..., T); 0 at steps that do not exist.
        mu_v1: v1's one observable, with prefix states normalised as they are loaded; NaN for softmax.
        loss_v1: -log mu_v1.
    """

    mu: Tensor
    nu: Tensor
    zeta: Tensor
    fidelity: Tensor
    loss_b: Tensor
    loss_a: Tensor
    renyi_half_divergence: Tensor
    loss_half: Tensor
    loss_1: Tensor
    loss_1_excess: Tensor
    loss_b_excess: Tensor
    step_fidelity: Tensor
    mu_v1: Tensor
    loss_v1: Tensor


def qsa_observables(
    x: Inexact[Tensor, "*#batch time dim"],
    y: Inexact[Tensor, "*#batch time dim"],
    query_key: Inexact[Tensor, "*#batch dim dim"],
    value: Inexact[Tensor, "*#batch dim dim"],
    *,
    kernel: KernelName = "polynomial",
    degree: int = 3,
    beta: float | None = None,
    phases: str | Float[Tensor, "*#batch time"] = "optimal",
    leverage: Float[Tensor, "*#batch time"] | None = None,
    mask: Bool[Tensor, "*#batch time"] | None = None,
) -> QSAObservables:
    """The observables mu, nu, zeta of the attention circuit and every loss made of them, differentiably.

    With scores s_ij = <x_j|W|x_i>, predictions z_j = sum_{i<=j} g(s_ij) V |x_i>, overlaps A_j = <y_j|z_j>,
    w_j = ||z_j|| and N = T(T+1)/2::

        mu   = abs(sum_j e^{i phi_j} A_j)^2 / (lambda N)^2
        nu   = sum_j abs(A_j)^2 / (lambda^2 T N)
        zeta = sum_j w_j^2 / (lambda^2 T N)

    Args:
        x: The elements x_1 ... x_T, (..., T, d) unit vectors, complex or real.
        y: The targets y_j = x_{j+1}, (..., T, d) unit vectors.
        query_key: W, (..., d, d).
        value: V, (..., d, d). Leading axes of x, y, W and V broadcast.
        kernel: "polynomial", "monomial" or "softmax", see `qdyn.attention.kernels.make_kernel`.
        degree: k >= 1.
        beta: Inverse temperature > 0; None takes sqrt(d).
        phases: "optimal" substitutes phi_j = -arg A_j, which maximises mu; or angles phi_j, (..., T).
        leverage: alpha_{j+1} of the targets in (0, 1], (..., T), for a Parseval embedding of tokens; A_j is
            multiplied by its root.
        mask: (..., T) bool; steps where it is False are as if deleted, and T is the number of the others.

    Returns:
        The observables, each of the leading shape (...), except `step_fidelity` (..., T). Works under
        `torch.func.vmap` and `torch.func.grad`.

    Raises:
        ArgumentError: shapes that do not fit, an unknown kernel, degree or beta out of range, states that are
            not finite or not normalised.

    Source: arXiv:2602.06699 v2, and v1 for `mu_v1`.

    Example: a sequence that stands still is predicted perfectly by identities.
        >>> still = torch.tensor([[1.0, 0.0]] * 4)
        >>> result = qsa_observables(still, still, torch.eye(2), torch.eye(2), kernel="monomial", degree=2)
        >>> result.fidelity.round(decimals=4), result.mu, result.zeta.round(decimals=4)
        (tensor(0.8333), tensor(1.), tensor(0.7500))
        >>> result.step_fidelity
        tensor([1., 1., 1., 1.])
    """
    _check_shapes(x, y, query_key, value)
    for name, states in (("x", x), ("y", y)):
        _check_states(name, states, mask)
    if isinstance(phases, str):
        if phases != "optimal":
            raise ArgumentError(
                f"Argument `phases` must be 'optimal' or a tensor of angles, but is {phases!r}."
            )
        angles = None
    else:
        angles = phases
    chosen = make_kernel(kernel, degree=degree, beta=beta, dimension=x.shape[-1])
    predictions = overlap_predictions(x, query_key, value, chosen, mask=mask)
    readout = read_out(
        predictions, y, price=chosen.normalisation, phases=angles, leverage=leverage, mask=mask
    )
    norms = prefix_norms(x, chosen, mask=mask) if isinstance(chosen, SeriesKernel) else None
    return collect(readout, norms)


def collect(readout: Readout, norms: Tensor | None) -> QSAObservables:
    """All observables of a read-out; ``norms`` is None where v1's estimator is undefined."""
    loss_b = readout.loss_b()
    mu_v1 = torch.full_like(loss_b, torch.nan) if norms is None else readout.mu_v1(norms)
    return QSAObservables(
        mu=readout.mu(),
        nu=readout.nu(),
        zeta=readout.zeta(),
        fidelity=readout.fidelity(),
        loss_b=loss_b,
        loss_a=readout.loss_a(),
        renyi_half_divergence=readout.renyi_half_divergence(),
        loss_half=readout.loss_half(),
        loss_1=readout.loss_1(),
        loss_1_excess=readout.excess_1(),
        loss_b_excess=readout.excess_b(),
        step_fidelity=readout.step_fidelity(),
        mu_v1=mu_v1,
        loss_v1=-torch.log(mu_v1),
    )


def _check_shapes(x: Tensor, y: Tensor, query_key: Tensor, value: Tensor) -> None:
    if x.ndim < 2 or x.shape[-2] < 1:
        raise ArgumentError(
            f"Argument `x` must have shape (..., T, d) with T >= 1, but has {tuple(x.shape)}."
        )
    if y.ndim < 2 or y.shape[-2:] != x.shape[-2:]:
        raise ArgumentError(
            f"Argument `y` must have the steps and dimension of x, {tuple(x.shape[-2:])}, "
            f"but has shape {tuple(y.shape)}."
        )
    square = (x.shape[-1], x.shape[-1])
    for name, matrix in (("query_key", query_key), ("value", value)):
        if matrix.ndim < 2 or tuple(matrix.shape[-2:]) != square:
            raise ArgumentError(
                f"Argument `{name}` must end in {square} to act on x, but has shape {tuple(matrix.shape)}."
            )


def _check_states(name: str, states: Tensor, mask: Tensor | None) -> None:
    present = states.detach()
    if mask is not None:
        present = torch.where(mask.unsqueeze(-1), present, torch.ones_like(present) / states.shape[-1] ** 0.5)
    try:
        check_normalised(name, present)
    except RuntimeError:
        # Under torch.func.vmap no value can be looked at.
        return
