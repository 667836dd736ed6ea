r"""Telling a model what is known of whole sequences, such as couplings or properties.

A condition is one number a sequence. Conditions enter an embedding by a linear map that is learnt with the
rest, $x_t \to x_t + W_c c + b_c$ at every step, of raw values or of standardised ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, ConfigError
from qdyn.models.base import Predictor
from qdyn.models.config import ModelSection


@dataclass(frozen=True)
class ConditionedSection(ModelSection):
    """What the `model` section of every model has that may be told conditions.

    Attributes:
        kind: The family of the model.
        conditions: Names of the data's conditions that the model is told, in this order; none of them for a
            model of sequences alone.
        standardise: Whether conditions are told in units of their standard deviation from their mean, both of
            the training split. Without, raw values go into linear maps.
    """

    kind: str = ""
    conditions: tuple[str, ...] = ()
    standardise: bool = False

    def __post_init__(self) -> None:
        if len(set(self.conditions)) < len(self.conditions):
            raise ConfigError(f"Argument `model.conditions` must name each once, but is {self.conditions}.")
        if self.standardise and not self.conditions:
            raise ConfigError("Argument `model.standardise` must be false without `model.conditions`.")


class ConditionedModel(nn.Module, Predictor):
    """A trainable model whose loss and forecast take conditions last, where its configuration names some."""

    config: ConditionedSection

    def with_conditions(self, conditions: Mapping[str, Tensor]) -> Predictor:
        """The same model for sequences of these conditions, name -> (batch,), to judge it like any other.

        Raises:
            ArgumentError: one that the model is told is missing.
        """
        names = self.config.conditions
        if not names:
            return self
        if missing := [name for name in names if name not in conditions]:
            raise ArgumentError(f"Argument `conditions` must hold {missing[0]!r}, which the model is told.")
        return _Told(self, torch.stack([conditions[name] for name in names], -1))

    def warm_start(self, dataset: SequenceDataset) -> None:
        """Find the mean and the standard deviation of the conditions, where they are standardised."""
        names = self.config.conditions
        if not (names and self.config.standardise):
            return
        known = dataset.conditions
        table = torch.stack([known[name].double() for name in names], -1)
        for part in self.modules():
            if isinstance(part, ConditionMap):
                part.measure(table)

    def _check_conditions(self, inputs: Tensor, conditions: Tensor | None) -> None:
        wanted = self.config.conditions
        if conditions is None and wanted:
            raise ArgumentError(
                f"Argument `conditions` must hold {', '.join(wanted)} of every sequence, but is missing."
            )
        if conditions is not None and not wanted:
            raise ArgumentError("Argument `conditions` must be None for a model that is told none.")
        if conditions is not None and tuple(conditions.shape) != (len(inputs), len(wanted)):
            raise ArgumentError(
                f"Argument `conditions` must have shape ({len(inputs)}, {len(wanted)}), "
                f"but has {tuple(conditions.shape)}."
            )


class ConditionMap(nn.Linear):
    r"""A linear map of standardised conditions, $W (c - \bar c) / \sigma + b$.

    Until `measure` has seen data, the mean is 0 and the standard deviation 1.

    Args:
        inputs: Number of conditions.
        outputs: Number of outputs.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    @torch.no_grad()
    def measure(self, table: Float[Tensor, "sequences conditions"]) -> None:
        """Take mean and standard deviation from a table; a condition that never changes keeps 1."""
        spread = table.std(0, correction=0)
        self.mean.copy_(table.mean(0))
        self.deviation.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, conditions: Float[Tensor, "batch conditions"]) -> Float[Tensor, "batch outputs"]:
        """The map of raw values."""
        return super().forward((conditions - self.mean) / self.deviation)


def condition_map(config: ConditionedSection, outputs: int) -> nn.Linear:
    """The linear map of conditions that a configuration asks for."""
    kind = ConditionMap if config.standardise else nn.Linear
    return kind(len(config.conditions), outputs)


class _Told(Predictor):
    """A model that has been told the conditions of the sequences that it is to forecast."""

    def __init__(self, model: ConditionedModel, conditions: Tensor) -> None:
        self._model: Any = model
        self.name, self.label, self.metadata = model.name, model.label, model.metadata
        self._conditions = conditions

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        found: Tensor = self._model.forecast(inputs, mask, self._conditions)
        return found

    def attention_weights(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        found: Tensor = self._model.attention_weights(inputs, mask, self._conditions)
        return found
