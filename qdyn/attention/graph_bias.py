r"""A bias of attention from a graph: how far apart two elements are, not where they stand in the sequence.

Every pair (i, j) falls into a bin k(i, j), the length of the shortest path between them or a contact, and
every bin has a number of its own for every head,

$$\log a_{ij} \to \log a_{ij} + b_{k(i, j)},$$

which is trained with the rest. It is added to the scores of any mechanism: its keyword ``bias`` (see
`qdyn.attention.mechanism`). Bins start at zero: before training the graph is not there.

Whoever forecasts element j + 1 from those up to j must not see a bond that a later element makes: see
`GraphBins`, which reads graphs from tokens. Contacts and other graphs that are known beforehand come as bins
from `contact_bins` and `path_bins`.

Source: C. Ying et al., arXiv:2106.05234 (Graphormer), equation 6.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import pad

from qdyn.checks import check_choice, check_integer
from qdyn.data.molecules.graphs import BondReader
from qdyn.data.proteins.amino_acids import LETTERS, is_protein_vocabulary
from qdyn.data.smiles import SPECIAL
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


class GraphBins(nn.Module):
    """Bins of paths in the graph that words of a sequence draw: rows of tokens to the bin of every pair.

    A row knows the bonds that its own and earlier words make, and no ring that closes later, so that
    forecasts see the past alone; what is in the past of neither of two elements is not asked. A word that is
    no vertex has no path to any other, nor to itself.

    Args:
        longest: The longest path with a bin of its own, >= 1.

    Attributes:
        count: How many bins there are: see `path_bins`.
    """

    def __init__(self, *, longest: int) -> None:
        super().__init__()
        self.longest = check_integer("longest", longest, minimum=1)
        self.count = longest + 3

    def forward(self, tokens: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time time"]:
        """The bin of every pair, the same for (i, j) and (j, i).

        Args:
            tokens: Numbers of words.
        """
        return path_bins(self.distances(tokens), longest=self.longest)

    @abstractmethod
    def distances(self, tokens: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time time"]:
        """The length of the shortest path that is known once the later of two words is."""


class BondBins(GraphBins):
    """Of molecules: the bonds between atoms from one to another, read from the tokens of SMILES.

    Args:
        vocabulary: Tokens of SMILES in the order of their numbers.
        longest: See `GraphBins`.

    Example: the first and the third atom of a ring are two bonds apart until it closes, then one.
        >>> ring = BondBins(["C", "1", "O"], longest=4)(torch.tensor([[0, 1, 0, 0, 1, 2]]))[0]
        >>> int(ring[3, 0]), int(ring[5, 3]), int(ring[5, 0])
        (2, 1, 2)
    """

    def __init__(self, vocabulary: Sequence[str], *, longest: int) -> None:
        super().__init__(longest=longest)
        self.reader = BondReader(vocabulary)

    def distances(self, tokens: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time time"]:
        """See `GraphBins.distances`."""
        found = self.reader(tokens)
        steps = tokens.shape[1]
        # Longer than any path; short integers, since what is read and written is what this costs.
        none = steps
        own = torch.where(found.atoms, 0, none).to(torch.int16)
        known = own.new_zeros(len(tokens), 0, 0)
        rows = []
        for step in range(steps):
            known = pad(known, (0, 1, 0, 1), value=none)
            corner = torch.arange(step + 1, device=tokens.device) == step
            known = torch.where(corner & corner[:, None], own[:, step, None, None], known)
            first, second = found.bonds[:, step].unbind(-1)
            from_first, from_second = (
                known.gather(1, place.clamp_min(0)[:, None, None].expand(-1, 1, step + 1))
                for place in (first, second)
            )
            # A shorter path leads through the new bond, one way or the other.
            through = 1 + torch.minimum(from_first.mT + from_second, from_second.mT + from_first)
            known = torch.where((first >= 0)[:, None, None], torch.minimum(known, through), known)
            rows.append(pad(known[:, step], (0, steps - 1 - step), value=none))
        table = torch.stack(rows, 1).long()
        later = torch.ones(steps, steps, dtype=torch.bool, device=tokens.device).tril()
        table = torch.where(later, table, table.mT)
        return torch.where(table < none, table, UNREACHABLE)


class ChainBins(GraphBins):
    """Of proteins: |i - j| between residues, the peptide bonds from one to another along the chain.

    Args:
        vocabulary: Words of proteins in the order of their numbers.
        longest: See `GraphBins`.

    Example: nothing leads to the tag in front.
        >>> chain = ChainBins(["<bos>", "<kind=x>", "M", "K"], longest=2)
        >>> chain(torch.tensor([[0, 1, 2, 3, 3, 2]]))[0, 5].tolist()
        [4, 4, 3, 2, 1, 0]
    """

    residues: Tensor

    def __init__(self, vocabulary: Sequence[str], *, longest: int) -> None:
        super().__init__(longest=longest)
        self.register_buffer(
            "residues", torch.tensor([word in LETTERS for word in vocabulary]), persistent=False
        )

    def distances(self, tokens: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time time"]:
        """See `GraphBins.distances`."""
        residue = self.residues[tokens]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        apart = (place[:, None] - place).abs()
        return torch.where(residue[:, :, None] & residue[:, None], apart, UNREACHABLE)


GraphName = Literal["none", "bonds", "chain"]


def graph_bins(
    name: GraphName, vocabulary: Sequence[str] | None, *, longest: int, where: str = "graph"
) -> GraphBins | None:
    """The bins of the graph that a preset names; None for "none".

    Args:
        name: "bonds" of molecules, "chain" of proteins, or "none".
        vocabulary: Of the data; None where they are no tokens.
        longest: See `GraphBins`.
        where: What errors call the name.

    Raises:
        ArgumentError: the data draw no such graph.

    Example:
        >>> graph_bins("chain", ["the", "cat"], longest=4)
        Traceback (most recent call last):
        ...
        qdyn.errors.ArgumentError: Argument `graph` 'chain' is for proteins, but the data are none.
    """
    check_choice(where, name, get_args(GraphName))
    if name == "none":
        return None
    words = tuple(vocabulary or ())
    if name == "bonds" and set(SPECIAL) <= set(words):
        return BondBins(words, longest=longest)
    if name == "chain" and is_protein_vocabulary(words):
        return ChainBins(words, longest=longest)
    suited = "molecules in SMILES" if name == "bonds" else "proteins"
    raise ArgumentError(f"Argument `{where}` {name!r} is for {suited}, but the data are none.")


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
