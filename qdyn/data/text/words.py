"""Words as numbers: the vocabulary of a training split, rows of tokens, and how sentences are shared out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qdyn.data.text_files import ranges_of_shares
from qdyn.errors import DatasetError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

Item = TypeVar("Item")


def shared_out(
    items: Sequence[Item], shares: Mapping[str, float], *, seed: int
) -> tuple[list[Item], dict[str, tuple[int, int]]]:
    """The items in an order drawn from the seed, and the range of each split in it.

    Args:
        items: At least one.
        shares: See `qdyn.data.text_files.ranges_of_shares`.
        seed: Of the order.

    Raises:
        ArgumentError: shares out of range.

    Example:
        >>> shared_out("abcd", {"train": 0.5, "test": 0.5}, seed=0)
        (['c', 'a', 'b', 'd'], {'train': (0, 2), 'test': (2, 4)})
    """
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(items))
    return [items[place] for place in order], ranges_of_shares(shares, len(items))


def vocabulary_of(
    sentences: Sequence[Sequence[str]], *, exact: bool = False, largest: int | None = None
) -> list[str]:
    """The words by falling frequency, after "<unk>" and, unless ``exact``, "<s>" and "</s>"."""
    counts = Counter(word for words in sentences for word in words)
    special = [UNKNOWN] if exact else [BEGIN, END, UNKNOWN]
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in ranked if word not in special]
    return special + (words if largest is None else words[: largest - len(special)])


def encode_words(
    sequences: Sequence[Sequence[str]], vocabulary: Sequence[str], *, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token numbers (N, length), padded with ``</s>``, and how many elements of each row that follows, (N,).

    Args:
        sequences: Words, with whatever frames them; those that the vocabulary lacks become ``<unk>``, if it
            has that.
        vocabulary: Words in the order of their numbers.
        length: Elements of a row.

    Raises:
        DatasetError: a sequence that is too long, or a word that is not known.

    Example:
        >>> encode_words([["<s>", "no", "</s>"], ["<s>", "</s>"]], ["<s>", "</s>", "<unk>"], length=3)
        (array([[0, 2, 1],
               [0, 1, 1]]), array([3, 2]))
    """
    number = {word: place for place, word in enumerate(vocabulary)}
    rows = np.full((len(sequences), length), number.get(END, 0), dtype=np.int64)
    for row, words in zip(rows, sequences, strict=True):
        if len(words) > length:
            raise DatasetError(f"A sequence of {len(words)} words does not fit {length} elements.")
        try:
            row[: len(words)] = [
                number[word if word in number or UNKNOWN not in number else UNKNOWN] for word in words
            ]
        except KeyError as problem:
            raise DatasetError(f"The word {problem.args[0]!r} is not in the vocabulary.") from None
    return rows, np.array([len(words) for words in sequences], dtype=np.int64)


def unknown_shares(
    sentences: Sequence[Sequence[str]], splits: Mapping[str, tuple[int, int]], vocabulary: Sequence[str]
) -> dict[str, float]:
    """Split -> the share of its words that are not in the vocabulary."""
    known = set(vocabulary) - {UNKNOWN}
    shares = {}
    for split, (begin, end) in splits.items():
        words = [word for sentence in sentences[begin:end] for word in sentence]
        shares[split] = sum(word not in known for word in words) / len(words)
    return shares
