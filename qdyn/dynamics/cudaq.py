"""CUDA-Q as an independent witness: Trotter circuits of order 6, simulated gate by gate in double precision.

What it shares with the other methods is the list of Pauli strings and the weights of the product formula; the
arithmetic is CUDA-Q's. The step is found as for every product formula, by running with a step and with half
of it, so that ``error`` is kept by measurement. On a GPU the same circuits run on CUDA-Q's target nvidia.

CUDA-Q is optional: pip install 'qdyn-toolkit[cudaq]'.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.circuits.executors.cudaq import CudaqExecutor
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.stepping import follow
from qdyn.dynamics.trotter_circuits import trotter_circuit
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian

_ORDER = 6
_DEFAULT_ERROR = 1e-6


def evolve_by_cudaq(problem: Problem, recorder: Recorder) -> dict[str, float]:
    """Solve ``problem`` trajectory by trajectory on qpp-cpu, or on a GPU in double precision."""
    target = "nvidia:fp64" if problem.device.type == "cuda" else "qpp-cpu"
    stepper = _TrotterCircuits(problem.hamiltonian, CudaqExecutor(target))
    error = _DEFAULT_ERROR if problem.error is None else problem.error
    return follow(problem, recorder, stepper, error=error)


class _TrotterCircuits:
    """Steps of a product formula as circuits; see `qdyn.dynamics.stepping.Stepper`."""

    order = _ORDER

    def __init__(self, hamiltonian: Hamiltonian, executor: CudaqExecutor) -> None:
        self._hamiltonian, self._executor = hamiltonian, executor

    def advance(self, states: Tensor, members: slice, start: float, end: float, n_steps: int) -> Tensor:
        """The states at ``end`` from those at ``start``, (trajectories, 2**n), in equal steps."""
        rows = list(states.numpy(force=True))
        if self._hamiltonian.batch_size is None:
            found = self._run(self._hamiltonian, rows, start, end, n_steps)
        else:
            found = []
            for place, row in zip(range(members.start, members.stop), rows, strict=True):
                found += self._run(self._hamiltonian.member(place), [row], start, end, n_steps)
        return torch.from_numpy(np.stack(found)).to(states.device)

    def _run(
        self,
        hamiltonian: Hamiltonian,
        states: list[NDArray[np.complex128]],
        start: float,
        end: float,
        n_steps: int,
    ) -> list[NDArray[np.complex128]]:
        length = end - start
        if isinstance(hamiltonian, DrivenHamiltonian):
            circuit = trotter_circuit(hamiltonian, length, steps=n_steps, order=_ORDER, start=start)
            return self._executor.continued(circuit, states)
        circuit = trotter_circuit(hamiltonian, length / n_steps, order=_ORDER)
        return self._executor.continued(circuit, states, repeats=n_steps)


def estimate_cudaq(problem: Problem) -> Estimate:
    """The error that is asked for, down to rounding; microseconds a gate for small registers."""
    span, norm = float(problem.times.abs().max()), problem.largest_norm
    rounding = 1e-13 * (10 + norm * span) + (1e-7 if problem.dtype == torch.complex64 else 0)
    error = max(rounding, problem.error or _DEFAULT_ERROR)
    rate = norm / problem.n_sites
    steps = problem.n_stretches + span * rate / (50 * error) ** (1 / _ORDER)
    steps += span / problem.drive_scan.longest_step
    gates = 40 * problem.n_sites * steps * problem.n_trajectories
    memory = 16 * problem.dimension * (problem.n_trajectories + 24) + 512 * 2**20
    return Estimate(error, memory, 2.0 + gates * (1e-5 + 2e-7 * problem.dimension))
