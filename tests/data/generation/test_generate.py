from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn import load_dataset
from qdyn.data.generation import estimate as estimate_module
from qdyn.data.generation import generate as generate_module
from qdyn.data.generation.generate import generate
from qdyn.data.generation.shards import Job
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.errors import ArgumentError, ConfigError, DatasetError, MemoryLimitError, OutputError

TFIM = Recipe(
    "chain", "trajectories", 11, {"train": 90, "validation": 10, "test": 50},
    {
        "hamiltonian": {
            "model": "transverse_field_ising", "n_sites": 3,
            "coupling": {"uniform": [0.2, 2.0]}, "field": {"uniform": [0.2, 2.0]},
        },
        "time_step": 0.3, "n_steps": 7,
    },
    phase_convention="raw",
)  # fmt: skip
WALK = Recipe(
    "walk", "markov", 5, {"train": 20, "test": 10},
    {"dimension": 3, "n_steps": 6, "persistence": 0.8, "noise": 0.6},
)  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(TFIM, tmp_path_factory.mktemp("reference") / "chain", progress=False)


def digest(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_text())["digest"])


@pytest.mark.parametrize("shard_size", [150, 64, 37, 16])
def test_shards_do_not_change_a_bit(reference: Path, tmp_path: Path, shard_size: int) -> None:
    folder = generate(TFIM, tmp_path / "a", shard_size=shard_size, progress=False)
    found, wanted = load_dataset(folder, verify=True), load_dataset(reference)
    assert digest(folder) == digest(reference) == found.metadata.digest
    assert torch.equal(found.sequences().view(torch.float32), wanted.sequences().view(torch.float32))
    assert {name: values.tolist() for name, values in found.conditions.items()} == {
        name: values.tolist() for name, values in wanted.conditions.items()
    }
    assert len(list(folder.glob("shard-*.h5"))) == -(-150 // shard_size)


def test_a_smaller_set_begins_like_the_recipe(reference: Path, tmp_path: Path) -> None:
    folder = generate(TFIM, tmp_path / "a", size=15, progress=False)
    small, whole = load_dataset(folder), load_dataset(reference)
    assert torch.equal(small.sequences(), whole.sequences()[:15])
    assert [len(small.split(name)) for name in small.split_names] == [9, 1, 5]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["provenance"]["size"] == 15
    assert manifest["recipe"]["splits"] == {"train": 9, "validation": 1, "test": 5}


RUN = """
import sys
from pathlib import Path
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
if __name__ == "__main__":
    generate(read_recipe(sys.argv[1]), sys.argv[2], workers=int(sys.argv[3]), shard_size=40, progress=False)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_9_costs_only_what_was_unfinished(tmp_path: Path, workers: int) -> None:
    recipe = tmp_path / "recipe.yaml"
    # Big enough for the signal to arrive in the middle: a shard takes a few hundredths of a second.
    recipe.write_text(
        "name: slow\nsource: markov\nseed: 3\nsplits: {train: 940, test: 20}\n"
        "parameters: {dimension: 16, n_steps: 400, persistence: 0.8, noise: 0.6}\n"
    )
    script = tmp_path / "run.py"
    script.write_text(RUN)
    out = tmp_path / "out"
    command = [sys.executable, str(script), str(recipe), str(out), str(workers)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("shard-*.h5"))) < 4:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The workers of a killed parent end by themselves.
    while _group_lives(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    assert 4 <= len(before) < 24
    assert not (out / "manifest.json").exists()
    with pytest.raises(DatasetError, match="has not been finished"):
        load_dataset(out)
    # A finished shard that has been damaged since is made again.
    with (out / "shard-00002.h5").open("r+b") as handle:
        handle.seek(-100, os.SEEK_END)
        handle.write(b"damaged")

    generate(read_recipe(recipe), out, progress=False)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    assert len(after) == 24
    assert {name for name in before if before[name] != after[name]} == {"shard-00002.h5"}
    assert not [path.name for path in out.iterdir() if not path.name.startswith(("shard-", "manifest"))]
    fresh = generate(read_recipe(recipe), tmp_path / "fresh", progress=False)
    assert digest(out) == digest(fresh)
    assert torch.equal(load_dataset(out, verify=True).sequences(), load_dataset(fresh).sequences())


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_finished_dataset_is_left_alone(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in reference.iterdir()}
    generate(TFIM, reference)
    assert "holds this dataset already" in capsys.readouterr().err
    with pytest.raises(OutputError, match="holds another dataset, 'chain' of 150 sequences"):
        generate(WALK, reference, progress=False)
    with pytest.raises(OutputError, match="holds another dataset"):
        generate(TFIM, reference, size=10, progress=False)
    assert {path: path.stat().st_mtime_ns for path in reference.iterdir()} == before


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds something else \(thesis.tex\)"):
        generate(WALK, tmp_path, progress=False)
    with pytest.raises(OutputError, match="it is a file"):
        generate(WALK, tmp_path / "thesis.tex", progress=False)
    with pytest.raises(OutputError, match="Cannot make the folder"):
        generate(WALK, tmp_path / "thesis.tex" / "below", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "years of work"

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(OutputError, match="holds something else"):
        generate(WALK, foreign, progress=False)
    assert (foreign / "manifest.json").read_text() == '{"name": "an app"}'


def test_an_unfinished_dataset_goes_on_only_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = generate_module.make_shard

    def interrupted(job: Job, number: int, told: object = None) -> int:
        if number == 2:
            raise KeyboardInterrupt
        return genuine(job, number, told)

    monkeypatch.setattr(generate_module, "make_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(WALK, tmp_path / "a", shard_size=7, progress=False)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="in shards of 7 sequences"):
        generate(WALK, tmp_path / "a", shard_size=8, progress=False)
    with pytest.raises(OutputError, match="unfinished dataset of another recipe"):
        generate(TFIM, tmp_path / "a", progress=False)
    generate(WALK, tmp_path / "a", progress=False)
    assert len(load_dataset(tmp_path / "a", verify=True)) == 30
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "generating.json").write_text("{")
    with pytest.raises(OutputError, match="cannot be read"):
        generate(WALK, tmp_path / "b", progress=False)


def test_what_cannot_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda path: usage(2, 1, 1000))
    with pytest.raises(OutputError, match=r"walk needs .* KiB on disk, but 1000 B are free"):
        generate(WALK, tmp_path / "a")
    assert "walk: 30 sequences, 30 to make: " in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "1000")
    with pytest.raises(MemoryLimitError, match="Generating walk with 1 worker"):
        generate(WALK, tmp_path / "a", progress=False)
    assert list((tmp_path / "a").iterdir()) == []


def test_progress_shows_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(WALK, tmp_path / "a")
    assert "30/30" in capsys.readouterr().err
    generate(WALK, tmp_path / "b", progress=False)
    assert capsys.readouterr().err == ""


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    with generate_module._locked(tmp_path), pytest.raises(OutputError, match="Another process is generating"):
        generate(WALK, tmp_path, progress=False)


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"shard_size": 0}, {"size": 0}])
def test_wrong_arguments_get_one_line(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=f"`{next(iter(wrong))}` must be an integer >= 1"):
        generate(WALK, tmp_path / "a", progress=False, **wrong)
    with pytest.raises(ConfigError, match="Unknown recipe 'tfim-4p': did you mean 'tfim-4q'"):
        generate("tfim-4p", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_blocks_are_whole_and_aligned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdyn.data.markov import MarkovSphere

    asked = []
    genuine = MarkovSphere.block

    def noted(self: MarkovSphere, *, first: int, count: int, **rest: object) -> object:
        asked.append((first, count))
        return genuine(self, first=first, count=count, **rest)

    monkeypatch.setattr(MarkovSphere, "block", noted)
    generate(WALK.resized(150), tmp_path / "a", shard_size=70, progress=False)
    assert set(asked) == {(0, 64), (64, 64), (128, 64)}
    assert np.unique([first for first, _ in asked]).tolist() == [0, 64, 128]
