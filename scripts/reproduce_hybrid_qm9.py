"""Do what the program published with arXiv:2502.19214 does: train on QM9, draw molecules, draw the figures.

    python scripts/reproduce_hybrid_qm9.py --train     --out DIR [--only NAME ...] [--epochs 20]
    python scripts/reproduce_hybrid_qm9.py --inference --out DIR [--weights FILE ...] [--queries 100000]
                                           [--workers 2] [--page docs/benchmarks/hybrid-sampling.md]
    python scripts/reproduce_hybrid_qm9.py --figures   --out DIR [--weights FILE ...]

--train trains the six published variants by their presets (scripts/compare_hybrid_decoders.py trains controls
too). --inference draws from published weights (FILE: .safetensors with its .json beside it) and from the runs
that --train has finished in DIR: a model of sequences once; one that is told properties without a target and
for each of the nine at mean ± 2 standard deviations of the molecules trained on, not below 0 but for LogP.
--figures draws losses by epoch, attention over nitrofuran, and the mean drawn by target.

Both go on where they stopped. QM9 has to be there: qdyn datasets fetch qm9, or a file by --dataset, written
by `qdyn datasets import FILE --split published`. Differences from the published program: all ties of imputed
conditions are averaged; novelty is against the molecules that were really trained on; and sequence models,
which are told nothing, are drawn from once, not 19 times.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compare_hybrid_decoders import CONTESTANTS, conduct, draw, gather, limited

import qdyn
from qdyn.config import read_yaml
from qdyn.data.molecules.properties import PROPERTIES
from qdyn.errors import QdynError
from qdyn.evaluation.generation import AttentionMap, attention_map, generate_molecules, percent
from qdyn.evaluation.molecule_figures import plot_words_attention
from qdyn.evaluation.molecules import TrainingMolecules
from qdyn.evaluation.results import Estimate, with_error
from qdyn.files import write_json, write_text
from qdyn.models import HybridDecoder
from qdyn.plotting import BLUE, INK, MUTED, VERMILLION, dress, legend, new_figure, save_figure

BENCHMARKS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
PUBLISHED = BENCHMARKS / "published" / "hybrid_sampling.yaml"
LOSSES = BENCHMARKS / "published" / "hybrid_decoder.yaml"
NITROFURAN = "O=[N+]([O-])c1ccoc1"
VARIANTS = {one.published: key for key, one in CONTESTANTS.items() if one.published is not None}
"""Published name -> contestant of the training script."""
FREE = "no_conditions"


@dataclass(frozen=True)
class Entry:
    """Something to draw from: its published name, where its weights come from, and the model."""

    name: str
    origin: str
    model: HybridDecoder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--train", action="store_true")
    what.add_argument("--inference", action="store_true")
    what.add_argument("--figures", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="folder of runs, results and figures")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--dataset", default="qm9", help="a name or a file of molecules")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="published weights")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--molecules", type=int, help="train on so many only, the first of the split")
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--page", type=Path, help="--inference: write the tables there")
    options = parser.parse_args()
    try:
        if options.train:
            train(options)
        elif options.inference:
            infer(options)
        else:
            draw_figures(options)
    except QdynError as problem:
        parser.error(str(problem))


# -- training ----------------------------------------------------------------------------------------------


def train(options: argparse.Namespace) -> None:
    """The published variants, by their presets."""
    data = limited(qdyn.load_dataset(options.dataset), options.molecules)
    for name in options.only:
        print(conduct(VARIANTS[name], options.seed, data, options), flush=True)


def entries(options: argparse.Namespace) -> Iterator[Entry]:
    """Everything there is to draw from."""
    for path in options.weights:
        yield Entry(path.stem, "published weights", HybridDecoder.from_published(path))
    for name in options.only:
        folder = options.out / "runs" / VARIANTS[name] / f"seed-{options.seed}"
        if (folder / "result.json").is_file():
            model = qdyn.load_run(folder).model()
            assert isinstance(model, HybridDecoder)
            yield Entry(name, "trained here", model)


# -- drawing molecules -------------------------------------------------------------------------------------


def infer(options: argparse.Namespace) -> None:
    """Every experiment of every model, and the page."""
    training = TrainingMolecules.of(qdyn.load_dataset(options.dataset))
    for entry in entries(options):
        goals = targets(training) if entry.model.config.conditions else {FREE: {}}
        for experiment, asked in goals.items():
            validity = conducted(entry, experiment, asked, training, options)
            print(entry.name, entry.origin, experiment, validity, flush=True)
    found = results(options.out)
    if not found:
        raise SystemExit("Nothing to draw from: give --weights, or --train first.")
    if options.page is not None:
        write_page(options.page, found, training)


def targets(training: TrainingMolecules) -> dict[str, dict[str, float]]:
    """Experiment -> what is asked for: nothing, then each property above and below its mean."""
    found: dict[str, dict[str, float]] = {FREE: {}}
    for name in PROPERTIES:
        values = training.properties[name]
        mean, spread = float(values.mean()), float(values.std())
        low = mean - 2 * spread
        found[f"upper_{name}"] = {name: mean + 2 * spread}
        found[f"lower_{name}"] = {name: low if name == "LogP" else max(0.0, low)}
    return found


def conducted(
    entry: Entry,
    experiment: str,
    asked: dict[str, float],
    training: TrainingMolecules,
    options: argparse.Namespace,
) -> str:
    """Draw, judge and keep, unless that has been done; the validity."""
    kept = options.out / "inference" / slug(entry.name, entry.origin) / f"{experiment}.json"
    if kept.is_file():
        content = json.loads(kept.read_text(encoding="utf-8"))
        if (content["queries"], content["settings"]["seed"]) == (options.queries, options.seed):
            return percent(estimate(content["validity"]))
    found = generate_molecules(
        entry.model,
        options.queries,
        training=training,
        targets=asked,
        seed=options.seed,
        workers=options.workers,
        progress=True,
    )
    named = {"name": entry.name, "origin": entry.origin, "experiment": experiment}
    write_json(kept, {**found.to_dict(), **named})
    return percent(found.figures.validity)


def slug(name: str, origin: str) -> str:
    """What files of a model are called."""
    return f"{name}-{origin.partition(' ')[0]}"


def results(out: Path) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """(name, origin) -> experiment -> what was found."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for path in sorted((out / "inference").glob("*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault((content["name"], content["origin"]), {})[content["experiment"]] = content
    return found


def estimate(content: dict[str, Any] | None) -> Estimate | None:
    """An estimate as it was kept."""
    return None if content is None else Estimate(**content)


def write_page(
    page: Path, found: dict[tuple[str, str], dict[str, dict[str, Any]]], training: TrainingMolecules
) -> None:
    """Tables beside the published ones, and the numbers behind them."""
    published = read_yaml(PUBLISHED)
    lines = [
        "# Molecules drawn from the decoders, beside the published figures",
        "",
        "Written by `python scripts/reproduce_hybrid_qm9.py --inference`, whose first lines say what it "
        f"draws. Trained on: {len(training.smiles)} molecules of {training.name}, the split that the "
        "published models were really trained on, which novelty is against (the authors' is against the "
        "published file, at most 0.2 points away). a(b): standard error in the last digits. V: valid of "
        "all queries; U: distinct of the valid; N: new of the distinct, all in percent. U and N belong to "
        "their number of queries.",
    ]
    plain = {key: one for key, one in found.items() if set(one) == {FREE}}
    told = {key: one for key, one in found.items() if key not in plain}
    if plain:
        lines += sequence_table(plain, published)
    for (name, origin), experiments in told.items():
        lines += conditions_table(name, origin, experiments, published)
    write_text(page, "\n".join(lines) + "\n")
    kept = {
        f"{name}, {origin}": {
            experiment: {key: value for key, value in content.items() if key != "attention"}
            for experiment, content in experiments.items()
        }
        for (name, origin), experiments in found.items()
    }
    write_json(page.with_suffix(".json"), kept)


def sequence_table(
    found: dict[tuple[str, str], dict[str, dict[str, Any]]], published: dict[str, Any]
) -> list[str]:
    lines = [
        "",
        "## Models of sequences",
        "",
        f"Published: distinct and new molecules of {published['queries']} queries, one seed. Their validity "
        "and uniqueness were not published; those in the row *elsewhere* are of an independent program with "
        "the same weights. σ: how far ours is from that, in standard errors of the difference.",
        "",
        "| model | queries | V | U | N | distinct | new | σ of V | σ of N |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, origin), experiments in found.items():
        (one,) = experiments.values()
        theirs = published["sequence"].get(name)
        comparable = theirs is not None and origin == "published weights"
        same = comparable and one["queries"] == published["queries"]
        share = theirs["novel"] / theirs["distinct"] if theirs else math.nan
        far = (
            sigmas(one["validity"], theirs["validity_elsewhere"] / 100, published["queries"])
            if comparable
            else "–"
        )
        new = sigma_of(one["novelty"]["mean"] - share, math.sqrt(2) * one["novelty"]["standard_error"])
        lines.append(
            f"| {name}, {origin} | {one['queries']} | {shares(one)} | {one['distinct']} | {one['novel']} "
            f"| {far} | {new if same else '–'} |"
        )
        if theirs is not None:
            lines.append(
                f"| {name}, elsewhere and published | {published['queries']} "
                f"| {theirs['validity_elsewhere']:.2f} | {theirs['uniqueness_elsewhere']:.2f} "
                f"| {100 * share:.2f} | {theirs['distinct']} "
                f"| {theirs['novel']} | | |"
            )
    return lines


def conditions_table(
    name: str, origin: str, experiments: dict[str, dict[str, Any]], published: dict[str, Any]
) -> list[str]:
    theirs = published["conditions"].get(name, {})
    first = next(iter(experiments.values()))
    lines = [
        "",
        f"## {name}, {origin}",
        "",
        f"Told the nine properties; {first['queries']} queries for each target, published "
        f"{published['queries']}. Mean: of the property asked for, over valid draws.",
        "",
        "| target | value | V | U | N | V, published | mean | mean, published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for experiment in [FREE, *(f"{side}_{one}" for one in PROPERTIES for side in ("upper", "lower"))]:
        if experiment not in experiments:
            continue
        one = experiments[experiment]
        validity, *_, mean = theirs.get(experiment, [None, None, None, None])
        goal = one["settings"]["targets"].get(asked := experiment.partition("_")[2])
        ours = next((row["mean"] for row in one["properties"] if row["name"] == asked), None)
        lines.append(
            f"| {experiment} | {'–' if goal is None else f'{goal:.3f}'} | {shares(one)} "
            f"| {'–' if validity is None else f'{validity:.2f}'} | {'–' if ours is None else estimate(ours)} "
            f"| {'–' if mean is None else f'{mean:.3f}'} |"
        )
    return lines


def shares(one: dict[str, Any]) -> str:
    """Validity, uniqueness and novelty in percent, as cells."""
    cells = []
    for name in ("validity", "uniqueness", "novelty"):
        found = one[name]
        cells.append("–" if found is None else with_error(100 * found["mean"], 100 * found["standard_error"]))
    return " | ".join(cells)


def sigmas(ours: dict[str, float], theirs: float, queries: int) -> str:
    """The distance of our share from another's, in standard errors of the difference."""
    error = math.hypot(ours["standard_error"], math.sqrt(theirs * (1 - theirs) / queries))
    return sigma_of(ours["mean"] - theirs, error)


def sigma_of(difference: float, error: float) -> str:
    return f"{difference / error:+.1f}"


# -- figures -----------------------------------------------------------------------------------------------


def draw_figures(options: argparse.Namespace) -> None:
    """Losses, attention and targets, as far as there is something to draw."""
    folder = options.out / "figures"
    (options.out / "runs").mkdir(parents=True, exist_ok=True)
    trained = {key: one for key, one in gather(options.out).items() if key in VARIANTS.values()}
    drawn = [folder / "losses.png"]
    if trained:
        folder.mkdir(parents=True, exist_ok=True)
        draw(drawn[0], trained, read_yaml(LOSSES))
    else:
        drawn = [draw_published_losses(folder / "losses.png")]
    training = None
    maps = []
    for entry in entries(options):
        told = None
        if names := entry.model.config.conditions:
            training = training or TrainingMolecules.of(qdyn.load_dataset(options.dataset))
            told = {one: float(training.properties[one].mean()) for one in names}
        shown = attention_map(entry.model, NITROFURAN, told=told)
        maps.append((f"{entry.name}, {entry.origin}", shown))
    if maps:
        drawn.append(draw_attention(folder / "attention.png", maps))
    for (name, origin), experiments in results(options.out).items():
        if len(experiments) > 1:
            path = folder / f"targets-{slug(name, origin)}.png"
            drawn.append(draw_targets(path, name, experiments, read_yaml(PUBLISHED)))
    print("\n".join(map(str, drawn)))


def draw_published_losses(path: Path) -> Path:
    """The recorded losses alone, where nothing was trained here."""
    recorded = read_yaml(LOSSES)["validation"]
    figure = new_figure(11, 4.4)
    for place, kind in enumerate(("sequence", "conditions")):
        axes = dress(
            figure.add_subplot(1, 2, place + 1), xlabel="epoch", ylabel="validation loss, padding counted",
            title=f"Published, {kind}",
        )  # fmt: skip
        for style, (name, values) in zip(
            ((BLUE, "-"), (VERMILLION, "--"), (MUTED, ":")),
            ((name, values) for name, values in recorded.items() if name.endswith(kind)),
            strict=True,
        ):
            axes.plot(range(1, len(values) + 1), values, color=style[0], linestyle=style[1], label=name)
        legend(axes)
    return save_figure(figure, path)


def draw_attention(path: Path, maps: Sequence[tuple[str, AttentionMap]]) -> Path:
    """Attention among the words of nitrofuran, [CLS] left out as published."""
    figure = new_figure(5.6 * len(maps), 5.2)
    for place, (name, shown) in enumerate(maps):
        axes = figure.add_subplot(1, len(maps), place + 1)
        image = plot_words_attention(axes, shown, first=1)
        axes.set_title(name, color=INK, fontsize=12, fontweight="bold", loc="left")
        bar = figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label("weight, in units of uniform attention", color=INK)
        bar.outline.set_visible(False)
    return save_figure(figure, path)


def draw_targets(
    path: Path, name: str, experiments: dict[str, dict[str, Any]], published: dict[str, Any]
) -> Path:
    """For each property the mean drawn by target, ours and published."""
    theirs = published["conditions"].get(name, {})
    figure = new_figure(11, 7.5)
    for place, asked in enumerate(PROPERTIES):
        axes = dress(figure.add_subplot(3, 3, place + 1), xlabel="target", ylabel="mean drawn", title=asked)
        points = []
        for side in ("lower", "upper"):
            one = experiments.get(f"{side}_{asked}")
            if one is None or not one["properties"]:
                continue
            goal = one["settings"]["targets"][asked]
            ours = next(row["mean"] for row in one["properties"] if row["name"] == asked)
            mean = theirs.get(f"{side}_{asked}", [None] * 4)[3]
            points.append((goal, ours["mean"], ours["standard_error"] or 0.0, mean))
        if not points:
            continue
        goals, means, errors, recorded = (
            np.array(column, dtype=float) for column in zip(*points, strict=True)
        )
        axes.axline((goals[0], goals[0]), slope=1, color=MUTED, linewidth=1, linestyle=":", label="target")
        axes.errorbar(goals, means, yerr=errors, color=BLUE, marker="o", linestyle="", label="drawn here")
        axes.plot(goals, recorded, color=VERMILLION, marker="x", linestyle="", label="published")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend(figure, handles=handles, labels=labels, loc="outside lower center", ncols=3)
    return save_figure(figure, path)


if __name__ == "__main__":
    main()
