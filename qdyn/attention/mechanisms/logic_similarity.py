r"""Quantum logic similarity (QSAN): scores and outputs are parities of bits, by an exact closed form.

Query, key and value registers of h qubits hold $U_q|x_i\rangle$, $U_k|x_j\rangle$, $U_v|x_j\rangle$. On basis
states, Toffoli gates compute the score $s_{ij} = \bigoplus_t Q_{it} \wedge K_{jt}$ and the output bits
$O_{it} = \bigoplus_j s_{ij} \wedge V_{jt}$: attention without a softmax, over the field of two elements.

Only the distributions $p$ of the registers' bits enter. With $W_{ab} = (-1)^{a \cdot b}$ and
$v_{jt} = P(V_{jt} = 1)$,

$$P(s_{ij} = 1) = \tfrac12 (1 - p_{q_i}^T W p_{k_j}), \qquad
\mathrm{E}[(-1)^{O_{it}}] = \sum_a p_{q_i}(a) \prod_j [1 - (1 - (W p_{k_j})_a)\, v_{jt}],$$

at a cost of $T^2 2^h$ where the circuit of a row has more than $(2T + 1) h$ qubits. No phase of the three
states has any effect: after the circuits U, logic similarity is a classical probabilistic circuit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qdyn.attention.comparison_circuits import renamed
from qdyn.attention.mechanism import register_attention
from qdyn.attention.paired_states import PairAttention, PairOptions, ValueName
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class LogicOptions(PairOptions):
    """Options of `LogicSimilarityAttention`: those of `PairOptions`; values are bits of a register."""

    values: ValueName = "measured"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values != "measured" or self.observables is not None:
            raise ArgumentError(
                "Argument `values` must be 'measured' and `observables` none: the output has one bit a qubit."
            )


@register_attention("logic", options=LogicOptions)
class LogicSimilarityAttention(PairAttention):
    """Scores and outputs as parities of bits, quantum logic similarity (QSAN), in closed form.

    The weights returned are the probability that value j takes part, P(s_ij = 1), and with a bias times
    min(1, exp b_ij); rows do not sum to 1. The output is a linear map of the
    expectations E[(-1)^O_it], one a qubit and head.

    Parameters: 3 circuits a head, and the read-out. Device: T circuits of (2 T + 2) h + T qubits at most with
    2 T h Toffoli gates. Simulation: T^2 2^h h.

    Args:
        dim: Width of the elements.
        heads: Side by side.
        causal: Whether element i may see elements j <= i only.
        options: `LogicOptions`.

    Source: Shi, Zhao et al., arXiv:2207.07563; the closed form of a row is ours.

    Example: bits that are certain, and their parity.
        >>> p = torch.eye(4)
        >>> logic_scores(p[[3]], p[[1, 2, 3]])
        tensor([[1., 1., 0.]])
    """

    options: LogicOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: LogicOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        width = heads * self.n_qubits
        mapped = width != dim or bool(self.options.projection)
        self.output = nn.Linear(width, dim, bias=False) if mapped else nn.Identity()

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        assert self.value_circuits is not None
        trained = (self.query_circuits, self.key_circuits, self.value_circuits)
        of_q, of_k, of_v = (
            _probabilities(circuits(states))
            for circuits, states in zip(trained, self.states.each(queries, keys, values), strict=True)
        )
        parities = logic_row(of_q, of_k, bit_probabilities(of_v), self._part(of_q, allowed, bias))
        return self.output(self.join_heads(parities)), self.pair_weights(of_q, of_k, allowed, bias)

    def pair_weights(self, queries: Tensor, keys: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        """The probability that value j takes part, from the distributions of the registers' bits."""
        return logic_scores(queries, keys) * self._part(queries, allowed, bias)

    @staticmethod
    def _part(like: Tensor, allowed: Tensor, bias: Tensor | None) -> Tensor:
        part = allowed.to(like.dtype)
        return part if bias is None else part * bias.exp().clamp_max(1.0)

    def circuit(
        self, queries: Tensor, keys: Tensor, row: int, column: int, *, head: int = 0, observable: int = 0
    ) -> Program:
        """E[(-1)^O] of output bit ``observable`` of ``row``, from elements 0 ... ``column``.

        Registers: the query, then for every element its key, its score and its value, and the output bit;
        the values are those of ``keys``.
        """
        h, elements = self.n_qubits, range(column + 1)
        sizes = {"query": h}
        for j in elements:
            sizes |= {f"key_{j}": h, f"score_{j}": 1, f"value_{j}": h}
        circuit = Circuit(**sizes, output=1)
        values: dict[str, Tensor] = {}
        prepared = [("query", "query", queries, row)]
        prepared += [(f"{role}_{j}", role, keys, j) for j in elements for role in ("key", "value")]
        for register, role, held, place in prepared:
            program = self.prepared(role, held, place, head=head)
            circuit.compose(renamed(program.circuit, register, circuit), circuit[register])
            values |= {f"{register}_{name}": value for name, value in program.values.items()}
        (output,) = circuit["output"]
        for j in elements:
            (score,) = circuit[f"score_{j}"]
            for one, other in zip(circuit["query"], circuit[f"key_{j}"], strict=True):
                circuit.x(score, controls=(one, other))
            circuit.x(output, controls=(score, circuit[f"value_{j}"][observable]))
        word = "I" * (circuit.n_qubits - 1) + "Z"
        return Program(circuit, values, PauliObservable(((1.0, word),)))


def logic_scores(
    queries: Float[Tensor, "*batch rows states"], keys: Float[Tensor, "*batch columns states"]
) -> Float[Tensor, "*batch rows columns"]:
    """P(s_ij = 1) = (1 - p_i W p_j) / 2 from the distributions of two registers' bits."""
    return (1 - queries @ walsh_hadamard(keys).mT) / 2


def logic_row(
    queries: Float[Tensor, "*batch rows states"],
    keys: Float[Tensor, "*batch columns states"],
    bits: Float[Tensor, "*batch columns h"],
    part: Float[Tensor, "*#batch rows columns"],
) -> Float[Tensor, "*batch rows h"]:
    """E[(-1)^O_it], the output bits of every row.

    Args:
        queries: p_q, (..., T, 2^h).
        keys: p_k, likewise.
        bits: P(V_jt = 1), (..., T, h).
        part: The probability that element j takes part in row i, (..., T, T); 0 where it may not.

    Example: one key that is certain to score, and a value bit that is certain to be 1, flip the output.
        >>> one = torch.tensor([[0.0, 1.0]])
        >>> logic_row(one, one, torch.ones(1, 1), torch.ones(1, 1))
        tensor([[-1.]])
    """
    flips = 1 - walsh_hadamard(keys)
    # (..., row, column, state, bit): what element j leaves of the parity where the query's bits are a.
    factors = (
        1 - part[..., :, :, None, None] * (flips[..., :, :, None] * bits[..., :, None, :])[..., None, :, :, :]
    )
    return (queries[..., None] * factors.prod(dim=-3)).sum(-2)


def bit_probabilities(
    probabilities: Float[Tensor, "*batch states"],
) -> Float[Tensor, "*batch h"]:
    """P(bit t = 1) of each bit, the most significant first.

    >>> bit_probabilities(torch.tensor([0.0, 0.25, 0.0, 0.75]))
    tensor([0.7500, 1.0000])
    """
    n_bits = probabilities.shape[-1].bit_length() - 1
    place = torch.arange(2**n_bits, device=probabilities.device)
    shifts = torch.arange(n_bits - 1, -1, -1, device=probabilities.device)
    return probabilities @ ((place[:, None] >> shifts) & 1).to(probabilities.dtype)


def walsh_hadamard(vectors: Float[Tensor, "*batch states"]) -> Float[Tensor, "*batch states"]:
    """sum_b (-1)^(a . b) p_b, by h sums and differences.

    >>> walsh_hadamard(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    tensor([1., 1., 1., 1.])
    """
    size = vectors.shape[-1]
    half = 1
    while half < size:
        upper, lower = torch.unflatten(vectors, -1, (-1, 2, half)).unbind(-2)
        vectors = torch.stack([upper + lower, upper - lower], dim=-2).flatten(-3)
        half *= 2
    return vectors


def _probabilities(states: Tensor) -> Tensor:
    return states.real.square() + states.imag.square()
