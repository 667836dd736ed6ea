"""Product formulas of order 2, 4 and 6: exp(-i H tau) as a product of exponentials of parts of H.

The Pauli strings of H fall into groups of strings that commute, so that exp(-i w tau H_g) is exact for each
group g: one diagonal for all products of Z, small matrices for fields on single sites, and cos - i P sin for
any other string P. A step is a composition

    S(tau) = prod_i  C(alpha_i tau) C*(beta_i tau),   C*(tau) = e^{-i tau H_G} ... e^{-i tau H_1},

C being C* in the reverse order; a formula for two parts gives (alpha, beta) for any number of parts with the
same order. A drive is followed by counting time as one more part, which moves the clock.

Sources: G. Strang, SIAM Journal on Numerical Analysis 5, 506 (1968), for order 2; S. Blanes and P. C. Moan,
Journal of Computational and Applied Mathematics 142, 313 (2002), methods S6 and S10, for orders 4 and 6;
R. I. McLachlan, SIAM Journal on Scientific Computing 16, 151 (1995), for the compositions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_positive
from qdyn.dynamics.methods import Estimate, Method, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.stepping import follow, guess_step
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.pauli import PauliTerms, Word
from qdyn.quantum.products import kronecker_product

# Weights of the outer part (a_1, a_2, ...) and of the inner one; both sequences are palindromes.
_TWO_PARTS = {
    2: ([0.5], [1.0]),
    4: (
        [0.0792036964311957, 0.353172906049774, -0.0420650803577195],
        [0.209515106613362, -0.143851773179818],
    ),
    6: (
        [0.0502627644003922, 0.413514300428344, 0.0450798897943977, -0.188054853819569, 0.541960678450780],
        [0.148816447901042, -0.132385865767784, 0.067307604692185, 0.432666402578175],
    ),
}
# What is accepted when nothing is asked for, and what rounding leaves of a request.
_DEFAULT_ERROR = 1e-6
_ROUNDING = 1e-13
# Sites that one small matrix rotates together.
_SITES_A_MATRIX = 5
_CLOCK = -1


def trotter(*, order: int = 4, step: float | None = None) -> Method:
    """A product formula, for ``evolve(method=...)``.

    Args:
        order: 2, 4 or 6.
        step: the time step in units of 1/J, shortened so that steps end at the stored times; None chooses it
            so that ``error`` is kept, 1e-6 where none is asked for. A given step is what a Trotter circuit
            does: its error belongs to the result.

    Trajectories that run together share the step that the worst of them needs, and matrix products round by
    their size: the last digits of a trajectory depend on its company, as they do not for "chebyshev".

    Raises:
        ArgumentError: another order, or a step that is not positive.

    Example:
        >>> from qdyn import TransverseFieldIsing, basis_state, evolve
        >>> H, psi0 = TransverseFieldIsing(3), basis_state("000")
        >>> traj = evolve(H, psi0, [1.0], method=trotter(order=2, step=0.25))
        >>> traj.method, traj.details["step"]
        ('trotter2', 0.25)
    """
    given: Any = order
    if not isinstance(given, Integral) or given not in _TWO_PARTS:
        raise ArgumentError(f"Argument `order` must be 2, 4 or 6, but is {order!r}.")
    size = None if step is None else check_positive("step", step)

    def run(problem: Problem, recorder: Recorder) -> dict[str, float]:
        formula = ProductFormula(problem, order)
        error = _DEFAULT_ERROR if problem.error is None else problem.error
        return follow(problem, recorder, formula, error=error, step=size)

    def estimate(problem: Problem) -> Estimate:
        return _estimate(problem, order, size)

    text = f"product formula of order {order}"
    return Method(f"trotter{order}", run, text, estimate, drives=True)


class ProductFormula:
    """One step of a product formula for a batch of states; see `qdyn.dynamics.stepping.Stepper`."""

    def __init__(self, problem: Problem, order: int) -> None:
        self.order = order
        hamiltonian = problem.hamiltonian
        self._driven = hamiltonian if isinstance(hamiltonian, DrivenHamiltonian) else None
        if self._driven is not None:
            words, table = self._driven.strings()
        else:
            words, table = problem.terms.words, problem.terms.coefficients.cpu()[None]
        self._parts = [
            _make_part(problem.n_sites, [words[k] for k in places], table[..., places], problem.device)
            for places in commuting_groups(words)
        ]
        self._sequence = self._order_parts()
        self._kept: dict[tuple[int, float], list[Tensor]] = {}
        self._kept_for = (0.0, -1)

    def advance(self, states: Tensor, members: slice, start: float, end: float, n_steps: int) -> Tensor:
        """The states at ``end`` from those at ``start``, (trajectories, 2**n), in equal steps."""
        step = (end - start) / n_steps
        sequence = self._sequence
        if self._driven is None:
            # The last factor of a step and the first one of the next belong to one group.
            first, *middle, last = sequence if len(sequence) > 1 else [*sequence, (sequence[0][0], 0.0)]
            junction = (last[0], last[1] + first[1])
            whole = [first, *[*middle, junction] * (n_steps - 1), *middle, last]
            for part, weight in whole:
                states = self._parts[part].apply(states, self._exponential(part, step, weight, members))
            return states
        factors = self._driven.around((start + end) / 2)
        for number in range(n_steps):
            time = start + number * step
            for part, weight in sequence:
                if part == _CLOCK:
                    time += weight * step
                else:
                    angles = self._parts[part].exponential(weight * step * factors(time), members)
                    states = self._parts[part].apply(states, angles)
        return states

    def _exponential(self, part: int, step: float, weight: float, members: slice) -> list[Tensor]:
        """exp(-i weight step H_part), kept while the step, to 15 digits, stays the same."""
        rounded = float(f"{step:.14e}")
        if self._kept_for != (rounded, members.start):
            self._kept_for, self._kept = (rounded, members.start), {}
        key = (part, weight)
        if key not in self._kept:
            self._kept[key] = self._parts[part].exponential(np.array([weight * rounded]), members)
        return self._kept[key]

    def _order_parts(self) -> list[tuple[int, float]]:
        """The parts with their weights, in the order in which they act."""
        parts = list(range(len(self._parts)))
        if self._driven is not None:
            parts = [_CLOCK, *parts]
        listed: list[tuple[int, float]] = []
        for beta, alpha in compositions(self.order):
            listed += [(part, beta) for part in parts] + [(part, alpha) for part in reversed(parts)]
        merged = []
        for part, run in groupby(listed, key=lambda pair: pair[0]):
            merged.append((part, sum(weight for _, weight in run)))
        return merged


def compositions(order: int) -> list[tuple[float, float]]:
    """(beta_i, alpha_i) of the composition, from the weights for two parts.

    >>> compositions(2)
    [(0.5, 0.5)]
    """
    outer, inner = (list(weights) for weights in _TWO_PARTS[order])
    if order > 2:
        inner.append(0.5 - sum(inner))
        outer.append(1 - 2 * sum(outer))
        inner += inner[::-1]
        outer += outer[-2::-1]
    else:
        outer += outer
    pairs, alpha = [], 0.0
    for a, b in zip(outer[:-1], inner, strict=True):
        beta = a - alpha
        alpha = b - beta
        pairs.append((beta, alpha))
    return pairs


def commuting_groups(words: tuple[Word, ...]) -> list[list[int]]:
    """Places of strings that commute with all others of their group; products of Z come first."""
    groups: list[list[int]] = []
    diagonal = [k for k, word in enumerate(words) if all(letter == "Z" for _, letter in word)]
    if diagonal:
        groups.append(diagonal)
    for place in range(len(words)):
        if place in diagonal:
            continue
        for group in groups[1 if diagonal else 0 :]:
            if all(_commute(words[place], words[other]) for other in group):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def _commute(first: Word, second: Word) -> bool:
    letters = dict(second)
    return sum(site in letters and letters[site] != letter for site, letter in first) % 2 == 0


@dataclass(frozen=True, eq=False)
class _Diagonal:
    """Products of Z: their energies, (parts, trajectories or 1, 2**n)."""

    energies: Tensor

    def exponential(self, factors: NDArray[np.float64], members: slice) -> list[Tensor]:
        own = self.energies if self.energies.shape[1] == 1 else self.energies[:, members]
        return [_turn(torch.tensordot(_tensor(factors, own), own, dims=1))]

    def apply(self, states: Tensor, factors: list[Tensor]) -> Tensor:
        return states * factors[0]


@dataclass(frozen=True, eq=False)
class _Fields:
    """Fields on single sites: coefficients (parts, trajectories or 1, sites), and the matrix of each."""

    n_sites: int
    coefficients: Tensor
    matrices: Tensor

    def exponential(self, factors: NDArray[np.float64], members: slice) -> list[Tensor]:
        own = self.coefficients if self.coefficients.shape[1] == 1 else self.coefficients[:, members]
        angles = torch.tensordot(_tensor(factors, own), own, dims=1)[..., None, None]
        one = torch.eye(2, dtype=torch.complex128, device=angles.device)
        rotations = torch.cos(angles) * one - 1j * torch.sin(angles) * self.matrices
        cuts = range(0, self.n_sites, _SITES_A_MATRIX)
        sites = rotations.unbind(dim=1)
        return [kronecker_product(sites[cut : cut + _SITES_A_MATRIX]) for cut in cuts]

    def apply(self, states: Tensor, factors: list[Tensor]) -> Tensor:
        shape, left = states.shape, 1
        for matrix in factors:
            size = matrix.shape[-1]
            states = matrix[:, None] @ states.reshape(shape[0], left, size, -1)
            left *= size
        return states.reshape(shape)


@dataclass(frozen=True, eq=False)
class _Strings:
    """Other strings: coefficients (parts, trajectories or 1, strings), flipped sites and signs of each."""

    n_sites: int
    coefficients: Tensor
    flips: tuple[tuple[int, ...], ...]
    signs: tuple[Tensor | None, ...]

    def exponential(self, factors: NDArray[np.float64], members: slice) -> list[Tensor]:
        own = self.coefficients if self.coefficients.shape[1] == 1 else self.coefficients[:, members]
        return [torch.tensordot(_tensor(factors, own), own, dims=1)]

    def apply(self, states: Tensor, factors: list[Tensor]) -> Tensor:
        shape = states.shape
        for place, (flip, sign) in enumerate(zip(self.flips, self.signs, strict=True)):
            angle = factors[0][:, place, None]
            flipped = states if sign is None else states * sign
            grid = flipped.reshape(shape[0], *[2] * self.n_sites)
            flipped = grid.flip([1 + site for site in flip]).reshape(shape)
            states = torch.cos(angle) * states - 1j * torch.sin(angle) * flipped
        return states


_Part = _Diagonal | _Fields | _Strings


def _make_part(n_sites: int, words: list[Word], table: Tensor, device: torch.device) -> _Part:
    """``table`` holds coefficients, (parts, strings) or (parts, trajectories, strings)."""
    if table.ndim == 2:
        table = table[:, None]
    if all(letter == "Z" for word in words for _, letter in word):
        rows = table.reshape(-1, table.shape[-1])
        energies = next(values for _, values in PauliTerms(n_sites, tuple(words), rows).diagonals())
        return _Diagonal(energies.reshape(*table.shape[:2], -1).to(device))
    if all(len(word) == 1 for word in words):
        # A site without a field turns by nothing, about x as well as about any axis.
        coefficients = torch.zeros(*table.shape[:2], n_sites, dtype=torch.float64)
        matrices = torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128).repeat(n_sites, 1, 1)
        for place, ((site, letter),) in enumerate(words):
            coefficients[..., site] += table[..., place]
            if letter == "Y":
                matrices[site] = torch.tensor([[0, -1j], [1j, 0]])
        return _Fields(n_sites, coefficients.to(device), matrices.to(device))
    flips = tuple(tuple(site for site, letter in word if letter in "XY") for word in words)
    signs = tuple(_signs(n_sites, word, device) for word in words)
    return _Strings(n_sites, table.to(device), flips, signs)


def _signs(n_sites: int, word: Word, device: torch.device) -> Tensor | None:
    """What the string multiplies |b> with, before it flips: i^(number of Y) (-1)^(bits under Z and Y)."""
    if all(letter == "X" for _, letter in word):
        return None
    signs = tuple((site, "Z") for site, letter in word if letter in "YZ")
    _, values = next(PauliTerms(n_sites, (signs,), torch.ones(1, dtype=torch.float64)).diagonals())
    n_y = sum(letter == "Y" for _, letter in word)
    return (values * (1, 1j, -1, -1j)[n_y % 4]).to(device)


def _tensor(factors: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(factors, dtype=torch.float64, device=like.device)


def _turn(angles: Tensor) -> Tensor:
    return torch.complex(torch.cos(angles), -torch.sin(angles))


def _estimate(problem: Problem, order: int, step: float | None) -> Estimate:
    """A given step is tried on a short stretch; otherwise the error is what is asked for."""
    span = float(problem.times.abs().max())
    rounding = _ROUNDING + (1e-7 if problem.dtype == torch.complex64 else 0)
    rate = problem.largest_norm / problem.n_sites
    if step is None:
        error = max(rounding, problem.error or _DEFAULT_ERROR)
        # Errors of order p are about T rate (rate tau)^p / 10^(p/2).
        step = (error * 10 ** (order / 2) / (span * rate + 1e-9)) ** (1 / order) / max(rate, 1e-9)
        step = min(step, problem.drive_scan.longest_step)
        error = max(rounding, problem.error or 0.0) if problem.error else error
        runs = 1.6
    else:
        error, runs = _error_of_step(problem, order, step) + rounding, 1.0
    n_steps = problem.n_stretches + span / step
    factors = len(compositions(order))
    # A drive turns every exponential anew.
    each = 3e-4 * (factors if isinstance(problem.hamiltonian, DrivenHamiltonian) else 1)
    work = n_steps * runs * factors * problem.n_trajectories * problem.dimension
    seconds = 2e-3 + each * n_steps + work * problem.n_sites * 1.5e-9
    memory = 16 * problem.dimension * (problem.n_trajectories + 24) + 96 * 2**20
    return Estimate(error, memory, seconds)


def _error_of_step(problem: Problem, order: int, step: float) -> float:
    span = float(problem.times.abs().max())
    if span == 0:
        return 0.0
    end = min(step, span) * (1 if float(problem.times[-1]) > 0 else -1)
    members = slice(0, problem.n_trajectories)
    unit = 1e-6
    formula = ProductFormula(problem, order)
    size = guess_step(formula, members, problem.initial_states, 0.0, end, span, 2 * unit, span)
    return unit * (step / size) ** order
