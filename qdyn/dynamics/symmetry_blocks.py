"""A Hamiltonian in blocks: the basis that its symmetries give, and the transform to it and back.

The symmetries generate an abelian group G of operators g |b> = phase |g b>. An orbit {g a} of a basis state a
and a character chi of G give one vector of the new basis,

    |a; chi> = (1 / nu) sum_g chi(g)^* g |a>,   nu = sqrt(|G| |Stab a|),

unless the sum vanishes. H has no element between different characters, nor between orbits that no chain of
its matrix elements connects (those of different magnetisation of an XXZ chain, say), and so falls into
blocks. Every orbit has |G| amplitudes, counted with repetition, so that the transform of a state is one
gather and one product with the table of characters.

Source: A. W. Sandvik, AIP Conference Proceedings 1297, 135 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex
from numpy.typing import NDArray
from torch import Tensor

from qdyn.quantum.pauli import PauliTerms
from qdyn.quantum.symmetries import Symmetry

_Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BlockGroup:
    """Blocks of one size and type, handled together; their rows in the new basis follow one another.

    Attributes:
        start: the first row.
        count: blocks that are computed.
        size: rows of each.
        real: whether they are real.
        conjugates: blocks after them that are their complex conjugates, as many again or none.
    """

    start: int
    count: int
    size: int
    real: bool
    conjugates: int = 0

    @property
    def n_blocks(self) -> int:
        """Number of blocks, with the conjugates."""
        return self.count + self.conjugates

    @property
    def rows(self) -> slice:
        """Their rows in the new basis."""
        return slice(self.start, self.start + self.n_blocks * self.size)


class SymmetricBasis:
    """The basis in which the operators of ``terms`` are made of blocks.

    Args:
        terms: an operator, or a batch whose operators all have the symmetries.
        symmetries: what `qdyn.quantum.symmetries` found in them.

    Attributes:
        order: number of elements of the group that the symmetries generate.
        groups: the blocks, by size and type.
        conserved: names of diagonal quantities that H conserves.
        scale: float64, (dim,): what `from_blocks` expects the rows to have been multiplied by.
    """

    def __init__(self, terms: PauliTerms, symmetries: Sequence[Symmetry]) -> None:
        self.symmetries = tuple(symmetries)
        self._dimension = 2**terms.n_sites
        self._images, self._phases, self._characters = _group_of(symmetries, self._dimension)
        self.order = len(self._characters)
        self._find_orbits()
        self._find_norms()
        self._connect(terms)
        self._order_rows(terms.is_real and not np.any(self._phases.imag))

    def to_blocks(self, columns: Complex[Tensor, "batch dim count"]) -> Complex[Tensor, "batch dim count"]:
        """States as columns in the new basis, <a; chi|psi>, block after block."""
        spread = columns.index_select(1, self._members.to(columns.device))
        if self._signs is not None:
            spread = spread * self._signs.conj().to(columns.device)
        found = self._times_table(self._table, spread)
        return found.index_select(1, self._places.to(columns.device)) * self._weights.to(columns.device)

    def from_blocks(self, rows: Complex[Tensor, "batch rows count"]) -> Complex[Tensor, "batch dim count"]:
        """The inverse: states as columns from rows times `scale`, with one row of noughts after them."""
        spread = rows.index_select(1, self._rows_of_places.to(rows.device))
        found = self._times_table(self._table.mH, spread)
        columns = found.index_select(1, self._home.to(rows.device))
        return columns if self._home_signs is None else columns * self._home_signs.to(rows.device)

    def _times_table(self, table: Tensor, columns: Tensor) -> Tensor:
        """The table of characters times the amplitudes of every orbit."""
        if self.order == 1:
            return columns
        shape = columns.shape
        return product(table.to(columns.device), columns.reshape(-1, self.order, shape[-1])).reshape(shape)

    def block_matrices(self, terms: PauliTerms) -> list[Tensor]:
        """The blocks of each group, (batch or 1, count, size, size), real where they can be.

        An element is <a; chi| H |b; chi> = sum_f D_f[b] phase_h(a)^* chi(h) nu_a / nu_b for b xor f = h a,
        with D_f the diagonals of H: one element of a column for each f.
        """
        leading = terms.batch_size or 1
        kinds = {True: torch.float64, False: torch.complex128}
        matrices = [
            torch.zeros(leading, group.count, group.size, group.size, dtype=kinds[group.real])
            for group in self.groups
        ]
        for flip, diagonal in terms.diagonals():
            values = np.atleast_2d(diagonal.numpy(force=True))[:, self._representatives]
            target = self._representatives ^ flip
            orbit, element = self._orbit_of[target], self._element_of[target]
            phase = self._phases[element, self._representatives[orbit]].conj()
            connected = self._labels[orbit] == self._labels
            for matrix, group in zip(matrices, self.groups, strict=True):
                places = self._places_of(group)
                origin, character = places // self.order, places % self.order
                goal = orbit[origin]
                inside = connected[origin] & (self._nu[goal, character] > 0)
                row, column = self._row_of[goal, character] - group.start, np.arange(len(places))
                row, column, origin, character = (part[inside] for part in (row, column, origin, character))
                factor = self._nu[orbit[origin], character] / self._nu[origin, character]
                weight = factor * phase[origin] * self._characters[character, element[origin]]
                product = values[:, origin] * (weight.real if group.real else weight)
                # For each f a column has one target, so that no element is written twice.
                matrix.numpy()[:, column // group.size, row % group.size, column % group.size] += product
        return matrices

    def _places_of(self, group: BlockGroup) -> _Integers:
        """The place in the table (orbits, characters) of every row that is computed."""
        return self._places.numpy()[group.start : group.start + group.count * group.size]

    def _find_orbits(self) -> None:
        """Number the orbits; for every basis state its orbit and an element that leads there."""
        self._representatives = np.flatnonzero(self._images.min(axis=0) == np.arange(self._dimension))
        n_orbits = len(self._representatives)
        members = self._images[:, self._representatives]
        self._orbit_of, self._element_of = np.empty((2, self._dimension), dtype=np.int64)
        for element in range(self.order):
            self._orbit_of[members[element]] = np.arange(n_orbits)
            self._element_of[members[element]] = element
        self._members = torch.from_numpy(members.T.ravel().copy())
        self._home = torch.from_numpy(self._orbit_of * self.order + self._element_of)
        self._signs = _signs(self._phases[:, self._representatives].T.ravel())
        self._home_signs = _signs(self._phases[self._element_of, self._representatives[self._orbit_of]])
        self._table = _as_tensor(self._characters)

    def _find_norms(self) -> None:
        """Norms nu of every orbit and character, nought where the sum over the group vanishes."""
        fixed = self._images[:, self._representatives] == self._representatives
        self._stabilisers = fixed.sum(axis=0)
        sums = (self._characters.conj() @ (fixed * self._phases[:, self._representatives])).T
        there = sums.real > 0.5 * self._stabilisers[:, None]
        self._nu = np.where(there, np.sqrt(self.order * self._stabilisers)[:, None], 0.0)

    def _connect(self, terms: PauliTerms) -> None:
        """Label the orbits, alike those that matrix elements of H connect; name what H conserves."""
        basis = np.arange(self._dimension)
        ones = sum((basis >> site & 1 for site in range(terms.n_sites)), start=np.zeros_like(basis))
        edges, magnetisation, parity = [], True, True
        for flip, diagonal in terms.diagonals():
            there = (diagonal != 0).reshape(-1, self._dimension).any(dim=0).numpy(force=True)
            magnetisation &= bool((ones == ones[basis ^ flip])[there].all())
            parity &= flip.bit_count() % 2 == 0 or not there.any()
            source = np.flatnonzero(there[self._representatives])
            edges.append(np.stack([source, self._orbit_of[self._representatives[source] ^ flip]]))
        self.conserved = ("magnetisation",) if magnetisation else ("Z" * terms.n_sites,) if parity else ()
        self._labels = _components(np.concatenate(edges, axis=1), len(self._representatives))

    def _order_rows(self, real: bool) -> None:
        """Put the vectors (orbit, character) into blocks, and blocks of one size and type into groups.

        Where H is real, the blocks of a complex character and of its conjugate are each other's conjugates.
        """
        number, conjugate = np.arange(self.order), _conjugates(self._characters)
        pure, paired = real & (conjugate == number), real & (conjugate > number)
        primary = conjugate >= number if real else np.ones(self.order, dtype=np.bool_)
        orbit, character = np.nonzero((self._nu > 0) & primary)
        block = self._labels[orbit] * self.order + character
        order = np.argsort(block, kind="stable")
        orbit, character = orbit[order], character[order]
        _, starts, sizes = np.unique(block[order], return_index=True, return_counts=True)
        kinds = np.stack([sizes, pure[character[starts]], paired[character[starts]]], axis=1)
        self.groups: list[BlockGroup] = []
        places, start = [], 0
        for kind in np.unique(kinds, axis=0):
            size, is_real, has_conjugates = (int(part) for part in kind)
            chosen = (starts[(kinds == kind).all(axis=1)][:, None] + np.arange(size)).ravel()
            places.append(orbit[chosen] * self.order + character[chosen])
            if has_conjugates:
                places.append(orbit[chosen] * self.order + conjugate[character[chosen]])
            count = len(chosen) // size
            self.groups.append(BlockGroup(start, count, size, bool(is_real), count * has_conjugates))
            start = self.groups[-1].rows.stop
        joined = np.concatenate(places)
        nu = self._nu.ravel()[joined]
        self._places = torch.from_numpy(joined)
        self._weights = torch.from_numpy(1 / nu)[:, None]
        self.scale = torch.from_numpy(self._stabilisers[joined // self.order] / nu)
        # Places without a vector read the row after the last, which is nought.
        row_of = np.full(self._nu.size, self._dimension)
        row_of[joined] = np.arange(len(joined))
        self._row_of = row_of.reshape(self._nu.shape)
        self._rows_of_places = torch.from_numpy(row_of)


def _group_of(
    symmetries: Sequence[Symmetry], dimension: int
) -> tuple[_Integers, NDArray[np.complex128], NDArray[np.complex128]]:
    """Images and phases of the basis under every element, and the characters, (characters, elements)."""
    images = np.arange(dimension)[None]
    phases: NDArray[np.complex128] = np.ones((1, dimension), dtype=np.complex128)
    table: NDArray[Any] = np.ones((1, 1), dtype=np.complex128)
    for symmetry in symmetries:
        powers_of_images, powers_of_phases = [images], [phases]
        for _ in range(symmetry.order - 1):
            moved, turned = symmetry.act(powers_of_images[-1].ravel())
            powers_of_images.append(moved.reshape(images.shape))
            powers_of_phases.append(powers_of_phases[-1] * turned.reshape(images.shape))
        images, phases = np.concatenate(powers_of_images), np.concatenate(powers_of_phases)
        table = np.kron(_fourier(symmetry.order), table)
    return images, phases, table


def _components(edges: _Integers, n_nodes: int) -> _Integers:
    """The lowest node of the connected component of every node; edges (2, edges)."""
    labels = np.arange(n_nodes)
    while True:
        lower = labels.copy()
        np.minimum.at(lower, edges[0], labels[edges[1]])
        np.minimum.at(lower, edges[1], labels[edges[0]])
        lower = lower[lower]
        if np.array_equal(lower, labels):
            return labels
        labels = lower


def _fourier(order: int) -> NDArray[np.complex128]:
    """exp(2 pi i k j / order), exactly real and exactly conjugate where it is so."""
    k = np.arange(order)
    steps = np.outer(k, k) % order
    angles = 2 * np.pi * np.arange(order) / order
    roots = np.cos(angles) + 1j * np.sin(angles)
    roots[order // 2 + 1 :] = roots[1 : (order + 1) // 2][::-1].conj()
    if order % 2 == 0:
        roots[order // 2] = -1
    return roots[steps]


def _conjugates(table: NDArray[np.complex128]) -> _Integers:
    """The number of the complex conjugate of every character."""
    overlap = np.abs(table @ table.T)
    return overlap.argmax(axis=1).astype(np.int64)


def _as_tensor(values: NDArray[np.complex128]) -> Tensor:
    """Real where nothing is imaginary."""
    real = not np.any(values.imag)
    return torch.from_numpy(np.ascontiguousarray(values.real if real else values))


def _signs(phases: NDArray[np.complex128]) -> Tensor | None:
    """Phases of rows as a column; None where all are 1."""
    return None if np.all(phases == 1) else _as_tensor(phases)[:, None]


def product(matrix: Tensor, columns: Tensor) -> Tensor:
    """A real or complex matrix times complex columns; a real one acts on real and imaginary parts alike."""
    if matrix.is_complex():
        return matrix @ columns
    found = matrix @ torch.view_as_real(columns).flatten(-2)
    return torch.view_as_complex(found.reshape(*found.shape[:-1], columns.shape[-1], 2))
