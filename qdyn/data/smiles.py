"""SMILES as tokens: how a string is cut, the vocabulary, blocks of equal length, and the published split.

A molecule is read as ``[CLS] tokens [EOS] <pad> …`` up to the length of a block. A bracket atom is one token,
so ``[NH3+]`` is a word like ``C``; nothing is learnt about where to cut.

Source: arXiv:2502.19214, whose tokens, vocabulary and split of QM9 these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.errors import ArgumentError, DatasetError

Item = TypeVar("Item")

PAD, BEGIN, END = "<pad>", "[CLS]", "[EOS]"
SPECIAL = (PAD, BEGIN, END)
QM9_BLOCK = 24
"""Elements of a block of QM9: 22 tokens at most, the first and the last word."""
QM9_VOCABULARY = (
    *("#", "(", ")", "-", "1", "2", "3", "4", "5", PAD, "=", "C", "F", "N", "O", "[C-]", "[CH-]", BEGIN, END),
    *("[N+]", "[N-]", "[NH+]", "[NH2+]", "[NH3+]", "[O-]", "[c-]", "[cH-]", "[n-]", "[nH+]", "[nH]"),
    *("c", "n", "o"),
)
"""The 33 words of QM9 in the order of their numbers, as the published weights count them."""
PUBLISHED_VALIDATION = 0.05

# A bracket atom, elements of two letters before those of one, ring numbers of two digits before those of one.
_TOKEN = re.compile(r"\[[^\]]+\]|Br|Cl|%\d\d|[BCNOSPFIbcnosp]|[().=#\-+\\/:~@?>*$]|\d")


def smiles_tokens(smiles: str) -> list[str]:
    """Cut a SMILES string into tokens, whose concatenation it is.

    Args:
        smiles: One molecule; not empty.

    Raises:
        DatasetError: a character that starts no token; its place is given.

    Example:
        >>> smiles_tokens("C[NH+]1CC1Cl")
        ['C', '[NH+]', '1', 'C', 'C', '1', 'Cl']
    """
    tokens = _TOKEN.findall(smiles)
    if "".join(tokens) != smiles or not tokens:
        place = 0
        while place < len(smiles) and (found := _TOKEN.match(smiles, place)):
            place = found.end()
        what = f"has {smiles[place]!r} at place {place}" if smiles else "is empty"
        raise DatasetError(f"The SMILES {smiles!r} cannot be cut into tokens: it {what}.")
    return tokens


@dataclass(frozen=True)
class SmilesVocabulary:
    """The words that SMILES are written in, and the length of a block.

    Attributes:
        words: Tokens in the order of their numbers; among them "<pad>", "[CLS]" and "[EOS]".
        block: Elements of a sequence, >= 3: the tokens of the longest molecule and two more.

    Example:
        >>> vocabulary = SmilesVocabulary.of(["CO", "C#N"])
        >>> vocabulary.words, vocabulary.block
        (('#', '<pad>', 'C', 'N', 'O', '[CLS]', '[EOS]'), 5)
        >>> vocabulary.encode(["CO"])[0]
        array([[5, 2, 4, 6, 1]])
        >>> vocabulary.decode(vocabulary.encode(["CO", "C#N"])[0])
        ['CO', 'C#N']
    """

    words: tuple[str, ...]
    block: int

    def __post_init__(self) -> None:
        check_integer("block", self.block, minimum=3)
        if len(set(self.words)) < len(self.words):
            raise ArgumentError("Argument `words` must hold each word once.")
        missing = [word for word in SPECIAL if word not in self.words]
        if missing:
            raise ArgumentError(f"Argument `words` must hold {', '.join(SPECIAL)}, but lacks {missing[0]!r}.")

    @classmethod
    def of(cls, smiles: Iterable[str], *, block: int | None = None) -> SmilesVocabulary:
        """The vocabulary of some molecules: every token of theirs and the three special ones, sorted.

        Args:
            smiles: The molecules, at least one.
            block: Elements of a sequence; None takes what the longest molecule needs.

        Raises:
            DatasetError: a string that cannot be cut, or is too long for the block.
        """
        longest, words = 0, set(SPECIAL)
        for one in smiles:
            tokens = smiles_tokens(one)
            longest = max(longest, len(tokens))
            words.update(tokens)
            if block is not None and len(tokens) + 2 > block:
                raise _too_long(one, len(tokens), block)
        if not longest:
            raise ArgumentError("Argument `smiles` must hold at least one molecule, but is empty.")
        return cls(tuple(sorted(words)), longest + 2 if block is None else block)

    @classmethod
    def of_qm9(cls) -> SmilesVocabulary:
        """The 33 words and 24-token blocks of QM9, without having to read it."""
        return cls(QM9_VOCABULARY, QM9_BLOCK)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Word -> number."""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, smiles: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token numbers (N, block), and how many elements of each row come before its padding, (N,).

        Raises:
            DatasetError: a string that cannot be cut, is too long, or has a word that is not known.
        """
        number = self.number_of
        rows = np.full((len(smiles), self.block), number[PAD], dtype=np.int64)
        lengths = np.empty(len(smiles), dtype=np.int64)
        for place, one in enumerate(smiles):
            tokens = smiles_tokens(one)
            if len(tokens) + 2 > self.block:
                raise _too_long(one, len(tokens), self.block)
            unknown = [token for token in tokens if token not in number]
            if unknown:
                raise DatasetError(
                    f"The SMILES {one!r} has the token {unknown[0]!r}, which is not among the "
                    f"{len(self)} words of the vocabulary."
                )
            rows[place, : len(tokens) + 2] = [number[word] for word in (BEGIN, *tokens, END)]
            lengths[place] = len(tokens) + 2
        return rows, lengths

    def decode(self, tokens: NDArray[np.int64] | Int64[Tensor, "batch time"]) -> list[str]:
        """The strings that rows of token numbers stand for: up to [EOS], special words left out."""
        found = []
        for row in np.asarray(tokens):
            words = [self.words[number] for number in row.tolist()]
            end = words.index(END) if END in words else len(words)
            found.append("".join(word for word in words[:end] if word not in SPECIAL))
        return found


def published_split(
    smiles: Sequence[Item], seed: int = 42, *, as_in_the_files: bool = False
) -> tuple[list[Item], list[Item]]:
    """The training and the validation set of arXiv:2502.19214.

    With p a random permutation drawn from the seed, the published code shuffles by p and then, from the same
    seed, by p again: molecule i of the whole order is number p[p[i]], and the last 5 % of it are for
    validation. The CSV files that were published beside it hold the molecules p[i] instead: 95 % of their
    validation set was trained on. No accuracy or novelty should be measured on those; they can be had for
    comparison.

    Args:
        smiles: Molecules in the order of the data set: for QM9 the 133,798 distinct canonical SMILES.
        seed: Of PyTorch's generator, which p is drawn from on the CPU.
        as_in_the_files: Give the sets of the published CSV files, which are not those of training.

    Returns:
        Training set and validation set, floor(0.05 N) of N.

    Source: the code published with arXiv:2502.19214; confirmed by the losses of its weights.

    Example:
        >>> train, validation = published_split(list(range(40)))
        >>> len(train), validation
        (38, [9, 3])
        >>> len(set(validation) & set(published_split(list(range(40)), as_in_the_files=True)[1]))
        0
    """
    order = torch.randperm(len(smiles), generator=torch.Generator().manual_seed(seed))
    if not as_in_the_files:
        order = order[order]
    n_train = len(smiles) - int(PUBLISHED_VALIDATION * len(smiles))
    chosen = order.tolist()
    return [smiles[i] for i in chosen[:n_train]], [smiles[i] for i in chosen[n_train:]]


def _too_long(smiles: str, n_tokens: int, block: int) -> DatasetError:
    return DatasetError(
        f"The SMILES {smiles!r} has {n_tokens} tokens, but a block of {block} holds {block - 2}."
    )
