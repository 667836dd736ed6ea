"""Generate a recipe's sequences into a folder: in shards, resumable, the same bits for any number of workers.

The digest in the manifest is made of the checksums of single sequences, so it does not depend on how they
were cut into shards either. One worker is this process; several are those of a cluster of dask.distributed,
on this machine or on many.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from qdyn.checks import check_integer
from qdyn.config import to_mapping
from qdyn.data.generation.cluster import (
    local_cluster,
    require_distributed,
    running_cluster,
    wait_for_workers,
    workers_of,
)
from qdyn.data.generation.estimate import check_machine, check_room, counted, memory_each, readable_time
from qdyn.data.generation.plan import (
    PLAN,
    Plan,
    default_shard_size,
    finished_shards,
    plan_of_folder,
    remove_parts,
    shard_path,
)
from qdyn.data.generation.shards import Job, make_shard, try_first
from qdyn.data.generation.sharing import examine, share
from qdyn.data.layout import Layout, dataset_digest
from qdyn.data.manifest import MANIFEST, Manifest, Shard, read_manifest
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.errors import DatasetError, OutputError
from qdyn.files import make_folder, write_json
from qdyn.hdf5 import SCHEMA_VERSION, open_file, read_array
from qdyn.memory import readable_size

if TYPE_CHECKING:
    from distributed import Client

# A network file system may show a new file so many seconds late.
_PATIENCE = 10.0
# Below so many sequences, trying two would cost more than it tells.
_WORTH_A_TRIAL = 20


def generate(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    workers: int = 1,
    scheduler: str | Path | None = None,
    shard_size: int | None = None,
    progress: bool = True,
) -> Path:
    """Make a recipe's dataset in a folder; called again after an interruption, it goes on where it stopped.

    Args:
        recipe: a `Recipe`, the name of a shipped one, or a path to one.
        out: the folder, new or empty or with an unfinished or finished dataset of this very recipe.
        size: number of sequences, in place of the recipe's; the splits keep their proportions.
        workers: processes to share the work among; more than one need the extra ``scale``. With a
            ``scheduler``, how many workers to wait for. Changes no bit of the data.
        scheduler: address of a running dask scheduler (``tcp://host:8786``), or the file it has written; its
            workers must see ``out`` under the same path. Changes no bit either.
        shard_size: sequences in a file; by default so many that a file has about 256 MiB, and that each
            worker gets several. Changes no bit either.
        progress: show an estimate, a bar and the time left.

    Returns:
        The folder, to be opened by `qdyn.load_dataset`.

    Raises:
        ConfigError: the recipe cannot be read.
        OutputError: ``out`` holds something else, cannot be written, is in use, or the disk is too small.
        MemoryLimitError: a block of sequences does not fit in memory.
        MissingExtraError: several workers are asked for without the packages for them.
        ClusterError: no scheduler answers, workers do not suit, or one was killed at the same shard again
            and again.
    """
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    check_integer("workers", workers, minimum=1)
    if shard_size is not None:
        check_integer("shard_size", shard_size, minimum=1)
    if size is not None:
        chosen = chosen.resized(check_integer("size", size, minimum=1))
    if workers > 1 or scheduler is not None:
        require_distributed()
    # Workers have working directories of their own.
    folder = Path(out).absolute()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"Cannot write a dataset to {out}: it is a file.")
    make_folder(folder)
    with _locked(folder):
        generate_into(
            folder,
            chosen,
            workers=workers,
            scheduler=scheduler,
            shard_size=shard_size,
            size=size,
            progress=progress,
        )
    return Path(out)


def generate_into(
    folder: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    scheduler: str | Path | None = None,
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
    with contextlib.ExitStack() as stack:
        client = None
        if scheduler is not None:
            client = stack.enter_context(running_cluster(scheduler))
            workers = _gather(client, workers, name=recipe.name, progress=progress)
        default = default_shard_size(recipe, layout, workers=workers, block_size=source.block_size())
        plan = plan_of_folder(folder, recipe, shard_size=shard_size, default=default)
        remove_parts(folder)
        finished = finished_shards(folder, plan)
        missing = [number for number in range(len(plan.ranges)) if number not in finished]
        left = sum(plan.size_of(number) for number in missing)
        if client is None:
            workers = max(1, min(workers, len(missing)))
        each = memory_each(source, cluster=client is not None or workers > 1)
        _say(_needs(recipe, layout, left=left, workers=workers, each=each), progress)
        check_room(folder, recipe.name, layout, left=left)
        if client is None:
            check_machine(recipe.name, source, workers=workers)
        write_json(folder / PLAN, plan.to_json())
        if client is None and workers > 1:
            client = stack.enter_context(local_cluster(workers))
        job = Job(folder, plan, source, recipe.fingerprint(), _PATIENCE)
        _make_shards(client, job, missing, left=left, progress=progress)
    remove_parts(folder)  # of workers that were killed
    manifest = _manifest(folder, plan, layout, size=size, workers=workers, seconds=time.monotonic() - began)
    write_json(folder / MANIFEST, asdict(manifest))
    (folder / PLAN).unlink()


def _make_shards(client: Client | None, job: Job, missing: list[int], *, left: int, progress: bool) -> None:
    from tqdm import tqdm

    recipe = job.plan.recipe
    bar = partial(
        tqdm,
        total=recipe.count,
        initial=recipe.count - left,
        desc=recipe.name,
        unit=" sequences",
        disable=not progress,
    )
    if client is None:
        if progress and left >= _WORTH_A_TRIAL:
            print(_takes(recipe, left * try_first(job).seconds, workers=1), file=sys.stderr)
        with bar() as shown:
            for number in missing:
                make_shard(job, number, shown.update)
        return
    found = examine(client, job)
    _say(_takes(recipe, left / found.sequences_per_second, workers=found.n_workers), progress)
    if found.n_threads > found.n_workers:
        _say(
            f"{recipe.name}: the workers have {found.n_threads} threads and use one each: `dask worker "
            "--nworkers N --nthreads 1` makes N workers of one thread",
            progress,
        )
    with bar() as shown:

        def said(line: str) -> None:
            if progress:
                tqdm.write(f"{recipe.name}: {line}", file=sys.stderr)

        share(client, job, missing, found.standard, heard=shown.update, said=said)


def _gather(client: Client, count: int, *, name: str, progress: bool) -> int:
    """Wait until a cluster has ``count`` workers; how many it has then."""
    if len(workers_of(client)) < count:
        _say(f"{name}: waiting for {counted(count, 'worker')} at the scheduler", progress)
        wait_for_workers(client, count)
    return len(workers_of(client))


def _needs(recipe: Recipe, layout: Layout, *, left: int, workers: int, each: int) -> str:
    disk, memory = readable_size(left * layout.bytes_per_sequence), readable_size(workers * each)
    shared = f" ({readable_size(each)} in each of {workers} workers)" if workers > 1 else ""
    what = f"{recipe.name}: {recipe.count} sequences, {left} to make"
    return f"{what}: {disk} on disk, about {memory} of memory{shared}"


def _takes(recipe: Recipe, seconds: float, *, workers: int) -> str:
    return f"{recipe.name}: about {readable_time(seconds)} with {counted(workers, 'worker')}"


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


def _manifest(
    folder: Path, plan: Plan, layout: Layout, *, size: int | None, workers: int, seconds: float
) -> Manifest:
    from qdyn import __version__

    shards, checksums = [], []
    for number, (first, last) in enumerate(plan.ranges):
        path = shard_path(folder, number)
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


def _say(line: str, progress: bool) -> None:
    if progress:
        print(line, file=sys.stderr)
