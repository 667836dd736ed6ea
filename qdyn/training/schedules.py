"""Learning rates: a pure function of the step, so that a resumed run meets the same ones."""

from __future__ import annotations

import math

from qdyn.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    r"""The learning rate of the update that follows ``step`` completed updates.

    $$\eta(s) = \eta_{floor} + (\eta_0 - \eta_{floor}) \tfrac12 (1 + \cos(\pi s / S))$$

    for the cosine schedule of $S$ steps, and $\eta_0$ for the constant one. With ``learning_rate_every`` m,
    s is rounded down to a multiple of m.

    >>> config = TrainingConfig(steps=100, learning_rate=0.02, learning_rate_floor=0.0)
    >>> [round(learning_rate(config, step), 4) for step in (0, 50, 100)]
    [0.02, 0.01, 0.0]
    """
    if config.schedule == "constant":
        return config.learning_rate
    step = min(step, config.steps) // config.learning_rate_every * config.learning_rate_every
    fall = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return config.learning_rate_floor + (config.learning_rate - config.learning_rate_floor) * fall
