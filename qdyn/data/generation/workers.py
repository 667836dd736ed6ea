"""What runs on a worker of a cluster: it introduces itself, tries the work, makes shards.

Nothing here raises: a worker that raises fills its own terminal with tracebacks. What went wrong is part of
what is returned, and `qdyn.data.generation.sharing` raises it where somebody reads it.
"""

from __future__ import annotations

import importlib.metadata
import pickle
import platform
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qdyn import __version__
from qdyn.data.generation.plan import read_plan
from qdyn.data.generation.shards import Job, Trial, make_shard, try_first
from qdyn.errors import ClusterError, QdynError
from qdyn.memory import available_memory

#: Packages on which the bits of a dataset, or what is sent over the wire, may depend.
_PACKAGES = ("torch", "numpy", "scipy", "numba", "distributed")
_TELL_SECONDS = 0.25
# By the fingerprint of the recipe: a worker makes many shards of one.
_trials: dict[str, Trial] = {}


@dataclass(frozen=True)
class Introduction:
    """What a worker says of itself before it is given work.

    Args:
        host: its machine.
        versions: of Python, qdyn and the packages that matter.
        threads: how many tasks it would run at a time.
        resident: bytes that its process holds already.
        limit: bytes that its process may hold, if its cluster set a limit.
        available: bytes that its machine has to give, if that is known.
        sees_folder: whether it finds the plan that the client has written.
    """

    host: str
    versions: dict[str, str]
    threads: int
    resident: int
    limit: int | None
    available: int | None
    sees_folder: bool


@dataclass(frozen=True)
class Standard:
    """What every worker must share with the others: versions, and the bits of the first sequence."""

    versions: dict[str, str]
    checksum: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task, and on which worker: what it found, or what went wrong."""

    worker: str
    found: object = None
    problem: Exception | None = None


def versions() -> dict[str, str]:
    """Versions that must be the same on every machine."""
    return {"Python": platform.python_version(), "qdyn": __version__} | {
        name: _version(name) for name in _PACKAGES
    }


def introduce(job: Job) -> Outcome:
    """Say what this worker is; the task for each worker before anything else."""
    return _answer(partial(_introduction, job))


def try_job(job: Job) -> Outcome:
    """Compute the first sequence, to be compared with what other workers find."""
    return _answer(partial(_trial, job))


def make(job: Job, number: int, standard: Standard, topic: str) -> Outcome:
    """Make one shard and tell the client of every block.

    Args:
        job: what is being generated.
        number: which shard.
        standard: what this worker must keep to. Workers may join at any time, so each shard asks.
        topic: under which the client listens: for (number of the shard, worker, sequences done), the first
            time with none done.
    """
    from distributed import get_worker

    worker = get_worker()

    def shard() -> int:
        check_versions(versions(), standard.versions, worker.address)
        if not _sees_folder(job):
            raise ClusterError(unseen(job, worker.address))
        if _trial(job).checksum != standard.checksum:
            raise ClusterError(other_bits(worker.address))
        done, told = 0, 0.0

        def tell(count: int) -> None:
            nonlocal done, told
            done += count
            if time.monotonic() - told > _TELL_SECONDS:
                worker.log_event(topic, (number, worker.address, done))
                told = time.monotonic()

        return make_shard(job, number, tell)

    return _answer(shard)


def check_versions(found: dict[str, str], wanted: dict[str, str], worker: str) -> None:
    """Refuse a worker that may compute other bits or not understand what it is sent."""
    other = [
        f"{name} {found.get(name, '(none)')} instead of {version}"
        for name, version in wanted.items()
        if found.get(name) != version
    ]
    if other:
        raise ClusterError(
            f"The worker {worker} has {', '.join(other)}: install the same versions there, or the data may "
            "differ in its last bits."
        )


def unseen(job: Job, worker: str) -> str:
    """What to say where the folder is not on a file system that the worker shares."""
    return (
        f"The worker {worker} does not see the folder {job.folder} as it is here: it must be on a file "
        "system that all workers share, under the same path."
    )


def other_bits(worker: str) -> str:
    """What to say where a worker does not compute what the others compute."""
    return (
        f"The worker {worker} does not compute the same bits as others: use machines with the same "
        "processors and libraries."
    )


def _introduction(job: Job) -> Introduction:
    from distributed import get_worker

    worker = get_worker()
    limit = worker.memory_manager.memory_limit
    return Introduction(
        host=socket.gethostname(),
        versions=versions(),
        threads=worker.state.nthreads,
        resident=worker.monitor.get_process_memory(),
        limit=None if limit is None else int(limit),
        available=available_memory(),
        sees_folder=_sees_folder(job),
    )


def _trial(job: Job) -> Trial:
    if job.fingerprint not in _trials:
        _trials[job.fingerprint] = try_first(job)
    return _trials[job.fingerprint]


def _sees_folder(job: Job) -> bool:
    """Whether the plan of this very job is to be read here; a network file system may show it late."""
    wanted = job.fingerprint, job.plan.shard_size
    until = time.monotonic() + job.patience
    while read_plan(job.folder) != wanted:
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def _answer(task: Callable[[], object]) -> Outcome:
    from distributed import get_worker

    worker = get_worker().address
    try:
        return Outcome(worker, found=task())
    except Exception as problem:
        return Outcome(worker, problem=_portable(problem))


def _portable(problem: Exception) -> Exception:
    """The exception as another process can read it; where it was raised goes along as a note for --debug."""
    said = "".join(traceback.format_exception(problem))
    try:
        pickle.loads(pickle.dumps(problem))
        ours = type(problem).__module__ in ("builtins", "qdyn.errors")
    except Exception:
        ours = False
    if not ours:
        known = isinstance(problem, QdynError)
        problem = QdynError(str(problem)) if known else RuntimeError(f"{type(problem).__name__}: {problem}")
    problem.add_note(f"On the worker:\n{said}")
    return problem


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(none)"
