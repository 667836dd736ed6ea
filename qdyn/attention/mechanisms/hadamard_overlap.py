r"""Attention by the overlap of query and key states, which Hadamard tests read.

The real part gives scores for a softmax; the complex overlap itself is a weight in a linear combination of
value states:

$$\text{real: } A_{ij} = \mathrm{softmax}_j\, \beta\, \mathrm{Re}\langle q_i|k_j\rangle, \qquad
\text{complex: } |z_i\rangle \propto \sum_j \langle k_j|q_i\rangle\, U_v |x_j\rangle .$$

`qdyn.attention.hadamard` computes the same overlaps by tables where query and key circuits have one layer,
and has the circuit that is published; encoding "real" with positions "register" is its model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from qdyn.attention.comparison_circuits import overlap_test
from qdyn.attention.mechanism import register_attention
from qdyn.attention.pair_weights import biased_weights, softmax_weights
from qdyn.attention.paired_states import PairAttention, PairOptions, overlaps
from qdyn.attention.trained_circuits import expectations
from qdyn.checks import check_positive
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class HadamardOptions(PairOptions):
    """Options of `HadamardAttention`: those of `PairOptions`, and more.

    Attributes:
        part: "real" for a softmax of the real part, "complex" for a combination of value states, which are
            then measured.
        beta: Inverse temperature of "real", > 0; None takes sqrt(dim).
    """

    part: Literal["real", "complex"] = "real"
    beta: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta is not None:
            check_positive("beta", self.beta)
        if self.part == "complex" and self.values != "measured":
            raise ArgumentError(
                f"Argument `values` must be 'measured' for the part 'complex', but is {self.values!r}."
            )


@register_attention("hadamard", options=HadamardOptions)
class HadamardAttention(PairAttention):
    """Weights by the overlap of a query and a key state, real or complex, from Hadamard tests.

    The weights returned are A for "real"; for "complex" the shares abs(s_ij) / sum_j abs(s_ij) of the complex
    weights s_ij, which combine states and not numbers.

    Parameters: 2 circuits and 2 dim^2, or 3 circuits and the read-out; the map into the encoding where one is
    needed. Device: T^2 circuits of n + 1 qubits, twice as many for "complex"; combining states succeeds with
    probability ||sum_j s_ij v_j||^2 / (sum_j abs(s_ij))^2. Simulation: T^2 2^n.

    Args:
        dim: Width of the elements.
        heads: Overlaps side by side.
        causal: Whether element i may see elements j <= i only.
        options: `HadamardOptions`.

    Source: real, arXiv:2502.19214; complex, arXiv:2503.19002 (abstract; its normalisation is ours).

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.ones(1, 2, 4)
        >>> build("hadamard", dim=4, qubits=2)(x, x, x)[1].detach().round(decimals=5)
        tensor([[[[1.0000, 0.0000],
                  [0.5000, 0.5000]]]])
    """

    options: HadamardOptions

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        if self.options.part == "real":
            return super().attend(queries, keys, values, allowed, bias)
        assert self.value_circuits is not None
        of_queries, of_keys, of_values = self.states.each(queries, keys, values)
        q, k = self.query_circuits(of_queries), self.key_circuits(of_keys)
        scores = biased_weights(overlaps(q, k).conj(), allowed, bias)
        combined = scores @ self.value_circuits(of_values)
        squares = combined.real.square() + combined.imag.square()
        length = squares.sum(-1, keepdim=True)
        unit = combined / torch.where(length > 0, length, 1.0).sqrt()
        measured = expectations(unit, self.words)
        shares = scores.abs()
        total = shares.sum(-1, keepdim=True)
        return self.output(self.join_heads(measured)), shares / torch.where(total > 0, total, 1.0)

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """See `PairAttention.pair_weights`."""
        beta = math.sqrt(self.dim) if self.options.beta is None else self.options.beta
        return softmax_weights(beta * overlaps(queries, keys).real, allowed, bias)

    def circuit(
        self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0, part: str = "real"
    ) -> Program:
        """Re or Im <q_i|k_j> as <Z> of the ancilla."""
        return overlap_test(
            self.prepared("query", queries, row, head=head),
            self.prepared("key", keys, column, head=head),
            part=part,
        )
