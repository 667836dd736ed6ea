"""The forecasters of a time series that anybody would try first: zero, the value a period ago, AR(p)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.models.baselines.common import Baseline, Training, batches, check_dimension


class SeriesBaseline(Baseline):
    """A baseline for real vectors whose length has a meaning, and for nothing else."""

    kinds: ClassVar[frozenset[str]] = frozenset({"real"})
    any_length = True

    def element(self, forecast: Tensor) -> Tensor:
        """The forecast itself: these baselines never meet directions, fitted or not."""
        return forecast

    def _learn(self, dataset: SequenceDataset) -> None:
        if dataset.metadata.normalised:
            raise DatasetError(
                f"The baseline {self.name} forecasts values, but the real vectors of the dataset "
                f"{dataset.metadata.name} are directions: unit vectors."
            )


class Zero(SeriesBaseline):
    """Forecasts 0, whatever it sees: for standardised data the mean of the training split.

    Example:
        >>> Zero().rollout(torch.tensor([[3.0]]), steps=2)
        tensor([[0.],
                [0.]])
    """

    name = "zero"
    label = "Zero"

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Zeros in the shape of ``inputs`` (..., T, d); ``mask`` has no effect."""
        return torch.zeros_like(inputs)


class SeasonalNaive(SeriesBaseline):
    r"""Forecasts the value one period ago, $\hat x_{j+1} = x_{j+1-m}$.

    Where fewer than m elements have been seen, it is the last one.

    Args:
        period: m >= 1 elements. None: that m from 1 to half of the steps of a training sequence which has the
            least mean squared error there (of equal ones the least), so that each has been tried for as many
            elements as it has.

    Raises:
        ArgumentError: ``period`` is not an integer >= 1.

    Example:
        >>> SeasonalNaive(2).rollout(torch.tensor([[5.0], [1.0], [2.0]]), steps=3).flatten()
        tensor([1., 2., 1.])
    """

    name = "seasonal_naive"
    label = "Seasonal naive"

    def __init__(self, period: int | None = None) -> None:
        self._given = None if period is None else check_integer("period", period, minimum=1)
        self.period = self._given

    @property
    def n_parameters(self) -> int:
        """One where the period was found in the data."""
        return int(self._given is None and self.period is not None)

    def _learn(self, dataset: SequenceDataset) -> None:
        super()._learn(dataset)
        if self._given is None:
            self.period = _best_period(dataset)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The elements of ``inputs`` (..., T, d) one period before those to come; ``mask`` has no effect.

        Raises:
            ArgumentError: it has neither a period nor been fitted.
        """
        if self.period is None:
            raise ArgumentError(f"The baseline {self.name} must be fitted, or be given a period.")
        ahead, steps = inputs.clone(), inputs.shape[-2]
        if self.period <= steps:
            ahead[..., self.period - 1 :, :] = inputs[..., : steps - self.period + 1, :]
        return ahead


class AutoRegression(SeriesBaseline):
    r"""AR(p) by least squares: an affine function of the last p elements.

    $$\hat x_{j+1} = b^{(q)} + \sum_{k=1}^{q} A^{(q)}_k\, x_{j+1-k}, \qquad q = \min(j + 1, p).$$

    Where only q < p elements have been seen, it is the AR(q) fitted to the same data. Each is the solution of
    least norm over all transitions of the training split with q elements before them, in double precision,
    from the singular values of the data themselves and not of their squares.

    Args:
        order: p >= 1.

    Raises:
        ArgumentError: ``order`` is not an integer >= 1.

    Example:
        x_{j+1} = 2 cos(0.3) x_j - x_{j-1} holds for every sine of that frequency: AR(2) goes on for ever.

        >>> wave = torch.sin(0.3 * torch.arange(300, dtype=torch.float64))[:, None]
        >>> data = SequenceDataset.from_arrays(wave[None, :100], kind="real", normalised=False)
        >>> ahead = AutoRegression(order=2).fit(data).rollout(wave[:100], steps=200)
        >>> bool((ahead - wave[100:]).abs().max() < 1e-10)
        True
    """

    name = "autoregression"
    training: ClassVar[Training] = "closed form"

    def __init__(self, order: int = 20) -> None:
        self.order = check_integer("order", order, minimum=1)
        self.label = f"AR({order}), least squares"
        self.coefficients: tuple[Tensor, ...] = ()

    @property
    def n_parameters(self) -> int:
        """Coefficients of all orders up to p, those for short contexts included."""
        return sum(one.numel() for one in self.coefficients)

    def _learn(self, dataset: SequenceDataset) -> None:
        super()._learn(dataset)
        if dataset.n_steps < self.order:
            raise DatasetError(
                f"The baseline {self.name} of order {self.order} needs sequences of as many steps, but those "
                f"of the dataset {dataset.metadata.name} have {dataset.n_steps}."
            )
        self.coefficients = tuple(_regression(dataset, order) for order in range(1, self.order + 1))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The forecast after every element of ``inputs`` (..., T, d); ``mask`` has no effect.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` have another dimension.
        """
        if not self.coefficients:
            raise ArgumentError(
                f"The baseline {self.name} must be fitted before it can forecast: call fit(dataset)."
            )
        check_dimension(inputs, self.coefficients[0].shape[-1])
        wide, steps = inputs.double(), inputs.shape[-2]
        short = [
            _apply(self.coefficients[seen - 1], wide[..., :seen, :])
            for seen in range(1, min(self.order - 1, steps) + 1)
        ]
        full = [_apply(self.coefficients[-1], wide)] if steps >= self.order else []
        return torch.cat([*short, *full], dim=-2).to(inputs.dtype)

    def predict(self, context: Tensor) -> Tensor:
        """See `Predictor.predict`; it looks at the last p elements only."""
        return super().predict(context[..., -self.order :, :])


def _apply(coefficients: Tensor, inputs: Tensor) -> Tensor:
    """Forecasts after every element that has its whole history: (..., T, d) -> (..., T - q + 1, d)."""
    order = (coefficients.shape[0] - 1) // coefficients.shape[-1]
    return _histories(inputs, order) @ coefficients[:-1].to(inputs.device) + coefficients[-1].to(
        inputs.device
    )


def _histories(inputs: Tensor, order: int) -> Tensor:
    """The last ``order`` elements before each forecast, the oldest first: (..., T - order + 1, order d)."""
    return inputs.unfold(-2, order, 1).transpose(-1, -2).flatten(-2)


def _regression(dataset: SequenceDataset, order: int) -> Tensor:
    """(order d + 1, d): the coefficients, oldest element first, and the offset."""
    rows, ahead = [], []
    for batch in batches(dataset):
        mask = batch.mask[:, order - 1 :]
        rows.append(_histories(batch.inputs.double(), order)[mask])
        ahead.append(batch.targets[:, order - 1 :][mask].double())
    before = torch.cat(rows)
    design = torch.cat([before, torch.ones_like(before[:, :1])], dim=1)
    # Singular values as small as rounding are no information: least norm there.
    return torch.from_numpy(np.linalg.lstsq(design.numpy(), torch.cat(ahead).numpy(), rcond=None)[0])


def _best_period(dataset: SequenceDataset) -> int:
    longest = max(1, dataset.n_steps // 2)
    error, count = np.zeros(longest), np.zeros(longest)
    for batch in batches(dataset):
        for period in range(1, longest + 1):
            before = batch.inputs[:, : dataset.n_steps - period + 1].double()
            mask = batch.mask[:, period - 1 :]
            difference = (batch.targets[:, period - 1 :].double() - before)[mask]
            error[period - 1] += float(difference.square().sum())
            count[period - 1] += difference.numel()
    with np.errstate(invalid="ignore"):
        return 1 + int(np.nanargmin(error / count))
