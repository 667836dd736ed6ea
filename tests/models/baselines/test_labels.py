from __future__ import annotations

import math

import pytest
import torch

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines import BagOfWords, MajorityClass, NaiveBayes, Unigram
from qdyn.models.baselines.labels import LabelBaseline
from qdyn.models.logistic import logistic_regression

WORDS = ("<s>", "</s>", "good", "bad", "it", "<label=no>", "<label=yes>")
ROWS = torch.tensor(
    [[0, 4, 2, 1, 6, 1], [0, 2, 2, 1, 6, 1], [0, 3, 1, 5, 1, 1], [0, 4, 3, 4, 1, 5], [0, 3, 1, 6, 1, 1]]
)
LENGTHS = [5, 5, 4, 6, 4]


def labelled(rows: torch.Tensor = ROWS, lengths: list[int] | None = None) -> SequenceDataset:
    return SequenceDataset.from_arrays(rows, kind="token", vocabulary=WORDS, lengths=lengths or LENGTHS)


@pytest.fixture(scope="module")
def food() -> SequenceDataset:
    return qdyn.load_dataset("meaning-classification", progress=False)


def test_words_before_the_label_are_counted() -> None:
    counts, classes = NaiveBayes().fit(labelled()).labelled_counts(labelled())
    assert counts.tolist() == [
        [1, 1, 1, 0, 1, 0, 0],
        [1, 1, 2, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
        [1, 1, 0, 1, 2, 0, 0],
        [1, 1, 0, 1, 0, 0, 0],
    ]
    assert classes.tolist() == [1, 1, 0, 0, 1]


def test_naive_bayes_is_bayes_theorem() -> None:
    data = labelled()
    model = NaiveBayes(pseudo_counts=0.5).fit(data)
    counts, classes = model.labelled_counts(data)
    found = model.forecast(ROWS[:, :3])[:, -1]
    for row, forecast in zip(ROWS[:, :3].tolist(), found, strict=True):
        joint = []
        for c in (0, 1):
            own = counts[classes == c].sum(dim=0)
            likelihood = math.prod(float((own[w] + 0.5) / (own.sum() + 0.5 * len(WORDS))) for w in row)
            joint.append(likelihood * float((classes == c).double().mean()))
        assert forecast[[5, 6]].tolist() == pytest.approx([value / sum(joint) for value in joint])
        assert float(forecast[:5].sum()) == 0


def test_logistic_regression_stands_where_its_gradient_vanishes() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(60, 4, generator=random, dtype=torch.float64)
    c = torch.randint(3, (60,), generator=random)
    w, b = logistic_regression(x, c, n_classes=3, strength=0.05)
    residual = (x @ w + b).softmax(dim=1) - torch.nn.functional.one_hot(c, 3)
    assert float((x.T @ residual / 60 + 0.05 * w).abs().max()) < 1e-6
    assert float(residual.mean(dim=0).abs().max()) < 1e-6
    # Of a convex problem there is no better neighbour.
    for _ in range(5):
        shift = 0.1 * torch.randn(4, 3, generator=random, dtype=torch.float64)

        def loss(weights: torch.Tensor) -> float:
            surprise = torch.nn.functional.cross_entropy(x @ weights + b, c)
            return float(surprise + 0.025 * weights.square().sum())

        assert loss(w + shift) > loss(w)


MODELS = [MajorityClass(), NaiveBayes(), BagOfWords(), BagOfWords(pairs=True)]


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
def test_forecasts_are_of_labels_and_see_the_past_alone(model: LabelBaseline) -> None:
    data = labelled()
    model.fit(data)
    found = model.forecast(ROWS[:, :-1])
    torch.testing.assert_close(found[..., 5:].sum(-1), torch.ones(found.shape[:-1], dtype=torch.float64))
    torch.testing.assert_close(model.forecast(ROWS[:, :2]), found[:, :2])
    torch.testing.assert_close(model.predict(ROWS[0, :3]), found[0, 2])


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
def test_padding_changes_nothing(model: LabelBaseline) -> None:
    longer = torch.cat([ROWS, torch.full((5, 4), 3)], dim=1)
    first = model.fit(labelled()).forecast(ROWS)
    torch.testing.assert_close(model.fit(labelled(longer)).forecast(ROWS), first)


def test_pairs_are_counted_beside_words() -> None:
    """Of every sentence the pairs up to the label; one never met has no weight, nor one with a gap."""
    data = labelled()
    model = BagOfWords(pairs=True, strength=0.1).fit(data)
    counts, classes = model.labelled_counts(data)
    words, same = BagOfWords().fit(data).labelled_counts(data)
    assert counts[:, : len(WORDS)].equal(words)
    assert classes.equal(same)
    # 0 4, 4 2, 2 1, 0 2, 2 2, 0 3, 3 1, 4 3, 3 4, 4 1
    assert counts[:, len(WORDS) :].sum(dim=1).tolist() == [3, 3, 2, 4, 2]
    assert counts.shape[1] == len(WORDS) + 10
    gap = torch.tensor([[True, False, True, True, True]])
    masked = model.forecast(torch.tensor([[0, 4, 2, 3, 1]]), gap)[:, -1]
    torch.testing.assert_close(masked, model.predict(torch.tensor([[2, 3, 1, 0]])))
    # The same words, but 4 3 has been met and 3 0 has not.
    met, unmet = (model.predict(torch.tensor([row])) for row in ([2, 4, 3], [3, 2, 4]))
    assert (met - unmet).abs().max() > 1e-3


def test_the_order_of_words_is_not_seen_but_their_number_is(food: SequenceDataset) -> None:
    model = BagOfWords().fit(food)
    one, two = torch.tensor([[0, 5, 9, 1]]), torch.tensor([[0, 9, 5, 1]])
    torch.testing.assert_close(model.predict(one), model.predict(two))


def test_the_table_is_that_of_the_labels(food: SequenceDataset) -> None:
    """Train and test, with standard errors, by accuracy at the last step alone."""
    majority = MajorityClass().fit(food)
    for split, count in (("train", 70), ("test", 300)):
        found = qdyn.evaluate(majority, dataset=food, split=split)
        row = found.row("majority")
        sentences = food.split(split).batch(range(count))
        last = sentences.mask.sum(dim=1) - 1
        labels = sentences.targets.gather(1, last[:, None])[:, 0]
        p = majority.forecast(sentences.inputs[:1])[0, 0]
        hits = (labels == int(p.argmax())).double()
        assert row.metrics["accuracy"].mean == pytest.approx(float(hits.mean()))
        expected = math.sqrt(float(hits.mean() * (1 - hits.mean())) / (count - 1))
        assert row.metrics["accuracy"].standard_error == pytest.approx(expected)
        assert row.metrics["L_1"].mean == pytest.approx(-float(p[labels].log().mean()))
        assert found.row("chance").metrics["L_1"].mean == pytest.approx(math.log(2))
        assert found.row("bag_of_words").metrics["accuracy"].mean > 0.95
        assert "Judged at the label alone, each forecast given that it is one of food, IT." in str(found)


def test_a_forecaster_of_words_is_judged_given_that_a_label_comes(food: SequenceDataset) -> None:
    found = qdyn.evaluate(Unigram().fit(food), dataset=food)
    alike, counted = found.row("majority").metrics["L_1"].mean, found.row("unigram").metrics["L_1"].mean
    # The same shares but for the pseudo-counts.
    assert counted == pytest.approx(alike, abs=2e-3)


def test_what_has_no_labels_is_refused() -> None:
    plain = SequenceDataset.from_arrays(torch.tensor([[0, 1, 0]]), kind="token", vocabulary=["a", "b"])
    with pytest.raises(DatasetError, match="forecasts labels, but the dataset in memory has 0 of them"):
        NaiveBayes().fit(plain)
    with pytest.raises(ArgumentError, match="must be fitted"):
        NaiveBayes().forecast(torch.tensor([0]))
    with pytest.raises(ArgumentError, match="`n_classes`"):
        logistic_regression(torch.zeros(1, 1), torch.tensor([0]), n_classes=1, strength=1.0)
