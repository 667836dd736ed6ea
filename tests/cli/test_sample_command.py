"""`qdyn sample` as a person types it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qdyn.cli import main
from qdyn.data.load import load_dataset
from qdyn.data.molecules.properties import PROPERTIES
from qdyn.data.smiles import published_split
from qdyn.evaluation.molecules.metrics import TrainingMolecules

pytest.importorskip("rdkit")
Typed = Callable[..., subprocess.CompletedProcess[str]]

PRESET = """
name: told
dataset: {name: few.h5}
model: {kind: hybrid_decoder, score: quantum, conditions: [LogP, TPSA], block: 12, standardise: true}
training: {loss: L_1, steps: 25, batch_size: 16, learning_rate: 1e-2, schedule: constant, seeds: [0, 1]}
"""


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said, which is one line and no result."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of a decoder that is told two properties, trained for a moment."""
    strings = ["C" * n + end for n in range(1, 8) for end in ("", "O", "N", "F", "=O", "(C)C", "(O)C")]
    (tmp_path / "few.smi").write_text("\n".join(strings) + "\n")
    (tmp_path / "told.yaml").write_text(PRESET)
    monkeypatch.chdir(tmp_path)
    assert main(["datasets", "import", "few.smi", "--out", "few.h5"]) == 0
    assert main(["train", "told.yaml"]) == 0
    return tmp_path / "runs" / "told"


def test_molecules_with_a_property(told: Path, typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    done = typed("sample", "runs/told", "-n", "300", "--set", "LogP=1.2", "--seed", "3", "--model", "1")
    assert done.returncode == 0, done.stderr
    assert "300 queries" in done.stdout
    assert "Report: runs/told/samples/report.html" in done.stdout
    table = json.loads((told / "samples" / "table.json").read_text())
    assert table["queries"] == 300
    assert table["settings"]["targets"] == {"LogP": 1.2}
    assert set(table["settings"]["told"]) == {"LogP", "TPSA"}
    assert 0 < table["valid"] <= 300
    (goal,) = (row for row in table["properties"] if row["name"] == "LogP")
    assert goal["distance"]["mean"] == pytest.approx(goal["mean"]["mean"] - 1.2)
    with (told / "samples" / "molecules.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 300
    assert list(rows[0]) == ["drawn", "smiles", "novel", *PROPERTIES]
    assert sum(bool(row["smiles"]) for row in rows) == table["valid"]
    page = (told / "samples" / "report.html").read_text()
    assert page.count("<svg") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://www.rdkit.org", "")
    # Fewer of the same seed are the first of them, whatever works on them.
    again = ["sample", "runs/told", "-n", "20", "--set", "LogP=1.2", "--seed", "3", "--model", "1"]
    assert main([*again, "--workers", "2", "--out", "few"]) == 0
    capsys.readouterr()
    with (told.parents[1] / "few" / "molecules.csv").open() as handle:
        assert list(csv.DictReader(handle)) == rows[:20]
    assert main(["datasets", "import", "few.smi", "--split", "published", "--out", "other.h5"]) == 0
    capsys.readouterr()
    for words, part in (
        (["--dataset", "other.h5"], "must be what the run was trained on, 'few' of digest"),
        (["--set", "LogO=1"], "asks for 'LogO': did you mean 'LogP'?"),
        (["--set", "LogP=400"], "must be near the data, but LogP=400"),
        (["--attention", "CBr"], "'CBr' has the token 'Br', which is not among"),
    ):
        assert main(["sample", "runs/told", *words]) == 2
        assert part in one_line(capsys), words


def test_a_file_is_shared_out_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smiles = ["C" * n for n in range(1, 41)]
    (tmp_path / "chains.smi").write_text("\n".join(smiles) + "\n")
    monkeypatch.chdir(tmp_path)
    assert main(["datasets", "import", "chains.smi", "--split", "published", "--out", "chains.h5"]) == 0
    data = load_dataset(tmp_path / "chains.h5")
    assert data.split_names == ("train", "validation")
    assert TrainingMolecules.of(data).smiles == tuple(published_split(smiles)[0])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--set", "LogP"], "Option --set must be NAME=VALUE with a number, but is 'LogP'"),
        (["--set", "LogP=nan"], "Option --set must be NAME=VALUE with a number"),
        (["--set", "LogP=1", "--set", "LogP=2"], "Option --set gives 'LogP' twice"),
        (["-n", "0"], "Option --number must be an integer >= 1, but is '0'"),
        (["--top-k", "0"], "Option --top-k must be an integer >= 1"),
        (["--temperature", "-1"], "Option --temperature must be a number > 0"),
        ([], "There is no run at nowhere"),
    ],
)
def test_what_is_typed_wrong_is_one_line(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "nowhere", *words]) == 2
    assert part in one_line(capsys)


def test_published_weights(typed: Typed, refused: Callable[..., str], shared: Path, tmp_path: Path) -> None:
    for suffix in ("json", "safetensors"):
        name = f"quantum_sequence.{suffix}"
        shutil.copyfile(shared / "data" / "hybrid_decoder" / name, tmp_path / name)
    nitrofuran = "O=[N+]([O-])c1ccoc1"
    done = typed("sample", "quantum_sequence.safetensors", "-n", "100", "--attention", nitrofuran)
    assert done.returncode == 0, done.stderr
    assert "No novelty: The dataset 'qm9' is not here yet: qdyn datasets fetch qm9." in done.stdout
    table = json.loads((tmp_path / "samples" / "quantum_sequence" / "table.json").read_text())
    assert table["novelty"] is None
    assert table["attention"]["smiles"] == nitrofuran
    told = refused("sample", "quantum_sequence.safetensors", "--set", "LogP=1")
    assert told == "Argument `targets` asks for 'LogP', but the model is told no conditions."


def test_sentences(typed: Typed, refused: Callable[..., str], tmp_path: Path) -> None:
    settings = ["--set", "training.steps=3", "--seeds", "0", "--out", "run"]
    done = typed("train", "qsa-grammar", *settings)
    assert done.returncode == 0, done.stderr
    done = typed("sample", "run", "-n", "7")
    assert done.returncode == 0, done.stderr
    assert "7 sentences: run/samples/sentences.txt" in done.stdout
    assert len((tmp_path / "run" / "samples" / "sentences.txt").read_text().splitlines()) == 7
    assert "is for molecules" in refused("sample", "run", "--set", "LogP=1")
