r"""Attention by the fidelity of query and key states, a quantum kernel.

$$K_{ij} = |\langle k_j | q_i \rangle|^2, \qquad A_{ij} = \frac{K_{ij}}{\sum_{j'} K_{ij'}}
\;\text{ or }\; \mathrm{softmax}_j\, \beta K_{ij}.$$

K depends on $U_k^\dagger U_q$ only: half of the angles are redundant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from qdyn.attention.comparison_circuits import inverse_test
from qdyn.attention.mechanism import register_attention
from qdyn.attention.pair_weights import normalised_weights, softmax_weights
from qdyn.attention.paired_states import PairAttention, PairOptions, overlaps
from qdyn.checks import check_positive
from qdyn.circuits.executors.program import Program


@dataclass(frozen=True)
class FidelityOptions(PairOptions):
    """Options of `FidelityAttention`: those of `PairOptions`, and more.

    Attributes:
        normalisation: "sum" divides K by its sum over a row; "softmax" takes that of beta K.
        beta: Inverse temperature of "softmax", > 0.
    """

    normalisation: Literal["sum", "softmax"] = "sum"
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("beta", self.beta)


@register_attention("fidelity", options=FidelityOptions)
class FidelityAttention(PairAttention):
    """Weights by the fidelity of a query and a key state, a quantum kernel.

    Parameters: 2 circuits and 2 dim^2 a mechanism (values, output), and the map into the encoding where one
    is needed. Device: T^2 circuits of n qubits, each of twice the depth. Simulation: T^2 2^n.

    Args:
        dim: Width of the elements.
        heads: Kernels side by side.
        causal: Whether element i may see elements j <= i only.
        options: `FidelityOptions`.

    Source: the kernel of Havlíček et al., arXiv:1804.11326, and Schuld and Killoran, arXiv:1803.07128
    (recalled, not read again); as attention e.g. in arXiv:2308.13422.

    Example: equal elements share the attention.
        >>> from qdyn.attention import build
        >>> x = torch.ones(1, 2, 4)
        >>> build("fidelity", dim=4, qubits=2)(x, x, x)[1].round(decimals=5)
        tensor([[[[1.0000, 0.0000],
                  [0.5000, 0.5000]]]], grad_fn=<RoundBackward1>)
    """

    options: FidelityOptions

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """See `PairAttention.pair_weights`."""
        kernel = fidelity_kernel(queries, keys)
        if self.options.normalisation == "softmax":
            return softmax_weights(self.options.beta * kernel, allowed, bias)
        return normalised_weights(kernel, allowed, bias)

    def circuit(self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """K_ij as the probability of zeros after U_q and U_k undone."""
        return inverse_test(
            self.prepared("query", queries, row, head=head), self.prepared("key", keys, column, head=head)
        )


def fidelity_kernel(queries: Tensor, keys: Tensor) -> Tensor:
    """abs(<k_j|q_i>)^2, (..., T, T), smooth at 0."""
    found = overlaps(queries, keys)
    return found.real.square() + found.imag.square()
