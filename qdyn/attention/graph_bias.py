r"""A bias of attention from a graph: how far apart two elements are, not where they stand in the sequence.

Every pair (i, j) falls into a bin k(i, j), the length of the shortest path between them or a contact, and
every bin has a number of its own for every head,

$$\log a_{ij} \to \log a_{ij} + b_{k(i, j)},$$

which is trained with the rest. It is added to the scores of any mechanism: its keyword ``bias`` (see
`qdyn.attention.mechanism`). Bins start at zero: before training the graph is not there.

Whoever forecasts element j + 1 from those up to j must not see a bond that a later element makes: see
`causal_path_bins`.

Source: C. Ying et al., arXiv:2106.05234 (Graphormer), equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qdyn.checks import check_integer
from qdyn.data.molecules.graphs import TokenGraph
from qdyn.errors import ArgumentError

UNREACHABLE = -1
"""The distance of elements that no path joins, and of those that are no vertices."""


def shortest_paths(adjacency: Bool[Tensor, "*batch time time"]) -> Int64[Tensor, "*batch time time"]:
    """The number of edges of the shortest path between any two vertices.

    Args:
        adjacency: True where an edge joins two vertices; taken as undirected.

    Returns:
        (..., T, T): 0 on the diagonal, `UNREACHABLE` where there is no path.

    Example: a chain of three, and one alone.
        >>> chain = torch.zeros(4, 4, dtype=torch.bool)
        >>> chain[0, 1] = chain[1, 2] = True
        >>> shortest_paths(chain).tolist()
        [[0, 1, 2, -1], [1, 0, 1, -1], [2, 1, 0, -1], [-1, -1, -1, 0]]
    """
    size = adjacency.shape[-1]
    if adjacency.ndim < 2 or adjacency.shape[-2] != size:
        raise ArgumentError(
            f"Argument `adjacency` must have shape (..., T, T), but has {tuple(adjacency.shape)}."
        )
    edges = (adjacency | adjacency.mT).double()
    reached = torch.eye(size, dtype=torch.bool, device=adjacency.device).expand(adjacency.shape).clone()
    distance = torch.where(reached, 0, UNREACHABLE)
    for length in range(1, size):
        further = (reached.double() @ edges > 0) & ~reached
        if not bool(further.any()):
            break
        distance = torch.where(further, length, distance)
        reached = reached | further
    return distance


def path_bins(
    distances: Int64[Tensor, "*batch time time"], *, longest: int
) -> Int64[Tensor, "*batch time time"]:
    """Bins of distances: 0 to ``longest``, one for those that are longer, one where there is no path.

    Args:
        distances: See `shortest_paths`.
        longest: The longest path with a bin of its own, >= 1. There are ``longest + 3`` bins.

    Example:
        >>> path_bins(torch.tensor([[0, 2], [7, -1]]), longest=3).tolist()
        [[0, 2], [4, 5]]
    """
    check_integer("longest", longest, minimum=1)
    return torch.where(distances < 0, longest + 2, distances.clamp_max(longest + 1))


def causal_path_bins(graphs: Sequence[TokenGraph], *, longest: int) -> Int64[Tensor, "batch time time"]:
    """Bins of the paths between tokens of SMILES; row i knows the bonds that tokens up to i make.

    A ring that closes later does not shorten a path yet, so that forecasts see the past alone. A token that
    is no atom has no path to any other, nor to itself.

    Args:
        graphs: One for each sequence, of equal length: see `qdyn.data.molecules.graphs.token_graphs`.
        longest: See `path_bins`.

    Returns:
        (batch, T, T), for `GraphBias` of ``longest + 3`` bins.

    Example: the first and the third atom of a ring are two bonds apart until it closes, then one.
        >>> from qdyn.data.molecules.graphs import token_graph
        >>> ring = causal_path_bins([token_graph(["C", "1", "C", "C", "1", "O"])], longest=4)[0]
        >>> int(ring[3, 0]), int(ring[5, 3]), int(ring[5, 0])
        (2, 1, 2)
    """
    rows = []
    for graph in graphs:
        atoms = torch.from_numpy(graph.atoms >= 0)
        steps = len(graph.atoms)
        times = sorted({place for _, _, place in graph.bonds})
        bins = torch.full((steps, steps), UNREACHABLE)
        # The graph changes only where a token makes a bond.
        for begin, end in zip([0, *times], [*times, steps], strict=True):
            distance = shortest_paths(torch.from_numpy(graph.adjacency(begin + 1)))
            bins[begin:end] = distance[begin:end]
        rows.append(torch.where(atoms[:, None] & atoms, bins, UNREACHABLE))
    return path_bins(torch.stack(rows), longest=longest)


def separation_bins(steps: int, *, edges: Sequence[int]) -> Int64[Tensor, "1 time time"]:
    """Bins of |i - j|, the separation along a chain such as a protein's.

    Args:
        steps: T.
        edges: Where a new bin begins, increasing, from 1 on. There is one bin more than edges.

    Example: near, and from three on far.
        >>> separation_bins(5, edges=[1, 3])[0, 0].tolist()
        [0, 1, 1, 2, 2]
    """
    check_integer("steps", steps, minimum=1)
    limits = torch.tensor(list(edges), dtype=torch.int64)
    if not len(limits) or int(limits[0]) < 1 or bool((limits.diff() <= 0).any()):
        raise ArgumentError(f"Argument `edges` must be increasing integers >= 1, but is {list(edges)!r}.")
    place = torch.arange(steps)
    return torch.bucketize((place[:, None] - place).abs(), limits, right=True)[None]


def contact_bins(
    contacts: Bool[Tensor, "*batch time time"], *, edges: Sequence[int]
) -> Int64[Tensor, "*batch time time"]:
    """Bins of a contact map: those of the separation along the chain, and as many again for pairs in contact.

    Args:
        contacts: True where two residues touch in space, whatever it was predicted or measured by. It must be
            known before the sequence is, if this is to forecast it.
        edges: See `separation_bins`. There are twice as many bins.

    Example: elements 0 and 3 touch.
        >>> touch = torch.zeros(4, 4, dtype=torch.bool)
        >>> touch[0, 3] = touch[3, 0] = True
        >>> contact_bins(touch, edges=[1, 3])[0].tolist()
        [0, 1, 1, 5]
    """
    apart = separation_bins(contacts.shape[-1], edges=edges)[0].to(contacts.device)
    return apart + torch.where(contacts, len(edges) + 1, 0)


class GraphBias(nn.Module):
    """One trainable number for every bin and head, to be added to the logarithm of attention weights.

    Args:
        bins: How many bins there are, >= 1.
        heads: Of the attention that it is added to, >= 1.

    Attributes:
        table: (heads, bins), zero at the start.

    Example:
        >>> bias = GraphBias(bins=6, heads=2)
        >>> bias(path_bins(torch.tensor([[[0, 1], [1, 0]]]), longest=3)).shape
        torch.Size([1, 2, 2, 2])
    """

    def __init__(self, *, bins: int, heads: int = 1) -> None:
        super().__init__()
        check_integer("bins", bins, minimum=1)
        check_integer("heads", heads, minimum=1)
        self.table = nn.Parameter(torch.zeros(heads, bins))

    def forward(self, bins: Int64[Tensor, "batch time time"]) -> Float[Tensor, "batch heads time time"]:
        """The bias of every pair.

        Args:
            bins: Number of the bin of each pair, (batch or 1, T, T), below the number of bins.
        """
        return self.table[:, bins].movedim(0, 1)
