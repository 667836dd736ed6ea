"""QASA's value circuit compiled: many inputs side by side in the lanes of a register; imported when it runs.

Amplitude x of a block of inputs takes as many neighbouring floats as a register holds, one an input, so that
no gate depends on where the qubit stands. A layer is four passes of two rotations each; its CNOTs are the
order in which amplitudes are read. An RZ may be diag(1, e^{iw}): the phase that is missing is common to all
amplitudes.
"""

# ruff: noqa: PLR0917 - compiled code: no keywords.

from __future__ import annotations

from typing import no_type_check

import numpy as np

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

DATA = 8
STATES = 2**DATA
LAYERS = 3
ANGLES = LAYERS * DATA + 1
"""Those of the layers, then that of the spare qubit; each has four numbers, see `expectations`."""

# Amplitudes between the parts of a state: a power of two apart, they would share cache sets.
PART = STATES + 3
# Real and imaginary part of both values of the spare qubit; then room for one value of it.
STATE = 6 * PART
ROOM = 4 * PART
WORKSPACE = 2 * STATE + ANGLES * 4 + 2 * DATA * 2 + 160
"""Numbers an input that a kernel works with."""
TRIG = 2 * STATE
AMPLITUDES = TRIG + ANGLES * 4
SMALL = AMPLITUDES + 2 * DATA * 2


def _passes() -> tuple[np.ndarray, np.ndarray]:
    """Where each pass reads and writes: (4, 64, 4), groups of the values 00, 01, 10, 11 of its two qubits."""
    write = np.empty((4, STATES // 4, 4), dtype=np.int64)
    for number in range(4):
        bits = [1 << (DATA - 1 - qubit) for qubit in (2 * number, 2 * number + 1)]
        rest = [x for x in range(STATES) if not x & sum(bits)]
        for value in range(4):
            write[number, :, value] = np.array(rest) + bits[0] * (value >> 1) + bits[1] * (value & 1)
    read = write.copy()
    # CNOTs from each qubit to the next: |x> becomes its parities |x_0, x_0 + x_1, ...>.
    read[0] ^= read[0] >> 1
    # CNOT from the last qubit to the first, after the rotations of the first four.
    read[2] ^= (read[2] & 1) << (DATA - 1)
    return read, write


READ, WRITE = _passes()
TRIG_LAYER = 4 * DATA


@compiled
@no_type_check
def _turn(c, s, cosine, sine, re_0, im_0, re_1, im_1):
    """RY, then the phase, on the amplitudes of |0> and |1>."""
    new_re = multiply_subtract(c, re_0, multiply(s, re_1))
    new_im = multiply_subtract(c, im_0, multiply(s, im_1))
    re_1, im_1 = multiply_add(s, re_0, multiply(c, re_1)), multiply_add(s, im_0, multiply(c, im_1))
    turned_re = multiply_subtract(cosine, re_1, multiply(sine, im_1))
    return new_re, new_im, turned_re, multiply_add(cosine, im_1, multiply(sine, re_1))


@compiled
@no_type_check
def _pass(work, number, source, target, trig):
    """Pass ``number`` of a layer on one value of the spare qubit."""
    width = line_width(work)
    ca, sa = load_line(work, trig * width), load_line(work, (trig + 1) * width)
    pa, qa = load_line(work, (trig + 2) * width), load_line(work, (trig + 3) * width)
    cb, sb = load_line(work, (trig + 4) * width), load_line(work, (trig + 5) * width)
    pb, qb = load_line(work, (trig + 6) * width), load_line(work, (trig + 7) * width)
    im = PART * width
    for group in range(STATES // 4):
        at = (source + READ[number, group, 0]) * width
        r0, i0 = load_line(work, at), load_line(work, at + im)
        at = (source + READ[number, group, 1]) * width
        r1, i1 = load_line(work, at), load_line(work, at + im)
        at = (source + READ[number, group, 2]) * width
        r2, i2 = load_line(work, at), load_line(work, at + im)
        at = (source + READ[number, group, 3]) * width
        r3, i3 = load_line(work, at), load_line(work, at + im)
        r0, i0, r2, i2 = _turn(ca, sa, pa, qa, r0, i0, r2, i2)
        r1, i1, r3, i3 = _turn(ca, sa, pa, qa, r1, i1, r3, i3)
        r0, i0, r1, i1 = _turn(cb, sb, pb, qb, r0, i0, r1, i1)
        r2, i2, r3, i3 = _turn(cb, sb, pb, qb, r2, i2, r3, i3)
        at = (target + WRITE[number, group, 0]) * width
        store(work, at, r0)
        store(work, at + im, i0)
        at = (target + WRITE[number, group, 1]) * width
        store(work, at, r1)
        store(work, at + im, i1)
        at = (target + WRITE[number, group, 2]) * width
        store(work, at, r2)
        store(work, at + im, i2)
        at = (target + WRITE[number, group, 3]) * width
        store(work, at, r3)
        store(work, at + im, i3)


@compiled
@no_type_check
def _layer(work, number, branches):
    """Layer ``number`` from 0 on the first ``branches`` values of the spare qubit."""
    trig = TRIG + number * TRIG_LAYER
    for branch in range(branches):
        state = 2 * branch * PART
        _pass(work, 0, state, ROOM, trig)
        _pass(work, 1, ROOM, ROOM, trig + 8)
        _pass(work, 2, ROOM, state, trig + 16)
        _pass(work, 3, state, state, trig + 24)


@compiled
@no_type_check
def exchange_spare(work, state):
    """CNOT from qubit 7 to the spare qubit."""
    width = line_width(work)
    for part in range(2):
        for x in range(1, STATES, 2):
            at = (state + part * PART + x) * width
            to = at + 2 * PART * width
            here, there = load_line(work, at), load_line(work, to)
            store(work, at, there)
            store(work, to, here)


@compiled
@no_type_check
def _attach(work):
    """The spare qubit: CNOT from qubit 7, then RY."""
    width = line_width(work)
    c, s = load_line(work, (AMPLITUDES - 4) * width), load_line(work, (AMPLITUDES - 3) * width)
    zero = splat_line(work.dtype.type(0.0))
    for part in range(2):
        for x in range(STATES):
            at = (part * PART + x) * width
            to = at + 2 * PART * width
            value = load_line(work, at)
            if x & 1:
                store(work, at, multiply_subtract(zero, zero, multiply(s, value)))
                store(work, to, multiply(c, value))
            else:
                store(work, at, multiply(c, value))
                store(work, to, multiply(s, value))


@compiled
@no_type_check
def half_state(work, first, target):
    """The product of the four qubits from ``first`` on, 16 amplitudes from ``target`` on."""
    width = line_width(work)
    for number in range(16):
        at = (AMPLITUDES + 4 * first + 2 * (number >> 3)) * width
        re, im = load_line(work, at), load_line(work, at + width)
        for place in range(1, 4):
            at = (AMPLITUDES + 4 * (first + place) + 2 * (number >> (3 - place) & 1)) * width
            x, y = load_line(work, at), load_line(work, at + width)
            re, im = multiply_subtract(re, x, multiply(im, y)), multiply_add(re, y, multiply(im, x))
        store(work, (target + 2 * number) * width, re)
        store(work, (target + 2 * number + 1) * width, im)


@compiled
@no_type_check
def fill(work, qubits, trig, start, owner_rows):
    """Put inputs ``start`` and following, and the angles of the models that they belong to, into lanes."""
    width = line_width(work)
    rows = qubits.shape[0]
    for lane in range(width):
        row = min(start + lane, rows - 1)
        owner = row // owner_rows
        for angle in range(ANGLES):
            for number in range(4):
                work[(TRIG + 4 * angle + number) * width + lane] = trig[owner, angle, number]
        for number in range(4 * DATA):
            work[(AMPLITUDES + number) * width + lane] = qubits[row, number]
    half_state(work, 0, SMALL)
    half_state(work, 4, SMALL + 32)
    im = PART * width
    for first in range(16):
        at = (SMALL + 2 * first) * width
        a, b = load_line(work, at), load_line(work, at + width)
        for rest in range(16):
            at = (SMALL + 32 + 2 * rest) * width
            x, y = load_line(work, at), load_line(work, at + width)
            at = (16 * first + rest) * width
            store(work, at, multiply_subtract(a, x, multiply(b, y)))
            store(work, at + im, multiply_add(a, y, multiply(b, x)))


@compiled
@no_type_check
def run(work):
    """From the product state to the state that is read."""
    _layer(work, 0, 1)
    _attach(work)
    _layer(work, 1, 2)
    exchange_spare(work, 0)
    _layer(work, 2, 2)


@compiled
@no_type_check
def read_out(work, small, start, found):
    """<Z_0> … <Z_7> of the circuits in lanes, from the probabilities of either half from ``small`` on."""
    width = line_width(work)
    for lane in range(min(width, found.shape[0] - start)):
        for qubit in range(DATA):
            value = work.dtype.type(0.0)
            for number in range(16):
                one = work[(small + 16 * (qubit // 4) + number) * width + lane]
                value += -one if number >> (3 - qubit % 4) & 1 else one
            found[start + lane, qubit] = value


@compiled
@no_type_check
def spread_weights(work, small, start, arriving):
    """What the <Z> of either half weigh in each of its basis states, from ``small`` on; 0 in spare lanes."""
    width = line_width(work)
    for number in range(32):
        for lane in range(width):
            value = work.dtype.type(0.0)
            if start + lane < arriving.shape[0]:
                for place in range(4):
                    one = arriving[start + lane, 4 * (number // 16) + place]
                    value += -one if number >> (3 - place) & 1 else one
            work[(small + number) * width + lane] = value


@compiled
@no_type_check
def expectations(qubits, trig, owner_rows, found, work):
    """<Z_0> … <Z_7> from qubits in product states.

    Args:
        qubits: (inputs, 32): real and imaginary part of the amplitudes of |0> and |1> of each qubit.
        trig: (models, ANGLES, 4): cos(w/2), sin(w/2), cos w, sin w.
        owner_rows: inputs of each model, one after the other.
        found: to be filled, (inputs, 8).
        work: workspace, WORKSPACE lines.
    """
    width = line_width(work)
    zero = splat_line(work.dtype.type(0.0))
    for start in range(0, qubits.shape[0], width):
        fill(work, qubits, trig, start, owner_rows)
        run(work)
        for number in range(16):
            store(work, (SMALL + 16 + number) * width, zero)
        for first in range(16):
            total = zero
            for rest in range(16):
                probability = zero
                for part in range(4):
                    value = load_line(work, (part * PART + 16 * first + rest) * width)
                    probability = multiply_add(value, value, probability)
                total = add(total, probability)
                at = (SMALL + 16 + rest) * width
                store(work, at, add(load_line(work, at), probability))
            store(work, (SMALL + first) * width, total)
        read_out(work, SMALL, start, found)
