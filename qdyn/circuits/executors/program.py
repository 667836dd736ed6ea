"""A program: a circuit, the values of its slots and what is read from it. Executors run programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.statevector import probability_of_zeros, run_statevector
from qdyn.errors import ArgumentError


@dataclass(frozen=True)
class AllZero:
    """The probability that all the given qubits are read as 0; the others are ignored."""

    qubits: tuple[int, ...]

    def expectation(self, states: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """The probability in each state."""
        return probability_of_zeros(states, self.qubits)


@dataclass(frozen=True)
class PauliObservable:
    """A real combination of Pauli strings, sum_k c_k P_k.

    Attributes:
        terms: (c_k, P_k), where P_k is a string such as "ZZI" with one letter of I, X, Y, Z a qubit.

    Example:
        >>> bell = run_statevector(Circuit(q=2).h(0).cx(0, 1))
        >>> round(float(PauliObservable(((1.0, "ZZ"), (0.5, "XX"), (2.0, "IZ"))).expectation(bell)), 12)
        1.5
    """

    terms: tuple[tuple[float, str], ...]

    def __post_init__(self) -> None:
        lengths = {len(word) for _, word in self.terms}
        if len(lengths) != 1:
            raise ArgumentError(
                f"Argument `terms` must hold strings of one length, but has {sorted(lengths)}."
            )
        for _, word in self.terms:
            if set(word) - set("IXYZ"):
                raise ArgumentError(f"Argument `terms` must hold letters I, X, Y, Z, but has {word!r}.")

    def expectation(self, states: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """<psi| sum_k c_k P_k |psi> for each state."""
        return torch.stack([c * pauli_expectation(states, word) for c, word in self.terms]).sum(0)


def pauli_expectation(states: Complex[Tensor, "*batch dim"], word: str) -> Float[Tensor, "*batch"]:
    """<psi|P|psi> of one Pauli string, by flipping and signing basis states."""
    if states.shape[-1] != 2 ** len(word):
        raise ArgumentError(
            f"Argument `terms` must hold one letter for each of {states.shape[-1].bit_length() - 1} qubits, "
            f"but has {word!r}."
        )
    basis = np.arange(states.shape[-1])
    flip, sign = (int("".join("1" if s in kind else "0" for s in word), 2) for kind in ("XY", "YZ"))
    signs = 1.0 - 2.0 * (np.bitwise_count(basis & sign) % 2)
    factor = torch.from_numpy(signs * 1j ** word.count("Y")).to(states.device, states.dtype)
    flipped = states[..., torch.from_numpy(basis ^ flip).to(states.device)]
    return (flipped.conj() * factor * states).sum(-1).real


@dataclass(frozen=True)
class Program:
    """A circuit with values for all its slots and an observable.

    Attributes:
        circuit: the circuit.
        values: for every slot a real array (*batch, *slot shape); batch axes broadcast.
        observable: what is read; None where only the state is wanted.

    Example:
        >>> circuit = Circuit(q=1)
        >>> _ = circuit.ry(0, circuit.slot("theta", 1)[0])
        >>> program = Program(circuit, {"theta": torch.tensor([[0.0], [torch.pi / 2]])}, AllZero((0,)))
        >>> program.expectation()
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    circuit: Circuit
    values: Mapping[str, Tensor] = field(default_factory=dict)
    observable: AllZero | PauliObservable | None = None

    @property
    def n_qubits(self) -> int:
        """Number of qubits."""
        return self.circuit.n_qubits

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape that the batch axes of all values broadcast to."""
        shapes = [
            tuple(torch.as_tensor(value).shape[: torch.as_tensor(value).ndim - len(self.circuit.slots[name])])
            for name, value in self.values.items()
        ]
        return np.broadcast_shapes(*shapes)

    def states(
        self, *, dtype: torch.dtype = torch.complex128, device: torch.device | str | None = None
    ) -> Complex[Tensor, "*batch dim"]:
        """The prepared states, by the torch state vector."""
        return run_statevector(self.circuit, self.values, dtype=dtype, device=device)

    def expectation(
        self, *, dtype: torch.dtype = torch.complex128, device: torch.device | str | None = None
    ) -> Float[Tensor, "*batch"]:
        """The exact, differentiable value of the observable, by the torch state vector."""
        if self.observable is None:
            raise ArgumentError("Argument `program` must have an observable, but has none.")
        return self.observable.expectation(self.states(dtype=dtype, device=device))

    def flat(self) -> Program:
        """The same program without gradients, its batch axes made one: values (members, *slot shape)."""
        batch = self.batch_shape
        values = {
            name: torch.as_tensor(value)
            .detach()
            .expand(*batch, *self.circuit.slots[name])
            .reshape(-1, *self.circuit.slots[name])
            for name, value in self.values.items()
        }
        return Program(self.circuit, values, self.observable)

    def members(self) -> list[dict[str, NDArray[np.float64]]]:
        """The slot values of each batch member in turn, without batch axes."""
        columns = {name: value.cpu().double().numpy() for name, value in self.flat().values.items()}
        count = math.prod(self.batch_shape)
        return [{name: rows[k] for name, rows in columns.items()} for k in range(count)]

    def circuits(self) -> list[Circuit]:
        """The circuit with the values of each batch member in turn bound to its slots.

        Example:
            >>> circuit = Circuit(q=1)
            >>> _ = circuit.ry(0, circuit.slot("theta", 1)[0])
            >>> [one.gates[0].angles for one in Program(circuit, {"theta": torch.tensor([[2.0]])}).circuits()]
            [(Angle(constant=2.0, terms=()),)]
        """
        return [self.circuit.bind(member) for member in self.members()]
