from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import qdyn
from qdyn.data.load import cache_folder
from qdyn.errors import ArgumentError, ConfigError, DatasetError, OutputError

RECIPE = """
name: walk
source: markov
seed: 5
splits: {train: 2000, test: 100}
parameters: {dimension: 4, n_steps: 50, persistence: 0.8, noise: 0.6}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk" / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "walk" / "recipe.yaml"


def test_a_recipe_is_generated_once(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = qdyn.load_dataset(recipe)
    assert "2100/2100" in capsys.readouterr().err
    assert dataset.metadata.name == "walk"
    again = qdyn.load_dataset(recipe.parent, verify=True)
    assert capsys.readouterr().err == ""
    assert torch.equal(again.sequences(), dataset.sequences())
    (entry,) = (tmp_path / "cache" / "datasets").iterdir()
    assert torch.equal(qdyn.load_dataset(entry).sequences(), dataset.sequences())

    recipe.write_text(RECIPE.replace("seed: 5", "seed: 6"))
    other = qdyn.load_dataset(recipe, progress=False)
    assert not torch.equal(other.sequences(), dataset.sequences())
    assert len(list((tmp_path / "cache" / "datasets").iterdir())) == 2


def test_a_fresh_machine_has_the_demo_set_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path))
    began = time.process_time()
    dataset = qdyn.load_dataset("tfim-4q", progress=False)
    assert time.process_time() - began < 5
    assert [len(dataset.split(name)) for name in dataset.split_names] == [256, 64, 128]
    assert dataset.metadata.phase_convention == "first_real"
    assert qdyn.load_dataset("tfim-4q", phase_convention="raw").metadata.phase_convention == "raw"


def test_processes_that_start_together_share_one_dataset(recipe: Path, tmp_path: Path) -> None:
    code = (
        "import qdyn, sys; print(qdyn.load_dataset(sys.argv[1], verify=True, progress=False).metadata.digest)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(recipe)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, results
    assert len({out for out, _ in results}) == 1
    assert [path.name[0] for path in (tmp_path / "cache" / "datasets").iterdir()] == ["w"]


def test_the_cache_goes_on_after_an_interruption(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qdyn.data.generation import generate as generate_module

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_module, "_manifest", stopped)
    with pytest.raises(KeyboardInterrupt):
        qdyn.load_dataset(recipe, progress=False)
    (unfinished,) = (tmp_path / "cache" / "datasets").iterdir()
    shard = unfinished / "shard-00000.h5"
    made = shard.stat().st_mtime_ns
    monkeypatch.undo()
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path / "cache"))
    assert len(qdyn.load_dataset(recipe, progress=False)) == 2100
    (entry,) = (tmp_path / "cache" / "datasets").iterdir()
    assert (entry / "shard-00000.h5").stat().st_mtime_ns == made


def test_a_damaged_cache_says_what_to_delete(recipe: Path, tmp_path: Path) -> None:
    qdyn.load_dataset(recipe, progress=False)
    (entry,) = (tmp_path / "cache" / "datasets").iterdir()
    shard = entry / "shard-00000.h5"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"truncated or changed.*Delete .*walk-"):
        qdyn.load_dataset(recipe, progress=False)
    shutil.rmtree(entry)
    assert len(qdyn.load_dataset(recipe, progress=False)) == 2100


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("QDYN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "x" / "qdyn"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "qdyn")


def test_an_unwritable_cache_gets_one_line(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="Cannot make the folder"):
        qdyn.load_dataset(recipe, progress=False)


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown recipe 'tfim-4': did you mean 'tfim-4q'"):
        qdyn.load_dataset("tfim-4")
    with pytest.raises(DatasetError, match="no such file"):
        qdyn.load_dataset(tmp_path / "no.h5")
    with pytest.raises(ConfigError, match="does not exist"):
        qdyn.load_dataset(tmp_path / "no.yaml")


def test_what_is_no_name_is_refused(as_user: None) -> None:
    with pytest.raises(ArgumentError, match="name of a recipe or a path, not of type Tensor"):
        qdyn.load_dataset(torch.ones(3, 4))  # type: ignore[arg-type]
