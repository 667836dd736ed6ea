"""Decoders of molecules trained on equal terms: what takes part, its training, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qdyn.data.sequences import SequenceDataset
from qdyn.evaluation.contestants import of_predictors, of_run
from qdyn.evaluation.scoring import score
from qdyn.files import write_json
from qdyn.models.baselines import NGram
from qdyn.training.batches import steps_per_epoch
from qdyn.training.config import RunConfig, load_config
from qdyn.training.train import train

_ORDERS = range(1, 8)


@dataclass(frozen=True)
class DecoderVariant:
    """A decoder that takes part.

    Attributes:
        label: What a page calls it.
        preset: What it starts from.
        overrides: What is different.
        published: Whose recorded losses it stands beside; None where nothing was published.
        conditioned: Whether it is told the properties.
        tuned: Whether it is trained by settings of ours, and not by the published ones.
    """

    label: str
    preset: str
    overrides: tuple[str, ...] = ()
    published: str | None = None
    conditioned: bool = False
    tuned: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether a longer run passes through what a shorter one ends with: the learning rate is constant."""
        return load_config(self.preset, overrides=list(self.overrides)).training.schedule == "constant"

    def config(self, *, name: str, seed: int, epochs: int, molecules: int) -> RunConfig:
        """The preset for so many passes over so many molecules, evaluated after each."""
        once = load_config(self.preset, overrides=list(self.overrides))
        each = steps_per_epoch(molecules, once.training.batch_size)
        training = replace(
            once.training, steps=epochs * each, evaluate_every=each, checkpoint_every=each, seeds=(seed,)
        )
        return replace(once, name=name, training=training)


@dataclass(frozen=True)
class DecoderResult:
    """What one variant reached with one seed.

    Attributes:
        key: The variant's.
        seed: The seed.
        parameters: Real numbers learnt.
        epochs: Passes over the training split.
        validation: Loss after every epoch, padding counted.
        loss: Of real tokens at the end: L_1, mean over molecules.
        accuracy: How often the likeliest token came, at the end.
        seconds: Of training by the clock.
    """

    key: str
    seed: int
    parameters: int
    epochs: int
    validation: tuple[float, ...]
    loss: float
    accuracy: float
    seconds: float

    @classmethod
    def read(cls, path: Path) -> DecoderResult:
        """As `train_variant` kept it."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**content, "validation": tuple(content["validation"])})


Results = Mapping[str, list[DecoderResult]]
"""What is finished, by the variant's key."""


def train_variant(
    key: str, variant: DecoderVariant, *, seed: int, epochs: int, data: SequenceDataset, out: Path
) -> DecoderResult:
    """Train and judge one variant, or go on with it, or read what was found.

    Args:
        key: What its folder is called.
        variant: What it is.
        seed: Of its parameters and the order of its batches.
        epochs: Passes over the training split.
        data: Molecules with the splits train and validation.
        out: The run is in ``out``/runs/key/seed-n. At a constant learning rate it goes on to more epochs; a
            schedule belongs to its number of steps, which is then in the folder's name.
    """
    config = variant.config(name=key, seed=seed, epochs=epochs, molecules=len(data.split("train")))
    ending = "" if config.training.schedule == "constant" else f"-{epochs}-epochs"
    folder = out / "runs" / f"{key}{ending}" / f"seed-{seed}"
    run = train(config, dataset=data, out=folder, resume=(folder / "run.json").exists())
    found = folder / "result.json"
    if found.exists():
        known = DecoderResult.read(found)
        if known.epochs == epochs:
            return known
    scores = score(of_run(run), data.split("validation")).losses
    result = DecoderResult(
        key=key,
        seed=seed,
        parameters=run.record.parameters,
        epochs=epochs,
        validation=tuple(run.history.validation["L_1"][:, 0].tolist()),
        loss=float(scores["L_1"].mean()),
        accuracy=float(scores["accuracy"].mean()),
        seconds=run.record.training_seconds or 0.0,
    )
    write_json(found, vars(result))
    return result


def count_ngrams(data: SequenceDataset, kept: Path) -> list[dict[str, Any]]:
    """N-grams, which are counted and not trained: once, for padding is something to count too.

    Args:
        data: Molecules with the splits train and validation.
        kept: Where the answer is read from, or written to.

    Returns:
        For each order its label, its parameters, the loss of real tokens, the one with padding, and accuracy.
    """
    if kept.exists():
        found: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    rows = []
    for order in _ORDERS:
        losses = {}
        for name, shown in (("loss", data), ("padded", data.with_padding())):
            fitted = NGram(order).fit(shown)
            (one,) = of_predictors(fitted, shown)
            scores = score(one, shown.split("validation")).losses
            losses[name] = float(scores["L_1"].mean())
            if name == "loss":
                losses["accuracy"] = float(scores["accuracy"].mean())
        rows.append({"label": fitted.label, "parameters": fitted.n_parameters, **losses})
    write_json(kept, rows)
    return rows


def gather(folders: Iterable[Path], *, order: Iterable[str] = ()) -> dict[str, list[DecoderResult]]:
    """All that is finished in some folders.

    Args:
        folders: As given to `train_variant` as ``out``. Of the same key, seed and number of epochs the first
            one counts.
        order: Keys that come first, in this order; others follow by name.
    """
    found: dict[tuple[str, int, int], DecoderResult] = {}
    for folder in folders:
        for path in sorted(folder.glob("runs/*/seed-*/result.json")):
            one = DecoderResult.read(path)
            found.setdefault((one.key, one.seed, one.epochs), one)
    keys = {one.key for one in found.values()}
    ordered = [key for key in order if key in keys]
    ordered += sorted(keys - set(ordered))
    return {
        key: sorted((one for one in found.values() if one.key == key), key=lambda one: (one.epochs, one.seed))
        for key in ordered
    }
