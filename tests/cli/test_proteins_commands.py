"""`qdyn datasets import`, `qdyn train` and `qdyn sample` on proteins and labelled sentences of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import qdyn
from qdyn.cli import main
from qdyn.data.proteins.amino_acids import RESIDUES
from qdyn.data.proteins.fasta import read_fasta

PRESET = """
name: small
dataset: {name: mine.h5}
model: {kind: transformer, width: 8, steps: 24}
training: {loss: L_1, steps: 2, batch_size: 8, seeds: [0]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve clusters of three relatives, in two kinds."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    lines = []
    for cluster in range(12):
        base = random.choice(list(RESIDUES), 20)
        for member in range(3):
            changed = np.where(random.random(20) < 0.1, random.choice(list(RESIDUES), 20), base)
            lines.append(f">c{cluster}m{member} kind={'xy'[cluster % 2]}\n{''.join(changed).lower()}\n")
    (tmp_path / "mine.fasta").write_text("".join(lines))
    return tmp_path


def test_proteins_are_imported_trained_on_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "import", "mine.fasta", "--tags", "kind", "--out", "mine.h5"]) == 0
    said = capsys.readouterr().out
    assert "35 distinct proteins, 1 duplicate and 0 too long left out; 12 clusters of at most 40 %" in said
    assert qdyn.load_dataset("mine.h5").metadata.vocabulary[-2:] == ("<kind=x>", "<kind=y>")  # type: ignore[index]
    (folder / "small.yaml").write_text(PRESET)
    assert main(["train", "small.yaml", "--out", "run"]) == 0
    assert main(["sample", "run", "-n", "300", "--tag", "kind=y"]) == 0
    said = capsys.readouterr().out
    assert "300 sequences drawn" in said
    entries = (folder / "run/samples/proteins.fasta").read_text().split(">")[1:]
    assert all(entry.split("\n")[0].split()[1] == "kind=y" for entry in entries)
    # A model that has hardly learned ends a few proteins before they begin; they are counted, not written.
    found = re.search(r"^(\d+) proteins \((\d+) more without residues left out\): ", said, re.MULTILINE)
    assert found is not None
    assert int(found[1]) == len(entries) == 300 - int(found[2])
    assert all(entry.split("\n")[1] for entry in entries)
    assert len(read_fasta("run/samples/proteins.fasta")) == len(entries)


def test_why_the_data_of_a_run_are_missing_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "import", "mine.fasta", "--out", "mine.h5"]) == 0
    (folder / "small.yaml").write_text(PRESET)
    assert main(["train", "small.yaml", "--out", "run"]) == 0
    assert main(["datasets", "import", "mine.fasta", "--tags", "kind", "--out", "mine.h5"]) == 0
    for reason in ("was trained on a dataset 'mine.h5' of digest", "no such file"):
        capsys.readouterr()
        assert main(["sample", "run", "-n", "3"]) == 2
        said = capsys.readouterr().err
        assert "Argument `--dataset` must say what the model was trained on. " in said
        assert reason in said
        assert said.count("\n") == 1
        (folder / "mine.h5").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "mine.fasta", "--tags", "OX", "--out", "a.h5"], "no header of mine.fasta says OX="),
        (["import", "mine.fasta"], "Option --out is missing"),
        (["import", "mine.fasta", "--longest", "5", "--out", "a.h5"], "no protein of at most 5 residues"),
    ],
)
def test_what_can_be_mended_is_told_in_one_line(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["datasets", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            "Loved it!\t1\nNever again.\t0\n" * 6,
            [],
            "12 sentences (6 negative, 6 positive), 0 left out, 10 duplicates",
        ),
        (
            "good\t1\nbad\t0\n" * 6,
            ["--as", "labelled"],
            "12 sentences (6 negative, 6 positive), 0 left out, 10 duplicates",
        ),
        ("the cat sleeps\n" * 10, ["--as", "sentences"], "10 sentences, 0 left out, 9 duplicates"),
        ("I see the cat\n" + "the cat sleeps\n" * 10, [], "11 sentences, 0 left out, 9 duplicates"),
    ],
)
def test_sentences_are_imported(
    folder: Path, text: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.txt").write_text(text)
    assert main(["datasets", "import", "mine.txt", "--out", "text.h5", *options]) == 0
    assert said in capsys.readouterr().out
    assert qdyn.load_dataset("text.h5").metadata.kind == "token"


def test_the_help_is_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "--help"]) == 0
    said = capsys.readouterr().out
    assert "option_strings" not in said
    assert "90 / 5 / 5 % at random" in " ".join(said.split())
