r"""Attention that learns in context: its layers are steps of a regression on the transitions seen so far.

For i < j the successor of x_i is known, so the value register may load it (an induction head). With V an
average propagator and rho_j, C_j, B_j as in `qdyn.attention.in_context.transitions`,

    r_0 = x_j,                  r_{l+1} = r_l - eta_l rho_j r_l          what no transition explains yet
    z_0 = 0,                    z_{l+1} = z_l + eta_l C_j r_l            what the explained part becomes
    q_0 = e^{i alpha} V r_L,    q_{m+1} = q_m - theta_m B_j q_m          where the rest can still go
    forecast = z_L + q_M (||r_L|| / ||q_M||)^gamma.

z_L + q_0 is gradient descent on the in-context least squares min_A sum_{i<j} ||x_{i+1} - A x_i||^2 from
A = e^{i alpha} V, applied to x_j; alpha = arg sum_{i<j} <V x_i|x_{i+1}> is the phase of V that fits best. The
third line goes beyond least squares: U is unitary, so it sends what is orthogonal to all keys to what is
orthogonal to all values, and keeps its length.

Step sizes are learnt (`Descent`), or those of conjugate gradients (`Conjugate`), which follow from overlaps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from qdyn.attention.in_context.heads import Heads
from qdyn.attention.in_context.transitions import (
    OperatorPast,
    ScorePast,
    Symmetry,
    TransitionPhases,
    length,
    transition_pairs,
    unit_phase,
)

Attend = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Descent:
    """Steps of given size.

    Attributes:
        sizes: eta_l in units of 1/||rho_j||_F, (..., L, T). In [0, 2] no step can lengthen r: the Frobenius
            norm, the root of an unnormalised purity, is never below the spectral norm.
        momentum: beta_l in [0, 1), (..., L, T): the part of the step before that is repeated; None is 0.
        score_unitaries: W_l in the scores <x_i|W_l|r_l>, (..., L, d, d); None is 1. With it r may grow, by a
            factor of 3 a layer at most.
    """

    sizes: Tensor
    momentum: Tensor | None = None
    score_unitaries: Tensor | None = None

    def last(self) -> Descent:
        """The steps of the last forecast alone."""
        momentum = None if self.momentum is None else self.momentum[..., -1:]
        return replace(self, sizes=self.sizes[..., -1:], momentum=momentum)

    def explain(self, attend: Attend, bound: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of x (..., T, d), and what the explained part becomes."""
        has_past = bound > _NO_PAST
        inverse = torch.where(has_past, 1.0 / torch.where(has_past, bound, 1.0), 0.0)
        sizes = (self.sizes * inverse.unsqueeze(-2)).unsqueeze(-1)
        left, answer = x, torch.zeros_like(x)
        left_before, answer_before = left, answer
        for layer in range(sizes.shape[-3]):
            asked = left
            if self.score_unitaries is not None:
                asked = asked @ self.score_unitaries[..., layer, :, :].mT
            removed, gained = attend(asked)
            size = sizes[..., layer, :, :]
            left_next, answer_next = left - size * removed, answer + size * gained
            if self.momentum is not None:
                again = self.momentum[..., layer, :].unsqueeze(-1)
                left_next = left_next + again * (left - left_before)
                answer_next = answer_next + again * (answer - answer_before)
            left_before, answer_before, left, answer = left, answer, left_next, answer_next
        return left, answer


@dataclass(frozen=True)
class Conjugate:
    """Steps of conjugate gradients for min_c ||x_j - sum_i c_i x_i||^2 + ridge_j ||c||^2.

    L layers are the best that L layers can be, and solve a context of L transitions. The sizes of the steps
    follow from overlaps of each context. The ridge keeps noise from being fitted.

    Attributes:
        layers: L.
        ridge: In units of ||rho_j||_F, (..., T), >= 0.
    """

    layers: int
    ridge: Tensor

    def last(self) -> Conjugate:
        """The steps of the last forecast alone."""
        return replace(self, ridge=self.ridge[..., -1:])

    def explain(self, attend: Attend, bound: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is left of x (..., T, d), and what the explained part becomes."""
        # The coefficients are c = K^H u with keys K, so that a vector u stands for a direction: it explains
        # rho u, answers C u, and the gradient K^H h has the square h^H rho h.
        ridge = (self.ridge * bound).unsqueeze(-1)
        left, answer, h = x, torch.zeros_like(x), x
        direction, (removed, gained) = h, attend(h)
        square = _real_overlap(h, removed)
        # Rounding leaves h^H rho h no smaller than this, also once every key has been explained.
        resolution = 8 * torch.finfo(square.dtype).eps * (bound.unsqueeze(-1) * _real_overlap(x, x)).detach()
        for layer in range(self.layers):
            steepness = _real_overlap(removed, removed) + ridge * _real_overlap(direction, removed)
            # Without a past, or once all is explained that can be, there is no direction left to go.
            goes_on = (square > resolution) & (steepness > 0)
            size = torch.where(goes_on, square / torch.where(goes_on, steepness, 1.0), 0.0)
            left, answer = left - size * removed, answer + size * gained
            if layer + 1 == self.layers:
                break
            h = h - size * (removed + ridge * direction)
            of_h = attend(h)
            square_before, square = square, _real_overlap(h, of_h[0])
            ratio = torch.where(goes_on, square / torch.where(goes_on, square_before, 1.0), 0.0)
            direction = h + ratio * direction
            removed, gained = of_h[0] + ratio * removed, of_h[1] + ratio * gained
        return left, answer


@dataclass(frozen=True)
class Context:
    """What the steps of a sequence have seen, made ready to be asked.

    Attributes:
        past: The transitions seen before each step.
        key_bound: An upper bound of the norm of rho_j, (..., T).
        value_bound: Of B_j.
    """

    past: OperatorPast | ScorePast
    key_bound: Tensor
    value_bound: Tensor

    @classmethod
    def of(
        cls,
        x: Tensor,
        *,
        phases: TransitionPhases = "as_given",
        symmetries: tuple[Symmetry, ...] = (),
        heads: Heads | None = None,
        kernel: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Context:
        """From states (..., T, d); the arguments are those of `in_context_predictions`."""
        keys, values = transition_pairs(x, phases=phases, mask=mask)
        past: OperatorPast | ScorePast
        few = heads is None and 2 ** len(symmetries) * keys.shape[-2] <= _FEW * keys.shape[-1]
        if few or kernel is not None:
            past = ScorePast.of(keys, values, symmetries, kernel, heads)
        else:
            past = OperatorPast.of(keys, values, symmetries, heads)
        return cls(past, *past.bounds())

    def last(self) -> Context:
        """What the last step has seen."""
        return Context(self.past.last(), self.key_bound[..., -1:], self.value_bound[..., -1:])

    def forecast(
        self,
        x: Tensor,
        value: Tensor,
        regression: Descent | Conjugate,
        *,
        completion: Descent | Conjugate | None = None,
        restoration: Tensor | None = None,
    ) -> Tensor:
        """What follows x (..., T, d), entry j asked of what step j has seen, not normalised."""
        left, answer = regression.explain(self.past.attend, self.key_bound, x)
        rest = (left @ value.mT) * self.past.mean_phase(value).unsqueeze(-1)
        if completion is not None:
            rest, _ = completion.explain(self.past.attend_to_values, self.value_bound, rest)
            ratio = length(left) / length(rest)
            rest = rest * (ratio if restoration is None else ratio ** restoration[..., None, None])
        return answer + rest


def in_context_predictions(
    x: Complex[Tensor, "*#batch time dim"],
    value: Complex[Tensor, "*#batch dim dim"],
    regression: Descent | Conjugate,
    *,
    completion: Descent | Conjugate | None = None,
    restoration: Float[Tensor, "*#batch"] | None = None,
    phases: TransitionPhases = "as_given",
    symmetries: tuple[Symmetry, ...] = (),
    heads: Heads | None = None,
    kernel: Float[Tensor, "*#batch terms"] | None = None,
    mask: Bool[Tensor, "*#batch time"] | None = None,
    last_only: bool = False,
) -> Complex[Tensor, "*batch forecasts dim"]:
    """The forecasts of all steps, not normalised; entry j depends on x_0 ... x_j alone.

    Args:
        x: States (..., T, d), unit vectors.
        value: V, (..., d, d).
        regression: How r and z are found.
        completion: How q is found, with B_j in place of rho_j; None leaves it at e^{i alpha} V r_L.
        restoration: gamma in [0, 1], (...): how far q gets back the length that completion took; None is 1.
        phases: "as_given", or "transport" for states whose phases mean nothing; see `transition_pairs`.
        symmetries: Symmetries of the dynamics, which multiply the transitions: see `symmetric_images`.
        heads: Unitaries that turn transitions into further ones; None is one head, the identity.
        kernel: c_p >= 0 of sum 1, (..., degree + 1): a score s weighs s sum_p c_p abs(s)^(2p), not s, in the
            regression. Only for `Descent`: conjugate gradients need what is linear.
        mask: (..., T); a transition counts where both its ends exist.
        last_only: Whether only the forecast of the last step is wanted.

    Returns:
        (..., T, d), or (..., 1, d) where ``last_only``.

    Source: ours. Gradient descent as attention: arXiv:2212.07677; induction heads: arXiv:2209.11895.

    Example: a rotation in the plane is known once two steps of it were seen, though V is the identity.
        >>> angles = torch.arange(7, dtype=torch.float64)[:, None] * torch.tensor([0.5, -0.5])
        >>> circle = torch.polar(torch.full_like(angles, 0.5**0.5), angles)
        >>> regression = Conjugate(4, torch.zeros(6, dtype=torch.float64))
        >>> forecast = in_context_predictions(circle[:6], torch.eye(2, dtype=torch.complex128), regression)
        >>> bool((forecast[2:] - circle[3:]).abs().max() < 1e-9)
        True
    """
    known = Context.of(x, phases=phases, symmetries=symmetries, heads=heads, kernel=kernel, mask=mask)
    if mask is not None:
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    if last_only:
        x, known, regression = x[..., -1:, :], known.last(), regression.last()
        completion = completion.last() if completion is not None else None
    return known.forecast(x, value, regression, completion=completion, restoration=restoration)


def refined_states(
    x: Complex[Tensor, "*batch time dim"],
    forecasts: Complex[Tensor, "*batch time dim"],
    trust: Float[Tensor, "*#batch time"],
    *,
    mask: Bool[Tensor, "*#batch time"] | None = None,
) -> Complex[Tensor, "*batch time dim"]:
    """States with what was forecast of them mixed in: a filter against noise, the input of a further block.

        x'_j = normalise(x_j + kappa_j e^{i phi} z_{j-1} / ||z_{j-1}||),     phi = arg <z_{j-1}|x_j>

    The phase makes the two add up whatever global phase either has; x'_j depends on x_0 ... x_j alone.

    Args:
        x: States (..., T, d).
        forecasts: z, (..., T, d), entry j that of x_{j+1}.
        trust: kappa_j >= 0, (..., T).
        mask: (..., T); where the state before does not exist, nothing is mixed in.

    Example: a forecast that agrees up to a phase changes nothing.
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.complex64)
        >>> forecasts = torch.tensor([[0.6j, 0.8j], [1.0, 0.0]], dtype=torch.complex64)
        >>> refined_states(x, forecasts, torch.ones(2)).real
        tensor([[1.0000, 0.0000],
                [0.6000, 0.8000]])
    """
    present = x[..., 1:, :]
    expected = forecasts[..., :-1, :]
    if mask is not None:
        present = present.masked_fill(~mask[..., 1:].unsqueeze(-1), 0.0)
        expected = expected.masked_fill(~mask[..., :-1].unsqueeze(-1), 0.0)
    expected = expected / length(expected)
    phase = unit_phase((expected.conj() * present).sum(dim=-1, keepdim=True))
    mixed = present + trust[..., 1:].unsqueeze(-1) * phase * expected
    return torch.cat([x[..., :1, :], mixed / length(mixed)], dim=-2)


# Transitions and images a dimension: up to here scores are faster than operators, by 2 without images.
_FEW = 8
# Relative to a single transition, whose operator has norm 1.
_NO_PAST = 1e-9


def _real_overlap(left: Tensor, right: Tensor) -> Tensor:
    """Re <left|right>, (..., 1)."""
    return (left.real * right.real + left.imag * right.imag).sum(dim=-1, keepdim=True)
