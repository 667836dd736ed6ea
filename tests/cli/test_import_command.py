"""`qdyn datasets import`: what it takes a file for, what it refuses, and that no file of the user is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import qdyn
from qdyn.cli import main

SENTENCES = "".join(f"the cat number{row} sleeps\n" for row in range(20))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text(SENTENCES)
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert main(["datasets", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("mine.txt", "Option --out must not be the file that is read"),
        ("link.h5", "Option --out must not be the file that is read"),
        ("./sub/../mine.txt", "Option --out must not be the file that is read"),
        ("notes.md", "Option --out must be a new file or a dataset of qdyn's, but 'notes.md'"),
        ("steps.h5", "Option --out must be a new file or a dataset of qdyn's, but 'steps.h5'"),
        ("new.yaml", "Option --out must name an HDF5 file, not a recipe"),
        ("new.YML", "Option --out must name an HDF5 file, not a recipe"),
    ],
)
def test_no_file_of_the_user_is_replaced(
    folder: Path, out: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sub").mkdir()
    (folder / "link.h5").symlink_to("mine.txt")
    (folder / "notes.md").write_text("mine")
    qdyn.evolve(qdyn.XXZ(2), "01", [0.0, 1.0]).save(folder / "steps.h5")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert message in refusal(capsys, "import", "mine.txt", "--out", out)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_an_imported_dataset_may_be_replaced(folder: Path) -> None:
    for longest in ("4", "7"):
        assert main(["datasets", "import", "mine.txt", "--out", "text.h5", "--longest", longest]) == 0
    assert qdyn.load_dataset("text.h5").n_steps == 8


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Great!\t1\n" + "I liked it\t1\nI did not\t0\n" * 5, "labelled"),
        ("sentence\tlabel\n" + "I liked it\t1\nI did not\t0\n" * 5, "labelled"),
        ("I said so\tonce\n" + "the cat sleeps\na dog runs\n" * 5, "sentences"),
        ("CCO\t1\nCCN\t1\nCCC\t0\nCCCO\t0\n", "molecules"),
    ],
)
def test_most_lines_decide_what_a_text_holds(folder: Path, text: str, kind: str) -> None:
    (folder / "lines.txt").write_text(text)
    assert main(["datasets", "import", "lines.txt", "--out", "lines.h5"]) == 0
    found = qdyn.load_dataset("lines.h5").metadata
    source = {"labelled": "labelled_sentences"}.get(kind, kind)
    assert found.recipe["source"] == source
    assert ("<label=positive>" in (found.vocabulary or ())) == (kind == "labelled")


def test_names_and_molecules_are_no_labelled_sentences(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "named.txt").write_text("ethanol\tCCO\nmethane\tC\nbenzene\tc1ccccc1\n")
    assert "no molecule that RDKit accepts" in refusal(capsys, "import", "named.txt", "--out", "a.h5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "a.smi", "--longest", "3"], "Option --longest is not for molecules, which a.smi holds"),
        (["import", "a.smi", "--tags", "charge"], "Option --tags is not for molecules"),
        (["import", "a.smi", "--word", "3"], "Option --word is not for molecules"),
        (["import", "a.smi", "--url", "file:x"], "Option --url is not for molecules"),
        (["import", "a.fasta", "--column", "X"], "Option --column is not for proteins"),
        (["import", "a.fasta", "--split", "random"], "Option --split is not for proteins"),
        (["import", "mine.txt", "--workers", "1"], "Option --workers is not for sentences"),
        (
            ["import", "mine.txt", "--as", "labelled", "--word", "3"],
            "Option --word is not for labelled sentences",
        ),
        (["fetch", "qm9", "--column", "X"], "Option --column is not for `qdyn datasets fetch`"),
        (["tfim-4q"], "Option --out is for `qdyn datasets fetch` and `import`"),
        ([], "Option --out is for `qdyn datasets fetch` and `import`"),
    ],
)
def test_an_option_is_never_ignored(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.smi").write_text("CO\nCC\nCCC\n")
    (folder / "a.fasta").write_text(">a\nMKV\n>b\nWWW\n")
    out = [] if arguments[:1] == ["fetch"] else ["--out", "new.h5"]
    assert message in refusal(capsys, *arguments, *out)
    assert not (folder / "new.h5").exists()
