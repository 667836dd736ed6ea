"""run_circuit: one call for every executor, exact or with shots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.cudaq import DEFAULT_TARGET, CudaqExecutor
from qdyn.circuits.executors.gradients import RULES, with_gradient
from qdyn.circuits.executors.noise import GateNoise
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program
from qdyn.circuits.executors.readings import Reading, estimate, readings_of
from qdyn.errors import ArgumentError

BACKENDS = ("torch", "cudaq")
Estimate = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
_MOST_AMPLITUDES = 2**23


@dataclass(frozen=True)
class CircuitResult:
    """What a run of a circuit gave.

    Attributes:
        value: the observable, of the program's batch shape; differentiable where the run was exact on torch.
        interval: lower and upper end of its 95 % confidence interval; None for an exact run.
        qubits: number of qubits of the circuit.
        shots: readings for every number that was estimated; None for an exact run.
        backend: "torch" or "cudaq".
        target: the CUDA-Q target; None on torch.
    """

    value: Float[Tensor, "*batch"]
    interval: tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]] | None
    qubits: int
    shots: int | None
    backend: str
    target: str | None


def run_circuit(
    program: Program,
    *,
    backend: str = "torch",
    shots: int | None = None,
    target: str | None = None,
    seed: int | None = None,
    noise: GateNoise | None = None,
    gradient: str | None = None,
    dtype: torch.dtype = torch.complex128,
    device: torch.device | str | None = None,
) -> CircuitResult:
    """Run a circuit and return its observable, exactly or estimated from shots.

    Args:
        program: a circuit with values and an observable, such as qdyn.qsa_circuit returns.
        backend: "torch", the batched state vector, or "cudaq", one circuit after another on a CUDA-Q target.
        shots: None for the exact value; else how often each circuit is read (each Pauli string of a sum).
        target: CUDA-Q target, "qpp-cpu" when None; not for torch.
        seed: seed of the shots, >= 0; a fresh one when None.
        noise: gate noise; CUDA-Q's density-matrix-cpu only.
        gradient: how the value is differentiated where autograd cannot see inside, by those slot values that
            require a gradient: "parameter_shift" or "spsa" (see `executors.gradients`). None gives an
            exact torch run its autograd, and every other run no gradient.
        dtype: complex64 or complex128; torch only.
        device: where torch computes; torch only.

    Returns:
        The value, its 95 % confidence interval where shots were taken, and how it was run.

    Raises:
        ArgumentError: an option out of range or not for this backend.
        MissingExtraError: "cudaq" without CUDA-Q.

    Example:
        >>> coin = Program(Circuit(q=1).h(0), {}, AllZero((0,)))
        >>> round(float(run_circuit(coin).value), 12)
        0.5
        >>> result = run_circuit(coin, shots=1000, seed=1)
        >>> [round(float(end), 3) for end in result.interval]
        [0.466, 0.528]
    """
    check_choice("backend", backend, BACKENDS)
    observable = program.observable
    if observable is None:
        raise ArgumentError("Argument `program` must have an observable, but has none.")
    if shots is not None:
        check_integer("shots", shots, minimum=1)
    if seed is not None:
        check_integer("seed", seed, minimum=0)
    if backend == "torch" and (target is not None or noise is not None):
        name = "target" if target is not None else "noise"
        raise ArgumentError(f"Argument `{name}` is for the backend 'cudaq', but the backend is 'torch'.")
    if backend == "cudaq" and (device is not None or dtype != torch.complex128):
        name = "device" if device is not None else "dtype"
        raise ArgumentError(
            f"Argument `{name}` is for the backend 'torch', but the backend is 'cudaq', which has targets."
        )
    if gradient is not None:
        check_choice("gradient", gradient, RULES)
    runner = Runner(
        backend=backend, shots=shots, target=target, seed=seed, noise=noise, dtype=dtype, device=device
    )
    if shots is None and backend == "torch" and gradient is None:
        value: Tensor = program.expectation(dtype=dtype, device=device)
        return CircuitResult(value, None, program.n_qubits, None, backend, None)
    found = runner.measure(program)
    value, *ends = (torch.from_numpy(number).reshape(program.batch_shape) for number in found)
    if gradient is not None:
        value = with_gradient(value, program, lambda one: runner.measure(one)[0], rule=gradient, seed=seed)
    label = (target or DEFAULT_TARGET) if backend == "cudaq" else None
    interval = None if shots is None else (ends[0], ends[1])
    return CircuitResult(value, interval, program.n_qubits, shots, backend, label)


class Runner:
    """A backend with its options: measures the observable of one program after another.

    With a seed, measurement number m of a runner has shots that depend on (seed, m) only.
    """

    def __init__(
        self,
        *,
        backend: str,
        shots: int | None = None,
        target: str | None = None,
        seed: int | None = None,
        noise: GateNoise | None = None,
        dtype: torch.dtype = torch.complex128,
        device: torch.device | str | None = None,
    ) -> None:
        self.shots, self.seed, self.dtype, self.device = shots, seed, dtype, device
        self.executor = CudaqExecutor(target, noise=noise) if backend == "cudaq" else None
        self._measurements = 0

    def measure(self, program: Program) -> Estimate:
        """Value and ends of the interval for each batch member; an exact value is its own interval."""
        observable = program.observable
        assert observable is not None
        if self.executor is None:
            return self._measure_states(program.flat(), observable)
        circuits = program.circuits()
        if self.shots is None:
            value = self.executor.expectations(circuits, observable)
            return value, value, value
        readings = readings_of(observable)
        hits = self._sampled(circuits, readings, int(self._next_seed().generate_state(1)[0]) >> 1)
        return estimate(readings, hits, self.shots)

    def _measure_states(self, program: Program, observable: AllZero | PauliObservable) -> Estimate:
        """Exactly, or as binomial draws from the exact probabilities; so many members at once as fit."""
        readings = readings_of(observable)
        probabilities, values = [], []
        for part in _parts(program, max(1, _MOST_AMPLITUDES >> program.n_qubits)):
            states = part.states(dtype=self.dtype, device=self.device).reshape(-1, 2**program.n_qubits)
            if self.shots is None:
                values.append(observable.expectation(states).double().cpu().numpy())
            else:
                probabilities.append(np.array([reading.probability(states) for reading in readings]))
        if self.shots is None:
            value = np.concatenate(values)
            return value, value, value
        draws = np.random.default_rng(self._next_seed())
        hits = np.array([draws.binomial(self.shots, row) for row in np.concatenate(probabilities, axis=1)])
        return estimate(readings, hits, self.shots)

    def _next_seed(self) -> np.random.SeedSequence:
        self._measurements += 1
        return np.random.SeedSequence(self.seed, spawn_key=(self._measurements,))

    def _sampled(self, circuits: list[Circuit], readings: list[Reading], seed: int) -> NDArray[np.int64]:
        """Yes counts (readings, circuits) from bit strings."""
        assert self.executor is not None
        assert self.shots is not None
        turned = [
            circuit.like([*circuit, *reading.basis_change()]) for reading in readings for circuit in circuits
        ]
        counts = iter(self.executor.counts(turned, shots=self.shots, seed=seed))
        return np.array(
            [
                [sum(n for bits, n in next(counts).items() if reading.says_yes(bits)) for _ in circuits]
                for reading in readings
            ]
        )


def _parts(program: Program, most: int) -> Iterator[Program]:
    """A flat program in parts of at most ``most`` members."""
    count = math.prod(program.batch_shape)
    for first in range(0, count, most):
        values = {name: value[first : first + most] for name, value in program.values.items()}
        yield Program(program.circuit, values, program.observable)
