"""`train`: from a preset to a run on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, ConfigError
from qdyn.processors import torch_threads
from qdyn.training.callbacks import Callback, ProgressDisplay
from qdyn.training.config import RunConfig, load_config
from qdyn.training.folder import CHECKPOINT, check_resumable, refuse_occupied, start_run, withdraw_start
from qdyn.training.loop import TrainingInterrupted, deferred_interrupt
from qdyn.training.processes import joined
from qdyn.training.record import content_digest, read_record
from qdyn.training.run import Run
from qdyn.training.session import Part, Session, device_of, new_record


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
    same weights, bit for bit on the CPU. Where torchrun started several processes, each works on its share of
    every batch, and they come to the same parameters as one, to rounding; all of them must see ``out``.

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
        ArgumentError: ``seeds`` is no list, or ``dataset`` is none.
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
        if isinstance(seeds, int):
            raise ArgumentError(f"Argument `seeds` must be a list such as [0, 1], but is {seeds}.")
        config = config.with_seeds(seeds)
    device = device_of(config)
    folder = Path(out)
    display = ProgressDisplay(config.name, forced=bool(progress)) if progress is not False else None
    hooks = [*callbacks, *([display] if display else [])]
    with joined(device) as processes:
        if processes.first:
            _check_folder(folder, resume=resume)
        data, config = open_dataset(config, dataset)
        if processes.first:
            _open_folder(folder, config, data, resume=resume)
        processes.wait()
        record = read_record(folder)
        if record.status == "finished":
            if display and processes.first:
                display.say(f"The run at {folder} has already finished its {config.training.steps} steps.")
            return Run(folder, config, record, dataset=data)
        try:
            with torch_threads(record.threads), deferred_interrupt() as interrupt:
                session = Session(
                    [Part(folder, config, data)],
                    checkpoint=folder / CHECKPOINT,
                    device=device,
                    processes=processes,
                )
                (record,) = session.run([record], hooks if processes.first else [], interrupt)
                if interrupt.requested:
                    raise TrainingInterrupted(f"Interrupted, but the run at {folder} is complete.")
        except Exception:
            if processes.first and not resume:
                withdraw_start(folder)
            raise
    return Run(folder, config, record, dataset=data)


def _check_folder(folder: Path, *, resume: bool) -> None:
    """Told before the dataset is opened, which may take long."""
    if resume:
        read_record(folder)
    else:
        refuse_occupied(folder)


def _open_folder(folder: Path, config: RunConfig, data: SequenceDataset, *, resume: bool) -> None:
    if resume:
        check_resumable(folder, config, digest=content_digest(data))
    else:
        start_run(folder, config, new_record(config, data, device_of(config)))


def open_dataset(
    config: RunConfig, dataset: SequenceDataset | str | Path | None
) -> tuple[SequenceDataset, RunConfig]:
    """The dataset in the run's phase convention, and the configuration that names it."""
    wanted = config.dataset.phase_convention
    if isinstance(dataset, SequenceDataset):
        data, name = dataset, dataset.metadata.name
        if wanted is not None and data.metadata.phase_convention not in (wanted, None):
            data = data.with_phase_convention(wanted)
    else:
        place = config.dataset.name if dataset is None else dataset
        data = load_dataset(place, phase_convention=wanted)
        name = str(place)
    section = replace(config.dataset, name=name, phase_convention=data.metadata.phase_convention)
    return data, replace(config, dataset=section)
