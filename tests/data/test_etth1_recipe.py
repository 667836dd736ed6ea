"""The recipe of ETTh1 under docs/: with the table beside it, the published windows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdyn import load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.errors import DatasetError
from qdyn.models.baselines import Persistence

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "etth1.yaml"


def test_the_recipe_makes_the_published_windows(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = shared / "data" / "ETTh1.csv"
    if not table.is_file():
        pytest.skip("the table ETTh1.csv is not there")
    golden = json.loads((shared / "golden" / "qasa.json").read_text())["etth1"]
    (tmp_path / "ETTh1.csv").symlink_to(table)
    monkeypatch.chdir(tmp_path)
    data = load_dataset(generate(read_recipe(RECIPE), tmp_path / "etth1", progress=False))
    assert [len(data.split(name)) for name in data.split_names] == [500, 500, 500]
    batch = data.split("test").batch(range(500))
    ahead = Persistence().fit(data).forecast(batch.inputs)[:, -1, 0]
    difference = ahead - batch.targets[:, -1, 0]
    errors = [float(difference.abs().mean()), float(difference.square().mean())]
    # Windows are stored in single precision, the table has six digits.
    assert errors == pytest.approx(golden["persistence"], rel=1e-5)


def test_without_the_table_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=r"ETTh1\.csv: cannot be .* table: No such file or directory\.?$"):
        generate(read_recipe(RECIPE), tmp_path / "etth1", progress=False)
