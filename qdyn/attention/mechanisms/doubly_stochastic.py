r"""Attention by a doubly stochastic matrix: transition probabilities of a unitary over positions.

$$A_{ij} = |\langle i|e^{-i \tau H}|j\rangle|^2, \qquad H_{ij} = \tfrac12 (S_{ij} + S_{ji}), \quad
S_{ij} = \frac{(W_q q_i) \cdot (W_k k_j)}{\sqrt{\mathrm{dim}/\mathrm{heads}}}.$$

Rows and columns sum to 1: every element gives away as much attention as it receives. The unitary is that of a
quantum walk whose hopping amplitudes are the scores; log2(T) qubits hold the position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import allowed_pairs, biased_weights, check_element_mask
from qdyn.attention.quantum_walks import prefix_walks, symmetric, walk
from qdyn.checks import check_positive
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import unitary_circuit
from qdyn.circuits.executors.program import AllZero, Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class DoublyStochasticOptions:
    """Options of `DoublyStochasticAttention`.

    Attributes:
        time: tau at the start, > 0; it is trained.
    """

    time: float = 1.0

    def __post_init__(self) -> None:
        check_positive("time", self.time)


@register_attention("doubly_stochastic", options=DoublyStochasticOptions)
class DoublyStochasticAttention(Attention):
    """Doubly stochastic weights: the transition probabilities of a quantum walk along the scores.

    Sees all elements: a triangular doubly stochastic matrix is the identity, so it cannot be causal. An
    element that a mask leaves out keeps to itself. A bias, made symmetric, multiplies H_ij by exp(b_ij).

    Parameters: 4 dim^2 + heads. Device: T circuits of log2(T) qubits and about T^2 gates. Simulation: T^3,
    of all prefixes together too.

    Args:
        dim: A multiple of heads.
        heads: Walks side by side.
        causal: Must be False.
        options: `DoublyStochasticOptions`.

    Raises:
        ArgumentError: it was asked to be causal, or dim is no multiple of heads.

    Source: abs(U)^2 in place of softmax, arXiv:2504.16275 (abstract), where a circuit of other form is used;
    the walk is ours.

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.randn(1, 5, 4)
        >>> weights = build("doubly_stochastic", dim=4, causal=False)(x, x, x)[1]
        >>> bool((weights.sum(-1) - 1).abs().max() < 1e-5), bool((weights.sum(-2) - 1).abs().max() < 1e-5)
        (True, True)
    """

    options: DoublyStochasticOptions
    can_be_causal = False

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: DoublyStochasticOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        if causal:
            raise ArgumentError(
                "Argument `causal` must be False for the attention 'doubly_stochastic': of triangular "
                "matrices only the identity is doubly stochastic."
            )
        if dim % heads:
            raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.time = nn.Parameter(torch.full((heads, 1, 1), self.options.time))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        unitary = self.unitaries(queries, keys, allowed, bias)
        weights = unitary.real.square() + unitary.imag.square()
        return self.output(self.join_heads(weights @ self.split_heads(self.value(values)))), weights

    def unitaries(
        self, queries: Tensor, keys: Tensor, allowed: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """exp(-i tau H) of every head, (batch, heads, T, T)."""
        if allowed is None:
            steps = queries.shape[1]
            allowed = torch.ones(steps, steps, dtype=torch.bool, device=queries.device)
        together = allowed & allowed.mT
        cosine, sine = walk(self.time * self._hopping(queries, keys, together, bias))
        # What hops nowhere keeps to itself; eigenvectors leave a rounding error of it elsewhere.
        itself = torch.eye(allowed.shape[-1], dtype=torch.bool, device=queries.device)
        alone = ~(together & ~itself).any(dim=-1, keepdim=True)
        return torch.complex(cosine, -sine).masked_fill((alone | alone.mT) & ~itself, 0.0)

    def over_prefixes(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        *,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.over_prefixes`: one walk from the last element of each prefix, all at a time."""
        bias = self._check(queries, keys, values, bias)
        check_element_mask(mask, len(queries), queries.shape[1])
        allowed = allowed_pairs(len(queries), queries.shape[1], mask, causal=False, device=queries.device)
        cosine, sine = prefix_walks(self.time * self._hopping(queries, keys, allowed & allowed.mT, bias))
        weights = (cosine.square() + sine.square()).mT
        return self.output(self.join_heads(weights @ self.split_heads(self.value(values)))), weights

    def _hopping(self, queries: Tensor, keys: Tensor, together: Tensor, bias: Tensor | None) -> Tensor:
        """H of every head between the elements that meet."""
        q, k = self.split_heads(self.query(queries)), self.split_heads(self.key(keys))
        scores = q @ k.mT / math.sqrt(self.dim / self.heads)
        return symmetric(biased_weights(scores, together, None if bias is None else symmetric(bias)))

    @torch.no_grad()
    def circuit(self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """A_ij of one sequence as a probability of zeros: position j is loaded, walks, and i is read.

        Args:
            queries: (1, T, dim).
            keys: Likewise.
            row: i.
            column: j.
            head: Which head.
        """
        steps = queries.shape[1]
        everybody = torch.ones(steps, steps, dtype=torch.bool, device=queries.device)
        # In double precision, whatever that of the parameters: a circuit wants a unitary.
        cosine, sine = walk((self.time * self._hopping(queries, keys, everybody, None))[0, head].double())
        unitary = torch.complex(cosine, -sine)
        n_qubits = max(1, (steps - 1).bit_length())
        padded = torch.eye(2**n_qubits, dtype=torch.complex128)
        padded[:steps, :steps] = unitary
        circuit = Circuit(position=n_qubits)
        for place, walking in ((column, True), (row, False)):
            for qubit in range(n_qubits):
                if place >> (n_qubits - 1 - qubit) & 1:
                    circuit.x(qubit)
            if walking:
                circuit.compose(unitary_circuit(padded))
        return Program(circuit, {}, AllZero(tuple(range(n_qubits))))
