"""What every predictor can do: forecast the next element of a sequence, and roll a sequence out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from qdyn.checks import check_finite, check_integer
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.models.context import check_context
from qdyn.quantum.states import with_phase_convention

# Not typing.Self: the tests' type checker refuses it on a method that is checked by itself.
Fitted = TypeVar("Fitted", bound="Predictor")


class Predictor(ABC):
    """Something that forecasts the next element of a sequence from those before it.

    A subclass names itself and defines `forecast`; whoever learns from data extends `fit`. What an element is
    depends on the kind of data:

    ============= ============================== =============================================
    kind          inputs                         a forecast
    ============= ============================== =============================================
    quantum_state complex (..., T, d) unit       complex (..., T, d) unit vectors
    real          real (..., T, d) unit          real (..., T, d) unit vectors
    real, any     real (..., T, d)               real (..., T, d)
    token         int64 (..., T)                 probabilities (..., T, D) over the vocabulary
    ============= ============================== =============================================

    Real vectors are unit vectors unless ``metadata.normalised`` says that they are not.

    Attributes:
        name: Short identifier, such as "persistence".
        label: What figures and tables print.
        metadata: The data it was fitted to; None means complex states as evolved, or real vectors.
    """

    name: str = "predictor"
    label: str = "predictor"
    metadata: SequenceMetadata | None = None

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split ``dataset`` and return the predictor; here nothing is learnt."""
        self.metadata = dataset.metadata
        return self

    @abstractmethod
    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Teacher-forced forecasts: entry j forecasts element j+1 from the elements up to j alone.

        Args:
            inputs: Elements seen, (..., T, d), or (..., T) for tokens.
            mask: (..., T) bool; an element where it is False takes no part in any forecast.

        Returns:
            (..., T, d): unit vectors, or probabilities (..., T, D) for tokens.
        """

    def predict(self, context: Tensor) -> Tensor:
        """The forecast of the element that follows ``context``: the last one of `forecast`.

        Args:
            context: Elements seen, (..., T, d), or (..., T) for tokens; T >= 1.

        Returns:
            (..., d): a unit vector, or probabilities (..., D) for tokens.

        Raises:
            ArgumentError: ``context`` is empty, or of another kind or dimension than the data.
        """
        return self.forecast(check_context(context, self.metadata))[..., -1, :]

    def element(self, forecast: Tensor) -> Tensor:
        """The element that a forecast (..., d) stands for, as the predictor would meet it in its data.

        A state is normalised and obeys the phase convention of the data, a real vector is normalised where
        those of the data are, and a distribution over tokens gives its most probable token.
        """
        kind = self.metadata.kind if self.metadata else None
        if kind == "token":
            return forecast.argmax(dim=-1)
        if self.metadata and not self.metadata.normalised:
            return forecast
        length = torch.linalg.vector_norm(forecast, dim=-1, keepdim=True)
        unit = forecast / length.clamp_min(torch.finfo(length.dtype).tiny)
        convention = self.metadata.phase_convention if self.metadata else None
        return with_phase_convention(unit, convention) if convention and unit.is_complex() else unit

    @torch.no_grad()
    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Feed forecasts back: the ``steps`` elements that follow ``context``.

        Args:
            context: Elements seen, (..., T, d), or (..., T) for tokens; T >= 1.
            steps: How many to forecast, >= 1.

        Returns:
            (..., steps, d), or (..., steps) for tokens.

        Raises:
            ArgumentError: ``steps`` is not an integer >= 1, or ``context`` is empty, not finite, or of
                another kind or dimension than the data.
        """
        check_integer("steps", steps, minimum=1)
        time = -1 if self.metadata and self.metadata.kind == "token" else -2
        seen = check_context(context, self.metadata)
        check_finite("context", seen)
        length = seen.shape[time]
        for _ in range(steps):
            following = self.element(self.predict(seen)).unsqueeze(time)
            seen = torch.cat([seen, following.to(seen.dtype)], dim=time)
        return seen.narrow(time, length, steps)


@runtime_checkable
class Conditioned(Protocol):
    """A predictor that can be told what is known of whole sequences, such as their couplings."""

    def with_conditions(self, conditions: Mapping[str, Tensor]) -> Predictor:
        """The predictor for sequences of these conditions, name -> (batch,)."""


@runtime_checkable
class WarmStart(Protocol):
    """A trainable model whose parameters start from the data."""

    def warm_start(self, dataset: SequenceDataset) -> None:
        """Set the parameters from the training split ``dataset``, before the first update."""
