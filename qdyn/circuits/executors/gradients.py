"""Gradients of a measured value, for executors that autograd cannot see into.

*Parameter shift*. After lowering every angle turns one uncontrolled rotation exp(-i a P / 2), and

    d<O>/da = ( <O>(a + pi/2) - <O>(a - pi/2) ) / 2

holds exactly. A parameter that drives several gates, or a controlled one, becomes several such rotations; the
chain rule adds up their shifts, one rotation at a time. Two circuits a rotation.

*SPSA* moves all parameters at once along a random sign vector D: (f(p + c D) - f(p - c D)) / (2 c) D. Two
circuits a repeat, right on average up to O(c^2).

Source: Schuld et al., arXiv:1811.11184; Spall, IEEE Trans. Autom. Control 37, 332 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.program import Program
from qdyn.circuits.lowering import lower

Evaluate = Callable[[Program], NDArray[np.float64]]
"""Measures the observable of a program for each of its batch members."""

RULES = ("parameter_shift", "spsa")
ROTATIONS_SLOT = "rotations"


def parameter_shift(
    program: Program, slots: Sequence[str], evaluate: Evaluate
) -> dict[str, NDArray[np.float64]]:
    """The exact gradient of a measured value by the entries of some slots.

    Args:
        program: a circuit, values without batch axes and an observable.
        slots: names of the slots to differentiate by.
        evaluate: measures all shifted circuits, given as one program with one batch axis.

    Returns:
        For each of the slots an array of its shape.

    Example: the probability cos(t/2)^2, with the parameter used in two gates of half its angle.
        >>> from qdyn.circuits.executors.program import AllZero
        >>> circuit = Circuit(q=1)
        >>> (t,) = circuit.slot("t", 1)
        >>> _ = circuit.ry(0, t / 2).ry(0, t / 2)
        >>> program = Program(circuit, {"t": torch.tensor([0.3])}, AllZero((0,)))
        >>> gradient = parameter_shift(program, ["t"], lambda shifted: shifted.expectation().numpy())
        >>> bool(np.isclose(gradient["t"][0], -np.sin(0.3) / 2))
        True
    """
    (values,) = program.members()
    wanted = {name: values.pop(name) for name in slots}
    lowered = lower(program.circuit.bind(values))
    flat = {name: value.reshape(-1).tolist() for name, value in wanted.items()}
    owners = [gate.angles[0] for gate in lowered if gate.angles and gate.angles[0].terms]
    gradient = {name: np.zeros(value.size) for name, value in wanted.items()}
    if owners:
        here = np.array([angle.bind(flat).constant for angle in owners])
        shifts = math.pi / 2 * np.eye(len(here))
        shifted = Program(
            with_one_slot(lowered, len(here)),
            {ROTATIONS_SLOT: torch.from_numpy(np.concatenate([here + shifts, here - shifts]))},
            program.observable,
        )
        ahead, behind = np.split(evaluate(shifted), 2)
        for angle, slope in zip(owners, (ahead - behind) / 2, strict=True):
            for name, index, coefficient in angle.terms:
                gradient[name][index] += coefficient * slope
    return {name: gradient[name].reshape(wanted[name].shape) for name in slots}


def with_one_slot(lowered: Circuit, count: int) -> Circuit:
    """The circuit with every angle that depends on a slot made an entry of one slot, in order."""
    circuit = Circuit(**{name: len(qubits) for name, qubits in lowered.registers.items()})
    entries = iter(circuit.slot(ROTATIONS_SLOT, count))
    for gate in lowered:
        free = gate.angles and gate.angles[0].terms
        circuit.gates.append(replace(gate, angles=(next(entries),)) if free else gate)
    return circuit


def spsa(
    program: Program,
    slots: Sequence[str],
    evaluate: Evaluate,
    *,
    step: float = 0.05,
    repeats: int = 1,
    seed: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """A random estimate of the gradient from two circuits a repeat, right on average up to O(step^2).

    Args:
        program: a circuit, values without batch axes and an observable.
        slots: names of the slots to differentiate by; they move together.
        evaluate: measures the moved circuits, given as one program with one batch axis.
        step: c, in radians.
        repeats: random directions that are averaged.
        seed: seed of the directions.
    """
    check_positive("step", step)
    check_integer("repeats", repeats, minimum=1)
    (values,) = program.members()
    draws = np.random.default_rng(seed)
    directions = {name: draws.choice((-1.0, 1.0), size=(repeats, *values[name].shape)) for name in slots}
    moved = {name: torch.from_numpy(value) for name, value in values.items()}
    for name, signs in directions.items():
        both = [values[name] + sign * step * signs for sign in (1, -1)]
        moved[name] = torch.from_numpy(np.concatenate(both))
    ahead, behind = np.split(evaluate(Program(program.circuit, moved, program.observable)), 2)
    slopes = (ahead - behind) / (2 * step)
    return {name: np.tensordot(slopes, signs, axes=1) / repeats for name, signs in directions.items()}


def with_gradient(
    value: Tensor, program: Program, evaluate: Evaluate, *, rule: str, seed: int | None = None
) -> Tensor:
    """Give a measured value a gradient by those slot values of the program that require one.

    The circuits of the gradient are only measured when ``backward`` reaches it.
    """
    tensors = {name: torch.as_tensor(tensor) for name, tensor in program.values.items()}
    names = [name for name, tensor in tensors.items() if tensor.requires_grad]
    if not names:
        return value
    batch = program.batch_shape
    inputs = [tensors[name].expand(*batch, *program.circuit.slots[name]) for name in names]

    def slopes() -> dict[str, NDArray[np.float64]]:
        rows = []
        for number, member in enumerate(program.members()):
            alone = {name: torch.from_numpy(value) for name, value in member.items()}
            one = Program(program.circuit, alone, program.observable)
            if rule == "parameter_shift":
                rows.append(parameter_shift(one, names, evaluate))
            else:
                # Directions differ between the members of a batch.
                own = int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])
                rows.append(spsa(one, names, evaluate, seed=own))
        return {name: np.stack([row[name] for row in rows]) for name in names}

    return _Measured.apply(value, slopes, names, *inputs)  # type: ignore[no-untyped-call]


class _Measured(torch.autograd.Function):
    """Passes a measured value on, and asks for its slopes when it is differentiated."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, slopes: Any, names: list[str], *inputs: Tensor) -> Tensor:
        ctx.slopes, ctx.names = slopes, names
        ctx.save_for_backward(*inputs)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (upstream,) = grads
        slopes = ctx.slopes()
        found = []
        for name, tensor in zip(ctx.names, ctx.saved_tensors, strict=True):
            slope = torch.from_numpy(slopes[name]).reshape(tensor.shape)
            weight = upstream.reshape(*upstream.shape, *[1] * (tensor.ndim - upstream.ndim))
            found.append((weight * slope.to(weight)).to(tensor))
        return (None, None, None, *found)
