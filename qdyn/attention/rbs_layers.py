r"""Orthogonal matrices from RBS gates, and what their circuits do on two excitations.

RBS(theta) on qubits i and j is a rotation of |10> and |01>,
$|10\rangle \to \cos\theta |10\rangle + \sin\theta |01\rangle$, and leaves |00> and |11> alone. On states
of one excitation a circuit of such gates is an orthogonal matrix W, gate by gate a Givens rotation. Where all
gates are between neighbours, it is on states of k excitations the k-th compound of W, whose entries are the
k x k minors: there the excitations are free fermions, and no gate reaches over a third one.

Source: Cherrat et al., arXiv:2209.08167.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.unary import add_excitation_rotation
from qdyn.errors import ArgumentError

LAYOUTS = ("pyramid", "butterfly", "x")
"""Any rotation of n dimensions; n log n of its angles; a cross of neighbours."""

Pair = tuple[int, int]


def rbs_layers(layout: str, size: int) -> list[list[Pair]]:
    """The pairs of qubits of each layer of gates, which act side by side.

    Args:
        layout: "pyramid" (n (n - 1) / 2 gates in 2 n - 3 layers), "butterfly" (n/2 log2 n gates, not between
            neighbours, n a power of 2) or "x" (2 n - 3 gates, n even).
        size: n >= 2.

    Raises:
        ArgumentError: unknown layout, or a size that it does not have.

    Example:
        >>> rbs_layers("pyramid", 3), rbs_layers("butterfly", 4)
        ([[(0, 1)], [(1, 2)], [(0, 1)]], [[(0, 2), (1, 3)], [(0, 1), (2, 3)]])
    """
    check_choice("layout", layout, LAYOUTS)
    check_integer("size", size, minimum=2)
    if layout == "pyramid":
        return [
            [(i, i + 1) for i in range(t % 2, min(t, 2 * size - 4 - t) + 1, 2)] for t in range(2 * size - 3)
        ]
    if layout == "butterfly":
        if size & (size - 1):
            raise ArgumentError(f"Argument `layout` 'butterfly' needs a power of 2, but the size is {size}.")
        strides = [size >> level for level in range(1, size.bit_length())]
        return [[(i, i + stride) for i in range(size) if not i & stride] for stride in strides]
    if size % 2:
        raise ArgumentError(f"Argument `layout` 'x' needs an even size, but the size is {size}.")
    return [sorted({(t, t + 1), (size - 2 - t, size - 1 - t)}) for t in range(size - 1)]


class RBSMatrices(nn.Module):
    """Orthogonal matrices from trained angles of RBS gates.

    Args:
        size: n >= 2.
        heads: How many matrices.
        layout: See `rbs_layers`.
        initial_angle: Angles start uniform in [-initial_angle, initial_angle].

    Attributes:
        angles: theta, (heads, gates), layer by layer.

    Example:
        >>> matrices = RBSMatrices(4, heads=2)
        >>> w = matrices()
        >>> w.shape, bool((w @ w.mT - torch.eye(4)).abs().max() < 1e-6)
        (torch.Size([2, 4, 4]), True)
    """

    def __init__(
        self, size: int, *, heads: int = 1, layout: str = "pyramid", initial_angle: float = math.pi
    ) -> None:
        super().__init__()
        self.layers = rbs_layers(layout, size)
        self.size = size
        pairs = [pair for layer in self.layers for pair in layer]
        self.angles = nn.Parameter(initial_angle * (2 * torch.rand(heads, len(pairs)) - 1))

    def forward(self) -> Float[Tensor, "heads n n"]:
        """W, whose column i is what |e_i> becomes."""
        identity = torch.eye(self.size, dtype=self.angles.dtype, device=self.angles.device)
        matrix, first = identity.expand(len(self.angles), -1, -1), 0
        for layer in self.layers:
            theta = self.angles[:, first : first + len(layer), None]
            first += len(layer)
            cosine, sine = theta.cos(), theta.sin()
            rows, partners = torch.tensor(layer, device=matrix.device).mT
            upper, lower = matrix.index_select(1, rows), matrix.index_select(1, partners)
            matrix = matrix.index_copy(1, rows, cosine * upper - sine * lower)
            matrix = matrix.index_copy(1, partners, sine * upper + cosine * lower)
        return matrix

    def circuit(self, slot: str) -> Circuit:
        """The circuit of one matrix, its angles theta in a slot."""
        pairs = [pair for layer in self.layers for pair in layer]
        circuit = Circuit(q=self.size)
        for (i, j), angle in zip(pairs, circuit.slot(slot, len(pairs)), strict=True):
            add_excitation_rotation(circuit, i, j, 2 * angle)
        return circuit


def second_compound(
    matrix: Float[Tensor, "n n"], rows: Sequence[Pair], columns: Sequence[Pair]
) -> Float[Tensor, "rows columns"]:
    """The 2 x 2 minors of W for pairs of rows and of columns: the circuit on two excitations.

    >>> second_compound(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [(0, 1)], [(0, 1)])
    tensor([[-2.]])
    """
    (i, j), (a, b) = torch.tensor(rows).mT, torch.tensor(columns).mT
    straight = matrix[i[:, None], a] * matrix[j[:, None], b]
    return straight - matrix[i[:, None], b] * matrix[j[:, None], a]
