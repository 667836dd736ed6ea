"""Diagnostics against hand-computed values and random draws."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from qdyn.attention.qsa.diagnostics import (
    advantage_threshold,
    chance_loss_1,
    participation,
    shots_for_precision,
)
from qdyn.errors import ArgumentError


@pytest.mark.parametrize("field", ["complex", "real"])
def test_chance_level_is_the_mean_over_random_directions(field: str) -> None:
    generator = np.random.default_rng(0)
    shape = (200_000, 16)
    vectors = generator.normal(size=shape) + (1j * generator.normal(size=shape) if field == "complex" else 0)
    fidelity = np.abs(vectors[:, 0]) ** 2 / (np.abs(vectors) ** 2).sum(axis=1)
    losses = -np.log(fidelity)
    error = losses.std() / math.sqrt(len(losses))
    assert abs(losses.mean() - chance_loss_1(16, field=field)) < 5 * error


def test_chance_level_of_four_qubits_is_the_published_one() -> None:
    assert chance_loss_1(16) == pytest.approx(3.32, abs=0.005)


def test_participation_counts_what_is_attended_to() -> None:
    rows = torch.tensor([[1j, 1.0, -1.0, 0], [0, 5, 0, 0], [0, 0, 0, 0], [3, 1, 0, 0]])
    torch.testing.assert_close(participation(rows), torch.tensor([3, 1, 0, 1.6]))


def test_advantage_threshold() -> None:
    assert advantage_threshold(1, 16) == pytest.approx(4 / 16)
    assert advantage_threshold(2, 4) == pytest.approx(4 * 2 / 10)


def test_shots_estimate_the_loss_to_the_precision_asked_for() -> None:
    mu, fidelity = 0.02, 0.7
    shots = round(shots_for_precision(mu, relative_precision=0.05, fidelity=fidelity))
    counts = np.random.default_rng(0).binomial(shots, mu, size=20_000)
    deviation = np.log(counts / shots).std() / -math.log(fidelity)
    assert deviation == pytest.approx(0.05, rel=0.03)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chance_loss_1(0), "`dimension` must be an integer >= 1"),
        (lambda: chance_loss_1(2, field="quaternion"), "`field` is 'quaternion', which is unknown"),
        (
            lambda: shots_for_precision(1.5, relative_precision=0.1, fidelity=0.5),
            r"`mu` must lie in \(0, 1\], but is 1.5",
        ),
        (
            lambda: shots_for_precision(0.5, relative_precision=0.1, fidelity=1.0),
            r"`fidelity` must lie in \(0, 1\), but is 1.0",
        ),
        (lambda: shots_for_precision(0.5, relative_precision=0.0, fidelity=0.5), "`relative_precision`"),
    ],
)
def test_what_is_out_of_range_is_named(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
