"""Presets: what they may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdyn.config import to_mapping
from qdyn.errors import ArgumentError, ConfigError
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig, first_difference, load_config

MINIMAL = "name: mine\ndataset:\n  name: tfim-4q\n"


def preset(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_defaults_fill_what_is_not_said(tmp_path: Path) -> None:
    assert load_config(preset(tmp_path, MINIMAL)) == RunConfig(
        name="mine", dataset=DatasetConfig(name="tfim-4q")
    )


def test_a_resolved_preset_is_a_preset(tmp_path: Path) -> None:
    config = load_config(
        preset(tmp_path, MINIMAL), overrides=["training.learning_rate=5e-3", "training.seeds=[7]"]
    )
    assert config.training.learning_rate == 5e-3
    assert config.training.seeds == (7,)
    assert load_config(preset(tmp_path, config.to_yaml())) == config


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.step=3", "unknown key `training.step`: did you mean 'training.steps'?"),
        ("training.steps=0", "Argument `training.steps` must be an integer >= 1, but is 0."),
        (
            "training.learning_rate=-1",
            "Argument `training.learning_rate` must be a finite number > 0, but is -1.0.",
        ),
        ("training.learning_rate_floor=1", "must lie in [0, learning_rate=0.02], but is 1."),
        ("training.loss=L_2", "`training.loss` is 'L_2', which is unknown: did you mean 'L_"),
        ("training.seeds=[]", "must hold at least one seed, but is empty."),
        ("training.seeds=[1, 1]", "must hold distinct seeds, but 1 stands twice."),
        ("training.seeds=[-1]", "Argument `training.seeds[0]` must be an integer >= 0, but is -1."),
        (
            "training.gradient_clip=0",
            "Argument `training.gradient_clip` must be a finite number > 0, but is 0.0.",
        ),
        ("training.threads=0", "Argument `training.threads` must be an integer >= 1, but is 0."),
        ("dataset.window=0", "Argument `dataset.window` must be an integer >= 1, but is 0."),
        ("dataset.stride=0", "Argument `dataset.stride` must be an integer >= 1, but is 0."),
        ("dataset.name=''", "Argument `dataset.name` must name a recipe or a path, but is empty."),
        ("evaluation.context=0", "Argument `evaluation.context` must be an integer >= 1, but is 0."),
        ("evaluation.fidelity_threshold=1", "must lie in (0, 1), but is 1."),
        ("model.kernel=poly", "`model.kernel` is 'poly', which is unknown"),
        ("training=3", "`training` must be a section of keys and values, but is 3."),
    ],
)
def test_values_out_of_range_are_one_line_with_file_and_key(
    tmp_path: Path, assignment: str, message: str
) -> None:
    path = preset(tmp_path, MINIMAL)
    with pytest.raises(ConfigError) as problem:
        load_config(path, overrides=[assignment])
    assert str(problem.value).startswith(f"{path}: ")
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_ranges_hold_for_configurations_made_in_python() -> None:
    with pytest.raises(ArgumentError, match=r"training\.batch_size"):
        TrainingConfig(batch_size=0)


def test_an_unknown_preset_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"Unknown preset 'qsa-tfim-4': did you mean 'qsa-tfim-4q'\?"):
        load_config("qsa-tfim-4")


def test_the_first_difference_is_named_by_its_dotted_key() -> None:
    one = RunConfig(name="a", dataset=DatasetConfig(name="d"))
    changes: list[tuple[str, dict[str, Any]]] = [
        ("dataset.window", {"dataset": DatasetConfig(name="d", window=3)}),
        ("training.loss", {"training": TrainingConfig(loss="L_1")}),
        ("name", {"name": "b"}),
    ]
    assert first_difference(one, one) is None
    for key, change in changes:
        other = RunConfig(**{"name": "a", "dataset": DatasetConfig(name="d"), **change})
        difference = first_difference(one, other)
        assert difference is not None
        assert difference[0] == key
    assert to_mapping(one)["training"]["steps"] == 400
