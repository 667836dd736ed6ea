"""Every shipped preset: it parses, says what its keys mean, and trains on its dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdyn.data.molecules.files import read_molecules
from qdyn.data.molecules.small_molecules import small_molecules
from qdyn.data.smiles import SmilesVocabulary
from qdyn.models.base import Conditioned
from qdyn.shipped import shipped_folder, shipped_names
from qdyn.training.config import load_config
from qdyn.training.train import train

NAMES = shipped_names("models")


def test_the_presets_that_the_readme_promises_are_there() -> None:
    promised = {
        "qsa-tfim-4q",
        "qsa-monomial-tfim-4q",
        "csa-tfim-4q",
        "nl-csa-tfim-4q",
        "qsa-grammar",
        "qsa-markov",
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_after_its_folder_and_has_a_card(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert config.description
    card = (shipped_folder("models") / name / "README.md").read_text()
    assert card.startswith(f"# {name}\n")


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_explained(name: str) -> None:
    lines = (shipped_folder("models") / name / "preset.yaml").read_text().splitlines()
    indented = [line for line in lines if line.startswith("  ")]
    unexplained = [line for line in indented if "#" not in line]
    assert lines[0].startswith("# ")
    assert unexplained == []
    assert max(map(len, lines)) <= 118


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_on_its_dataset(name: str, tmp_path: Path) -> None:
    overrides = [
        "training.steps=2",
        "training.batch_size=4",
        "training.seeds=[0, 1]",
        "training.evaluate_every=2",
    ]
    few = None
    if load_config(name).dataset.name == "small-molecules":
        (tmp_path / "few.smi").write_text("\n".join(small_molecules(3)))
        few = read_molecules(tmp_path / "few.smi", vocabulary=SmilesVocabulary.of_qm9()).dataset
    run = train(name, dataset=few, out=tmp_path / "run", overrides=overrides)
    assert run.finished
    assert np.isfinite(run.history.loss).all()
    (figures,) = run.history.validation.values()
    assert np.isfinite(figures).all()
    data = run.dataset().split("test")
    config = run.config.evaluation
    assert config.context + config.rollout_steps <= data.n_steps + 1
    batch, model = data.batch([0, 1]), run.model(1)
    told = model.with_conditions(batch.conditions) if isinstance(model, Conditioned) else model
    rolled = told.rollout(batch.inputs[:, : config.context], 2)
    assert rolled.shape[:2] == (2, 2)
