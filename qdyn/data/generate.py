"""Generate a recipe's sequences into a folder: in shards, resumable, the same bits for any number of workers.

Sequences are computed in the source's blocks, whose size and alignment depend on the recipe alone. A shard
takes from each block what falls to it. So neither the number of workers nor the size of a shard changes a
bit, and the digest in the manifest, made of the checksums of single sequences, does not either.

While it runs, the folder holds ``generating.json``, which says what is being made, and the finished shards;
in the end the manifest takes its place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from qdyn.checks import check_integer
from qdyn.config import to_mapping
from qdyn.data.layout import Block, Layout, dataset_digest, write_sequences
from qdyn.data.manifest import MANIFEST, Manifest, Shard, read_manifest
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.source import Source
from qdyn.data.store import file_attributes
from qdyn.errors import DatasetError, OutputError
from qdyn.files import make_folder, write_json
from qdyn.hdf5 import SCHEMA_VERSION, open_file, read_array, verify_content
from qdyn.memory import check_memory, readable_size

PLAN = "generating.json"
_SHARD_BYTES = 256 << 20
_MOST_SHARDS = 256
_WATCH_SECONDS = 0.5


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

    def to_json(self) -> dict[str, Any]:
        """What ``generating.json`` says."""
        return {
            "recipe": to_mapping(self.recipe),
            "fingerprint": self.recipe.fingerprint(),
            "shard_size": self.shard_size,
        }


def generate(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    workers: int = 1,
    shard_size: int | None = None,
    progress: bool = True,
) -> Path:
    """Make a recipe's dataset in a folder; called again after an interruption, it goes on where it stopped.

    Args:
        recipe: a `Recipe`, the name of a shipped one, or a path to one.
        out: the folder, new or empty or with an unfinished or finished dataset of this very recipe.
        size: number of sequences, in place of the recipe's; the splits keep their proportions.
        workers: processes to share the work among. Changes no bit of the data.
        shard_size: sequences in a file; by default so many that a file has about 256 MiB. Changes no bit
            either.
        progress: show an estimate, a bar and the time left.

    Returns:
        The folder, to be opened by `qdyn.load_dataset`.

    Raises:
        ConfigError: the recipe cannot be read.
        OutputError: ``out`` holds something else, cannot be written, is in use, or the disk is too small.
        MemoryLimitError: a block of sequences does not fit in memory.
    """
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    check_integer("workers", workers, minimum=1)
    if shard_size is not None:
        check_integer("shard_size", shard_size, minimum=1)
    if size is not None:
        chosen = chosen.resized(check_integer("size", size, minimum=1))
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Cannot write a dataset to {folder}: it is a file.")
    make_folder(folder)
    with _locked(folder):
        generate_into(folder, chosen, workers=workers, shard_size=shard_size, size=size, progress=progress)
    return folder


def generate_into(
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    shard_size: int | None = None,
    size: int | None = None,
    progress: bool = True,
) -> None:
    """Like `generate`, for a folder that nobody else writes to."""
    began = time.monotonic()
    source = recipe.make_source()
    layout = source.layout(recipe.precision)
    if _is_finished(folder, recipe):
        _say(f"{recipe.name}: {folder} holds this dataset already", progress)
        return
    default = _default_shard_size(recipe, workers, layout, source.block_size())
    plan = _plan(folder, recipe, shard_size, default)
    finished = _finished_shards(folder, plan)
    missing = [number for number in range(len(plan.ranges)) if number not in finished]
    left = sum(last - first for first, last in (plan.ranges[number] for number in missing))
    _check_room(
        folder, recipe, layout, source, left=left, workers=min(workers, len(missing)), progress=progress
    )
    write_json(folder / PLAN, plan.to_json())
    _make_shards(folder, plan, missing, workers=workers, progress=progress)
    manifest = _manifest(folder, plan, layout, size=size, workers=workers, seconds=time.monotonic() - began)
    write_json(folder / MANIFEST, asdict(manifest))
    (folder / PLAN).unlink()


def make_shard(folder: Path, plan: Plan, number: int, told: Callable[[int], object] | None = None) -> int:
    """Compute and write one shard.

    Args:
        folder: where to.
        plan: what is being generated.
        number: which shard.
        told: called with the number of sequences after each block.

    Returns:
        The number of sequences.
    """
    recipe = plan.recipe
    source = recipe.make_source()
    first, last = plan.ranges[number]

    def blocks() -> Iterator[Block]:
        size = source.block_size()
        for begin in range(first // size * size, last, size):
            whole = source.block(seed=recipe.seed, first=begin, count=size, precision=recipe.precision)
            part = whole.part(max(first - begin, 0), min(last - begin, size))
            yield part
            if told is not None:
                told(len(part))

    with _one_thread():
        write_sequences(
            _shard_path(folder, number),
            source.layout(recipe.precision),
            blocks(),
            first=first,
            count=last - first,
            splits=recipe.split_ranges,
            attributes=file_attributes(recipe.name, recipe.phase_convention, to_mapping(recipe)),
        )
    return last - first


def _make_shards(folder: Path, plan: Plan, missing: list[int], *, workers: int, progress: bool) -> None:
    from tqdm import tqdm

    done = plan.recipe.count - sum(
        last - first for first, last in (plan.ranges[number] for number in missing)
    )
    with tqdm(
        total=plan.recipe.count, initial=done, desc=plan.recipe.name, unit=" sequences", disable=not progress
    ) as bar:
        if workers == 1 or len(missing) == 1:
            for number in missing:
                make_shard(folder, plan, number, bar.update)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            min(workers, len(missing)), mp_context=context, initializer=_start_worker, initargs=(os.getpid(),)
        ) as pool:
            jobs = [pool.submit(make_shard, folder, plan, number) for number in missing]
            try:
                for job in as_completed(jobs):
                    bar.update(job.result())
            except BrokenProcessPool:
                raise OutputError(
                    "A worker process was killed, perhaps for want of memory. The finished shards are in "
                    f"{folder}: run the same again to go on."
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _start_worker(parent: int) -> None:
    """Let a worker end with its parent, quietly: a killed parent cannot tell its workers to stop."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS thread: the order of a sum, and with it the last bit, may depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"Another process is generating into {folder}.") from None
        yield
    finally:
        os.close(handle)


def _is_finished(folder: Path, recipe: Recipe) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        found = read_manifest(folder)
    except DatasetError as problem:
        raise OutputError(f"{folder} holds something else: {problem}") from problem
    if found.provenance.get("fingerprint") != recipe.fingerprint():
        raise OutputError(
            f"{folder} holds another dataset, {found.name!r} of {found.count} sequences: choose another "
            "folder."
        )
    return True


def _plan(folder: Path, recipe: Recipe, shard_size: int | None, default: int) -> Plan:
    """The plan of the unfinished work in ``folder``, or a new one for an empty folder."""
    path = folder / PLAN
    if not path.is_file():
        others = sorted(entry.name for entry in folder.iterdir() if not _is_part(entry.name))
        if others:
            raise OutputError(
                f"{folder} holds something else ({others[0]}): choose a new or an empty folder."
            )
        return Plan(recipe, shard_size or default)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        stored, fingerprint = int(found["shard_size"]), found["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise OutputError(f"{path} cannot be read: choose another folder for the dataset.") from problem
    if fingerprint != recipe.fingerprint():
        raise OutputError(f"{folder} holds an unfinished dataset of another recipe: choose another folder.")
    if shard_size not in (None, stored):
        raise OutputError(
            f"{folder} holds an unfinished dataset in shards of {stored} sequences: go on with that size, or "
            "choose another folder."
        )
    return Plan(recipe, stored)


def _default_shard_size(recipe: Recipe, workers: int, layout: Layout, block_size: int) -> int:
    """About 256 MiB a file, at most 256 files, a few for each worker, and whole blocks."""
    wanted = max(_SHARD_BYTES // layout.bytes_per_sequence, math.ceil(recipe.count / _MOST_SHARDS))
    if workers > 1:
        wanted = min(wanted, math.ceil(recipe.count / (4 * workers)))
    return max(1, math.ceil(wanted / block_size)) * block_size


def _finished_shards(folder: Path, plan: Plan) -> set[int]:
    """The shards that stand complete and undamaged; what a killed run left half-written is removed."""
    for entry in folder.iterdir():
        if _is_part(entry.name):
            entry.unlink()
    finished = set()
    for number, (first, last) in enumerate(plan.ranges):
        path = _shard_path(folder, number)
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


def _check_room(
    folder: Path,
    recipe: Recipe,
    layout: Layout,
    source: Source,
    *,
    left: int,
    workers: int,
    progress: bool,
) -> None:
    disk = left * layout.bytes_per_sequence
    memory = max(workers, 1) * source.working_bytes()
    _say(
        f"{recipe.name}: {recipe.count} sequences, {left} to make: {readable_size(disk)} on disk, about "
        f"{readable_size(memory)} of memory",
        progress,
    )
    free = shutil.disk_usage(folder).free
    if disk > free:
        raise OutputError(
            f"{recipe.name} needs {readable_size(disk)} on disk, but {readable_size(free)} are free at "
            f"{folder}."
        )
    check_memory(
        memory, f"Generating {recipe.name} with {max(workers, 1)} workers", remedy="Use fewer workers."
    )


def _manifest(
    folder: Path, plan: Plan, layout: Layout, *, size: int | None, workers: int, seconds: float
) -> Manifest:
    from qdyn import __version__

    shards, checksums = [], []
    for number, (first, last) in enumerate(plan.ranges):
        path = _shard_path(folder, number)
        with open_file(path, format="sequences") as file:
            content = str(file.attrs["content_sha256"])
            checksums.append(read_array(file, "sha256"))
        shards.append(Shard(path.name, last - first, content, path.stat().st_size))
    recipe = plan.recipe
    return Manifest(
        format="sequences",
        schema=SCHEMA_VERSION,
        name=recipe.name,
        count=recipe.count,
        digest=dataset_digest(layout, recipe.split_ranges, checksums),
        shards=tuple(shards),
        recipe=to_mapping(recipe),
        provenance={
            "fingerprint": recipe.fingerprint(),
            "size": size,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "workers": workers,
            "qdyn": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.h5"


def _is_part(name: str) -> bool:
    """Whether `qdyn.files.replacing` would call a file so that is not finished yet."""
    return name.startswith(".") and name.endswith(".part")


def _say(line: str, progress: bool) -> None:
    if progress:
        print(line, file=sys.stderr)
