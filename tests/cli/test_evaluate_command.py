"""`qdyn evaluate` as a person types it: which split it takes, and where it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qdyn.cli import main
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe
from qdyn.data.sequences import SequenceDataset
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


def test_another_split_does_not_overwrite_the_test_split(here: Path) -> None:
    run_on(points(here / "data", {"train": 6, "validation": 4, "test": 4}), here / "run")
    assert main(["evaluate", "run", "--no-baselines"]) == 0
    assert main(["evaluate", "run", "--no-baselines", "--split", "validation"]) == 0
    assert split_of(here / "run" / "evaluation") == "test"
    assert split_of(here / "run" / "evaluation-validation") == "validation"


@pytest.mark.parametrize(
    ("option", "value"), [("context", "3"), ("rollout-steps", "2"), ("threshold", "0.8")]
)
def test_what_says_how_to_roll_out_is_for_states_alone(
    here: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = np.random.default_rng(0).integers(0, 4, (12, 7))
    sentences = SequenceDataset.from_arrays(
        tokens, kind="token", dimension=4, name="sentences", splits={"train": (0, 8), "test": (8, 12)}
    )
    sentences.save(here / "sentences.h5")
    config = RunConfig(
        name="tiny",
        dataset=DatasetConfig(name="sentences.h5"),
        model=ModelConfig(layers=1, degree=1, embedding_dimension=4),
        training=TrainingConfig(steps=1, batch_size=4, seeds=(0,)),
    )
    train(config, out="run", progress=False)
    assert main(["evaluate", "run", f"--{option}", value]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "must be left out unless the data are quantum states" in said
    assert f"but is {value}, and sentences holds data of kind 'token'" in said
    assert not (here / "run" / "evaluation").exists()


def test_an_empty_test_split_counts_as_none(here: Path) -> None:
    run_on(points(here / "data", SPLITS), here / "run")
    assert main(["evaluate", "run", "--no-baselines"]) == 0
    assert split_of(here / "run" / "evaluation") == "validation"
    # Likewise of a dataset given in place of the run's.
    points(here / "other", {"train": 2, "validation": 3})
    assert main(["evaluate", "run", "--dataset", "other", "--no-baselines", "--out", "judged"]) == 0
    assert split_of(here / "judged") == "validation"
