"""What each baseline must be by its definition: causal, normalised, exact where the theory says so."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines import (
    Baseline,
    Bigram,
    Chance,
    InContextDMD,
    LeastSquares,
    NGram,
    Persistence,
    Procrustes,
    Unigram,
)

VECTOR_BASELINES: list[Callable[[], Baseline]] = [
    Chance,
    Persistence,
    LeastSquares,
    Procrustes,
    InContextDMD,
    lambda: InContextDMD(residual="procrustes"),
]


def random_unitary(d: int, seed: int, *, is_complex: bool = True) -> np.ndarray:
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((d, d)) + (1j * generator.standard_normal((d, d)) if is_complex else 0)
    return np.linalg.qr(matrix)[0]


def linear_sequences(
    d: int, count: int, steps: int, *, seed: int = 0, is_complex: bool = True, common: bool = True
) -> np.ndarray:
    """Sequences x_{j+1} = U x_j from random starts; one U for all, or one for each."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, d)) + (
        1j * generator.standard_normal((count, d)) if is_complex else 0
    )
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    maps = np.stack(
        [random_unitary(d, seed + 1 + (0 if common else b), is_complex=is_complex) for b in range(count)]
    )
    sequence = [x]
    for _ in range(steps):
        sequence.append(np.einsum("bij,bj->bi", maps, sequence[-1]))
    return np.stack(sequence, axis=1)


def states(d: int = 4, count: int = 6, steps: int = 9, **options: object) -> SequenceDataset:
    values = linear_sequences(d, count, steps, **options)  # type: ignore[arg-type]
    return SequenceDataset.from_arrays(values, kind="quantum_state" if np.iscomplexobj(values) else "real")


def infidelity(forecast: Tensor, target: Tensor) -> float:
    return float((1 - torch.linalg.vecdot(forecast, target).abs().square()).max())


@pytest.mark.parametrize("make", VECTOR_BASELINES)
@pytest.mark.parametrize("is_complex", [True, False])
def test_forecasts_are_causal_and_normalised(make: Callable[[], Baseline], is_complex: bool) -> None:
    dataset = states(is_complex=is_complex, common=False)
    predictor = make().fit(dataset)
    inputs = dataset.batch(range(6)).inputs
    whole = predictor.forecast(inputs)
    assert whole.dtype == inputs.dtype
    assert torch.allclose(torch.linalg.vector_norm(whole, dim=-1), torch.ones(6, 9, dtype=torch.float64))
    for j in (1, 4, 9):
        assert torch.allclose(predictor.predict(inputs[:, :j]), whole[:, j - 1], atol=1e-9)
        assert torch.allclose(predictor.forecast(inputs[:, :j]), whole[:, :j], atol=1e-9)
    # One trajectory without a batch axis, and a batch with two, give what the batch gave.
    assert torch.allclose(predictor.forecast(inputs[0]), whole[0], atol=1e-9)
    if not isinstance(predictor, Chance):
        assert torch.allclose(
            predictor.forecast(inputs.reshape(2, 3, 9, 4)), whole.reshape(2, 3, 9, 4), atol=1e-9
        )


@pytest.mark.parametrize("make", [LeastSquares, Procrustes, lambda: InContextDMD(residual="procrustes")])
@pytest.mark.parametrize("is_complex", [True, False])
def test_one_common_map_is_found_exactly(make: Callable[[], Baseline], is_complex: bool) -> None:
    dataset = states(d=4, count=8, is_complex=is_complex)
    batch = dataset.batch(range(8))
    predictor = make().fit(dataset)
    assert infidelity(predictor.forecast(batch.inputs), batch.targets) < 1e-12
    assert infidelity(predictor.rollout(batch.inputs[:, :1], 9), batch.targets) < 1e-11


def test_the_fitted_matrices_are_the_generating_one() -> None:
    dataset = states(d=4, count=8)
    truth = torch.from_numpy(random_unitary(4, 1))
    for predictor in (LeastSquares(), Procrustes()):
        assert torch.allclose(predictor.fit(dataset).matrix, truth, atol=1e-10)  # type: ignore[arg-type]


def test_procrustes_is_a_unitary_no_other_beats_it() -> None:
    dataset = states(d=4, count=6, common=False)
    batch = dataset.batch(range(6))
    matrix = Procrustes().fit(dataset).matrix
    assert matrix is not None
    assert torch.allclose(matrix @ matrix.mH, torch.eye(4, dtype=torch.complex128), atol=1e-12)

    def error(unitary: Tensor) -> float:
        return float((batch.targets - batch.inputs @ unitary.T).abs().square().sum())

    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        step = torch.randn(4, 4, dtype=torch.complex128, generator=generator)
        turned = torch.linalg.matrix_exp(size * (step - step.mH)) @ matrix
        assert error(turned) > error(matrix)


def test_least_squares_has_the_least_squared_error() -> None:
    dataset = states(d=4, count=6, common=False)
    batch = dataset.batch(range(6))
    x, y = batch.inputs.reshape(-1, 4), batch.targets.reshape(-1, 4)
    by_lstsq = torch.linalg.lstsq(x, y).solution.T
    matrix = LeastSquares().fit(dataset).matrix
    assert matrix is not None
    assert torch.allclose(matrix, by_lstsq, atol=1e-10)


@given(seed=st.integers(0, 10_000), d=st.integers(2, 6), is_complex=st.booleans())
def test_in_context_least_squares_is_exact_once_the_past_spans_the_space(
    seed: int, d: int, is_complex: bool
) -> None:
    # Each sequence has its own map, so nothing but its own past can tell it.
    values = torch.from_numpy(
        linear_sequences(d, 3, 2 * d + 2, seed=seed, is_complex=is_complex, common=False)
    )
    # Rounding grows with the condition of the states seen; a draw close to a subspace proves nothing.
    assume(float(torch.linalg.cond(values[:, :d]).max()) < 1e3)
    forecast = InContextDMD().forecast(values[:, :-1])
    assert infidelity(forecast[:, d:], values[:, d + 1 :]) < 1e-9


def test_in_context_least_squares_is_exact_early_in_an_invariant_subspace() -> None:
    # Two eigenvectors of U: d = 8, but two past states span all that follows.
    unitary = random_unitary(8, 5)
    _, vectors = np.linalg.eig(unitary)
    state = (vectors[:, 0] + 0.7 * vectors[:, 3]) / math.sqrt(1.49)
    sequence = [state / np.linalg.norm(state)]
    for _ in range(6):
        sequence.append(unitary @ sequence[-1])
    values = torch.from_numpy(np.stack(sequence))
    forecast = InContextDMD().forecast(values[:-1])
    assert infidelity(forecast[2:], values[3:]) < 1e-10
    assert infidelity(forecast[:1], values[:1]) < 1e-12  # the first forecast is persistence
    assert infidelity(forecast[1:2], values[2:3]) > 0.01


def test_in_context_least_squares_does_not_care_about_one_common_phase() -> None:
    values = torch.from_numpy(linear_sequences(4, 3, 9, common=False))
    turned = values * torch.exp(torch.tensor(0.7j))
    predictor = InContextDMD()
    assert infidelity(predictor.forecast(turned), predictor.forecast(values)) < 1e-12


def test_masked_elements_explain_nothing() -> None:
    values = torch.from_numpy(linear_sequences(3, 4, 8, common=False))
    mask = torch.ones(4, 8, dtype=torch.bool)
    mask[:, :2] = False
    forecast = InContextDMD().forecast(values[:, :-1], mask)
    late = InContextDMD().forecast(values[:, 2:-1])
    assert infidelity(forecast[:, 2:], late) < 1e-10


def test_single_precision_data_cost_single_precision_only() -> None:
    dataset = states(d=4, count=4, steps=20, common=False)
    batch = dataset.batch(range(4))
    narrow = InContextDMD().forecast(batch.inputs.to(torch.complex64))
    assert narrow.dtype == torch.complex64
    assert infidelity(narrow[:, 8:].to(torch.complex128), batch.targets[:, 8:]) < 1e-5


@pytest.mark.parametrize("make", VECTOR_BASELINES)
def test_a_roll_out_obeys_the_phase_convention_of_the_data(make: Callable[[], Baseline]) -> None:
    dataset = states(common=False).with_phase_convention("first_real")
    rolled = make().fit(dataset).rollout(dataset.batch(range(6)).inputs[:, :4], 5)
    assert bool((rolled[..., 0].imag == 0).all())
    assert bool((rolled[..., 0].real >= 0).all())


def test_persistence_repeats() -> None:
    dataset = states()
    batch = dataset.batch(range(6))
    assert torch.equal(Persistence().forecast(batch.inputs), batch.inputs)
    rolled = Persistence().fit(dataset).rollout(batch.inputs, 3)
    assert torch.allclose(rolled, batch.inputs[:, -1:].expand(-1, 3, -1))


def test_chance_is_repeatable_and_blind() -> None:
    a = Chance(seed=4).forecast(torch.zeros(5, 7, 8, dtype=torch.complex128))
    assert torch.equal(a, Chance(seed=4).forecast(torch.ones(5, 7, 8, dtype=torch.complex128)))
    assert torch.equal(a[:3], Chance(seed=4).forecast(torch.zeros(3, 7, 8, dtype=torch.complex128)))
    assert not torch.allclose(a, Chance(seed=5).forecast(torch.zeros(5, 7, 8, dtype=torch.complex128)))
    assert Chance().forecast(torch.zeros(2, 3, 4)).dtype == torch.float32


def test_chance_in_real_space_meets_its_closed_form() -> None:
    d, count = 6, 40_000
    drawn = Chance(seed=1).forecast(torch.zeros(count, 1, d, dtype=torch.float64))[:, 0]
    losses = -torch.log(drawn[:, 0].square())
    # digamma(3) - digamma(1/2) = (3/2 - gamma) - (-gamma - 2 log 2)
    assert float(losses.mean()) == pytest.approx(
        1.5 + 2 * math.log(2), abs=4 * float(losses.std()) / count**0.5
    )


# Tokens


def sentences() -> SequenceDataset:
    words = np.array([[0, 1, 2, 0, 1], [0, 1, 0, 3, 3], [2, 0, 1, 3, 3]])
    return SequenceDataset.from_arrays(words, kind="token", dimension=4, lengths=[5, 3, 3])


def test_token_frequencies_by_hand() -> None:
    # Transitions that exist: 01 12 20 01 | 01 10 | 20 01. Targets: 0 three times, 1 four times, 2 once.
    dataset = sentences()
    unigram = Unigram(pseudo_counts=4.0).fit(dataset).forecast(torch.tensor([[3, 0]]))
    assert torch.allclose(unigram[0, 1], torch.tensor([4.0, 5.0, 2.0, 1.0], dtype=torch.float64) / 12)
    assert torch.equal(unigram[0, 0], unigram[0, 1])
    bigram = Bigram(pseudo_counts=1.0).fit(dataset).forecast(torch.tensor([[0, 1, 3]]))[0]
    prior = (torch.tensor([3.0, 4.0, 1.0, 0.0], dtype=torch.float64) + 0.25) / 9
    assert torch.allclose(bigram[0], (torch.tensor([0.0, 4, 0, 0], dtype=torch.float64) + prior) / 5)
    assert torch.allclose(bigram[1], (torch.tensor([1.0, 0, 1, 0], dtype=torch.float64) + prior) / 3)
    assert torch.allclose(bigram[2], prior)  # never met: falls back on the unigram


@pytest.mark.parametrize("make", [Unigram, Bigram, Chance, Persistence])
def test_token_forecasts_are_distributions(make: Callable[[], Baseline]) -> None:
    dataset = sentences()
    predictor = make().fit(dataset)
    p = predictor.forecast(dataset.batch(range(3)).inputs)
    assert p.shape == (3, 4, 4)
    assert bool((p > 0).all())
    assert torch.allclose(p.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert predictor.rollout(dataset.batch([0]).inputs, 3).shape == (1, 3)


def test_bigram_beats_unigram_on_a_markov_chain_by_the_mutual_information() -> None:
    generator = np.random.default_rng(0)
    jump = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])  # its stationary state is uniform
    words = np.zeros((400, 26), dtype=np.int64)
    words[:, 0] = generator.integers(0, 3, 400)
    for t in range(25):
        words[:, t + 1] = (generator.random((400, 1)) > jump[words[:, t]].cumsum(-1)).sum(-1)
    dataset = SequenceDataset.from_arrays(
        words, kind="token", dimension=3, splits={"train": (0, 200), "test": (200, 400)}
    )
    test = dataset.split("test").batch(range(200))

    def loss(predictor: Baseline) -> Tensor:
        p = predictor.fit(dataset).forecast(test.inputs)
        return -torch.log(p.gather(-1, test.targets[..., None]))

    gain = loss(Unigram()) - loss(Bigram())
    entropy_rate = -(0.8 * math.log(0.8) + 0.2 * math.log(0.1))
    assert float(gain.mean()) == pytest.approx(
        math.log(3) - entropy_rate, abs=4 * float(gain.std()) / gain.numel() ** 0.5
    )


def test_a_trigram_knows_a_chain_of_second_order_by_its_entropy_rate() -> None:
    """Where the next word is the sum of the last two in four of five cases, pairs of words say nothing."""
    generator = np.random.default_rng(0)
    words = generator.integers(0, 3, (400, 26))
    for t in range(2, 26):
        wrong = generator.integers(1, 3, 400) * (generator.random(400) < 0.2)
        words[:, t] = (words[:, t - 1] + words[:, t - 2] + wrong) % 3
    dataset = SequenceDataset.from_arrays(
        words, kind="token", dimension=3, splits={"train": (0, 200), "test": (200, 400)}
    )
    test = dataset.split("test").batch(range(200))
    rate = -(0.8 * math.log(0.8) + 0.2 * math.log(0.1))
    for order, expected in ((2, math.log(3)), (3, rate), (4, rate)):
        p = NGram(order).fit(dataset).forecast(test.inputs)
        losses = -torch.log(p.gather(-1, test.targets[..., None]))[:, 2:]
        assert float(losses.mean()) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ngrams_are_counts(order: int) -> None:
    """Against counting by hand, at the start of a sequence too, for words met and never met."""
    generator = np.random.default_rng(1)
    words, lengths = generator.integers(0, 4, (12, 7)), generator.integers(2, 8, 12)
    dataset = SequenceDataset.from_arrays(words, kind="token", dimension=4, lengths=lengths)
    asked = torch.from_numpy(generator.integers(0, 4, (5, 6)))
    found = NGram(order, pseudo_counts=0.7).fit(dataset).forecast(asked)
    for row in range(5):
        for place in range(6):
            p = np.full(4, 0.25)
            for length in range(min(order, place + 2)):
                context = tuple(asked[row, place + 1 - length : place + 1].tolist())
                counts = np.zeros(4)
                for line, end in zip(words.tolist(), lengths, strict=True):
                    for j in range(max(1, length), end):
                        if tuple(line[j - length : j]) == context:
                            counts[line[j]] += 1
                p = (counts + 0.7 * p) / (counts.sum() + 0.7)
            np.testing.assert_allclose(found[row, place], p, rtol=1e-12)


def test_persistence_learns_how_often_a_token_repeats() -> None:
    words = np.array([[0, 0, 1, 1, 1, 2]])
    dataset = SequenceDataset.from_arrays(words, kind="token", dimension=3)
    p = Persistence().fit(dataset).forecast(torch.tensor([[1]]))[0, 0]
    assert torch.allclose(
        p, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64)
    )  # (3 + 1) / (5 + 3) repeats


# What is learnt from, and what is refused


def test_only_the_training_split_is_learnt_from() -> None:
    values = np.concatenate([linear_sequences(4, 6, 9, seed=1), linear_sequences(4, 6, 9, seed=77)])
    whole = SequenceDataset.from_arrays(
        values, kind="quantum_state", splits={"train": (0, 6), "test": (6, 12)}
    )
    alone = SequenceDataset.from_arrays(values[:6], kind="quantum_state")
    for make in (LeastSquares, Procrustes):
        expected = make().fit(alone).matrix
        assert expected is not None
        assert torch.equal(make().fit(whole).matrix, expected)  # type: ignore[arg-type]
        assert torch.equal(make().fit(whole.split("train")).matrix, expected)  # type: ignore[arg-type]


def test_numbers_of_parameters() -> None:
    complex_data, real_data = states(d=4), states(d=4, is_complex=False)
    assert [p.fit(complex_data).n_parameters for p in (Persistence(), LeastSquares(), Procrustes())] == [
        0,
        32,
        16,
    ]
    assert [p.fit(real_data).n_parameters for p in (Chance(), LeastSquares(), Procrustes())] == [0, 16, 6]
    assert InContextDMD().fit(complex_data).n_parameters == 0
    assert InContextDMD(residual="procrustes").fit(complex_data).n_parameters == 16
    assert [p.fit(sentences()).n_parameters for p in (Unigram(), Bigram(), Persistence())] == [3, 12, 1]


def test_clear_refusals(as_user: None) -> None:
    dataset = states()
    with pytest.raises(
        DatasetError,
        match=r"least_squares forecasts quantum states or real vectors, but .* in memory holds tokens",
    ):
        LeastSquares().fit(sentences())
    with pytest.raises(DatasetError, match="bigram forecasts tokens"):
        Bigram().fit(dataset)
    with pytest.raises(ArgumentError, match="procrustes must be fitted before"):
        Procrustes().forecast(torch.ones(2, 3, 4))
    with pytest.raises(ArgumentError, match="must be fitted before it can forecast tokens"):
        Persistence().forecast(torch.tensor([[0]]))
    with pytest.raises(ArgumentError, match=r"must have shape \(..., T, 4\), but has shape \(2, 3, 5\)"):
        Procrustes().fit(dataset).forecast(torch.ones(2, 3, 5))
    with pytest.raises(ArgumentError, match="did you mean 'procrustes'"):
        InContextDMD(residual="procrustis")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"tokens in \[0, 4\), but one is 4"):
        Unigram().fit(sentences()).forecast(torch.tensor([[4]]))
