from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import qdyn
from qdyn.data.recipes import read_recipe
from qdyn.data.text.meaning import MeaningClassification
from qdyn.errors import ConfigError

RULES = {
    "a": ("who cooks", "who eats soup"),
    "b": ("who codes",),
    "who": ("she", "he", "tall who_else"),
    "who_else": ("man",),
}


def source(**changes: Any) -> MeaningClassification:
    return MeaningClassification(**{"classes": {"food": "a", "IT": "b"}, "rules": RULES, **changes})


def test_every_sentence_of_the_grammar_stands_once() -> None:
    found = source().sentences
    assert len(found) == 3 * 2 + 3
    assert (("tall", "man", "eats", "soup"), "food") in found
    assert len({words for words, _ in found}) == len(found)


def test_splits_share_no_sentence_and_labels_are_those_of_the_grammar() -> None:
    data = qdyn.load_dataset("meaning-classification", progress=False)
    made = read_recipe("meaning-classification").make_source()
    assert isinstance(made, MeaningClassification)
    known = dict(made.sentences)
    words, lengths = data.metadata.vocabulary or (), data.backing.lengths
    assert lengths is not None
    seen = []
    for row, length in zip(data.sequences().tolist(), lengths.tolist(), strict=True):
        begin, *sentence, end, label = (words[number] for number in row[:length])
        assert (begin, end) == ("<s>", "</s>")
        assert label == f"<label={known[tuple(sentence)]}>"
        seen.append(tuple(sentence))
    assert len(set(seen)) == len(seen) == 400
    # As large as the card says.
    assert len(known) == made.limit() == 1152


def test_no_word_but_the_label_tells_the_class_of_every_sentence() -> None:
    made = read_recipe("meaning-classification").make_source()
    assert isinstance(made, MeaningClassification)
    of = {
        name: {word for words, one in made.sentences if one == name for word in words}
        for name in made.classes
    }
    assert {"woman", "prepares", "good", "cookies", "spam"} <= of["food"] & of["IT"]


@pytest.fixture(scope="module")
def agreement() -> dict[tuple[str, ...], str]:
    made = read_recipe("agreement").make_source()
    assert isinstance(made, MeaningClassification)
    return dict(made.sentences)


def test_every_agreeing_sentence_has_a_twin_of_the_same_words(agreement: dict[tuple[str, ...], str]) -> None:
    """The subject and the noun after it, swapped: no function of the words without their order can tell."""
    for words, name in agreement.items():
        the, subject, nearby, again, other, *rest = words
        assert the == again == "the"
        twin = (the, other, nearby, again, subject, *rest)
        assert {name, agreement[twin]} == {"agrees", "differs"}


def test_words_and_neighbours_are_as_frequent_in_either_class(agreement: dict[tuple[str, ...], str]) -> None:
    """So that a linear classifier of them has nothing to learn: the best there is gives both classes 1/2."""
    counts = {name: Counter[object]() for name in ("agrees", "differs")}
    for words, name in agreement.items():
        counts[name].update(words)
        counts[name].update(zip(("<s>", *words), (*words, "</s>"), strict=True))
    assert counts["agrees"] == counts["differs"]
    assert min(len(words) for words in agreement) == 9
    assert len(agreement) == 36_864


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": {"food": "a"}}, "at least two classes"),
        ({"classes": {"food": "a", "IT": "c"}}, "`classes.IT` must be a phrase with rules, but is 'c'"),
        ({"classes": {"food": "a", "I T": "b"}}, "names without white space"),
        (
            {"rules": {**RULES, "b": ("who cooks",)}},
            "must give each sentence once, but give 'she cooks' twice",
        ),
        ({"rules": {**RULES, "who": ("she", "who")}}, "`rules.who` must not contain itself"),
        ({"rules": {**RULES, "who": ()}}, "`rules.who` must hold expansions"),
        ({"rules": {**RULES, "who": ("<label=IT>",)}}, "must not contain the words that frame"),
    ],
)
def test_grammars_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        source(**changes)
