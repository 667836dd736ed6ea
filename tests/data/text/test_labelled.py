from __future__ import annotations

from pathlib import Path

import pytest
import torch

import qdyn
from qdyn.data.tags import among, label_numbers, label_steps, read_tag, tag, tag_numbers
from qdyn.data.text.labelled import read_labelled_sentences, words_of
from qdyn.errors import ArgumentError, DatasetError

LINES = (
    "So there is no way for me to plug it in here.\t0\n"
    "Good case, Excellent value.  \t1\n\n"
    "Wasn't\x85worth it!\t0\r\n"
    "Great\tfor the jawbone.\t1\n"
    "...\t1\n"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cells_labelled.txt"
    path.write_text(LINES, newline="")
    return path


def said(dataset: qdyn.SequenceDataset) -> list[list[str]]:
    words = dataset.metadata.vocabulary or ()
    lengths = dataset.backing.lengths
    assert lengths is not None
    rows = zip(dataset.sequences().tolist(), lengths.tolist(), strict=True)
    return [[words[number] for number in row[:length]] for row, length in rows]


def test_the_sentiment_format_is_read_line_by_line(file: Path) -> None:
    """A tab within a sentence, and a character that Python takes for the end of a line, are part of it."""
    found = read_labelled_sentences(file, shares={"train": 1.0})
    assert found.classes == {"negative": 2, "positive": 2}
    assert found.left_out == 1
    sentences = said(found.dataset)
    assert ["<s>", "wasn't", "worth", "it", "!", "</s>", "<label=negative>"] in sentences
    assert ["<s>", "great", "for", "the", "jawbone", "</s>", "<label=positive>"] in sentences
    assert all(read_tag(words[-1]) for words in sentences)


def test_the_label_is_the_last_thing_to_forecast(file: Path) -> None:
    data = read_labelled_sentences(file, shares={"train": 1.0}).dataset
    batch = data.batch(range(len(data)))
    steps = label_steps(batch.targets, label_numbers(data.metadata.vocabulary), batch.mask)
    assert steps.sum(dim=1).tolist() == [1] * len(data)
    last = batch.mask.sum(dim=1) - 1
    assert steps.int().argmax(dim=1).tolist() == last.tolist()


def test_words_outside_the_training_split_are_unknown(tmp_path: Path) -> None:
    lines = [f"{'x' * (place + 1)} again\t{place % 2}" for place in range(40)]
    (tmp_path / "many.txt").write_text("\n".join(lines))
    found = read_labelled_sentences(tmp_path / "many.txt", shares={"train": 0.5, "test": 0.5}, seed=1)
    assert found.unknown == {"train": 0.0, "test": pytest.approx(0.5)}
    test = said(found.dataset)[20:]
    assert all(words[1:3] == ["<unk>", "again"] or words[1] != "<unk>" for words in test)
    assert (
        read_labelled_sentences(tmp_path / "many.txt", shares={"train": 0.5, "test": 0.5}, seed=1)
        .dataset.sequences()
        .equal(found.dataset.sequences())
    )


def test_other_labels_and_lengths(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("one two three\tspam\none\tham\ntwo one\tspam\n")
    found = read_labelled_sentences(tmp_path / "a.tsv", longest=2, shares={"train": 1.0})
    assert found.classes == {"ham": 1, "spam": 1}
    assert found.left_out == 1
    assert found.dataset.n_steps == 4
    renamed = read_labelled_sentences(
        tmp_path / "a.tsv", names={"spam": "bad", "ham": "good"}, shares={"train": 1.0}
    )
    assert renamed.classes == {"good": 1, "bad": 2}


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("no tab 1\n", {}, DatasetError, "line 1: a sentence, a tab and a label must stand there"),
        ("fine\t1\nnone\t\n", {}, DatasetError, "line 2: "),
        ("fine\tvery good\n", {}, DatasetError, "line 1: "),
        ("\n\n", {}, DatasetError, "holds no sentences"),
        ("a\t1\nb\t1\n", {}, DatasetError, r"must hold at least two labels, but holds \['1'\]"),
        ("a b\t1\nb c\t0\n", {"longest": 1}, DatasetError, "no sentence of 1 to 1 words"),
        ("a\t1\nb\t0\n", {"names": {"1": "good"}}, ArgumentError, "`names` lacks the label '0'"),
        ("a\t1\nb\t0\n", {"vocabulary_size": 3}, ArgumentError, "`vocabulary_size`"),
    ],
)
def test_what_is_no_labelled_file_is_refused(
    tmp_path: Path, text: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(error, match=message):
        read_labelled_sentences(tmp_path / "a.txt", **options)  # type: ignore[arg-type]


def test_a_header_is_no_sentence(tmp_path: Path) -> None:
    """Where labels are numbers it is skipped and told; where they are words it may be one and is refused."""
    file = tmp_path / "a.tsv"
    file.write_text("sentence\tlabel\ngood one\t1\nbad one\t0\n")
    found = read_labelled_sentences(file, shares={"train": 1.0})
    assert found.classes == {"negative": 1, "positive": 1}
    assert str(found).endswith("0 duplicates, a header line skipped")
    file.write_text("sentence\tlabel\na\tham\nb\tspam\nc\tspam\nd\tham\n")
    with pytest.raises(DatasetError, match=r"line 1: the label 'label' stands nowhere else: remove the line"):
        read_labelled_sentences(file)
    kept = read_labelled_sentences(file, names={"label": "x", "ham": "y", "spam": "z"}, shares={"train": 1.0})
    assert kept.classes == {"y": 2, "x": 1, "z": 2}
    file.write_text("a\tham\nb\tspam\nc\tspam\n")
    assert not read_labelled_sentences(file, shares={"train": 1.0}).header


def test_classes_are_counted_without_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("one\t1\nfar too long\t0\n...\t0\n")
    with pytest.raises(
        DatasetError, match=r"of 1 to 2 words of at least two labels, but holds \['positive'\]"
    ):
        read_labelled_sentences(tmp_path / "a.tsv", longest=2)


def test_words_are_cut_at_marks() -> None:
    assert words_of("It’s 3,000 km -- naïve?") == ["it's", "3,000", "km", "naïve", "?"]


def test_tags_are_words_of_their_own_form() -> None:
    words = ["<s>", "<unk>", "a=b", "<x>", tag("family", "zinc  finger"), tag("label", "IT")]
    assert words[4] == "<family=zinc_finger>"
    assert tag_numbers(words) == (4, 5)
    assert tag_numbers(words, "label") == label_numbers(words) == (5,)
    assert tag_numbers(None) == ()
    for key, value in (("", "x"), ("1", "x"), ("family", " "), ("fam ily", "x")):
        with pytest.raises(ArgumentError, match="must make a tag"):
            tag(key, value)


def test_a_forecast_among_a_few_words_keeps_their_ratios() -> None:
    p = torch.tensor([[0.2, 0.1, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    found = among(p, (1, 2))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.25, 0.75, 0.0], dtype=torch.float64))
    torch.testing.assert_close(found[1], torch.tensor([0.0, 0.5, 0.5, 0.0], dtype=torch.float64))
