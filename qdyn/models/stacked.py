"""Linear maps and normalisations whose weights may begin with an axis of models.

With such weights the same forward pass computes many models as one batch, each on its own part of the
input: products become batched products, and nothing is left to `torch.vmap`, whose every operation costs as
much as its arithmetic where models are small.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Linear(nn.Linear):
    """`torch.nn.Linear` of tokens, or of the tokens of each model.

    Example:
        >>> one, other = Linear(3, 2), Linear(3, 2)
        >>> stacked, _ = torch.func.stack_module_state([one, other])
        >>> tokens = torch.ones(2, 5, 3)
        >>> found = torch.func.functional_call(one, stacked, (tokens,))
        >>> torch.testing.assert_close(found[1], other(tokens[1]))
    """

    def forward(
        self, tokens: Float[Tensor, "*models tokens inputs"]
    ) -> Float[Tensor, "*models tokens outputs"]:
        """W x + b for every token."""
        if self.weight.ndim == 2:
            return super().forward(tokens)
        found: Tensor = _Products.apply(tokens, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return found


class _Products(torch.autograd.Function):
    """W x + b of each model. PyTorch's own gradient of W is a transpose, which it then copies."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        return torch.baddbmm(bias[:, None], tokens, weight.mT)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = arriving
        tokens, weight = ctx.saved_tensors
        return gradient @ weight, gradient.mT @ tokens, gradient.sum(dim=-2)


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` of tokens, or of the tokens of each model."""

    def forward(self, tokens: Float[Tensor, "*models tokens width"]) -> Float[Tensor, "*models tokens width"]:
        """Deviations from the mean over the standard deviation, scaled and moved."""
        if self.weight.ndim == 1:
            return super().forward(tokens)
        standard = nn.functional.layer_norm(tokens, self.normalized_shape, eps=self.eps)
        return torch.addcmul(self.bias[:, None], standard, self.weight[:, None])
