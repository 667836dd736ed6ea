"""A run read back from disk: the same models, and one clear line for a folder that is not one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import RunError
from qdyn.training.config import RunConfig
from qdyn.training.run import Run, load_run
from qdyn.training.train import train


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    make_config: Callable[..., RunConfig],
    make_dataset: Callable[..., SequenceDataset],
) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(make_config(), dataset=make_dataset("quantum_state"), out=folder)


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.path, tmp_path / "copy"))


def test_loaded_models_forecast_as_the_trained_ones(trained: Run, states: SequenceDataset) -> None:
    loaded = load_run(trained.path)
    assert loaded.config == trained.config
    assert loaded.seeds == (3, 5)
    assert loaded.finished
    inputs = states.split("test").batch([0, 1, 2]).inputs
    for index in range(2):
        forecast = loaded.model(index).forecast(inputs)
        assert torch.equal(forecast, trained.model(index).forecast(inputs))
    assert not torch.equal(loaded.model(0).forecast(inputs), loaded.model(1).forecast(inputs))
    assert loaded.history.loss.shape == (7, 2)
    assert "2 seeds" in repr(loaded)


def test_a_moved_run_is_still_a_run(copy: Path) -> None:
    assert len(load_run(str(copy)).models) == 2


def test_the_dataset_of_a_run_trained_in_memory_is_known_in_the_session_only(
    trained: Run, states: SequenceDataset
) -> None:
    assert len(trained.dataset()) == len(states)
    with pytest.raises(
        RunError, match=r"The dataset 'orbits.*' of the run at .* cannot be opened: give it as `dataset`"
    ):
        load_run(trained.path).dataset()


def test_an_unfinished_run_has_curves_but_no_models(copy: Path) -> None:
    record = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    run = load_run(copy)
    assert run.history.steps[-1] == 12
    with pytest.raises(
        RunError, match="has no weights yet, it stands at step 12 of 12: finish it with resume"
    ):
        _ = run.models


def test_a_model_that_is_not_there(trained: Run) -> None:
    with pytest.raises(RunError, match="has 2 models, but seed_index is 2"):
        trained.model(2)


def broken(folder: Path, expected: str) -> None:
    with pytest.raises(RunError, match=expected) as problem:
        _ = load_run(folder).models
    assert "\n" not in str(problem.value)


def test_missing_and_foreign_folders(tmp_path: Path, copy: Path) -> None:
    broken(tmp_path / "none", "There is no run at .*: no such folder")
    broken(tmp_path, "holds no run: there is no run.json in it")
    (tmp_path / "run.json").write_text('{"format": "other"}')
    broken(tmp_path, "is not the record of a run of qdyn")
    (tmp_path / "run.json").write_text("[]")
    broken(tmp_path, "is not the record of a run of qdyn")


def test_truncated_and_changed_files(copy: Path) -> None:
    record, weights = (copy / "run.json").read_text(), (copy / "weights.safetensors").read_bytes()
    (copy / "run.json").write_text(record[:-20])
    broken(copy, "cannot be read as JSON, it may be truncated")
    (copy / "run.json").write_text(record.replace('"schema": 1', '"schema": 99'))
    broken(copy, "has schema 99; this qdyn reads schema 1")
    (copy / "run.json").write_text(record.replace('"threads": 1', '"threads": "one"'))
    broken(copy, "`threads` must be an integer, but is 'one'")
    (copy / "run.json").write_text(record)
    (copy / "weights.safetensors").write_bytes(weights[:-4])
    broken(copy, "weights.safetensors cannot be read, it may be truncated")
    (copy / "weights.safetensors").write_bytes((copy / "checkpoint.safetensors").read_bytes())
    broken(copy, "is not a qdyn-weights-1 file")
    (copy / "weights.safetensors").unlink()
    broken(copy, "weights.safetensors cannot be read")
    (copy / "weights.safetensors").write_bytes(weights)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("layers: 3", "layers: 4"))
    broken(copy, "do not fit the run's model")
    (copy / "config.yaml").write_text(text.replace("  steps:", "  stepps:"))
    broken(copy, r"unknown key `training.stepps`: did you mean 'training.steps'\?")
    (copy / "config.yaml").write_text(text.replace("- 5", "- 6").replace("5]", "6]"))
    broken(copy, "name different seeds")
    (copy / "config.yaml").unlink()
    broken(copy, "configuration of the run cannot be read: Cannot read")
