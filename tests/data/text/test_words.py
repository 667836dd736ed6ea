"""Sentences are shared out over splits such that equal ones never stand in two."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdyn
from qdyn.data.text.labelled import read_labelled_sentences
from qdyn.data.text.sentences import read_sentences
from qdyn.data.text.words import DEFAULT_SHARES, count_duplicates, shared_out
from qdyn.data.text_files import ranges_of_shares
from qdyn.errors import ArgumentError


@given(items=st.lists(st.integers(0, 60), min_size=5, max_size=80), seed=st.integers(0, 100))
def test_equal_items_share_a_split(items: list[int], seed: int) -> None:
    ordered, splits = shared_out(items, DEFAULT_SHARES, seed=seed, key=int)
    assert Counter(ordered) == Counter(items)
    homes = [set(ordered[first:last]) for first, last in splits.values()]
    assert sum(map(len, homes)) == len(set(items))
    assert [end for _, end in splits.values()][-1] == len(items)
    assert shared_out(items, DEFAULT_SHARES, seed=seed, key=int) == (ordered, splits)


@given(count=st.integers(3, 60), seed=st.integers(0, 100))
def test_different_items_keep_the_order_and_the_ranges_they_had(count: int, seed: int) -> None:
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(count).tolist()
    shared = shared_out(range(count), DEFAULT_SHARES, seed=seed, key=int)
    assert shared == (order, ranges_of_shares(DEFAULT_SHARES, count))


@given(pairs=st.integers(0, 30), singles=st.integers(60, 90), seed=st.integers(0, 100))
def test_shares_are_exact_where_single_items_can_fill_them(pairs: int, singles: int, seed: int) -> None:
    items = [*range(pairs + singles), *range(pairs)]
    _, splits = shared_out(items, DEFAULT_SHARES, seed=seed, key=int)
    assert splits == ranges_of_shares(DEFAULT_SHARES, len(items))


def test_duplicates_fall_into_every_split() -> None:
    """By the room there is: of 400 pairs about a tenth is for testing, +-5 standard deviations."""
    items = [*range(800), *range(400)]
    ordered, splits = shared_out(items, DEFAULT_SHARES, seed=3, key=int)
    test = Counter(ordered[slice(*splits["test"])])
    assert 10 <= sum(number == 2 for number in test.values()) <= 70


def test_items_that_are_all_equal_leave_nothing_to_train_on() -> None:
    with pytest.raises(ArgumentError, match="leaves no training sequence of 1 different ones"):
        shared_out("aaaaa", {"train": 0.2, "test": 0.8}, seed=0, key=str)


def rows_of(dataset: qdyn.SequenceDataset, split: str, *, ends: int) -> set[tuple[int, ...]]:
    """The sequences of a split without their padding and their last ``ends`` words."""
    part = dataset.split(split).batch(range(len(dataset.split(split))))
    lengths = part.mask.sum(1).tolist()
    return {
        tuple(row[: length + 1 - ends]) for row, length in zip(part.inputs.tolist(), lengths, strict=True)
    }


def test_no_sentence_of_a_file_is_in_two_splits(tmp_path: Path) -> None:
    # Words that all are in any training split, so that none becomes <unk>.
    lines = [" ".join("abc"[int(digit)] for digit in np.base_repr(row + 27, 3)) for row in range(54)]
    (tmp_path / "plain.txt").write_text("\n".join(lines + lines[:30]))
    found = read_sentences(tmp_path / "plain.txt", seed=1)
    assert found.duplicates == count_duplicates([line.split() for line in lines + lines[:30]]) == 30
    assert str(found) == "84 sentences, 0 left out, 30 duplicates"
    (tmp_path / "labelled.tsv").write_text(
        "".join(f"{line}\t{row % 2}\n" for row, line in enumerate(lines + lines[:15] + lines[1:16]))
    )
    labelled = read_labelled_sentences(tmp_path / "labelled.tsv", seed=1)
    assert labelled.duplicates == 30
    assert str(labelled).endswith("0 left out, 30 duplicates")
    for dataset, ends in ((found.dataset, 0), (labelled.dataset, 1)):
        parts = [rows_of(dataset, split, ends=ends) for split in dataset.split_names]
        assert dataset.split_names == ("train", "validation", "test")
        assert sum(map(len, parts)) == len(set().union(*parts)) == 54
