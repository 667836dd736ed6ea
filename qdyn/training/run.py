"""A run on disk: its configuration, training curves and trained models."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import cast

from torch import nn

from qdyn.config import build, read_yaml
from qdyn.data.load import load_dataset
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import ConfigError, DatasetError, RunError
from qdyn.models.base import Predictor
from qdyn.models.registry import build_model
from qdyn.training.checkpoints import WEIGHTS_FORMAT, checkpoint_position, read_tensors
from qdyn.training.config import RunConfig
from qdyn.training.ensembles import set_precision
from qdyn.training.folder import CHECKPOINT, CONFIG, LOG, WEIGHTS
from qdyn.training.log import History, read_history
from qdyn.training.record import RunRecord, content_digest, read_record


class Run:
    """A training run and the models it made; get one from `qdyn.train` or `qdyn.load_run`.

    Attributes:
        path: The run's folder.
        config: The preset with every key resolved.
        record: Versions, timings, dataset digest and status.
    """

    def __init__(
        self, path: Path, config: RunConfig, record: RunRecord, *, dataset: SequenceDataset | None = None
    ) -> None:
        self.path = path
        self.config = config
        self.record = record
        self._dataset = dataset

    @property
    def name(self) -> str:
        """What tables call the trained model."""
        return self.config.name

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each model."""
        return self.config.training.seeds

    @property
    def finished(self) -> bool:
        """Whether every step has been done."""
        return self.record.status == "finished"

    @property
    def step(self) -> int:
        """Updates done, as of the last checkpoint."""
        return checkpoint_position(self.path / CHECKPOINT).step

    @cached_property
    def history(self) -> History:
        """The training curves."""
        return read_history(self.path / LOG, n_seeds=len(self.seeds))

    @cached_property
    def metadata(self) -> SequenceMetadata:
        """What the run knows of its dataset without opening it."""
        return build(SequenceMetadata, self.record.dataset, where=self.path / "run.json", key="dataset")

    @cached_property
    def models(self) -> list[Predictor]:
        """The trained models, one a seed, ready to forecast.

        Raises:
            RunError: the run has not finished, or its weights are missing, truncated or foreign.
        """
        if self.record.status not in ("finished", "stopped"):
            raise RunError(
                f"The run at {self.path} has no weights yet, it stands at step {self.step} of "
                f"{self.config.training.steps}: finish it with resume."
            )
        tensors, _ = read_tensors(self.path / WEIGHTS, expected_format=WEIGHTS_FORMAT)
        models: list[Predictor] = []
        for index, seed in enumerate(self.seeds):
            model = cast(nn.Module, build_model(self.config.model, self.metadata, seed=seed))
            set_precision(model, self.config.training.dtype)
            try:
                model.load_state_dict({name: stack[index] for name, stack in tensors.items()})
            except (RuntimeError, IndexError) as problem:
                raise RunError(
                    f"The weights at {self.path / WEIGHTS} do not fit the run's model."
                ) from problem
            models.append(cast(Predictor, model.eval()))
        return models

    def model(self, seed_index: int = 0) -> Predictor:
        """The model of ``seeds[seed_index]``."""
        if not -len(self.seeds) <= seed_index < len(self.seeds):
            raise RunError(
                f"The run at {self.path} has {len(self.seeds)} models, but seed_index is {seed_index}."
            )
        return self.models[seed_index]

    def dataset(self) -> SequenceDataset:
        """The dataset that the run was trained on, in the run's phase convention.

        Raises:
            RunError: it cannot be found by its name, or what is found there has other content.
        """
        if self._dataset is None:
            settings = self.config.dataset
            try:
                found = load_dataset(settings.name, phase_convention=settings.phase_convention)
            except (ConfigError, DatasetError) as problem:
                raise RunError(
                    f"The dataset {settings.name!r} of the run at {self.path} cannot be opened: give it as "
                    f"`dataset`. {problem}"
                ) from problem
            digest = content_digest(found)
            if digest != self.metadata.digest:
                raise RunError(
                    f"The run at {self.path} was trained on a dataset {settings.name!r} of digest "
                    f"{self.metadata.digest}, but the one found now has {digest}."
                )
            self._dataset = found
        return self._dataset

    def __repr__(self) -> str:
        steps = self.config.training.steps
        return (
            f"Run({self.name!r} at {self.path}: {len(self.seeds)} seeds, {self.record.parameters} "
            f"parameters each, "
            f"{self.record.status}, {steps} steps on {self.metadata.name})"
        )


def load_run(path: str | Path) -> Run:
    """Open the run in the folder ``path``.

    Args:
        path: What was given to `qdyn.train` as ``out``.

    Returns:
        The run; its models are read on first use.

    Raises:
        RunError: there is no run, or its record or configuration is broken or foreign.

    Example:
        >>> qdyn.load_run("runs/nowhere")
        Traceback (most recent call last):
        ...
        qdyn.errors.RunError: There is no run at runs/nowhere: no such folder.
    """
    folder = Path(path)
    record = read_record(folder)
    try:
        config = build(RunConfig, read_yaml(folder / CONFIG), where=folder / CONFIG)
    except ConfigError as problem:
        raise RunError(f"The configuration of the run cannot be read: {problem}") from problem
    if config.training.seeds != record.seeds:
        raise RunError(f"The run at {folder} is inconsistent: {CONFIG} and run.json name different seeds.")
    return Run(folder, config, record)
