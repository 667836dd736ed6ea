"""`qdyn evaluate` as a person types it: which split it takes, and where it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qdyn.cli import main
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe
from qdyn.models.config import ModelConfig
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig
from qdyn.training.train import train

SPLITS = {"train": 6, "validation": 4, "test": 0}


def points(folder: Path, splits: dict[str, int]) -> Path:
    recipe = Recipe(
        name="points",
        source="trajectories",
        seed=1,
        phase_convention="raw",
        splits=splits,
        parameters={
            "hamiltonian": {"model": "transverse_field_ising", "n_sites": 1, "field": 1.0},
            "time_step": 0.3,
            "n_steps": 6,
        },
    )
    return generate(recipe, folder, progress=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_on(data: Path, folder: Path) -> None:
    config = RunConfig(
        name="tiny",
        dataset=DatasetConfig(name=str(data)),
        model=ModelConfig(layers=1, degree=1),
        training=TrainingConfig(steps=1, batch_size=4, seeds=(0,)),
        evaluation=EvaluationConfig(context=3, rollout_steps=3),
    )
    train(config, out=folder, progress=False)


def split_of(folder: Path) -> str:
    return str(json.loads((folder / "table.json").read_text())["split"])


def test_an_empty_test_split_counts_as_none(here: Path) -> None:
    run_on(points(here / "data", SPLITS), here / "run")
    assert main(["evaluate", "run", "--no-baselines"]) == 0
    assert split_of(here / "run" / "evaluation") == "validation"
    # Likewise of a dataset given in place of the run's.
    points(here / "other", {"train": 2, "validation": 3})
    assert main(["evaluate", "run", "--dataset", "other", "--no-baselines", "--out", "judged"]) == 0
    assert split_of(here / "judged") == "validation"
