"""From bit strings to numbers: the yes-or-no questions an observable is made of, and what counts tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qdyn.circuits.circuit import Gate
from qdyn.circuits.executors.program import AllZero, PauliObservable
from qdyn.circuits.executors.shots import proportion_interval


@dataclass(frozen=True)
class Reading:
    """A yes-or-no question to the bits: all zero on some qubits, or even parity of a Pauli string.

    The observable is the sum over its readings of offset + slope * (probability of yes).
    """

    observable: AllZero | PauliObservable
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


def readings_of(observable: AllZero | PauliObservable) -> list[Reading]:
    """The questions whose answers make up the observable."""
    if isinstance(observable, AllZero):
        return [Reading(observable, 0.0, 1.0)]
    return [Reading(PauliObservable(((1.0, word),)), -c, 2 * c) for c, word in observable.terms]


def estimate(
    readings: list[Reading], hits: NDArray[np.int64], shots: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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
