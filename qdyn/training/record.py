"""The record of a run, run.json: what was trained, where, with which versions, and how far it came."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import qdyn
from qdyn.config import build, to_mapping
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError, RunError
from qdyn.files import write_json

RECORD = "run.json"
Status = Literal["running", "interrupted", "stopped", "failed", "finished"]


@dataclass(frozen=True)
class RunRecord:
    """The content of run.json.

    Attributes:
        format: Always "qdyn-run".
        schema: Version of this layout.
        status: "running" is also what a killed run leaves; "stopped" and "finished" runs hold weights.
        reason: Why a run stopped or failed.
        step: Updates done when the record was written.
        seeds: One model each.
        parameters: Trainable real numbers of one model.
        dataset: The dataset's metadata, digest included.
        sequences: Sequences in each split.
        training_seconds: Time spent in the loop, interruptions left out.
        threads: CPU threads of the training; a resumed run takes the same, so that sums keep their order.
        device: What it ran on.
        versions: Of the packages that decide the numbers.
        platform: Machine and system.
        git_commit: Of the checkout that qdyn ran from, where it did.
        started: UTC time.
        ended: UTC time of the last session's end.
    """

    status: Status
    seeds: tuple[int, ...]
    parameters: int
    dataset: dict[str, Any]
    sequences: dict[str, int]
    threads: int
    device: str
    versions: dict[str, str]
    platform: str
    started: str
    git_commit: str | None = None
    reason: str | None = None
    step: int = 0
    training_seconds: float = 0.0
    ended: str | None = None
    format: Literal["qdyn-run"] = "qdyn-run"
    schema: Literal[1] = 1

    def write(self, folder: Path) -> None:
        """Write run.json in one step."""
        write_json(folder / RECORD, to_mapping(self))


def read_record(folder: Path) -> RunRecord:
    """The record of the run in ``folder``.

    Raises:
        RunError: there is no run, or run.json is broken, foreign or of a newer qdyn.
    """
    path = folder / RECORD
    if not folder.is_dir():
        raise RunError(f"There is no run at {folder}: no such folder.")
    if not path.is_file():
        raise RunError(f"The folder {folder} holds no run: there is no {RECORD} in it.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise RunError(f"The file {path} cannot be read as JSON, it may be truncated.") from problem
    if not isinstance(content, dict) or content.get("format") != "qdyn-run":
        raise RunError(f"The file {path} is not the record of a run of qdyn.")
    if content.get("schema") != 1:
        raise RunError(f"The run at {folder} has schema {content.get('schema')!r}; this qdyn reads schema 1.")
    try:
        return build(RunRecord, content, where=path)
    except ConfigError as problem:
        raise RunError(str(problem)) from problem


def content_digest(dataset: SequenceDataset) -> str:
    """The digest that a stored dataset carries; for one in memory, sha256 of what its items hold."""
    if dataset.metadata.digest is not None:
        return dataset.metadata.digest
    total = hashlib.sha256()
    for first in range(0, len(dataset), 1024):
        batch = dataset.batch(np.arange(first, min(first + 1024, len(dataset))))
        for tensor in (batch.inputs, batch.targets, batch.mask):
            total.update(tensor.resolve_conj().contiguous().numpy().tobytes())
    return total.hexdigest()


def now() -> str:
    """The present UTC time to the second, in ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """The versions that decide the numbers."""
    return {
        "qdyn": qdyn.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": importlib.metadata.version("numpy"),
        "safetensors": importlib.metadata.version("safetensors"),
    }


def machine() -> str:
    """System, architecture and number of CPUs."""
    return f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} CPUs"


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with ``+`` where files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
