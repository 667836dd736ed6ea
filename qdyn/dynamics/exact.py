"""Exact diagonalisation: H = V E V^T once for each Hamiltonian, then any time at the price of one product.

    psi(t) = V exp(-i E t) V^T psi(0)

The states of a whole window of times are one matrix product with V; for a real H it is a real product on real
and imaginary parts, which halves the work. The propagator itself is never formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.quantum.pauli import PauliTerms

_MATRIX_BYTES = 256 * 2**20
# Matrix-sized arrays alive at once while LAPACK's divide and conquer runs: H, V and its workspace.
_MATRICES = 5


def evolve_exactly(problem: Problem, recorder: Recorder) -> None:
    """Solve ``problem`` by diagonalising every Hamiltonian in double precision."""
    terms = problem.hamiltonian.pauli_terms()
    for members, energies, vectors in _diagonalised(terms, problem):
        amplitudes = _rows_times(problem.initial_states[members, None, :], vectors.conj())
        times = problem.times.to(problem.device)
        for part, window in _within(recorder.blocks(vectors=6), members):
            local = slice(part.start - members.start, part.stop - members.start)
            single = vectors.ndim == 2
            phases = _phases(energies if single else energies[local], times[window])
            rotated = phases * amplitudes[local]
            back = (vectors if single else vectors[local]).mT
            recorder.put(part, window, _rows_times(rotated, back))


def estimate_exact(problem: Problem) -> Estimate:
    """The rounding error grows with the largest phase ||H|| t; time and memory are those of LAPACK."""
    terms = problem.hamiltonian.pauli_terms()
    norm = float(terms.coefficients.abs().sum(dim=-1).max())
    longest = float(problem.times.abs().max())
    error = 1e-14 + 4e-16 * norm * longest + (1e-7 if problem.dtype == torch.complex64 else 0)
    dimension, scalar = problem.dimension, 8 if terms.is_real else 16
    group = _group_size(problem, scalar)
    memory = _MATRICES * scalar * group * dimension**2 + 64 * 2**20
    products = problem.n_trajectories * problem.n_times * dimension**2 * scalar / 8
    seconds = problem.n_hamiltonians * 3e-10 * dimension**3 * scalar / 8 + 1e-10 * products
    return Estimate(error, memory, seconds)


def _group_size(problem: Problem, scalar: int) -> int:
    room = _MATRIX_BYTES // (_MATRICES * scalar * problem.dimension**2)
    return max(1, min(problem.n_hamiltonians, room))


def _diagonalised(terms: PauliTerms, problem: Problem) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Energies and eigenvectors by groups of trajectories: (d,), (d, d) for a shared H, else one for each."""
    if terms.batch_size is None:
        energies, vectors = torch.linalg.eigh(terms.to_dense().to(problem.device))
        yield slice(0, problem.n_trajectories), energies, vectors
        return
    size = _group_size(problem, 8 if terms.is_real else 16)
    for first in range(0, problem.n_trajectories, size):
        members = slice(first, min(first + size, problem.n_trajectories))
        group = replace(terms, coefficients=terms.coefficients[members])
        energies, vectors = torch.linalg.eigh(group.to_dense().to(problem.device))
        yield members, energies, vectors


def _within(blocks: list[tuple[slice, slice]], members: slice) -> Iterator[tuple[slice, slice]]:
    """The parts of ``blocks`` that lie in ``members``."""
    for part, window in blocks:
        start, stop = max(part.start, members.start), min(part.stop, members.stop)
        if start < stop:
            yield slice(start, stop), window


def _phases(energies: Tensor, times: Tensor) -> Tensor:
    """exp(-i E t), (trajectories or 1, times, dim)."""
    angles = -times[:, None] * energies[..., None, :]
    return torch.complex(torch.cos(angles), torch.sin(angles))


def _rows_times(rows: Tensor, matrix: Tensor) -> Tensor:
    """The product of complex rows (trajectories, times, dim) with a real or complex (dim, dim) matrix."""
    if matrix.is_complex():
        return rows @ matrix
    parts = torch.cat([rows.real, rows.imag], dim=1)
    real, imaginary = (parts @ matrix).chunk(2, dim=1)
    return torch.complex(real, imaginary)
