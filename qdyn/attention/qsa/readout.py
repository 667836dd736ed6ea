"""What an attention circuit measures, and the losses made of it.

    A_j = <y_j|z_j>,   w_j = ||z_j||,   p_j = |A_j|^2 / w_j^2

Everything here works on these two numbers a step; where they come from is the attention's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from qdyn.attention.kernels import SeriesKernel


@dataclass(frozen=True)
class Readout:
    """Overlaps and weights of the steps of a sequence; both are 0 at steps that do not exist.

    Attributes:
        overlaps: A_j, (..., T).
        weights: w_j^2, (..., T), real.
        steps: How many steps exist, (...) or a number; T in the formulas below.
        price: lambda, what the kernel's linear combination costs in amplitude.
        phases: phi_j, (..., T) in radians; None substitutes the best, -arg A_j.
        leverage: alpha_{j+1} of the targets, (..., T); None is 1.
        mask: Which steps exist, (..., T); None is all.
    """

    overlaps: Tensor
    weights: Tensor
    steps: Tensor | int
    price: float = 1.0
    phases: Tensor | None = None
    leverage: Tensor | None = None
    mask: Tensor | None = None

    def amplitude(self, overlaps: Tensor) -> Tensor:
        """abs(sum_j e^{i phi_j} A_j), which the best phases turn into sum_j abs(A_j)."""
        if self.phases is None:
            return overlaps.abs().sum(dim=-1)
        return (torch.polar(torch.ones_like(self.phases), self.phases) * overlaps).sum(dim=-1).abs()

    def mu(self) -> Tensor:
        """abs(sum_j e^{i phi_j} A_j)^2 / (lambda N)^2 with N = T (T+1) / 2."""
        return self.amplitude(self.overlaps).square() / (self.price * self._pairs()) ** 2

    def nu(self) -> Tensor:
        """sum_j abs(A_j)^2 / (lambda^2 T N)."""
        return _square(self.overlaps).sum(dim=-1) / (self.price**2 * self.steps * self._pairs())

    def zeta(self) -> Tensor:
        """sum_j w_j^2 / (lambda^2 T N)."""
        return self.weights.sum(dim=-1) / (self.price**2 * self.steps * self._pairs())

    def fidelity(self) -> Tensor:
        """F = (T+1)/(2T) mu/zeta = abs(sum_j e^{i phi_j} A_j)^2 / (T sum_j w_j^2)."""
        return self.amplitude(self.overlaps).square() / (self.steps * self.weights.sum(dim=-1))

    def step_fidelity(self) -> Tensor:
        """p_j, (..., T); 0 at steps that do not exist."""
        return _square(self.overlaps) / torch.where(self.weights > 0, self.weights, 1.0)

    def loss_b(self) -> Tensor:
        """L_B = -log F."""
        return -torch.log(self.fidelity())

    def loss_a(self) -> Tensor:
        """L_A = -log(nu/zeta)."""
        return -torch.log(_square(self.overlaps).sum(dim=-1) / self.weights.sum(dim=-1))

    def renyi_half_divergence(self) -> Tensor:
        """D_half between the uniform and the success profile abs(A_j)^2 / sum: L_B - L_A."""
        coherent = self.amplitude(self.overlaps).square()
        return -torch.log(coherent / (self.steps * _square(self.overlaps).sum(dim=-1)))

    def loss_half(self) -> Tensor:
        """L_half = -2 log((1/T) sum_j f_j) with f_j = sqrt(p_j)."""
        ratio = self.overlaps.abs() / torch.where(self.weights > 0, self.weights, 1.0).sqrt()
        return -2 * torch.log(ratio.sum(dim=-1) / self.steps)

    def loss_1(self) -> Tensor:
        """L_1 = -(1/T) sum_j log p_j."""
        fidelity = self.step_fidelity()
        return -self._mean(torch.log(fidelity.clamp_min(torch.finfo(fidelity.dtype).tiny)))

    def excess_1(self) -> Tensor:
        """What p_j <= alpha_{j+1} leaves of L_1: L_1 + mean_j log alpha_{j+1}."""
        return self.loss_1() if self.leverage is None else self.loss_1() + self._mean(self.leverage.log())

    def excess_b(self) -> Tensor:
        """What p_j <= alpha_{j+1} leaves of L_B: L_B + log mean_j alpha_{j+1}."""
        return self.loss_b() if self.leverage is None else self.loss_b() + self._mean(self.leverage).log()

    def mu_v1(self, norms: Tensor) -> Tensor:
        """The observable mu where each prefix state is normalised as it is loaded.

        Args:
            norms: Norm of each prefix state, from `prefix_norms`.
        """
        normalised = self.overlaps / (torch.where(norms > 0, norms, 1.0) * self.price**0.5)
        return (self.amplitude(normalised) / self.steps).square()

    def loss_v1(self, norms: Tensor) -> Tensor:
        """-log mu_v1."""
        return -torch.log(self.mu_v1(norms))

    def _pairs(self) -> Tensor | float:
        return self.steps * (self.steps + 1) / 2

    def _mean(self, values: Tensor) -> Tensor:
        existing = values if self.mask is None else values.masked_fill(~self.mask, 0.0)
        return existing.sum(dim=-1) / self.steps


LOSSES: dict[str, Callable[[Readout], Tensor]] = {
    "L_B": Readout.loss_b,
    "L_A": Readout.loss_a,
    "L_half": Readout.loss_half,
    "L_1": Readout.loss_1,
}


def read_out(
    predictions: Tensor,
    targets: Tensor,
    *,
    price: float = 1.0,
    phases: Tensor | None = None,
    leverage: Tensor | None = None,
    mask: Tensor | None = None,
) -> Readout:
    """A_j and w_j^2 of unnormalised predictions z_j.

    Args:
        predictions: z, (..., T, d).
        targets: y, (..., T, d) unit vectors.
        price: lambda.
        phases: phi_j, (..., T); None for the best.
        leverage: alpha_{j+1}, (..., T): A_j is multiplied by its root.
        mask: (..., T) bool; False where a step does not exist.
    """
    weights = _square(predictions).sum(dim=-1)
    steps: Tensor | int = predictions.shape[-2]
    if mask is not None:
        # Filled, not multiplied: what stands at a step that does not exist may be NaN.
        targets = targets.masked_fill(~mask.unsqueeze(-1), 0.0)
        mask = mask.expand(weights.shape)
        weights = weights.masked_fill(~mask, 0.0)
        steps = mask.sum(dim=-1)
    overlaps = (targets.conj() * predictions).sum(dim=-1)
    if leverage is not None:
        overlaps = overlaps * leverage.sqrt()
    return Readout(overlaps, weights, steps, price, phases, leverage, mask)


def prefix_norms(x: Tensor, kernel: SeriesKernel, *, mask: Tensor | None = None) -> Tensor:
    """Norms of the prefix states sum_{i<=j} |x_i> (x) sum_p sqrt(c_p) |p> |x_i>^p.

    For the monomial of degree 1 these are v1's Psi_j = sum_{i<=j} x_i (x) x_i, with
    ||Psi_j||^2 = sum_{i,i'<=j} <x_i|x_i'>^2; in general the square becomes <x_i|x_i'> g(<x_i|x_i'>).

    Args:
        x: Elements (..., T, d).
        kernel: g.
        mask: (..., T); elements to leave out are False.

    Returns:
        (..., T), real.

    Source: arXiv:2602.06699 v1; the extension to other kernels is ours.

    Example: equal states add up.
        >>> from qdyn.attention.kernels import make_kernel
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> prefix_norms(x, make_kernel("monomial", degree=1))
        tensor([1.0000, 2.0000, 2.2361])
    """
    gram = x.conj() @ x.mT
    integrand = gram * kernel(gram)
    real = integrand.real if integrand.is_complex() else integrand
    if mask is not None:
        real = real.masked_fill(~(mask.unsqueeze(-1) & mask.unsqueeze(-2)), 0.0)
    squared = real.cumsum(dim=-1).cumsum(dim=-2).diagonal(dim1=-2, dim2=-1)
    return squared.clamp_min(0.0).sqrt()


def _square(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square() if values.is_complex() else values.square()
