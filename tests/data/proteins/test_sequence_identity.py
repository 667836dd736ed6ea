from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qdyn.data.proteins.amino_acids import RESIDUES
from qdyn.data.proteins.sequence_identity import (
    _scores,
    cluster_by_identity,
    identity,
    nearest_identity,
    split_by_clusters,
)
from qdyn.errors import ArgumentError

# Identical residues of the best alignment with most of them, by Biopython 1.88: PairwiseAligner, global,
# BLOSUM62, gaps 10 and 0.5, end gaps free.
GOLDEN = [
    ("FPCDVENWCTHCDQQDIDVQCWEIWCWW", "FPFDNWCWWTHCCQQDIDVQCWIDEIWCWW", 24),
    ("TQGMFSQCDVWMMNYSWRDDK", "TQLMFSQCDRWMMYSWRDPK", 17),
    ("QVKQNPIFDGFIIASWGKLAFQ", "QVKFTQNPIFDGFIIASHGYAAFQ", 19),
    ("DHYPFKNYNSEESRSSLD", "MHYPFTYNSDENRVLI", 9),
    ("IPIHTSNAAKSKHYNRNNDIEISH", "SPIHTNDSPAAKGQSPYGFWNDYEIVH", 14),
    ("AETFQHHAKHLTIWMKVQ", "ANTFQHAFRTIWFEVMT", 9),
    ("EVCIHKCETRVADRMYTYTHKRTVSTITKVHRF", "PDCQDLHKNFTESIQRQMNVATDIVKGFTKVKPTMC", 1),
    ("QDKADKDYIDKERAMVQKYFCTI", "QDGLTKLRGAIAKVHIRQVVTHYFNTI", 8),
]
proteins = st.text(alphabet=RESIDUES, min_size=1, max_size=14)


@pytest.mark.parametrize(("first", "second", "same"), GOLDEN)
def test_identity_is_that_of_another_library(first: str, second: str, same: int) -> None:
    assert identity(first, second) == same / min(len(first), len(second))


def alignments(m: int, n: int) -> Iterator[str]:
    """Every alignment of m with n residues: M pairs two, D and I leave one of the first or second alone."""
    if m == n == 0:
        yield ""
    for move, i, j in (("M", 1, 1), ("D", 1, 0), ("I", 0, 1)):
        if m >= i and n >= j:
            for rest in alignments(m - i, n - j):
                yield move + rest


def exhaustive(first: str, second: str) -> int:
    """Identical pairs of the best alignment, each scored as the definition says."""
    best = (-np.inf, 0)
    for moves in alignments(len(first), len(second)):
        i = j = same = 0
        score = 0.0
        for move, run in itertools.groupby(moves):
            length = len(list(run))
            # A gap costs nothing before the first residue of the sequence that has it, or after its last one.
            inside = 0 < i < len(first) if move == "I" else 0 < j < len(second)
            if move == "M":
                for a, b in zip(first[i : i + length], second[j : j + length], strict=True):
                    score += float(_scores()[RESIDUES.index(a), RESIDUES.index(b)]) / 2
                    same += a == b
            elif inside:
                score -= 10 + 0.5 * (length - 1)
            i += length * (move != "I")
            j += length * (move != "D")
        best = max(best, (score, same))
    return best[1]


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="ACDW", min_size=1, max_size=4), st.text(alphabet="ACDW", min_size=1, max_size=4))
@example("CDC", "CDDC")
def test_identity_is_that_of_all_alignments_tried(first: str, second: str) -> None:
    assert identity(first, second) * min(len(first), len(second)) == pytest.approx(exhaustive(first, second))


@given(proteins, proteins)
def test_identity_is_symmetric_and_a_share(first: str, second: str) -> None:
    assert identity(first, second) == identity(second, first)
    assert 0 <= identity(first, second) <= 1
    assert identity(first, first) == 1


@given(proteins, proteins, proteins)
def test_a_part_is_identical_to_the_whole(before: str, part: str, after: str) -> None:
    """End gaps are free, and nothing scores more against a residue than itself."""
    assert identity(before + part + after, part) == 1


def test_unknown_residues_are_identical_to_nothing() -> None:
    assert identity("XXXX", "XXXX") == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(alphabet="ACDEW", min_size=4, max_size=9), min_size=2, max_size=9),
    st.sampled_from([0.3, 0.4, 0.6]),
)
def test_proteins_of_different_clusters_are_no_more_alike_than_said(
    many: list[str], threshold: float
) -> None:
    found = cluster_by_identity(many, threshold=threshold)
    alike = np.array([[identity(a, b) for a in many] for b in many])
    apart = found.of[:, None] != found.of[None, :]
    assert (alike[apart] <= threshold).all()
    # And no cluster could be cut: it is connected by pairs that are more alike.
    for number in range(len(found.sizes)):
        members = np.flatnonzero(found.of == number)
        linked = alike[np.ix_(members, members)] > threshold
        reached = np.linalg.matrix_power(linked.astype(int) + np.eye(len(members), dtype=int), len(many)) > 0
        assert reached.all()
    assert (np.diff(found.sizes) <= 0).all()


def test_a_word_in_common_is_a_shortcut_that_says_so() -> None:
    close, far = "MKVLAAGIVWQR", "MKALAGGIAWKR"
    assert identity(close, far) > 0.4
    assert len(cluster_by_identity([close, far]).sizes) == 1
    quick = cluster_by_identity([close, far], word=3)
    assert len(quick.sizes) == 2
    assert quick.aligned == 0
    assert "of those that share 3 residues in a row" in str(quick)


def test_the_nearest_is_the_largest_identity() -> None:
    others = ["WWWWWWWW", "MKVLGAGI", "DEDEDEDE"]
    found = nearest_identity(["MKVLAAGI", "DDDDDDDD"], others)
    assert found.tolist() == [
        max(identity(one, other) for other in others) for one in ("MKVLAAGI", "DDDDDDDD")
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=80), st.integers(0, 5))
def test_a_split_holds_whole_clusters(numbers: list[int], seed: int) -> None:
    _, clusters = np.unique([*range(10), *numbers], return_inverse=True)
    order, splits = split_by_clusters(clusters, {"train": 0.6, "validation": 0.2, "test": 0.2}, seed=seed)
    assert sorted(order.tolist()) == list(range(len(clusters)))
    held = [set(clusters[order[first:last]].tolist()) for first, last in splits.values()]
    assert sum(len(one) for one in held) == len(set.union(*held)) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [({"threshold": 1.0}, "must lie in"), ({"word": 1}, r"`word` must be an integer in \[2, 4\]")],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cluster_by_identity(["MKV"], **options)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="at least one sequence"):
        cluster_by_identity([])
