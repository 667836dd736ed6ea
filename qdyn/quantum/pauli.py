"""Sums of Pauli strings: the one internal form of every Hamiltonian.

A string of X, Y, Z and identities is two bit masks. ``flip`` has a one where the string holds X or Y,
``sign`` where it holds Z or Y; site 0 is the most significant bit. Acting on the basis state |b>,

    P |b> = i^(number of Y) * (-1)^(number of ones in sign & b) |b xor flip>,

so that a sum of strings is one diagonal for each distinct ``flip``. Dense and sparse matrices, H psi without
any matrix and the two-site gates of a Trotter step all follow from this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Complex, Float, Inexact, Num
from torch import Tensor

from qdyn.errors import ArgumentError
from qdyn.memory import check_memory

Word = tuple[tuple[int, str], ...]
"""One Pauli string as its factors: ((site, "X" | "Y" | "Z"), ...), each site at most once."""


@dataclass(frozen=True, eq=False)
class PauliTerms:
    """The operator sum_k c_k P_k with real c_k.

    Attributes:
        n_sites: number of sites n.
        words: the strings P_k, each as its factors.
        coefficients: float64 of shape (terms,), or (batch, terms) for a batch of operators with the same
            strings.
    """

    n_sites: int
    words: tuple[Word, ...]
    coefficients: Tensor

    @classmethod
    def of(cls, n_sites: int, groups: Iterable[tuple[Sequence[Word], Tensor]]) -> PauliTerms:
        """Collect groups of strings with their coefficients, each (strings,) or (batch, strings)."""
        words: list[Word] = []
        parts: list[Tensor] = []
        for group, coefficients in groups:
            words.extend(group)
            parts.append(coefficients)
        leading = max((part.shape[:-1] for part in parts), key=len)
        joined = [part.expand(*leading, part.shape[-1]) for part in parts]
        return cls(n_sites, tuple(words), torch.cat(joined, dim=-1))

    @property
    def batch_size(self) -> int | None:
        """Number of operators, None for a single one."""
        return self.coefficients.shape[0] if self.coefficients.ndim == 2 else None

    @property
    def flips(self) -> tuple[int, ...]:
        """For each string the mask of the sites it flips (X and Y)."""
        return _masks(self.n_sites, self.words, "XY")

    @property
    def signs(self) -> tuple[int, ...]:
        """For each string the mask of the sites whose bit gives a sign (Z and Y)."""
        return _masks(self.n_sites, self.words, "ZY")

    @property
    def is_real(self) -> bool:
        """Whether the matrix is real: every string holds an even number of Y."""
        return all(_count_y(word) % 2 == 0 for word in self.words)

    @property
    def labels(self) -> tuple[str, ...]:
        """The strings written out over all sites, such as "ZZII"."""
        written = []
        for word in self.words:
            letters = ["I"] * self.n_sites
            for site, letter in word:
                letters[site] = letter
            written.append("".join(letters))
        return tuple(written)

    def members(self, members: slice) -> PauliTerms:
        """The same strings for a part of the batch."""
        return replace(self, coefficients=self.coefficients[members])

    def diagonals(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (flip, D) for each distinct flip, with <b xor flip| H |b> = D[b].

        D has shape (dim,) or (batch, dim) and is float64 where the operator is real, complex128 otherwise.
        """
        site_signs = _SiteSigns(self.n_sites, self.coefficients.device)
        members: dict[int, list[int]] = {}
        for place, flip in enumerate(self.flips):
            members.setdefault(flip, []).append(place)
        signs, real = self.signs, self.is_real
        leading = self.coefficients.shape[:-1]
        dtype = torch.float64 if real else torch.complex128
        for flip, places in members.items():
            diagonal = torch.zeros(*leading, 2**self.n_sites, dtype=dtype, device=self.coefficients.device)
            for place in places:
                phase = (1, 1j, -1, -1j)[_count_y(self.words[place]) % 4]
                factor = self.coefficients[..., place, None] * (phase.real if real else phase)
                diagonal += factor * site_signs.product(signs[place])
            yield flip, diagonal

    def apply(self, states: Num[Tensor, "*batch dim"]) -> Inexact[Tensor, "*batch dim"]:
        """H psi without forming a matrix.

        Args:
            states: shape (..., 2**n), complex or real; for a batch of operators (batch, ..., 2**n),
                operator i acting on states[i].

        Returns:
            Tensor of the same shape, and dtype where that can hold the result: complex for real states where
            a string has an odd number of Y, floating for integers.

        Raises:
            ArgumentError: the last axis, or the batch axis, has another length.
        """
        self.check_fits(states)
        if not (states.is_floating_point() or states.is_complex()):
            states = states.to(torch.float64)
        states = states if self.is_real else as_complex(states)
        basis = torch.arange(2**self.n_sites, device=states.device)
        result = torch.zeros_like(states)
        for flip, values in self.diagonals():
            kind = states.dtype if values.is_complex() else states.real.dtype
            diagonal = values.to(device=states.device, dtype=kind)
            if diagonal.ndim == 2:
                diagonal = diagonal.reshape(diagonal.shape[0], *[1] * (states.ndim - 2), -1)
            product = diagonal * states
            result += product if flip == 0 else product[..., basis ^ flip]
        return result

    def check_fits(self, states: Tensor) -> None:
        """Refuse states of another number of sites, or without a first axis of one for each operator."""
        if states.shape[-1:] != (2**self.n_sites,):
            raise ArgumentError(
                f"Argument `states` must have a last axis of length 2**{self.n_sites} = {2**self.n_sites}, "
                f"but has shape {tuple(states.shape)}."
            )
        size = self.batch_size
        if size is not None and (states.ndim < 2 or states.shape[0] != size):
            raise ArgumentError(
                f"Argument `states` must have a first axis of length {size}, one for each Hamiltonian, "
                f"but has shape {tuple(states.shape)}."
            )

    def to_dense(self) -> Float[Tensor, "*batch dim dim"] | Complex[Tensor, "*batch dim dim"]:
        """The matrix, of shape (2**n, 2**n) or (batch, 2**n, 2**n): real where it can be."""
        dimension = 2**self.n_sites
        leading = self.coefficients.shape[:-1]
        dtype = torch.float64 if self.is_real else torch.complex128
        check_memory(
            dtype.itemsize * leading.numel() * dimension**2, f"A dense Hamiltonian of {self.n_sites} sites"
        )
        basis = torch.arange(dimension, device=self.coefficients.device)
        matrix = torch.zeros(*leading, dimension, dimension, dtype=dtype, device=self.coefficients.device)
        for flip, diagonal in self.diagonals():
            matrix[..., basis ^ flip, basis] = diagonal
        return matrix

    def to_sparse(self) -> Any:
        """The matrix as scipy.sparse.csr_array; only for a single operator.

        Raises:
            ArgumentError: this is a batch.
            MemoryLimitError: it does not fit in memory.
        """
        import numpy as np
        from scipy import sparse

        if self.batch_size is not None:
            raise ArgumentError(
                f"A sparse matrix is one operator, but this is a batch of {self.batch_size}: take member(i)."
            )
        dimension = 2**self.n_sites
        flips = np.array(list(dict.fromkeys(self.flips)), dtype=np.int64)
        size = dimension * len(flips)
        check_memory(size * (2 * 16 + 3 * 8), f"A sparse Hamiltonian of {self.n_sites} sites")
        # Every row has one element for each flip: those of row b stand in the columns b xor flip.
        columns = np.arange(dimension)[:, None] ^ flips
        values = np.stack([diagonal.numpy(force=True) for _, diagonal in self.diagonals()], axis=1)
        elements = np.take_along_axis(values, columns, axis=0).ravel()
        bounds = np.arange(0, size + 1, len(flips))
        matrix = sparse.csr_array((elements, columns.ravel(), bounds), shape=(dimension, dimension))
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return matrix


def as_complex(states: Num[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """Real amplitudes as complex ones of the same precision; complex ones as they are.

    >>> as_complex(torch.ones(1)).dtype
    torch.complex64
    """
    if states.is_complex():
        return states
    return states.to(torch.complex64 if states.dtype == torch.float32 else torch.complex128)


@lru_cache(maxsize=128)
def _masks(n_sites: int, words: tuple[Word, ...], letters: str) -> tuple[int, ...]:
    """For each string the mask of the sites that hold one of the letters."""
    return tuple(
        sum(1 << (n_sites - 1 - site) for site, letter in word if letter in letters) for word in words
    )


class _SiteSigns:
    """(-1)^bit of each site over the basis, and their products; each site's vector is made once."""

    def __init__(self, n_sites: int, device: torch.device) -> None:
        self._basis = torch.arange(2**n_sites, device=device)
        self._vectors: dict[int, Tensor] = {}

    def product(self, mask: int) -> Tensor:
        result = torch.ones((), dtype=torch.int8, device=self._basis.device)
        for shift in range(mask.bit_length()):
            if mask >> shift & 1:
                if shift not in self._vectors:
                    self._vectors[shift] = (1 - 2 * (self._basis >> shift & 1)).to(torch.int8)
                result = result * self._vectors[shift]
        return result


def _count_y(word: Word) -> int:
    return sum(letter == "Y" for _, letter in word)
