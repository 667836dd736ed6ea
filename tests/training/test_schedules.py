"""The learning rate as a function of the step."""

from __future__ import annotations

from itertools import pairwise

import pytest

from qdyn.training.config import TrainingConfig
from qdyn.training.schedules import learning_rate


def test_cosine_begins_at_the_rate_ends_at_the_floor_and_falls() -> None:
    config = TrainingConfig(steps=50, learning_rate=0.02, learning_rate_floor=0.001)
    rates = [learning_rate(config, step) for step in range(51)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[25] == pytest.approx((0.02 + 0.001) / 2)
    assert rates[50] == pytest.approx(0.001)
    assert all(later < earlier for earlier, later in pairwise(rates))


def test_constant_does_not_fall() -> None:
    config = TrainingConfig(steps=50, learning_rate=0.02, schedule="constant")
    assert {learning_rate(config, step) for step in range(100)} == {0.02}
