"""The run's folder: when training may begin in it, and when it may go on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from qdyn.config import build, read_yaml
from qdyn.errors import OutputError, RunError
from qdyn.files import make_folder, write_text
from qdyn.training.config import RunConfig, first_difference
from qdyn.training.record import RECORD, RunRecord, read_record

CONFIG = "config.yaml"
LOG = "log.jsonl"
CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "weights.safetensors"

_UNFINISHED_FILE = re.compile(r"\..*\.part")


def refuse_occupied(folder: Path) -> None:
    """Refuse to begin a run where something stands already.

    Raises:
        OutputError: ``folder`` holds a run or other files, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Argument `out` must be a folder, but {folder} is a file.")
    if (folder / RECORD).exists():
        raise OutputError(f"The folder {folder} already holds a run: resume it, or choose another `out`.")
    if folder.is_dir() and _foreign_entries(folder):
        raise OutputError(
            f"The folder {folder} holds other files ({_foreign_entries(folder)[0]}): choose another `out`."
        )


def _foreign_entries(folder: Path) -> list[str]:
    """What stands in ``folder``, but for traces of a start that was killed before run.json was written."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name != CONFIG and not _UNFINISHED_FILE.fullmatch(name)]


def start_run(folder: Path, config: RunConfig, record: RunRecord) -> None:
    """Write the configuration and then the record, which makes ``folder`` a run that can be resumed."""
    text = config.to_yaml()
    place = folder / CONFIG
    if place.exists() and place.read_text(encoding="utf-8") != text:
        raise OutputError(f"The folder {folder} holds other files ({CONFIG}): choose another `out`.")
    make_folder(folder)
    write_text(place, text)
    record.write(folder)


def withdraw_start(folder: Path) -> None:
    """Take back what `start_run` wrote, where training failed before its first update: nothing is lost."""
    log = folder / LOG
    if (folder / CHECKPOINT).exists() or (log.exists() and log.stat().st_size):
        return
    for name in (RECORD, LOG, CONFIG):
        (folder / name).unlink(missing_ok=True)


def check_resumable(folder: Path, config: RunConfig, *, digest: str | None) -> RunRecord:
    """The record of the run in ``folder``, once ``config`` and the dataset have proved to be its own.

    A run with a constant learning rate may be given more steps; its configuration is rewritten then and its
    status is "running" again.

    Args:
        folder: The run's folder.
        config: The resolved configuration to go on with.
        digest: The dataset's.

    Raises:
        RunError: a key or the dataset differs from the run's.
    """
    record = read_record(folder)
    stored = build(RunConfig, read_yaml(folder / CONFIG), where=folder / CONFIG)
    longer = _extension(folder, stored, config)
    if (difference := first_difference(longer or stored, config)) is not None:
        key, old, new = difference
        raise RunError(f"The run at {folder} was started with {key}={old!r}; it cannot go on with {new!r}.")
    if record.dataset.get("digest") != digest:
        raise RunError(
            f"The run at {folder} was started on dataset.name={config.dataset.name!r} of digest "
            f"{record.dataset.get('digest')}; it cannot go on with one of digest {digest}."
        )
    if longer is not None:
        record = replace(record, status="running")
        record.write(folder)
        write_text(folder / CONFIG, config.to_yaml())
    return record


def _extension(folder: Path, stored: RunConfig, config: RunConfig) -> RunConfig | None:
    """The stored configuration with more steps, where ``config`` asks for them and the schedule allows it."""
    old, new = stored.training.steps, config.training.steps
    if new == old:
        return None
    if new < old:
        raise RunError(
            f"The run at {folder} was started with training.steps={old}; it cannot be cut to {new}."
        )
    if stored.training.schedule != "constant":
        raise RunError(
            f"The run at {folder} cannot be extended from training.steps={old} to {new}: its cosine schedule "
            f"fell to the floor over {old} steps and would have been another over {new}; train anew, or with "
            "training.schedule=constant."
        )
    return replace(stored, training=replace(stored.training, steps=new))
