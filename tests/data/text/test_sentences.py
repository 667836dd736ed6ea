"""Sentences from a file: what fits, what becomes unknown, and what a bad file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qdyn
from qdyn.data.text.sentences import read_sentences
from qdyn.errors import ArgumentError, DatasetError


def written(folder: Path, text: str) -> Path:
    file = folder / "book.txt"
    file.write_text(text, encoding="utf-8")
    return file


def words_of(dataset: qdyn.SequenceDataset, row: int) -> list[str]:
    vocabulary = dataset.metadata.vocabulary
    assert vocabulary is not None
    batch = dataset.batch([row])
    inputs = batch.inputs[0][batch.mask[0]].tolist()
    last = batch.targets[0][batch.mask[0]].tolist()[-1]
    return [vocabulary[token] for token in [*inputs, last]]


def test_sentences_stand_between_their_ends_and_are_padded(tmp_path: Path) -> None:
    file = written(tmp_path, "the cat sleeps\n\na dog\n" + "word " * 9 + "\n")
    found = read_sentences(file, steps=5, shares={"train": 1.0})
    assert found.left_out == 1
    sentences = sorted(words_of(found.dataset, row) for row in range(2))
    assert sentences == [["<s>", "a", "dog", "</s>"], ["<s>", "the", "cat", "sleeps", "</s>"]]


def test_exact_sentences_are_taken_as_they_are(tmp_path: Path) -> None:
    file = written(tmp_path, "a b c\nd e\na b a\na b c d\n")
    found = read_sentences(file, steps=2, exact=True, shares={"train": 1.0})
    assert found.left_out == 2
    assert sorted(words_of(found.dataset, row) for row in range(2)) == [["a", "b", "a"], ["a", "b", "c"]]
    assert found.dataset.metadata.vocabulary == ("<unk>", "a", "b", "c")


def test_the_vocabulary_is_that_of_the_training_split(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f"common own{line}\n" for line in range(40)))
    found = read_sentences(file, steps=4, seed=3)
    vocabulary = found.dataset.metadata.vocabulary
    assert vocabulary is not None
    assert len(vocabulary) == 3 + 1 + 32
    assert found.unknown["train"] == 0
    assert found.unknown["test"] == pytest.approx(1 / 2)
    assert [len(found.dataset.split(name)) for name in ("train", "validation", "test")] == [32, 4, 4]
    small = read_sentences(file, steps=4, seed=3, vocabulary_size=6)
    assert len(small.dataset.metadata.vocabulary or ()) == 6
    assert small.unknown["train"] == pytest.approx(30 / 64)


@settings(max_examples=25, deadline=None)
@given(
    lines=st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6), min_size=3, max_size=30),
    seed=st.integers(0, 100),
)
def test_every_sentence_comes_back_once(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]], seed: int
) -> None:
    file = written(tmp_path_factory.mktemp("text"), "\n".join(" ".join(words) for words in lines))
    found = read_sentences(file, steps=7, shares={"train": 1.0}, seed=seed).dataset
    back = sorted(words_of(found, row)[1:-1] for row in range(len(found)))
    assert back == sorted(lines)


def test_the_seed_decides_the_splits_and_the_file_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f"w{line}\n" for line in range(30)))
    one, same, other = (read_sentences(file, steps=3, seed=seed).dataset for seed in (1, 1, 2))
    assert np.array_equal(one.sequences(), same.sequences())
    assert not np.array_equal(one.sequences(), other.sequences())
    assert one.metadata.name == "book"
    assert one.metadata.recipe["sha256"] == same.metadata.recipe["sha256"]


def test_it_can_be_saved_and_trained_on_by_its_path(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f"the cat sleeps\na dog runs {row}\n" for row in range(20)))
    read_sentences(file, steps=5).dataset.save(tmp_path / "book.h5")
    again = qdyn.load_dataset(tmp_path / "book.h5")
    assert again.metadata.kind == "token"
    assert again.split_names == ("train", "validation", "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "Argument `steps` must be an integer >= 2, but is 1"),
        ({"vocabulary_size": 2}, "Argument `vocabulary_size` must be an integer >= 4"),
        ({"shares": {"test": 1.0}}, "Argument `shares` must be for 'train'"),
        ({"shares": {"train": 0.5}}, "Argument `shares` must be >= 0 and sum to 1"),
        ({"shares": {"train": 0.0, "test": 1.0}}, "Argument `shares` leaves no training sequence"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_sentences(written(tmp_path, "a b\nc d\n"), **arguments)  # type: ignore[arg-type]


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "tag.txt").write_text("the <label=x> sleeps" + chr(10))
    with pytest.raises(DatasetError, match="holds '<label=x>', which looks like a tag"):
        read_sentences(tmp_path / "tag.txt")
    with pytest.raises(DatasetError, match=r"absent\.txt cannot be read as UTF-8 text: No such file"):
        read_sentences(tmp_path / "absent.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DatasetError, match=r"latin\.txt cannot be read as UTF-8 text: "):
        read_sentences(tmp_path / "latin.txt")
    with pytest.raises(DatasetError, match="no sentence of exactly 33 words among its 1"):
        read_sentences(written(tmp_path, "too short\n"), exact=True)
