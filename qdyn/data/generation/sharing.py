"""Share shards among the workers of a cluster: examine the workers, hand out, follow, try again.

A shard whose worker is killed is begun again elsewhere; what a source raises ends the whole, with its own
message; and nothing is handed to a worker that may compute other bits.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from qdyn.data.generation.cluster import workers_of
from qdyn.data.generation.plan import shard_path
from qdyn.data.generation.shards import Job, Trial
from qdyn.data.generation.workers import (
    Introduction,
    Outcome,
    Standard,
    check_versions,
    introduce,
    make,
    other_bits,
    try_job,
    unseen,
    versions,
)
from qdyn.errors import ClusterError, MemoryLimitError
from qdyn.memory import readable_size

if TYPE_CHECKING:
    from distributed import Client, Future, KilledWorker

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Examined:
    """What was found out about the workers of a cluster.

    Args:
        standard: what they have in common, and workers that join later must share.
        sequences_per_second: of all of them together.
        n_workers: how many there are.
        n_threads: how many threads they have; one of each worker is used.
    """

    standard: Standard
    sequences_per_second: float
    n_workers: int
    n_threads: int


def examine(client: Client, job: Job) -> Examined:
    """See that every worker has our versions, sees the folder, has the memory, and computes the same bits.

    Raises:
        ClusterError: a worker does not suit.
        MemoryLimitError: a block of sequences does not fit on a worker.
    """
    found = cast("dict[str, Introduction]", _ask_each(client, introduce, job))
    wanted = versions()
    for worker, one in found.items():
        check_versions(one.versions, wanted, worker)
        if not one.sees_folder:
            raise ClusterError(unseen(job, worker))
    _check_memory(found, job)
    trials = cast("dict[str, Trial]", _ask_each(client, try_job, job))
    checksum = _common_checksum(trials)
    speed = sum(1 / max(trial.seconds, 1e-9) for trial in trials.values())
    return Examined(Standard(wanted, checksum), speed, len(found), sum(one.threads for one in found.values()))


def share(
    client: Client,
    job: Job,
    missing: list[int],
    standard: Standard,
    *,
    heard: Callable[[int], object],
    said: Callable[[str], object],
) -> None:
    """Have shards made by the workers.

    Args:
        client: of the cluster.
        job: what is being generated.
        missing: the numbers of the shards.
        standard: what a worker must keep to, from `examine`.
        heard: called with the number of sequences made since it was called last; negative where a shard is
            begun again.
        said: called with a line that the user should see.

    Raises:
        ClusterError: a shard's worker was killed again and again, or the scheduler has gone.
        Exception: what a source raised.
    """
    from distributed.comm.core import CommClosedError

    topic = f"qdyn-{secrets.token_hex(8)}"
    progress = _Progress(job, heard, said)
    client.subscribe_topic(topic, progress.note)
    keys = (f"{topic}-{count}" for count in itertools.count())

    def hand_out(number: int) -> Future[Outcome]:
        return client.submit(make, job, number, standard, topic, key=next(keys), pure=False)

    waiting = {number: hand_out(number) for number in missing}
    looked, anybody = time.monotonic(), True
    try:
        while waiting:
            for number in [number for number, future in waiting.items() if future.done()]:
                future = waiting.pop(number)
                if (killed := _killed(future)) and progress.unjustly_blamed(number, killed):
                    waiting[number] = hand_out(number)
                    continue
                _result(future, what=shard_path(job.folder, number).name, job=job)
                _wait_for_file(job, number)
                progress.finished(number)
            progress.tell()
            if time.monotonic() > looked + _LOOK_SECONDS:
                looked, before = time.monotonic(), anybody
                anybody = _anybody_left(client, job)
                if before and not anybody:
                    said("no worker is left: waiting until one comes")
            if waiting:
                time.sleep(_POLL_SECONDS)
    finally:
        with contextlib.suppress(CommClosedError):
            client.cancel(list(waiting.values()))
            client.unsubscribe_topic(topic)


class _Progress:
    """How far each shard is, from what workers tell while they make it."""

    def __init__(self, job: Job, heard: Callable[[int], object], said: Callable[[str], object]) -> None:
        self._job, self._heard, self._said = job, heard, said
        self._done: dict[int, int] = {}
        self._worker: dict[int, str] = {}
        self._made_by: defaultdict[int, set[str]] = defaultdict(set)
        self._makers: set[str] = set()
        self._finished: set[int] = set()
        self._told = 0
        self._lines: list[str] = []

    def note(self, event: tuple[float, Any]) -> None:
        """Take what a worker tells; called in dask's own thread."""
        number, worker, done = event[1]
        self._made_by[number].add(worker)
        self._makers.add(worker)
        if number in self._finished:
            return
        before = self._worker.setdefault(number, worker)
        if before != worker:
            name = shard_path(self._job.folder, number).name
            self._lines.append(f"the worker {before} was lost: {name} is begun again")
            self._worker[number] = worker
        self._done[number] = done

    def unjustly_blamed(self, number: int, killed: KilledWorker) -> bool:
        """Whether dask gave a shard up for deaths of workers that were making another one.

        dask blames every task that a dead worker held, and one of several threads holds several, of which
        one is being made. A worker that died before it told what it was making leaves them all to blame.
        """
        told = str(killed.last_worker.address) in self._makers
        return told and len(self._made_by[number]) <= killed.allowed_failures

    def finished(self, number: int) -> None:
        """Take it that a shard stands."""
        self._finished.add(number)
        self._done[number] = self._job.plan.size_of(number)

    def tell(self) -> None:
        """Pass on what has changed since it was called last."""
        while self._lines:
            self._said(self._lines.pop(0))
        done = sum(list(self._done.values()))
        if done != self._told:
            self._heard(done - self._told)
            self._told = done


def _ask_each(client: Client, task: Callable[[Job], Outcome], job: Job) -> dict[str, object]:
    """What every worker answers; one that leaves meanwhile is not waited for."""
    asked = {
        worker: client.submit(task, job, workers=[worker], allow_other_workers=False, pure=False)
        for worker in workers_of(client)
    }
    answers = {}
    while asked:
        for worker, future in list(asked.items()):
            if future.done():
                answers[worker] = _result(asked.pop(worker), what=f"a question to {worker}", job=job)
        for worker in set(asked) - set(workers_of(client) if asked else ()):
            asked.pop(worker).cancel()
        if asked:
            time.sleep(_POLL_SECONDS)
    if not answers:
        raise ClusterError("Every worker of the cluster has gone: start some, and run the same again.")
    return answers


def _anybody_left(client: Client, job: Job) -> bool:
    try:
        return bool(workers_of(client))
    except ClusterError as problem:
        raise _gone(job) from problem


def _gone(job: Job) -> ClusterError:
    return ClusterError(
        f"The scheduler has gone. The finished shards are in {job.folder}: run the same again to go on."
    )


def _result(future: Future[Outcome], *, what: str, job: Job) -> object:
    """What a task found, or an error in one line."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    try:
        outcome = future.result()
    except KilledWorker as problem:
        raise ClusterError(
            f"The worker was killed {problem.allowed_failures + 1} times at {what}, perhaps for want of "
            f"memory. The finished shards are in {job.folder}: run the same again to go on, with fewer "
            "workers or more memory for each."
        ) from None
    except (CancelledError, CommClosedError):
        # Which of the two depends on whether the result was on its way.
        raise _gone(job) from None
    except ImportError as problem:
        raise ClusterError(f"A worker cannot import what it needs: {problem}.") from problem
    if outcome.problem is not None:
        raise outcome.problem
    return outcome.found


def _killed(future: Future[Outcome]) -> KilledWorker | None:
    """Why dask gave a task up, if it did so because workers died."""
    from distributed import KilledWorker

    problem = future.exception() if future.status == "error" else None
    return problem if isinstance(problem, KilledWorker) else None


def _check_memory(found: Mapping[str, Introduction], job: Job) -> None:
    needed = job.source.working_bytes()
    recipe = job.plan.recipe.name
    for worker, one in found.items():
        if one.limit is not None and one.resident + needed > one.limit:
            raise MemoryLimitError(
                f"Generating {recipe} needs about {readable_size(one.resident + needed)} of memory in each "
                f"worker, but {worker} is limited to {readable_size(one.limit)}."
            )
    for host, count in Counter(one.host for one in found.values()).items():
        free = [one.available for one in found.values() if one.host == host and one.available is not None]
        if free and count * needed > min(free):
            raise MemoryLimitError(
                f"Generating {recipe} needs about {readable_size(count * needed)} of memory for {count} "
                f"workers on {host}, but {readable_size(min(free))} are available. Use fewer workers."
            )


def _common_checksum(trials: Mapping[str, Trial]) -> str:
    ((common, _),) = Counter(trial.checksum for trial in trials.values()).most_common(1)
    for worker, trial in trials.items():
        if trial.checksum != common:
            raise ClusterError(other_bits(worker))
    return common


def _wait_for_file(job: Job, number: int) -> None:
    """See that the file that a worker has written stands here; a network file system may show it late."""
    path = shard_path(job.folder, number)
    until = time.monotonic() + job.patience
    while not path.is_file():
        if time.monotonic() > until:
            raise ClusterError(
                f"A worker has made {path.name}, but it is not to be seen in {job.folder}: it must be on a "
                "file system that all workers share, under the same path."
            )
        time.sleep(_POLL_SECONDS)
