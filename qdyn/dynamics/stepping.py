"""Step-by-step methods that keep an error: every evolution runs twice, with a step and with half of it.

A method of order p in the step tau leaves an error C tau^p + O(tau^{p+1}). The difference of the two runs is
then (2^p - 1) times the error of the finer one, which is the one that is returned. Where it exceeds what is
allowed, the run starts again with a smaller step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from qdyn.dynamics.methods import Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian

# The error that is measured must stay below this part of the one that is allowed.
_SAFETY = 0.5
_ATTEMPTS = 24
# Differences of amplitudes up to here may be rounding.
_NOISE = 1e-12
_MOST_STEPS = 10**7


@runtime_checkable
class Stepper(Protocol):
    """A method of fixed order that can be asked to use any number of steps."""

    order: int

    def advance(self, states: Tensor, members: slice, start: float, end: float, n_steps: int) -> Tensor:
        """The states at ``end`` from those at ``start``, (trajectories, 2**n), in equal steps."""
        ...


@dataclass(frozen=True)
class _Stretch:
    """From one time to the next; ``index`` is where the state at its end belongs, -1 for nowhere.

    Steps are measured in ``scale``.
    """

    start: float
    end: float
    index: int
    scale: float = 1.0

    def steps(self, size: float) -> int:
        return max(1, int(np.ceil(abs(self.end - self.start) / (size * self.scale) * (1 - 1e-12))))


def follow(
    problem: Problem, recorder: Recorder, stepper: Stepper, *, error: float, step: float | None = None
) -> dict[str, float]:
    """Solve ``problem`` with errors below ``error``, or with a given step and whatever error that has.

    Returns:
        the smallest step used and, unless the step was given, the largest error that was measured.
    """
    blocks = sorted({(block.start, block.stop) for block, _ in recorder.blocks(vectors=24)})
    smallest, worst = np.inf, 0.0
    for bounds in blocks:
        members = slice(*bounds)
        start = problem.initial_states[members]
        for index in np.flatnonzero(problem.times.numpy() == 0):
            recorder.put(members, slice(int(index), int(index) + 1), start[:, None])
        for sign in (-1, 1):
            stretches = _stretches(problem, sign)
            if not stretches:
                continue
            if step is not None:
                _march(recorder, stepper, members, start, stretches, step)
                size = step
            else:
                limit = problem.drive_scan.longest_step
                size, measured = _control(recorder, stepper, members, start, stretches, error, limit)
                worst = max(worst, measured)
            smallest = min(smallest, *(abs(s.end - s.start) / s.steps(size) for s in stretches))
    details = {} if not np.isfinite(smallest) else {"step": float(smallest)}
    return details if step is not None else {**details, "measured_error": worst}


def _stretches(problem: Problem, sign: int) -> list[_Stretch]:
    """The times on one side of 0 and the breaks of the drives between them, outwards."""
    times = problem.times.numpy()
    indices = np.flatnonzero(sign * times > 0)[::sign]
    if not len(indices):
        return []
    stops = {float(times[index]): int(index) for index in indices}
    last = float(times[indices[-1]])
    for time in problem.breaks(min(0.0, last), max(0.0, last)):
        stops.setdefault(time, -1)
    ordered = [0.0, *sorted(stops, key=abs)]
    driven = problem.hamiltonian if isinstance(problem.hamiltonian, DrivenHamiltonian) else None
    return [
        _Stretch(start, end, stops[end], driven.time_scale((start + end) / 2) if driven else 1.0)
        for start, end in pairwise(ordered)
    ]


def _march(  # noqa: PLR0917
    recorder: Recorder,
    stepper: Stepper,
    members: slice,
    states: Tensor,
    stretches: list[_Stretch],
    size: float,
) -> None:
    for stretch in stretches:
        states = stepper.advance(states, members, stretch.start, stretch.end, stretch.steps(size))
        _put(recorder, members, stretch, states)


def _control(  # noqa: PLR0917
    recorder: Recorder,
    stepper: Stepper,
    members: slice,
    states: Tensor,
    stretches: list[_Stretch],
    error: float,
    limit: float,
) -> tuple[float, float]:
    """Find a step that keeps ``error``, and record the states it gives; return it with its measured error.

    No step exceeds ``limit``: two runs agree as well where both have stepped across a pulse.
    """
    span = abs(stretches[-1].end)
    first = stretches[0]
    # Stored times need not stop the probe, breaks of a drive must.
    smooth = next((stretch.end for stretch in stretches if stretch.index < 0), stretches[-1].end)
    size = guess_step(stepper, members, states, first.start, first.end, span, error, smooth - first.start)
    size = min(size, limit)
    for _ in range(_ATTEMPTS):
        if span / size > _MOST_STEPS:
            break
        coarse = fine = states
        measured = 0.0
        for stretch in stretches:
            n_steps = stretch.steps(2 * size)
            coarse = stepper.advance(coarse, members, stretch.start, stretch.end, n_steps)
            fine = stepper.advance(fine, members, stretch.start, stretch.end, 2 * n_steps)
            measured = max(measured, float((coarse - fine).abs().max()) / (2**stepper.order - 1))
            if not measured <= _SAFETY * error:
                break
            _put(recorder, members, stretch, fine)
        else:
            return size, measured
        # Errors grow about linearly in time: what is there already tells what the end would hold.
        expected = measured * span / abs(stretch.end)
        shrink = (0.7 * _SAFETY * error / expected) ** (1 / stepper.order) if np.isfinite(expected) else 0.1
        size *= min(0.8, max(0.1, shrink))
    raise ArgumentError(
        f"Argument `error` is {error:g}, which steps of {size:.1e} cannot keep: the drive may not be smooth "
        "(give its kinks and steps as samples), or rounding may prevent it."
    )


def guess_step(  # noqa: PLR0917
    stepper: Stepper,
    members: slice,
    states: Tensor,
    start: float,
    end: float,
    span: float,
    error: float,
    longest: float = 0.0,
) -> float:
    """The step whose error at the end would be half of what is allowed, from a short stretch.

    Args:
        stepper: what takes the steps.
        members: which trajectories.
        states: their states at ``start``.
        start: where the stretch begins.
        end: where it ends; it is shortened where one step is no small error.
        span: how far the evolution goes.
        error: what is allowed at the end of it.
        longest: to this length the stretch may be prolonged where its error is lost in rounding.

    Returns:
        the step; ``span`` where even the longest stretch shows no error.
    """
    length, difference = end - start, np.inf
    shortened = False
    for _ in range(_ATTEMPTS):
        once = stepper.advance(states, members, start, start + length, 1)
        twice = stepper.advance(states, members, start, start + length, 2)
        difference = float((once - twice).abs().max())
        if not difference < 1e-3:
            length, shortened = length / 2, True
        elif difference < _NOISE and not shortened and abs(length) < abs(longest):
            # Rounding tells nothing of the error, and divided by a small power of length much too much.
            length = math.copysign(min(8 * abs(length), abs(longest)), length)
        else:
            break
    if difference < _NOISE and not shortened:
        return span
    # The error of a step grows like tau^{p+1}, that of all steps like tau^p.
    rate = max(difference, 1e-13) / (abs(length) ** (stepper.order + 1) * (1 - 0.5**stepper.order))
    return min(float((_SAFETY * error / (rate * span)) ** (1 / stepper.order)), span)


def _put(recorder: Recorder, members: slice, stretch: _Stretch, states: Tensor) -> None:
    if stretch.index >= 0:
        recorder.put(members, slice(stretch.index, stretch.index + 1), states[:, None])
