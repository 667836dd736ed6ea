"""What an evaluation found: estimates, rows of the table, curves; plain data that can be written as JSON."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qdyn.evaluation.metrics import Horizon
from qdyn.evaluation.standard_errors import error_of_mean, standard_error

Standing = Literal["trained", "untrained", "oracle"]

#: What the label of a baseline ends with that sees raw phases while the models do not.
RAW_SUFFIX = ", raw phases"


@dataclass(frozen=True)
class Estimate:
    """A figure of merit with both of its uncertainties.

    Attributes:
        mean: Over seeds and sequences.
        std: Sample standard deviation over seeds of the mean over sequences; None for a single predictor.
        standard_error: Of the mean over sequences, the seeds averaged first; None where it is unknown: for a
            single sequence, or windows of too short a record.
    """

    mean: float
    std: float | None
    standard_error: float | None

    @classmethod
    def of(
        cls,
        values: NDArray[np.floating],
        *,
        blocks: NDArray[np.int64] | None = None,
        unit: NDArray[np.floating] | None = None,
    ) -> Estimate:
        """From one value for each seed and sequence, (seeds, sequences).

        Args:
            values: They.
            blocks: Which sequences depend on each other, see `qdyn.evaluation.standard_errors.blocks_of`.
            unit: (sequences,), of mean 1: what the values are in units of the mean of. The mean is then a
                ratio, and its error that of the mean of the values less the ratio times the unit (W. G.
                Cochran, Sampling Techniques, 3rd ed. (1977), section 2.11).
        """
        averaged = values.mean(axis=0)
        if unit is not None:
            averaged = averaged - averaged.mean() * unit
        return cls(
            mean=float(values.mean()),
            std=float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None,
            standard_error=error_of_mean(averaged, blocks),
        )

    def __str__(self) -> str:
        """``0.209 ± 0.003`` with the spread over seeds, else ``0.189(13)`` with the standard error."""
        if self.std is not None:
            if 0 < abs(self.mean) < 5e-4:
                return f"{self.mean:.1e} ± {self.std:.1e}"
            digits = _digits(self.std)
            return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"
        return with_error(self.mean, self.standard_error)


@dataclass(frozen=True)
class Row:
    """One predictor's line in the table.

    Attributes:
        key: Unique identifier, such as "procrustes (raw)".
        label: What people read.
        standing: "trained" by gradient; "untrained": fitted in closed form or not at all; "oracle": told what
            no predictor knows.
        phase_convention: Of the states it was fitted to and saw; None where the data are not quantum states.
        n_seeds: Predictors averaged over.
        metrics: Name -> estimate: L_1, L_half and either fidelity (vectors) or accuracy (tokens); L_B,
            L_1_excess, L_1_padded, L_1_residue and perplexity where they exist. For real vectors that are no
            unit vectors NMSE, MSE.
        horizons: One for each seed; empty where nothing was rolled out.
        parameters: Real numbers learnt.
    """

    key: str
    label: str
    standing: Standing
    phase_convention: str | None
    n_seeds: int
    metrics: Mapping[str, Estimate]
    horizons: tuple[Horizon, ...] = ()
    parameters: int | None = None

    @property
    def loss(self) -> Estimate:
        """The figure that rows are ordered and compared by."""
        return self.metrics[decisive(self.metrics)]

    @property
    def mean_horizon(self) -> tuple[float, bool] | None:
        """The mean over seeds of the horizon in steps, and whether that is a lower bound."""
        if not self.horizons:
            return None
        steps = [one.steps for one in self.horizons]
        return sum(steps) / len(steps), any(one.censored for one in self.horizons)

    @property
    def horizon_text(self) -> str:
        """The horizon in steps: ``2``, ``1.5 ± 0.5`` over seeds, ``≥ 16`` where the roll-out ended first."""
        if self.mean_horizon is None:
            return "–"
        mean, censored = self.mean_horizon
        steps = np.array([one.steps for one in self.horizons], dtype=float)
        spread = f" ± {steps.std(ddof=1):.1f}" if len(steps) > 1 and steps.std() > 0 else ""
        return ("≥ " if censored else "") + (f"{mean:.1f}{spread}" if spread else f"{mean:g}")


@dataclass(frozen=True)
class Curve:
    """A figure of merit along the steps of one predictor.

    Attributes:
        key: The row it belongs to.
        mean: (steps,), over seeds and sequences.
        std: (steps,), over seeds; None for a single predictor.
        standard_error: (steps,), over sequences; None where it is unknown, see `Estimate`.
    """

    key: str
    mean: NDArray[np.float64]
    std: NDArray[np.float64] | None
    standard_error: NDArray[np.float64] | None

    @classmethod
    def of(
        cls,
        key: str,
        values: NDArray[np.floating],
        mask: NDArray[np.bool_] | None = None,
        *,
        blocks: NDArray[np.int64] | None = None,
        unit: NDArray[np.floating] | None = None,
    ) -> Curve:
        """From (seeds, sequences, steps); steps where ``mask`` (sequences, steps) is False do not count.

        ``blocks`` and ``unit`` are those of `Estimate.of`.
        """
        present = np.ones(values.shape[1:], bool) if mask is None else mask
        wide = np.where(present, values, 0.0).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            seed_means = wide.sum(axis=1) / present.sum(axis=0)
        averaged = wide.mean(axis=0)
        if unit is not None:
            averaged = averaged - seed_means.mean(axis=0) * unit[:, None]
        error = standard_error(np.where(present, averaged, np.nan), blocks)
        std = seed_means.std(axis=0, ddof=1) if len(values) > 1 else None
        return cls(key, seed_means.mean(axis=0), std, error)


@dataclass(frozen=True)
class Comparison:
    """The trained model against one predictor, sequence by sequence.

    Attributes:
        key: The other's row.
        difference: Mean over sequences of the trained model's L_1 or NMSE (seeds averaged) minus the other's.
        standard_error: Of that mean; the same sequences enter both, so that most of the spread cancels. None
            where it is unknown, see `Estimate`.
    """

    key: str
    difference: float
    standard_error: float | None

    @property
    def verdict(self) -> Literal["better", "worse", "equal", "unknown"]:
        """Of the trained model; "equal": within two standard errors, "unknown": there is no error."""
        if self.standard_error is None or not math.isfinite(self.standard_error):
            return "unknown"
        if abs(self.difference) <= 2 * self.standard_error:
            return "equal"
        return "better" if self.difference < 0 else "worse"


@dataclass(frozen=True)
class Example:
    """One trajectory's observables along the roll-out.

    Attributes:
        index: Position in the split.
        times: (elements,) of the whole sequence.
        exact: observable label -> (elements,).
        forecast: row key -> observable label -> (seeds, rollout steps).
    """

    index: int
    times: NDArray[np.float64]
    exact: Mapping[str, NDArray[np.float64]]
    forecast: Mapping[str, Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class TrainingCurves:
    """What a run recorded of its training: see `qdyn.training.log.History`."""

    loss_name: str
    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    validation_steps: NDArray[np.int64]
    validation: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from.

    Attributes:
        dataset: name, digest, kind, dimension, time step, units.
        configuration: The run's configuration as YAML, "" where there is no run.
        seeds: Of the trained models.
        facts: Whatever else is worth a line: versions, machine, times.
    """

    dataset: Mapping[str, Any]
    configuration: str = ""
    seeds: tuple[int, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def decisive(metrics: Collection[str]) -> str:
    """The name of the figure that rows are ordered and compared by.

    >>> decisive(["L_1", "fidelity"]), decisive(["NMSE", "MSE"])
    ('L_1', 'NMSE')
    """
    return "NMSE" if "NMSE" in metrics else "L_1"


def with_error(mean: float, error: float | None) -> str:
    """A value and its standard error in the last digits, as physicists write it.

    >>> with_error(0.1889, 0.0131), with_error(12.34, 1.26), with_error(0.25, None), with_error(2e-9, 1e-9)
    ('0.189(13)', '12.3(13)', '0.250', '2.0e-09')
    """
    if error is None or not math.isfinite(error) or error < 5e-4:
        return f"{mean:.1e}" if 0 < abs(mean) < 5e-4 else f"{mean:.3f}"
    digits = _digits(error)
    return f"{mean:.{digits}f}({round(error * 10**digits)})"


def _digits(error: float) -> int:
    """Three decimals, so that a column lines up; fewer where the error leaves no meaning to the third."""
    return 3 if error < 0.0995 else 2 if error < 0.995 else 1


def plain(value: Any) -> Any:
    """``value`` as JSON knows it: arrays become lists, dataclasses mappings."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
