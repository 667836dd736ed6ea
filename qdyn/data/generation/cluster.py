"""The workers of dask.distributed: a cluster of our own on this machine, or a running one by its address.

A cluster of our own listens on the loopback interface only, and encrypts with credentials of its own: what
dask sends can run code, and other users of the machine can reach the port too. Its workers end with this
process, however that ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import re
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qdyn.errors import ArgumentError, ClusterError, MissingExtraError

if TYPE_CHECKING:
    from distributed import Client

#: How often a shard is begun again after its worker was killed.
RETRIES = 3
_CONNECT_SECONDS = 10
_POLL_SECONDS = 0.5
_END_SECONDS = 5.0


def require_distributed() -> None:
    """Refuse where the packages for work on many processes are not installed.

    Raises:
        MissingExtraError: they are not.
    """
    for package in ("distributed", "cryptography"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("Generating with several workers", package=package, extra="scale")
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that starts runs its parent's script again, which without a guard would start workers.
        # The parent notices, and says it once.
        os._exit(1)


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Client]:
    """A cluster of ``workers`` processes of one thread each on this machine, and a client of it.

    Raises:
        ClusterError: the workers do not start.
    """
    require_distributed()
    from distributed import Client, LocalCluster, Security

    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.enter_context(_environment_restored())
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="qdyn-workers-", ignore_cleanup_errors=True)
        )
        others = set(multiprocessing.active_children())
        try:
            with _deaf_to_interrupts():
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    security=Security.temporary(),
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                    local_directory=scratch,
                    # What fits was decided before; a limit would make dask pause a worker for ever.
                    memory_limit=None,
                    scheduler_kwargs={
                        "allowed_failures": RETRIES,
                        # dask would serve a page of information in any case, and on a fixed port.
                        "dashboard": False,
                        "dashboard_address": "127.0.0.1:0",
                    },
                )
                stack.callback(_close, cluster, others)
                client = stack.enter_context(Client(cluster, set_as_default=False))
        except (RuntimeError, OSError) as problem:
            raise ClusterError(
                f"The worker processes did not start: {_one_line(problem)} In a script, whatever starts "
                "workers must stand under `if __name__ == '__main__':`."
            ) from None
        yield client


@contextlib.contextmanager
def running_cluster(scheduler: str | Path) -> Iterator[Client]:
    """A client of the cluster whose scheduler has this address or wrote this file.

    Raises:
        ArgumentError: ``scheduler`` is neither.
        ClusterError: nothing answers there.
    """
    require_distributed()
    address = address_of(scheduler)
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    with _quiet():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VersionMismatchWarning)  # the workers are asked themselves
                client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as problem:
            raise ClusterError(f"No scheduler answers at {address}: {_one_line(problem)}") from problem
        with client:
            yield client


def address_of(scheduler: str | Path) -> str:
    """The address of a scheduler, given that or the file that `dask scheduler --scheduler-file` writes.

    >>> address_of("node17:8786")
    'tcp://node17:8786'
    """
    text = str(scheduler)
    if "://" in text:
        return text
    path = Path(scheduler)
    if path.is_file():
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ArgumentError(
                f"Argument `scheduler` names the file {path}, which no scheduler has written."
            ) from None
    if re.fullmatch(r"[\w.-]+:\d+", text):
        return f"tcp://{text}"
    raise ArgumentError(
        "Argument `scheduler` must be an address such as tcp://host:8786, or the path of a scheduler file, "
        f"but is {text!r}, and there is no such file."
    )


def workers_of(client: Client) -> list[str]:
    """The addresses of the workers that a cluster has now.

    Raises:
        ClusterError: the scheduler has gone.
    """
    try:
        return sorted(client.nthreads())
    except (OSError, RuntimeError) as problem:
        raise ClusterError(f"The scheduler has gone: {_one_line(problem)}") from problem


def wait_for_workers(client: Client, count: int) -> None:
    """Wait until a cluster has ``count`` workers: in a queue that may take hours."""
    while len(workers_of(client)) < count:
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from the workers, which a terminal sends to them too: they end when this process says so.

    Threads and processes inherit what is blocked from the thread that starts them, also those that come
    later in place of a killed worker.
    """
    # Python's own helper process; where it is first started, that unblocks the signal again.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment_restored() -> Iterator[None]:
    """Undo what dask sets for its workers in the environment of this process, such as OMP_NUM_THREADS."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's log to itself: what goes wrong is told in our own words."""
    loggers = [
        logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado", "asyncio")
    ]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def _close(cluster: Any, others: set[BaseProcess]) -> None:
    """End a cluster of our own at once: a shard that is being made is begun anew another time."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
    _end_workers(others)
    cluster.close()
    _end_workers(others)  # those that were just starting in place of a killed one


def _end_workers(others: set[BaseProcess]) -> None:
    children = set(multiprocessing.active_children()) - others
    ours = [process for process in children if process.name.startswith("Dask Worker")]
    for process in ours:
        process.kill()
    until = time.monotonic() + _END_SECONDS
    while any(process.is_alive() for process in ours) and time.monotonic() < until:
        time.sleep(0.01)


def _one_line(problem: BaseException) -> str:
    return str(problem).strip().split("\n", maxsplit=1)[0] or type(problem).__name__
