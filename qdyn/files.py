"""How qdyn writes files: beside, fsynced, renamed. What a finished file says is complete."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from qdyn.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; rename it over ``path`` when the block ends without error.

    A crash or an exception leaves what stood at ``path`` untouched.
    """
    # Machines that share a file system may have processes of the same number.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    make_folder(path.parent)
    try:
        yield beside
        with beside.open("rb") as handle:
            os.fsync(handle.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except BaseException as problem:
        beside.unlink(missing_ok=True)
        if isinstance(problem, OSError) and not isinstance(problem, OutputError):
            raise OutputError(f"Cannot write {path}: {problem.strerror or problem}.") from problem
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON to ``path`` in one step; NaN becomes null, for every reader."""
    write_text(path, json.dumps(_nan_to_null(content), indent=2, allow_nan=False) + "\n")


def make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, with one clear line when that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"Cannot make the folder {folder}: {problem.strerror or problem}.") from problem


def inside(folder: Path, name: str) -> Path:
    """``folder / name``, refused when it would leave ``folder``."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise OutputError(f"The path {name!r} leaves the folder {folder}.")
    return path


def _nan_to_null(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _nan_to_null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_nan_to_null(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
