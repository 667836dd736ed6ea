"""What a preset says: the dataset, the model, how it is trained and how it is judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from qdyn.checks import check_fraction, check_integer, check_positive
from qdyn.config import build, override, read_yaml, to_mapping, to_yaml
from qdyn.errors import ConfigError
from qdyn.models.config import ModelConfig, ModelSection
from qdyn.quantum.states import PhaseConvention
from qdyn.shipped import find_yaml

OptimiserName = Literal["adam", "adamw", "lbfgs", "riemannian", "natural"]
LossName = Literal["L_B", "L_A", "L_half", "L_1", "v1", "MSE", "MSE_last"]


@dataclass(frozen=True)
class DatasetConfig:
    """Which sequences a model is trained on.

    Attributes:
        name: A shipped recipe's name, or the path of a dataset.
        phase_convention: Global phase of the states, "raw" or "first_real"; None takes the recipe's.
        window: Steps of the windows that training draws from the sequences; None takes whole sequences.
            Validation always sees whole sequences.
        stride: Distance between the starts of neighbouring windows.
        count_padding: Whether padding is something to forecast in training and validation, like any other
            element. Published losses of molecules count it; the evaluation then reports both.
    """

    name: str
    phase_convention: PhaseConvention | None = None
    window: int | None = None
    stride: int = 1
    count_padding: bool = False

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("Argument `dataset.name` must name a recipe or a path, but is empty.")
        if self.window is not None:
            check_integer("dataset.window", self.window, minimum=1)
        check_integer("dataset.stride", self.stride, minimum=1)


@dataclass(frozen=True)
class TrainingConfig:
    """How the parameters are found: descent on mini-batches, one independent run a seed.

    Attributes:
        loss: The objective, by its name on the theory page, section 4.
        steps: Number of parameter updates, >= 1.
        batch_size: Sequences in a mini-batch, for each seed its own.
        optimiser: "adam"; "adamw", the same with ``weight_decay``; "lbfgs" (for large batches);
            "riemannian" for ``unitaries: matrix``; "natural" for ``unitaries: hardware_efficient``, of which
            a step costs several of Adam.
        learning_rate: Step size at the start, > 0. Adam: about the change of a parameter in an update.
            L-BFGS: the largest change. Riemannian and natural: the root mean square of the angles by which an
            update turns the eigenvectors of a unitary.
        schedule: "cosine" falls to ``learning_rate_floor`` at the last step; "constant" does not fall.
        learning_rate_floor: What the cosine falls to, in [0, learning_rate].
        learning_rate_every: Steps for which the learning rate stays the same, >= 1.
        weight_decay: Share of every parameter that an update of "adamw" takes away, in units of the learning
            rate, >= 0.
        gradient_clip: Largest Euclidean norm of one seed's gradient; None does not clip.
        gradient_clip_of: What is clipped to it: the gradient of the "model", or that of every "parameter"
            by itself. Adam does not feel a common factor, so that "parameter" with a tiny ``gradient_clip``
            gives every tensor a gradient of the same norm, as large ones of some would otherwise hide others.
        order: "shuffled" draws each pass over the data anew; "in_order" takes sequences as they stand.
        keep: Which parameters a run ends with: "last"; for each seed the "best" of all evaluations on the
            validation split (early stopping); or "best_training", those at the end of that stretch of
            ``evaluate_every`` steps in which the mean loss of the mini-batches was lowest.
        seeds: One model is trained for each: it fixes the initial parameters and the order of the data.
        log_every: Steps between lines of the log.
        evaluate_every: Steps between evaluations on the validation split.
        checkpoint_every: Steps between checkpoints.
        dtype: Precision of the amplitudes; parameters are real numbers of the same precision.
        device: "auto" takes a GPU where there is one.
        threads: CPU threads; None leaves PyTorch's setting.
    """

    loss: LossName = "L_B"
    steps: int = 400
    batch_size: int = 32
    optimiser: OptimiserName = "adam"
    learning_rate: float = 2e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    learning_rate_floor: float = 1e-4
    learning_rate_every: int = 1
    weight_decay: float = 0.0
    gradient_clip: float | None = None
    gradient_clip_of: Literal["model", "parameter"] = "model"
    order: Literal["shuffled", "in_order"] = "shuffled"
    keep: Literal["last", "best", "best_training"] = "last"
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    log_every: int = 10
    evaluate_every: int = 100
    checkpoint_every: int = 100
    dtype: Literal["complex64", "complex128"] = "complex64"
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        # Logs and files take Python's own numbers.
        for one in fields(self):
            if isinstance(value := getattr(self, one.name), np.generic):
                object.__setattr__(self, one.name, value.item())
        every = ("learning_rate_every", "log_every", "evaluate_every", "checkpoint_every")
        for name in ("steps", "batch_size", *every):
            check_integer(f"training.{name}", getattr(self, name), minimum=1)
        check_positive("training.learning_rate", self.learning_rate)
        if not 0 <= self.learning_rate_floor <= self.learning_rate:
            raise ConfigError(
                f"Argument `training.learning_rate_floor` must lie in [0, "
                f"learning_rate={self.learning_rate:g}], "
                f"but is {self.learning_rate_floor:g}."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise ConfigError(
                "Argument `training.weight_decay` must be a finite number >= 0, "
                f"but is {self.weight_decay:g}."
            )
        if self.weight_decay and self.optimiser != "adamw":
            raise ConfigError(
                "Argument `training.weight_decay` is for training.optimiser 'adamw', "
                f"but that is {self.optimiser!r}."
            )
        if self.gradient_clip is not None:
            check_positive("training.gradient_clip", self.gradient_clip)
        if self.threads is not None:
            check_integer("training.threads", self.threads, minimum=1)
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))


@dataclass(frozen=True)
class EvaluationConfig:
    """How a trained model is judged.

    Attributes:
        context: Elements seen before the roll-out begins.
        rollout_steps: Elements forecast by feeding forecasts back.
        fidelity_threshold: The horizon is how many leading roll-out steps have a mean fidelity of at least
            this.
    """

    context: int = 16
    rollout_steps: int = 16
    fidelity_threshold: float = 0.9

    def __post_init__(self) -> None:
        check_integer("evaluation.context", self.context, minimum=1)
        check_integer("evaluation.rollout_steps", self.rollout_steps, minimum=1)
        check_fraction("evaluation.fidelity_threshold", self.fidelity_threshold)


@dataclass(frozen=True)
class RunConfig:
    """A whole preset.

    Attributes:
        name: What tables and reports call the trained model.
        dataset: The sequences.
        model: The predictor, see qdyn.models.
        training: The optimisation.
        evaluation: The judgement.
        description: One sentence for lists of presets.
    """

    name: str
    dataset: DatasetConfig
    model: ModelSection = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    description: str = ""

    def with_seeds(self, seeds: Sequence[int]) -> RunConfig:
        """The same preset trained from other seeds."""
        return replace(self, training=replace(self.training, seeds=_checked_seeds(seeds)))

    def to_yaml(self) -> str:
        """The preset as YAML with every key written out."""
        return to_yaml(to_mapping(self))


def _checked_seeds(seeds: object) -> tuple[int, ...]:
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        raise ConfigError(f"Argument `training.seeds` must be a list such as [0, 1], but is {seeds!r}.")
    checked: list[int] = []
    for index, seed in enumerate(seeds):
        checked.append(check_integer(f"training.seeds[{index}]", seed, minimum=0))
        if checked[-1] in checked[:-1]:
            raise ConfigError(
                f"Argument `training.seeds` must hold distinct seeds, but {checked[-1]} stands twice."
            )
    if not checked:
        raise ConfigError("Argument `training.seeds` must hold at least one seed, but is empty.")
    return tuple(checked)


def load_config(preset: str | Path, *, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset.

    Args:
        preset: A shipped preset's name, the path of a YAML file, or of a folder that holds ``preset.yaml``.
        overrides: Assignments such as ``"training.steps=100"``, applied in order.

    Raises:
        ConfigError: unknown preset, broken YAML, unknown key, wrong type or a value out of range.
    """
    path = find_yaml("models", preset)
    mapping = read_yaml(path)
    if "source" in mapping and "model" not in mapping:
        raise ConfigError(
            f"{path} is a recipe for a dataset, not a preset of a model: "
            f"`qdyn train PRESET --dataset {path}`."
        )
    for assignment in overrides:
        mapping = override(mapping, assignment)
    return build(RunConfig, mapping, where=str(path))


def first_difference(old: RunConfig, new: RunConfig) -> tuple[str, object, object] | None:
    """The first dotted key whose value differs, with both values; None where the presets agree."""
    flat_old, flat_new = _flatten(to_mapping(old)), _flatten(to_mapping(new))
    for key in [*flat_old, *(name for name in flat_new if name not in flat_old)]:
        if flat_old.get(key) != flat_new.get(key):
            return key, flat_old.get(key), flat_new.get(key)
    return None


def _flatten(mapping: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in mapping.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
