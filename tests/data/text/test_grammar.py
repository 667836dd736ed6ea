from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

import qdyn
from qdyn.data.recipes import read_recipe
from qdyn.data.source import generator_of
from qdyn.data.text.grammar import Grammar
from qdyn.errors import ConfigError


@pytest.fixture(scope="module")
def english() -> Grammar:
    source = read_recipe("grammar").make_source()
    assert isinstance(source, Grammar)
    return source


@pytest.fixture(scope="module")
def dataset() -> qdyn.SequenceDataset:
    return qdyn.load_dataset("grammar", progress=False)


def derivations(grammar: Grammar, longest: int) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every derivation of at most ``longest`` words with its probability, by exhaustion."""
    pending: list[tuple[tuple[str, ...], tuple[str, ...], float]] = [((), (grammar.start,), 1.0)]
    while pending:
        words, symbols, probability = pending.pop()
        if len(words) + len(symbols) > longest:
            continue
        if not symbols:
            yield words, probability
        elif symbols[0] not in grammar.rules:
            pending.append(((*words, symbols[0]), symbols[1:], probability))
        else:
            rules = grammar.rules[symbols[0]]
            total = sum(rules.values())
            for text, weight in rules.items():
                pending.append((words, (*text.split(), *symbols[1:]), probability * weight / total))


def small(**changes: object) -> Grammar:
    rules = {
        "s": {"np vp": 1, "np that np vp vp": 0.5},
        "np": {"the n": 2, "n": 1},
        "n": {"cat": 3, "dog": 1},
        "vp": {"runs": 1, "sees np": 1.5},
    }
    return Grammar(**{"n_steps": 8, "start": "s", "rules": rules, **changes})


@pytest.mark.parametrize("n_steps", [3, 4, 6, 9])
def test_entropy_by_convolution_is_entropy_by_exhaustion(n_steps: int) -> None:
    found = list(derivations(small(), n_steps - 1))
    kept = sum(probability for _, probability in found)
    shares = [(len(words), probability / kept) for words, probability in found]
    statistics = small(n_steps=n_steps).entropy()
    assert statistics.kept == pytest.approx(kept)
    assert statistics.entropy == pytest.approx(-sum(share * math.log(share) for _, share in shares))
    assert statistics.steps == pytest.approx(1 + sum(length * share for length, share in shares))


def test_recursion_converges() -> None:
    chain = Grammar(n_steps=40, start="s", rules={"s": {"a": 1, "a s": 1}})
    # m words with probability 2**-m: entropy 2 log 2, mean 2, but for the tail beyond 39 words.
    assert chain.entropy().entropy == pytest.approx(2 * math.log(2), rel=1e-9)
    assert chain.entropy().steps == pytest.approx(3, rel=1e-9)
    circle = Grammar(n_steps=3, start="s", rules={"s": {"s": 1, "a": 1, "b b": 2}})
    assert circle.entropy().kept == pytest.approx(1)


def test_sentences_have_the_probabilities_of_the_grammar() -> None:
    grammar = small(n_steps=5)
    found = list(derivations(grammar, 4))
    kept = sum(probability for _, probability in found)
    expected = {words: probability / kept for words, probability in found}
    random = generator_of(4)
    n_drawn = 4000
    drawn = Counter(tuple(grammar.sentence(random)) for _ in range(n_drawn))
    assert set(drawn) <= set(expected)
    chi_square = sum((drawn[words] - n_drawn * p) ** 2 / (n_drawn * p) for words, p in expected.items())
    freedom = len(expected) - 1
    # Five standard deviations of the chi-square distribution; the draw is fixed.
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def test_no_sentence_of_the_recipe_has_two_derivations(english: Grammar) -> None:
    # One word for each class is enough: words of one class are interchangeable, unless a word has two.
    classes = {phrase: rules for phrase, rules in english.rules.items() if not _has_phrases(english, rules)}
    thin = {
        phrase: dict(itertools.islice(rules.items(), 1)) if phrase in classes else rules
        for phrase, rules in english.rules.items()
    }
    thin["article_p"] = {"the": 1}
    grammar = Grammar(n_steps=12, start=english.start, rules=thin)
    sentences = [words for words, _ in derivations(grammar, 11)]
    assert len(sentences) > 1000
    assert len(set(sentences)) == len(sentences)
    belongs = Counter(word for rules in classes.values() for word in rules)
    assert [word for word, count in belongs.items() if count > 1] == ["the"]


def _has_phrases(grammar: Grammar, rules: object) -> bool:
    return any(symbol in grammar.rules for text in rules for symbol in text.split())


def test_a_stored_sentence_begins_ends_and_is_padded(dataset: qdyn.SequenceDataset, english: Grammar) -> None:
    words = dataset.metadata.vocabulary
    assert words == english.vocabulary
    assert words is not None
    assert words[:2] == ("<s>", "</s>")
    assert 40 <= len(words) == len(set(words)) <= 60
    tokens = dataset.sequences().numpy()
    assert (tokens[:, 0] == 0).all()
    mask = dataset.batch(np.arange(len(dataset))).mask.numpy()
    for row, steps in zip(tokens, mask, strict=True):
        count = int(steps.sum())
        assert steps[:count].all()
        assert row[count] == 1  # the last target that exists is the end token
        assert (row[count:] == 1).all()
        assert (row[1:count] > 1).all()
    lengths = mask.sum(axis=1)
    assert lengths.min() >= 3
    assert lengths.max() == dataset.n_steps == 16
    expected = english.entropy()
    assert lengths.mean() == pytest.approx(expected.steps, abs=4 * lengths.std() / math.sqrt(len(lengths)))


def test_subjects_and_verbs_agree(dataset: qdyn.SequenceDataset) -> None:
    words = np.array(dataset.metadata.vocabulary)
    nouns = {"cat", "dog", "girl", "boy", "bird", "teacher"}
    verbs = {"sleep", "sing", "run", "see", "like", "hear", "follow", "think", "say"}
    plain = 0
    for row in dataset.sequences().numpy():
        sentence = [str(word) for word in words[row]]
        place = next(i for i, word in enumerate(sentence) if word.rstrip("s") in nouns)
        following = sentence[place + 1]
        if following.rstrip("s") in verbs:
            plain += 1
            assert sentence[place].endswith("s") != following.endswith("s"), sentence
    assert plain > 1000


def test_a_grammar_that_hardly_fits_is_refused() -> None:
    endless = small(rules={"s": {"a s": 1, "a": 1e-9}}, n_steps=4)
    with pytest.raises(ConfigError, match="raise `n_steps`"):
        endless.sentence(generator_of(0))
