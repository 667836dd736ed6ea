"""Exact diagonalisation: H = V E V^H once for each Hamiltonian, then any time at the price of one product.

    psi(t) = V exp(-i E t) V^H psi(0)

The states of a whole window of times are one matrix product with V; for a real H it is a real product on real
and imaginary parts, which halves the work. The propagator itself is never formed.

Where H has symmetries it is diagonalised block by block in the basis that they give: k equal blocks take
1/k^2 of the time and 1/k of the memory. Every block is evolved in which the initial states have any weight.
Small systems, for which one product is quicker than many, stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.symmetry_blocks import SymmetricBasis, product
from qdyn.quantum.pauli import PauliTerms
from qdyn.quantum.symmetries import Symmetry, conserves_magnetisation, members_with_equal_symmetries

_MATRIX_BYTES = 256 * 2**20
# Sizes between which blocks are looked for: below, one product is quicker; above, the basis takes much room.
_FEWEST_SITES, _MOST_SITES = 7, 16
# Seconds below which a diagonalisation is not worth the search for blocks.
_WORTH_LOOKING = 1.5e-2
# Norm of an initial state in a block that is no more than rounding.
_NEGLIGIBLE = 1e-15


def evolve_exactly(problem: Problem, recorder: Recorder) -> dict[str, float | str]:
    """Solve ``problem`` by diagonalising every Hamiltonian in double precision, in blocks if it has them."""
    terms = problem.terms
    used: dict[str, None] = {}
    sizes: list[int] = []
    n_blocks = problem.dimension
    for members, basis in _bases(problem):
        work = _Work.of(terms, basis)
        for part in _pieces(terms, members, work):
            group = terms if terms.batch_size is None else terms.members(part)
            states = problem.initial_states[part]
            system = _Whole(group, states) if basis is None else _Blocks(group, basis, states)
            _record(problem, recorder, part, system)
        names = () if basis is None else (*(each.name for each in basis.symmetries), *basis.conserved)
        used[", ".join(names) or "none"] = None
        n_blocks = min(n_blocks, sum(shape.count for shape in work.shapes))
        sizes += [shape.size for shape in work.shapes]
    return {"symmetries": "; ".join(used), "blocks": float(n_blocks), "largest_block": float(max(sizes))}


def estimate_exact(problem: Problem) -> Estimate:
    """The rounding error grows with the largest phase ||H|| t; time and memory are those of LAPACK."""
    longest = float(problem.times.abs().max())
    error = 1e-14 + 4e-16 * problem.largest_norm * longest + (1e-7 if problem.dtype == torch.complex64 else 0)
    memory, seconds = 0, 0.0
    for members, work in _expected(problem):
        n_hamiltonians, n_states = _amount(problem, members)
        together = max(1, min(n_hamiltonians, _MATRIX_BYTES // work.matrix_bytes))
        memory = max(memory, together * work.matrix_bytes)
        seconds += work.seconds(n_hamiltonians, n_states)
    return Estimate(error, memory + 64 * 2**20, seconds)


@dataclass(frozen=True)
class _Shape:
    """``count`` blocks of ``size`` rows; the conjugates among them are not diagonalised."""

    size: int
    count: int
    real: bool
    conjugates: int = 0


@dataclass(frozen=True)
class _Work:
    """What the blocks of one Hamiltonian cost, order 0 standing for the matrix as a whole.

    The times were fitted to LAPACK, BLAS and torch on one core of a 2020s server: eigenvectors and products
    in the size of a block, what is done with every amplitude, what Python costs for each size of blocks.
    """

    shapes: tuple[_Shape, ...]
    dimension: int
    order: int = 0

    @classmethod
    def of(cls, terms: PauliTerms, basis: SymmetricBasis | None) -> _Work:
        """The work in a basis; None for the matrix as a whole."""
        dimension = 2**terms.n_sites
        if basis is None:
            return cls((_Shape(dimension, 1, terms.is_real),), dimension)
        shapes = [_Shape(group.size, group.n_blocks, group.real, group.conjugates) for group in basis.groups]
        return cls(tuple(shapes), dimension, basis.order)

    @property
    def matrix_bytes(self) -> int:
        """Memory while LAPACK's divide and conquer runs: the blocks, V and the workspace of the largest."""
        bytes_of = [(8 if shape.real else 16) * shape.size**2 for shape in self.shapes]
        kept = sum(shape.count * size for shape, size in zip(self.shapes, bytes_of, strict=True))
        return 2 * kept + 3 * max(bytes_of) + 64 * self.order * self.dimension

    def seconds(self, n_hamiltonians: int, n_states: int) -> float:
        """Rough time on one core."""
        setup, state = 0.0, (4e-8 if self.order else 1.2e-8) * self.dimension
        for shape in self.shapes:
            kind = 1 if shape.real else 2
            diagonalised = (shape.count - shape.conjugates) * kind
            setup += diagonalised * (1.8e-10 * shape.size**3 + 4e-8 * shape.size**2)
            state += shape.count * kind * 5.5e-11 * shape.size**2
        overhead = 3e-3 + 4e-4 * len(self.shapes) + 1e-7 * self.order * self.dimension if self.order else 0.0
        return 1e-4 + overhead + n_hamiltonians * setup + n_states * state


class _Whole:
    """One dense matrix: (dim, dim), or (trajectories, dim, dim)."""

    def __init__(self, terms: PauliTerms, states: Tensor) -> None:
        self._energies, self._vectors = torch.linalg.eigh(terms.to_dense().to(states.device))
        self._shared = self._vectors.ndim == 2
        self._amplitudes = _rows_times(states[:, None], self._vectors.conj())

    def states(self, members: slice, times: Tensor) -> Tensor:
        """The states of some of these trajectories at some times, (trajectories, times, dim)."""
        phases = _phases(self._energies if self._shared else self._energies[members], times)
        vectors = self._vectors if self._shared else self._vectors[members]
        return _rows_times(phases * self._amplitudes[members], vectors.mT)


class _Blocks:
    """Blocks, those of one size together, acting on states as columns.

    Axes are (Hamiltonians, blocks, rows of a block, columns): a shared Hamiltonian has all trajectories among
    its columns, otherwise each has its own.
    """

    def __init__(self, terms: PauliTerms, basis: SymmetricBasis, states: Tensor) -> None:
        self._basis = basis
        self._shared = terms.batch_size is None
        self._systems: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        coordinates = basis.to_blocks(states.mT[None] if self._shared else states[..., None])
        matrices = basis.block_matrices(terms)
        for group in basis.groups:
            matrix = matrices.pop(0).to(states.device)
            own = coordinates[:, group.rows].reshape(len(matrix), group.n_blocks, group.size, -1)
            weight = torch.linalg.vector_norm(own, dim=-2).amax(dim=(0, 2))
            kept = (weight > _NEGLIGIBLE).reshape(-1, group.count).any(dim=0)
            if not bool(kept.any()):
                continue
            energies, vectors = torch.linalg.eigh(matrix[:, kept])
            if group.conjugates:
                kept = kept.repeat(2)
                energies = torch.cat([energies, energies], dim=1)
                vectors = torch.cat([vectors, vectors.conj()], dim=1)
            rows = torch.arange(group.rows.start, group.rows.stop, device=states.device)[
                kept.repeat_interleave(group.size)
            ]
            amplitudes = product(vectors.mH, own[:, kept].contiguous())
            vectors *= basis.scale.to(states.device)[rows].reshape(-1, group.size, 1)
            self._systems.append((rows, energies, vectors, amplitudes))

    def states(self, members: slice, times: Tensor) -> Tensor:
        """The states of some of these trajectories at some times, (trajectories, times, dim)."""
        hamiltonians, columns = (slice(None), members) if self._shared else (members, slice(None))
        found: Tensor | None = None
        for rows, energies, vectors, amplitudes in self._systems:
            own = amplitudes[hamiltonians][..., columns]
            phases = _phases(energies[hamiltonians], times).mT
            rotated = (phases[..., None, :] * own[..., None]).flatten(-2)
            if found is None:
                found = own.new_zeros(len(own), len(self._basis.scale) + 1, rotated.shape[-1])
            found.index_copy_(1, rows, product(vectors[hamiltonians], rotated).flatten(1, 2))
        assert found is not None
        columns_of_states = self._basis.from_blocks(found)
        states = columns_of_states.reshape(*columns_of_states.shape[:2], -1, len(times))
        return states.permute(0, 2, 3, 1).flatten(0, 1)


def _record(problem: Problem, recorder: Recorder, members: slice, system: _Whole | _Blocks) -> None:
    times = problem.times.to(problem.device)
    for part, window in _within(recorder.blocks(vectors=6), members):
        local = slice(part.start - members.start, part.stop - members.start)
        recorder.put(part, window, system.states(local, times[window]))


def _bases(problem: Problem) -> Iterator[tuple[slice, SymmetricBasis | None]]:
    """Trajectories with the basis in which their Hamiltonians are diagonalised; None for the whole matrix."""
    terms = problem.terms
    whole = _Work.of(terms, None)
    for members, group, symmetries in _runs(problem):
        if symmetries is None:
            yield members, None
            continue
        basis = SymmetricBasis(group, symmetries)
        amount = _amount(problem, members)
        yield members, basis if _Work.of(terms, basis).seconds(*amount) < whole.seconds(*amount) else None


def _expected(problem: Problem) -> Iterator[tuple[slice, _Work]]:
    """The same without making a basis: as if all orbits had as many members as the group."""
    terms = problem.terms
    whole = _Work.of(terms, None)
    for members, group, symmetries in _runs(problem):
        if symmetries is None:
            yield members, whole
            continue
        order = math.prod(symmetry.order for symmetry in symmetries)
        real = terms.is_real and all(symmetry.order == 2 for symmetry in symmetries)
        sectors = [problem.dimension]
        if conserves_magnetisation(group):
            # A string that turns all spins over joins two magnetisations before it parts them again.
            order = math.prod(symmetry.order for symmetry in symmetries if not symmetry.flip)
            sectors = [math.comb(problem.n_sites, ups) for ups in range(problem.n_sites + 1)]
        shapes = tuple(_Shape(-(-sector // order), order, real) for sector in sectors)
        work, amount = _Work(shapes, problem.dimension, order), _amount(problem, members)
        yield members, work if work.seconds(*amount) < whole.seconds(*amount) else whole


def _runs(problem: Problem) -> Iterator[tuple[slice, PauliTerms, tuple[Symmetry, ...] | None]]:
    """Trajectories, their Hamiltonians, and the symmetries of these; None where no blocks are looked for."""
    terms, everyone = problem.terms, slice(0, problem.n_trajectories)
    whole = _Work.of(terms, None).seconds(*_amount(problem, everyone))
    if not _FEWEST_SITES <= problem.n_sites <= _MOST_SITES or whole < _WORTH_LOOKING:
        yield everyone, terms, None
        return
    for run, symmetries in members_with_equal_symmetries(terms):
        if terms.batch_size is None:
            yield everyone, terms, symmetries
        else:
            yield run, terms.members(run), symmetries


def _amount(problem: Problem, members: slice) -> tuple[int, int]:
    """How many Hamiltonians and how many states these trajectories are."""
    count = members.stop - members.start
    return 1 if problem.terms.batch_size is None else count, count * problem.n_times


def _pieces(terms: PauliTerms, members: slice, work: _Work) -> Iterator[slice]:
    """Cut trajectories so that the matrices of a piece fit in bounded memory; a shared H is one matrix."""
    count = members.stop - members.start
    size = count if terms.batch_size is None else max(1, _MATRIX_BYTES // work.matrix_bytes)
    for first in range(members.start, members.stop, size):
        yield slice(first, min(first + size, members.stop))


def _within(blocks: list[tuple[slice, slice]], members: slice) -> Iterator[tuple[slice, slice]]:
    """The parts of ``blocks`` that lie in ``members``."""
    for part, window in blocks:
        start, stop = max(part.start, members.start), min(part.stop, members.stop)
        if start < stop:
            yield slice(start, stop), window


def _phases(energies: Tensor, times: Tensor) -> Tensor:
    """exp(-i E t), (..., times, dim) for energies (..., dim)."""
    angles = -times[:, None] * energies[..., None, :]
    return torch.complex(torch.cos(angles), torch.sin(angles))


def _rows_times(rows: Tensor, matrix: Tensor) -> Tensor:
    """The product of complex rows (..., rows, dim) with real or complex matrices (..., dim, dim)."""
    if matrix.is_complex():
        return rows @ matrix
    parts = torch.cat([rows.real, rows.imag], dim=-2)
    real, imaginary = (parts @ matrix).chunk(2, dim=-2)
    return torch.complex(real, imaginary)
