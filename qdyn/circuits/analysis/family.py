"""A circuit with random angles: what expressibility and its companions are averages over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.errors import ArgumentError

Values = Mapping[str, Tensor]

_MOST_AMPLITUDES = 2**21
# Gates whose matrices are real, with any controls.
_REAL_GATES = frozenset({"x", "z", "h", "ry"})


@dataclass(frozen=True)
class CircuitFamily:
    """A circuit whose angles are drawn uniformly and independently from an interval.

    Attributes:
        circuit: n qubits, starting from |0...0>.
        inputs: Slots that hold data and not weights: the two circuits of a pair see the same data.
        read: Qubits that are read; None for all of them.
        interval: Of the angles, (low, high) in radians.

    Example:
        >>> from qdyn.circuits.ansatz.circuits import ansatz_circuit
        >>> family = CircuitFamily(ansatz_circuit("real", n_qubits=2, layers=3, slot="weights"))
        >>> family.n_weights, family.is_real
        (6, True)
        >>> family.draw(4, seed=0)["weights"].shape
        torch.Size([4, 3, 2])
    """

    circuit: Circuit
    inputs: tuple[str, ...] = ()
    read: tuple[int, ...] | None = None
    interval: tuple[float, float] = (-math.pi, math.pi)

    def __post_init__(self) -> None:
        for name in self.inputs:
            check_choice("inputs", name, self.circuit.slots)
        for qubit in self.read or ():
            check_integer("read", qubit, minimum=0, maximum=self.circuit.n_qubits - 1)
        if not self.weights:
            raise ArgumentError("Argument `circuit` must have a slot of weights, but has none.")
        low, high = self.interval
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ArgumentError(f"Argument `interval` must be (low, high), low < high, but is {low, high}.")

    @property
    def weights(self) -> tuple[str, ...]:
        """Slots that hold weights."""
        return tuple(name for name in self.circuit.slots if name not in self.inputs)

    @property
    def n_weights(self) -> int:
        """Number of weights, those without an effect included."""
        return sum(math.prod(self.circuit.slots[name]) for name in self.weights)

    @property
    def qubits_read(self) -> tuple[int, ...]:
        """The qubits that are read."""
        return tuple(range(self.circuit.n_qubits)) if self.read is None else self.read

    @property
    def is_real(self) -> bool:
        """Whether every state of the circuit has real amplitudes: it is made of X, Z, H and RY."""
        return all(gate.name in _REAL_GATES for gate in self.circuit)

    def draw(self, count: int, *, seed: int, member: int = 0) -> dict[str, Tensor]:
        """Angles of ``count`` independent circuits: slot -> (count, *slot shape), double precision.

        Circuit i depends on ``seed``, i and ``member`` alone. Its data depend on ``seed`` and i alone: the
        members 0 and 1 are a pair with the same data.

        Args:
            count: Circuits, >= 1.
            seed: Integer >= 0.
            member: Which circuit of the pair.
        """
        check_integer("count", count, minimum=1)
        check_integer("seed", seed, minimum=0)
        sizes = {name: math.prod(shape) for name, shape in self.circuit.slots.items()}
        found = {name: np.empty((count, size)) for name, size in sizes.items()}
        for index in range(count):
            own = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, 1 + member)))
            data = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, 0)))
            for name, size in sizes.items():
                found[name][index] = (data if name in self.inputs else own).uniform(*self.interval, size)
        return {
            name: torch.from_numpy(rows).reshape(count, *self.circuit.slots[name])
            for name, rows in found.items()
        }

    def states(self, values: Values) -> Complex[Tensor, "count dim"]:
        """The states of circuits that share one batch axis, so many at a time as fit well in memory."""
        return torch.cat([run_statevector(self.circuit, part) for part in self.parts(values)])

    def parts(self, values: Values, *, copies: int = 1) -> Iterator[dict[str, Tensor]]:
        """The values in blocks, each of at least one circuit, which ``copies`` states are needed of."""
        count = next(iter(values.values())).shape[0]
        size = max(1, (_MOST_AMPLITUDES >> self.circuit.n_qubits) // copies)
        for first in range(0, count, size):
            yield {name: value[first : first + size] for name, value in values.items()}

    def averaged(self, values: Values, quantity: Callable[[Tensor], Tensor]) -> Tensor:
        """A quantity (count, …) of the states of each circuit, without keeping the states."""
        return torch.cat([quantity(run_statevector(self.circuit, part)) for part in self.parts(values)])


def sample_mean(samples: Tensor) -> tuple[float, float]:
    """The mean of independent samples (count,) and its standard error."""
    count = len(samples)
    spread = float(samples.std(correction=1)) if count > 1 else math.nan
    return float(samples.mean()), spread / math.sqrt(count)
