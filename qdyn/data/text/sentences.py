"""Sentences from a text file as sequences of words: one sentence a line, words between spaces.

That is the form of the word-level Penn Treebank as language models use it, where rare words stand as
``<unk>`` already; any other file of sentences will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.data.tags import read_tag
from qdyn.data.text.words import (
    BEGIN,
    DEFAULT_SHARES,
    END,
    count_duplicates,
    encode_words,
    shared_out,
    unknown_shares,
    vocabulary_of,
)
from qdyn.data.text_files import read_text
from qdyn.errors import DatasetError


@dataclass(frozen=True)
class Sentences:
    """What a file gave.

    Attributes:
        dataset: The sequences, in three splits.
        left_out: Sentences that do not fit the length asked for.
        duplicates: Sentences of the dataset that stand there already; each has the split of the first.
        unknown: Share of words outside the vocabulary, by split.
    """

    dataset: SequenceDataset
    left_out: int
    duplicates: int
    unknown: Mapping[str, float]

    def __str__(self) -> str:
        return f"{len(self.dataset)} sentences, {self.left_out} left out, {self.duplicates} duplicates"


def read_sentences(
    path: str | Path,
    *,
    steps: int = 32,
    exact: bool = False,
    vocabulary_size: int | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Sentences:
    """Read a file of sentences into a dataset of tokens.

    The vocabulary is that of the training split: the words of the other splits that it lacks become
    ``<unk>``, so no test word is known beforehand. Words are numbered by falling frequency. Equal sentences
    stay together in one split, so no test sentence is known either.

    Args:
        path: UTF-8 text, one sentence a line, words separated by spaces; empty lines are skipped.
        steps: Predictions that a sentence gives, >= 2.
        exact: True takes sentences of exactly ``steps + 1`` words as they are, as arXiv:2602.06699 does (33).
            False takes those that fit between ``<s>`` and ``</s>``, at most ``steps - 1`` words, and pads.
        vocabulary_size: Largest vocabulary, >= 4, the rarer words becoming ``<unk>``; None keeps every
            word of the training split.
        shares: Shares of the sentences in "train", "validation" and "test", which sum to 1.
        seed: Fixes which sentence falls into which split.
        name: What to call the dataset; None takes the file's.

    Returns:
        The dataset and what was left out of it.

    Raises:
        ArgumentError: a length, a share or a size is out of range.
        DatasetError: the file cannot be read as UTF-8, no sentence fits, or a word that looks like a tag.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "cats.txt"
        >>> _ = file.write_text("the cat sleeps" + chr(10) + "a dog runs" + chr(10))
        >>> found = read_sentences(file, steps=4, shares={"train": 1.0})
        >>> found.dataset.metadata.vocabulary[:3], found.dataset.n_steps
        (('<s>', '</s>', '<unk>'), 4)
        >>> folder.cleanup()
    """
    check_integer("steps", steps, minimum=2)
    if vocabulary_size is not None:
        check_integer("vocabulary_size", vocabulary_size, minimum=4)
    file = Path(path)
    lines, digest = _lines(file)
    if tag := next((word for words in lines for word in words if read_tag(word)), None):
        raise DatasetError(f"The file {file} holds {tag!r}, which looks like a tag: see qdyn.data.tags.")
    fits = [words for words in lines if _fits(len(words), steps, exact=exact)]
    if not fits:
        wanted = f"exactly {steps + 1} words" if exact else f"1 to {steps - 1} words"
        raise DatasetError(f"The file {file} has no sentence of {wanted} among its {len(lines)}.")
    sentences, splits = shared_out(fits, shares, seed=seed, key=tuple)
    vocabulary = vocabulary_of(sentences[slice(*splits["train"])], exact=exact, largest=vocabulary_size)
    framed = sentences if exact else [[BEGIN, *words, END] for words in sentences]
    tokens, lengths = encode_words(framed, vocabulary, length=steps + 1)
    dataset = SequenceDataset.from_arrays(
        tokens.astype(np.int32),
        kind="token",
        vocabulary=vocabulary,
        lengths=lengths,
        splits=splits,
        name=name or file.stem,
        recipe={
            "source": "sentences",
            "file": file.name,
            "sha256": digest,
            "steps": steps,
            "exact": exact,
            "vocabulary_size": vocabulary_size,
            "seed": seed,
        },
    )
    return Sentences(
        dataset,
        left_out=len(lines) - len(fits),
        duplicates=count_duplicates(fits),
        unknown=unknown_shares(sentences, splits, vocabulary),
    )


def _lines(file: Path) -> tuple[list[list[str]], str]:
    text = read_text(file)
    lines = [line.split() for line in text.splitlines()]
    return [words for words in lines if words], hashlib.sha256(text.encode()).hexdigest()


def _fits(n_words: int, steps: int, *, exact: bool) -> bool:
    return n_words == steps + 1 if exact else 1 <= n_words <= steps - 1
