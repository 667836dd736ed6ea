from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines import NGram
from qdyn.models.baselines.ngrams import left_out_surprise

WORDS = ("<bos>", "a", "b", "c", "<kind=x>", "<kind=y>")


def given_tags(order: int, *, pseudo_counts: float | None = None) -> NGram:
    return NGram(order, pseudo_counts=pseudo_counts, given_tags=True)


def tagged(seed: int, count: int = 40, steps: int = 9, *, splits: bool = False) -> SequenceDataset:
    """Words whose frequencies depend on the tag in front."""
    random = torch.Generator().manual_seed(seed)
    tags = torch.randint(4, 6, (count,), generator=random)
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])[tags - 4]
    words = 1 + torch.multinomial(shares, steps, replacement=True, generator=random)
    rows = torch.cat([torch.zeros(count, 1, dtype=torch.int64), tags[:, None], words], dim=1)
    ranges = {"train": (0, count // 2), "validation": (count // 2, count)} if splits else None
    return SequenceDataset.from_arrays(rows, kind="token", vocabulary=WORDS, splits=ranges)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]), st.sampled_from([None, 0.5, 8.0]))
def test_forecasts_are_distributions_that_see_the_past_alone(
    seed: int, order: int, pseudo_counts: float | None
) -> None:
    data = tagged(seed)
    counted = given_tags(order, pseudo_counts=pseudo_counts).fit(data)
    inputs = data.batch([0, 1, 2]).inputs
    found = counted.forecast(inputs)
    assert (found > 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1], dtype=torch.float64))
    changed = inputs.clone()
    changed[:, 5:] = 3
    torch.testing.assert_close(counted.forecast(changed)[:, :5], found[:, :5])
    torch.testing.assert_close(counted.predict(inputs[:, :4]), found[:, 3])


def test_a_level_is_what_its_definition_says() -> None:
    data, s = tagged(3), 2.0
    counted = given_tags(2, pseudo_counts=s).fit(data)
    rows = data.sequences().tolist()
    pairs = [
        (row[0], tuple(t for t in row[: j + 1] if t > 3), row[j], row[j + 1])
        for row in rows
        for j in range(10)
    ]

    def share(level: int, tags: tuple[int, ...], last: int, word: int) -> float:
        if level < 0:
            return 1 / len(WORDS)
        same = [p for p in pairs if (level < 1 or p[1] == tags) and (level < 2 or p[2] == last)]
        hits = sum(p[3] == word for p in same)
        return (hits + s * share(level - 1, tags, last, word)) / (len(same) + s)

    found = counted.forecast(torch.tensor(rows[0][:-1]))
    for step in (0, 1, 4, 9):
        tags = tuple(t for t in rows[0][: step + 1] if t > 3)
        expected = [share(2, tags, rows[0][step], word) for word in range(len(WORDS))]
        assert found[step].tolist() == pytest.approx(expected, abs=1e-12)


def test_a_tag_tells_apart_what_words_alone_do_not() -> None:
    data = tagged(5, count=400)
    test = tagged(6, count=200).batch(range(200))

    def loss(order: int, *, told: bool) -> float:
        model = given_tags(order).fit(data) if told else NGram(order).fit(data)
        p = model.forecast(test.inputs).gather(-1, test.targets[..., None])[:, 1:, 0]
        return -float(p.log().mean())

    entropy = -sum(p * math.log(p) for p in (0.7, 0.2, 0.1))
    assert loss(1, told=True) == pytest.approx(entropy, abs=0.04)
    assert loss(1, told=False) > entropy + 0.15


def test_a_tag_never_met_falls_back_on_what_is_common() -> None:
    data = tagged(1)
    counted = given_tags(3, pseudo_counts=1.0).fit(data)
    both = torch.tensor([[0, 4, 5, 1]])
    plain = counted.forecast(torch.tensor([[0]]))[0, 0]
    # Two tags at once were never met, so no context with them was either.
    torch.testing.assert_close(
        counted.forecast(both)[0, -1], given_tags(1, pseudo_counts=1.0).fit(data).forecast(both)[0, -1]
    )
    assert plain.argmax() in (4, 5)


def test_pseudo_counts_are_those_that_serve_the_validation_split_best() -> None:
    data = tagged(2, splits=True)
    chosen = given_tags(1).fit(data)
    held_out = data.split("validation").batch(range(20))

    def surprise(model: NGram) -> float:
        return -float(model.forecast(held_out.inputs).gather(-1, held_out.targets[..., None]).log().sum())

    assert all(
        surprise(chosen) <= surprise(given_tags(1, pseudo_counts=s).fit(data)) + 1e-9
        for s in (0.25, 1, 4, 64)
    )


def test_leaving_out_each_token_is_what_it_says() -> None:
    counts = torch.tensor([[3.0, 1.0, 0.0]], dtype=torch.float64)
    below = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    expected = -3 * math.log((2 + 1 / 3) / 4) - math.log((1 / 3) / 4)
    assert left_out_surprise(counts, below, 1.0) == pytest.approx(expected)


def test_padding_does_not_count() -> None:
    rows = tagged(4).sequences()
    longer = torch.cat([rows, torch.full((len(rows), 5), 2)], dim=1)
    lengths = [rows.shape[1]] * len(rows)
    short = SequenceDataset.from_arrays(rows, kind="token", vocabulary=WORDS)
    long = SequenceDataset.from_arrays(longer, kind="token", vocabulary=WORDS, lengths=lengths)
    inputs = rows[:, :-1]
    torch.testing.assert_close(
        given_tags(3).fit(short).forecast(inputs), given_tags(3).fit(long).forecast(inputs)
    )


def test_without_tags_it_says_so() -> None:
    data = SequenceDataset.from_arrays(torch.tensor([[0, 1, 0, 1]]), kind="token", vocabulary=["a", "b"])
    assert given_tags(3).fit(data).label == "Trigram"
    with pytest.raises(ArgumentError, match="must be fitted"):
        given_tags(2).forecast(torch.tensor([0]))
    with pytest.raises(ArgumentError, match=r"`order` must be an integer >= 1"):
        given_tags(0)
    with pytest.raises(ArgumentError, match=r"`order` must be small enough to number 6 words"):
        given_tags(15).fit(tagged(0))


def test_with_one_tag_for_all_they_are_no_different() -> None:
    """A tag that every sequence begins with says nothing, once it has been seen."""
    rows = tagged(7).sequences()
    rows[:, 1] = 4
    data = SequenceDataset.from_arrays(rows, kind="token", vocabulary=WORDS)
    tiny = 1e-9
    told, plain = given_tags(2, pseudo_counts=tiny).fit(data), NGram(2, pseudo_counts=tiny).fit(data)
    inputs = rows[:, :-1]
    torch.testing.assert_close(told.forecast(inputs)[:, 2:], plain.forecast(inputs)[:, 2:])
