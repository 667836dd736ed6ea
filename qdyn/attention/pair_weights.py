"""Which elements may see which, and weights that heed it: what all mechanisms do with masks and biases."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from qdyn.errors import ArgumentError


def allowed_pairs(
    batch: int,
    steps: int,
    mask: Shaped[Tensor, "*_batch_time"] | None = None,
    *,
    causal: bool,
    device: torch.device | str | None = None,
) -> Bool[Tensor, "#batch 1 time time"]:
    """Which element j each element i may see, (batch or 1, 1, T, T).

    Args:
        batch: Number of sequences.
        steps: T.
        mask: As of `Attention.forward`.
        causal: Whether j <= i only.
        device: Where.

    Raises:
        ArgumentError: a mask of another shape or type.

    Example: the second of three elements is left out.
        >>> allowed_pairs(1, 3, torch.tensor([[True, False, True]]), causal=True)[0, 0].int()
        tensor([[1, 0, 0],
                [1, 0, 0],
                [1, 0, 1]], dtype=torch.int32)
    """
    ones = torch.ones(1, 1, steps, steps, dtype=torch.bool, device=device)
    allowed = ones.tril() if causal else ones
    if mask is None:
        return allowed
    if mask.dtype != torch.bool:
        raise ArgumentError(f"Argument `mask` must be of torch.bool, True takes part, but is {mask.dtype}.")
    shape = tuple(mask.shape)
    if shape == (batch, steps):
        return allowed & mask[:, None, None, :]
    if shape == (steps, steps):
        return allowed & mask
    if shape in ((batch, steps, steps), (1, steps, steps)):
        return allowed & mask[:, None]
    raise ArgumentError(
        f"Argument `mask` must have shape ({batch}, {steps}), ({steps}, {steps}) or ({batch}, {steps}, "
        f"{steps}), but has {shape}."
    )


def softmax_weights(
    scores: Float[Tensor, "*batch rows columns"],
    allowed: Bool[Tensor, "*#batch rows columns"],
    bias: Float[Tensor, "*#batch rows columns"] | None = None,
) -> Float[Tensor, "*batch rows columns"]:
    """exp(s_ij + b_ij) over its sum over the allowed j; a row without any is 0.

    Example:
        >>> softmax_weights(torch.zeros(2, 2), torch.tensor([[False, False], [True, True]]))
        tensor([[0.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    if bias is not None:
        scores = scores + bias
    # A row without anybody keeps its scores, so that neither the softmax nor its gradient is NaN there.
    anybody = allowed.any(dim=-1, keepdim=True)
    kept = scores.masked_fill(~allowed & anybody, -math.inf)
    return kept.softmax(dim=-1).masked_fill(~allowed, 0.0)


def normalised_weights(
    weights: Float[Tensor, "*batch rows columns"],
    allowed: Bool[Tensor, "*#batch rows columns"],
    bias: Float[Tensor, "*#batch rows columns"] | None = None,
) -> Float[Tensor, "*batch rows columns"]:
    """a_ij exp(b_ij) over its sum over the allowed j, for a_ij >= 0; a row whose sum is 0 is 0.

    Example:
        >>> normalised_weights(torch.tensor([[1.0, 9.0], [1.0, 3.0]]), torch.ones(2, 2, dtype=bool).tril())
        tensor([[1.0000, 0.0000],
                [0.2500, 0.7500]])
    """
    kept = biased_weights(weights, allowed, None if bias is None else levelled(bias, allowed))
    total = kept.sum(dim=-1, keepdim=True)
    return kept / torch.where(total > 0, total, 1.0)


def levelled(
    bias: Float[Tensor, "*batch rows columns"], allowed: Bool[Tensor, "*#batch rows columns"]
) -> Float[Tensor, "*batch rows columns"]:
    """A bias whose largest allowed entry in each row is 0: where rows are normalised, nothing overflows.

    Example:
        >>> levelled(torch.tensor([[900.0, 901.0]]), torch.tensor([[True, True]]))
        tensor([[-1.,  0.]])
    """
    seen = bias.detach().masked_fill(~allowed, -math.inf).amax(dim=-1, keepdim=True)
    return bias - torch.where(seen.isfinite(), seen, 0.0)


def check_element_mask(mask: Tensor | None, batch: int, steps: int) -> None:
    """Refuse a mask that does not say of every element whether it takes part.

    Raises:
        ArgumentError: another shape or type.
    """
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ArgumentError(f"Argument `mask` must be of torch.bool, True takes part, but is {mask.dtype}.")
    if tuple(mask.shape) != (batch, steps):
        raise ArgumentError(
            f"Argument `mask` must have shape ({batch}, {steps}), but has shape {tuple(mask.shape)}."
        )


def biased_weights(weights: Tensor, allowed: Tensor, bias: Tensor | None = None) -> Tensor:
    """a_ij exp(b_ij) where allowed, else 0, real or complex; nothing is normalised."""
    if bias is not None:
        weights = weights * bias.exp()
    return weights.masked_fill(~allowed, 0.0)
