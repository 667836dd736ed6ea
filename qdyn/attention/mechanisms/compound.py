r"""Compound attention: a whole sequence in two excitations, mixed by one circuit of RBS gates.

The matrix X of values is loaded on T + n qubits, one excitation among the rows and one among the columns. A
circuit of RBS gates on all of them acts as the second compound of its orthogonal matrix W, and the part that
still has one excitation in each register is read:

$$y_{ia} = \sum_{jb} \bigl( W_{ij} W_{ab} - W_{ib} W_{aj} \bigr) x_{jb},$$

rows i, j and columns a, b being indices of W. The first term is attention with weights $W_{ij}$ and a value
matrix, the second exchanges the two excitations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from qdyn.attention.mechanism import Attention, register_attention
from qdyn.attention.pair_weights import biased_weights
from qdyn.attention.rbs_layers import RBSMatrices
from qdyn.checks import check_integer, check_positive
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.unary import matrix_encoding
from qdyn.circuits.executors.program import AllZero, Program
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class CompoundOptions:
    """Options of `CompoundAttention`.

    Attributes:
        steps: Elements of the longest sequence, >= 1: rows that have a qubit.
        layout: Of the gates, between neighbours; see `qdyn.attention.rbs_layers`.
        output: Whether a trained linear map follows; as published there is none.
        initial_angle: Angles start uniform in [-initial_angle, initial_angle], > 0.
    """

    steps: int = 32
    layout: Literal["pyramid", "x"] = "pyramid"
    output: bool = False
    initial_angle: float = 0.3

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, minimum=1)
        check_positive("initial_angle", self.initial_angle)


@register_attention("compound", options=CompoundOptions)
class CompoundAttention(Attention):
    """A sequence as two excitations, mixed by the second compound of an orthogonal matrix.

    The weights returned are W_ij, real numbers of either sign that do not depend on the data. There are no
    queries and keys. Causality and masks leave out the terms (i, j) that may not meet, in both sums; the
    circuit as published sees all elements.

    Parameters: (N^2 - N) / 2 angles a head, N = steps + dim / heads. Device: one circuit of N qubits, depth
    about 2 N. Simulation: T^2 n, and N^3 for W: classical, though written as a circuit on 2^N amplitudes.

    Args:
        dim: A multiple of heads.
        heads: Each has n = dim / heads components.
        causal: Whether element i may see elements j <= i only.
        options: `CompoundOptions`.

    Raises:
        ArgumentError: dim is no multiple of heads.

    Source: arXiv:2209.08167, the compound transformer; masks are ours.

    Example:
        >>> from qdyn.attention import build
        >>> x = torch.randn(2, 3, 4)
        >>> output, weights = build("compound", dim=4, heads=2, steps=5)(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([2, 3, 4]), torch.Size([2, 2, 3, 3]))
    """

    options: CompoundOptions

    def __init__(
        self, *, dim: int, heads: int = 1, causal: bool = True, options: CompoundOptions | None = None
    ) -> None:
        super().__init__(dim=dim, heads=heads, causal=causal, options=options)
        if dim % heads:
            raise ArgumentError(f"Argument `heads` must divide dim={dim}, but is {heads}.")
        self.matrices = RBSMatrices(
            self.options.steps + dim // heads,
            heads=heads,
            layout=self.options.layout,
            initial_angle=self.options.initial_angle,
        )
        self.output = nn.Linear(dim, dim, bias=False) if self.options.output else nn.Identity()

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, allowed: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """See `Attention.attend`."""
        steps, rows = values.shape[1], self.options.steps
        if steps > rows:
            raise ArgumentError(f"Argument `steps` gives rows to {rows} elements, but there are {steps}.")
        w = self.matrices()
        across, down = w[:, :steps, rows:], w[:, rows:, :steps]
        x = self.split_heads(values)
        weights = biased_weights(w[:, :steps, :steps].expand(len(x), -1, -1, -1), allowed, bias)
        straight = weights @ x @ w[:, rows:, rows:].mT
        exchanged = biased_weights(across @ x.mT, allowed, bias) @ down.mT
        return self.output(self.join_heads(straight - exchanged)), weights

    def circuit(self, values: Tensor, row: int, column: int, *, head: int = 0) -> Program:
        """y_ia^2 / ||X||^2 of a sequence of all rows, seen by all, as a probability of zeros.

        Args:
            values: (batch, steps, dim).
            row: i.
            column: a.
            head: Which head.
        """
        loaded = matrix_encoding(self.split_heads(values)[:, head])
        rows, columns = loaded.circuit["row"], loaded.circuit["column"]
        circuit = Circuit(row=len(rows), column=len(columns)).compose(loaded.circuit)
        circuit.compose(self.matrices.circuit("trained"))
        circuit.x(rows[row]).x(columns[column])
        held = {**loaded.values, "trained": self.matrices.angles[head]}
        return Program(circuit, held, AllZero(tuple(range(circuit.n_qubits))))
