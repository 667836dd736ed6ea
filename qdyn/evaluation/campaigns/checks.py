"""What a trial needs of its dataset, found out before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, ConfigError, DatasetError
from qdyn.evaluation.campaigns.trials import Trial
from qdyn.evaluation.roll_outs import check_roll_out

_LENGTHS = ("evaluation.context", "evaluation.rollout_steps")


def check_trials(trials: Sequence[Trial], *, progress: bool = True) -> None:
    """Open the dataset of each trial, made where it must be, and see that the trial can be judged on it.

    Raises:
        DatasetError: a dataset cannot be opened, or lacks a split that the trial needs.
        ConfigError: a roll-out would leave the sequences. Both name the trial.
    """
    opened: dict[str, SequenceDataset] = {}
    for trial in trials:
        name = trial.config.dataset.name
        if name not in opened:
            opened[name] = load_dataset(name, progress=progress)
        _check(trial, opened[name])


def _check(trial: Trial, data: SequenceDataset) -> None:
    config = trial.config
    needed = ["train", "test", *(["validation"] if config.training.keep == "best" else [])]
    sizes = {name: len(data.split(name)) for name in data.split_names}
    for split in needed:
        if not sizes.get(split):
            have = ", ".join(f"{name} {count}" for name, count in sizes.items()) or "none"
            raise DatasetError(
                f"The dataset {data.metadata.name} must have sequences in the split {split!r} to train and "
                f"judge trials, but its splits are: {have} (trial {trial.key})."
            )
    if data.metadata.kind == "quantum_state":
        judged = config.evaluation
        try:
            check_roll_out(data, judged.context, judged.rollout_steps, names=_LENGTHS)
        except ArgumentError as problem:
            raise ConfigError(f"{str(problem).rstrip('.')} (trial {trial.key}).") from problem
