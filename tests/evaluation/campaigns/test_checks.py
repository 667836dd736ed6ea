"""What a campaign finds out about its datasets before it trains anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, ConfigError, DatasetError
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.trials import Trial, judge_untrained
from qdyn.models.config import ModelConfig
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig


def pairs(splits: dict[str, tuple[int, int]]) -> SequenceDataset:
    """12 trajectories of 9 states of two sites."""
    start = qdyn.haar_random_states(n_qubits=2, batch=12, seed=0)
    return SequenceDataset.from_arrays(
        qdyn.evolve(qdyn.TransverseFieldIsing(2), start, 0.3 * np.arange(9)).states,  # type: ignore[arg-type]
        kind="quantum_state",
        name="pairs",
        times=0.3 * np.arange(9),
        splits=splits,
        recipe={"hamiltonian": {"model": "transverse_field_ising", "n_sites": 2}},
    )


def trials(path: Path, judged: EvaluationConfig, *, keep: str = "last") -> list[Trial]:
    """One that fits, and one that is judged as asked."""
    config = RunConfig(
        name="a",
        dataset=DatasetConfig(name=str(path)),
        model=ModelConfig(layers=1, degree=1),
        training=TrainingConfig(steps=2, batch_size=4, seeds=(0,), keep=keep),  # type: ignore[arg-type]
        evaluation=judged,
    )
    fits = RunConfig(**{**vars(config), "evaluation": EvaluationConfig(context=4, rollout_steps=5)})
    return [Trial("fits", fits), Trial("asked", config)]


WHOLE = {"train": (0, 6), "test": (6, 12)}


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (
            EvaluationConfig(),
            r"`evaluation\.context` must be an integer in \[1, 8\], but is 16 \(trial asked\)",
        ),
        (
            EvaluationConfig(context=5),
            r"`evaluation.context` and `evaluation.rollout_steps` must add up to at most the 9 elements of a "
            r"sequence, but are 5 and 16 \(trial asked\)",
        ),
    ],
)
def test_a_roll_out_beyond_the_sequence_is_refused_before_training(
    tmp_path: Path, judged: EvaluationConfig, message: str
) -> None:
    pairs(WHOLE).save(tmp_path / "pairs.h5")
    with pytest.raises(ConfigError, match=message):
        run_campaign(
            trials(tmp_path / "pairs.h5", judged), folder=tmp_path / "out", workers=1, progress=False
        )
    assert not (tmp_path / "out").exists(), "the trial that fits was begun"


@pytest.mark.parametrize(
    ("splits", "keep", "message"),
    [
        (
            {"train": (0, 6), "validation": (6, 12)},
            "last",
            r"must have sequences in the split 'test' .*: train 6, validation 6 \(trial fits\)",
        ),
        ({"train": (0, 12), "test": (12, 12)}, "last", r"in the split 'test' .*: train 12, test 0"),
        ({}, "last", "in the split 'train' .* splits are: none"),
        (WHOLE, "best", "in the split 'validation' .*: train 6, test 6"),
    ],
)
def test_a_missing_split_is_told_before_training(
    tmp_path: Path, splits: dict[str, tuple[int, int]], keep: str, message: str
) -> None:
    pairs(splits).save(tmp_path / "pairs.h5")
    asked = trials(tmp_path / "pairs.h5", EvaluationConfig(context=4, rollout_steps=5), keep=keep)
    with pytest.raises(DatasetError, match=message):
        run_campaign(asked, folder=tmp_path / "out", workers=1, progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("context", "steps"), [(16, 16), (4, 6), (8, 4)])
def test_forecasts_are_never_compared_with_fewer_states(context: int, steps: int) -> None:
    data = pairs(WHOLE)
    with pytest.raises(ArgumentError, match="`context`"):
        judge_untrained(data, context=context, rollout_steps=steps)
    # Of exact evolution every forecast is right, as far as there are states to compare it with.
    found = judge_untrained(data, context=4, rollout_steps=5)["exact"]
    assert found.figures["test"]["rollout_fidelity"].mean == pytest.approx(1, abs=1e-6)
