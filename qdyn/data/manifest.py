"""The manifest of a sharded dataset: ``manifest.json``, which names the shards in order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdyn.config import build
from qdyn.errors import ConfigError, DatasetError, OutputError
from qdyn.files import inside
from qdyn.hdf5 import SCHEMA_VERSION

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One file of a sharded dataset: its name, sequences, checksum and size in bytes."""

    file: str
    count: int
    content_sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says of a sharded dataset."""

    format: str
    schema: int
    name: str
    count: int
    digest: str
    shards: tuple[Shard, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a sharded dataset.

    Raises:
        DatasetError: there is none, or it is not one that this version of qdyn understands.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DatasetError(f"{folder} holds no dataset: it has no {MANIFEST}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DatasetError(f"{path} cannot be read as JSON: {problem}.") from problem
    if not isinstance(content, dict) or content.get("format") != "sequences":
        raise DatasetError(f"{path} is not the manifest of a dataset that qdyn wrote.")
    if content.get("schema") != SCHEMA_VERSION:
        raise DatasetError(
            f"{path} has schema version {content.get('schema')}, but this version of qdyn reads "
            f"{SCHEMA_VERSION}."
        )
    try:
        return build(Manifest, content, where=path)
    except ConfigError as problem:
        raise DatasetError(str(problem)) from problem


def shard_path(folder: Path, shard: Shard) -> Path:
    """Where a shard stands.

    Raises:
        DatasetError: outside of its folder, or its size is not the one it was written with.
    """
    try:
        path = inside(folder, shard.file)
    except OutputError as problem:
        raise DatasetError(
            f"{folder / MANIFEST} names a shard outside of its folder: {shard.file!r}."
        ) from problem
    size = path.stat().st_size if path.is_file() else shard.bytes
    if size != shard.bytes:
        raise DatasetError(
            f"{path} is truncated or changed: it has {size} bytes, but {shard.bytes} were written."
        )
    return path
