r"""How forecasters of the nine series are trained and judged: as published, and as it should be.

**published**, arXiv:2504.05336. The values as they are; 381 windows of 20 steps in order, one an update, 200
times; the loss of all 20 positions. An encoder without a causal mask sees 19 of the 20 targets among its
inputs. What is kept is the end of the pass with the lowest training loss. A roll-out of 99 steps from values
380 to 399 begins at value 400 and is compared with 401 to 499: *late* by one. Here it is compared with 400 to
498 as well.

**causal**. Values standardised by the training segment; training, validation and test follow one another in
time (0 to 319, 320 to 399, 400 to 499); a position sees only itself and what came before; the best evaluation
on the validation segment is kept; the roll-out is compared with what it forecasts. Noise comes from several
seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from qdyn.checks import check_choice, check_integer
from qdyn.circuits.analysis.effective_dimension import effective_rank
from qdyn.data.sequences import SequenceDataset
from qdyn.data.series.forecast_windows import Scaling, WindowPlan, forecast_windows, scale_of
from qdyn.data.timeseries import series
from qdyn.models.base import Predictor
from qdyn.models.baselines import AutoRegression, Persistence, SeasonalNaive, TrainingMean, Zero
from qdyn.models.config import ModelSection
from qdyn.models.series.config import QLSTMConfig, QnnFormerConfig, SeriesEncoderConfig
from qdyn.models.series.predictor import SeriesPredictor
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

PROTOCOLS = ("published", "causal")

WINDOW = 20
"""Values that a forecast looks back at."""

FIRST_TEST = 400
"""The first value that a roll-out forecasts. As published it is the last target of the training, too."""

MODEL_SEEDS = 10
"""Of every draw of the noise in the causal protocol: 0 to 9 of the first, 10 to 19 of the second, …"""

NOISY = ("arma", "noisy-damped-osc", "piecewise-regime", "seasonal-trend")
"""Series that depend on their seed."""

_WINDOWS = 381
_PLANS = {
    "published": WindowPlan(WINDOW, {"train": (0, FIRST_TEST + 1)}),
    "causal": WindowPlan(WINDOW, {"train": (0, 320), "validation": (320, 400), "test": (400, 500)}),
}
_TRAINING = {
    "published": TrainingConfig(
        loss="MSE",
        steps=200 * _WINDOWS,
        batch_size=1,
        order="in_order",
        optimiser="adamw",
        weight_decay=1e-4,
        learning_rate=5e-4,
        learning_rate_floor=0.0,
        learning_rate_every=_WINDOWS,
        gradient_clip=1.0,
        keep="best_training",
        seeds=(42, 43, 44),
        log_every=_WINDOWS,
        evaluate_every=_WINDOWS,
        checkpoint_every=_WINDOWS,
        threads=1,
    ),
    "causal": TrainingConfig(
        loss="MSE",
        steps=720,
        batch_size=16,
        optimiser="adamw",
        weight_decay=1e-4,
        learning_rate=1e-3,
        learning_rate_floor=0.0,
        gradient_clip=1.0,
        keep="best",
        seeds=tuple(range(MODEL_SEEDS)),
        log_every=18,
        evaluate_every=36,
        checkpoint_every=36,
        threads=1,
    ),
}


@dataclass(frozen=True)
class SeriesErrors:
    """Errors of forecasts in units of the values given.

    Attributes:
        mae: Mean absolute error.
        mse: Mean squared error.
    """

    mae: float
    mse: float

    @classmethod
    def of(cls, found: np.ndarray, truth: np.ndarray) -> SeriesErrors:
        """Over all steps and components."""
        difference = np.asarray(found, dtype=np.float64) - truth
        return cls(float(np.abs(difference).mean()), float(np.square(difference).mean()))


def protocol_models(protocol: str) -> dict[str, ModelSection]:
    """Name -> model of a protocol's table.

    Published are the classical encoder, QASA, QLSTM and QnnFormer, the transformers without a causal mask.
    The causal table has the controls besides: the adapter removed, and the classical bottleneck with and
    without the shift that saturates it.

    >>> list(protocol_models("published"))
    ['classical', 'qasa', 'qlstm', 'qnnformer']
    """
    check_choice("protocol", protocol, PROTOCOLS)
    causal = protocol == "causal"
    last = {"adapter_layers": (3,), "causal": causal}
    found: dict[str, ModelSection] = {
        "classical": SeriesEncoderConfig(causal=causal, start="independent" if causal else "copies"),
        "qasa": SeriesEncoderConfig(adapter="quantum", adapter_shift=float(WINDOW), **last),  # type: ignore[arg-type]
        "qlstm": QLSTMConfig(),
        "qnnformer": QnnFormerConfig(causal=causal),
    }
    if causal:
        found |= {
            "removed": SeriesEncoderConfig(adapter="none", **last),  # type: ignore[arg-type]
            "bottleneck": SeriesEncoderConfig(adapter="bottleneck", **last),  # type: ignore[arg-type]
            "bottleneck-shifted": SeriesEncoderConfig(
                adapter="bottleneck",
                adapter_shift=float(WINDOW),
                **last,  # type: ignore[arg-type]
            ),
        }
    return found


def protocol_dataset(protocol: str, name: str, *, data_seed: int = 42) -> SequenceDataset:
    """The windows of one of the nine series, as a protocol cuts and scales them.

    >>> len(protocol_dataset("published", "waveform")), len(protocol_dataset("causal", "waveform"))
    (381, 442)
    """
    check_choice("protocol", protocol, PROTOCOLS)
    scaling: Scaling = "none" if protocol == "published" else "standard"
    values = series(name, seed=data_seed)
    return forecast_windows(values, _PLANS[protocol], scaling=scaling, name=f"{name}-{data_seed}")


def protocol_values(protocol: str, name: str, *, data_seed: int = 42) -> Float[np.ndarray, " values"]:
    """All 500 values, in the units in which the protocol judges: raw, or standardised."""
    values = series(name, seed=data_seed).astype(np.float64)
    if protocol == "published":
        return values
    mean, scale = scale_of(values[:, None], _PLANS[protocol].segments["train"])
    return (values - mean) / scale


def protocol_preset(
    protocol: str,
    model: ModelSection,
    *,
    name: str,
    seeds: Sequence[int] | None = None,
    draw: int = 0,
) -> RunConfig:
    """What `qdyn.train` and `train_together` need to train ``model`` as a protocol does.

    Args:
        protocol: "published" or "causal".
        model: Any model of real vectors.
        name: Of the run and of its dataset.
        seeds: In place of the protocol's: 42, 43, 44 as published, or ten.
        draw: Which draw of the noise, from 0: each has seeds of its own, so that draws are independent. As
            published there is one.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    preset = RunConfig(name=name, dataset=DatasetConfig(name), model=model, training=_TRAINING[protocol])
    if seeds is None and draw:
        seeds = range(draw * MODEL_SEEDS, (draw + 1) * MODEL_SEEDS)
    return preset if seeds is None else preset.with_seeds(seeds)


def trivial_forecasters(values: Float[np.ndarray, " values"], *, train: int) -> dict[str, Predictor]:
    """Zero, mean, last value, AR(20) and seasonal naive, fitted to the first ``train`` values.

    The transition to the value that follows them counts among those that AR and seasonal naive learn from
    in the published protocol, so give one more there; the mean is that of ``train - 1`` values then.
    """
    training = _record(values[:train])
    # A mean is over the elements to be forecast: the first is put before itself to be one of them.
    inputs = _record(np.concatenate([values[:1], values[: min(train, FIRST_TEST)]]))
    fitted: list[Predictor] = [
        Zero().fit(training),
        TrainingMean().fit(inputs),
        Persistence().fit(training),
        AutoRegression(WINDOW).fit(training),
        SeasonalNaive().fit(training),
    ]
    return {one.name: one for one in fitted}


@torch.no_grad()
def rollout_errors(
    predictor: Predictor,
    values: Float[np.ndarray, " values"],
    *,
    first: int = FIRST_TEST,
    steps: int = 99,
    late: bool = False,
    seen: int | None = WINDOW,
) -> SeriesErrors:
    """Errors of a roll-out from ``first`` on.

    Args:
        predictor: Of single values.
        values: The whole record, in the predictor's units.
        first: Number of the first value forecast.
        steps: How many are forecast.
        late: Compare each forecast with the value after the one it forecasts, as published.
        seen: How many values before ``first`` it sees; None for all.

    Raises:
        ArgumentError: the record is too short.
    """
    check_integer("first", first, minimum=WINDOW)
    check_integer("steps", steps, minimum=1, maximum=len(values) - first - int(late))
    begin = 0 if seen is None else first - check_integer("seen", seen, minimum=1, maximum=first)
    context = torch.from_numpy(np.array(values[begin:first, None]))
    found = predictor.rollout(context, steps)[:, 0].double().numpy()
    return SeriesErrors.of(found, values[first + int(late) :][:steps])


@torch.no_grad()
def one_step_errors(
    predictor: Predictor,
    values: Float[np.ndarray, " values"],
    *,
    first: int = FIRST_TEST,
    whole: bool = False,
) -> SeriesErrors:
    """Errors of the forecast of each value from ``first`` on, from the ``WINDOW`` true values before it.

    Where ``whole``, from all true values before it.
    """
    check_integer("first", first, minimum=WINDOW, maximum=len(values) - 1)
    if whole:
        ahead = predictor.forecast(torch.from_numpy(np.array(values[None, :-1, None])))
        return SeriesErrors.of(ahead[0, first - 1 :, 0].double().numpy(), values[first:])
    windows = np.lib.stride_tricks.sliding_window_view(values[first - WINDOW : -1], WINDOW)
    found = predictor.predict(torch.from_numpy(windows.copy())[..., None])[:, 0].double().numpy()
    return SeriesErrors.of(found, values[first:])


@torch.no_grad()
def hidden_rank(
    predictor: SeriesPredictor, values: Float[np.ndarray, " values"], *, first: int = FIRST_TEST
) -> float:
    r"""Directions that a network uses: the effective rank of the hidden vectors that its head reads.

    $$\exp\Big(-\sum_i p_i \log p_i\Big), \qquad p_i = s_i \Big/ \sum_j s_j,$$

    with the singular values s of the vectors less their mean. It is 1 where all lie on a line, the width
    where all directions are alike, and 0 where the vectors are equal.

    Args:
        predictor: Any network for series.
        values: The whole record, in the predictor's units.
        first: Number of the first value forecast; each value from there on gives one vector, that of the last
            position of the window before it.

    Source: O. Roy and M. Vetterli, EUSIPCO 2007, 606.

    Example:
        >>> from qdyn.models.registry import build_model
        >>> data = protocol_dataset("causal", "waveform")
        >>> model = build_model(SeriesEncoderConfig(), data.metadata, seed=0)
        >>> 1 < hidden_rank(model, protocol_values("causal", "waveform")) < 64
        True
    """
    check_integer("first", first, minimum=WINDOW, maximum=len(values) - 1)
    windows = np.lib.stride_tricks.sliding_window_view(values[first - WINDOW : -1], WINDOW)
    found: list[torch.Tensor] = []
    hook = predictor.head.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    try:
        predictor.predict(torch.from_numpy(windows.copy())[..., None])
    finally:
        hook.remove()
    hidden = torch.cat(found).double().reshape(len(windows), WINDOW, -1)[:, -1]
    return float(effective_rank(torch.linalg.svdvals(hidden - hidden.mean(dim=0))))


def _record(values: np.ndarray) -> SequenceDataset:
    return SequenceDataset.from_arrays(values[None, :, None], kind="real", normalised=False)
