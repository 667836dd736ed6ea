"""What a drive does between the steps of a solver: every Python function is sampled once over all times.

A solver that chooses its step by its own error sees a drive at the nodes of its steps only. A pulse that
falls between all of them is missed, and the error that is measured is 0. The samples tell how fine the drive
is: they are joined by straight lines over 2, 4, 8, ... gaps, and the widest lines that still show its shape
bound the step. Smooth functions pass at widths far beyond the steps that their error asks for.

A jump has no width at which it is smooth: where neighbouring samples differ by far more than those around
them, bisection finds out whether the function jumps, and where. No step may then cross it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdyn.quantum.drives import DrivenHamiltonian, Function, GaussianDrive, SampledDrive, drive_value

GAPS = 2000
# Samples are off their even places by up to a quarter of a gap: no oscillation of one period a gap hides.
_GOLDEN = (math.sqrt(5) - 1) / 2
# A straight line leaves 1/8 of a parabola's height over its own width, 1/16 of that over twice the width; a
# line that passes over a bump leaves all of it.
_SHOWN = 0.15
# What is left out may turn the state by this part of the error that is asked for.
_NEGLIGIBLE = 0.1
_LARGEST_GAPS = 512
# A difference so many times larger than those around it may be a jump; one that bisection halves is none.
_STEEP = 4.0
_NEIGHBOURS = 9
_MOST_JUMPS = 1000


@dataclass(frozen=True)
class DriveScan:
    """What the samples of all drives say.

    Attributes:
        longest_step: no step may be longer if the drives are to be seen; infinite where they are smooth.
        extremes: times at which a drive is smallest or largest.
        jumps: times at which a Python function jumps, to rounding.
    """

    longest_step: float
    extremes: tuple[float, ...]
    jumps: tuple[float, ...] = ()


def scan_drives(hamiltonian: DrivenHamiltonian, first: float, last: float, *, error: float) -> DriveScan:
    """Sample every drive between two times.

    Args:
        hamiltonian: the drives; sampled ones are straight between their breaks, and pulses know their width.
        first: where to begin, in units of 1/J.
        last: where to end.
        error: what is left out may change an amplitude by a tenth of this.

    Raises:
        ArgumentError: a drive gives no finite number.
    """
    longest, extremes, jumps = np.inf, set[float](), set[float]()
    places = np.arange(GAPS + 1.0)
    places[1:-1] += places[1:-1] * _GOLDEN % 1 / 2 - 0.25
    times = first + (last - first) / GAPS * places
    for function, part in zip(hamiltonian.functions, hamiltonian.parts[1:], strict=True):
        if isinstance(function, SampledDrive | GaussianDrive):
            moments = np.array([first, *function.breaks(first, last), last])
            values = _sample(function, moments)
        else:
            moments, values = times, _sample(function, times)
            norm = float(part.pauli_terms().coefficients.abs().sum(dim=-1).max())
            # sum |f - line| gap norm is the angle by which the state would be off.
            allowed = _NEGLIGIBLE * error * GAPS / max((last - first) * norm, 1e-300)
            heights = _jumps(function, times, values)
            jumps |= set(heights)
            smooth = values - sum(height * (times >= time) for time, height in heights.items())
            gaps = _finest_gaps(places, smooth, allowed)
            if gaps < _LARGEST_GAPS:
                longest = min(longest, gaps * (last - first) / GAPS)
        extremes |= {float(moments[values.argmin()]), float(moments[values.argmax()])}
    # Half of it: the coarser of two runs takes steps of twice the size.
    return DriveScan(longest / 2, tuple(sorted(extremes)), tuple(sorted(jumps)))


def _sample(function: Function, times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([drive_value(function, time) for time in times.tolist()])


def _jumps(function: Function, times: NDArray[np.float64], values: NDArray[np.float64]) -> dict[float, float]:
    """Where a function jumps, and by how much: several times between two samples if need be."""
    from scipy.ndimage import median_filter

    differences = np.abs(np.diff(values))
    usual = median_filter(differences, _NEIGHBOURS, mode="nearest")
    noise = 1e-9 * np.ptp(values)
    places = np.flatnonzero(differences > _STEEP * usual + noise)
    found: dict[float, float] = {}
    if len(places) > _MOST_JUMPS:
        return found
    for place in places:
        least = _STEEP * float(usual[place]) + noise
        spans = [(times[place], values[place], times[place + 1], values[place + 1])]
        while spans and len(found) < _MOST_JUMPS:
            first, before, last, after = map(float, spans.pop())
            if abs(after - before) <= least:
                continue
            low, high, at_low, at_high = first, last, before, after
            while low < (middle := (low + high) / 2) < high:
                value = drive_value(function, middle)
                if abs(value - at_low) >= abs(at_high - value):
                    high, at_high = middle, value
                else:
                    low, at_low = middle, value
            # What is steep but smooth leaves nothing between neighbouring numbers.
            if abs(at_high - at_low) > least:
                found[high] = at_high - at_low
                spans += [(first, before, low, at_low), (high, at_high, last, after)]
    return found


def _finest_gaps(places: NDArray[np.float64], values: NDArray[np.float64], allowed: float) -> int:
    """Over how many gaps straight lines may reach and still show the function wherever it matters."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    gaps = 1
    while gaps < _LARGEST_GAPS:
        wider = 2 * gaps
        nodes = np.append(np.arange(0, len(places) - 1, wider), len(places) - 1)
        left_out = np.abs(values - np.interp(places, places[nodes], values[nodes]))
        if left_out.sum() > allowed:
            reach = 4 * wider + 1
            around = maximum_filter1d(values, reach) - minimum_filter1d(values, reach)
            if left_out[left_out > _SHOWN * around].sum() > allowed:
                break
        gaps = wider
    return gaps
