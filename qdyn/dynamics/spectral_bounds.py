"""Bounds on the spectrum of a sum of Pauli strings, which the Chebyshev method needs before it starts.

A bound that is too small makes the method diverge, one that is too large makes it slow. Every bound here is
proven, none is an estimate:

- an open or closed chain of X and nearest-neighbour ZZ is solved by free fermions: its spectrum ends at plus
  and minus the sum of the singular values of a bidiagonal matrix (P. Pfeuty, Annals of Physics 57, 79
  (1970));
- whatever else the Hamiltonian holds adds at most the sum of the moduli of its coefficients.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.quantum.pauli import PauliTerms, Word

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
    # No combination of strings exceeds the sum of their moduli.
    norm = rest + _chain_norm(terms, coefficients, chain)
    norm = np.minimum(norm, np.abs(coefficients).sum(axis=1) - np.abs(constant))
    return torch.from_numpy(constant - norm), torch.from_numpy(constant + norm)


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
