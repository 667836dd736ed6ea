"""What a drive does between the steps of a solver: every Python function is sampled once over all times.

A solver that chooses its step by its own error sees a drive at the nodes of its steps only. A pulse that
falls between all of them is missed, and the error that is measured is 0. The samples tell how fine the drive
is: they are joined by straight lines over 2, 4, 8, ... gaps, and the widest lines that still show its shape
bound the step. Smooth functions pass at widths far beyond the steps that their error asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qdyn.quantum.drives import DrivenHamiltonian, Function, SampledDrive, drive_value

GAPS = 2000
# Samples are off their even places by up to a quarter of a gap: no oscillation of one period a gap hides.
_GOLDEN = (math.sqrt(5) - 1) / 2
# A straight line leaves 1/8 of a parabola's height over its own width, 1/16 of that over twice the width; a
# line that passes over a bump leaves all of it.
_SHOWN = 0.15
# What is left out may turn the state by this part of the error that is asked for.
_NEGLIGIBLE = 0.1
_LARGEST_GAPS = 512


@dataclass(frozen=True)
class DriveScan:
    """What the samples of all drives say.

    Attributes:
        longest_step: no step may be longer if the drives are to be seen; infinite where they are smooth.
        extremes: times at which a drive is smallest or largest.
    """

    longest_step: float
    extremes: tuple[float, ...]


def scan_drives(hamiltonian: DrivenHamiltonian, first: float, last: float, *, error: float) -> DriveScan:
    """Sample every drive between two times.

    Args:
        hamiltonian: the drives; sampled ones are straight between their breaks and need no look.
        first: where to begin, in units of 1/J.
        last: where to end.
        error: what is left out may change an amplitude by a tenth of this.

    Raises:
        ArgumentError: a drive gives no finite number.
    """
    longest, extremes = np.inf, set[float]()
    places = np.arange(GAPS + 1.0)
    places[1:-1] += places[1:-1] * _GOLDEN % 1 / 2 - 0.25
    times = first + (last - first) / GAPS * places
    for function, part in zip(hamiltonian.functions, hamiltonian.parts[1:], strict=True):
        if isinstance(function, SampledDrive):
            moments = np.array([first, *function.breaks(first, last), last])
            values = _sample(function, moments)
        else:
            moments, values = times, _sample(function, times)
            norm = float(part.pauli_terms().coefficients.abs().sum(dim=-1).max())
            # sum |f - line| gap norm is the angle by which the state would be off.
            allowed = _NEGLIGIBLE * error * GAPS / max((last - first) * norm, 1e-300)
            gaps = _finest_gaps(places, values, allowed)
            if gaps < _LARGEST_GAPS:
                longest = min(longest, gaps * (last - first) / GAPS)
        extremes |= {float(moments[values.argmin()]), float(moments[values.argmax()])}
    # Half of it: the coarser of two runs takes steps of twice the size.
    return DriveScan(longest / 2, tuple(sorted(extremes)))


def _sample(function: Function, times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([drive_value(function, time) for time in times.tolist()])


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
