"""Labelled sentences: the label is the last element of a sequence, to be forecast from all words before it.

A sequence is ``<s> words </s> <label=class>``, padded with ``</s>`` and masked. The classes are words of the
vocabulary (see `qdyn.data.tags`), so a classifier is a predictor of the next token like any other, and the
same models, files and tables serve; `qdyn.evaluate` judges it at the label alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.data.tags import LABEL, read_tag, tag
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
from qdyn.errors import ArgumentError, DatasetError, nearest

SENTIMENT = {"0": "negative", "1": "positive"}
"""What the labels of the three-source sentiment format mean."""

# Words with apostrophes inside, numbers, and the marks that carry meaning.
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*|[!?]")


@dataclass(frozen=True)
class LabelledSentences:
    """What a file gave.

    Attributes:
        dataset: The sequences, in splits.
        classes: Class -> sentences of it, in the order of the labels' numbers.
        left_out: Sentences that are longer than was asked for, or hold no word.
        duplicates: Sentences of the dataset whose words stand there already, under whatever label; each has
            the split of the first.
        unknown: Share of words outside the vocabulary, by split.
        header: Whether the first line named the columns and was skipped.
    """

    dataset: SequenceDataset
    classes: Mapping[str, int]
    left_out: int
    duplicates: int
    unknown: Mapping[str, float]
    header: bool = False

    def __str__(self) -> str:
        amounts = ", ".join(f"{count} {name}" for name, count in self.classes.items())
        return (
            f"{sum(self.classes.values())} sentences ({amounts}), {self.left_out} left out, "
            f"{self.duplicates} duplicates{', a header line skipped' if self.header else ''}"
        )


def words_of(sentence: str) -> list[str]:
    """The words of a sentence in lower case, ``!`` and ``?`` among them; other marks are dropped.

    Example:
        >>> words_of("Wasn't worth $12.50 -- AVOID!")
        ["wasn't", 'worth', '12.50', 'avoid', '!']
    """
    return _WORD.findall(sentence.lower().replace("’", "'"))


def encode_labelled(
    sentences: Sequence[Sequence[str]], classes: Sequence[str], vocabulary: Sequence[str], *, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token numbers (N, length), and how many elements of each row come before its padding, (N,).

    Args:
        sentences: The words of each; those that the vocabulary lacks become ``<unk>``, if it has that.
        classes: The class of each.
        vocabulary: Words with ``<s>``, ``</s>`` and ``<label=class>`` for every class.
        length: Elements of a sequence, three more than words of the longest sentence.

    Raises:
        DatasetError: a sentence that is too long, or a word that is not known.
    """
    framed = [[BEGIN, *words, END, tag(LABEL, name)] for words, name in zip(sentences, classes, strict=True)]
    return encode_words(framed, vocabulary, length=length)


def read_labelled_sentences(
    path: str | Path,
    *,
    longest: int | None = None,
    vocabulary_size: int | None = None,
    names: Mapping[str, str] | None = None,
    shares: Mapping[str, float] = DEFAULT_SHARES,
    seed: int = 0,
    name: str | None = None,
) -> LabelledSentences:
    """Read lines ``sentence<TAB>label`` into a dataset for classification.

    That is the form of the three-source sentiment sets (Yelp, IMDb, Amazon; 1000 sentences each, label 0 or
    1); any labels without white space will do. A line ends at a line feed alone: those sets hold other
    characters that some programs take for the end of one. The vocabulary is that of the training split.
    Sentences of equal words stay together in one split, whatever their labels.

    Args:
        path: UTF-8 text, also compressed; empty lines are skipped, and a first line that names the columns
            where the labels are numbers. Where they are words it is refused.
        longest: Words of the longest sentence, >= 1; longer ones are left out. None keeps all.
        vocabulary_size: Largest number of words with "<unk>" and the frame, >= 4, rarer ones becoming
            "<unk>"; None keeps every word of the training split.
        names: Label in the file -> class; None takes `SENTIMENT` where the labels are 0 and 1, else the
            labels themselves.
        shares: Of the sentences in "train", "validation" and "test", which sum to 1.
        seed: Of the split.
        name: What to call the dataset; None takes the file's.

    Raises:
        DatasetError: the file cannot be read, a line without a tab or label, a header, or fewer than two
            classes, also among the sentences that are not too long.
        ArgumentError: an option out of range, or ``names`` that lack a label.

    Source: D. Kotzias et al., KDD (2015): the sentiment sets.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "two.txt"
        >>> _ = file.write_text("Loved it!" + chr(9) + "1" + chr(10) + "Never again." + chr(9) + "0")
        >>> found = read_labelled_sentences(file, shares={"train": 1.0})
        >>> print(found)
        2 sentences (1 negative, 1 positive), 0 left out, 0 duplicates
        >>> found.dataset.metadata.vocabulary[-2:], found.dataset.n_steps
        (('<label=negative>', '<label=positive>'), 5)
        >>> folder.cleanup()
    """
    if longest is not None:
        check_integer("longest", longest, minimum=1)
    if vocabulary_size is not None:
        check_integer("vocabulary_size", vocabulary_size, minimum=4)
    file = Path(path)
    text = read_text(file)
    lines = _rows(file, text)
    rows = lines[1:] if _begins_with_header(file, [label for _, label in lines], names) else lines
    said = sorted({label for _, label in rows})
    if len(said) < 2:
        raise DatasetError(f"The file {file} must hold at least two labels, but holds {said}.")
    if names is None:
        names = SENTIMENT if set(said) <= set(SENTIMENT) else {label: label for label in said}
    for label in said:
        if label not in names:
            raise ArgumentError(f"Argument `names` lacks the label {label!r}: {nearest(label, names)}")
    kept = [
        (words, names[label]) for words, label in rows if words and (longest is None or len(words) <= longest)
    ]
    if not kept:
        raise DatasetError(f"The file {file} has no sentence of 1 to {longest} words.")
    if len(left := sorted({label for _, label in kept})) < 2:
        those = "sentences" if longest is None else f"sentences of 1 to {longest} words"
        raise DatasetError(f"The file {file} must hold {those} of at least two labels, but holds {left}.")
    shuffled, splits = shared_out(kept, shares, seed=seed, key=lambda item: tuple(item[0]))
    sentences, classes = [words for words, _ in shuffled], [label for _, label in shuffled]
    labels = list(dict.fromkeys(names[label] for label in said))
    vocabulary = vocabulary_of(sentences[slice(*splits["train"])], largest=vocabulary_size)
    words = [*vocabulary, *(tag(LABEL, label) for label in labels)]
    tokens, lengths = encode_labelled(
        sentences, classes, words, length=max(len(sentence) for sentence in sentences) + 3
    )
    counts = Counter(classes)
    return LabelledSentences(
        SequenceDataset.from_arrays(
            tokens,
            kind="token",
            vocabulary=words,
            lengths=lengths,
            splits=splits,
            name=name or file.stem,
            recipe={
                "source": "labelled_sentences",
                "file": file.name,
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "longest": longest,
                "vocabulary_size": vocabulary_size,
                "shares": dict(shares),
                "seed": seed,
            },
        ),
        classes={label: counts[label] for label in labels},
        left_out=len(rows) - len(kept),
        duplicates=count_duplicates(sentences),
        unknown=unknown_shares(sentences, splits, vocabulary),
        header=len(rows) < len(lines),
    )


def _begins_with_header(file: Path, labels: Sequence[str], names: Mapping[str, str] | None) -> bool:
    """Whether the first label names the column of the others: a word that stands nowhere else.

    Raises:
        DatasetError: the others are words too, so that it may be a header or a class of one sentence.
    """
    first, *others = labels
    if not others or first in others or _is_number(first) or first in (names or {}):
        return False
    if all(map(_is_number, others)):
        return True
    if len(set(others)) > 1 and min(Counter(others).values()) > 1:
        raise DatasetError(
            f"The file {file}, line 1: the label {first!r} stands nowhere else: remove the line if it is a "
            "header, or move it down if it is a sentence."
        )
    return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _rows(file: Path, text: str) -> list[tuple[list[str], str]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        sentence, found, label = line.rpartition("\t")
        label = label.strip()
        if not found or not label or len(label.split()) > 1 or read_tag(f"<{LABEL}={label}>") is None:
            raise DatasetError(
                f"The file {file}, line {number}: a sentence, a tab and a label must stand there, but it is "
                f"{line.strip()[:40]!r}."
            )
        rows.append((words_of(sentence), label))
    if not rows:
        raise DatasetError(f"The file {file} holds no sentences.")
    return rows
