"""Proteins as tokens: the twenty amino acids, one for any other, tags in front, blocks of equal length.

A sequence is ``<bos> tags residues <eos> <pad> …``. Letters that stand for several residues, or for rare
ones, become ``X``; a letter that stands for none is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.data.tags import read_tag
from qdyn.errors import ArgumentError, DatasetError

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty amino acids in the order of their letters."""
UNKNOWN_RESIDUE = "X"
PAD, BEGIN, END = "<pad>", "<bos>", "<eos>"
SPECIAL = (PAD, BEGIN, END)
LETTERS = (*RESIDUES, UNKNOWN_RESIDUE)
# Asparagine or aspartate, glutamine or glutamate, leucine or isoleucine, pyrrolysine, selenocysteine, any.
_AMBIGUOUS = "BZJOUX"
CHARGES = {"K": 1, "R": 1, "D": -1, "E": -1}
"""Charge of a side chain at pH 7 in units of e; histidine counts as neutral."""
HYDROPATHY = {
    **{"A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4, "H": -3.2},
    **{"I": 4.5, "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8, "T": -0.7, "W": -0.9},
    **{"Y": -1.3, "V": 4.2},
}
"""Hydropathy of each residue. Source: J. Kyte, R. F. Doolittle, J. Mol. Biol. 157, 105 (1982)."""


def clean_residues(text: str) -> str:
    """One protein in the 21 letters: upper case, no white space, ``X`` for what is ambiguous or rare.

    An asterisk at the end marks a stop and is left out.

    Raises:
        DatasetError: a character that is no residue, its place is given; or no residue at all.

    Example:
        >>> clean_residues("mkU b*")
        'MKXX'
    """
    letters = "".join(text.split()).upper().removesuffix("*")
    if not letters:
        raise DatasetError("A protein sequence is empty.")
    for place, letter in enumerate(letters, start=1):
        if letter not in RESIDUES and letter not in _AMBIGUOUS:
            raise DatasetError(f"{letter!r} at place {place} of a protein sequence is no residue.")
    return "".join(letter if letter in RESIDUES else UNKNOWN_RESIDUE for letter in letters)


def net_charge(residues: str) -> int:
    """The charge of the side chains at pH 7: lysines and arginines less aspartates and glutamates.

    Example:
        >>> net_charge("MKRE")
        1
    """
    counts = Counter(residues)
    return sum(charge * counts[letter] for letter, charge in CHARGES.items())


def mean_hydropathy(residues: str) -> float:
    """The mean of `HYDROPATHY` over the residues that are known, 0 where none is ("GRAVY").

    Example:
        >>> mean_hydropathy("IR")
        0.0
    """
    values = [HYDROPATHY[letter] for letter in residues if letter in HYDROPATHY]
    return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True)
class ProteinVocabulary:
    """The words that proteins are written in, and the length of a block.

    Attributes:
        tags: Words ``<key=value>`` that may stand in front: see `qdyn.data.tags`.
        block: Elements of a sequence, >= 3.

    Example:
        >>> vocabulary = ProteinVocabulary(("<family=a>", "<family=b>"), block=6)
        >>> len(vocabulary), vocabulary.words[:4], vocabulary.words[-2:]
        (26, ('<pad>', '<bos>', '<eos>', 'A'), ('<family=a>', '<family=b>'))
        >>> tokens, lengths = vocabulary.encode(["AC", "WXY"], [["<family=b>"], []])
        >>> tokens.tolist(), lengths.tolist()
        ([[1, 25, 3, 4, 2, 0], [1, 21, 23, 22, 2, 0]], [5, 5])
        >>> vocabulary.decode(tokens), vocabulary.tags_of(tokens)
        (['AC', 'WXY'], [('<family=b>',), ()])
    """

    tags: tuple[str, ...]
    block: int

    def __post_init__(self) -> None:
        check_integer("block", self.block, minimum=3)
        wrong = [word for word in self.tags if read_tag(word) is None]
        if wrong or len(set(self.tags)) < len(self.tags):
            raise ArgumentError(
                f"Argument `tags` must hold words such as <family=kinase>, each once, but is {self.tags!r}."
            )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words in the order of their numbers: padding, begin, end, residues, X, tags."""
        return (*SPECIAL, *LETTERS, *self.tags)

    @cached_property
    def number_of(self) -> Mapping[str, int]:
        """Word -> number."""
        return {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(
        self, proteins: Sequence[str], tags: Sequence[Sequence[str]] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token numbers (N, block), and how many elements of each row come before its padding, (N,).

        Args:
            proteins: In the 21 letters: see `clean_residues`.
            tags: The words in front of each; None puts none.

        Raises:
            DatasetError: a protein does not fit the block, or a word is not known.
        """
        fronts = [()] * len(proteins) if tags is None else tags
        number = self.number_of
        rows = np.full((len(proteins), self.block), number[PAD], dtype=np.int64)
        lengths = np.empty(len(proteins), dtype=np.int64)
        for place, (front, protein) in enumerate(zip(fronts, proteins, strict=True)):
            sentence = [BEGIN, *front, *protein, END]
            if len(sentence) > self.block:
                raise DatasetError(
                    f"A protein of {len(protein)} residues and {len(front)} tags needs {len(sentence)} "
                    f"elements, but a block has {self.block}."
                )
            unknown = [word for word in sentence if word not in number]
            if unknown:
                raise DatasetError(f"The word {unknown[0]!r} is not in the vocabulary of the proteins.")
            rows[place, : len(sentence)] = [number[word] for word in sentence]
            lengths[place] = len(sentence)
        return rows, lengths

    def decode(self, tokens: NDArray[np.int64] | Int64[Tensor, "batch time"]) -> list[str]:
        """The residues of each row, up to <eos>."""
        return residues_of(tokens, self.words)

    def tags_of(self, tokens: NDArray[np.int64] | Int64[Tensor, "batch time"]) -> list[tuple[str, ...]]:
        """The tags of each row, in order."""
        return [
            tuple(self.words[number] for number in row if read_tag(self.words[number]))
            for row in np.asarray(tokens).tolist()
        ]


def residues_of(
    tokens: NDArray[np.int64] | Int64[Tensor, "batch time"], vocabulary: Sequence[str]
) -> list[str]:
    """The residues that rows of token numbers stand for: up to <eos>, what is no residue left out."""
    found = []
    for row in np.asarray(tokens).tolist():
        words = [vocabulary[number] for number in row]
        end = words.index(END) if END in words else len(words)
        found.append("".join(word for word in words[:end] if word in LETTERS))
    return found


def is_protein_vocabulary(vocabulary: Iterable[str] | None) -> bool:
    """Whether these words begin as those of a `ProteinVocabulary` do."""
    return tuple(vocabulary or ())[: len(SPECIAL) + len(LETTERS)] == (*SPECIAL, *LETTERS)
