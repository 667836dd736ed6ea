r"""Orthogonal attention: scores and values by orthogonal matrices of RBS gates, on one excitation.

$$A_{ij} \propto (\hat q_i^T W \hat k_j)^2, \qquad y_i = \sum_j A_{ij}\, V v_j, \qquad W, V \in SO(n),$$

with unit vectors $\hat q, \hat k$. The score is the probability that a register which was loaded with k_j,
turned by W and unloaded with q_i is found where the loading began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from qdyn.attention.comparison_circuits import inverse_test
from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import normalised_weights
from qdyn.attention.rbs_layers import RBSMatrices
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.unary import unary_encoding
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError

LayoutName = Literal["pyramid", "butterfly", "x"]


@dataclass(frozen=True)
class OrthogonalOptions:
    """Options of `OrthogonalAttention`.

    Attributes:
        layout: Of the gates: "pyramid", "butterfly" or "x"; see `qdyn.attention.rbs_layers`.
        output: Whether a trained linear map follows; as published there is none.
    """

    layout: LayoutName = "pyramid"
    output: bool = False


@register_attention("orthogonal", options=OrthogonalOptions)
class OrthogonalAttention(Attention):
    """Squared scores and values by orthogonal layers of RBS gates (Quantum Vision Transformers).

    Parameters: n (n - 1) angles a head for the layout "pyramid", n = dim / heads. Device: T^2 circuits of n
    qubits of depth about 2 n, and T n for the values. Simulation: T^2 n + n^3: there is a classical algorithm
    as fast as the circuit is long.

    Args:
        dim: A multiple of heads, at least 2 heads.
        heads: Each has n = dim / heads components.
        causal: Whether element i may see elements j <= i only.
        options: `OrthogonalOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads, or the layout does not have this size.

    Source: arXiv:2209.08167, the orthogonal transformer; scores divided by their sum over a row.

    Example:
        >>> from qdyn.attention import build
        >>> sum(held.numel() for held in build("orthogonal", dim=8, heads=2).parameters())
        24
    """

    options: OrthogonalOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: OrthogonalOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        if dim % heads or dim // heads < 2:
            raise ArgumentError(
                f"Argument `heads` must divide dim={dim} and leave 2 components each, but is {heads}."
            )
        layout = self.options.layout
        self.scores, self.values = (RBSMatrices(dim // heads, heads=heads, layout=layout) for _ in range(2))
        self.output = nn.Linear(dim, dim, bias=False) if self.options.output else nn.Identity()

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        weights = normalised_weights(self.probabilities(queries, keys), allowed, bias)
        mixed = weights @ (self.split_heads(values) @ self.values().mT)
        return self.output(self.join_heads(mixed)), weights

    def probabilities(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(q_i W k_j)^2 of unit vectors, (batch, heads, T, T)."""
        q, k = (_unit(self.split_heads(elements)) for elements in (queries, keys))
        return (q @ self.scores() @ k.mT).square()

    def circuit(self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """(q_i W k_j)^2 as the probability of zeros after k_j is loaded, turned, and q_i unloaded."""
        q, k = self.split_heads(queries)[:, head, row], self.split_heads(keys)[:, head, column]
        loaded = unary_encoding(k)
        circuit = Circuit(q=loaded.n_qubits).compose(loaded.circuit).compose(self.scores.circuit("trained"))
        turned = Program(circuit, {**loaded.values, "trained": self.scores.angles[head]})
        return inverse_test(turned, unary_encoding(q))


def _unit(vectors: Tensor) -> Tensor:
    squares = vectors.square().sum(-1, keepdim=True)
    return vectors / torch.where(squares > 0, squares, 1.0).sqrt()
