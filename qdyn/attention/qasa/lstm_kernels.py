"""The circuit of a gate of QLSTM compiled: many circuits side by side in the lanes of a register.

All amplitudes are real. A line holds one amplitude of as many circuits as a register has lanes. CNOTs move
nothing: they change where an amplitude is looked for, which is known beforehand for every layer, so that all
rotations work in place. Gradients come from the adjoint method as in `qdyn.attention.qasa.gradient_kernels`:
with |l> = O|f> the angle of RY has the gradient <l| -iY |f>, wherever in the circuit both states are.
Imported when it runs.
"""

# ruff: noqa: PLR0917, D417 - compiled code: no keywords.

from __future__ import annotations

from typing import no_type_check

import numpy as np

from qdyn.attention.qasa.kernels import read_out, spread_weights
from qdyn.quantum.compiling import compiled
from qdyn.quantum.vectors import (
    add,
    line_width,
    load_line,
    multiply,
    multiply_add,
    multiply_subtract,
    splat_line,
    store,
)

QUBITS = 8
STATES = 2**QUBITS
LAYERS = 4
ANGLES = LAYERS * QUBITS
CNOTS = ((0, 1), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6))
"""Control and target of each, in the order of a layer."""

# |f> and |l>; a power of two apart, they would share cache sets.
OTHER = STATES + 3
TRIG = 2 * OTHER
"""Cosine and sine of half of every angle: those of the layers, then those of the inputs."""
SMALL = TRIG + 2 * (ANGLES + QUBITS)
TOTALS = SMALL + 32
WORKSPACE = TOTALS + ANGLES + QUBITS


def _places() -> tuple[np.ndarray, np.ndarray]:
    """Where amplitudes are: those 00, 01, 10, 11 of qubits 2p and 2p + 1 in each layer; all in the end."""
    index = np.arange(STATES)
    before = index.copy()
    for control, target in reversed(CNOTS):
        before ^= (before >> (QUBITS - 1 - control) & 1) << (QUBITS - 1 - target)
    place, layers = index, []
    for _ in range(LAYERS):
        place = place[before]
        groups = []
        for first in range(0, QUBITS, 2):
            high, low = 1 << (QUBITS - 1 - first), 1 << (QUBITS - 2 - first)
            rest = index[index & (high | low) == 0]
            groups.append(place[np.stack([rest, rest + low, rest + high, rest + high + low], axis=-1)])
        layers.append(np.stack(groups))
    return np.stack(layers).astype(np.int32), place.astype(np.int32)


PLACES, LAST = _places()


@compiled
@no_type_check
def _rotate(work, layer, pair):
    """RY on the qubits 2 pair and 2 pair + 1."""
    width = line_width(work)
    trig = TRIG + 2 * (QUBITS * layer + 2 * pair)
    c, s = load_line(work, trig * width), load_line(work, (trig + 1) * width)
    p, q = load_line(work, (trig + 2) * width), load_line(work, (trig + 3) * width)
    for group in range(STATES // 4):
        at_0, at_1 = PLACES[layer, pair, group, 0] * width, PLACES[layer, pair, group, 1] * width
        at_2, at_3 = PLACES[layer, pair, group, 2] * width, PLACES[layer, pair, group, 3] * width
        a_0, a_1, a_2, a_3 = (
            load_line(work, at_0), load_line(work, at_1), load_line(work, at_2), load_line(work, at_3)
        )  # fmt: skip
        a_0, a_2 = multiply_subtract(c, a_0, multiply(s, a_2)), multiply_add(s, a_0, multiply(c, a_2))
        a_1, a_3 = multiply_subtract(c, a_1, multiply(s, a_3)), multiply_add(s, a_1, multiply(c, a_3))
        store(work, at_0, multiply_subtract(p, a_0, multiply(q, a_1)))
        store(work, at_1, multiply_add(q, a_0, multiply(p, a_1)))
        store(work, at_2, multiply_subtract(p, a_2, multiply(q, a_3)))
        store(work, at_3, multiply_add(q, a_2, multiply(p, a_3)))


@compiled
@no_type_check
def _fill(work, inputs, weights, gates, batch, start):
    """Put circuits ``start`` and following into lanes: their angles, their states before the first CNOT."""
    width = line_width(work)
    circuits = weights.shape[0] * batch
    for lane in range(width):
        circuit = min(start + lane, circuits - 1)
        owner = circuit // batch
        row = owner // gates * batch + circuit % batch
        for number in range(2 * ANGLES):
            work[(TRIG + number) * width + lane] = weights[owner, number]
        for number in range(2 * QUBITS):
            work[(TRIG + 2 * ANGLES + number) * width + lane] = inputs[row, number]
    for half in range(2):
        first = TRIG + 2 * ANGLES + half * QUBITS
        for number in range(16):
            value = load_line(work, (first + (number >> 3)) * width)
            for place in range(1, 4):
                at = first + 2 * place + (number >> (3 - place) & 1)
                value = multiply(value, load_line(work, at * width))
            store(work, (SMALL + 16 * half + number) * width, value)
    for x in range(STATES):
        high = load_line(work, (SMALL + (x >> 4)) * width)
        store(work, x * width, multiply(high, load_line(work, (SMALL + 16 + (x & 15)) * width)))


@compiled
@no_type_check
def _run(work):
    for layer in range(LAYERS):
        for pair in range(QUBITS // 2):
            _rotate(work, layer, pair)


@compiled
@no_type_check
def expectations(inputs, weights, gates, batch, found, work):
    """<Z_0> … <Z_7> of every circuit.

    Args:
        inputs: (models * batch, 16): cosine and sine of (v + pi/2) / 2 for each qubit.
        weights: (models * gates, 64): cosine and sine of w / 2, layer by layer.
        gates: circuits that share an input.
        batch: inputs of a model.
        found: to be filled, (models * gates * batch, 8).
        work: workspace, WORKSPACE lines.
    """
    width = line_width(work)
    zero = splat_line(work.dtype.type(0.0))
    for start in range(0, found.shape[0], width):
        _fill(work, inputs, weights, gates, batch, start)
        _run(work)
        for number in range(32):
            store(work, (SMALL + number) * width, zero)
        for x in range(STATES):
            value = load_line(work, LAST[x] * width)
            for at in ((SMALL + (x >> 4)) * width, (SMALL + 16 + (x & 15)) * width):
                store(work, at, multiply_add(value, value, load_line(work, at)))
        read_out(work, SMALL, start, found)


@compiled
@no_type_check
def _undo(work, layer, pair):
    """Undo `_rotate` on both states, and add what its two angles get to their totals."""
    width = line_width(work)
    angle = QUBITS * layer + 2 * pair
    trig = TRIG + 2 * angle
    c, s = load_line(work, trig * width), load_line(work, (trig + 1) * width)
    p, q = load_line(work, (trig + 2) * width), load_line(work, (trig + 3) * width)
    other = OTHER * width
    one, zero = splat_line(work.dtype.type(1.0)), splat_line(work.dtype.type(0.0))
    plus_a, minus_a, plus_b, minus_b = zero, zero, zero, zero
    for group in range(STATES // 4):
        at_0, at_1 = PLACES[layer, pair, group, 0] * width, PLACES[layer, pair, group, 1] * width
        at_2, at_3 = PLACES[layer, pair, group, 2] * width, PLACES[layer, pair, group, 3] * width
        a_0, a_1, a_2, a_3 = (
            load_line(work, at_0), load_line(work, at_1), load_line(work, at_2), load_line(work, at_3)
        )  # fmt: skip
        b_0, b_1, b_2, b_3 = (
            load_line(work, at_0 + other), load_line(work, at_1 + other),
            load_line(work, at_2 + other), load_line(work, at_3 + other),
        )  # fmt: skip
        # All rotations of a layer commute: both totals may be taken before either is undone.
        plus_a = multiply_add(b_2, a_0, multiply_add(b_3, a_1, plus_a))
        minus_a = multiply_add(b_0, a_2, multiply_add(b_1, a_3, minus_a))
        plus_b = multiply_add(b_1, a_0, multiply_add(b_3, a_2, plus_b))
        minus_b = multiply_add(b_0, a_1, multiply_add(b_2, a_3, minus_b))
        a_0, a_2 = multiply_add(c, a_0, multiply(s, a_2)), multiply_subtract(c, a_2, multiply(s, a_0))
        a_1, a_3 = multiply_add(c, a_1, multiply(s, a_3)), multiply_subtract(c, a_3, multiply(s, a_1))
        b_0, b_2 = multiply_add(c, b_0, multiply(s, b_2)), multiply_subtract(c, b_2, multiply(s, b_0))
        b_1, b_3 = multiply_add(c, b_1, multiply(s, b_3)), multiply_subtract(c, b_3, multiply(s, b_1))
        store(work, at_0, multiply_add(p, a_0, multiply(q, a_1)))
        store(work, at_1, multiply_subtract(p, a_1, multiply(q, a_0)))
        store(work, at_2, multiply_add(p, a_2, multiply(q, a_3)))
        store(work, at_3, multiply_subtract(p, a_3, multiply(q, a_2)))
        store(work, at_0 + other, multiply_add(p, b_0, multiply(q, b_1)))
        store(work, at_1 + other, multiply_subtract(p, b_1, multiply(q, b_0)))
        store(work, at_2 + other, multiply_add(p, b_2, multiply(q, b_3)))
        store(work, at_3 + other, multiply_subtract(p, b_3, multiply(q, b_2)))
    store(work, (TOTALS + angle) * width, multiply_subtract(one, plus_a, minus_a))
    store(work, (TOTALS + angle + 1) * width, multiply_subtract(one, plus_b, minus_b))


@compiled
@no_type_check
def _to_inputs(work):
    """What the angles of the inputs get, from both states before the first CNOT."""
    width = line_width(work)
    one, zero = splat_line(work.dtype.type(1.0)), splat_line(work.dtype.type(0.0))
    for qubit in range(QUBITS):
        bit = 1 << (QUBITS - 1 - qubit)
        plus, minus = zero, zero
        for x in range(STATES):
            if not x & bit:
                low, high = x * width, (x + bit) * width
                other = OTHER * width
                plus = multiply_add(load_line(work, high + other), load_line(work, low), plus)
                minus = multiply_add(load_line(work, low + other), load_line(work, high), minus)
        store(work, (TOTALS + ANGLES + qubit) * width, multiply_subtract(one, plus, minus))


@compiled
@no_type_check
def gradients(inputs, weights, gates, batch, arriving, by_input, by_weight, work):
    """Gradients with respect to all angles; the first arguments are those of `expectations`.

    Args:
        arriving: gradients with respect to <Z_0> … <Z_7>, (models * gates * batch, 8).
        by_input: to be added to, (models * batch, 8).
        by_weight: to be added to, (models * gates, 32).
    """
    width = line_width(work)
    for start in range(0, arriving.shape[0], width):
        _fill(work, inputs, weights, gates, batch, start)
        _run(work)
        count = min(width, arriving.shape[0] - start)
        spread_weights(work, SMALL, start, arriving)
        for x in range(STATES):
            at = LAST[x] * width
            high, low = (
                load_line(work, (SMALL + (x >> 4)) * width),
                load_line(work, (SMALL + 16 + (x & 15)) * width),
            )
            store(work, at + OTHER * width, multiply(add(high, low), load_line(work, at)))
        for layer in range(LAYERS - 1, -1, -1):
            for pair in range(QUBITS // 2):
                _undo(work, layer, pair)
        _to_inputs(work)
        for lane in range(count):
            owner = (start + lane) // batch
            for angle in range(ANGLES):
                by_weight[owner, angle] += work[(TOTALS + angle) * width + lane]
            row = owner // gates * batch + (start + lane) % batch
            for qubit in range(QUBITS):
                by_input[row, qubit] += work[(TOTALS + ANGLES + qubit) * width + lane]
