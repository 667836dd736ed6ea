"""Repeat the text campaign of arXiv:2602.06699v2, and find what its over-fitting yields to.

python scripts/reproduce_qsa_text.py --out DIR [--text FILE] [--models k-QSA,...] [--degrees 1,3,6]
    [--seeds 8] [--tuned] [--page docs/benchmarks/qsa-text.md]

FILE holds one sentence a line, such as the word-level Penn Treebank, which is not ours to ship; sentences of
33 words are taken from it as the authors did. Without a file the sentences come from the grammar shipped as
`grammar`, whose entropy is known.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

from qdyn import load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import read_recipe
from qdyn.data.sequences import SequenceDataset
from qdyn.data.text.grammar import Grammar
from qdyn.data.text.sentences import read_sentences
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.published import read_published, table_rows
from qdyn.evaluation.campaigns.trials import Outcome, Trial, judge_untrained
from qdyn.evaluation.metrics import perplexity
from qdyn.files import write_json, write_text
from qdyn.models.config import ModelConfig
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "qsa_text.yaml"
STEPS = 32
FEW = 128
FAMILIES = {
    "k-QSA": ModelConfig(unitaries="hardware_efficient", kernel="monomial"),
    "poly-k-QSA": ModelConfig(unitaries="hardware_efficient", kernel="polynomial"),
    "k-CSA": ModelConfig(unitaries="free", kernel="monomial"),
    "poly-k-CSA": ModelConfig(unitaries="free", kernel="polynomial"),
    "nl-CSA-iso": ModelConfig(unitaries="free", kernel="softmax"),
    "nl-CSA-gen": ModelConfig(unitaries="free", kernel="softmax", isometric_value=False),
}


@dataclass(frozen=True)
class Variant:
    """A change of the poly-3-QSA that may keep it from over-fitting."""

    name: str
    model: dict[str, object]
    training: dict[str, object]


VARIANTS = (
    Variant("as published: L_B, tied, d = 16", {}, {}),
    Variant("early stopping", {}, {"keep": "best"}),
    Variant("cross-entropy L_1", {}, {"loss": "L_1"}),
    Variant("L_1, early stopping", {}, {"loss": "L_1", "keep": "best"}),
    Variant("L_1, rotated read-out (v1)", {"readout": "rotation"}, {"loss": "L_1"}),
    Variant("L_1, free read-out", {"readout": "free"}, {"loss": "L_1"}),
    Variant("L_1, real embedding", {"embedding_field": "real"}, {"loss": "L_1"}),
    Variant("L_1, d = 4", {"embedding_dimension": 4}, {"loss": "L_1"}),
    Variant("L_1, d = 8", {"embedding_dimension": 8}, {"loss": "L_1"}),
    Variant("L_1, d = 32", {"embedding_dimension": 32}, {"loss": "L_1"}),
)


def configured(key: str, place: str, model: ModelConfig, *, tuned: bool, seeds: int) -> RunConfig:
    """The authors' optimiser and start, or ours with as many updates."""
    start = 0.3 if tuned else 1.0 if model.unitaries == "free" else 2 * math.pi
    return RunConfig(
        name=key,
        dataset=DatasetConfig(name=place),
        model=replace(model, initial_angle=start, embedding_dimension=model.embedding_dimension or 16),
        training=TrainingConfig(
            loss="L_1" if model.kernel == "softmax" else "L_B",
            steps=600 if model.kernel == "polynomial" else 400,
            batch_size=32,
            learning_rate=2e-2 if tuned else 2e-3,
            schedule="cosine" if tuned else "constant",
            seeds=tuple(range(seeds)),
            evaluate_every=20,
            threads=1,
        ),
    )


def campaign_trials(options: argparse.Namespace, place: str) -> list[tuple[str, int | None, Trial]]:
    """The families and degrees of the published table."""
    found: list[tuple[str, int | None, Trial]] = []
    for family in options.models.split(","):
        base = FAMILIES[family]
        degrees: list[int | None] = [int(k) for k in options.degrees.split(",")]
        for degree in degrees if base.kernel != "softmax" else [None]:
            key = family if degree is None else f"{family}-{degree}"
            model = replace(base, degree=degree or base.degree)
            run = configured(key, place, model, tuned=options.tuned, seeds=options.seeds)
            found.append((family, degree, Trial(key, run)))
    return found


def variant_trials(place: str, seeds: int) -> list[tuple[Variant, Trial]]:
    """Every variant of poly-3-QSA, with our optimiser."""
    found = []
    for number, variant in enumerate(VARIANTS):
        model = replace(FAMILIES["poly-k-QSA"], degree=3, **variant.model)  # type: ignore[arg-type]
        run = configured(f"variant-{number}", place, model, tuned=True, seeds=seeds)
        run = replace(run, training=replace(run.training, **variant.training))  # type: ignore[arg-type]
        found.append((variant, Trial(f"variant-{number}", run)))
    return found


def few_sentences(dataset: SequenceDataset, folder: Path) -> str:
    """A dataset of the first sentences of the training split, with the same validation and test splits."""
    path = folder / f"few-{FEW}.h5"
    if not path.is_file():
        ends = {name: len(dataset.split(name)) for name in dataset.split_names}
        keep = list(range(min(FEW, ends["train"]))) + list(range(ends["train"], len(dataset)))
        lengths = dataset.batch(range(len(dataset))).mask.sum(dim=1)[keep] + 1
        splits, start = {}, 0
        for name, count in {**ends, "train": min(FEW, ends["train"])}.items():
            splits[name] = (start, start + count)
            start += count
        SequenceDataset.from_arrays(
            dataset.sequences()[keep],
            kind="token",
            vocabulary=dataset.metadata.vocabulary,
            lengths=lengths,
            splits=splits,
            name=f"{dataset.metadata.name}, {FEW} sentences",
        ).save(path)
    return str(path)


def open_data(options: argparse.Namespace) -> tuple[SequenceDataset, str, str]:
    """The dataset, where runs find it, and a sentence about it."""
    folder: Path = options.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if options.text is None:
        recipe = read_recipe("grammar")
        place = generate(recipe, folder / "grammar", progress=False)
        source = recipe.make_source()
        assert isinstance(source, Grammar)
        best = source.entropy()
        said = (
            "Sentences of the shipped grammar, whose entropy allows no mean L_1 below "
            f"{best.entropy_per_step:.3f} (perplexity {best.perplexity:.2f})."
        )
        return load_dataset(place), str(place.resolve()), said
    found = read_sentences(options.text, steps=STEPS, exact=True)
    place = folder / "sentences.h5"
    found.dataset.save(place)
    said = (
        f"Sentences of {STEPS + 1} words from {Path(options.text).name}: {len(found.dataset)}, "
        f"{found.left_out} left out; vocabulary {found.dataset.metadata.dimension}; unknown test words "
        f"{100 * found.unknown.get('test', 0.0):.1f} %."
    )
    return found.dataset, str(place.resolve()), said


def row(label: str, found: Outcome) -> str:
    """Losses of both splits, the perplexity and the excess."""
    train, test = found.figures["train"], found.figures["test"]
    cells = [
        str(train["L_1"]),
        str(test["L_1"]),
        f"{perplexity(test['L_1'].mean):.2f}",
        str(train["L_1_excess"]),
        str(test["L_1_excess"]),
    ]
    return f"| {label} | " + " | ".join(cells) + " |"


HEAD = [
    "train L_1 | test L_1 | test perplexity | train excess | test excess |",
    "---|---|---|---|---|",
]


def untrained_rows(untrained: dict[str, Outcome]) -> list[str]:
    """The baselines, best first."""
    ordered = sorted(untrained.values(), key=lambda one: one.figures["test"]["L_1"].mean)
    return [
        f"| {found.label} | – | {figure} | {perplexity(figure.mean):.2f} | – | – |"
        for found in ordered
        for figure in [found.figures["test"]["L_1"]]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the campaign's folder")
    parser.add_argument("--text", type=Path, help="a file of sentences, one a line")
    parser.add_argument("--models", default=",".join(FAMILIES), help="families, with commas between")
    parser.add_argument("--degrees", default="1,3,6", help="degrees k, with commas between")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--tuned", action="store_true", help="our optimiser and start")
    parser.add_argument("--no-variants", action="store_true", help="leave the study of over-fitting out")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--page", type=Path, help="write the table for people here too")
    options = parser.parse_args()
    unknown = [name for name in options.models.split(",") if name not in FAMILIES]
    if unknown:
        parser.error(f"--models must name families among {', '.join(FAMILIES)}, but holds {unknown[0]!r}.")
    dataset, place, said = open_data(options)
    wanted = campaign_trials(options, place)
    outcomes = run_campaign([one for _, _, one in wanted], folder=options.out, workers=options.workers)
    untrained = judge_untrained(dataset, context=4, rollout_steps=4)
    published = read_published(PUBLISHED)
    rows, lines = [], []
    for family, degree, one in wanted:
        found = outcomes[one.key]
        theirs = published.find(family, degree, "train", "L_1_excess")
        note = "" if theirs is None else f" ({theirs.mean:.2f})"
        lines.append(row(f"**{one.key}**{note}", found))
        rows += table_rows(
            found.figures, model=family, degree=degree, seconds=found.seconds, published=published
        )
    for key, found in untrained.items():
        rows += table_rows(found.figures, model=key, degree=None, seconds=found.seconds)
    settings = "Adam at 2e-2 with a cosine, small angles" if options.tuned else "the authors' settings"
    text = [
        "# QSA on sentences",
        "",
        "Written by `python scripts/reproduce_qsa_text.py`. " + said,
        f"Settings: {settings}; 400 updates (polynomial kernels 600), d = 16, {options.seeds} seeds, none",
        "left out. In brackets the published train excess on sentences of the Penn Treebank, another text.",
        "± is a standard deviation over seeds, (..) a standard error over sentences in the last digits.",
        "",
        "| predictor | " + HEAD[0],
        "|---|" + HEAD[1],
        *lines,
        *untrained_rows(untrained),
    ]
    if not options.no_variants:
        text += over_fitting(dataset, place, options)
    write_json(options.out / "table.json", rows)
    for target in {options.out / "table.md", *([options.page] if options.page else [])}:
        write_text(target, "\n".join(text) + "\n")
    print("\n".join(text))


def over_fitting(dataset: SequenceDataset, place: str, options: argparse.Namespace) -> list[str]:
    """What keeps poly-3-QSA from over-fitting, on all training sentences and on a few."""
    text = [
        "",
        "## What over-fitting yields to",
        "",
        "poly-3-QSA with our optimiser and one change at a time, on all training sentences and on the first",
        f"{FEW}.",
    ]
    for name, where in (("all", place), ("few", few_sentences(dataset, options.out / "data"))):
        trials = variant_trials(where, options.seeds)
        folder = options.out / f"variants-{name}"
        found = run_campaign([one for _, one in trials], folder=folder, workers=options.workers)
        data = load_dataset(where)
        count = len(data.split("train"))
        text += [
            "",
            f"### {count} training sentences",
            "",
            "| poly-3-QSA | " + HEAD[0],
            "|---|" + HEAD[1],
            *[row(variant.name, found[one.key]) for variant, one in trials],
            *untrained_rows(judge_untrained(data, context=4, rollout_steps=4)),
        ]
    return text


if __name__ == "__main__":
    main()
