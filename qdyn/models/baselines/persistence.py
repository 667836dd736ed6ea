"""Persistence: tomorrow is like today."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines.common import Baseline, batches


class Persistence(Baseline):
    r"""Forecasts the last element seen, $\hat x_{j+1} = x_j$.

    Its fidelity is the autocorrelation of the data after one step, the same in every phase convention. A
    token is repeated with the probability q that it is in the training transitions; the other tokens share
    1 - q equally, so that the cross-entropy stays finite.

    Example:
        >>> import torch
        >>> from qdyn.models.baselines import Persistence
        >>> seen = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> Persistence().rollout(seen, steps=2)
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000]])
    """

    name = "persistence"
    label = "Persistence"
    kinds: ClassVar[frozenset[str]] = frozenset({"quantum_state", "real", "token"})
    any_length = True

    def __init__(self) -> None:
        self.repetition: float | None = None

    @property
    def n_parameters(self) -> int:
        """One for tokens: the probability of a repetition."""
        return 0 if self.repetition is None else 1

    def _learn(self, dataset: SequenceDataset) -> None:
        if dataset.metadata.kind != "token":
            self.repetition = None
            return
        repeated = total = 0
        for batch in batches(dataset):
            repeated += int((batch.inputs == batch.targets)[batch.mask].sum())
            total += int(batch.mask.sum())
        # Laplace's rule keeps the probability off 0 and 1.
        self.repetition = (repeated + 1) / (total + dataset.metadata.dimension)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The inputs (..., T, d) themselves; for tokens (..., T) probabilities (..., T, D).

        Raises:
            ArgumentError: tokens, and it has not been fitted.
        """
        if inputs.is_floating_point() or inputs.is_complex():
            return inputs.clone()
        if self.repetition is None or self.metadata is None:
            raise ArgumentError(f"The baseline {self.name} must be fitted before it can forecast tokens.")
        size = self.metadata.dimension
        others = (1 - self.repetition) / (size - 1) if size > 1 else 0.0
        same = torch.nn.functional.one_hot(inputs, size).to(torch.float64)
        return others + (self.repetition - others) * same
