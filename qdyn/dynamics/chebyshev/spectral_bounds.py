"""Bounds on the spectrum of a sum of Pauli strings, which the Chebyshev method needs before it starts.

A bound that is too small makes the method diverge, one that is too large makes it slow. Every bound here is
proven, none is an estimate:

- an open or closed chain of X and nearest-neighbour ZZ is solved by free fermions: its spectrum ends at plus
  and minus the sum of the singular values of a bidiagonal matrix (P. Pfeuty, Annals of Physics 57, 79
  (1970));
- what else such a Hamiltonian holds adds at most the sum of the moduli of its coefficients;
- any sum of operators lies between the sums of their lowest and of their highest eigenvalues, here of pieces
  of a few neighbouring sites, which are diagonalised (P. W. Anderson, Physical Review 83, 1260 (1951)).

The tightest of them is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.quantum.pauli import PauliTerms, Word

# Sites of the pieces that are diagonalised.
_PIECE = 6

Array = NDArray[np.float64]


def spectral_bounds(terms: PauliTerms) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Numbers that enclose the spectrum: lower <= E <= upper.

    Args:
        terms: the operator, or a batch of operators.

    Returns:
        lower and upper bounds, float64, (batch,), of length 1 for a single operator.

    Example:
        >>> from qdyn.quantum.hamiltonians import TransverseFieldIsing
        >>> lower, upper = spectral_bounds(TransverseFieldIsing(2, coupling=1.0, field=1.0).pauli_terms())
        >>> upper  # sqrt(5), the largest eigenvalue
        tensor([2.2361], dtype=torch.float64)
    """
    lower, upper = spectral_interval(terms)
    return torch.tensor(lower), torch.tensor(upper)


def spectral_interval(terms: PauliTerms) -> tuple[Array, Array]:
    """The same bounds as arrays that must not be written to."""
    return _bounds(terms.n_sites, terms.words, terms.coefficients.numpy(force=True).tobytes())


@lru_cache(maxsize=32)
def _bounds(n_sites: int, words: tuple[Word, ...], numbers: bytes) -> tuple[Array, Array]:
    # One evolution asks several times: to estimate, to choose a method, and to run it.
    coefficients = np.frombuffer(numbers).reshape(-1, len(words))
    sorting = _sort(n_sites, words)
    constant = coefficients[:, sorting.constants].sum(axis=1)
    rest = np.abs(coefficients[:, sorting.others]).sum(axis=1)
    norm = rest + _chain_norm(n_sites, coefficients, sorting)
    lower, upper = constant - norm, constant + norm
    if rest.any():
        terms = PauliTerms(n_sites, words, torch.from_numpy(coefficients.copy()))
        lowest, highest = _sum_of_pieces(terms, coefficients)
        lower, upper = np.maximum(lower, constant + lowest), np.minimum(upper, constant + highest)
    return lower, upper


def _sum_of_pieces(terms: PauliTerms, coefficients: Array) -> tuple[Array, Array]:
    """Sums of the extreme eigenvalues of pieces, each of neighbouring strings on at most _PIECE sites."""
    lowest, highest = np.zeros(len(coefficients)), np.zeros(len(coefficients))
    for sites, places in _pieces(terms):
        if len(sites) > _PIECE:
            extremes = np.abs(coefficients[:, places]).sum(axis=1)
            lowest, highest = lowest - extremes, highest + extremes
            continue
        words = tuple(
            tuple((sites.index(site), letter) for site, letter in terms.words[place]) for place in places
        )
        piece = PauliTerms(len(sites), words, torch.from_numpy(coefficients[:, places]))
        energies = torch.linalg.eigvalsh(piece.to_dense()).numpy()
        # LAPACK's eigenvalues are off by rounding, the bounds must not be.
        margin = 1e-13 * np.abs(coefficients[:, places]).sum(axis=1)
        lowest, highest = lowest + energies[:, 0] - margin, highest + energies[:, -1] + margin
    return lowest, highest


def _pieces(terms: PauliTerms) -> list[tuple[list[int], list[int]]]:
    """Sites and strings of each piece, the strings taken in the order of their sites."""
    order = sorted(
        (place for place, word in enumerate(terms.words) if word),
        key=lambda place: (min(terms.words[place])[0], max(terms.words[place])[0]),
    )
    pieces: list[tuple[list[int], list[int]]] = []
    for place in order:
        own = {site for site, _ in terms.words[place]}
        if not pieces or len(own.union(pieces[-1][0])) > _PIECE:
            pieces.append(([], []))
        sites, places = pieces.pop()
        pieces.append((sorted(own.union(sites)), [*places, place]))
    return pieces


@dataclass(frozen=True, eq=False)
class _Sorting:
    """Which strings are multiples of 1, which of an open chain with their end sites, and its closing bond."""

    constants: list[int]
    chain: list[int]
    ends: NDArray[np.int64]
    closing: list[int]
    others: list[int]


@lru_cache(maxsize=64)
def _sort(n_sites: int, words: tuple[Word, ...]) -> _Sorting:
    constants: list[int] = []
    chain: list[int] = []
    closing: list[int] = []
    others: list[int] = []
    ends: list[tuple[int, int]] = []
    for place, word in enumerate(words):
        sites = sorted(site for site, _ in word)
        if not word:
            constants.append(place)
        elif not _is_of_chain(word, n_sites):
            others.append(place)
        elif sites[-1] - sites[0] > 1:
            closing.append(place)
        else:
            chain.append(place)
            ends.append((sites[0], sites[-1]))
    return _Sorting(constants, chain, np.array(ends, dtype=np.int64).reshape(-1, 2), closing, others)


def _is_of_chain(word: Word, n_sites: int) -> bool:
    if len(word) == 1:
        return word[0][1] == "X"
    (i, first), (j, second) = word[:2]
    return len(word) == 2 and first == second == "Z" and abs(i - j) in (1, n_sites - 1)


def _chain_norm(n_sites: int, coefficients: Array, sorting: _Sorting) -> Array:
    """The norm of sum_i h_i X_i + sum_i J_i Z_i Z_{i+1}: the larger of the two parity sectors."""
    matrix = np.zeros((len(coefficients), n_sites, n_sites))
    np.add.at(matrix, (slice(None), *sorting.ends.T), coefficients[:, sorting.chain])
    closing = coefficients[:, sorting.closing].sum(axis=1)
    norms = []
    for sign in (1, -1) if closing.any() else (0,):
        sector = matrix.copy()
        sector[:, n_sites - 1, 0] += sign * closing
        norms.append(np.linalg.svd(sector, compute_uv=False).sum(axis=-1))
    return np.max(norms, axis=0)
