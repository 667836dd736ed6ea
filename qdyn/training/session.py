"""A session: one stretch of training, from the last checkpoint to the end or to an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from qdyn.checks import check_integer
from qdyn.config import to_mapping
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError, DatasetError, RunError
from qdyn.models.base import Predictor, WarmStart
from qdyn.models.registry import build_model
from qdyn.training.batches import BatchSource, StackedSource
from qdyn.training.best import Best
from qdyn.training.callbacks import Callback, Progress
from qdyn.training.checkpoints import Position, load_checkpoint, save_weights
from qdyn.training.config import RunConfig
from qdyn.training.ensembles import Ensemble, set_precision, stack_states
from qdyn.training.folder import LOG, WEIGHTS
from qdyn.training.log import TrainingLog
from qdyn.training.loop import Interrupt, TrainingInterrupted, TrainingLoop, TrainingStopped
from qdyn.training.optimisers import make_optimiser
from qdyn.training.processes import ALONE, Processes
from qdyn.training.record import (
    RunRecord,
    Status,
    content_digest,
    git_commit,
    machine,
    now,
    versions,
)


@dataclass(frozen=True)
class Part:
    """One run of a session.

    Attributes:
        folder: The run's.
        config: Its preset.
        data: What it is trained on.
    """

    folder: Path
    config: RunConfig
    data: SequenceDataset


class Session:
    """Trains all seeds of one run, or of several that differ in their data only, as one batch.

    Args:
        parts: The runs; model and training section are those of the first.
        checkpoint: Where all of them are kept.
        device: Where they are trained.
        processes: Those that share the updates.

    Raises:
        DatasetError: a training split is empty or smaller than the number of processes, or splits have
            different lengths.
        ConfigError: the best evaluation is to be kept, but there is no validation split.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        checkpoint: Path,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self._parts = list(parts)
        self._processes = processes
        check_integer("training.batch_size", parts[0].config.training.batch_size, minimum=processes.count)
        self._checkpoint = checkpoint
        self._config = parts[0].config.training
        self._splits = [_splits_of(part) for part in parts]
        train, validation = [], []
        models = []
        for part, splits in zip(parts, self._splits, strict=True):
            train.append(_source(part, splits["train"], device, windows=True))
            if len(splits.get("validation", ())):
                validation.append(_source(part, splits["validation"], device, windows=False))
            models += [_start(part, seed, splits["train"], device) for seed in self._config.seeds]
        if validation and len(validation) < len(parts):
            raise DatasetError("Datasets trained on together must all have a validation split, or none.")
        seeds = len(self._config.seeds)
        self._train = train[0] if len(parts) == 1 else StackedSource(train, seeds=seeds)
        if len(self._train) < processes.count:
            # The mean over no sequence is no number, and would pass for a training that diverged.
            raise DatasetError(
                f"The {processes.count} processes need as many sequences to train on, but there are "
                f"{len(self._train)}."
            )
        self._validation = None
        if validation:
            self._validation = validation[0] if len(parts) == 1 else StackedSource(validation, seeds=seeds)
        self._ensemble = Ensemble(models)
        self._optimiser = make_optimiser(self._ensemble, self._config)
        self._best = Best(len(models)) if self._config.keep != "last" else None
        if self._config.keep == "best" and self._validation is None:
            raise ConfigError(
                "Argument `training.keep` 'best' needs a validation split, but "
                f"{parts[0].data.metadata.name} has none."
            )

    def run(
        self, records: Sequence[RunRecord], hooks: Sequence[Callback], interrupt: Interrupt
    ) -> list[RunRecord]:
        """Train to the last step; the records of the parts, which have been written.

        Raises:
            TrainingInterrupted: Ctrl-C; a checkpoint has been written.
            RunError: training diverged.
        """
        position = Position(step=0, seconds=0.0)
        if self._checkpoint.exists():
            position = load_checkpoint(self._checkpoint, self._ensemble, self._optimiser, self._best)
        try:
            with ExitStack() as stack:
                logs = [
                    stack.enter_context(TrainingLog(part.folder / LOG, keep_until=position.step))
                    for part in self._parts
                    if self._processes.first
                ]
                records = [replace(record, status="running", reason=None) for record in records]
                self._write(records)
                loop = TrainingLoop(
                    self._ensemble,
                    self._optimiser,
                    self._config,
                    train=self._train,
                    validation=self._validation,
                    log=logs[0] if len(logs) == 1 else _SharedLog(logs),
                    checkpoint=self._checkpoint,
                    callbacks=hooks,
                    interrupt=interrupt,
                    best=self._best,
                    processes=self._processes,
                )
                return self._finish(self._loop(loop, position, records))
        finally:
            for hook in hooks:
                hook.on_end()

    def _loop(self, loop: TrainingLoop, start: Position, records: Sequence[RunRecord]) -> list[RunRecord]:
        """Run the loop and say in the records how it ended."""
        try:
            loop.run(start)
        except TrainingStopped as stop:
            return _ended(records, "stopped", loop.position, reason=str(stop))
        except TrainingInterrupted:
            self._write(_ended(records, "interrupted", loop.position))
            raise
        except RunError as problem:
            self._write(_ended(records, "failed", loop.position, reason=str(problem)))
            raise
        return _ended(records, "finished", loop.position)

    def _finish(self, records: list[RunRecord]) -> list[RunRecord]:
        """Write the weights and then the records that vouch for them."""
        if self._best is not None:
            self._best.give_back(self._ensemble)
        models, seeds = self._ensemble.members(), len(self._config.seeds)
        for place, (part, splits) in enumerate(zip(self._parts, self._splits, strict=True)):
            own = models[place * seeds : (place + 1) * seeds]
            for model in own:
                # What no loss sees, such as the global phase of the forecasts.
                cast(Predictor, model).fit(splits["train"])
            if self._processes.first:
                save_weights(part.folder / WEIGHTS, stack_states(own))
        self._write(records)
        # Nobody reads the weights before they are there.
        self._processes.wait()
        return records

    def _write(self, records: Sequence[RunRecord]) -> None:
        if not self._processes.first:
            return
        for part, record in zip(self._parts, records, strict=True):
            record.write(part.folder)


class _SharedLog:
    """Gives every run the figures of its own members, and nobody anything where there are no logs."""

    def __init__(self, logs: Sequence[TrainingLog]) -> None:
        self._logs = logs

    def write(self, progress: Progress) -> None:
        seeds = len(progress.loss) // max(1, len(self._logs))
        for place, log in enumerate(self._logs):
            log.write(progress.of_members(slice(place * seeds, (place + 1) * seeds)))


def _splits_of(part: Part) -> dict[str, SequenceDataset]:
    data = part.data
    splits = {name: data.split(name) for name in data.split_names} or {"train": data}
    if part.config.dataset.count_padding:
        splits = {name: split.with_padding() for name, split in splits.items()}
    if not len(splits.get("train", ())):
        raise DatasetError(f"The dataset {data.metadata.name} has no sequences in its split 'train'.")
    return splits


def _source(part: Part, split: SequenceDataset, device: torch.device, *, windows: bool) -> BatchSource:
    settings = part.config.dataset
    if windows and settings.window is not None:
        check_integer("dataset.window", settings.window, minimum=1, maximum=split.n_steps)
        split = split.windows(settings.window, stride=settings.stride)
    told: tuple[str, ...] = getattr(part.config.model, "conditions", ())
    precision = getattr(torch, part.config.training.dtype)
    return BatchSource(split, device=device, dtype=precision, told=told)


def _start(part: Part, seed: int, train_split: SequenceDataset, device: torch.device) -> nn.Module:
    model = cast(nn.Module, build_model(part.config.model, part.data.metadata, seed=seed))
    set_precision(model, part.config.training.dtype)
    if isinstance(model, WarmStart):
        model.warm_start(train_split)
    return model.to(device)


def device_of(config: RunConfig) -> torch.device:
    """Where a run takes place.

    Raises:
        ConfigError: there is no such device.
    """
    wanted = config.training.device
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigError("Argument `training.device` is 'cuda', but PyTorch finds no CUDA device.")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def new_record(config: RunConfig, data: SequenceDataset, device: torch.device) -> RunRecord:
    """The record of a run that begins."""
    model = cast(nn.Module, build_model(config.model, data.metadata, seed=config.training.seeds[0]))
    return RunRecord(
        status="running",
        seeds=config.training.seeds,
        parameters=sum(one.numel() for one in model.parameters() if one.requires_grad),
        dataset=to_mapping(data.metadata) | {"digest": content_digest(data)},
        sequences={name: len(data.split(name)) for name in data.split_names},
        threads=config.training.threads or torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        versions=versions(),
        platform=machine(),
        started=now(),
        git_commit=git_commit(),
    )


def _ended(
    records: Sequence[RunRecord], status: Status, position: Position, *, reason: str | None = None
) -> list[RunRecord]:
    return [
        replace(
            record,
            status=status,
            reason=reason,
            step=position.step,
            training_seconds=round(position.seconds, 3),
            ended=now(),
        )
        for record in records
    ]
