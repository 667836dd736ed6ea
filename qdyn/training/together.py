"""`train_together`: many runs that differ in their data only, trained as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, OutputError
from qdyn.processors import torch_threads
from qdyn.training.callbacks import Callback, ProgressDisplay
from qdyn.training.config import RunConfig
from qdyn.training.folder import CHECKPOINT, check_resumable, refuse_occupied, start_run
from qdyn.training.loop import TrainingInterrupted, deferred_interrupt
from qdyn.training.record import RECORD, content_digest
from qdyn.training.run import Run
from qdyn.training.session import Part, Session, device_of, new_record
from qdyn.training.train import open_dataset


def train_together(
    presets: Sequence[RunConfig],
    *,
    datasets: Mapping[str, SequenceDataset] | None = None,
    out: str | Path,
    resume: bool = False,
    progress: bool | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Run]:
    """Train all seeds of all presets as one batch, each preset into the run folder ``out/<name>``.

    For small models the time of an update is that of starting its operations: nine tasks and three seeds at
    once take little longer than one. Every model comes out as `train` would make it alone, to rounding. One
    checkpoint in ``out`` holds them all; a call with ``resume`` goes on from it and ends with the same bits.

    Args:
        presets: They differ in ``name``, ``dataset`` and ``description`` only.
        datasets: Preset's name -> what to train it on, in place of its own dataset. Their splits must have
            equally many sequences, of one shape.
        out: The folder of all; it must not hold anything yet unless ``resume``.
        resume: Go on, or begin where nothing has been begun.
        progress: See `train`.
        callbacks: Hooks, see qdyn.training.callbacks; they are told of all members at once.

    Returns:
        The runs, in the order of ``presets``.

    Raises:
        ArgumentError: no preset, two of one name, or other differences between them.
        OutputError: ``out`` holds something, or cannot be written.
        DatasetError: datasets that do not go together.
        RunError: another configuration or dataset than the run's, or training diverged.
        TrainingInterrupted: Ctrl-C, after a checkpoint has been written.

    Example:
        >>> runs = train_together([config, other], out="runs/both")  # doctest: +SKIP
        >>> [run.model(0) for run in runs]  # doctest: +SKIP
    """
    _check_alike(presets)
    folder = Path(out)
    if not resume and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"The folder {folder} holds other files: choose another `out`, or resume.")
    device = device_of(presets[0])
    parts = []
    for preset in presets:
        data, config = open_dataset(preset, (datasets or {}).get(preset.name))
        parts.append(Part(folder / preset.name, config, data))
    records = []
    for part in parts:
        if resume and (part.folder / RECORD).exists():
            record = check_resumable(part.folder, part.config, digest=content_digest(part.data))
        else:
            refuse_occupied(part.folder)
            record = new_record(part.config, part.data, device)
            start_run(part.folder, part.config, record)
        records.append(record)
    if any(record.status != "finished" for record in records):
        label = f"{len(parts)} runs"
        display = ProgressDisplay(label, forced=bool(progress)) if progress is not False else None
        with torch_threads(records[0].threads), deferred_interrupt() as interrupt:
            session = Session(parts, checkpoint=folder / CHECKPOINT, device=device)
            records = session.run(records, [*callbacks, *([display] if display else [])], interrupt)
            if interrupt.requested:
                raise TrainingInterrupted(f"Interrupted, but the runs at {folder} are complete.")
    return [
        Run(part.folder, part.config, record, dataset=part.data)
        for part, record in zip(parts, records, strict=True)
    ]


def _check_alike(presets: Sequence[RunConfig]) -> None:
    names = [preset.name for preset in presets]
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"Argument `presets` must hold presets of distinct names, but holds {names}.")
    first = presets[0]
    for preset in presets[1:]:
        same = replace(preset, name=first.name, dataset=first.dataset, description=first.description)
        if same != first or replace(preset.dataset, name=first.dataset.name) != first.dataset:
            raise ArgumentError(
                "Argument `presets` must differ in name and dataset only, "
                f"but {preset.name!r} and {first.name!r} differ in more."
            )
