"""Presets: what they may say."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qdyn.config import to_mapping
from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models import config as model_config
from qdyn.models import registry
from qdyn.models.config import ModelConfig, ModelSection
from qdyn.models.registry import build_model
from qdyn.shipped import shipped_folder
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


@pytest.mark.usefixtures("as_user")
def test_numbers_of_numpy_become_those_of_python() -> None:
    """They meet JSON in the log, where numpy's are refused."""
    given = TrainingConfig(
        learning_rate=np.float32(0.25),
        steps=np.int64(3),  # type: ignore[arg-type]
        gradient_clip=np.float32(0.5),
        seeds=np.arange(2),  # type: ignore[arg-type]
    )
    assert given == TrainingConfig(learning_rate=0.25, steps=3, gradient_clip=0.5, seeds=(0, 1))
    assert json.loads(json.dumps(asdict(given)))["learning_rate"] == 0.25
    assert TrainingConfig(seeds=[1, 2]).seeds == (1, 2)  # type: ignore[arg-type]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("seeds", [np.int64(3), 3, None, "3"])
def test_seeds_that_are_no_list_are_refused(seeds: Any) -> None:
    message = r"`training\.seeds` must be a list such as \[0, 1\], but is"
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(seeds=seeds)
    with pytest.raises(ConfigError, match=message):
        RunConfig(name="a", dataset=DatasetConfig(name="d")).with_seeds(seeds)


def test_an_unknown_preset_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"Unknown preset 'qsa-tfim-4': did you mean 'qsa-tfim-4q'\?"):
        load_config("qsa-tfim-4")


def test_a_recipe_is_no_preset() -> None:
    recipe = shipped_folder("datasets") / "tfim-4q" / "recipe.yaml"
    with pytest.raises(ConfigError, match="is a recipe for a dataset, not a preset of a model: `qdyn train"):
        load_config(recipe)


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


@dataclass(frozen=True)
class Widget(ModelSection):
    kind: str = "widget"
    spread: float = 0.1


@pytest.fixture
def _widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model_config._SECTIONS, "widget", Widget)


@pytest.mark.usefixtures("_widgets")
def test_each_kind_of_model_has_keys_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ndataset: {name: d}\nmodel: {kind: widget, spread: 0.2}\n")
    config = load_config(path)
    assert config.model == Widget(spread=0.2)
    path.write_text(config.to_yaml())
    assert load_config(path) == config
    with pytest.raises(ConfigError, match=r"unknown key `model\.spred`: did you mean 'model\.spread'\?"):
        load_config(path, overrides=["model.spred=1"])
    with pytest.raises(ConfigError, match=r"unknown key `model\.degree`"):
        load_config(path, overrides=["model.degree=3"])
    with pytest.raises(ConfigError, match=r"`model\.kind` is 'widgt', which is unknown: did you mean"):
        load_config(path, overrides=["model.kind=widgt"])
    with pytest.raises(ConfigError, match=r"`model\.kind` must be a string, but is 3"):
        load_config(path, overrides=["model.kind=3"])


@pytest.mark.usefixtures("_widgets")
def test_a_section_without_a_kind_is_quantum_self_attention(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ndataset: {name: d}\nmodel: {degree: 2}\n")
    assert load_config(path).model == ModelConfig(degree=2)


@pytest.mark.usefixtures("_widgets")
def test_a_model_is_built_from_its_own_section_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._FACTORIES, "widget", lambda config, metadata, seed: config)
    metadata = SequenceMetadata("states", "quantum_state", 4)
    with pytest.raises(ConfigError, match="must be Widget for the kind 'widget', but is ModelConfig"):
        build_model(ModelConfig(kind="widget"), metadata, seed=0)
