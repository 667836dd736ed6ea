"""The mean of the training split: what a forecast of real vectors is worth that looks at nothing."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from qdyn.data.sequences import SequenceDataset
from qdyn.models.baselines.common import Baseline, Training, check_dimension, fitted, transition_means


class TrainingMean(Baseline):
    r"""Forecasts the mean of the training split's targets, whatever it sees.

    $$\hat x_{j+1} = \bar x, \qquad \bar x = \frac1N \sum_{b,j} x^{(b)}_{j+1},$$

    the constant with the least squared error. The squared errors of other predictors are given in units of
    its own: see `qdyn.evaluation.metrics.squared_error`.

    Example:
        >>> import torch
        >>> from qdyn.data.sequences import SequenceDataset
        >>> series = torch.tensor([[[1.0], [2.0], [4.0]]])
        >>> data = SequenceDataset.from_arrays(series, kind="real", normalised=False)
        >>> TrainingMean().fit(data).forecast(series)
        tensor([[[3.],
                 [3.],
                 [3.]]])
    """

    name = "mean"
    label = "Mean of the training split"
    kinds: ClassVar[frozenset[str]] = frozenset({"real"})
    training: ClassVar[Training] = "closed form"
    any_length = True

    def __init__(self) -> None:
        self.mean: Tensor | None = None

    @property
    def n_parameters(self) -> int:
        """The components."""
        return 0 if self.mean is None else self.mean.numel()

    def _learn(self, dataset: SequenceDataset) -> None:
        _, self.mean, _ = transition_means(dataset)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean for every element of ``inputs`` (..., T, d); ``mask`` has no effect.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` have another dimension.
        """
        mean = fitted(self.mean, self)
        check_dimension(inputs, len(mean))
        return mean.to(inputs).expand(inputs.shape).clone()
