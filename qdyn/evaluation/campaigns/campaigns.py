"""Campaigns: many trials on the same footing, several at a time, resumable.

A campaign's folder holds one run a trial under ``runs/`` and what was found about it under ``outcomes/``. A
campaign that was killed goes on where it stood: finished trials are read, the others resume from their
checkpoints.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from qdyn.checks import check_integer
from qdyn.data.generation.cluster import running_cluster, wait_for_workers
from qdyn.errors import ArgumentError, RunError
from qdyn.evaluation.campaigns.checks import check_trials
from qdyn.evaluation.campaigns.trials import Outcome, Trial, conduct
from qdyn.evaluation.results import decisive
from qdyn.processors import torch_threads

_POLL_SECONDS = 0.5
#: In a worker process: updates done by all workers together.
_shared: dict[str, Synchronized[int]] = {}


def run_campaign(
    trials: Sequence[Trial],
    *,
    folder: str | Path,
    workers: int = 2,
    scheduler: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Outcome]:
    """Train and judge every trial, ``workers`` at a time, and keep all of it in ``folder``.

    Each worker is a process of one thread: models this small gain nothing from a second one. On a cluster,
    every worker must see ``folder`` and the datasets under the same paths.

    Args:
        trials: Settings with distinct keys.
        folder: The campaign's folder; what is finished there is not done again.
        workers: Processes, >= 1; one works in this process. On a cluster, how many to wait for.
        scheduler: Address of a running dask scheduler, or the path of its scheduler file, whose workers do
            it in place of processes of our own.
        progress: Show a bar on a terminal, and a line for each finished trial elsewhere.

    Returns:
        Key -> outcome, in the order of ``trials``.

    Raises:
        ArgumentError: two trials share a key.
        DatasetError, ConfigError: a trial cannot be judged on its dataset, see `check_trials`; nothing has
            been trained then.
        RunError: the folder holds a trial of that key with another configuration or dataset, a training
            diverged, or a worker was killed.
        ClusterError: no scheduler answers.
        TrainingInterrupted: Ctrl-C; every trial has its last checkpoint.

    Example:
        >>> outcomes = run_campaign([Trial("a", config)], folder="runs/campaign")  # doctest: +SKIP
        >>> outcomes["a"].figures["test"]["L_1"].mean  # doctest: +SKIP
        0.209
    """
    check_integer("workers", workers, minimum=1)
    keys = [trial.key for trial in trials]
    if len(set(keys)) < len(keys):
        raise ArgumentError(f"Argument `trials` must have distinct keys, but they are {keys}.")
    check_trials(trials, progress=progress)
    place = Path(folder)
    report = _Reporter(trials, shown=progress)
    outcomes: dict[str, Outcome] = {}
    # The longest first, so that no worker begins a long one when the others are done.
    queue = sorted(trials, key=lambda trial: -trial.config.training.steps)
    with torch_threads(1), report:
        if scheduler is not None:
            for outcome in _on_cluster(queue, place.resolve(), scheduler, workers, report):
                outcomes[outcome.key] = outcome
        elif workers == 1:
            for trial in queue:
                outcomes[trial.key] = report.finished(conduct(trial, place, on_step=report.step))
        else:
            for outcome in _in_parallel(queue, place, min(workers, len(queue) or 1), report):
                outcomes[outcome.key] = outcome
    return {key: outcomes[key] for key in keys}


class _Reporter:
    """A bar with the time left on a terminal; elsewhere a line for each trial that is finished."""

    def __init__(self, trials: Sequence[Trial], *, shown: bool) -> None:
        self._total = sum(trial.config.training.steps for trial in trials)
        self._count = len(trials)
        self._shown = shown
        self._done = self._trials = 0
        self._first: tuple[float, int] | None = None
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> _Reporter:
        if self._shown and sys.stderr.isatty():
            self._bar = tqdm(total=self._total, desc="campaign", unit="step", dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, count: int) -> None:
        """``count`` more updates are done."""
        if self._first is None:
            self._first = (time.perf_counter(), self._done)
        self._done += count
        if self._bar is not None:
            self._bar.update(count)

    def finished(self, outcome: Outcome) -> Outcome:
        """A trial is done."""
        self._trials += 1
        name = decisive(outcome.figures["test"])
        figure = outcome.figures["test"][name]
        spread = "" if figure.std is None else f" ± {figure.std:.3f}"
        line = f"{outcome.key}: test {name} {figure.mean:.3f}{spread}; {self._trials} of {self._count} trials"
        if self._bar is not None:
            self._bar.write(f"{line} done", file=sys.stderr)
        elif self._shown:
            print(f"{line} done{self._left()}", file=sys.stderr, flush=True)
        return outcome

    def _left(self) -> str:
        if self._first is None or self._done == self._total:
            return ""
        began, before = self._first
        pace = (time.perf_counter() - began) / max(1, self._done - before)
        return f", about {pace * (self._total - self._done):.0f} s left"


def _in_parallel(queue: Sequence[Trial], folder: Path, workers: int, report: _Reporter) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    seen = 0
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(), counter)
    ) as pool:
        pending: set[Future[Outcome]] = {pool.submit(_work, trial, folder) for trial in queue}
        try:
            while pending:
                finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")
                now = counter.value
                report.step(now - seen)
                seen = now
                for future in finished:
                    yield report.finished(future.result())
        except BrokenProcessPool:
            raise RunError(
                f"A worker process was killed, perhaps for want of memory. What is done is in {folder}: run "
                "the same again to go on."
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_cluster(
    queue: Sequence[Trial], folder: Path, scheduler: str | Path, workers: int, report: _Reporter
) -> Iterator[Outcome]:
    """Each trial as one task, whose key says what it is: a trial that still runs is not begun twice."""
    with running_cluster(scheduler) as client, client.as_current():
        from distributed import KilledWorker, as_completed

        wait_for_workers(client, workers)
        futures = [
            client.submit(_conduct_alone, trial, folder, key=f"qdyn-{folder}-{trial.key}", retries=0)
            for trial in queue
        ]
        try:
            for future in as_completed(futures):
                outcome: Outcome = future.result()
                report.step(next(one for one in queue if one.key == outcome.key).config.training.steps)
                yield report.finished(outcome)
        except KilledWorker:
            raise RunError(
                f"Workers of the cluster were killed. What is done is in {folder}: run the same again to go "
                "on."
            ) from None


def _conduct_alone(trial: Trial, folder: Path) -> Outcome:
    """In a worker of a cluster."""
    with torch_threads(1):
        return conduct(trial, folder)


def _start_worker(parent: int, counter: Synchronized[int]) -> None:
    """Count steps for the parent, and end with it: a killed parent cannot tell its workers to stop."""
    _shared["steps"] = counter

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=watch, daemon=True).start()
    torch.set_num_threads(1)


def _work(trial: Trial, folder: Path) -> Outcome:
    return conduct(trial, folder, on_step=_count)


def _count(steps: int) -> None:
    counter = _shared["steps"]
    with counter.get_lock():
        counter.value += steps
