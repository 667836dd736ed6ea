r"""Attention by dot products of measured vectors: queries, keys and values from circuits.

$$q_i = (\langle P_1\rangle, \dots, \langle P_m\rangle)_{U_q|x_i\rangle}, \quad k_j \text{ and } v_j
\text{ likewise with } U_k, U_v, \qquad A_{ij} = \mathrm{softmax}_j \frac{\beta\, q_i \cdot k_j}{\sqrt m}.$$

It is classical attention on quantum features: whatever its circuits add, they add one element at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from qdyn.attention.mechanism import register_attention
from qdyn.attention.paired_states import PairOptions, ValueName
from qdyn.attention.projected_pairs import ProjectedPairAttention
from qdyn.checks import check_integer, check_positive


@dataclass(frozen=True)
class MeasuredOptions(PairOptions):
    """Options of `MeasuredVectorAttention`: those of `PairOptions`, values measured by default, and more.

    Attributes:
        projected: m, components of queries and keys, >= 1; None takes 3 for every qubit.
        beta: Inverse temperature, > 0.
    """

    values: ValueName = "measured"
    projected: int | None = None
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.projected is not None:
            check_integer("projected", self.projected, minimum=1)
        check_positive("beta", self.beta)


@register_attention("measured", options=MeasuredOptions)
class MeasuredVectorAttention(ProjectedPairAttention):
    """Dot products of vectors that are measured on query and key circuits; values are measured too.

    Parameters: 3 circuits a head, the read-out, and the map into the encoding where one is needed. Device:
    3 T circuits of n qubits, read in 3 bases for one-body strings. Simulation: T m 2^n and T^2 m.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `MeasuredOptions`.

    Source: the common form of models with queries, keys and values from circuits; survey arXiv:2504.03192.

    Example:
        >>> import torch
        >>> from qdyn.attention import build
        >>> x = torch.randn(2, 5, 6)
        >>> output, weights = build("measured", dim=6, heads=2, qubits=2)(x, x, x)
        >>> output.shape, bool((weights.sum(-1) - 1).abs().max() < 1e-6)
        (torch.Size([2, 5, 6]), True)
    """

    options: MeasuredOptions

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Beta q_i . k_j / sqrt(m)."""
        return self.options.beta / math.sqrt(len(self.projections)) * queries @ keys.mT
