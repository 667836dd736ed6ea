"""The graph that tokens of SMILES draw: which token is which atom, and when each bond becomes known.

A SMILES string is read from left to right, and so is its graph: an atom is bound to the one before it, or to
the one that a branch began at, and to the one that shares a ring number. A bond is known from the token on
that makes it, which is its later atom or its second ring number. A model that forecasts the next token may
use what is known so far and nothing else, also of strings that are not finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from torch import Tensor

from qdyn.data.smiles import SPECIAL

_BONDS = frozenset("-=#:~/\\$")


@dataclass(frozen=True)
class TokenGraph:
    """The graph that a sequence of tokens draws.

    Attributes:
        atoms: (T,) the atom that each token is, numbered from 0; -1 for a token that is none.
        bonds: Of two atoms, with the place of the token that makes it: (first, second, place).
    """

    atoms: NDArray[np.int64]
    bonds: tuple[tuple[int, int, int], ...]

    def adjacency(self, seen: int | None = None) -> Bool[np.ndarray, "time time"]:
        """Which tokens are atoms that are bound, once ``seen`` tokens are known; None for all of them."""
        places = np.flatnonzero(self.atoms >= 0)
        found = np.zeros((len(self.atoms), len(self.atoms)), dtype=bool)
        for first, second, place in self.bonds:
            if seen is None or place < seen:
                i, j = places[first], places[second]
                found[i, j] = found[j, i] = True
        return found


def token_graph(words: Sequence[str]) -> TokenGraph:
    """The graph that tokens of SMILES draw, as far as they go.

    What makes no sense, as in the strings of a model that is not trained yet, draws nothing: a branch that
    was never opened, a ring number before any atom.

    Args:
        words: Tokens as `qdyn.data.smiles.smiles_tokens` cuts them; "[CLS]", "[EOS]" and "<pad>" may be among
            them.

    Example: the carbon atoms of cyclopropane; the ring closes with the second 1.
        >>> graph = token_graph(["C", "1", "C", "C", "1"])
        >>> graph.atoms.tolist(), graph.bonds
        ([0, -1, 1, 2, -1], ((0, 1, 2), (1, 2, 3), (0, 2, 4)))
    """
    atoms = np.full(len(words), -1, dtype=np.int64)
    bonds: list[tuple[int, int, int]] = []
    rings: dict[str, int] = {}
    branches: list[int | None] = []
    last: int | None = None
    count = 0
    for place, word in enumerate(words):
        if word in SPECIAL or word == ".":
            last = None
        elif word == "(":
            branches.append(last)
        elif word == ")":
            last = branches.pop() if branches else last
        elif word.isdigit() or word.startswith("%"):
            number = word.removeprefix("%").lstrip("0") or "0"
            if last is None:
                continue
            if number in rings:
                other = rings.pop(number)
                if other != last:
                    bonds.append((other, last, place))
            else:
                rings[number] = last
        elif word not in _BONDS:
            atoms[place] = count
            if last is not None:
                bonds.append((last, count, place))
            last, count = count, count + 1
    return TokenGraph(atoms, tuple(bonds))


def token_graphs(
    tokens: Int64[Tensor, "batch time"] | NDArray[np.int64], vocabulary: Sequence[str]
) -> list[TokenGraph]:
    """The graph of each row of token numbers."""
    return [token_graph([vocabulary[number] for number in row]) for row in np.asarray(tokens).tolist()]
