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
    coefficients = terms.coefficients.reshape(-1, terms.coefficients.shape[-1]).numpy(force=True)
    lower, upper = _bounds(terms.n_sites, terms.words, coefficients.tobytes())
    return torch.tensor(lower), torch.tensor(upper)


@lru_cache(maxsize=32)
def _bounds(n_sites: int, words: tuple[Word, ...], numbers: bytes) -> tuple[Array, Array]:
    # One evolution asks several times: to estimate, to choose a method, and to run it.
    coefficients = np.frombuffer(numbers).reshape(-1, len(words))
    terms = PauliTerms(n_sites, words, torch.from_numpy(coefficients.copy()))
    constant = np.zeros(len(coefficients))
    chain: list[int] = []
    rest = np.zeros_like(constant)
    for place, word in enumerate(terms.words):
        if not word:
            constant += coefficients[:, place]
        elif _is_of_chain(word, terms.n_sites):
            chain.append(place)
        else:
            rest += np.abs(coefficients[:, place])
    norm = rest + _chain_norm(terms, coefficients, chain)
    lower, upper = constant - norm, constant + norm
    if rest.any():
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


def _is_of_chain(word: Word, n_sites: int) -> bool:
    if len(word) == 1:
        return word[0][1] == "X"
    (i, first), (j, second) = word[:2]
    return len(word) == 2 and first == second == "Z" and abs(i - j) in (1, n_sites - 1)


def _chain_norm(terms: PauliTerms, coefficients: Array, chain: list[int]) -> Array:
    """The norm of sum_i h_i X_i + sum_i J_i Z_i Z_{i+1}: the larger of the two parity sectors."""
    n_sites = terms.n_sites
    matrix = np.zeros((len(coefficients), n_sites, n_sites))
    closing = np.zeros(len(coefficients))
    for place in chain:
        sites = sorted(site for site, _ in terms.words[place])
        if sites[-1] - sites[0] <= 1:
            matrix[:, sites[0], sites[-1]] += coefficients[:, place]
        else:
            closing += coefficients[:, place]
    norms = []
    for sign in (1, -1) if closing.any() else (0,):
        sector = matrix.copy()
        sector[:, n_sites - 1, 0] += sign * closing
        norms.append(np.linalg.svd(sector, compute_uv=False).sum(axis=-1))
    return np.max(norms, axis=0)
