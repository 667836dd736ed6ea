"""Looking over the shoulder of a run: hooks, a way to stop it, and the progress display."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm


class StopRun(Exception):  # noqa: N818 - a request, not an error; the name NetKet's users know
    """Raised by a callback to end training after the present step; the run keeps its weights.

    Args:
        reason: Recorded in ``run.json``.
    """

    def __init__(self, reason: str = "stopped by a callback") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Progress:
    """What a callback is told.

    Attributes:
        step: Updates done, counted from the start of the run.
        steps: Updates in all.
        seeds: The seed of each member.
        learning_rate: Of the update just done.
        loss: (seeds,) loss of the mini-batch of that update.
        seconds: Training time so far, interruptions left out.
        validation: metric name -> (seeds,) where this step was evaluated.
    """

    step: int
    steps: int
    seeds: tuple[int, ...]
    learning_rate: float
    loss: np.ndarray
    seconds: float
    validation: Mapping[str, np.ndarray] | None = None

    def of_members(self, members: slice) -> Progress:
        """What concerns some of the members alone."""
        found = self.validation and {name: values[members] for name, values in self.validation.items()}
        return replace(self, seeds=self.seeds[members], loss=self.loss[members], validation=found)


class Callback:
    """Hooks into a run; subclass it and override what you need.

    A hook may raise `StopRun`. It must not change the model: a resumed run would not repeat the change.
    """

    def on_start(self, step: int, steps: int) -> None:
        """Training begins, or goes on, after ``step`` updates."""

    def on_step_end(self, progress: Progress) -> None:
        """An update is done."""

    def on_evaluate(self, progress: Progress) -> None:
        """An update is done and the validation split has been evaluated; comes before ``on_step_end``."""

    def on_end(self) -> None:
        """Training is over, whether it finished, was stopped or failed."""


class ProgressDisplay(Callback):
    """A bar with the time left on a terminal; elsewhere nothing, or a line every tenth where ``forced``."""

    def __init__(self, label: str, *, forced: bool = False) -> None:
        self._label = label
        self._forced = forced
        self._bar: tqdm[Any] | None = None
        self._every = 1
        self._validation = ""

    def on_start(self, step: int, steps: int) -> None:
        """Open the bar."""
        self._every = max(1, steps // 10)
        if sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, desc=self._label, unit="step", dynamic_ncols=True)

    def on_evaluate(self, progress: Progress) -> None:
        """Keep the validation figures for the next line."""
        self._validation = "".join(
            f", validation {name} {_mean_and_spread(values)}"
            for name, values in (progress.validation or {}).items()
        )

    def on_step_end(self, progress: Progress) -> None:
        """Move the bar, or write a line where one is due."""
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"loss {_mean_and_spread(progress.loss)}{self._validation}", refresh=False
            )
            self._bar.update()
        elif progress.step % self._every == 0 or progress.step == progress.steps:
            self.say(
                f"{self._label}: step {progress.step} of {progress.steps}, {progress.seconds:.0f} s, "
                f"loss {_mean_and_spread(progress.loss)}{self._validation}"
            )

    def on_end(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, line: str) -> None:
        """Show one line."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._forced or sys.stderr.isatty():
            print(line, file=sys.stderr, flush=True)


def _mean_and_spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f}±{values.std():.3f}" if values.size > 1 else f"{values.mean():.3f}"
