"""The log of a run: one JSON object a line, appended as training goes, no step twice."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from qdyn.errors import OutputError, RunError
from qdyn.training.callbacks import Progress


@dataclass(frozen=True)
class History:
    """The training curves of a run.

    Attributes:
        steps: (lines,) updates done when a line was written.
        seconds: (lines,) training time until then.
        learning_rate: (lines,)
        loss: (lines, seeds) loss of the mini-batch of that update, before the update.
        validation_steps: (evaluations,)
        validation: metric name -> (evaluations, seeds) mean over the validation split.
    """

    steps: np.ndarray
    seconds: np.ndarray
    learning_rate: np.ndarray
    loss: np.ndarray
    validation_steps: np.ndarray
    validation: dict[str, np.ndarray]


class TrainingLog:
    """An open log. While it is open no other process can train into the same folder.

    Args:
        path: The file.
        keep_until: Lines of later steps are cut off: a resumed run writes them again.
    """

    def __init__(self, path: Path, *, keep_until: int) -> None:
        try:
            self._file: BinaryIO = path.open("a+b")
        except OSError as problem:
            raise OutputError(f"Cannot write {path}: {problem.strerror or problem}.") from problem
        try:
            self._lock(path)
            self._file.truncate(self._bytes_until(keep_until))
        except BaseException:
            self._file.close()
            raise

    def write(self, progress: Progress) -> None:
        """Append one line; it has left this process when the call returns."""
        line: dict[str, Any] = {
            "step": progress.step,
            "seconds": round(progress.seconds, 3),
            "learning_rate": progress.learning_rate,
            "loss": _finite_or_null(progress.loss),
        }
        if progress.validation:
            line["validation"] = {
                name: _finite_or_null(values) for name, values in progress.validation.items()
            }
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as problem:
            raise OutputError(f"Cannot write {self._file.name}: {problem.strerror or problem}.") from problem

    def close(self) -> None:
        """Close the file and let others train into the folder."""
        self._file.close()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self, path: Path) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise RunError(f"Another process is training into {path.parent}.") from problem
        except OSError:
            return  # a file system without locks: nothing to hold

    def _bytes_until(self, step: int) -> int:
        self._file.seek(0)
        end = 0
        for raw in self._file:
            line = _parse(raw)
            if line is None or line["step"] > step:
                break
            end += len(raw)
        return end


def read_history(path: Path, *, n_seeds: int) -> History:
    """The training curves in a log; a last line that was cut short is left out.

    Raises:
        RunError: the file is missing or is not a log of ``n_seeds`` models.
    """
    try:
        raw_lines = path.read_bytes().splitlines(keepends=True)
    except OSError as problem:
        raise RunError(f"Cannot read the log {path}: {problem.strerror or problem}.") from problem
    lines: list[dict[str, Any]] = []
    for number, raw in enumerate(raw_lines, start=1):
        line = _parse(raw)
        if line is not None and len(line["loss"]) == n_seeds:
            lines.append(line)
        elif number < len(raw_lines) or raw.endswith(b"\n"):
            raise RunError(f"{path}:{number}: not a line of a training log of {n_seeds} seeds.")
    evaluated = [line for line in lines if "validation" in line]
    names = list(evaluated[0]["validation"]) if evaluated else []
    return History(
        steps=np.array([line["step"] for line in lines], dtype=np.int64),
        seconds=np.array([line["seconds"] for line in lines], dtype=np.float64),
        learning_rate=np.array([line["learning_rate"] for line in lines], dtype=np.float64),
        loss=np.array([line["loss"] for line in lines], dtype=np.float64).reshape(len(lines), n_seeds),
        validation_steps=np.array([line["step"] for line in evaluated], dtype=np.int64),
        validation={
            name: np.array([line["validation"][name] for line in evaluated], dtype=np.float64)
            for name in names
        },
    )


def _parse(raw: bytes) -> dict[str, Any] | None:
    """A complete line of ours, else None."""
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    whole = isinstance(line, dict) and {"step", "seconds", "learning_rate", "loss"} <= line.keys()
    return line if whole and isinstance(line["step"], int) and isinstance(line["loss"], list) else None


def _finite_or_null(values: np.ndarray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
