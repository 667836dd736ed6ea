"""What a folder is being filled with: the cut into shards, and what an interrupted run has left.

While sequences are generated, the folder holds ``generating.json``, which says what is being made, and the
finished shards; in the end the manifest takes its place.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdyn.config import to_mapping
from qdyn.data.layout import Layout
from qdyn.data.recipes import Recipe
from qdyn.errors import DatasetError, OutputError
from qdyn.hdf5 import open_file, verify_content

PLAN = "generating.json"
_SHARD_BYTES = 256 << 20
_MOST_SHARDS = 256
_SHARDS_A_WORKER = 4


@dataclass(frozen=True)
class Plan:
    """What is being generated into a folder."""

    recipe: Recipe
    shard_size: int

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First sequence of each shard and one past its last."""
        count = self.recipe.count
        return [(first, min(first + self.shard_size, count)) for first in range(0, count, self.shard_size)]

    def size_of(self, number: int) -> int:
        """Sequences in one shard."""
        first, last = self.ranges[number]
        return last - first

    def to_json(self) -> dict[str, Any]:
        """What ``generating.json`` says."""
        return {
            "recipe": to_mapping(self.recipe),
            "fingerprint": self.recipe.fingerprint(),
            "shard_size": self.shard_size,
        }


def plan_of_folder(folder: Path, recipe: Recipe, *, shard_size: int | None, default: int) -> Plan:
    """The plan of the unfinished work in ``folder``, or a new one for an empty folder.

    Args:
        folder: where the dataset is to be.
        recipe: what it is to be.
        shard_size: sequences in a file, if that was asked for.
        default: the same for a new plan, if it was not.

    Raises:
        OutputError: the folder holds something else.
    """
    path = folder / PLAN
    if not path.is_file():
        others = sorted(entry.name for entry in folder.iterdir() if not is_part(entry.name))
        if others:
            raise OutputError(
                f"{folder} holds something else ({others[0]}): choose a new or an empty folder."
            )
        return Plan(recipe, shard_size or default)
    found = read_plan(folder)
    if found is None:
        raise OutputError(f"{path} cannot be read: choose another folder for the dataset.")
    fingerprint, stored = found
    if fingerprint != recipe.fingerprint():
        raise OutputError(f"{folder} holds an unfinished dataset of another recipe: choose another folder.")
    if shard_size not in (None, stored):
        raise OutputError(
            f"{folder} holds an unfinished dataset in shards of {stored} sequences: go on with that size, or "
            "choose another folder."
        )
    return Plan(recipe, stored)


def read_plan(folder: Path) -> tuple[str, int] | None:
    """Fingerprint of the recipe and size of a shard, as ``generating.json`` says; None if it says nothing."""
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return str(found["fingerprint"]), int(found["shard_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def default_shard_size(recipe: Recipe, layout: Layout, *, workers: int, block_size: int) -> int:
    """About 256 MiB a file, at most 256 files, a few for each worker, and whole blocks."""
    wanted = max(_SHARD_BYTES // layout.bytes_per_sequence, math.ceil(recipe.count / _MOST_SHARDS))
    if workers > 1:
        wanted = min(wanted, math.ceil(recipe.count / (_SHARDS_A_WORKER * workers)))
    return max(1, math.ceil(wanted / block_size)) * block_size


def finished_shards(folder: Path, plan: Plan) -> set[int]:
    """The shards that stand complete and undamaged; what is damaged is removed, to be made again."""
    finished = set()
    for number, (first, last) in enumerate(plan.ranges):
        path = shard_path(folder, number)
        if not path.is_file():
            continue
        try:
            with open_file(path, format="sequences") as file:
                verify_content(path, file)
                stands = file.attrs["recipe"] == json.dumps(to_mapping(plan.recipe))
                stands = stands and file["sequence"][[0, -1]].tolist() == [first, last - 1]
        except (DatasetError, KeyError):
            stands = False
        if stands:
            finished.add(number)
        else:
            path.unlink()
    return finished


def remove_parts(folder: Path) -> None:
    """Remove the half-written files that killed processes have left."""
    for entry in folder.iterdir():
        if is_part(entry.name):
            entry.unlink(missing_ok=True)


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard stands."""
    return folder / f"shard-{number:05d}.h5"


def is_part(name: str) -> bool:
    """Whether `qdyn.files.replacing` would call a file so that is not finished yet."""
    return name.startswith(".") and name.endswith(".part")
