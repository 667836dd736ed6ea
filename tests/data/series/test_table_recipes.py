"""Recipes of tables of one's own: which table the data are of, and which names its columns may have."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import qdyn
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.errors import ConfigError, DatasetError, OutputError

RECIPE = {
    "name": "mine",
    "source": "time_series",
    "seed": 0,
    "splits": {"train": 4, "test": 2},
    "precision": "double",
    "parameters": {
        "csv": "t.csv",
        "columns": ["a"],
        "n_steps": 2,
        "scaling": "none",
        "segments": {"train": [0, 8], "test": [8, 12]},
    },
}


def project(folder: Path, *, offset: float, **changes: object) -> Path:
    """A folder with the recipe and a table whose entry in row k is k + offset."""
    folder.mkdir(exist_ok=True)
    recipe = {**RECIPE, "parameters": {**RECIPE["parameters"], **changes}}  # type: ignore[dict-item]
    (folder / "t.yaml").write_text(yaml.safe_dump(recipe))
    rows = [f"{row},{row + offset}" for row in range(12)]
    (folder / "t.csv").write_text("\n".join(["t,a", *rows]) + "\n")
    return folder


def first_value() -> float:
    return qdyn.load_dataset("./t.yaml", progress=False).sequences([0])[0, 0, 0].item()


def test_two_projects_do_not_share_a_table_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, offset in ((tmp_path / "one", 100.0), (tmp_path / "two", 200.0)):
        monkeypatch.chdir(project(folder, offset=offset))
        assert first_value() == offset
    monkeypatch.chdir(tmp_path / "one")
    assert first_value() == 100


def test_data_follow_a_table_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path, offset=0.0))
    assert first_value() == 0
    generate("./t.yaml", "made", progress=False)
    project(tmp_path, offset=7.0)
    assert first_value() == 7
    with pytest.raises(OutputError, match="holds another dataset"):
        generate("./t.yaml", "made", progress=False)


def test_a_stated_checksum_stands_for_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint rests on it already: what has been made needs the table no more."""
    monkeypatch.chdir(project(tmp_path, offset=3.0))
    (found,) = read_recipe("./t.yaml").make_source().file_checksums().values()
    project(tmp_path, offset=3.0, sha256=found)
    assert first_value() == 3
    (tmp_path / "t.csv").unlink()
    assert first_value() == 3
    project(tmp_path, offset=3.0)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(DatasetError, match=r"^t\.csv: cannot be read as a table: No such file"):
        qdyn.load_dataset("./t.yaml", progress=False)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["km/h"], "`columns` must hold names without '/', but has 'km/h'"),
        (["a", "."], "`columns` must hold names of arrays, but has '.'"),
        ([""], "`columns` must hold names of arrays, but has ''"),
        (["a", "b", "a"], "`columns` must name a column once, but names 'a' twice"),
    ],
)
def test_names_that_no_file_can_hold_are_refused_up_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    """Before anything is computed, so that the folder is left free for the mended recipe."""
    monkeypatch.chdir(project(tmp_path, offset=0.0, columns=names))
    with pytest.raises(ConfigError) as caught:
        generate("./t.yaml", "made", progress=False)
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.yaml: ")
    project(tmp_path, offset=5.0)
    assert qdyn.load_dataset(generate("./t.yaml", "made", progress=False)).conditions["start"][0] == 0
