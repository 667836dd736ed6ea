"""Early stopping: each member ends with its own best evaluation, through interruptions too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError
from qdyn.training.callbacks import Callback
from qdyn.training.config import RunConfig
from qdyn.training.train import train

MakeConfig = Callable[..., RunConfig]
MakeStop = Callable[[int], Callback]
SETTINGS = {"steps": 30, "evaluate_every": 3, "learning_rate": 0.4, "schedule": "constant", "keep": "best"}


def test_each_member_ends_with_its_best_evaluation(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    run = train(make_config(**SETTINGS), dataset=states, out=tmp_path / "run")
    curve = run.history.validation["L_1"]
    best = curve.argmin(axis=0)
    assert (best < len(curve) - 1).any(), "the last evaluation is the best of all: nothing is tested"
    batch = states.split("validation").batch(range(len(states.split("validation"))))
    for member, model in enumerate(run.models):
        with torch.no_grad():
            reached = model.loss("L_1", batch.inputs, batch.targets, batch.mask).mean()
        assert float(reached) == pytest.approx(curve[best[member], member], abs=1e-5)


def test_an_interrupted_run_remembers_the_best(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig, stop_at: MakeStop
) -> None:
    config = make_config(**SETTINGS)
    whole = train(config, dataset=states, out=tmp_path / "whole")
    first = int(whole.history.validation["L_1"].argmin(axis=0).min())
    stop = int(whole.history.validation_steps[first]) + 1
    train(config, dataset=states, out=tmp_path / "parts", callbacks=[stop_at(stop)])
    train(config, dataset=states, out=tmp_path / "parts", resume=True)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_validation_split_there_is_no_best(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    values = np.asarray(states.sequences())
    bare = SequenceDataset.from_arrays(values, kind="quantum_state", splits={"train": (0, len(values))})
    with pytest.raises(ConfigError, match=r"`training.keep` 'best' needs a validation split"):
        train(make_config(keep="best"), dataset=bare, out=tmp_path / "run")
