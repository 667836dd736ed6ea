"""Circuits: an ordered list of gates on named registers, with angles as numbers or as slots.

A gate acts on one target qubit. ``controls`` switch it on where all of them are 1. A rotation may be
*multiplexed*: its angle is then picked from a list by the number that the ``select`` qubits hold. These two
ways to condition a gate are all that loading states, linear combinations of unitaries and the attention
circuits need, and every one of them lowers to CNOTs and one-qubit gates (qdyn.circuits.lowering).

An angle is a number of radians, or a linear expression in the entries of named parameter arrays, the *slots*.
A circuit is therefore written once and run for many values, by any executor: `statevector` (torch) or
`cudaq`.

Conventions: RX(t) = exp(-i t X / 2), likewise RY and RZ; PHASE(t) = diag(1, exp(i t)). Qubits are numbered
through the registers in order, and qubit 0 is the most significant bit of the basis index.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.checks import check_choice, check_integer
from qdyn.errors import ArgumentError, nearest

ROTATIONS = ("rx", "ry", "rz", "phase")
"""Gates with one angle; they may be multiplexed."""

_ADJOINT_OF = {"x": "x", "y": "y", "z": "z", "h": "h", "s": "sdg", "sdg": "s", "t": "tdg", "tdg": "t"}
FIXED_GATES = tuple(_ADJOINT_OF)
"""Gates without an angle."""


@dataclass(frozen=True, slots=True)
class Angle:
    """The linear expression ``constant + sum_k coefficient_k * slot_k[index_k]``, in radians.

    Attributes:
        constant: the part that no slot changes.
        terms: (slot name, flat index into the slot's array, coefficient) for every slot entry.

    Example:
        >>> theta = Circuit(q=1).slot("theta", 2)
        >>> -(theta[0] + theta[1]) / 2 + 1.0
        Angle(constant=1.0, terms=(('theta', 0, -0.5), ('theta', 1, -0.5)))
    """

    constant: float = 0.0
    terms: tuple[tuple[str, int, float], ...] = ()

    @classmethod
    def of(cls, value: Angle | float) -> Angle:
        """The angle itself, or the number as a constant angle."""
        if isinstance(value, Angle):
            return value
        number = float(value)
        if not math.isfinite(number):
            raise ArgumentError(f"Argument `angle` must be finite, but is {value!r}.")
        return cls(number)

    def __add__(self, other: Angle | float) -> Angle:
        other = Angle.of(other)
        merged: dict[tuple[str, int], float] = {}
        for name, index, coefficient in self.terms + other.terms:
            merged[name, index] = merged.get((name, index), 0.0) + coefficient
        terms = tuple((name, index, value) for (name, index), value in merged.items() if value)
        return Angle(self.constant + other.constant, terms)

    def __mul__(self, factor: float) -> Angle:
        terms = ((name, index, coefficient * factor) for name, index, coefficient in self.terms)
        return Angle(self.constant * factor, tuple(terms) if factor else ())

    def __neg__(self) -> Angle:
        return self * -1.0

    def __sub__(self, other: Angle | float) -> Angle:
        return self + -Angle.of(other)

    def __truediv__(self, divisor: float) -> Angle:
        return self * (1 / divisor)

    __radd__ = __add__
    __rmul__ = __mul__

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots that the angle depends on."""
        return frozenset(name for name, _, _ in self.terms)

    def bind(self, flat_values: Mapping[str, Sequence[float]]) -> Angle:
        """Replace the slots named in ``flat_values`` by their numbers."""
        constant = self.constant
        rest = []
        for name, index, coefficient in self.terms:
            if name in flat_values:
                constant += coefficient * flat_values[name][index]
            else:
                rest.append((name, index, coefficient))
        return Angle(constant, tuple(rest))


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: ``name`` acts on ``target`` where every qubit of ``controls`` is 1.

    Attributes:
        name: one of FIXED_GATES or ROTATIONS.
        target: the qubit acted on.
        controls: qubits that must all be 1.
        select: qubits that together hold a number s, the first the most significant; rotations only.
        angles: ``2**len(select)`` angles, of which angles[s] is used; empty for a fixed gate.
    """

    name: str
    target: int
    controls: tuple[int, ...] = ()
    select: tuple[int, ...] = ()
    angles: tuple[Angle, ...] = ()

    @property
    def qubits(self) -> tuple[int, ...]:
        """Every qubit that the gate touches: controls, then select, then the target."""
        return (*self.controls, *self.select, self.target)

    def adjoint(self) -> Gate:
        """The inverse gate."""
        if self.name in _ADJOINT_OF:
            return replace(self, name=_ADJOINT_OF[self.name])
        return replace(self, angles=tuple(-angle for angle in self.angles))

    def on(self, qubits: Sequence[int], controls: tuple[int, ...] = ()) -> Gate:
        """The same gate with its qubit q replaced by ``qubits[q]``, and with further controls."""
        return Gate(
            self.name,
            qubits[self.target],
            controls + tuple(qubits[q] for q in self.controls),
            tuple(qubits[q] for q in self.select),
            self.angles,
        )

    def bind(self, flat_values: Mapping[str, Sequence[float]]) -> Gate:
        """The gate with the slots named in ``flat_values`` replaced by their numbers."""
        if not any(angle.terms for angle in self.angles):
            return self
        return replace(self, angles=tuple(angle.bind(flat_values) for angle in self.angles))


class Circuit:
    """An ordered list of gates on named registers.

    Args:
        registers: length of every register by name, in order; a register may be empty.

    Attributes:
        registers: qubits of every register by name.
        slots: shape of every parameter array by name.
        gates: the gates, first to act first.

    Example:
        A Bell pair, and the angle that tilts it as a slot.

        >>> bell = Circuit(left=1, right=1)
        >>> tilt = bell.slot("tilt", 1)
        >>> bell.ry(0, tilt[0]).cx(0, 1)
        Circuit(left=1, right=1; 2 gates: ry 1, x 1; slots tilt(1,))
        >>> bell + bell.adjoint()
        Circuit(left=1, right=1; 4 gates: ry 2, x 2; slots tilt(1,))
    """

    def __init__(self, **registers: int) -> None:
        self.registers: dict[str, tuple[int, ...]] = {}
        self.slots: dict[str, tuple[int, ...]] = {}
        self.gates: list[Gate] = []
        first = 0
        for name, length in registers.items():
            check_integer(f"registers[{name}]", length, minimum=0)
            self.registers[name] = tuple(range(first, first + length))
            first += length
        self.n_qubits = first

    def __getitem__(self, register: str) -> tuple[int, ...]:
        """The qubits of a register."""
        check_choice("register", register, self.registers)
        return self.registers[register]

    def __len__(self) -> int:
        return len(self.gates)

    def __iter__(self) -> Iterator[Gate]:
        return iter(self.gates)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        mine, theirs = (self.registers, self.slots, self.gates), (other.registers, other.slots, other.gates)
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        registers = ", ".join(f"{name}={len(qubits)}" for name, qubits in self.registers.items())
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(Counter(g.name for g in self).items()))
        slots = ", ".join(f"{name}{shape}" for name, shape in self.slots.items())
        return (
            f"Circuit({registers}; {len(self)} gates"
            + (f": {kinds}" if kinds else "")
            + (f"; slots {slots}" if slots else "")
            + ")"
        )

    # -- angles ------------------------------------------------------------------------------------

    def slot(self, name: str, *shape: int) -> NDArray[Any]:
        """Declare a parameter array and return its entries as angles, in an array of that shape.

        Declaring the same name with the same shape again returns the same entries, so that one parameter may
        drive many gates.
        """
        if self.slots.setdefault(name, shape) != shape:
            raise ArgumentError(
                f"Argument `name` is {name!r}, a slot that already has shape {self.slots[name]}, not {shape}."
            )
        entries = np.empty(math.prod(shape), dtype=object)
        entries[:] = [Angle(0.0, ((name, index, 1.0),)) for index in range(entries.size)]
        return entries.reshape(shape)

    def bind(self, values: Mapping[str, Any]) -> Circuit:
        """The circuit with the given slots replaced by numbers (one array a slot, without batch axes)."""
        flat: dict[str, list[float]] = {}
        for name, value in values.items():
            check_choice("values", name, self.slots)
            array = np.asarray(value, dtype=np.float64)
            if array.shape != self.slots[name]:
                raise ArgumentError(
                    f"Argument `values` must have shape {self.slots[name]} for the slot {name!r}, "
                    f"but has {array.shape}."
                )
            flat[name] = array.reshape(-1).tolist()
        bound = self.like(gate.bind(flat) for gate in self)
        bound.slots = {name: shape for name, shape in self.slots.items() if name not in values}
        return bound

    # -- adding gates ------------------------------------------------------------------------------

    def add(self, gate: Gate) -> Circuit:
        """Append one gate, checked, and return the circuit."""
        check_choice("gate", gate.name, (*FIXED_GATES, *ROTATIONS))
        qubits = gate.qubits
        for qubit in qubits:
            if not 0 <= qubit < self.n_qubits:
                raise ArgumentError(
                    f"Argument `qubit` must be in [0, {self.n_qubits - 1}], but {gate.name} names {qubit}."
                )
        if len(set(qubits)) < len(qubits):
            raise ArgumentError(f"Argument `qubit` must name each qubit once, but {gate.name} has {qubits}.")
        wanted = 0 if gate.name in FIXED_GATES else 2 ** len(gate.select)
        if len(gate.angles) != wanted or (gate.select and not wanted):
            raise ArgumentError(
                f"Argument `angles` must hold {wanted} angles for {gate.name} selected by {len(gate.select)} "
                f"qubits, but holds {len(gate.angles)}."
            )
        for angle in gate.angles:
            for name, index, _ in angle.terms:
                if name not in self.slots or index >= math.prod(self.slots[name]):
                    raise ArgumentError(
                        f"Argument `angle` uses {name}[{index}], not a slot; {nearest(name, self.slots)}"
                    )
        self.gates.append(gate)
        return self

    def compose(
        self, other: Circuit, qubits: Iterable[int] | None = None, *, controls: Iterable[int] = ()
    ) -> Circuit:
        """Append another circuit, its qubit q on ``qubits[q]``, where ``controls`` are all 1.

        Slots of the same name are the same parameters.
        """
        places = tuple(range(other.n_qubits)) if qubits is None else tuple(qubits)
        if len(places) != other.n_qubits:
            raise ArgumentError(
                f"Argument `qubits` must name {other.n_qubits} qubits, but names {len(places)}."
            )
        for name, shape in other.slots.items():
            self.slot(name, *shape)
        switches = tuple(controls)
        for gate in list(other):
            self.add(gate.on(places, switches))
        return self

    def fixed(self, name: str, target: int, controls: Iterable[int] = ()) -> Circuit:
        """Append a gate without an angle."""
        return self.add(Gate(name, target, tuple(controls)))

    def rotation(
        self,
        name: str,
        target: int,
        angles: Angle | float | Iterable[Angle | float],
        select: Iterable[int] = (),
        controls: Iterable[int] = (),
    ) -> Circuit:
        """Append a rotation with one angle, or with one for each number that ``select`` may hold."""
        several = [angles] if isinstance(angles, Angle | float | int) else np.asarray(angles).ravel().tolist()
        return self.add(
            Gate(name, target, tuple(controls), tuple(select), tuple(Angle.of(angle) for angle in several))
        )

    def x(self, target: int, controls: Iterable[int] = ()) -> Circuit:
        """Pauli X: flips the target; CNOT with one control, Toffoli with two."""
        return self.fixed("x", target, controls)

    def y(self, target: int, controls: Iterable[int] = ()) -> Circuit:
        """Pauli Y."""
        return self.fixed("y", target, controls)

    def z(self, target: int, controls: Iterable[int] = ()) -> Circuit:
        """Pauli Z: the sign -1 where the target is 1."""
        return self.fixed("z", target, controls)

    def h(self, target: int, controls: Iterable[int] = ()) -> Circuit:
        """Hadamard gate."""
        return self.fixed("h", target, controls)

    def rx(
        self, target: int, angles: Any, select: Iterable[int] = (), controls: Iterable[int] = ()
    ) -> Circuit:
        """exp(-i angle X / 2)."""
        return self.rotation("rx", target, angles, select, controls)

    def ry(
        self, target: int, angles: Any, select: Iterable[int] = (), controls: Iterable[int] = ()
    ) -> Circuit:
        """exp(-i angle Y / 2)."""
        return self.rotation("ry", target, angles, select, controls)

    def rz(
        self, target: int, angles: Any, select: Iterable[int] = (), controls: Iterable[int] = ()
    ) -> Circuit:
        """exp(-i angle Z / 2)."""
        return self.rotation("rz", target, angles, select, controls)

    def phase(
        self, target: int, angles: Any, select: Iterable[int] = (), controls: Iterable[int] = ()
    ) -> Circuit:
        """diag(1, exp(i angle))."""
        return self.rotation("phase", target, angles, select, controls)

    def cx(self, control: int, target: int) -> Circuit:
        """CNOT."""
        return self.fixed("x", target, (control,))

    def cz(self, control: int, target: int) -> Circuit:
        """Controlled Z."""
        return self.fixed("z", target, (control,))

    def swap(self, first: int, second: int) -> Circuit:
        """Exchange two qubits, by three CNOTs."""
        return self.cx(first, second).cx(second, first).cx(first, second)

    # -- new circuits ------------------------------------------------------------------------------

    def like(self, gates: Iterable[Gate] = ()) -> Circuit:
        """A circuit with these registers and slots, and with the given gates."""
        circuit = Circuit(**{name: len(qubits) for name, qubits in self.registers.items()})
        circuit.slots = dict(self.slots)
        circuit.gates = list(gates)
        return circuit

    def adjoint(self) -> Circuit:
        """The inverse circuit: the inverse gates in reverse order."""
        return self.like(gate.adjoint() for gate in reversed(self.gates))

    def with_angles(self, name: str, angles: NDArray[Any]) -> Circuit:
        """The circuit with the entries of one slot replaced by other angles, such as entries of another slot.

        The new angles' slots become slots of the circuit when it is composed into one that has them.
        """
        entries = [Angle.of(angle) for angle in angles.ravel().tolist()]
        replaced = []
        for gate in self:
            new = []
            for angle in gate.angles:
                total = Angle(angle.constant)
                for term, index, coefficient in angle.terms:
                    part = entries[index] if term == name else Angle(0.0, ((term, index, 1.0),))
                    total = total + part * coefficient
                new.append(total)
            replaced.append(replace(gate, angles=tuple(new)))
        circuit = self.like(replaced)
        del circuit.slots[name]
        return circuit

    def __add__(self, other: Circuit) -> Circuit:
        """First this circuit, then the other one, on the same qubits."""
        return self.like(self.gates).compose(other)
