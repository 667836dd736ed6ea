"""Compiled Bessel functions, and how many of them a Chebyshev series needs."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from qdyn.quantum.compiling import compiled


@compiled
@no_type_check
def count_terms(arguments, tolerance):
    """For each x >= 0 the number K of terms with 2 sum_(k >= K) |J_k(x)| <= tolerance.

    By Kapteyn's inequality |J_k(k z)| <= (z exp(w) / (1 + w))^k, w = sqrt(1 - z^2), for 0 < z < 1, and
    J_(k+1) / J_k falls below z / (1 + w) (NIST Digital Library of Mathematical Functions, 10.14.8).
    """
    counts = np.empty(arguments.size, np.int64)
    for place in range(arguments.size):
        x = arguments[place]
        count = int(x) + 1
        while True:
            z = x / count
            w = math.sqrt(max(0.0, 1 - z * z))
            ratio = z / (1 + w)
            bound = 0.0 if z == 0 else math.exp(count * (math.log(ratio) + w))
            if ratio < 1 and 2 * bound <= tolerance * (1 - ratio):
                break
            count += 1
        counts[place] = count
    return counts


@compiled
@no_type_check
def bessel(arguments, n_terms):
    """J_k(x) for k = 0 ... n_terms - 1 and each x >= 0."""
    table = np.zeros((arguments.size, n_terms))
    for place in range(arguments.size):
        fill_bessel(table[place], arguments[place])
    return table


@compiled
@no_type_check
def fill_bessel(row, x):
    """row[k] = J_k(x), x >= 0, by Miller's backward recurrence."""
    n_terms = row.size
    if x < 1e-30:
        row[:] = 0
        row[0] = 1
        if n_terms > 1:
            row[1] = x / 2
        return
    top = int(max(float(n_terms), x)) + 40 + int(6 * x ** (1 / 3))
    higher, current, norm = 0.0, 1e-250, 0.0
    for order in range(top, 0, -1):
        lower = 2 * order / x * current - higher
        higher, current = current, lower
        if order - 1 < n_terms:
            row[order - 1] = current
        if order % 2 == 1:
            norm += current if order == 1 else 2 * current
        if abs(current) > 1e200:
            higher, current, norm = higher * 1e-250, current * 1e-250, norm * 1e-250
            for column in range(order - 1, n_terms):
                row[column] *= 1e-250
    for column in range(n_terms):
        row[column] /= norm
