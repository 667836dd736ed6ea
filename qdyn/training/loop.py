"""The training loop: draw, differentiate, step; now and then write a line, evaluate, keep a checkpoint."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from qdyn.errors import RunError
from qdyn.models.dropout import share_of_batch
from qdyn.training.batches import BatchSource, StackedSource
from qdyn.training.best import Best
from qdyn.training.callbacks import Callback, Progress, StopRun
from qdyn.training.checkpoints import Position, save_checkpoint
from qdyn.training.config import TrainingConfig
from qdyn.training.ensembles import Ensemble, clip_members
from qdyn.training.processes import ALONE, Processes
from qdyn.training.schedules import learning_rate


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during training: a checkpoint has been written, and the message says how to go on."""


class TrainingStopped(Exception):  # noqa: N818 - not an error
    """A callback ended training, for the reason that is the message."""


class Interrupt:
    """Whether Ctrl-C was pressed."""

    requested = False


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Turn the first Ctrl-C into a flag, so that no update is cut in half; the second one acts at once.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """
    interrupt = Interrupt()

    def note(_signal: int, _frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@runtime_checkable
class LossLog(Protocol):
    """Where the lines of a run go: a `TrainingLog`, or one for each of several runs."""

    def write(self, progress: Progress) -> None:
        """Take down one line."""


class TrainingLoop:
    """One run's loop; everything it needs to be repeated is a function of the step.

    Args:
        ensemble: The models.
        optimiser: Over the ensemble's parameters.
        config: How to train.
        train: The training split.
        validation: The validation split; None where there is none.
        log: Where lines go.
        checkpoint: The checkpoint's path.
        callbacks: Hooks.
        interrupt: Whether to stop with a checkpoint.
        best: Where the best parameters are kept; None keeps the last.
        processes: Those that share the updates; the first alone writes.

    Attributes:
        position: Updates done so far and the time they took.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        optimiser: torch.optim.Optimizer,
        config: TrainingConfig,
        *,
        train: BatchSource | StackedSource,
        validation: BatchSource | StackedSource | None,
        log: LossLog,
        checkpoint: Path,
        callbacks: Sequence[Callback],
        interrupt: Interrupt,
        best: Best | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self._ensemble = ensemble
        self._optimiser = optimiser
        self._config = config
        self._train = train
        self._validation = validation
        self._log = log
        self._checkpoint = checkpoint
        self._callbacks = callbacks
        self._interrupt = interrupt
        self._best = best
        self._processes = processes
        # Several datasets repeat the seeds.
        self._seeds = config.seeds * (len(ensemble) // len(config.seeds))
        self.position = Position(step=0, seconds=0.0)

    def run(self, start: Position) -> None:
        """Train from ``start`` to the last step.

        Raises:
            TrainingStopped: a callback raised StopRun; a checkpoint has been written.
            TrainingInterrupted: Ctrl-C; a checkpoint has been written.
            RunError: a loss or a parameter is no longer finite; the last checkpoint is kept.
        """
        began = time.perf_counter() - start.seconds
        self.position = start
        for callback in self._callbacks:
            callback.on_start(start.step, self._config.steps)
        for step in range(start.step, self._config.steps):
            rate = learning_rate(self._config, step)
            loss = self._update(step, rate)
            done = step + 1
            due = self._due(done, self._config.evaluate_every)
            validation = self._evaluate() if due else None
            if self._best is not None:
                self._keep_best(self._best, loss, validation, due=due)
            self.position = Position(step=done, seconds=time.perf_counter() - began)
            progress = Progress(
                step=done,
                steps=self._config.steps,
                seeds=self._seeds,
                learning_rate=rate,
                loss=loss,
                seconds=self.position.seconds,
                validation=validation,
            )
            if done == 1 or validation is not None or self._due(done, self._config.log_every):
                self._log.write(progress)
            stop = self._tell(progress)
            if self._processes.any(stop is not None) and stop is None:
                stop = "stopped by another process"
            interrupted = self._processes.any(self._interrupt.requested)
            if stop or interrupted or self._due(done, self._config.checkpoint_every):
                self._save(self.position)
            if stop:
                raise TrainingStopped(stop)
            if interrupted and done < self._config.steps:
                raise TrainingInterrupted(
                    f"Interrupted after step {done} of {self._config.steps}: to go on, repeat the command "
                    f"with --resume (in Python: resume=True) and out={self._checkpoint.parent}."
                )

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self._config.steps

    def _update(self, step: int, rate: float) -> np.ndarray:
        config = self._config
        whole = self._train.members(
            config.seeds,
            step=step,
            batch_size=config.batch_size,
            shuffled=config.order == "shuffled",
        )
        rows = whole[0].shape[1]
        own = self._processes.share(rows)
        inputs, targets, mask, told = (None if one is None else one[:, own] for one in whole)
        assert inputs is not None
        assert targets is not None
        assert mask is not None
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        # What is dropped at random is a function of the step, so that a resumed run goes on with the same.
        with torch.random.fork_rng(devices=[]), share_of_batch(own.start, rows):
            torch.manual_seed(int(np.random.SeedSequence(step).generate_state(1)[0]))
            losses = self._ensemble.losses(config.loss, inputs, targets, mask, told)
        if self._processes.count > 1:
            losses = losses * (inputs.shape[1] / rows)
        shown = losses.detach().cpu().double()
        self._processes.add_up([shown])
        values = shown.numpy()
        if not np.isfinite(values).all():
            raise self._diverged(int(np.argmin(np.isfinite(values))), step + 1)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        gradients = [one.grad for one in self._ensemble.parameters.values() if one.grad is not None]
        self._processes.add_up(gradients)
        if config.gradient_clip is not None:
            clip_members(
                self._ensemble.parameters,
                largest_norm=config.gradient_clip,
                each=config.gradient_clip_of == "parameter",
            )
        self._optimiser.step()
        return values

    @torch.no_grad()
    def _evaluate(self) -> dict[str, np.ndarray] | None:
        """The mean metric of each member over the validation split."""
        if self._validation is None:
            return None
        metric = self._ensemble.validation_metric
        total = np.zeros(len(self._ensemble))
        with self._ensemble.evaluating():
            evaluations = self._validation.evaluations(self._config.batch_size)
            every = self._processes.count
            for count, data, same in itertools.islice(evaluations, self._processes.rank, None, every):
                means = self._ensemble.losses(metric, *data, same_data=same)
                total += count * means.cpu().double().numpy()
        self._processes.add_up([torch.from_numpy(total)])
        return {metric: total / len(self._validation)}

    def _keep_best(
        self, best: Best, loss: np.ndarray, validation: dict[str, np.ndarray] | None, *, due: bool
    ) -> None:
        if self._config.keep == "best_training":
            best.add(torch.from_numpy(loss))
            if due:
                best.see(self._ensemble, best.mean_loss())
        elif validation is not None:
            best.see(self._ensemble, torch.from_numpy(validation[self._ensemble.validation_metric]))

    def _tell(self, progress: Progress) -> str | None:
        """Call the hooks; the reason to stop, where one of them asks for it."""
        reason = None
        for callback in self._callbacks:
            try:
                if progress.validation is not None:
                    callback.on_evaluate(progress)
                callback.on_step_end(progress)
            except StopRun as request:
                reason = request.reason
        return reason

    def _save(self, position: Position) -> None:
        # A finite loss can have a gradient that is not; such parameters must not replace a good checkpoint.
        if (member := self._ensemble.first_non_finite()) is not None:
            raise self._diverged(member, position.step)
        if self._processes.first:
            save_checkpoint(
                self._checkpoint, self._ensemble, self._optimiser, position=position, best=self._best
            )

    def _diverged(self, member: int, step: int) -> RunError:
        kept = "the last checkpoint is kept" if self._checkpoint.is_file() else "there was no checkpoint yet"
        return RunError(
            f"Training diverged: at step {step} the loss or a parameter of seed {self._seeds[member]} is "
            f"not finite ({kept}); lower training.learning_rate or set training.gradient_clip."
        )
