"""Higher-order DMD: exact on sums of exponentials, bounded where asked, with one delay the ordinary one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines.higher_order_dmd import HigherOrderDMD
from qdyn.models.baselines.in_context import InContextDMD


def exponentials(seed: int, *, pairs: int, components: int, length: int, decay: bool = True) -> torch.Tensor:
    """A constant and ``pairs`` sines, damped or not, with frequencies that can be told apart."""
    random = np.random.default_rng(seed)
    t = np.arange(length)
    frequencies = (0.4 + np.arange(pairs) + random.uniform(-0.2, 0.2, pairs)) * np.pi / (pairs + 1)
    rates = random.uniform(0, 0.01, pairs) if decay else np.zeros(pairs)
    waves = [np.ones(length)]
    for rate, frequency in zip(rates, frequencies, strict=True):
        waves += [np.exp(-rate * t) * np.cos(frequency * t), np.exp(-rate * t) * np.sin(frequency * t)]
    return torch.from_numpy(np.stack(waves, axis=1) @ random.uniform(0.5, 1.5, (len(waves), components)))


@given(seed=st.integers(0, 10**6), pairs=st.integers(1, 3), components=st.integers(1, 3))
@settings(max_examples=20)
def test_a_sum_of_exponentials_is_known_after_twice_as_many_elements(
    seed: int, pairs: int, components: int
) -> None:
    terms = 1 + 2 * pairs
    series = exponentials(seed, pairs=pairs, components=components, length=2 * terms + 30)
    model = HigherOrderDMD(order=terms, cutoff=1e-11)
    ahead = model.rollout(series[: 2 * terms], steps=30)
    torch.testing.assert_close(ahead, series[2 * terms :], atol=1e-5, rtol=0)


def test_several_components_need_fewer_delays() -> None:
    series = exponentials(1, pairs=3, components=7, length=60)
    ahead = HigherOrderDMD(order=2, cutoff=1e-10).rollout(series[:20], steps=40)
    torch.testing.assert_close(ahead, series[20:], atol=1e-6, rtol=0)
    # One delay is the ordinary decomposition.
    one = HigherOrderDMD(order=1, cutoff=1e-10, stable=False).rollout(series[:20], steps=40)
    data = SequenceDataset.from_arrays(series[None], kind="real", normalised=False)
    plain = InContextDMD(cutoff=1e-10).fit(data).rollout(series[:20], steps=40)
    torch.testing.assert_close(one, plain, atol=1e-6, rtol=0)


def test_growing_modes_stay_at_their_size() -> None:
    """1.1^t is a mode of eigenvalue 1.1: it is gone on with, or kept as it is."""
    series = (1.1 ** torch.arange(40, dtype=torch.float64))[:, None]
    free = HigherOrderDMD(order=2, stable=False).rollout(series[:20], steps=20)
    torch.testing.assert_close(free, series[20:], rtol=1e-8, atol=0)
    bounded = HigherOrderDMD(order=2).rollout(series[:20], steps=20)
    torch.testing.assert_close(bounded, series[19].expand(20, 1), rtol=1e-8, atol=0)


def test_noise_below_the_cutoff_is_no_mode() -> None:
    clean = exponentials(3, pairs=2, components=1, length=140, decay=False)
    noisy = clean + 1e-3 * torch.from_numpy(np.random.default_rng(0).standard_normal(clean.shape))
    errors = {
        cutoff: float(
            (HigherOrderDMD(30, cutoff=cutoff).rollout(noisy[:100], 40) - clean[100:]).square().mean()
        )
        for cutoff in (1e-2, 1e-9)
    }
    assert errors[1e-2] < 1e-5
    assert errors[1e-2] < errors[1e-9]


def test_forecasts_look_at_the_past_alone_and_agree_with_roll_outs() -> None:
    series = torch.stack([exponentials(seed, pairs=2, components=2, length=16) for seed in range(3)])
    model = HigherOrderDMD(order=3)
    later = series.clone()
    later[:, 9:] += 1
    found = model.forecast(series)
    torch.testing.assert_close(found[:, :9], model.forecast(later)[:, :9], atol=0, rtol=0)
    for length in (1, 2, 7):
        torch.testing.assert_close(model.predict(series[:, :length]), found[:, length - 1])
        ahead = model.rollout(series[:, :length], 2)
        torch.testing.assert_close(ahead[:, 0], found[:, length - 1])
    torch.testing.assert_close(found[:, 0], series[:, 0])
    zeros = torch.zeros(2, 6, 1)
    assert torch.equal(model.rollout(zeros, 3), torch.zeros(2, 3, 1))


def test_roll_outs_are_forecasts_fed_back() -> None:
    series = exponentials(5, pairs=1, components=1, length=30)
    model = HigherOrderDMD(order=3, cutoff=1e-9)
    seen = series[:12]
    for _ in range(5):
        seen = torch.cat([seen, model.predict(seen)[None]])
    torch.testing.assert_close(model.rollout(series[:12], 5), seen[12:], atol=1e-8, rtol=0)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="`order` must be an integer >= 1, but is 0"):
        HigherOrderDMD(0)
    with pytest.raises(ArgumentError, match=r"`cutoff` must lie in \(0, 1\), but is 2"):
        HigherOrderDMD(cutoff=2.0)
    data = SequenceDataset.from_arrays(np.zeros((1, 5, 2)), kind="real", normalised=False)
    with pytest.raises(ArgumentError, match=r"shape \(\.\.\., T, 2\)"):
        HigherOrderDMD().fit(data).rollout(torch.zeros(4, 3), 1)
