"""What each command does when all goes well, is interrupted, or is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import qdyn
from qdyn import load_dataset
from qdyn.config import build, read_yaml
from qdyn.shipped import shipped_names
from qdyn.training.config import RunConfig, load_config

EXECUTABLE = Path(sys.executable).parent / "qdyn"
TINY = ["--seeds", "0", "1", "--set", "training.steps=4", "--set", "model.layers=2"]


def done(completed: subprocess.CompletedProcess[str]) -> str:
    """What a command that succeeded wrote to standard output."""
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestListings:
    @pytest.mark.parametrize("kind", ["datasets", "models"])
    def test_lists_name_every_shipped_file(self, typed, kind):
        listed = done(typed(kind)).split("\n\n")[0]
        names = [line.split()[0] for line in listed.splitlines() if line[0] != " "]
        assert names == shipped_names(kind)

    def test_every_attention_mechanism_has_a_line_and_a_page(self, typed, tmp_path):
        listed = done(typed("models")).split("\n\n")[3]
        assert tuple(line.split()[0] for line in listed.splitlines()) == qdyn.attention.names()
        shown = done(typed("models", "gaussian_projected"))
        assert "Source: Li, Zhao, Wang" in shown
        (tmp_path / "mine.yaml").write_text(
            "name: mine\ndataset: {name: grammar}\n" + shown[shown.index("model:") :]
        )
        resolved = yaml.safe_load(done(typed("train", "mine.yaml", "--print-config")))
        assert resolved["model"]["attention_options"]["ansatz"] == "layered"

    def test_a_printed_preset_is_a_start_for_another(self, typed, tmp_path):
        text = done(typed("models", "qsa-tfim-4q"))
        assert "#" in text, "the comments come along"
        (tmp_path / "mine.yaml").write_text(text.replace("steps: 400", "steps: 7"))
        shown = done(typed("train", "mine.yaml", "--print-config"))
        assert yaml.safe_load(shown)["training"]["steps"] == 7

    def test_a_printed_recipe_is_a_start_for_another(self, typed, tmp_path):
        (tmp_path / "mine.yaml").write_text(done(typed("datasets", "markov-sphere")))
        assert done(typed("generate", "mine.yaml", "--size", "4", "--out", "data")) == "data\n"
        assert len(load_dataset(tmp_path / "data")) == 4


class TestShippedFiles:
    """Every YAML that ships is read by the command that it is for."""

    @pytest.mark.parametrize("name", shipped_names("models"))
    def test_preset(self, typed, tmp_path, name):
        shown = done(typed("train", name, "--print-config", "--set", "training.steps=3", "--seeds", "5"))
        (tmp_path / "shown.yaml").write_text(shown)
        resolved = build(RunConfig, read_yaml(tmp_path / "shown.yaml"), where="shown")
        assert resolved == load_config(name, overrides=["training.steps=3"]).with_seeds([5])

    @pytest.mark.parametrize("name", shipped_names("datasets"))
    def test_recipe(self, typed, tmp_path, name):
        assert done(typed("generate", name, "--size", "7")) == f"data/{name}\n"
        assert len(load_dataset(tmp_path / "data" / name)) == 7


class TestGenerate:
    def test_the_same_bits_for_any_workers_and_shards(self, typed, tmp_path):
        done(typed("generate", "tfim-4q", "--size", "14", "--out", "a"))
        done(
            typed("generate", "tfim-4q", "--size", "14", "--out", "b", "--workers", "2", "--shard-size", "5")
        )
        one, two = load_dataset(tmp_path / "a"), load_dataset(tmp_path / "b")
        assert one.metadata.digest == two.metadata.digest
        assert bool((one.sequences() == two.sequences()).all())

    def test_progress_goes_to_standard_error(self, typed):
        shown = typed("generate", "tfim-4q", "--size", "14", "--out", "a")
        assert done(shown) == "a\n"
        assert "14 sequences" in shown.stderr


class TestTrainAndEvaluate:
    def test_from_training_to_a_report_and_back(self, typed, refused, tmp_path):
        shown = done(typed("train", "qsa-tfim-4q", "--out", "run", *TINY))
        assert "qdyn evaluate run" in shown, "it says how to go on"
        table = done(typed("evaluate", "run"))
        for part in (
            "L_1",
            "fidelity",
            "horizon",
            "Persistence",
            "Procrustes",
            "Report: run/evaluation/report.html",
        ):
            assert part in table
        assert (tmp_path / "run" / "evaluation" / "report.html").stat().st_size > 10_000
        plain = done(typed("evaluate", "run", "--out", "plain", "--no-baselines", PYTHONIOENCODING="ascii"))
        assert "a ? b: mean and sample standard deviation" in plain
        finished = bytes_of(tmp_path / "run")
        assert "already holds a run" in refused("train", "qsa-tfim-4q", "--out", "run", *TINY)
        done(typed("train", "qsa-tfim-4q", "--out", "run", *TINY, "--resume"))
        assert bytes_of(tmp_path / "run") == finished

    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
    def test_what_was_stopped_goes_on_to_the_same_bits(self, typed, tmp_path, stop):
        words = ["train", "qsa-tfim-4q", "--seeds", "0", "1", "--set", "model.layers=2"]
        words += ["--set", "training.steps=150", "--set", "training.checkpoint_every=5"]
        process = subprocess.Popen(
            [EXECUTABLE, *words, "--out", "cut"],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_for(tmp_path / "cut" / "checkpoint.safetensors", process)
        process.send_signal(stop)
        _, said = process.communicate(timeout=120)
        if stop == signal.SIGINT:
            assert process.returncode == 130
            assert said.splitlines()[-1].startswith("qdyn: Interrupted after step ")
            assert "--resume" in said.splitlines()[-1]
            assert "Traceback" not in said
        assert not (tmp_path / "cut" / "weights.safetensors").exists()
        done(typed(*words, "--out", "cut", "--resume"))
        done(typed(*words, "--out", "whole"))
        cut, whole = (tmp_path / name / "weights.safetensors" for name in ("cut", "whole"))
        assert cut.read_bytes() == whole.read_bytes()


class TestDemo:
    def test_quick_demo_is_repeatable_and_says_what_it_is(self, typed, refused, tmp_path):
        shown = typed("demo", "--quick")
        text = done(shown)
        for part in (
            "L_1",
            "L_1/2",
            "fidelity",
            "horizon",
            "Chance",
            "Persistence",
            "Procrustes",
            "In-context",
        ):
            assert part in text
        assert "This was the quick demo" in text
        assert "Report: qdyn-demo-quick/report.html" in text
        assert [f"[{step}/3]" in shown.stderr for step in (1, 2, 3)] == [True] * 3
        folder = tmp_path / "qdyn-demo-quick"
        assert "<html" in (folder / "report.html").read_text()
        assert load_dataset(folder / "dataset").metadata.name == "tfim-4q"
        weights = folder / "run" / "weights.safetensors"
        written = weights.stat().st_mtime_ns
        assert "other settings" in refused("demo", "--quick", "--seeds", "3")
        assert "other settings" in refused("demo", "--out", "qdyn-demo-quick")
        again = typed("demo", "--quick")
        assert "already finished" in again.stderr
        assert weights.stat().st_mtime_ns == written
        assert done(again).splitlines()[:10] == text.splitlines()[:10]

    def test_an_interrupted_demo_goes_on(self, typed, tmp_path):
        process = subprocess.Popen(
            [EXECUTABLE, "demo", "--quick"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_for(tmp_path / "qdyn-demo-quick" / "run" / "run.json", process)
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=120)
        assert (process.returncode, shown) == (130, "")
        assert said.splitlines()[-1] == "qdyn: Interrupted: the same command goes on where it stopped."
        assert "Report: " in done(typed("demo", "--quick"))


class TestDoctor:
    def test_names_what_matters(self, typed):
        shown = done(typed("doctor"))
        for part in (
            "qdyn ",
            "python",
            "torch ",
            "h5py ",
            "threads",
            "BLAS",
            "devices",
            "cache",
            "extra dev",
        ):
            assert part in shown

    def test_warns_of_the_other_distribution_of_this_name(self, typed, tmp_path):
        # What pip leaves behind when that one is installed.
        metadata = tmp_path / "site" / "qdyn-0.3.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: qdyn\nVersion: 0.3\n")
        found = typed("doctor", PYTHONPATH=str(tmp_path / "site"))
        assert found.returncode == 1
        assert "pip uninstall qdyn qdyn-toolkit" in found.stdout

    def test_warns_of_a_cache_that_cannot_be_written(self, typed, tmp_path):
        (tmp_path / "taken").write_text("")
        found = typed("doctor", QDYN_CACHE="taken")
        assert found.returncode == 1
        assert "set QDYN_CACHE" in found.stdout


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
