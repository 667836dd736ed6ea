"""Sweeps: what is varied, the table, going on after a kill, and the same figures on a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe
from qdyn.errors import ConfigError, RunError
from qdyn.evaluation.campaigns.sweeps import SweepConfig, load_sweep, run_sweep, trials_of
from qdyn.shipped import shipped_names


@pytest.fixture(scope="module")
def spins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two-site trajectories, in a folder."""
    recipe = Recipe(
        name="pairs",
        source="trajectories",
        seed=1,
        phase_convention="first_real",
        splits={"train": 12, "test": 8},
        parameters={
            "hamiltonian": {
                "model": "transverse_field_ising",
                "n_sites": 2,
                "field": {"uniform": [0.5, 1.5]},
            },
            "time_step": 0.35,
            "n_steps": 8,
        },
    )
    return generate(recipe, tmp_path_factory.mktemp("sweep") / "pairs", progress=False)


def tiny(spins: Path, *, steps: int = 4) -> SweepConfig:
    base = {
        "name": "tiny",
        "dataset": {"name": str(spins)},
        "model": {"layers": 2, "kernel": "monomial", "degree": 1},
        "training": {"steps": steps, "batch_size": 4, "seeds": [0, 1], "checkpoint_every": 5},
        "evaluation": {"context": 4, "rollout_steps": 4},
    }
    return SweepConfig(
        name="tiny",
        base=base,
        grid={"model.degree": (1, 2), "model.layers": (1,)},
        trials={"small": {"model.initial_angle": 0.1}},
        reference="small",
    )


def test_a_grid_is_every_combination_and_keeps_its_types() -> None:
    base = {"name": "a", "dataset": {"name": "waveform"}, "model": {"kind": "series_encoder"}}
    sweep = SweepConfig(
        name="s",
        base=base,
        set={"training.learning_rate_floor": 1e-5, "training.loss": "MSE"},
        grid={
            "dataset.name": ("waveform", "arma"),
            "model.adapter_layers": ((), (2, 3)),
            "model.causal": (True, False),
        },
        trials={"wide": {"model.width": 32}},
    )
    trials = {trial.key: trial.config for trial in trials_of(sweep, overrides=["training.steps=7"])}
    assert len(trials) == 2 * (2 * 2 + 1)
    one = trials["adapter_layers=2+3,causal=false~arma"]
    assert (one.model.adapter_layers, one.model.causal, one.dataset.name) == ((2, 3), False, "arma")  # type: ignore[attr-defined]
    assert (one.training.learning_rate_floor, one.training.steps) == (1e-5, 7)
    assert trials["adapter_layers=none,causal=true~waveform"].model.adapter_layers == ()  # type: ignore[attr-defined]
    assert trials["wide~arma"].model.width == 32  # type: ignore[attr-defined]


def test_trials_are_judged_compared_and_kept(spins: Path, tmp_path: Path) -> None:
    sweep = tiny(spins)
    found = run_sweep(sweep, out=tmp_path, workers=1, progress=False)
    assert list(found.outcomes) == ["degree=1,layers=1", "degree=2,layers=1", "small"]
    content = json.loads((tmp_path / "sweep.json").read_text())
    stored = content["trials"]["small"]["figures"]["test"]["L_1"]["of_each_seed"]
    assert stored == list(found.outcomes["small"].figures["test"]["L_1"].of_each_seed)
    table = (tmp_path / "table.md").read_text()
    assert table == found.table()
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    # The head, three trials and the baselines; only trials are compared, and not with themselves.
    assert len(rows) == 1 + 3 + len(found.untrained[str(spins)])
    assert "test L_1 | minus small" in rows[0].replace("minus small |", "minus small")
    (line,) = (row for row in rows if row.startswith("| **degree=2"))
    mine, theirs = (
        np.array(found.outcomes[key].figures["test"]["L_1"].of_each_seed)
        for key in ("degree=2,layers=1", "small")
    )
    shown = line.split(" | ")[4].split("(")[0]
    last_digit = 10.0 ** -len(shown.partition(".")[2])
    difference = (mine - theirs).mean()
    assert float(shown) == pytest.approx(difference, abs=0.51 * last_digit)
    assert abs(difference) > last_digit, "a column of zeros would pass"
    weights = tmp_path / "runs" / "small" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    again = run_sweep(sweep, out=tmp_path, workers=1, progress=False)
    assert weights.stat().st_mtime_ns == before
    assert again.outcomes == found.outcomes
    with pytest.raises(RunError, match=r"training\.steps"):
        run_sweep(tiny(spins, steps=5), out=tmp_path, workers=1, progress=False)


def test_phases_that_differ_have_a_table_each_with_baselines_of_their_own(
    spins: Path, tmp_path: Path
) -> None:
    base = tiny(spins).base
    sweep = SweepConfig(
        name="phases",
        base=base,
        grid={"dataset.phase_convention": ("raw", "first_real")},
        trials={"as-stored": {}},
    )
    found = run_sweep(sweep, out=tmp_path, workers=1, progress=False)
    raw, real = f"{spins}, raw phases", f"{spins}, first_real phases"
    assert found.datasets == {
        "phase_convention=raw": raw,
        "phase_convention=first_real": real,
        "as-stored": real,
    }
    assert {one.phase_convention for one in found.untrained[raw].values()} == {"raw"}
    # What sees the phases of the models stands beside the same in raw ones.
    assert found.untrained[real]["procrustes"].phase_convention == "first_real"
    tables = found.table().split("\n\n")[1:]
    assert [table.splitlines()[0].split(" | ")[0] for table in tables] == [f"| {raw}", f"| {real}"]
    assert "phase_convention=raw" in tables[0]
    assert "phase_convention=raw" not in tables[1]
    # One convention alone needs no word.
    assert set(run_sweep(tiny(spins), out=tmp_path / "one", workers=1).datasets.values()) == {str(spins)}


def test_only_the_same_seeds_are_compared_one_by_one(spins: Path, tmp_path: Path) -> None:
    sweep = replace(
        tiny(spins),
        grid={},
        trials={"small": {}, "deep": {"model.degree": 2}, "others": {"training.seeds": [7, 8]}},
        baselines=False,
    )
    found = run_sweep(sweep, out=tmp_path, workers=1, progress=False)
    assert found.outcomes["others"].seeds == (7, 8)

    def against_small(key: str) -> str:
        (line,) = (row for row in found.table().splitlines() if row.startswith(f"| **{key}**"))
        return line.split(" | ")[4]

    assert "(" in against_small("deep")
    assert against_small("others") == "–"
    assert against_small("small") == "–"
    # A file from before seeds were kept: they are those of the configuration.
    path = tmp_path / "outcomes" / "others.json"
    content = json.loads(path.read_text())
    assert content.pop("seeds") == [7, 8]
    path.write_text(json.dumps(content))
    assert run_sweep(sweep, out=tmp_path, workers=1, progress=False).outcomes == found.outcomes


def test_a_killed_sweep_keeps_what_is_finished_and_ends_the_same(spins: Path, tmp_path: Path) -> None:
    sweep = tiny(spins, steps=40)
    content = {
        "name": "tiny",
        "base": sweep.base,
        "trials": {"a": {}, "b": {"model.degree": 2}},
        "baselines": False,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    qdyn = Path(sys.executable).parent / "qdyn"
    command = [qdyn, "sweep", tmp_path / "tiny.yaml", "--out", tmp_path / "killed"]
    first = tmp_path / "killed" / "outcomes" / "a.json"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(2400):
        if first.exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert first.exists()
    finished = first.stat().st_mtime_ns
    loaded = load_sweep(tmp_path / "tiny.yaml")
    resumed = run_sweep(loaded, out=tmp_path / "killed", workers=1, progress=False)
    whole = run_sweep(loaded, out=tmp_path / "whole", workers=1, progress=False)
    assert first.stat().st_mtime_ns == finished
    for key in ("a", "b"):
        assert resumed.outcomes[key].figures == whole.outcomes[key].figures


def test_a_cluster_finds_the_same(spins: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    sweep = tiny(spins)
    here = run_sweep(sweep, out=tmp_path / "here", workers=1, progress=False)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp://",
        host="127.0.0.1",
    ) as cluster:  # fmt: skip
        found = run_sweep(
            sweep, out=tmp_path / "there", workers=1, scheduler=cluster.scheduler_address, progress=False
        )
    assert {key: one.figures for key, one in found.outcomes.items()} == {
        key: one.figures for key, one in here.outcomes.items()
    }


@pytest.mark.parametrize("name", shipped_names("sweeps"))
def test_shipped_sweeps_are_checked_to_the_last_trial(name: str) -> None:
    sweep = load_sweep(name)
    trials = trials_of(sweep)
    assert sweep.name == name
    assert sweep.description
    assert len(trials) > 1
    assert all(trial.config.training.seeds == trials[0].config.training.seeds for trial in trials)


def test_the_placement_of_qasa_is_what_the_publication_varies() -> None:
    layers = {
        trial.key: (trial.config.model.adapter, trial.config.model.adapter_layers)  # type: ignore[attr-defined]
        for trial in trials_of(load_sweep("qasa-placement"))
        if trial.key.endswith("~square-wave")
    }
    assert layers["quantum-at-0~square-wave"] == ("quantum", (0,))
    assert layers["quantum-everywhere~square-wave"] == ("quantum", (0, 1, 2, 3))
    assert layers["removed~square-wave"] == ("none", (3,))
    assert layers["classical~square-wave"] == ("none", ())


def test_what_does_not_fit_is_refused() -> None:
    base = {"name": "a", "dataset": {"name": "tfim-4q"}}
    with pytest.raises(ConfigError, match="`preset` or `base` must be given, and not both"):
        SweepConfig(name="s", grid={"model.layers": (1,)})
    with pytest.raises(ConfigError, match="must hold something to vary"):
        SweepConfig(name="s", base=base)
    with pytest.raises(ConfigError, match=r"unknown key `model\.layer`: did you mean .* \(trial layer=2\)"):
        trials_of(SweepConfig(name="s", base=base, grid={"model.layer": (2,)}))
    with pytest.raises(ConfigError, match="two trials have the key layers=2"):
        trials_of(SweepConfig(name="s", base=base, grid={"model.layers": (2,)}, trials={"layers=2": {}}))
    with pytest.raises(ConfigError, match="`reference` is 'layers=3', no trial: did you mean 'layers=2'"):
        trials_of(SweepConfig(name="s", base=base, grid={"model.layers": (2,)}, reference="layers=3"))
    with pytest.raises(ConfigError, match="Unknown sweep 'qasa-placment': did you mean 'qasa-placement'"):
        load_sweep("qasa-placment")
