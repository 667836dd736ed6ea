"""The Lindblad equation as a sum of Pauli strings, and how far one Chebyshev basis of it reaches.

A density matrix of n sites is a vector of 2 n sites, row index first, so that the Lindblad equation is a sum
of Pauli strings with complex coefficients.

The Chebyshev series of exp(-i G t) converges for every G whose numerical range lies in [-R, R] x i [-s, s]:
T_k(G / R) is at most (1 + sqrt 2) rho^k there, rho that of the smallest ellipse around this rectangle with
foci at +-R (M. Crouzeix and C. Palencia, SIAM Journal on Matrix Analysis 38, 649 (2017)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdyn.dynamics.chebyshev.spectral_bounds import spectral_interval
from qdyn.dynamics.lanes import Integers, LaneOperators, Reals
from qdyn.quantum.channels import Channel
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.pauli import PauliTerms, Word

_PAULIS = {
    "I": np.eye(2, dtype=np.complex128),
    "X": np.array([[0, 1], [1, 0]], dtype=np.complex128),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=np.complex128),
    "Z": np.diag([1, -1]).astype(np.complex128),
}
_LONGEST_SERIES = 64
_MOST_NODES = 16
_ROW_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Generator:
    """Operators and spectra as the kernel reads them; see `open_systems.lindblad_kernels.follow`.

    The spectrum of -i [H, .] is symmetric about 0, so that no middle is taken out of it.

    Attributes:
        operators: the generator as Pauli strings.
        radii: half widths R of the Hermitian parts, (operators,).
        shift: middle of the diagonal of Gamma.
        spread: half the width of Gamma.
    """

    operators: LaneOperators
    radii: Reals
    shift: float
    spread: float

    @property
    def damping(self) -> Reals:
        """The diagonal of Gamma without its middle."""
        return self.operators.damping[0] - self.shift


@dataclass(frozen=True)
class Window:
    """How long one Chebyshev basis serves: duration, number of vectors, largest number of states."""

    spans: Reals
    lengths: Integers
    n_nodes: int


def lindblad(hamiltonian: Hamiltonian, channels: Sequence[Channel]) -> Generator:
    """The Lindblad equation on 2 n sites: those of the rows, then those of the columns."""
    terms = hamiltonian.pauli_terms()
    n_sites = terms.n_sites
    strings: dict[Word, NDArray[np.complex128]] = {}
    for word, values in _collect(terms).items():
        _accumulate(strings, word, values)
        _accumulate(strings, _shifted(word, n_sites), -_transposed(word) * values)
    crossing = 0.0
    for channel in channels:
        for site, matrix in channel.jumps(n_sites):
            parts = _pauli_parts(matrix, site)
            for left, a in parts:
                for right, b in parts:
                    value = 1j * a * np.conj(b) * _transposed(right)
                    _accumulate(strings, left + _shifted(right, n_sites), value)
                    crossing += abs(value.real)
            for word, value in _pauli_parts(matrix.conj().T @ matrix, site):
                _accumulate(strings, word, -0.5j * value)
                _accumulate(strings, _shifted(word, n_sites), -0.5j * _transposed(word) * value)
    lower, upper = spectral_interval(terms)
    return _generator(_operators(2 * n_sites, strings), upper - lower + crossing)


def choose_window(generator: Generator, *, times: Reals, error: float, n_rows_bytes: int) -> Window:
    """The duration that costs least for what it brings.

    Args:
        generator: what is followed.
        times: the times to reach.
        error: largest norm of what the series leave out, over the whole evolution.
        n_rows_bytes: memory of one vector of all lanes.
    """
    longest = min(_LONGEST_SERIES, max(12, _ROW_BYTES // n_rows_bytes))
    last = float(times[-1])
    spacing = last / len(times)
    spans, lengths = [], []
    for radius in generator.radii:
        best = (math.inf, 0.0, 0)
        for phase in (0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20):
            span = min(phase / radius, last)
            # A window that ends just before a stored state would need another one for it.
            if span > spacing:
                span = min(span, _MOST_NODES * spacing)
                span = math.floor(span / spacing * (1 + 1e-9)) * spacing
            length = count_terms(radius * span, generator.spread / radius, error * span / last)
            if length > longest:
                break
            n_nodes = max(1.0, span / spacing)
            cost = length * (generator.operators.cost + n_nodes)
            best = min(best, (cost / span, span * (1 + 1e-9), length))
        spans.append(best[1])
        lengths.append(best[2])
    return Window(np.array(spans), np.array(lengths, dtype=np.int64), _MOST_NODES)


def count_terms(phase: float, spread: float, tolerance: float) -> int:
    """Number of vectors for exp(-i phase G), the numerical range of G in [-1, 1] x i [-spread, spread].

    From |J_k(x)| <= (x/2)^k / k! (NIST Digital Library of Mathematical Functions, 10.14.4).

    >>> count_terms(5.0, 0.0, 1e-10)
    21
    """
    ratio = phase * growth_of(spread) / 2
    term, order = 2 * (1 + math.sqrt(2)), 0
    while True:
        order += 1
        term *= ratio / order
        if ratio < order + 1 and term / (1 - ratio / (order + 1)) <= tolerance:
            return max(2, order)


def growth_of(spread: float) -> float:
    """Base of the growth of |T_k(G)|: the sum of the half axes of the ellipse around the rectangle."""
    corner = complex(1.0, spread)
    root = (corner * corner - 1) ** 0.5
    return max(abs(corner + root), abs(corner - root))


def _generator(operators: LaneOperators, radii: NDArray[np.float64]) -> Generator:
    diagonal = operators.damping[0]
    shift = float(diagonal.max() + diagonal.min()) / 2
    off_diagonal = np.abs(operators.coefficients[:, _dissipative(operators)]).sum(axis=1).max(initial=0.0)
    spread = float(diagonal.max() - diagonal.min()) / 2 + float(off_diagonal)
    return Generator(
        operators,
        np.maximum(radii, max(1e-3, spread / 4)) * (1 + 1e-12),
        shift,
        spread,
    )


def _dissipative(operators: LaneOperators) -> NDArray[np.int64]:
    """Strings that are real symmetric where -i H is imaginary, and the other way round."""
    y_parity = np.array(
        [(m & s).bit_count() % 2 for m, s in zip(operators.masks, operators.signs, strict=True)]
    )
    kept = np.flatnonzero(y_parity != operators.turns) if len(y_parity) else np.zeros(0, dtype=np.int64)
    return kept + len(operators.flips)


def _operators(n_sites: int, strings: dict[Word, NDArray[np.complex128]]) -> LaneOperators:
    words = list(strings)
    size = max(len(value) for value in strings.values())
    table = np.stack([np.broadcast_to(strings[word], (size,)) for word in words], axis=1)
    return LaneOperators.of(n_sites, words, table)


def _collect(terms: PauliTerms) -> dict[Word, NDArray[np.complex128]]:
    table = terms.coefficients.reshape(-1, len(terms.words)).numpy(force=True)
    strings: dict[Word, NDArray[np.complex128]] = {}
    for place, word in enumerate(terms.words):
        _accumulate(strings, tuple(sorted(word)), table[:, place].astype(np.complex128))
    return strings


def _accumulate(
    strings: dict[Word, NDArray[np.complex128]], word: Word, value: complex | NDArray[np.complex128]
) -> None:
    strings[word] = strings.get(word, np.zeros(1, dtype=np.complex128)) + value


def _pauli_parts(matrix: NDArray[np.complex128], site: int) -> list[tuple[Word, complex]]:
    """A 2 x 2 matrix as Pauli matrices on one site."""
    parts: list[tuple[Word, complex]] = []
    for letter, pauli in _PAULIS.items():
        value = complex(np.trace(pauli @ matrix)) / 2
        if abs(value) > 1e-300:
            parts.append((() if letter == "I" else ((site, letter),), value))
    return parts


def _shifted(word: Word, n_sites: int) -> Word:
    return tuple((site + n_sites, letter) for site, letter in word)


def _transposed(word: Word) -> float:
    """The sign of a string under transposition."""
    return -1.0 if sum(letter == "Y" for _, letter in word) % 2 else 1.0
