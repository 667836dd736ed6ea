"""run_circuit: one call for every executor, exact or with shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.errors import ArgumentError
from qdyn.quantum.circuit import Gate
from qdyn.quantum.cudaq import CudaqExecutor, bound_circuits
from qdyn.quantum.noise import GateNoise
from qdyn.quantum.program import AllZero, PauliSum, Program
from qdyn.quantum.shots import proportion_interval

BACKENDS = ("torch", "cudaq")


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
        dtype: complex64 or complex128; torch only.
        device: where torch computes.

    Returns:
        The value, its 95 % confidence interval where shots were taken, and how it was run.

    Raises:
        ArgumentError: an option out of range or not for this backend.
        MissingExtraError: "cudaq" without CUDA-Q.

    Example:
        >>> from qdyn.quantum.circuit import Circuit
        >>> coin = Program(Circuit(q=1).h(0), {}, AllZero((0,)))
        >>> round(float(run_circuit(coin).value), 12)
        0.5
        >>> result = run_circuit(coin, shots=1000, seed=1)
        >>> [round(float(end), 3) for end in result.interval]
        [0.442, 0.504]
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
    if shots is None:
        if backend == "torch":
            value = program.expectation(dtype=dtype, device=device)
            return CircuitResult(value, None, program.n_qubits, None, backend, None)
        executor = CudaqExecutor(target, noise=noise)
        numbers = executor.expectations(bound_circuits(program.circuit, program.members()), observable)
        value = torch.from_numpy(numbers).reshape(program.batch_shape)
        return CircuitResult(value, None, program.n_qubits, None, backend, executor.target)
    readings = _readings(observable)
    if backend == "torch":
        label, hits = (
            None,
            _hits_on_torch(program, readings, shots, seed, program.states(dtype=dtype, device=device)),
        )
    else:
        executor = CudaqExecutor(target, noise=noise)
        label, hits = executor.target, _hits_on_cudaq(program, readings, shots, seed, executor)
    value, *interval = (
        torch.from_numpy(n).reshape(program.batch_shape) for n in _estimate(readings, hits, shots)
    )
    return CircuitResult(value, (interval[0], interval[1]), program.n_qubits, shots, backend, label)


@dataclass(frozen=True)
class _Reading:
    """A yes-or-no question to the bits: all zero on some qubits, or even parity of a Pauli string.

    The observable is the sum over its readings of offset + slope * (probability of yes).
    """

    observable: AllZero | PauliSum
    offset: float
    slope: float

    def basis_change(self) -> list[Gate]:
        """Gates after which a Pauli string is a product of Z."""
        if isinstance(self.observable, AllZero):
            return []
        gates = []
        for qubit, letter in enumerate(self.observable.terms[0][1]):
            if letter == "Y":
                gates.append(Gate("sdg", qubit))
            if letter in "XY":
                gates.append(Gate("h", qubit))
        return gates

    def probability(self, states: Tensor) -> NDArray[np.float64]:
        """Of yes, in each state."""
        found = self.observable.expectation(states).detach().double().cpu().numpy()
        return np.asarray((found if isinstance(self.observable, AllZero) else (1 + found) / 2).clip(0, 1))

    def says_yes(self, bits: str) -> bool:
        """To a bit string read after the basis change."""
        if isinstance(self.observable, AllZero):
            return all(bits[qubit] == "0" for qubit in self.observable.qubits)
        word = self.observable.terms[0][1]
        return sum(bit == "1" for bit, letter in zip(bits, word, strict=True) if letter != "I") % 2 == 0


def _readings(observable: AllZero | PauliSum) -> list[_Reading]:
    if isinstance(observable, AllZero):
        return [_Reading(observable, 0.0, 1.0)]
    return [_Reading(PauliSum(((1.0, word),)), -c, 2 * c) for c, word in observable.terms]


def _hits_on_torch(
    program: Program, readings: list[_Reading], shots: int, seed: int | None, states: Tensor
) -> NDArray[np.int64]:
    """Yes counts (readings, members): binomial draws with the exact probabilities."""
    rows = []
    for number, reading in enumerate(readings):
        draws = np.random.default_rng(
            None if seed is None else np.random.SeedSequence(seed, spawn_key=(number,))
        )
        probability = np.broadcast_to(reading.probability(states), program.batch_shape)
        rows.append(draws.binomial(shots, probability.reshape(-1)))
    return np.array(rows, dtype=np.int64)


def _hits_on_cudaq(
    program: Program, readings: list[_Reading], shots: int, seed: int | None, executor: CudaqExecutor
) -> NDArray[np.int64]:
    """Yes counts (readings, members) from sampled bit strings."""
    circuits = bound_circuits(program.circuit, program.members())
    turned = [bound.like([*bound, *reading.basis_change()]) for reading in readings for bound in circuits]
    counts = executor.counts(turned, shots=shots, seed=seed)
    asked = [reading for reading in readings for _ in circuits]
    hits = [
        sum(count for bits, count in tally.items() if reading.says_yes(bits))
        for reading, tally in zip(asked, counts, strict=True)
    ]
    return np.array(hits, dtype=np.int64).reshape(len(readings), len(circuits))


def _estimate(
    readings: list[_Reading], hits: NDArray[np.int64], shots: int
) -> tuple[NDArray[np.float64], ...]:
    """Estimate, lower and upper end for each member."""
    offsets = np.array([[reading.offset] for reading in readings])
    slopes = np.array([[reading.slope] for reading in readings])
    value = (offsets + slopes * hits / shots).sum(0)
    if len(readings) == 1:
        ends = np.sort(
            np.stack([offsets[0] + slopes[0] * end for end in proportion_interval(hits[0], shots)]), axis=0
        )
        return value, ends[0], ends[1]
    # A sum of independent estimates: the normal interval, each variance from counts that are never 0 or all.
    smoothed = (hits + 1) / (shots + 2)
    reach = 1.96 * np.sqrt((slopes**2 * smoothed * (1 - smoothed) / shots).sum(0))
    return value, value - reach, value + reach
