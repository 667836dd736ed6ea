r"""Encoder layers for time series: the classical one, QASA's with an adapter, and that of QnnFormer.

All work on tokens (batch * time, width) and normalise after each residual sum. With A = attention(x):

    classical   u = LN(x + drop A),  out = LN(u + drop W_2 drop relu(W_1 u))
    adapter     u = LN(x + A),  g = adapter(u),  out = LN(g + drop W_2 drop gelu(W_1 g))
    circuits    the same without adapter; queries, keys and values come from circuits of x

Source: arXiv:2504.05336 and the program of its authors; the classical layer is that of PyTorch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qdyn.attention.mechanism import build
from qdyn.attention.qasa.qnnformer_circuit import N_QNN, QNN_WEIGHTS, qnnformer_expectations
from qdyn.models.adapters import Adapter
from qdyn.models.initial import kaiming_linear
from qdyn.models.series.config import MULTI_HEAD, SeriesEncoderConfig
from qdyn.models.series.dropout import Drop
from qdyn.models.stacked import LayerNorm, Linear

_FEED_FORWARD = 4
# Standard deviation of the angles of a circuit at the start.
_INITIAL_ANGLE = 0.01


class SeriesAttention(nn.Module, ABC):
    """Attention among tokens (batch * time, width)."""

    @abstractmethod
    def forward(self, tokens: Tensor, seen: Tensor, drop: Drop) -> Tensor:
        """The output for every token; ``seen`` (batch, time, time) is True where row i may see column j.

        Tokens and ``seen`` begin with an axis of models where the weights do.
        """


class MultiHeadAttention(SeriesAttention):
    """Scaled dot products of h heads.

    Args:
        width: Of the tokens.
        heads: h.
        drops: Whether weights may be dropped.
    """

    def __init__(self, width: int, heads: int, *, drops: bool) -> None:
        super().__init__()
        self._heads, self._drops = heads, drops
        self._add_projections(width)
        self.out = Linear(width, width)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, tokens: Float[Tensor, "*models tokens width"], seen: Tensor, drop: Drop
    ) -> Float[Tensor, "*models tokens width"]:
        """See `SeriesAttention.forward`."""
        # Tokens (..., batch * time, width) as (..., batch, head, time, width of a head).
        q, k, v = (
            one.reshape(*seen.shape[:-1], self._heads, -1).transpose(-2, -3) for one in self._project(tokens)
        )
        scores = (q / math.sqrt(q.shape[-1])) @ k.mT
        weights = scores.masked_fill(~seen.unsqueeze(-3), -math.inf).softmax(-1)
        if self._drops:
            weights = drop(weights)
        return self.out((weights @ v).transpose(-2, -3).reshape(tokens.shape))

    def _add_projections(self, width: int) -> None:
        self.project = Linear(width, 3 * width)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def _project(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of each token."""
        projected: tuple[Tensor, ...] = self.project(tokens).chunk(3, dim=-1)
        return projected


class CircuitAttention(MultiHeadAttention):
    """The same with queries, keys and values from circuits of 4 qubits: QnnFormer."""

    def _add_projections(self, width: int) -> None:
        self.narrow = kaiming_linear(width, N_QNN)
        self.norm = LayerNorm(N_QNN)
        self.weights = nn.Parameter(_INITIAL_ANGLE * torch.randn(3, QNN_WEIGHTS))
        self.widen = nn.ModuleList(Linear(3 * N_QNN, width) for _ in range(3))

    def _project(self, tokens: Tensor) -> tuple[Tensor, ...]:
        angles = self.norm(torch.tanh(self.narrow(tokens)))
        stacked = self.weights.ndim == 3
        read = (torch.vmap(qnnformer_expectations) if stacked else qnnformer_expectations)(
            angles, self.weights
        )
        return tuple(widen(one) for widen, one in zip(self.widen, read.unbind(-3), strict=True))


class NamedAttention(SeriesAttention):
    """Any mechanism of `qdyn.attention`."""

    def __init__(
        self, name: str, width: int, heads: int, *, causal: bool, options: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.mechanism = build(name, dim=width, heads=heads, causal=causal, **options)

    def forward(
        self, tokens: Float[Tensor, "*models tokens width"], seen: Tensor, drop: Drop
    ) -> Float[Tensor, "*models tokens width"]:
        """See `SeriesAttention.forward`."""
        sequence = tokens.reshape(seen.shape[0], seen.shape[-1], -1)
        output, _ = self.mechanism(sequence, sequence, sequence, seen)
        return output.reshape(tokens.shape)


def make_attention(config: SeriesEncoderConfig, *, drops: bool) -> SeriesAttention:
    """The attention of a layer, whose weights may be dropped."""
    if config.attention == MULTI_HEAD:
        return MultiHeadAttention(config.width, config.heads, drops=drops)
    return NamedAttention(
        config.attention,
        config.width,
        config.heads,
        causal=config.causal,
        options=config.attention_options,
    )


class ClassicalLayer(nn.Module):
    """PyTorch's encoder layer, normalised after each residual sum.

    Args:
        width: Of the tokens.
        attention: Among them.
    """

    def __init__(self, width: int, attention: SeriesAttention) -> None:
        super().__init__()
        self.attention = attention
        self.first = Linear(width, _FEED_FORWARD * width)
        self.second = Linear(_FEED_FORWARD * width, width)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)

    def forward(
        self, tokens: Float[Tensor, "*models tokens width"], seen: Tensor, drop: Drop
    ) -> Float[Tensor, "*models tokens width"]:
        """See the top of this file."""
        tokens = self.norm1(tokens + drop(self.attention(tokens, seen, drop)))
        return self.norm2(tokens + drop(self.second(drop(torch.relu(self.first(tokens))))))


class AdapterLayer(nn.Module):
    """QASA's layer: an adapter between attention and perceptron, GELU, and no dropout of the attention.

    Args:
        width: Of the tokens.
        attention: Among them.
        adapter: None leaves it out.
    """

    def __init__(self, width: int, attention: SeriesAttention, adapter: Adapter | None) -> None:
        super().__init__()
        self.attention = attention
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.first = Linear(width, _FEED_FORWARD * width)
        self.second = Linear(_FEED_FORWARD * width, width)
        self.adapter = nn.Identity() if adapter is None else adapter

    def forward(
        self, tokens: Float[Tensor, "*models tokens width"], seen: Tensor, drop: Drop
    ) -> Float[Tensor, "*models tokens width"]:
        """See the top of this file."""
        tokens = self.adapter(self.norm1(tokens + self.attention(tokens, seen, drop)))
        inner = drop(nn.functional.gelu(self.first(tokens)))
        return self.norm2(tokens + drop(self.second(inner)))
