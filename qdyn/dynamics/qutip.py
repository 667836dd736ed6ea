"""QuTiP as an independent solver: a high-order Runge-Kutta method with tight tolerances.

It shares nothing with the methods of qdyn but the matrix of the Hamiltonian, which makes it a witness, not a
competitor: every trajectory is integrated by itself.

Source: J. R. Johansson, P. D. Nation, F. Nori, Computer Physics Communications 184, 1234 (2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian

# Verner's ninth-order pair; what it leaves is mostly rounding.
_OPTIONS = {
    "method": "vern9",
    "rtol": 1e-11,
    "atol": 1e-13,
    "nsteps": 10**8,
    "normalize_output": False,
    "progress_bar": "",
    "store_states": True,
}
_WINDOW = 32
# Far beyond what the tolerances leave in any time, far below what a solver that is lost does.
_NORM_TOLERANCE = 1e-6


def evolve_by_qutip(problem: Problem, recorder: Recorder) -> None:
    """Solve ``problem`` trajectory by trajectory with ``qutip.SESolver``."""
    times = problem.times.numpy()
    for member in range(problem.n_trajectories):
        hamiltonian = problem.hamiltonian
        if hamiltonian.batch_size is not None:
            hamiltonian = hamiltonian.member(member)
        start = problem.initial_states[member].numpy(force=True)
        zero = np.flatnonzero(times == 0)
        for sign, indices in ((-1, np.flatnonzero(times < 0)[::-1]), (1, np.flatnonzero(times > 0))):
            state = start
            for first in range(0, len(indices), _WINDOW):
                chosen = indices[first : first + _WINDOW]
                origin = times[indices[first - 1]] if first else 0.0
                limit = problem.drive_scan.longest_step
                stops = np.array([origin, *times[chosen]])
                inner = problem.breaks(*sorted((float(origin), float(stops[-1]))))
                states = solve(hamiltonian, state, stops, sign, longest_step=limit, breaks=inner)
                state = states[-1]
                for index, found in zip(chosen, states, strict=True):
                    _put(recorder, problem, member, int(index), found)
        for index in zero:
            _put(recorder, problem, member, int(index), start)


def solve(
    hamiltonian: Hamiltonian,
    state: NDArray[Any],
    times: NDArray[np.float64],
    sign: int,
    *,
    longest_step: float,
    breaks: Sequence[float],
) -> list[NDArray[Any]]:
    """The states at times[1:], which run away from t = 0; ``state`` is the one at times[0].

    The integrator starts anew at ``breaks``, see `Problem.breaks`.

    Raises:
        ArgumentError: the norm of a state is off by more than the tolerances can explain.
    """
    first, last = float(times[0]), float(times[-1])
    found: list[NDArray[Any]] = []
    for start, end in pairwise([first, *breaks[::sign], last]):
        wanted = times[1:][(sign * times[1:] > sign * start) & (sign * times[1:] <= sign * end)]
        stops = wanted if len(wanted) and wanted[-1] == end else np.append(wanted, end)
        limit = longest_step
        if (
            isinstance(hamiltonian, DrivenHamiltonian)
            and (scale := hamiltonian.time_scale((start + end) / 2)) < 1
        ):
            limit = min(limit, scale)
        states = _integrate(hamiltonian, state, start, stops, sign, limit)
        found += states[: len(wanted)]
        state = states[-1]
    return found


def _integrate(  # noqa: PLR0917
    hamiltonian: Hamiltonian,
    state: NDArray[Any],
    start: float,
    stops: NDArray[np.float64],
    sign: int,
    longest_step: float,
) -> list[NDArray[Any]]:
    """Follow d psi / ds = -i sign H(start + sign s) psi from s = 0 on."""
    import qutip

    operator: Any
    if isinstance(hamiltonian, DrivenHamiltonian):
        factors = hamiltonian.around((start + float(stops[-1])) / 2)
        static, *driven = (part.to_qutip() for part in hamiltonian.parts)

        def factor(place: int) -> Any:
            return lambda t: sign * float(factors(start + sign * t)[place])

        parts = [[part, factor(place)] for place, part in enumerate(driven, start=1)]
        operator = qutip.QobjEvo([sign * static, *parts])
    else:
        operator = sign * hamiltonian.to_qutip()
    ket = qutip.Qobj(state[:, None], dims=[[2] * hamiltonian.n_sites, [1]])
    # QuTiP reads 0 as no limit.
    options = _OPTIONS | {"max_step": longest_step if np.isfinite(longest_step) else 0}
    result = qutip.sesolve(operator, ket, [0.0, *abs(stops - start)], options=options)
    states = [np.asarray(found.full()[:, 0]) for found in result.states[1:]]
    before = float(np.linalg.norm(state))
    for time, found in zip(stops, states, strict=True):
        norm = float(np.linalg.norm(found))
        if not abs(norm - before) <= _NORM_TOLERANCE:
            raise ArgumentError(
                f"Argument `method` must follow the drive, but QuTiP's solver has changed the norm of the "
                f"state from {before:.6g} to {norm:.6g} at t={time:g}: give pulses and kinks as samples."
            )
    return states


def _put(recorder: Recorder, problem: Problem, member: int, index: int, state: NDArray[Any]) -> None:
    values: Tensor = torch.as_tensor(state, device=problem.device)
    recorder.put(slice(member, member + 1), slice(index, index + 1), values[None, None])


def estimate_qutip(problem: Problem) -> Estimate:
    """Tolerance times phase; a hundred times the time of a compiled method."""
    norm, longest = problem.largest_norm, float(problem.times.abs().max())
    error = 1e-12 * (10 + norm * longest) + (1e-7 if problem.dtype == torch.complex64 else 0)
    strings = 2 * problem.n_sites
    steps = 60 * norm * longest + 20 * problem.n_times + longest / problem.drive_scan.longest_step
    seconds = problem.n_trajectories * steps * (2e-5 + 2e-9 * problem.dimension * strings)
    return Estimate(error, 16 * problem.dimension * (strings + 40) + 64 * 2**20, 1.0 + seconds)
