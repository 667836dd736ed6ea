"""Gradients of QASA's value circuit by the adjoint method, compiled; imported when it runs.

With |l> = O|f>, where O is the sum of the <Z_k> weighted with the gradients that arrive, all gates are undone
on both states, and the angle of a gate exp(-i w P / 2) has the gradient Im <l|P|f>. Nothing but the inputs is
kept between forward and backward. How amplitudes lie is said in `qdyn.attention.qasa.kernels`.
"""

# ruff: noqa: PLR0917, D417 - compiled code: no keywords.

from __future__ import annotations

from typing import no_type_check

import numpy as np

from qdyn.attention.qasa.kernels import (
    AMPLITUDES,
    ANGLES,
    DATA,
    PART,
    READ,
    ROOM,
    SMALL,
    STATE,
    STATES,
    TRIG,
    TRIG_LAYER,
    WRITE,
    exchange_spare,
    fill,
    half_state,
    run,
    spread_weights,
)
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


@compiled
@no_type_check
def _unturn(c, s, cosine, sine, re_0, im_0, re_1, im_1):
    """Undo `_turn`."""
    re, im = (
        multiply_add(cosine, re_1, multiply(sine, im_1)),
        multiply_subtract(cosine, im_1, multiply(sine, re_1)),
    )
    new_re, new_im = multiply_add(c, re_0, multiply(s, re)), multiply_add(c, im_0, multiply(s, im))
    re_1 = multiply_subtract(c, re, multiply(s, re_0))
    return new_re, new_im, re_1, multiply_subtract(c, im, multiply(s, im_0)), re, im


@compiled
@no_type_check
def _undo(work, source, target, read, write, first, second, trig, total):
    """Undo the rotation of one qubit on ket and bra; Im <bra| Y + Z |ket> is added to ``total``.

    Args:
        read: where amplitudes are taken from, (64, 4).
        write: where they are put.
        first: which of the four have the qubit in |0>.
        second: which have it in |1>.
    """
    width = line_width(work)
    c, s = load_line(work, trig * width), load_line(work, (trig + 1) * width)
    p, q = load_line(work, (trig + 2) * width), load_line(work, (trig + 3) * width)
    im, other = PART * width, STATE * width
    plus = splat_line(work.dtype.type(0.0))
    minus = plus
    for group in range(STATES // 4):
        for pair in range(2):
            low, high = first[pair], second[pair]
            at, to = (source + read[group, low]) * width, (source + read[group, high]) * width
            r0, i0, r1, i1 = (
                load_line(work, at), load_line(work, at + im), load_line(work, to), load_line(work, to + im),
            )  # fmt: skip
            at, to = at + other, to + other
            x0, y0, x1, y1 = (
                load_line(work, at), load_line(work, at + im), load_line(work, to), load_line(work, to + im),
            )  # fmt: skip
            # The values of |1> between RY and the phase; those of |0> are the same as after the phase.
            n0, m0, n1, m1, re, imaginary = _unturn(c, s, p, q, r0, i0, r1, i1)
            u0, v0, u1, v1, bra_re, bra_im = _unturn(c, s, p, q, x0, y0, x1, y1)
            plus = multiply_add(x0, i0, multiply_add(bra_im, re, plus))
            plus = multiply_add(bra_re, r0, multiply_add(bra_im, i0, plus))
            minus = multiply_add(y0, r0, multiply_add(bra_re, imaginary, minus))
            minus = multiply_add(x0, re, multiply_add(y0, imaginary, minus))
            at, to = (target + write[group, low]) * width, (target + write[group, high]) * width
            store(work, at, n0)
            store(work, at + im, m0)
            store(work, to, n1)
            store(work, to + im, m1)
            at, to = at + other, to + other
            store(work, at, u0)
            store(work, at + im, v0)
            store(work, to, u1)
            store(work, to + im, v1)
    one = splat_line(work.dtype.type(1.0))
    plus = add(plus, load_line(work, total * width))
    store(work, total * width, multiply_subtract(one, plus, minus))


_FIRST = np.array([[0, 1], [0, 2]])
_SECOND = np.array([[2, 3], [1, 3]])


@compiled
@no_type_check
def _undo_layer(work, number, branches, totals):
    """Undo it on ket and bra."""
    trig, total = TRIG + number * TRIG_LAYER, totals + number * DATA
    for branch in range(branches):
        state = 2 * branch * PART
        for step in range(3, -1, -1):
            source = ROOM if step in {0, 1} else state
            target = state if step in {0, 3} else ROOM
            read, write = READ[step], WRITE[step]
            # Where the pass wrote is where undoing it reads, and the other way round.
            at = 2 * step
            _undo(
                work, source, source, write, write, _FIRST[1], _SECOND[1],
                trig + 4 * (at + 1), total + at + 1,
            )  # fmt: skip
            _undo(work, source, target, write, read, _FIRST[0], _SECOND[0], trig + 4 * at, total + at)


@compiled
@no_type_check
def _detach(work, total):
    """Undo `_attach` on ket and bra; Im <bra| Y |ket> of the spare qubit goes to ``total``."""
    width = line_width(work)
    c, s = load_line(work, (AMPLITUDES - 4) * width), load_line(work, (AMPLITUDES - 3) * width)
    plus = splat_line(work.dtype.type(0.0))
    minus, one = plus, splat_line(work.dtype.type(1.0))
    for part in range(2):
        for x in range(STATES):
            at = (part * PART + x) * width
            to = at + 2 * PART * width
            ket_0, ket_1 = load_line(work, at), load_line(work, to)
            bra_0, bra_1 = load_line(work, at + STATE * width), load_line(work, to + STATE * width)
            plus, minus = multiply_add(bra_1, ket_0, plus), multiply_add(bra_0, ket_1, minus)
            if x & 1:
                ket = multiply_subtract(c, ket_1, multiply(s, ket_0))
                bra = multiply_subtract(c, bra_1, multiply(s, bra_0))
            else:
                ket = multiply_add(c, ket_0, multiply(s, ket_1))
                bra = multiply_add(c, bra_0, multiply(s, bra_1))
            store(work, at, ket)
            store(work, at + STATE * width, bra)
    store(work, total * width, multiply_subtract(one, plus, minus))


@compiled
@no_type_check
def gradients(qubits, trig, owner_rows, arriving, by_qubit, by_angle, work):
    """Gradients with respect to the amplitudes of the qubits and to the angles.

    Args:
        arriving: gradients with respect to <Z_0> … <Z_7>, (inputs, 8).
        by_qubit: to be filled, as ``qubits``.
        by_angle: to be added to, (models, ANGLES).
    """
    width = line_width(work)
    zero = splat_line(work.dtype.type(0.0))
    totals = SMALL + 64
    for start in range(0, qubits.shape[0], width):
        fill(work, qubits, trig, start, owner_rows)
        run(work)
        count = min(width, qubits.shape[0] - start)
        spread_weights(work, SMALL, start, arriving)
        for first in range(16):
            high = load_line(work, (SMALL + first) * width)
            for rest in range(16):
                weight = add(high, load_line(work, (SMALL + 16 + rest) * width))
                for part in range(4):
                    at = (part * PART + 16 * first + rest) * width
                    store(work, at + STATE * width, multiply(weight, load_line(work, at)))
        for angle in range(ANGLES):
            store(work, (totals + angle) * width, zero)
        _undo_layer(work, 2, 2, totals)
        exchange_spare(work, 0)
        exchange_spare(work, STATE)
        _undo_layer(work, 1, 2, totals)
        _detach(work, totals + ANGLES - 1)
        _undo_layer(work, 0, 1, totals)
        for lane in range(count):
            owner = (start + lane) // owner_rows
            for angle in range(ANGLES):
                by_angle[owner, angle] += work[(totals + angle) * width + lane]
        _to_qubits(work, by_qubit, start, count)


@compiled
@no_type_check
def _to_qubits(work, by_qubit, start, count):
    """2 Re of <bra| with all qubits but one contracted, and -2 Im of it."""
    width = line_width(work)
    zero, im = splat_line(work.dtype.type(0.0)), PART * width
    two = splat_line(work.dtype.type(2.0))
    half_state(work, 0, SMALL)
    half_state(work, 4, SMALL + 32)
    # <bra| contracted with the other half: of the first four qubits from SMALL + 64 on, then of the others.
    for number in range(64, 128):
        store(work, (SMALL + number) * width, zero)
    for first in range(16):
        a = load_line(work, (SMALL + 2 * first) * width)
        b = load_line(work, (SMALL + 2 * first + 1) * width)
        u, v = zero, zero
        for rest in range(16):
            at = (STATE + 16 * first + rest) * width
            re, minus = load_line(work, at), load_line(work, at + im)
            at = (SMALL + 32 + 2 * rest) * width
            x, y = load_line(work, at), load_line(work, at + width)
            # (re - i minus)(x + i y)
            u, v = multiply_add(re, x, multiply_add(minus, y, u)), multiply_add(re, y, v)
            v = multiply_subtract(splat_line(work.dtype.type(1.0)), v, multiply(minus, x))
            at = (SMALL + 96 + 2 * rest) * width
            total = multiply_add(re, a, multiply_add(minus, b, load_line(work, at)))
            store(work, at, total)
            total = multiply_add(re, b, load_line(work, at + width))
            store(
                work,
                at + width,
                multiply_subtract(splat_line(work.dtype.type(1.0)), total, multiply(minus, a)),
            )
        store(work, (SMALL + 64 + 2 * first) * width, u)
        store(work, (SMALL + 64 + 2 * first + 1) * width, v)
    for qubit in range(DATA):
        half, place = qubit // 4, qubit % 4
        for value in range(2):
            re, minus = zero, zero
            for number in range(16):
                if (number >> (3 - place) & 1) == value:
                    at = (SMALL + 64 + 32 * half + 2 * number) * width
                    u, v = load_line(work, at), load_line(work, at + width)
                    for other in range(4):
                        if other != place:
                            bit = number >> (3 - other) & 1
                            at = (AMPLITUDES + 4 * (4 * half + other) + 2 * bit) * width
                            x, y = load_line(work, at), load_line(work, at + width)
                            u, v = multiply_subtract(u, x, multiply(v, y)), multiply_add(u, y, multiply(v, x))
                    re, minus = add(re, u), add(minus, v)
            store(work, SMALL * width, multiply(two, re))
            store(work, (SMALL + 1) * width, multiply(two, minus))
            for lane in range(count):
                by_qubit[start + lane, 4 * qubit + 2 * value] = work[SMALL * width + lane]
                by_qubit[start + lane, 4 * qubit + 2 * value + 1] = -work[(SMALL + 1) * width + lane]
