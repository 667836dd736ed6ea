"""What mechanisms share that compare measured numbers: Pauli expectations of query and key states."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from qdyn.attention.pair_weights import softmax_weights
from qdyn.attention.paired_states import PairAttention
from qdyn.attention.trained_circuits import expectations, pauli_words
from qdyn.circuits.executors.program import PauliObservable, Program


class ProjectedPairAttention(PairAttention):
    """Weights by a softmax of scores between measured vectors; a subclass defines `scores`.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: Those of `PairOptions`, and ``projected``, the number of observables; None takes 3 a qubit.

    Attributes:
        projections: The observables P_1, ..., P_m of queries and keys.
    """

    def __init__(self, *, dim: int, heads: int = 1, causal: bool = True, options: Any = None) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        self.projections = pauli_words(self.n_qubits, self.options.projected or 3 * self.n_qubits)

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Scores (..., T, T) of measured vectors (..., T, m)."""

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """See `PairAttention.pair_weights`."""
        q, k = (expectations(states, self.projections) for states in (queries, keys))
        return softmax_weights(self.scores(q, k), allowed, bias)

    def circuit(
        self,
        queries: Tensor,
        keys: Tensor,
        row: int,
        column: int,
        *,
        head: int = 0,
        role: str = "query",
        observable: int = 0,
    ) -> Program:
        """One measured number: of query i, key j or value j by role "query", "key" or "value".

        Measuring comes before comparing here, so that no circuit holds a query and a key.
        """
        elements, place = (queries, row) if role == "query" else (keys, column)
        prepared = self.prepared(role, elements, place, head=head)
        word = (self.words if role == "value" else self.projections)[observable]
        return Program(prepared.circuit, prepared.values, PauliObservable(((1.0, word),)))
