r"""Attention with the value circuit of QASA: classical weights, and features of eight qubits.

With $A$ the weights of scaled dot products and $C(u) = W_{out}\, \mathrm{PQC}(\mathrm{LN}(\tanh(W_{in} u)))$,

$$\text{"output": } y_i = u_i + C(u_i),\; u_i = \sum_j A_{ij} v_j, \qquad
\text{"values": } y_i = \sum_j A_{ij}\, C(v_j).$$

The text of the publication describes the second, its program computes the first: the circuit stands in a
bottleneck of its own after the attention, which is classical throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import softmax_weights
from qdyn.attention.qasa.adapter import N_DATA, WEIGHT_SHAPE, prune_weights, qasa_circuit, qasa_expectations
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class AdapterOptions:
    """Options of `AdapterAttention`.

    Attributes:
        place: "output" (as computed by the published program) or "values" (as described in its text).
    """

    place: Literal["output", "values"] = "output"


@register_attention("qasa", options=AdapterOptions)
class AdapterAttention(Attention):
    """Classical weights, and the nine-qubit circuit of QASA on values or output.

    Parameters: 4 dim^2 for queries, keys, values and output, 16 dim + 8 for the maps, 16 of the
    normalisation, 33 angles. Device: T circuits of 9 qubits and 100 gates. Simulation: T 2^9, and T^2 dim.

    Args:
        dim: A multiple of heads.
        heads: Classical heads.
        causal: Whether element i may see elements j <= i only; the published one sees all.
        options: `AdapterOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads.

    Source: arXiv:2504.05336 and its program; the constant that is added to all inputs there is left to the
    normalisation, which can represent it. Its fourth version withdraws the claim of an advantage.

    Example:
        >>> from qdyn.attention import build
        >>> attention = build("qasa", dim=16, heads=4)
        >>> sum(parameter.numel() for parameter in attention.parameters())
        1337
    """

    options: AdapterOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: AdapterOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        if dim % heads:
            raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.down, self.norm = nn.Linear(dim, N_DATA), nn.LayerNorm(N_DATA)
        self.up = nn.Linear(N_DATA, dim, bias=False)
        self.angles = nn.Parameter(prune_weights(2 * math.pi * torch.rand(WEIGHT_SHAPE)))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        q, k = self.split_heads(self.query(queries)), self.split_heads(self.key(keys))
        weights = softmax_weights(q @ k.mT / math.sqrt(self.dim / self.heads), allowed, bias)
        held = self.value(values)
        if self.options.place == "values":
            held = self.features(held)
        mixed = self.output(self.join_heads(weights @ self.split_heads(held)))
        return (mixed + self.features(mixed) if self.options.place == "output" else mixed), weights

    def features(self, vectors: Tensor) -> Tensor:
        """C(u), (batch, T, dim)."""
        return self.up(qasa_expectations(self.inputs(vectors), self.angles))

    def inputs(self, vectors: Tensor) -> Tensor:
        """The eight angles of each vector, in radians."""
        return self.norm(torch.tanh(self.down(vectors)))

    def circuit(self, vectors: Tensor, *, observable: int = 0) -> Program:
        """<Z> of one qubit for vectors u, which are what the circuit adapts; see `qasa_circuit`."""
        return qasa_circuit(self.inputs(vectors), self.angles, output=observable, pruned=True)
