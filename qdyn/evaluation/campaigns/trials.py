"""Trials: one setting trained and judged, and what was found about it, on the same footing as its rivals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qdyn.config import build
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import RunError
from qdyn.evaluation.contestants import Contestant, baselines, of_run
from qdyn.evaluation.results import Estimate, Standing, plain
from qdyn.evaluation.scoring import errors_of_the_mean, score
from qdyn.files import inside, write_json
from qdyn.processors import torch_threads
from qdyn.training.callbacks import Callback, Progress
from qdyn.training.config import RunConfig
from qdyn.training.record import RECORD
from qdyn.training.train import train


@dataclass(frozen=True)
class Trial:
    """One setting of a campaign, trained from all seeds of its configuration.

    Attributes:
        key: Unique; names its folder.
        config: What `qdyn.train` is given; the dataset is found by its name there.
    """

    key: str
    config: RunConfig


@dataclass(frozen=True)
class Figure:
    """A figure of merit of one contestant on one split.

    Attributes:
        of_each_seed: The mean over sequences, one number a seed.
        standard_error: Of the mean over sequences, seeds averaged first: what another draw of the data
            would change; None where it is unknown, see `qdyn.evaluation.results.Estimate`.
    """

    of_each_seed: tuple[float, ...]
    standard_error: float | None

    @classmethod
    def of(cls, values: NDArray[np.floating], *, blocks: NDArray[np.int64] | None = None) -> Figure:
        """From one value for each seed and sequence, (seeds, sequences); ``blocks`` as of `Estimate.of`."""
        return cls(tuple(values.mean(axis=1).tolist()), Estimate.of(values, blocks=blocks).standard_error)

    @property
    def mean(self) -> float:
        """Over seeds; none is left out."""
        return float(np.mean(self.of_each_seed))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for one."""
        return float(np.std(self.of_each_seed, ddof=1)) if len(self.of_each_seed) > 1 else None

    def __str__(self) -> str:
        """As an `Estimate`: with the spread over seeds, else with the standard error over sequences."""
        return str(Estimate(self.mean, self.std, self.standard_error))


@dataclass(frozen=True)
class Outcome:
    """What a campaign found about one contestant.

    Attributes:
        key: Of the trial, or of the baseline.
        label: What people read.
        standing: "trained", "untrained" or "oracle", see `qdyn.evaluation.results.Row`.
        phase_convention: Of the states it saw; None for other data.
        parameters: Real numbers learnt.
        figures: Split -> metric -> figure: those of `qdyn.evaluate`, and ``rollout_fidelity``, the mean over
            the steps of a roll-out, where there was one.
        seconds: Time of the training, or of the judgement of a baseline.
        seeds: Of the models, in the order of the figures; None for a baseline.
    """

    key: str
    label: str
    standing: Standing
    phase_convention: str | None
    parameters: int | None
    figures: Mapping[str, Mapping[str, Figure]]
    seconds: float
    seeds: tuple[int, ...] | None = None


def conduct(trial: Trial, folder: Path, *, on_step: Callable[[int], None] | None = None) -> Outcome:
    """Train one trial, or go on with it, and judge it on the training and the test split.

    Args:
        trial: The setting.
        folder: The campaign's folder.
        on_step: Called with the number of updates that have been done since the last call.
    """
    place = inside(folder / "runs", trial.key)
    steps = _Steps(on_step)
    run = train(trial.config, out=place, resume=(place / RECORD).exists(), progress=False, callbacks=[steps])
    path = inside(folder / "outcomes", f"{trial.key}.json")
    if not steps.told and path.is_file():
        steps.tell(trial.config.training.steps)
        found = _read(path)
        # Older files hold no seeds: a run has those of its configuration.
        return found if found.seeds is not None else replace(found, seeds=trial.config.training.seeds)
    figures = judge(
        of_run(run),
        run.dataset(),
        context=trial.config.evaluation.context,
        rollout_steps=trial.config.evaluation.rollout_steps,
    )
    outcome = Outcome(
        key=trial.key,
        label=run.models[0].label,
        standing="trained",
        phase_convention=run.metadata.phase_convention,
        parameters=run.record.parameters,
        figures=figures,
        seconds=run.record.training_seconds,
        seeds=tuple(run.seeds),
    )
    write_json(path, plain(outcome))
    return outcome


def judge_untrained(dataset: SequenceDataset, *, context: int, rollout_steps: int) -> dict[str, Outcome]:
    """The baselines of `qdyn.evaluate` on the test split, fitted to the training split.

    Args:
        dataset: With a training and a test split.
        context: States seen before a roll-out; only quantum states are rolled out.
        rollout_steps: Elements rolled out.
    """
    outcomes = {}
    with torch_threads(1):
        for one in baselines(dataset)[0]:
            began = time.perf_counter()
            figures = judge(one, dataset, splits=("test",), context=context, rollout_steps=rollout_steps)
            outcomes[one.key] = Outcome(
                key=one.key,
                label=one.label,
                standing=one.standing,
                phase_convention=one.phase_convention,
                parameters=one.parameters,
                figures=figures,
                seconds=time.perf_counter() - began,
            )
    return outcomes


def judge(
    contestant: Contestant,
    dataset: SequenceDataset,
    *,
    splits: Sequence[str] = ("train", "test"),
    context: int,
    rollout_steps: int,
) -> dict[str, dict[str, Figure]]:
    """Split -> metric -> figure of one contestant; roll-outs of quantum states, on the test split only."""
    figures = {}
    for split in splits:
        part = dataset.split(split)
        rolled = split == "test" and dataset.metadata.kind == "quantum_state"
        found = score(
            contestant,
            part,
            context=context if rolled else None,
            rollout_steps=rollout_steps if rolled else 0,
            errors_of_mean=errors_of_the_mean(dataset, part),
        )
        figures[split] = {
            name: Figure(tuple(values.mean(axis=1).tolist()), found.estimate(name).standard_error)
            for name, values in found.losses.items()
        }
        if found.rollout is not None:
            figures[split]["rollout_fidelity"] = Figure.of(found.rollout.mean(axis=-1), blocks=found.blocks)
    return figures


def _read(path: Path) -> Outcome:
    try:
        return build(Outcome, json.loads(path.read_text(encoding="utf-8")), where=path)
    except (OSError, ValueError) as problem:
        raise RunError(
            f"The outcome {path} cannot be read: {problem}. Delete it to judge again."
        ) from problem


class _Steps(Callback):
    """Hands on how many updates were done; those of a resumed run count at its start."""

    def __init__(self, on_step: Callable[[int], None] | None) -> None:
        self._on_step = on_step
        self.told = 0

    def tell(self, count: int) -> None:
        """``count`` more are done."""
        self.told += count
        if self._on_step is not None:
            self._on_step(count)

    def on_start(self, step: int, steps: int) -> None:
        """Count what a checkpoint brought."""
        self.tell(step)

    def on_step_end(self, progress: Progress) -> None:
        """Count one."""
        self.tell(1)
