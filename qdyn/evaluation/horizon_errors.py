"""Errors of roll-outs of real vectors against the horizon, in units of the error of the training mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.metrics import squared_error
from qdyn.evaluation.standard_errors import blocks_of, standard_error
from qdyn.models.base import Predictor
from qdyn.models.baselines.mean import TrainingMean


@dataclass(frozen=True)
class HorizonErrors:
    r"""The normalised mean squared error of roll-outs at each horizon h.

    $$\mathrm{NMSE}(h) = \frac{\sum \lVert \hat x_{o+h-1} - x_{o+h-1} \rVert^2}
                              {\sum \lVert \bar x - x_{o+h-1} \rVert^2},$$

    summed over sequences and over the origins o, the number of elements seen. The mean $\bar x$ of the
    training split has 1 at every horizon.

    Attributes:
        of_each: (seeds, sequences, steps): the error of each sequence, averaged over the origins, in units of
            the mean's error at that horizon, averaged over everything.
        of_mean: (sequences, steps): the error of the mean on each sequence, in the same units.
        blocks: Which sequences overlap, see `qdyn.evaluation.standard_errors.blocks_of`.
    """

    of_each: Float[np.ndarray, "seeds sequences steps"]
    of_mean: Float[np.ndarray, "sequences steps"]
    blocks: NDArray[np.int64] | None = None

    @property
    def nmse(self) -> Float[np.ndarray, " steps"]:
        """Averaged over seeds and sequences."""
        return np.asarray(self.of_each.mean(axis=(0, 1)))

    @property
    def standard_error(self) -> Float[np.ndarray, " steps"]:
        r"""Of the NMSE over sequences, the seeds averaged first; NaN where it is unknown.

        It is a ratio of two means over the same sequences, so that its error is that of the mean of
        $e_i - \mathrm{NMSE}\, u_i$, with the errors $u_i$ of the mean: none for the mean itself.

        Source: W. G. Cochran, Sampling Techniques, 3rd ed. (1977), section 2.11.
        """
        averaged = self.of_each.mean(axis=0)
        found = standard_error(averaged - self.nmse * self.of_mean, self.blocks)
        return np.full(averaged.shape[1], np.nan) if found is None else found

    @property
    def std(self) -> Float[np.ndarray, " steps"] | None:
        """Sample standard deviation over seeds of the mean over sequences; None for one."""
        means = self.of_each.mean(axis=1)
        return np.asarray(means.std(axis=0, ddof=1)) if len(means) > 1 else None


def horizon_errors(
    predictors: Predictor | Sequence[Predictor],
    dataset: SequenceDataset,
    *,
    origins: Sequence[int],
    steps: int,
    split: str = "test",
) -> HorizonErrors:
    """Roll out from each origin and compare with what came.

    Args:
        predictors: One for each seed, fitted to the training split of ``dataset``.
        dataset: Real vectors of any length; with a training split, whose mean is the unit.
        origins: Elements seen before a roll-out begins, each >= 1; origin + steps at most T + 1.
        steps: Elements rolled out, >= 1.
        split: What is judged.

    Raises:
        ArgumentError: no origins, or a roll-out that leaves the sequences.
        DatasetError: the data are not real vectors of any length, or never differ from the training mean.

    Example: the mean itself has the error 1, and persistence no error where nothing changes.
        >>> from qdyn.models.baselines import Persistence
        >>> levels = np.repeat(np.array([[1.0], [2.0], [4.0]])[:, None], 8, axis=1)
        >>> data = SequenceDataset.from_arrays(
        ...     levels, kind="real", normalised=False, splits={"train": (0, 1), "test": (1, 3)}
        ... )
        >>> for predictor in (TrainingMean(), Persistence()):
        ...     horizon_errors(predictor.fit(data), data, origins=[2], steps=3).nmse
        array([1., 1., 1.])
        array([0., 0., 0.])
    """
    if dataset.metadata.kind != "real" or dataset.metadata.normalised:
        raise DatasetError(
            f"Errors against the horizon are of real vectors of any length, but the dataset "
            f"{dataset.metadata.name} holds others."
        )
    check_integer("steps", steps, minimum=1)
    if not origins:
        raise ArgumentError("Argument `origins` must hold at least one number of elements, but is empty.")
    for origin in origins:
        check_integer("origins", origin, minimum=1, maximum=dataset.n_steps + 1 - steps)
    group = [predictors] if isinstance(predictors, Predictor) else list(predictors)
    part = dataset.split(split)
    truth = part.sequences()
    mean = TrainingMean().fit(dataset)
    of_mean = _errors(mean, truth, origins, steps)
    unit = of_mean.mean(axis=0)
    if not bool((unit > 0).all()):
        raise DatasetError(
            f"The sequences of the dataset {dataset.metadata.name} never change: nothing is to be forecast."
        )
    of_each = np.stack([_errors(one, truth, origins, steps) / unit for one in group])
    return HorizonErrors(of_each, of_mean / unit, blocks_of(part))


def _errors(
    predictor: Predictor, truth: torch.Tensor, origins: Sequence[int], steps: int
) -> Float[np.ndarray, "sequences steps"]:
    """Squared errors averaged over components and origins."""
    found = [
        squared_error(predictor.rollout(truth[:, :origin], steps), truth[:, origin : origin + steps])
        for origin in origins
    ]
    return np.asarray(torch.stack(found).mean(dim=0).numpy())
