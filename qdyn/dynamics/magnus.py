"""Commutator-free Magnus expansion of order 4: a drive becomes two static evolutions a step.

    psi(t + tau) = exp(-i tau (b H_1 + a H_2)) exp(-i tau (a H_1 + b H_2)) psi(t),
    H_{1,2} = H(t + (1/2 -+ sqrt(3)/6) tau),   a = 1/4 + sqrt(3)/6,   b = 1/4 - sqrt(3)/6.

Each exponential is a Taylor series to rounding error, with a Hamiltonian that is never a matrix.

Source: S. Blanes and P. C. Moan, Applied Numerical Mathematics 56, 1519 (2006), method CF4.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from qdyn.dynamics.lanes import LaneOperators, Reals, into_lanes, states_from_lanes, states_into_lanes
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.stepping import follow
from qdyn.quantum.drives import DrivenHamiltonian

_DEFAULT_ERROR = 1e-8
_ROUNDING = 1e-13
_TRUNCATION = 1e-15
_NODE = math.sqrt(3) / 6
# Weights of H_1 and H_2 in the exponential that acts first; the second has them exchanged.
_FIRST = (0.25 + _NODE, 0.25 - _NODE)


def evolve_by_magnus(problem: Problem, recorder: Recorder) -> dict[str, float]:
    """Solve ``problem`` by steps that keep the error, 1e-8 where none is asked for."""
    error = _DEFAULT_ERROR if problem.error is None else problem.error
    return follow(problem, recorder, Magnus(problem), error=error)


class Magnus:
    """Steps of order 4 for a batch of states; see `qdyn.dynamics.stepping.Stepper`."""

    order = 4

    def __init__(self, problem: Problem) -> None:
        hamiltonian = problem.hamiltonian
        if not isinstance(hamiltonian, DrivenHamiltonian):
            hamiltonian = DrivenHamiltonian(hamiltonian, [(_no_drive, hamiltonian)])
        self._hamiltonian = hamiltonian
        words, table = hamiltonian.strings()
        self._n_parts = len(table)
        coefficients = table.reshape(len(table), -1, len(words)).numpy()
        self._shared = coefficients.shape[1] == 1
        flat = coefficients.reshape(-1, len(words))
        self._operators = LaneOperators.of(problem.n_sites, words, flat)

    def advance(self, states: Tensor, members: slice, start: float, end: float, n_steps: int) -> Tensor:
        """The states at ``end`` from those at ``start``, (trajectories, 2**n), in equal steps."""
        from qdyn.dynamics import lane_kernels as kernels

        lanes, operators = kernels.LANES, self._operators
        step = (end - start) / n_steps
        factors = self._hamiltonian.around((start + end) / 2)
        weights = []
        for number in range(n_steps):
            middle = start + (number + 0.5) * step
            early, late = factors(middle - _NODE * step), factors(middle + _NODE * step)
            weights += [_FIRST[0] * early + _FIRST[1] * late, _FIRST[1] * early + _FIRST[0] * late]
        groups = states_into_lanes(states, operators.n_sites, lanes, kernels.GAP)
        dimension = 2**operators.n_sites
        work = np.zeros(6 * dimension * lanes + 4 * kernels.GAP)
        for number, group in enumerate(groups):
            first = members.start + number * lanes
            kernels.exponentials(
                group,
                np.array(weights),
                step,
                self._in_lanes(operators.energies, first, members.stop, lanes),
                self._in_lanes(operators.coefficients, first, members.stop, lanes),
                operators.flips,
                operators.masks,
                operators.signs,
                operators.turns,
                len(operators.flips),
                _TRUNCATION,
                work,
                dimension,
            )
        found = states_from_lanes(groups, count=len(states), dimension=states.shape[1], n_lanes=lanes)
        return found.to(states.device)

    def _in_lanes(self, table: Reals, first: int, stop: int, lanes: int) -> Reals:
        """Rows of a table, (parts * trajectories, numbers), for the lanes from ``first`` on, by part."""
        by_part = table.reshape(self._n_parts, len(table) // self._n_parts, table.shape[-1])
        own = slice(None) if self._shared else slice(first, min(first + lanes, stop))
        rows = [np.repeat(part[own], lanes, axis=0) if self._shared else part[own] for part in by_part]
        return np.concatenate([into_lanes(row, lanes) for row in rows])


def _no_drive(_: float) -> float:
    return 0.0


def estimate_magnus(problem: Problem) -> Estimate:
    """Errors of order 4 in the step, times of the products that the series take."""
    error = problem.error or _DEFAULT_ERROR
    rounding = _ROUNDING + (1e-7 if problem.dtype.itemsize == 8 else 0)
    norm, span = problem.largest_norm, float(problem.times.abs().max())
    rate = norm / problem.n_sites
    step = (100 * error / (span * rate + 1e-9)) ** 0.25 / max(rate, 1e-9)
    step = min(step, problem.drive_scan.longest_step)
    n_steps = problem.n_stretches + span / step
    products = 3 * n_steps * (10 + norm * step)
    seconds = 5e-3 + 2e-5 * n_steps
    seconds += products * problem.n_trajectories * problem.dimension * problem.n_sites * 2e-10
    memory = 16 * problem.dimension * (problem.n_trajectories + 32) + 96 * 2**20
    return Estimate(max(error, rounding), memory, seconds)
