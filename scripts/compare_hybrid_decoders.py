"""Train the decoder of molecules with every kind of score, and controls, beside the published curves.

    python scripts/compare_hybrid_decoders.py --out DIR [--only NAME ...] [--epochs 20] [--seeds 42]
                                              [--molecules N] [--page docs/benchmarks/hybrid-decoder.md]

Every contestant has the same number of passes over the training split, and is judged on the molecules that
were held out from the published models too. What was killed goes on when called again; runs at a constant
learning rate go on to more epochs. Two calls with different --only may share DIR and the work, and a call
with `--epochs 0` writes the page from what is finished. `--only attention-NAME` trains the decoder with any
attention of `qdyn.attention.names()`. QM9 has to be fetched first: qdyn datasets fetch qm9.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import qdyn
from qdyn.config import read_yaml
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError, QdynError, nearest
from qdyn.evaluation.contestants import of_predictors, of_run
from qdyn.evaluation.scoring import score
from qdyn.files import write_json, write_text
from qdyn.models.baselines import NGram
from qdyn.plotting import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Line,
    LineStyle,
    dress,
    new_figure,
    plot_lines,
    save_figure,
)
from qdyn.training.batches import steps_per_epoch
from qdyn.training.config import RunConfig, load_config

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "hybrid_decoder.yaml"
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, INK, MUTED)
ORDERS = range(1, 8)


@dataclass(frozen=True)
class Contestant:
    """A trained model.

    Attributes:
        label: What the page calls it.
        preset: What it starts from.
        overrides: What is different.
        published: Whose recorded losses it stands beside; None where nothing was published.
    """

    label: str
    preset: str
    overrides: tuple[str, ...] = ()
    published: str | None = None

    @property
    def conditioned(self) -> bool:
        """Whether it is told the properties."""
        return self.preset == "hybrid-decoder-conditions"


_TUNED = ("training.schedule=cosine", "training.learning_rate_floor=1e-5", "model.dropout=0.0")
_STANDARD = (*_TUNED, "model.standardise=true")
CONTESTANTS = {
    "quantum": Contestant("Quantum", "hybrid-decoder", published="quantum_sequence"),
    "classical_eq": Contestant(
        "Classical, as many parameters", "hybrid-decoder-classical-eq", published="classical_eq_sequence"
    ),
    "classical": Contestant("Classical", "hybrid-decoder-classical", published="classical_sequence"),
    "uniform": Contestant("Uniform attention", "hybrid-decoder-uniform"),
    "frozen": Contestant(
        "Quantum, frozen at random", "hybrid-decoder", ("model.frozen=true", "model.initial_spread=1.0")
    ),
    "layers-2": Contestant("Quantum, 2 layers", "hybrid-decoder", ("model.layers=2",)),
    "layers-3": Contestant("Quantum, 3 layers", "hybrid-decoder", ("model.layers=3",)),
    "lstm": Contestant("LSTM", "lstm-molecules"),
    "quantum-tuned": Contestant("Quantum, tuned", "hybrid-decoder", _TUNED),
    "classical_eq-tuned": Contestant(
        "Classical, as many parameters, tuned", "hybrid-decoder-classical-eq", _TUNED
    ),
    "classical-tuned": Contestant("Classical, tuned", "hybrid-decoder-classical", _TUNED),
    "uniform-tuned": Contestant("Uniform attention, tuned", "hybrid-decoder-uniform", _TUNED),
    "lstm-tuned": Contestant("LSTM, tuned", "lstm-molecules", _TUNED),
    "quantum-conditions": Contestant("Quantum", "hybrid-decoder-conditions", published="quantum_conditions"),
    "classical_eq-conditions": Contestant(
        "Classical, as many parameters",
        "hybrid-decoder-conditions",
        ("model.score=classical_eq",),
        published="classical_eq_conditions",
    ),
    "classical-conditions": Contestant(
        "Classical",
        "hybrid-decoder-conditions",
        ("model.score=classical",),
        published="classical_conditions",
    ),
    "uniform-conditions": Contestant(
        "Uniform attention", "hybrid-decoder-conditions", ("model.score=uniform",)
    ),
    "quantum-conditions-tuned": Contestant(
        "Quantum, tuned", "hybrid-decoder-conditions", (*_STANDARD, "model.property_angles=sigmoid")
    ),
    "quantum-conditions-used": Contestant(
        "Quantum, 2 layers, tuned",
        "hybrid-decoder-conditions",
        (*_STANDARD, "model.property_angles=sigmoid", "model.layers=2"),
    ),
    "classical_eq-conditions-tuned": Contestant(
        "Classical, as many parameters, tuned",
        "hybrid-decoder-conditions",
        (*_STANDARD, "model.score=classical_eq"),
    ),
    "uniform-conditions-tuned": Contestant(
        "Uniform attention, tuned", "hybrid-decoder-conditions", (*_STANDARD, "model.score=uniform")
    ),
}


def contestant(key: str) -> Contestant:
    """One of the list, or "attention-NAME" for the decoder with any attention of `qdyn.attention.names()`."""
    name = key.removeprefix("attention-")
    if key in CONTESTANTS:
        return CONTESTANTS[key]
    if name == key:
        raise ConfigError(f"Argument `only` names {key!r}, which is unknown: {nearest(key, CONTESTANTS)}")
    overrides = ("model.score=attention", f"model.attention={name}")
    return Contestant(f"Attention {name!r}", "hybrid-decoder-uniform", overrides)


PAIRS = [
    (f"quantum{ending}", f"{rival}{ending}")
    for ending in ("", "-tuned", "-conditions", "-conditions-tuned")
    for rival in ("uniform", "frozen", "classical_eq", "classical", "lstm")
] + [
    ("layers-2", "quantum"),
    ("layers-3", "quantum"),
    ("quantum-conditions-used", "quantum-conditions-tuned"),
]
"""Contestants whose difference says what one thing is worth."""


@dataclass(frozen=True)
class Result:
    """What one contestant reached with one seed.

    Attributes:
        key: The contestant's.
        seed: The seed.
        parameters: Real numbers learnt.
        epochs: Passes over the training split.
        validation: After every epoch, padding counted.
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--dataset", default="qm9", help="a name or a file of molecules")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--molecules", type=int, help="train on so many only, the first of the split")
    parser.add_argument("--page", type=Path, help="write table and figure there")
    options = parser.parse_args()
    try:
        data = limited(qdyn.load_dataset(options.dataset), options.molecules)
        if options.epochs:
            for seed in options.seeds:
                for key in options.only:
                    print(conduct(key, seed, data, options), flush=True)
        counted = count(data, options.out)
        if options.page is not None:
            write_page(options.page, gather(options.out), counted, data)
    except QdynError as problem:
        parser.error(str(problem))


def limited(data: SequenceDataset, molecules: int | None) -> SequenceDataset:
    """The dataset with the first training molecules only."""
    if molecules is None:
        return data
    if not 1 <= molecules <= len(data.split("train")):
        raise SystemExit(f"--molecules must lie within the {len(data.split('train'))} of training.")
    parts = [
        data.split("train").batch(range(molecules)),
        data.split("validation").batch(range(len(data.split("validation")))),
    ]
    words = [np.concatenate([part.inputs, part.targets[:, -1:]], axis=1) for part in parts]
    known = {name: np.concatenate([part.conditions[name] for part in parts]) for name in data.conditions}
    total = sum(map(len, words))
    return SequenceDataset.from_arrays(
        np.concatenate(words),
        kind="token",
        vocabulary=data.metadata.vocabulary,
        lengths=np.concatenate([part.mask.sum(1) + 1 for part in parts]),
        conditions=known,
        splits={"train": (0, molecules), "validation": (molecules, total)},
        name=f"{data.metadata.name}-{molecules}",
        recipe=data.metadata.recipe,
    )


def configured(key: str, seed: int, epochs: int, data: SequenceDataset) -> RunConfig:
    """The contestant's preset for so many epochs."""
    one = contestant(key)
    each = steps_per_epoch(len(data.split("train")), 256)
    settings = (
        f"training.steps={epochs * each}",
        f"training.evaluate_every={each}",
        f"training.checkpoint_every={each}",
    )
    config = load_config(one.preset, overrides=[*one.overrides, *settings])
    return replace(config.with_seeds([seed]), name=key)


def conduct(key: str, seed: int, data: SequenceDataset, options: argparse.Namespace) -> Result:
    """Train and judge one contestant, or go on with it, or read what was found."""
    config = configured(key, seed, options.epochs, data)
    # A cosine belongs to its number of steps; at a constant rate a run can go on.
    variant = f"-{options.epochs}-epochs" if config.training.schedule == "cosine" else ""
    folder = options.out / "runs" / f"{key}{variant}" / f"seed-{seed}"
    run = qdyn.train(config, dataset=data, out=folder, resume=(folder / "run.json").exists())
    found = folder / "result.json"
    if found.exists():
        known = Result(**json.loads(found.read_text(encoding="utf-8")))
        if known.epochs == options.epochs:
            return replace(known, validation=tuple(known.validation))
    scores = score(of_run(run), data.split("validation")).losses
    result = Result(
        key=key,
        seed=seed,
        parameters=run.record.parameters,
        epochs=options.epochs,
        validation=tuple(run.history.validation["L_1"][:, 0].tolist()),
        loss=float(scores["L_1"].mean()),
        accuracy=float(scores["accuracy"].mean()),
        seconds=run.record.training_seconds or 0.0,
    )
    write_json(found, vars(result))
    return result


def count(data: SequenceDataset, out: Path) -> list[dict[str, Any]]:
    """N-grams, which are counted and not trained: once, for padding is something to count too."""
    kept = out / f"ngrams-{data.metadata.name}.json"
    if kept.exists():
        found: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    rows = []
    for order in ORDERS:
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


def gather(out: Path) -> dict[str, list[Result]]:
    """What is finished, by contestant; where seeds differ in epochs, those with most of them."""
    found: dict[str, list[Result]] = {}
    for path in sorted(out.glob("runs/*/seed-*/result.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        result = Result(**{**content, "validation": tuple(content["validation"])})
        found.setdefault(result.key, []).append(result)
    longest = {key: max(one.epochs for one in results) for key, results in found.items()}
    known = [key for key in CONTESTANTS if key in found]
    known += [key for key in found if key not in CONTESTANTS]
    return {key: [one for one in found[key] if one.epochs == longest[key]] for key in known}


def write_page(
    page: Path, results: dict[str, list[Result]], counted: Sequence[dict[str, Any]], data: SequenceDataset
) -> None:
    """Tables, curves and the numbers behind them."""
    published = read_yaml(PUBLISHED)
    is_published = data.metadata.recipe.get("split") == "published"
    image = page.with_suffix(".png")
    text = [
        "# The decoder of molecules: scores, controls, published curves",
        "",
        f"Written by `python scripts/compare_hybrid_decoders.py`. {data.metadata.name}: "
        f"{len(data.split('train'))} molecules of training, {len(data.split('validation'))} held out"
        + (", as they were from the published models." if is_published else "."),
        "",
        "*Padded*: nats a step with padding among the steps, as published; *best* is the lowest after any "
        "epoch, as published, *last* that of the last one. *Tokens*: L_1 of real tokens and [EOS] alone, at "
        "the end. ± is the sample standard deviation over seeds. Published: one seed, 20 epochs; from one "
        "epoch to the next its loss moves by 0.005 (sequences) and 0.03 to 0.1 (conditions), and differences "
        "below that mean nothing.",
        "",
        f"![Validation loss by epoch]({image.name})",
    ]
    for title, conditioned in (("Sequences", False), ("Told the nine properties", True)):
        shown = {key: found for key, found in results.items() if contestant(key).conditioned == conditioned}
        if not shown:
            continue
        text += ["", f"## {title}", "", *table(shown, published)]
        if not conditioned:
            text += [
                f"| {one['label']} | {one['parameters']} | – | – | – | {one['padded']:.4f} "
                f"| {one['loss']:.4f} | {100 * one['accuracy']:.1f} | – |"
                for one in counted
            ]
    text += ["", "## What scores are worth", "", *differences(results)]
    write_text(page, "\n".join(text) + "\n")
    content = {key: [vars(one) for one in found] for key, found in results.items()}
    write_json(
        page.with_suffix(".json"), {"trained": content, "counted": list(counted), "published": published}
    )
    draw(image, results, published)


def table(results: dict[str, list[Result]], published: dict[str, Any]) -> list[str]:
    """A row for every contestant."""
    lines = [
        "| model | parameters | epochs | seeds | padded, best | padded, last | tokens | accuracy, % "
        "| published, best at these epochs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for key, found in results.items():
        first, one = found[0], contestant(key)
        beside = "–"
        if one.published is not None:
            beside = f"{min(published['validation'][one.published][: first.epochs]):.4f}"
        lines.append(
            f"| {one.label} | {first.parameters} | {first.epochs} | {len(found)} "
            f"| {spread([min(each.validation) for each in found])} "
            f"| {spread([each.validation[-1] for each in found])} | {spread([each.loss for each in found])} "
            f"| {100 * np.mean([each.accuracy for each in found]):.1f} | {beside} |"
        )
    return lines


def differences(results: dict[str, list[Result]]) -> list[str]:
    """Pairs of contestants that differ in one thing, seed by seed, after equally many epochs."""
    lines = [
        "Padded loss after the last epoch, the first minus the second; negative: the first is better. "
        "± is the sample standard deviation over seeds of the difference; one seed has none, and says "
        "nothing below the jitter of an epoch.",
        "",
        "| first | second | epochs | seeds | difference |",
        "|---|---|---|---|---|",
    ]
    for first, second in PAIRS:
        if first not in results or second not in results:
            continue
        ends = [{one.seed: one.validation[-1] for one in results[key]} for key in (first, second)]
        epochs = {one.epochs for key in (first, second) for one in results[key]}
        common = sorted(set(ends[0]) & set(ends[1]))
        if not common or len(epochs) > 1:
            continue
        gaps = [ends[0][seed] - ends[1][seed] for seed in common]
        told = ", told properties" if contestant(first).conditioned else ""
        lines.append(
            f"| {contestant(first).label}{told} | {contestant(second).label} | {epochs.pop()} "
            f"| {len(common)} | {spread(gaps)} |"
        )
    return lines


def spread(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation over seeds, or the one value."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


def draw(path: Path, results: dict[str, list[Result]], published: dict[str, Any]) -> None:
    """Validation loss by epoch: ours drawn through, the published dashed in the same colour."""
    from matplotlib.ticker import MaxNLocator

    titles = {False: "Sequences", True: "Told the nine properties"}
    kinds = sorted({contestant(key).conditioned for key in results})
    figure = new_figure(6 * max(1, len(kinds)), 4.8)
    for place, conditioned in enumerate(kinds):
        axes = dress(
            figure.add_subplot(1, len(kinds), place + 1),
            xlabel="epoch",
            ylabel="" if place else "validation loss, padding counted",
            title=titles[conditioned],
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        shown = [key for key in results if contestant(key).conditioned == conditioned]
        lowest = 1.0
        for key, colour in zip(shown, itertools.cycle(COLOURS), strict=False):
            one = contestant(key)
            curves = np.array([found.validation for found in results[key]])
            lowest = min(lowest, float(curves.min()))
            epochs = np.arange(1, curves.shape[1] + 1)
            band = curves.std(axis=0, ddof=1) if len(curves) > 1 else None
            plot_lines(axes, epochs, [Line(one.label, curves.mean(axis=0), band, LineStyle(colour))])
            if one.published is not None:
                recorded = np.array(published["validation"][one.published])
                style = LineStyle(colour, "--", width=1.1)
                plot_lines(axes, np.arange(1, 21), [Line(f"{one.label}, published", recorded, None, style)])
                lowest = min(lowest, float(recorded.min()))
        # The first epochs are far above: the rest could not be told apart.
        axes.set_ylim(lowest - 0.01, lowest + (0.35 if conditioned else 0.1))
        axes.legend(fontsize=7.5, frameon=False, ncols=2)
        for line in axes.lines:
            line.set_clip_on(True)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
