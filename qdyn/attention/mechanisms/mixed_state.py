r"""Attention by the overlap of mixed states: what is left of query and key after some qubits are discarded.

$$A_{ij} \propto \mathrm{Tr}(\rho^q_i\, \rho^k_j), \qquad
\rho^q_i = \mathrm{Tr}_{\text{traced}}\, |q_i\rangle\langle q_i| .$$

A swap test on the qubits that are kept reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex
from torch import Tensor

from qdyn.attention.comparison_circuits import swap_test
from qdyn.attention.mechanism import register_attention
from qdyn.attention.mechanisms.fidelity_kernel import FidelityOptions
from qdyn.attention.pair_weights import normalised_weights, softmax_weights
from qdyn.attention.paired_states import PairAttention
from qdyn.checks import check_integer
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class MixedStateOptions(FidelityOptions):
    """Options of `MixedStateAttention`: those of `FidelityOptions`, and more.

    Attributes:
        traced: Qubits that are discarded, the last ones, >= 1 and fewer than there are.
    """

    traced: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer("traced", self.traced, minimum=1)


@register_attention("mixed_state", options=MixedStateOptions)
class MixedStateAttention(PairAttention):
    """Weights by the overlap Tr(rho sigma) of mixed query and key states (QMSAN).

    Parameters: as of `qdyn.attention.mechanisms.fidelity_kernel`. Device: T^2 swap tests of 2 n + 1 qubits.
    Simulation: T 2^n 2^kept, and T^2 4^kept.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `MixedStateOptions`.

    Raises:
        ArgumentError: no qubit would be left.

    Source: arXiv:2403.02871 (abstract; which qubits are traced out is ours).

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.ones(1, 2, 4)
        >>> build("mixed_state", dim=4, qubits=2)(x, x, x)[1].detach().round(decimals=5)
        tensor([[[[1.0000, 0.0000],
                  [0.5000, 0.5000]]]])
    """

    options: MixedStateOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: MixedStateOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        self.kept = self.n_qubits - self.options.traced
        if self.kept < 1:
            raise ArgumentError(
                f"Argument `traced` must be less than the {self.n_qubits} qubits, "
                f"but is {self.options.traced}."
            )

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """See `PairAttention.pair_weights`."""
        overlap = mixed_overlaps(queries, keys, traced=self.options.traced)
        if self.options.normalisation == "softmax":
            return softmax_weights(self.options.beta * overlap, allowed, bias)
        return normalised_weights(overlap, allowed, bias)

    def circuit(self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """Tr(rho^q_i rho^k_j) as <Z> of the ancilla of a swap test."""
        return swap_test(
            self.prepared("query", queries, row, head=head),
            self.prepared("key", keys, column, head=head),
            kept=range(self.kept),
        )


def mixed_overlaps(
    queries: Complex[Tensor, "*batch rows d"], keys: Complex[Tensor, "*batch columns d"], *, traced: int
) -> Tensor:
    """Tr(rho_i sigma_j) of the states left when the last ``traced`` qubits are discarded, (..., T, T).

    Example: with nothing shared between the parts, the purity stays 1.
        >>> state = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.complex64)
        >>> mixed_overlaps(state, state, traced=1)
        tensor([[1.]])
    """
    q, k = (reduced_density(states, traced=traced).flatten(-2) for states in (queries, keys))
    return (q @ k.mH).real


def reduced_density(
    states: Complex[Tensor, "*batch d"], *, traced: int
) -> Complex[Tensor, "*batch kept kept"]:
    """The state rho of the first qubits when the last ``traced`` are discarded."""
    parts = torch.unflatten(states, -1, (-1, 2**traced))
    return torch.matmul(parts, parts.mH)
