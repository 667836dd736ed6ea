"""Symmetries of a sum of Pauli strings, read off its strings and coefficients.

Two kinds are looked for, each of which maps basis states onto basis states up to a sign:

* permutations of sites, U_pi P_k U_pi^H = P_k' with the same coefficient: translations and reflections of
  chains, ladders and square lattices;
* Pauli strings S that commute with every P_k, such as the parity prod_i X_i of the Ising chain. With S given
  by its masks (flip a, sign b), the condition is linear over the field of two elements,

      popcount(a & sign_k) + popcount(b & flip_k) = 0  (mod 2),

  and so is invariance under a permutation: all of them are the null space of one matrix of bits.

What a diagonal string or the magnetisation conserves shows in the pattern of non-zero matrix elements and is
not listed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Complex, Int
from numpy.typing import NDArray

from qdyn.quantum.pauli import PauliTerms, Word

# A group acts on states by its table of characters: beyond this order the table costs more than smaller
# blocks save.
_LARGEST_GROUP = 64


@dataclass(frozen=True)
class Symmetry:
    """The operator U = S U_pi that commutes with a Hamiltonian, U^order = 1.

    Attributes:
        name: what it is, for people.
        order: the smallest power that is the identity.
        sites: pi; what stands on site i goes to site ``sites[i]``.
        flip: sites where S holds X or Y, as a mask.
        sign: sites where S holds Z or Y, as a mask.
    """

    name: str
    order: int
    sites: tuple[int, ...]
    flip: int = 0
    sign: int = 0

    @property
    def is_real(self) -> bool:
        """Whether its matrix is real: S holds an even number of Y."""
        return (self.flip & self.sign).bit_count() % 2 == 0

    def act(
        self, basis: Int[NDArray[np.int64], " states"]
    ) -> tuple[Int[NDArray[Any], " states"], Complex[NDArray[Any], " states"]]:
        """The images of basis states and their phases: U |b> = phase |image>."""
        moved = np.zeros_like(basis)
        last = len(self.sites) - 1
        for site, target in enumerate(self.sites):
            moved |= (basis >> (last - site) & 1) << (last - target)
        odd = moved & self.sign
        for shift in (32, 16, 8, 4, 2, 1):
            odd = odd ^ odd >> shift
        return moved ^ self.flip, (1 - 2 * (odd & 1)) * 1j ** ((self.flip & self.sign).bit_count() % 4)


def symmetries(terms: PauliTerms) -> tuple[Symmetry, ...]:
    """Commuting symmetries that all operators of ``terms`` share; their powers are all different operators.

    The equality of coefficients is that of floating-point numbers: a coupling that differs in its last bit
    breaks the symmetry.

    Args:
        terms: an operator, or a batch.

    Returns:
        Permutations of sites first, Pauli strings after.

    Source: S. Bravyi, J. M. Gambetta, A. Mezzacapo, K. Temme, arXiv:1701.08213 (2017), for the strings;
    A. W. Sandvik, AIP Conference Proceedings 1297, 135 (2010), for the permutations.

    Example:
        >>> from qdyn.quantum.hamiltonians import TransverseFieldIsing
        >>> ring = TransverseFieldIsing(6, periodic=True)
        >>> [(symmetry.name, symmetry.order) for symmetry in symmetries(ring.pauli_terms())]
        [('translation by 1 site', 6), ('XXXXXX', 2)]
    """
    words, coefficients = _collected(terms)
    candidates = _permutations(terms.n_sites)
    valid = np.logical_and.reduce(_invariant(words, coefficients, [sites for _, sites in candidates]), axis=0)
    present = (coefficients != 0).any(axis=0)
    kept = [word for word, here in zip(words, present, strict=True) if here]
    return _commuting(terms, candidates, valid, kept)


def members_with_equal_symmetries(terms: PauliTerms) -> Iterator[tuple[slice, tuple[Symmetry, ...]]]:
    """Cut a batch where the symmetries of its operators change: members, and the symmetries they share.

    A single operator is one member.
    """
    words, coefficients = _collected(terms)
    candidates = _permutations(terms.n_sites)
    valid = _invariant(words, coefficients, [sites for _, sites in candidates])
    present = coefficients != 0
    same = (valid[1:] == valid[:-1]).all(axis=1) & (present[1:] == present[:-1]).all(axis=1)
    edges = [0, *(np.flatnonzero(~same) + 1).tolist(), len(coefficients)]
    for first, last in pairwise(edges):
        kept = [word for word, here in zip(words, present[first], strict=True) if here]
        yield slice(first, last), _commuting(terms, candidates, valid[first], kept)


def conserves_magnetisation(terms: PauliTerms) -> bool:
    """Whether every operator conserves sum_i Z_i, as far as strings that flip no spin or two can tell.

    X_i X_j and Y_i Y_j move a spin where their coefficients are equal, X_i Y_j and Y_i X_j where they are
    opposite, each beside the same Z on other sites.

    Example:
        >>> from qdyn.quantum.spin_models import XXZ
        >>> conserves_magnetisation(XXZ(3, field=0.4).pauli_terms())
        True
    """
    words, coefficients = _collected(terms)
    pairs: dict[Word, dict[str, NDArray[np.float64]]] = {}
    for column, word in enumerate(words):
        letters = "".join(letter for _, letter in word if letter != "Z")
        if letters and coefficients[:, column].any():
            if len(letters) != 2:
                return False
            beside = tuple((site, "Z" if letter == "Z" else "flip") for site, letter in word)
            pairs.setdefault(beside, {})[letters] = coefficients[:, column]
    none = np.zeros(len(coefficients))
    return all(
        np.array_equal(found.get("XX", none), found.get("YY", none))
        and np.array_equal(found.get("XY", none), -found.get("YX", none))
        for found in pairs.values()
    )


def _collected(terms: PauliTerms) -> tuple[list[Word], NDArray[np.float64]]:
    """Every string once, its factors in the order of sites, and the coefficients, (operators, strings)."""
    columns = np.atleast_2d(terms.coefficients.numpy(force=True))
    places: dict[Word, int] = {}
    where = [places.setdefault(tuple(sorted(word)), len(places)) for word in terms.words]
    total = np.zeros((len(columns), len(places)))
    for column, place in enumerate(where):
        total[:, place] += columns[:, column]
    return list(places), total


def _invariant(
    words: list[Word], coefficients: NDArray[np.float64], candidates: Sequence[tuple[int, ...]]
) -> NDArray[np.bool_]:
    """Whether each permutation of sites leaves each operator as it is, (operators, permutations)."""
    places = {word: place for place, word in enumerate(words)}
    # A string whose image is not among the strings is mapped onto a coefficient of nought.
    padded = np.pad(coefficients, ((0, 0), (0, 1)))
    valid = np.zeros((len(coefficients), len(candidates)), dtype=np.bool_)
    for number, sites in enumerate(candidates):
        images = []
        for place, word in enumerate(words):
            image = places.get(tuple(sorted((sites[site], letter) for site, letter in word)), len(words))
            images.append(image)
            if not np.any(padded[:, image] == coefficients[:, place]):
                break
        else:
            valid[:, number] = (padded[:, images] == coefficients).all(axis=1)
    return valid


@cache
def _permutations(n_sites: int) -> list[tuple[str, tuple[int, ...]]]:
    """Permutations worth trying, those of high order first."""
    sites = range(n_sites)
    found: dict[tuple[int, ...], str] = {}
    for step in range(1, n_sites):
        if n_sites % step == 0:
            name = f"translation by {step} site{'s' if step > 1 else ''}"
            found.setdefault(tuple((site + step) % n_sites for site in sites), name)
    shapes = [(n_sites // width, width) for width in range(2, n_sites // 2 + 1) if n_sites % width == 0]
    for rows, width in shapes:
        name = f"{'translation along' if width > 2 else 'reflection of'} {rows} rows of {width}"
        found.setdefault(tuple(site - site % width + (site + 1) % width for site in sites), name)
    for last in (n_sites - 1, *range(n_sites - 1)):
        name = "reflection" if last == n_sites - 1 else f"reflection of site 0 to site {last}"
        found.setdefault(tuple((last - site) % n_sites for site in sites), name)
    for rows, width in shapes:
        name = f"reflection of {rows} rows of {width}"
        found.setdefault(tuple(site - site % width + width - 1 - site % width for site in sites), name)
    return [(name, permutation) for permutation, name in found.items() if permutation != tuple(sites)]


def _commuting(
    terms: PauliTerms,
    candidates: list[tuple[str, tuple[int, ...]]],
    valid: NDArray[np.bool_],
    words: list[Word],
) -> tuple[Symmetry, ...]:
    """A commuting choice, greedily: permutations in their order, then strings that they leave alone."""
    n_sites = terms.n_sites
    identity = tuple(range(n_sites))
    chosen: list[Symmetry] = []
    group = {identity}
    for (name, sites), holds in zip(candidates, valid, strict=True):
        if not holds or any(_after(sites, other.sites) != _after(other.sites, sites) for other in chosen):
            continue
        powers = [sites]
        while powers[-1] != identity:
            powers.append(_after(sites, powers[-1]))
        # Were a power in the group already, one operator would count as two.
        if len(group) * len(powers) > _LARGEST_GROUP or not group.isdisjoint(powers[:-1]):
            continue
        group = {_after(power, element) for power in powers for element in group}
        chosen.append(Symmetry(name, len(powers), sites))
    order = len(group)
    for flip, sign in _strings(terms, words, [symmetry.sites for symmetry in chosen]):
        if 2 * order > _LARGEST_GROUP:
            break
        if any(_anticommute((flip, sign), (other.flip, other.sign)) for other in chosen):
            continue
        chosen.append(Symmetry(_label(n_sites, flip, sign), 2, identity, flip, sign))
        order *= 2
    return tuple(chosen)


def _strings(
    terms: PauliTerms, words: list[Word], permutations: list[tuple[int, ...]]
) -> Iterator[tuple[int, int]]:
    """Pauli strings (flip, sign) that commute with every word and every permutation, with independent flips.

    Where H is real those with an odd number of Y are left out: their eigenvectors are complex, and a complex
    block takes longer than a real one of twice the size.
    """
    n_sites = terms.n_sites
    kept = PauliTerms(n_sites, tuple(words), terms.coefficients[..., :0])
    # A string is the integer (flip << n) | sign; a condition is a mask whose overlap with it is even.
    conditions = {sign << n_sites | flip for flip, sign in zip(kept.flips, kept.signs, strict=True)}
    for sites in permutations:
        for site, target in enumerate(sites):
            if site != target:
                pair = 1 << (n_sites - 1 - site) | 1 << (n_sites - 1 - target)
                conditions |= {pair, pair << n_sites}
    low = (1 << n_sites) - 1
    null_space = _reduced(_null_space(conditions, 2 * n_sites))
    diagonal = [vector for vector in null_space if not vector >> n_sites]
    for vector in null_space:
        flip, sign = vector >> n_sites, vector & low
        if flip and kept.is_real and (flip & sign).bit_count() % 2:
            sign = next((sign ^ other for other in diagonal if (flip & other).bit_count() % 2), sign)
        if flip and not (kept.is_real and (flip & sign).bit_count() % 2):
            yield flip, sign


def _null_space(conditions: set[int], n_bits: int) -> list[int]:
    """A basis of the bit vectors whose overlap with every condition is even."""
    basis = [1 << bit for bit in range(n_bits)]
    for condition in conditions:
        odd = next((vector for vector in basis if (vector & condition).bit_count() % 2), None)
        if odd is not None:
            basis.remove(odd)
            basis = [vector ^ odd if (vector & condition).bit_count() % 2 else vector for vector in basis]
    return basis


def _reduced(vectors: list[int]) -> list[int]:
    """The reduced row echelon form of independent bit vectors, the highest leading bit first."""
    rows: list[int] = []
    for vector in vectors:
        rest = vector
        for row in rows:
            rest = min(rest, rest ^ row)
        rows = [row ^ rest if row >> (rest.bit_length() - 1) & 1 else row for row in rows] + [rest]
    return sorted(rows, reverse=True)


def _after(second: tuple[int, ...], first: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(second[target] for target in first)


def _anticommute(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return ((one[0] & other[1]).bit_count() + (one[1] & other[0]).bit_count()) % 2 == 1


def _label(n_sites: int, flip: int, sign: int) -> str:
    letters = "IXZY"
    shifts = range(n_sites - 1, -1, -1)
    return "".join(letters[(flip >> shift & 1) + 2 * (sign >> shift & 1)] for shift in shifts)
