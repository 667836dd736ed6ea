"""Words as numbers: the vocabulary of a training split, rows of tokens, and how sentences are shared out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qdyn.data.text_files import ranges_of_shares
from qdyn.errors import ArgumentError, DatasetError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
DEFAULT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}

Item = TypeVar("Item")


def shared_out(
    items: Sequence[Item], shares: Mapping[str, float], *, seed: int, key: Callable[[Item], Hashable]
) -> tuple[list[Item], dict[str, tuple[int, int]]]:
    """The items in an order drawn from the seed, and the range of each split in it; equal ones share a split.

    What stands there more than once goes first, the most frequent before all: to a split that has room for
    all of it, drawn by how much room there is, or else to the one with most. The others fill the splits up,
    so that the shares are exact wherever they can be.

    Args:
        items: At least one.
        shares: See `qdyn.data.text_files.ranges_of_shares`.
        seed: Of the order.
        key: What must be equal of items that may not be told apart, such as the words of a sentence.

    Raises:
        ArgumentError: shares out of range, or none left for training, since all items are equal.

    Example:
        >>> shared_out("abcd", {"train": 0.5, "test": 0.5}, seed=0, key=str)
        (['c', 'a', 'b', 'd'], {'train': (0, 2), 'test': (2, 4)})
        >>> shared_out("aabb", {"train": 0.5, "test": 0.5}, seed=0, key=str)
        (['b', 'b', 'a', 'a'], {'train': (0, 2), 'test': (2, 4)})
    """
    random = np.random.default_rng(np.random.SeedSequence(seed))
    order = random.permutation(len(items)).tolist()
    ranges = ranges_of_shares(shares, len(items))
    room = {name: last - first for name, (first, last) in ranges.items()}
    parts: dict[str, list[int]] = {name: [] for name in ranges}
    groups: dict[Hashable, list[int]] = {}
    for rank, place in enumerate(order):
        groups.setdefault(key(items[place]), []).append(rank)
    # Sorting is stable: without duplicates the order is that of the permutation.
    for ranks in sorted(groups.values(), key=len, reverse=True):
        if len(ranks) == 1:
            name = next((name for name in room if room[name] > 0), next(iter(room)))
        else:
            fitting = [name for name in room if room[name] >= len(ranks)]
            if fitting:
                sizes = np.array([room[name] for name in fitting])
                name = fitting[int(random.choice(len(fitting), p=sizes / sizes.sum()))]
            else:
                name = max(room, key=lambda name: room[name])
        parts[name] += ranks
        room[name] -= len(ranks)
    if not parts["train"]:
        raise ArgumentError(f"Argument `shares` leaves no training sequence of {len(groups)} different ones.")
    ends = np.cumsum([0, *map(len, parts.values())]).tolist()
    splits = {name: (ends[k], ends[k + 1]) for k, name in enumerate(parts) if parts[name]}
    return [items[order[rank]] for part in parts.values() for rank in sorted(part)], splits


def count_duplicates(sentences: Sequence[Sequence[str]]) -> int:
    """How many sentences have the words of one that stands earlier.

    Example:
        >>> count_duplicates([["no"], ["oh", "no"], ["no"], ["no"]])
        2
    """
    return len(sentences) - len({tuple(words) for words in sentences})


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
