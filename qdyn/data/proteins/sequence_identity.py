"""How alike proteins are: identity in a global alignment, clusters by it, and splits that cut no cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qdyn.checks import check_integer
from qdyn.data.generation.estimate import counted
from qdyn.data.proteins.amino_acids import LETTERS, RESIDUES, clean_residues
from qdyn.data.text_files import ranges_of_shares
from qdyn.errors import ArgumentError

# Scores of BLOSUM62 for the twenty residues in the order of their letters, the lower triangle.
# Source: S. Henikoff, J. G. Henikoff, PNAS 89, 10915 (1992).
_BLOSUM62 = (
    "4",
    "0 9",
    "-2 -3 6",
    "-1 -4 2 5",
    "-2 -2 -3 -3 6",
    "0 -3 -1 -2 -3 6",
    "-2 -3 -1 0 -1 -2 8",
    "-1 -1 -3 -3 0 -4 -3 4",
    "-1 -3 -1 1 -3 -2 -1 -3 5",
    "-1 -1 -4 -3 0 -4 -3 2 -2 4",
    "-1 -1 -3 -2 0 -3 -2 1 -1 2 5",
    "-2 -3 1 0 -3 0 1 -3 0 -3 -2 6",
    "-1 -3 -1 -1 -4 -2 -2 -3 -1 -3 -2 -2 7",
    "-1 -3 0 2 -3 -2 0 -3 1 -2 0 0 -1 5",
    "-1 -3 -2 0 -3 -2 0 -3 2 -2 -1 0 -2 1 5",
    "1 -1 0 0 -2 0 -1 -2 0 -2 -1 1 -1 0 -1 4",
    "0 -1 -1 -1 -2 -2 -2 -1 -1 -1 -1 0 -1 -1 -1 1 5",
    "0 -1 -3 -2 -1 -3 -3 3 -2 1 1 -3 -2 -2 -3 -2 0 4",
    "-3 -2 -4 -3 1 -2 -2 -3 -3 -2 -1 -4 -4 -2 -3 -3 -2 -3 11",
    "-2 -2 -3 -2 3 -3 2 -1 -2 -1 -1 -2 -3 -1 -2 -2 -2 -1 2 7",
)
_UNKNOWN_SCORE = -1
# A gap costs 10 and 0.5 for each further place: everything is counted in halves.
_HALVES = 2
_GAPS = (20, 1)
THRESHOLD = 0.4
"""Identity above which two proteins belong together."""


@dataclass(frozen=True)
class Clusters:
    """Which proteins belong together.

    Attributes:
        of: (N,) the cluster of each, numbered by size, the largest 0.
        threshold: Two proteins of different clusters have at most this identity.
        aligned: How many pairs had to be aligned.
        word: None where that is certain; else only pairs with a common word of so many residues were
            compared, and others may be more alike than that.
    """

    of: NDArray[np.int64]
    threshold: float
    aligned: int
    word: int | None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Proteins in each cluster, falling."""
        return np.bincount(self.of)

    def __str__(self) -> str:
        sure = "" if self.word is None else f" of those that share {self.word} residues in a row"
        return (
            f"{len(self.sizes)} clusters of at most {100 * self.threshold:g} % identity to each other, the "
            f"largest of {self.sizes[0]} ({counted(self.aligned, 'alignment')}{sure})"
        )


def identity(first: str, second: str) -> float:
    """The share of the shorter protein that is identical in the best global alignment of two.

    The alignment has the greatest sum of BLOSUM62 scores, a gap costing 10 and 0.5 for each further place,
    and nothing at the ends; of several such alignments the one with most identical residues. ``X`` is
    identical to nothing.

    Args:
        first: Residues, upper or lower case.
        second: Likewise.

    Source: S. B. Needleman, C. D. Wunsch, J. Mol. Biol. 48, 443 (1970); O. Gotoh, J. Mol. Biol. 162, 705
    (1982); the penalties are those of EMBOSS needle.

    Example:
        >>> identity("MKVLAAGI", "MKVLGAGI"), identity("MKVLAAGIWW", "kvla")
        (0.875, 1.0)
    """
    from qdyn.data.proteins.alignment_kernels import identical_pairs

    a, b = _codes(clean_residues(first)), _codes(clean_residues(second))
    same = identical_pairs(a, b, _scores(), _GAPS)
    return float(same) / min(len(a), len(b))


def nearest_identity(
    proteins: Sequence[str], others: Sequence[str], *, beyond: float = 1.0
) -> NDArray[np.float64]:
    """The identity of each protein to the one among ``others`` that is most alike.

    Args:
        proteins: N sequences in the 21 letters.
        others: M sequences, at least one.
        beyond: The search for a protein ends at the first that is more alike than this.

    Returns:
        (N,), see `identity`.

    Example:
        >>> nearest_identity(["MKVLAAGI"], ["WWWWWWWW", "MKVLGAGI"])
        array([0.875])
    """
    from qdyn.data.proteins.alignment_kernels import most_alike

    each = [_codes(protein) for protein in others]
    if not each:
        raise ArgumentError("Argument `others` must hold at least one sequence.")
    known = (np.concatenate(each), _ends(each))
    found = [most_alike(_codes(protein), known, _scores(), _GAPS, beyond) for protein in proteins]
    return np.array(found, dtype=np.float64)


def cluster_by_identity(
    proteins: Sequence[str], *, threshold: float = THRESHOLD, word: int | None = None
) -> Clusters:
    """Single-linkage clusters: chains of proteins, each more alike to the next than ``threshold``.

    No two proteins of different clusters are more alike than that, which greedy clustering around
    representatives does not promise. Every pair is compared, which takes about 20 microseconds for 60
    residues and grows with the square of their number; with a ``word``, only pairs that have so many residues
    in a row in common are aligned, as in fast programs, and distant relatives may be missed.

    Args:
        proteins: N sequences in the 21 letters.
        threshold: Identity in [0, 1): see `identity`.
        word: None compares every pair; else 2 to 4.

    Example:
        >>> found = cluster_by_identity(["MKVLAAGIVW", "MKVLGAGIVW", "DEDPQNSTTH"])
        >>> found.of.tolist()
        [0, 0, 1]
    """
    from qdyn.data.proteins.alignment_kernels import linked

    if not 0 <= threshold < 1:
        raise ArgumentError(f"Argument `threshold` must lie in [0, 1), but is {threshold!r}.")
    if word is not None:
        check_integer("word", word, minimum=2, maximum=4)
    if not len(proteins) or not all(proteins):
        raise ArgumentError("Argument `proteins` must hold at least one sequence, and none that is empty.")
    each = [_codes(protein) for protein in proteins]
    counts = np.stack([np.bincount(codes, minlength=len(LETTERS)) for codes in each])
    words = [_words(codes, word) for codes in each]
    roots, aligned = linked(
        (np.concatenate(each), _ends(each), counts.astype(np.int64)),
        (np.concatenate(words), _ends(words)),
        threshold,
        _scores(),
        _GAPS,
    )
    _, place, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return Clusters(rank[place], threshold, int(aligned), word)


def split_by_clusters(
    clusters: NDArray[np.int64], shares: Mapping[str, float], *, seed: int
) -> tuple[NDArray[np.int64], dict[str, tuple[int, int]]]:
    """An order in which each split is one range of whole clusters.

    Clusters come by falling size, those of one size in an order drawn from the seed, and each goes to the
    split that lacks most sequences. A split may hold more or less than its share by the size of a cluster.

    Args:
        clusters: (N,) the cluster of each sequence.
        shares: Of the sequences in "train", "validation", "test"; they sum to 1.
        seed: Of the order.

    Returns:
        The order (N,), and the range of each split in it.

    Raises:
        ArgumentError: shares out of range, or too few clusters to give every split one.
    """
    wanted = {name: last - first for name, (first, last) in ranges_of_shares(shares, len(clusters)).items()}
    random = np.random.default_rng(np.random.SeedSequence(seed))
    members: dict[str, list[NDArray[np.int64]]] = {name: [] for name in wanted}
    left = dict(wanted)
    order = random.permutation(int(clusters.max()) + 1)
    # The largest first, as packers do: what comes last is small and fills the gaps.
    sizes = np.bincount(clusters)
    for number in order[np.argsort(-sizes[order], kind="stable")]:
        name = max(left, key=lambda split: left[split])
        members[name].append(np.flatnonzero(clusters == number))
        left[name] -= sizes[number]
    empty = [name for name, found in members.items() if not found]
    if empty:
        raise ArgumentError(
            f"Argument `shares` leaves no cluster for {empty[0]!r}: there are {len(sizes)} clusters in all."
        )
    splits, parts, start = {}, [], 0
    for name, found in members.items():
        part = random.permutation(np.concatenate(found))
        splits[name] = (start, start + len(part))
        parts.append(part)
        start += len(part)
    return np.concatenate(parts), splits


@cache
def _scores() -> NDArray[np.int64]:
    """BLOSUM62 in halves, with a row and a column for X."""
    size = len(RESIDUES)
    table = np.full((size + 1, size + 1), _UNKNOWN_SCORE, dtype=np.int64)
    for row, line in enumerate(_BLOSUM62):
        values = [int(value) for value in line.split()]
        table[row, : row + 1] = values
        table[: row + 1, row] = values
    return table * _HALVES


def _codes(protein: str) -> NDArray[np.int64]:
    return np.array([LETTERS.index(letter) for letter in protein], dtype=np.int64)


def _words(codes: NDArray[np.int64], word: int | None) -> NDArray[np.int64]:
    """The distinct words of a protein as numbers, sorted."""
    if word is None or len(codes) < word:
        return np.zeros(0, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, word)
    return np.unique(windows @ len(LETTERS) ** np.arange(word))


def _ends(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
