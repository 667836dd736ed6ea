"""The campaign of QASA and its rivals: what is trained together, how it is judged, and what has been found.

Tasks are trained several at a time with all their seeds as one batch, a *unit*. Each has a folder of its own
with a checkpoint, and is judged when it is finished.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from qdyn.config import build, read_yaml
from qdyn.data.timeseries import series_names
from qdyn.errors import RunError
from qdyn.evaluation.series.protocols import (
    FIRST_TEST,
    NOISY,
    WINDOW,
    SeriesErrors,
    hidden_rank,
    one_step_errors,
    protocol_dataset,
    protocol_models,
    protocol_preset,
    protocol_values,
    rollout_errors,
    trivial_forecasters,
)
from qdyn.files import write_json
from qdyn.models.base import Predictor
from qdyn.models.config import ModelSection
from qdyn.models.series.predictor import SeriesPredictor
from qdyn.training.callbacks import Callback
from qdyn.training.checkpoints import checkpoint_position
from qdyn.training.config import RunConfig, TrainingConfig
from qdyn.training.folder import CHECKPOINT, CONFIG
from qdyn.training.together import train_together

DATA_SEEDS = (42, 0, 1, 2, 3)
"""Of the noise; 42 is the published one."""

# The first group is that of the published ablation, on which the slow rivals are trained too.
_GROUPS = (
    ("chaotic-logistic", "damped-oscillator", "square-wave"),
    ("arma", "noisy-damped-osc", "seasonal-trend"),
    ("piecewise-regime", "sawtooth", "waveform"),
)
_SLOW = ("qlstm", "qnnformer")
_ERRORS, _SECONDS = "errors.json", "seconds.json"


@dataclass(frozen=True)
class Unit:
    """Tasks that one model is trained on as one batch, with one seed of the noise.

    Attributes:
        protocol: "published" or "causal".
        model: One of `protocol_models`.
        tasks: Names of series.
        data_seed: Of their noise.
    """

    protocol: str
    model: str
    tasks: tuple[str, ...]
    data_seed: int

    @property
    def key(self) -> str:
        """Names the folder."""
        return f"{self.protocol}/{self.model}/{self.tasks[0]}-{self.data_seed}"

    def names(self) -> list[str]:
        """Of the runs."""
        return [f"{task}-{self.data_seed}" for task in self.tasks]

    def presets(self) -> list[RunConfig]:
        """How each run is trained."""
        model, draw = protocol_models(self.protocol)[self.model], DATA_SEEDS.index(self.data_seed)
        return [protocol_preset(self.protocol, model, name=name, draw=draw) for name in self.names()]

    def finished(self, folder: Path) -> bool:
        """Whether it has been trained and judged.

        Raises:
            RunError: it has been, with other settings than those of today.
        """
        place = folder / self.key
        if not (place / _ERRORS).exists():
            return False
        for preset in self.presets():
            run = place / preset.name
            if (run / CONFIG).exists() and _settings(run / CONFIG) != (preset.model, preset.training):
                raise RunError(
                    f"The run at {run} was trained with other settings than those of its protocol today: "
                    "begin the campaign in another folder."
                )
        return True

    def updates(self, folder: Path) -> int:
        """Updates up to the last checkpoint."""
        return checkpoint_position(folder / self.key / CHECKPOINT).step


def campaign_units(
    protocol: str, models: Collection[str], *, tasks: Collection[str] = (), data_seeds: int = len(DATA_SEEDS)
) -> Iterator[Unit]:
    """What there is to train.

    A published update is of one window: all nine tasks at once are then the cheapest. A causal one is of 16,
    where three at a time cost as little and need a third of the memory.

    Args:
        protocol: "published" or "causal".
        models: Those wanted.
        tasks: Units without any of these are left out; all are kept where there is none.
        data_seeds: How many seeds of the noise, where the protocol has several.

    Example:
        >>> [unit.tasks for unit in campaign_units("causal", ["qasa"], tasks=["arma"], data_seeds=2)]
        [('arma', 'noisy-damped-osc', 'seasonal-trend'), ('arma', 'noisy-damped-osc', 'seasonal-trend')]
    """
    published = protocol == "published"
    for model in (name for name in protocol_models(protocol) if name in models):
        groups: tuple[tuple[str, ...], ...] = _GROUPS
        if model in _SLOW:
            groups = _GROUPS[:1]
        elif published:
            groups = (tuple(itertools.chain(*_GROUPS)),)
        for seed, group in itertools.product(DATA_SEEDS[: 1 if published else data_seeds], groups):
            # Without noise every seed gives the same series.
            own = tuple(task for task in group if seed == DATA_SEEDS[0] or task in NOISY)
            if own and (not tasks or set(own) & set(tasks)):
                yield Unit(protocol, model, own, seed)


@cache
def _settings(path: Path) -> tuple[ModelSection, TrainingConfig]:
    stored = build(RunConfig, read_yaml(path), where=path)
    return stored.model, stored.training


def conduct(unit: Unit, folder: Path, *, callbacks: Sequence[Callback] = ()) -> None:
    """Train a unit to its end, or go on with it, and judge its models.

    Args:
        unit: What is trained.
        folder: Of the campaign.
        callbacks: See qdyn.training.callbacks.

    Raises:
        TrainingInterrupted: Ctrl-C, after a checkpoint has been written.
    """
    presets = unit.presets()
    datasets = {
        name: protocol_dataset(unit.protocol, task, data_seed=unit.data_seed)
        for name, task in zip(unit.names(), unit.tasks, strict=True)
    }
    place = folder / unit.key
    began = time.process_time()
    try:
        runs = train_together(presets, datasets=datasets, out=place, resume=True, callbacks=callbacks)
    finally:
        spent = place / _SECONDS
        before = json.loads(spent.read_text()) if spent.exists() else 0.0
        write_json(spent, before + time.process_time() - began)
    rows = []
    for task, run in zip(unit.tasks, runs, strict=True):
        values = protocol_values(unit.protocol, task, data_seed=unit.data_seed)
        for seed, predictor in zip(run.seeds, run.models, strict=True):
            assert isinstance(predictor, SeriesPredictor)
            row = {"task": task, "seed": seed, "rank": {"effective": hidden_rank(predictor, values)}}
            rows.append(row | judged(unit.protocol, predictor, values))
    content = {
        "model": unit.model,
        "data_seed": unit.data_seed,
        "parameters": runs[0].record.parameters,
        "cpu_seconds": json.loads((place / _SECONDS).read_text()),
        "rows": rows,
    }
    write_json(place / _ERRORS, content)


def judged(
    protocol: str, predictor: Predictor, values: Float[np.ndarray, " values"]
) -> dict[str, dict[str, float]]:
    """All errors that the protocol's tables show: "late" and "aligned", or "aligned" and "one_step".

    A trained model sees its window. A forecaster without training sees all that came before: the value a
    period ago may lie further back than any window.
    """
    steps = len(values) - FIRST_TEST
    trained = isinstance(predictor, SeriesPredictor)
    seen = WINDOW if trained else None
    found: dict[str, SeriesErrors] = {}
    if protocol == "published":
        found["late"] = rollout_errors(predictor, values, steps=steps - 1, late=True, seen=seen)
        found["aligned"] = rollout_errors(predictor, values, steps=steps - 1, seen=seen)
    else:
        found["aligned"] = rollout_errors(predictor, values, steps=steps, seen=seen)
        found["one_step"] = one_step_errors(predictor, values, whole=not trained)
    return {name: asdict(errors) for name, errors in found.items()}


@dataclass(frozen=True)
class CampaignTable:
    """What has been found so far.

    Attributes:
        protocol: "published" or "causal".
        rows: (model, task, data seed) -> errors, one entry a model seed; trivial forecasters have one.
            Trained models have their rank besides, see `hidden_rank`.
        cpu: Model -> seconds that its finished units took.
    """

    protocol: str
    rows: dict[tuple[str, str, int], list[dict[str, Any]]]
    cpu: dict[str, float]

    def seeds(self, model: str, task: str) -> list[int]:
        """Data seeds that were run."""
        return sorted(seed for name, which, seed in self.rows if (name, which) == (model, task))

    def shared_seeds(self, task: str) -> list[int]:
        """Data seeds that every model has that was trained on the task: the same series for all."""
        trained = {name for name, which, _ in self.rows if which == task} & set(
            protocol_models(self.protocol)
        )
        every = [set(self.seeds(model, task)) for model in trained]
        return sorted(set.intersection(*every)) if every else list(DATA_SEEDS[:1])

    def values(
        self, model: str, task: str, metric: str, what: str
    ) -> Float[np.ndarray, "data_seeds model_seeds"]:
        """Errors on the shared data seeds, without entries where the model has not been trained."""
        every = [self.rows.get((model, task, seed), []) for seed in self.shared_seeds(task)]
        found = [[row[metric][what] for row in rows] for rows in every if rows]
        return np.array(found) if found else np.empty((0, 0))


def collect_campaign(folder: Path, protocol: str) -> CampaignTable:
    """Finished units and the trivial forecasters."""
    table = CampaignTable(protocol, {}, {})
    for unit in campaign_units(protocol, list(protocol_models(protocol))):
        if not unit.finished(folder):
            continue
        content = json.loads((folder / unit.key / _ERRORS).read_text())
        model = content["model"]
        table.cpu[model] = table.cpu.get(model, 0.0) + content["cpu_seconds"]
        for row in content["rows"]:
            table.rows.setdefault((model, row["task"], content["data_seed"]), []).append(row)
    for task in series_names():
        for seed in DATA_SEEDS if protocol == "causal" and task in NOISY else DATA_SEEDS[:1]:
            for name, errors in _trivial_errors(protocol, task, seed).items():
                table.rows[name, task, seed] = [errors]
    return table


@cache
def _trivial_errors(protocol: str, task: str, data_seed: int) -> dict[str, dict[str, dict[str, float]]]:
    values = protocol_values(protocol, task, data_seed=data_seed)
    train = FIRST_TEST + 1 if protocol == "published" else 320
    fitted = trivial_forecasters(values, train=train)
    return {name: judged(protocol, predictor, values) for name, predictor in fitted.items()}
