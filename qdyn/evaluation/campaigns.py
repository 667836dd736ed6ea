"""Campaigns: many settings trained and judged on the same footing, several at a time, resumable.

A campaign's folder holds one run a trial under ``runs/`` and what was found about it under ``outcomes/``. A
campaign that was killed goes on where it stood: finished trials are read, the others resume from their
checkpoints.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from qdyn.checks import check_integer
from qdyn.config import build
from qdyn.data.generation.cluster import running_cluster, wait_for_workers
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, RunError
from qdyn.evaluation.contestants import Contestant, baselines, of_run
from qdyn.evaluation.results import Estimate, Standing, decisive, plain
from qdyn.evaluation.scoring import error_of_the_mean, score
from qdyn.files import inside, write_json
from qdyn.processors import torch_threads
from qdyn.training.callbacks import Callback, Progress
from qdyn.training.config import RunConfig
from qdyn.training.record import RECORD
from qdyn.training.train import train

_POLL_SECONDS = 0.5
#: In a worker process: updates done by all workers together.
_shared: dict[str, Synchronized[int]] = {}


@dataclass(frozen=True)
class Trial:
    """One setting of a campaign, trained from all seeds of its configuration.

    Attributes:
        key: Unique; names its folder.
        config: What `qdyn.train` is given; the dataset is found by its name there.
    """

    key: str
    config: RunConfig


@dataclass(frozen=True)
class Figure:
    """A figure of merit of one contestant on one split.

    Attributes:
        of_each_seed: The mean over sequences, one number a seed.
        standard_error: Of the mean over sequences, seeds averaged first: what another draw of the data
            would change; None for a single sequence.
    """

    of_each_seed: tuple[float, ...]
    standard_error: float | None

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> Figure:
        """From one value for each seed and sequence, (seeds, sequences)."""
        return cls(tuple(values.mean(axis=1).tolist()), Estimate.of(values).standard_error)

    @property
    def mean(self) -> float:
        """Over seeds; none is left out."""
        return float(np.mean(self.of_each_seed))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for one."""
        return float(np.std(self.of_each_seed, ddof=1)) if len(self.of_each_seed) > 1 else None

    def __str__(self) -> str:
        """As an `Estimate`: with the spread over seeds, else with the standard error over sequences."""
        return str(Estimate(self.mean, self.std, self.standard_error))


@dataclass(frozen=True)
class Outcome:
    """What a campaign found about one contestant.

    Attributes:
        key: Of the trial, or of the baseline.
        label: What people read.
        standing: "trained", "untrained" or "oracle", see `qdyn.evaluation.results.Row`.
        phase_convention: Of the states it saw; None for other data.
        parameters: Real numbers learnt.
        figures: Split -> metric -> figure: those of `qdyn.evaluate`, and ``rollout_fidelity``, the mean over
            the steps of a roll-out, where there was one.
        seconds: Time of the training, or of the judgement of a baseline.
    """

    key: str
    label: str
    standing: Standing
    phase_convention: str | None
    parameters: int | None
    figures: Mapping[str, Mapping[str, Figure]]
    seconds: float


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


def conduct(trial: Trial, folder: Path, *, on_step: Callable[[int], None] | None = None) -> Outcome:
    """Train one trial, or go on with it, and judge it on the training and the test split.

    Args:
        trial: The setting.
        folder: The campaign's folder.
        on_step: Called with the number of updates that have been done since the last call.
    """
    place = inside(folder / "runs", trial.key)
    steps = _Steps(on_step)
    run = train(trial.config, out=place, resume=(place / RECORD).exists(), progress=False, callbacks=[steps])
    path = inside(folder / "outcomes", f"{trial.key}.json")
    if not steps.told and path.is_file():
        steps.tell(trial.config.training.steps)
        return _read(path)
    figures = judge(
        of_run(run),
        run.dataset(),
        context=trial.config.evaluation.context,
        rollout_steps=trial.config.evaluation.rollout_steps,
    )
    outcome = Outcome(
        key=trial.key,
        label=run.models[0].label,
        standing="trained",
        phase_convention=run.metadata.phase_convention,
        parameters=run.record.parameters,
        figures=figures,
        seconds=run.record.training_seconds,
    )
    write_json(path, plain(outcome))
    return outcome


def judge_untrained(dataset: SequenceDataset, *, context: int, rollout_steps: int) -> dict[str, Outcome]:
    """The baselines of `qdyn.evaluate` on the test split, fitted to the training split.

    Args:
        dataset: With a training and a test split.
        context: States seen before a roll-out; only quantum states are rolled out.
        rollout_steps: Elements rolled out.
    """
    outcomes = {}
    with torch_threads(1):
        for one in baselines(dataset)[0]:
            began = time.perf_counter()
            figures = judge(one, dataset, splits=("test",), context=context, rollout_steps=rollout_steps)
            outcomes[one.key] = Outcome(
                key=one.key,
                label=one.label,
                standing=one.standing,
                phase_convention=one.phase_convention,
                parameters=one.parameters,
                figures=figures,
                seconds=time.perf_counter() - began,
            )
    return outcomes


def judge(
    contestant: Contestant,
    dataset: SequenceDataset,
    *,
    splits: Sequence[str] = ("train", "test"),
    context: int,
    rollout_steps: int,
) -> dict[str, dict[str, Figure]]:
    """Split -> metric -> figure of one contestant; roll-outs of quantum states, on the test split only."""
    figures = {}
    for split in splits:
        part = dataset.split(split)
        rolled = split == "test" and dataset.metadata.kind == "quantum_state"
        found = score(
            contestant,
            part,
            context=context if rolled else None,
            rollout_steps=rollout_steps if rolled else 0,
            error_unit=1.0 if dataset.metadata.normalised else error_of_the_mean(dataset, part),
        )
        figures[split] = {name: Figure.of(values) for name, values in found.losses.items()}
        if found.rollout is not None:
            figures[split]["rollout_fidelity"] = Figure.of(found.rollout.mean(axis=-1))
    return figures


def _read(path: Path) -> Outcome:
    try:
        return build(Outcome, json.loads(path.read_text(encoding="utf-8")), where=path)
    except (OSError, ValueError) as problem:
        raise RunError(
            f"The outcome {path} cannot be read: {problem}. Delete it to judge again."
        ) from problem


class _Steps(Callback):
    """Hands on how many updates were done; those of a resumed run count at its start."""

    def __init__(self, on_step: Callable[[int], None] | None) -> None:
        self._on_step = on_step
        self.told = 0

    def tell(self, count: int) -> None:
        """``count`` more are done."""
        self.told += count
        if self._on_step is not None:
            self._on_step(count)

    def on_start(self, step: int, steps: int) -> None:
        """Count what a checkpoint brought."""
        self.tell(step)

    def on_step_end(self, progress: Progress) -> None:
        """Count one."""
        self.tell(1)


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
