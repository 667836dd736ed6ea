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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from compare_hybrid_decoders import CONTESTANTS

import qdyn
from qdyn.config import read_yaml
from qdyn.data.molecules.subsets import with_fewer_trained_on
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import QdynError
from qdyn.evaluation.molecules.decoder_figures import draw_campaign
from qdyn.evaluation.molecules.decoder_runs import gather, train_variant
from qdyn.evaluation.molecules.figures import attention_row, targets_figure
from qdyn.evaluation.molecules.generation import attention_map, generate_molecules, percent
from qdyn.evaluation.molecules.metrics import TrainingMolecules
from qdyn.evaluation.molecules.sampling_campaign import (
    FREE,
    PUBLISHED_WEIGHTS,
    DrawnModel,
    gather_drawn,
    keep,
    kept,
    targets_of,
    write_sampling_page,
)
from qdyn.evaluation.results import Estimate
from qdyn.models import HybridDecoder
from qdyn.plotting import save_figure

BENCHMARKS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
PUBLISHED = BENCHMARKS / "published" / "hybrid_sampling.yaml"
LOSSES = BENCHMARKS / "published" / "hybrid_decoder.yaml"
NITROFURAN = "O=[N+]([O-])c1ccoc1"
VARIANTS = {one.published: key for key, one in CONTESTANTS.items() if one.published is not None}
"""Published name -> contestant of the training script."""


@dataclass(frozen=True)
class Entry:
    """Something to draw from."""

    named: DrawnModel
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


def molecules(options: argparse.Namespace) -> SequenceDataset:
    """What everyone is trained on."""
    data = qdyn.load_dataset(options.dataset)
    return data if options.molecules is None else with_fewer_trained_on(data, options.molecules)


def train(options: argparse.Namespace) -> None:
    """The published variants, by their presets."""
    data = molecules(options)
    for name in options.only:
        key = VARIANTS[name]
        found = train_variant(
            key, CONTESTANTS[key], seed=options.seed, epochs=options.epochs, data=data, out=options.out
        )
        print(found, flush=True)


def entries(options: argparse.Namespace) -> Iterator[Entry]:
    """Everything there is to draw from."""
    for path in options.weights:
        yield Entry(DrawnModel(path.stem, PUBLISHED_WEIGHTS), HybridDecoder.from_published(path))
    for name in options.only:
        folder = options.out / "runs" / VARIANTS[name] / f"seed-{options.seed}"
        if (folder / "result.json").is_file():
            model = qdyn.load_run(folder).model()
            assert isinstance(model, HybridDecoder)
            yield Entry(DrawnModel(name, "trained here"), model)


def infer(options: argparse.Namespace) -> None:
    """Every experiment of every model, and the page."""
    training = TrainingMolecules.of(molecules(options))
    for entry in entries(options):
        goals = targets_of(training) if entry.model.config.conditions else {FREE: {}}
        for experiment, asked in goals.items():
            validity = conduct(entry, experiment, asked, training, options)
            print(f"{entry.named}, {experiment}: {percent(validity)}", flush=True)
    found = gather_drawn(options.out)
    if not found:
        raise SystemExit("Nothing to draw from: give --weights, or --train first.")
    if options.page is not None:
        write_sampling_page(options.page, found, training, read_yaml(PUBLISHED))


def conduct(
    entry: Entry,
    experiment: str,
    asked: dict[str, float],
    training: TrainingMolecules,
    options: argparse.Namespace,
) -> Estimate:
    """Draw, judge and keep, unless that has been done; the validity."""
    path = kept(options.out, entry.named, experiment)
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["queries"], content["settings"]["seed"]) == (options.queries, options.seed):
            return Estimate(**content["validity"])
    found = generate_molecules(
        entry.model,
        options.queries,
        training=training,
        targets=asked,
        seed=options.seed,
        workers=options.workers,
        progress=True,
    )
    keep(options.out, entry.named, experiment, found)
    return found.figures.validity


def draw_figures(options: argparse.Namespace) -> None:
    """Losses, attention and targets, as far as there is something to draw."""
    folder = options.out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    variants = {key: CONTESTANTS[key] for key in VARIANTS.values()}
    trained = {key: runs for key, runs in gather([options.out], order=variants).items() if key in variants}
    recorded = read_yaml(LOSSES)["validation"]
    drawn = [draw_campaign(folder / "losses.png", variants, trained, recorded, [])]
    training = None
    maps = []
    for entry in entries(options):
        told = None
        if names := entry.model.config.conditions:
            training = training or TrainingMolecules.of(molecules(options))
            told = {one: float(training.properties[one].mean()) for one in names}
        maps.append((str(entry.named), attention_map(entry.model, NITROFURAN, told=told)))
    if maps:
        drawn.append(save_figure(attention_row(maps), folder / "attention.png"))
    published = read_yaml(PUBLISHED)["conditions"]
    for named, experiments in gather_drawn(options.out).items():
        if len(experiments) > 1:
            figure = targets_figure(experiments, published.get(named.name, {}))
            drawn.append(save_figure(figure, folder / f"targets-{named.slug}.png"))
    print("\n".join(map(str, drawn)))


if __name__ == "__main__":
    main()
