r"""Classical attention by scaled dot products, the reference of every quantum mechanism.

$$A_{ij} = \mathrm{softmax}_j\, \frac{(W_q q_i) \cdot (W_k k_j)}{\tau \sqrt{\mathrm{dim} / \mathrm{heads}}},
\qquad y_i = W_o \sum_j A_{ij}\, W_v v_j.$$
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import softmax_weights
from qdyn.checks import check_positive
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class SoftmaxOptions:
    """Options of `SoftmaxAttention`.

    Attributes:
        projection: Whether queries, keys, values and output go through trained matrices W.
        temperature: tau > 0; large values level the weights.
    """

    projection: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("temperature", self.temperature)


@register_attention("softmax", options=SoftmaxOptions)
class SoftmaxAttention(Attention):
    """Classical scaled dot-product attention, the reference of all others.

    Parameters: 4 dim^2, none without projections. Time: T^2 dim + T dim^2 a sequence.

    Args:
        dim: A multiple of heads.
        heads: h; each has dim / h components.
        causal: Whether element i may see elements j <= i only.
        options: `SoftmaxOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads.

    Source: Vaswani et al., arXiv:1706.03762.

    Example: without projections, equal elements share the attention.
        >>> from qdyn.attention import build
        >>> x = torch.ones(1, 2, 4)
        >>> build("softmax", dim=4, projection=False)(x, x, x)[1]
        tensor([[[[1.0000, 0.0000],
                  [0.5000, 0.5000]]]])
    """

    options: SoftmaxOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: SoftmaxOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        if dim % heads:
            raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")

        def matrix() -> nn.Module:
            return nn.Linear(dim, dim, bias=False) if self.options.projection else nn.Identity()

        self.query, self.key, self.value, self.output = matrix(), matrix(), matrix(), matrix()

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        q, k, v = (
            self.split_heads(matrix(x))
            for matrix, x in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        scores = q @ k.mT / (self.options.temperature * math.sqrt(self.dim / self.heads))
        weights = softmax_weights(scores, allowed, bias)
        return self.output(self.join_heads(weights @ v)), weights
