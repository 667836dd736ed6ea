"""Several datasets and seeds as one batch: the same models as alone, resumed to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import qdyn
from qdyn import SequenceDataset
from qdyn.data.series.forecast_windows import WindowPlan, forecast_windows
from qdyn.data.timeseries import series
from qdyn.errors import ArgumentError, DatasetError, OutputError
from qdyn.models.config import ModelSection
from qdyn.models.registry import build_model
from qdyn.models.series.config import QLSTMConfig, SeriesEncoderConfig
from qdyn.training.callbacks import Callback, Progress, StopRun
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.loop import TrainingInterrupted
from qdyn.training.together import train_together

PLAN = WindowPlan(6, {"train": (0, 30), "validation": (30, 40)})
NAMES = ("waveform", "chaotic-logistic")
QASA = SeriesEncoderConfig(width=16, window=6, layers=2, adapter="quantum", adapter_layers=(1,))


def data(name: str, plan: WindowPlan = PLAN) -> SequenceDataset:
    return forecast_windows(series(name), plan, name=name)


def preset(name: str, model: ModelSection = QASA, **training: object) -> RunConfig:
    settings = {
        "loss": "MSE",
        "steps": 4,
        "batch_size": 4,
        "optimiser": "adamw",
        "weight_decay": 1e-2,
        "learning_rate": 1e-2,
        "gradient_clip": 1.0,
        "seeds": (0, 1),
        "evaluate_every": 2,
        "checkpoint_every": 2,
        "threads": 1,
        # The offset of keys has no gradient but rounding, which Adam would scale up.
        "dtype": "complex128",
    }
    return RunConfig(
        name=name,
        dataset=DatasetConfig(name=name),
        model=model,
        training=TrainingConfig(**(settings | training)),  # type: ignore[arg-type]
    )


def weights(run: qdyn.Run) -> list[dict[str, torch.Tensor]]:
    return [model.state_dict() for model in run.models]  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", [QASA, QLSTMConfig(width=16, window=6)], ids=["qasa", "qlstm"])
def test_every_model_comes_out_as_alone(model: ModelSection, tmp_path: Path) -> None:
    """Tasks, seeds, dropout, clipping and all: the same weights as one run of one seed."""
    runs = train_together(
        [preset(name, model) for name in NAMES],
        datasets={name: data(name) for name in NAMES},
        out=tmp_path / "all",
        progress=False,
    )
    for name, run in zip(NAMES, runs, strict=True):
        for index, seed in ((0, 0), (1, 1))[: 1 if isinstance(model, QLSTMConfig) else 2]:
            config = preset(name, model, seeds=(seed,))
            alone = qdyn.train(config, dataset=data(name), out=tmp_path / f"{name}{seed}", progress=False)
            (expected,) = weights(alone)
            for key, tensor in weights(run)[index].items():
                torch.testing.assert_close(tensor, expected[key], atol=1e-7, rtol=0)
            mine, theirs = run.history.validation["MSE"][:, index], alone.history.validation["MSE"][:, 0]
            np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert qdyn.load_run(tmp_path / "all" / "waveform").finished


class StopAt(Callback):
    """Asks for an interruption, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, progress: Progress) -> None:
        if progress.step == self._step:
            import signal

            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("keep", ["best", "best_training"])
def test_an_interrupted_batch_ends_with_the_same_bits(keep: str, tmp_path: Path) -> None:
    configs = [preset(name, keep=keep, evaluate_every=4) for name in NAMES]
    datasets = {name: data(name) for name in NAMES}
    whole = train_together(configs, datasets=datasets, out=tmp_path / "whole", progress=False)
    with pytest.raises(TrainingInterrupted):
        train_together(
            configs, datasets=datasets, out=tmp_path / "cut", progress=False, callbacks=[StopAt(3)]
        )
    resumed = train_together(configs, datasets=datasets, out=tmp_path / "cut", resume=True, progress=False)
    for one, other in zip(whole, resumed, strict=True):
        for mine, theirs in zip(weights(one), weights(other), strict=True):
            assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())
    again = train_together(configs, datasets=datasets, out=tmp_path / "cut", resume=True, progress=False)
    assert [run.record.training_seconds for run in again] == [run.record.training_seconds for run in resumed]


def test_the_lowest_mean_loss_of_a_stretch_is_kept(tmp_path: Path) -> None:
    """A learning rate that ruins the model after a good start: what is kept is the start."""
    config = preset("waveform", seeds=(0,), steps=8, log_every=1, learning_rate=0.5, gradient_clip=None)
    training = replace(config.training, keep="best_training", optimiser="adam", weight_decay=0.0)
    run = qdyn.train(
        replace(config, training=training), dataset=data("waveform"), out=tmp_path / "run", progress=False
    )
    means = run.history.loss[:, 0].reshape(4, 2).mean(axis=1)
    best = int(means.argmin())
    cut = replace(training, keep="last", steps=8)
    stopped = _state_after(replace(config, training=cut), steps=2 * (best + 1), folder=tmp_path / "cut")
    (kept,) = weights(run)
    assert all(torch.equal(kept[key], tensor) for key, tensor in stopped.items())


def _state_after(config: RunConfig, *, steps: int, folder: Path) -> dict[str, torch.Tensor]:
    class Stop(Callback):
        def on_step_end(self, progress: Progress) -> None:
            if progress.step == steps:
                raise StopRun

    run = qdyn.train(config, dataset=data("waveform"), out=folder, progress=False, callbacks=[Stop()])
    return weights(run)[0]


def test_windows_in_order_are_the_published_order(tmp_path: Path) -> None:
    """Batches of one, as they stand: the loss of the first update is that of the first window."""
    config = preset("waveform", order="in_order", batch_size=1, steps=3, log_every=1, seeds=(3,))
    config = replace(config, model=replace(QASA, dropout=0.0))
    run = qdyn.train(config, dataset=data("waveform"), out=tmp_path / "run", progress=False)
    model = build_model(config.model, data("waveform").metadata, seed=3).double()  # type: ignore[attr-defined]
    batch = data("waveform").split("train").batch([0])
    with torch.no_grad():
        loss = model.loss("MSE", batch.inputs.double(), batch.targets.double())
    assert run.history.loss[0, 0] == pytest.approx(float(loss), rel=1e-5)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="must differ in name and dataset only"):
        train_together([preset("a"), preset("b", steps=7)], out=tmp_path / "x")
    with pytest.raises(ArgumentError, match="distinct names"):
        train_together([preset("a"), preset("a")], out=tmp_path / "x")
    datasets = {
        "waveform": data("waveform"),
        "sawtooth": data("sawtooth", WindowPlan(6, {"train": (0, 20), "validation": (20, 40)})),
    }
    with pytest.raises(DatasetError, match=r"splits of one length, but have \[14, 24\]"):
        train_together([preset(name) for name in datasets], datasets=datasets, out=tmp_path / "y")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "notes").touch()
    with pytest.raises(OutputError, match="holds other files"):
        train_together([preset("waveform")], datasets=datasets, out=tmp_path / "z")
