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
from qdyn.quantum.circuit import Circuit
from qdyn.quantum.lowering import lower
from qdyn.quantum.program import Program

Evaluate = Callable[[list[Circuit]], NDArray[np.float64]]
"""Measures each of several bound circuits."""

RULES = ("parameter_shift", "spsa")


def parameter_shift(
    circuit: Circuit, values: dict[str, NDArray[np.float64]], evaluate: Evaluate, slots: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """The exact gradient of a measured value by the entries of some slots.

    Args:
        circuit: with slots.
        values: one array for every slot, without batch axes.
        evaluate: measures bound circuits, all of them in one call.
        slots: names of the slots to differentiate by.

    Returns:
        For each of the slots an array of its shape.

    Example: the probability cos(t/2)^2, with the parameter used in two gates of half its angle.
        >>> circuit = Circuit(q=1)
        >>> (t,) = circuit.slot("t", 1)
        >>> _ = circuit.ry(0, t / 2).ry(0, t / 2)
        >>> from qdyn.quantum.statevector import run_statevector
        >>> def probability(circuits):
        ...     return np.array([float(run_statevector(one)[0].abs() ** 2) for one in circuits])
        >>> gradient = parameter_shift(circuit, {"t": np.array([0.3])}, probability, ["t"])
        >>> bool(np.isclose(gradient["t"][0], -np.sin(0.3) / 2))
        True
    """
    others = {name: value for name, value in values.items() if name not in slots}
    lowered = lower(circuit.bind(others))
    wanted = {name: values[name] for name in slots}
    bound = lowered.bind(wanted)
    shifted: list[Circuit] = []
    owners: list[tuple[tuple[str, int, float], ...]] = []
    for place, gate in enumerate(lowered):
        if not gate.angles or not gate.angles[0].terms:
            continue
        owners.append(gate.angles[0].terms)
        for shift in (math.pi / 2, -math.pi / 2):
            moved = bound.like(bound)
            own = bound.gates[place]
            moved.gates[place] = replace(own, angles=(own.angles[0] + shift,))
            shifted.append(moved)
    gradient = {name: np.zeros(value.size) for name, value in wanted.items()}
    measured = evaluate(shifted) if shifted else np.zeros(0)
    for terms, slope in zip(owners, (measured[0::2] - measured[1::2]) / 2, strict=True):
        for name, index, coefficient in terms:
            gradient[name][index] += coefficient * slope
    return {name: gradient[name].reshape(wanted[name].shape) for name in slots}


def spsa(
    circuit: Circuit,
    values: dict[str, NDArray[np.float64]],
    evaluate: Evaluate,
    slots: Sequence[str],
    *,
    step: float = 0.05,
    repeats: int = 1,
    seed: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """A random estimate of the gradient from two circuits a repeat, right on average up to O(step^2).

    Args:
        circuit: with slots.
        values: one array for every slot, without batch axes.
        evaluate: measures bound circuits.
        slots: names of the slots to differentiate by; they move together.
        step: c, in radians.
        repeats: random directions that are averaged.
        seed: seed of the directions.
    """
    check_positive("step", step)
    check_integer("repeats", repeats, minimum=1)
    draws = np.random.default_rng(seed)
    directions = [
        {name: draws.choice((-1.0, 1.0), size=values[name].shape) for name in slots} for _ in range(repeats)
    ]
    moved = [
        circuit.bind({**values, **{name: values[name] + sign * step * d[name] for name in slots}})
        for d in directions
        for sign in (1, -1)
    ]
    measured = evaluate(moved)
    slopes = (measured[0::2] - measured[1::2]) / (2 * step)
    return {
        name: np.mean([slope * d[name] for slope, d in zip(slopes, directions, strict=True)], axis=0)
        for name in slots
    }


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
            if rule == "parameter_shift":
                rows.append(parameter_shift(program.circuit, member, evaluate, names))
            else:
                # Directions differ between the members of a batch.
                own = int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])
                rows.append(spsa(program.circuit, member, evaluate, names, seed=own))
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
            found.append((weight * slope).to(tensor.dtype))
        return (None, None, None, *found)
