from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

import qdyn
from qdyn.data.markov import MarkovSphere


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return qdyn.load_dataset("markov-sphere", progress=False).sequences().double()


def test_vectors_are_unit_and_real(vectors: torch.Tensor) -> None:
    assert vectors.shape == (448, 33, 16)
    assert float((torch.linalg.vector_norm(vectors, dim=-1) - 1).abs().max()) < 1e-6


def expected_cosine(noise: float, dimension: int) -> float:
    """E of c / |x'| with x' = 0.8 x + noise eps: c is normal, the rest chi-square with d - 1 degrees."""

    def given_rest(rest: float) -> float:
        return integrate.quad(
            lambda g: (0.8 + noise * g) / np.hypot(0.8 + noise * g, noise * rest) * stats.norm.pdf(g), -8, 8
        )[0]

    chi = stats.chi(dimension - 1)
    return float(integrate.quad(lambda r: given_rest(r) * chi.pdf(r), 0, 12)[0])


def test_a_step_turns_as_far_as_the_equation_says(vectors: torch.Tensor) -> None:
    cosines = (vectors[:, 1:] * vectors[:, :-1]).sum(-1).reshape(-1)
    error = float(cosines.std()) / np.sqrt(len(cosines))
    assert float(cosines.mean()) == pytest.approx(expected_cosine(0.6, 16), abs=4 * error)
    # The other reading, eps a unit vector, would turn much less.
    assert float(cosines.mean()) < 0.4


def test_the_first_vector_is_uniform_on_the_sphere(vectors: torch.Tensor) -> None:
    # A squared component of a uniform unit vector has the distribution Beta(1/2, (d-1)/2).
    squared = vectors[:, 0].square().reshape(-1).numpy()
    assert stats.kstest(squared, stats.beta(0.5, 7.5).cdf).pvalue > 1e-3
    mean = vectors[:, 0].mean(0).numpy()
    assert 448 * 16 * (mean**2).sum() < stats.chi2(16).ppf(0.999)


def test_the_loss_of_persistence_is_where_the_published_figures_lie(vectors: torch.Tensor) -> None:
    cosines = (vectors[:, 1:] * vectors[:, :-1]).sum(-1).reshape(-1)
    losses = -torch.log(cosines.square())
    error = float(losses.std()) / np.sqrt(len(losses))
    assert float(losses.mean()) == pytest.approx(2.730, abs=4 * error)
    chance = special.digamma(8) - special.digamma(0.5)
    assert float(losses.mean()) < chance - 1


@given(seed=st.integers(0, 2**64), first=st.integers(0, 10**6), count=st.integers(1, 5))
def test_a_sequence_depends_on_seed_and_number_alone(seed: int, first: int, count: int) -> None:
    source = MarkovSphere(dimension=3, n_steps=4, persistence=0.8, noise=0.6)
    together = source.block(seed=seed, first=first, count=count, precision="double")
    alone = source.block(seed=seed, first=first + count - 1, count=1, precision="double")
    assert np.array_equal(together.values[-1], alone.values[0])
