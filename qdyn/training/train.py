"""`train`: from a preset to a run on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from qdyn.checks import check_integer
from qdyn.config import to_mapping
from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError, DatasetError, RunError
from qdyn.models.base import WarmStart
from qdyn.models.qsa import QSAPredictor
from qdyn.models.registry import build_model
from qdyn.processors import torch_threads
from qdyn.training.batches import BatchSource
from qdyn.training.best import Best
from qdyn.training.callbacks import Callback, ProgressDisplay
from qdyn.training.checkpoints import Position, load_checkpoint, save_weights
from qdyn.training.config import RunConfig, load_config
from qdyn.training.ensembles import Ensemble, set_precision, stack_states
from qdyn.training.folder import CHECKPOINT, LOG, WEIGHTS, check_resumable, refuse_occupied, start_run
from qdyn.training.log import TrainingLog
from qdyn.training.loop import (
    Interrupt,
    TrainingInterrupted,
    TrainingLoop,
    TrainingStopped,
    deferred_interrupt,
)
from qdyn.training.optimisers import make_optimiser
from qdyn.training.record import (
    RunRecord,
    Status,
    content_digest,
    git_commit,
    machine,
    now,
    read_record,
    versions,
)
from qdyn.training.run import Run


def train(
    preset: str | Path | RunConfig,
    *,
    dataset: SequenceDataset | str | Path | None = None,
    out: str | Path,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    r"""Train one model for each seed, all as one batch, and keep the run in the folder ``out``.

    Each update of the model of seed $e$ is the optimiser's (Adam's, unless the preset says otherwise) on
    the gradient of

    $$\frac1B \sum_{b \in batch_e(s)} L(\theta_e; x_b),$$

    where the batch depends on the seed and the step only. A model therefore comes out the same, to rounding,
    whatever other seeds are trained beside it.

    The folder holds ``config.yaml`` (every key resolved), ``run.json`` (versions, dataset digest, timings,
    status), ``log.jsonl`` (the curves), ``checkpoint.safetensors`` and, at the end, ``weights.safetensors``.
    A run that was killed or interrupted goes on from its checkpoint with ``resume=True`` and ends with the
    same weights, bit for bit on the CPU.

    Args:
        preset: A shipped preset's name, the path of a YAML file, or a configuration.
        dataset: What to train on in place of the preset's dataset: a recipe's name, a path, or a dataset.
        out: The run's folder; it must not hold anything yet unless ``resume``.
        seeds: In place of the preset's ``training.seeds``.
        overrides: Assignments such as ``"training.steps=100"``.
        resume: Go on with the run in ``out``. A finished run is returned as it is; with a constant learning
        rate
            it can be given more steps through an override of ``training.steps``.
        progress: True shows a bar on a terminal and a few lines elsewhere; None shows the bar on a terminal
        and
            nothing elsewhere; False shows nothing.
        callbacks: Hooks, see qdyn.training.callbacks.

    Returns:
        The run, with its models.

    Raises:
        ConfigError: the preset or an override is wrong.
        OutputError: ``out`` holds something, or cannot be written.
        RunError: nothing to resume, another configuration or dataset than the run's, or training diverged.
        TrainingInterrupted: Ctrl-C, after a checkpoint has been written.

    Example:
        >>> run = qdyn.train("qsa-tfim-4q", out="runs/a", overrides=["training.steps=20"])  # doctest: +SKIP
        >>> run.model(0).rollout(context, steps=16).shape  # doctest: +SKIP
        torch.Size([64, 16, 16])
    """
    if isinstance(preset, RunConfig) and overrides:
        raise ConfigError(
            "Argument `overrides` goes with a preset's name or path, but `preset` is a RunConfig."
        )
    config = preset if isinstance(preset, RunConfig) else load_config(preset, overrides=overrides)
    if seeds is not None:
        config = config.with_seeds(seeds)
    device = _device(config)
    folder = Path(out)
    if resume:
        read_record(folder)
    else:
        refuse_occupied(folder)
    data, config = _open_dataset(config, dataset)
    display = ProgressDisplay(config.name, forced=bool(progress)) if progress is not False else None
    if resume:
        record = check_resumable(folder, config, digest=content_digest(data))
        if record.status == "finished":
            if display:
                display.say(f"The run at {folder} has already finished its {config.training.steps} steps.")
            return Run(folder, config, record, dataset=data)
    else:
        record = _new_record(config, data, device)
        start_run(folder, config, record)
    with torch_threads(record.threads), deferred_interrupt() as interrupt:
        session = _Session(folder, config, data, device)
        record = session.run(record, [*callbacks, *([display] if display else [])], interrupt)
        if interrupt.requested:
            raise TrainingInterrupted(f"Interrupted, but the run at {folder} is complete.")
    return Run(folder, config, record, dataset=data)


def _open_dataset(
    config: RunConfig, dataset: SequenceDataset | str | Path | None
) -> tuple[SequenceDataset, RunConfig]:
    """The dataset in the run's phase convention, and the configuration that names it."""
    wanted = config.dataset.phase_convention
    if isinstance(dataset, SequenceDataset):
        data, name = dataset, dataset.metadata.name
        if wanted is not None and data.metadata.phase_convention not in (wanted, None):
            data = data.with_phase_convention(wanted)
    else:
        name = config.dataset.name if dataset is None else str(dataset)
        data = load_dataset(name, phase_convention=wanted)
    section = replace(config.dataset, name=name, phase_convention=data.metadata.phase_convention)
    return data, replace(config, dataset=section)


def _device(config: RunConfig) -> torch.device:
    wanted = config.training.device
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigError("Argument `training.device` is 'cuda', but PyTorch finds no CUDA device.")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def _new_record(config: RunConfig, data: SequenceDataset, device: torch.device) -> RunRecord:
    model = cast(nn.Module, build_model(config.model, data.metadata, seed=config.training.seeds[0]))
    return RunRecord(
        status="running",
        seeds=config.training.seeds,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dataset=to_mapping(data.metadata) | {"digest": content_digest(data)},
        sequences={name: len(data.split(name)) for name in data.split_names},
        threads=config.training.threads or torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        versions=versions(),
        platform=machine(),
        started=now(),
        git_commit=git_commit(),
    )


class _Session:
    """One stretch of training, from the last checkpoint to the end or to an interruption."""

    def __init__(self, folder: Path, config: RunConfig, data: SequenceDataset, device: torch.device) -> None:
        self._folder = folder
        self._config = config
        splits = {name: data.split(name) for name in data.split_names} or {"train": data}
        if config.dataset.count_padding:
            splits = {name: split.with_padding() for name, split in splits.items()}
        if not len(splits.get("train", ())):
            raise DatasetError(f"The dataset {data.metadata.name} has no sequences in its split 'train'.")
        self._train_split = splits["train"]
        precision = getattr(torch, config.training.dtype)
        window = config.dataset.window
        if window is not None:
            check_integer("dataset.window", window, minimum=1, maximum=self._train_split.n_steps)
        drawn = splits["train"].windows(window, stride=config.dataset.stride) if window else splits["train"]
        told: tuple[str, ...] = getattr(config.model, "conditions", ())
        self._train = BatchSource(drawn, device=device, dtype=precision, told=told)
        self._validation = (
            BatchSource(splits["validation"], device=device, dtype=precision, told=told)
            if len(splits.get("validation", ()))
            else None
        )
        models = []
        for seed in config.training.seeds:
            model = cast(nn.Module, build_model(config.model, data.metadata, seed=seed))
            set_precision(model, config.training.dtype)
            if isinstance(model, WarmStart):
                model.warm_start(self._train_split)
            models.append(model.to(device))
        self._ensemble = Ensemble(models)
        self._optimiser = make_optimiser(self._ensemble, config.training)
        self._best = Best(len(models)) if config.training.keep == "best" else None
        if self._best is not None and self._validation is None:
            raise ConfigError(
                "Argument `training.keep` 'best' needs a validation split, but "
                f"{data.metadata.name} has none."
            )

    def run(self, record: RunRecord, hooks: Sequence[Callback], interrupt: Interrupt) -> RunRecord:
        checkpoint = self._folder / CHECKPOINT
        position = Position(step=0, seconds=0.0)
        if checkpoint.exists():
            position = load_checkpoint(checkpoint, self._ensemble, self._optimiser, self._best)
        try:
            with TrainingLog(self._folder / LOG, keep_until=position.step) as log:
                record = replace(record, status="running", reason=None)
                record.write(self._folder)
                loop = TrainingLoop(
                    self._ensemble,
                    self._optimiser,
                    self._config.training,
                    train=self._train,
                    validation=self._validation,
                    log=log,
                    checkpoint=checkpoint,
                    callbacks=hooks,
                    interrupt=interrupt,
                    best=self._best,
                )
                return self._finish(self._loop(loop, position, record))
        finally:
            for hook in hooks:
                hook.on_end()

    def _loop(self, loop: TrainingLoop, start: Position, record: RunRecord) -> RunRecord:
        """Run the loop and say in the record how it ended."""
        try:
            loop.run(start)
        except TrainingStopped as stop:
            return _ended(record, "stopped", loop.position, reason=str(stop))
        except TrainingInterrupted:
            _ended(record, "interrupted", loop.position).write(self._folder)
            raise
        except RunError as problem:
            _ended(record, "failed", loop.position, reason=str(problem)).write(self._folder)
            raise
        return _ended(record, "finished", loop.position)

    def _finish(self, record: RunRecord) -> RunRecord:
        """Write the weights and then the record that vouches for them."""
        if self._best is not None:
            self._best.give_back(self._ensemble)
        models = self._ensemble.members()
        for model in models:
            _calibrate(model, self._train_split)
        save_weights(self._folder / WEIGHTS, stack_states(models))
        record.write(self._folder)
        return record


def _ended(record: RunRecord, status: Status, position: Position, *, reason: str | None = None) -> RunRecord:
    return replace(
        record,
        status=status,
        reason=reason,
        step=position.step,
        training_seconds=round(position.seconds, 3),
        ended=now(),
    )


def _calibrate(model: nn.Module, train_split: SequenceDataset) -> None:
    """Fix the global phase of the forecasts, which no loss sees, on the training split."""
    if isinstance(model, QSAPredictor):
        model.calibrate_phase(train_split)
