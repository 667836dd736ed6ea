"""Write what is measured into the cards: datasets/<name>/README.md and the small sample beside it.

Usage: python scripts/write_dataset_cards.py [NAME ...]

Everything between the two marks of a card comes from here; the rest is written by hand. All cards take about
10 minutes on one core, half of them for the 10-site and 12-site chains.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import integrate, stats

from qdyn import SequenceDataset, load_dataset
from qdyn.data.generation.generate import generate
from qdyn.data.markov import MarkovSphere
from qdyn.data.proteins.amino_acids import is_protein_vocabulary, residues_of
from qdyn.data.proteins.sequence_identity import nearest_identity
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.tags import label_numbers
from qdyn.data.text.grammar import Grammar
from qdyn.errors import DatasetError
from qdyn.evaluation.evaluate import evaluate
from qdyn.evaluation.metrics import step_fidelity, token_probability
from qdyn.files import write_text
from qdyn.memory import readable_size
from qdyn.models.baselines import (
    Baseline,
    Bigram,
    Chance,
    InContextDMD,
    LeastSquares,
    MeanHamiltonian,
    Persistence,
    Procrustes,
    TrainingMean,
    Unigram,
)
from qdyn.processors import processor_name

FOLDER = Path(__file__).resolve().parents[1] / "datasets"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
BATCH = 128
IN_SAMPLE = {"train": 4, "validation": 2, "test": 2}
# Elements of large states are left out of a sample beyond this.
SAMPLE_BYTES = 64 << 10


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    for name in names or sorted(path.parent.name for path in FOLDER.glob("*/recipe.yaml")):
        recipe = read_recipe(FOLDER / name)
        with tempfile.TemporaryDirectory() as folder:
            # What is compiled on first use is no part of the time.
            generate(recipe.resized(len(recipe.splits)), Path(folder) / "first", progress=False)
            began = time.process_time()
            stored = generate(recipe, Path(folder) / name, progress=False)
            seconds = time.process_time() - began
            dataset = load_dataset(stored, verify=True)
            size = sum(path.stat().st_size for path in stored.glob("*.h5"))
            write_sample(dataset, FOLDER / name / "sample.h5")
            lines = [*facts(recipe, dataset, size, seconds), "", *table(dataset), *optimum(recipe)]
        fill(FOLDER / name / "README.md", lines)
        print("\n".join([f"## {name}", *lines, ""]))


def facts(recipe: Recipe, dataset: SequenceDataset, size: int, seconds: float) -> list[str]:
    splits = ", ".join(f"{name} {count}" for name, count in recipe.splits.items())
    shown = "less than a second" if seconds < 1 else f"{seconds:.0f} s"
    return [
        f"- Sequences: {splits}; {dataset.n_steps} steps ({dataset.n_steps + 1} stored elements) each.",
        f"- Size on disk: {readable_size(size)}. Time to generate: {shown} on one core ({processor_name()}).",
        f"- Digest: `{dataset.metadata.digest}`. The last digits of computed states, and with them the "
        "digest, may differ between machines and versions of the linear-algebra library."
        if dataset.metadata.kind == "quantum_state" or not dataset.metadata.normalised
        else f"- Digest: `{dataset.metadata.digest}`.",
    ]


def table(dataset: SequenceDataset) -> list[str]:
    """Test-split figures of predictors that need no gradient."""
    kind = dataset.metadata.kind
    if label_numbers(dataset.metadata.vocabulary):
        return label_table(dataset)
    if is_protein_vocabulary(dataset.metadata.vocabulary):
        return protein_table(dataset)
    if kind == "token":
        rows = [(model, [score(model, dataset)]) for model in (Chance(), Persistence(), Unigram(), Bigram())]
        head = ["| predictor | mean cross-entropy in nats | perplexity |", "|---|---|---|"]
        return head + [f"| {model.label} | {loss:.3f} | {np.exp(loss):.1f} |" for model, ((loss, _),) in rows]
    if not dataset.metadata.normalised:
        return series_table(dataset)
    linear: list[Baseline] = [Chance(), Persistence(), LeastSquares(), Procrustes()]
    if kind == "real":
        head = ["| predictor | L_1 | mean fidelity |", "|---|---|---|"]
        scores = [(model, score(model, dataset)) for model in linear]
        return head + [
            f"| {model.label} | {loss:.3f} | {fidelity:.3f} |" for model, (loss, fidelity) in scores
        ]
    quantum = [*linear, MeanHamiltonian(), InContextDMD(), InContextDMD(residual="procrustes")]
    head = [
        "| predictor | L_1, first_real | mean fidelity, first_real | L_1, raw | mean fidelity, raw |",
        "|---|---|---|---|---|",
    ]
    body = []
    for model in quantum:
        try:
            cells = [
                f"{value:.3f}"
                for convention in ("first_real", "raw")
                for value in score(model, dataset.with_phase_convention(convention))
            ]
        except DatasetError:
            # A Hamiltonian that depends on time has no mean.
            continue
        body.append(f"| {model.label} | {' | '.join(cells)} |")
    return head + body


def label_table(dataset: SequenceDataset) -> list[str]:
    """What `qdyn.evaluate` finds at the labels, on the training and the test split."""
    train, test = (
        evaluate(Chance().fit(dataset), dataset=dataset, split=split) for split in ("train", "test")
    )
    head = [
        "| predictor | training accuracy | test accuracy | test cross-entropy in nats |",
        "|---|---|---|---|",
    ]
    return head + [
        f"| {row.label} | {train.row(row.key).metrics['accuracy']} | {row.metrics['accuracy']} | "
        f"{row.metrics['L_1']} |"
        for row in test.rows
    ]


def protein_table(dataset: SequenceDataset) -> list[str]:
    """What `qdyn.evaluate` finds of proteins, and how alike the splits are."""
    found = evaluate(Chance().fit(dataset), dataset=dataset)
    head = ["| predictor | L_1, all steps | L_1 of residues | perplexity |", "|---|---|---|---|"]
    rows = [
        f"| {row.label} | {row.metrics['L_1']} | {row.metrics['L_1_residue']} | {row.metrics['perplexity']} |"
        for row in found.rows
    ]
    vocabulary = dataset.metadata.vocabulary
    assert vocabulary is not None
    proteins = {
        name: residues_of(dataset.split(name).sequences(), vocabulary) for name in dataset.split_names
    }
    nearest = nearest_identity(proteins["test"], proteins["train"] + proteins["validation"])
    return [
        *head,
        *rows,
        "",
        "Identity of a test protein to the nearest one of the other splits: "
        f"{nearest.mean():.2f} on average, {nearest.max():.3f} at most.",
    ]


def series_table(dataset: SequenceDataset) -> list[str]:
    """What `qdyn.evaluate` finds for series of real numbers."""
    found = evaluate(TrainingMean().fit(dataset), dataset=dataset, progress=False)
    head = ["| predictor | NMSE | mean squared error |", "|---|---|---|"]
    return head + [
        f"| {row.label} | {row.metrics['NMSE'].mean:.4f} | {row.metrics['MSE'].mean:.2e} |"
        for row in found.rows
    ]


@torch.no_grad()
def score(model: Baseline, dataset: SequenceDataset) -> tuple[float, float]:
    """-log p and p, averaged over all test steps that exist; p is a fidelity or a probability."""
    model.fit(dataset.split("train"))
    test = dataset.split("test")
    measure = token_probability if dataset.metadata.kind == "token" else step_fidelity
    found = []
    for first in range(0, len(test), BATCH):
        batch = test.batch(np.arange(first, min(first + BATCH, len(test))))
        forecasts = model.forecast(batch.inputs, batch.mask)
        found.append(measure(forecasts, batch.targets)[batch.mask])
    p = torch.cat(found)
    return float(-p.clamp_min(1e-24).log().mean()), float(p.mean())


def optimum(recipe: Recipe) -> list[str]:
    """The best that any predictor can do, where it is known."""
    source = recipe.make_source()
    if isinstance(source, Grammar):
        exact = source.entropy()
        return [
            f"| **best possible** | **{exact.entropy_per_step:.3f}** | **{exact.perplexity:.1f}** |",
            "",
            f"Exact, from the weights: a sentence has {exact.entropy:.2f} nats and {exact.steps:.2f} steps "
            f"on average; {100 * exact.kept:.0f} % of the grammar's sentences fit and are kept. "
            f"The vocabulary has {len(source.vocabulary)} words.",
        ]
    if isinstance(source, MarkovSphere):
        loss, fidelity = expected_persistence(source)
        return [
            f"| **best possible** | **{loss:.3f}** | **{fidelity:.3f}** |",
            "",
            "The best possible forecast is x_j itself. Its figures here are expectations, integrals over the "
            "noise; those of the test split scatter about them.",
        ]
    return []


def expected_persistence(source: MarkovSphere) -> tuple[float, float]:
    """E[-log c^2] and E[c^2] for c = <x_j|x_{j+1}>.

    Along x_j the step has a + b g, g standard normal; across it b times a chi variable with d - 1 degrees.
    """
    a, b, chi = source.persistence, source.noise, stats.chi(source.dimension - 1)

    def expectation(value: Callable[[float], float]) -> float:
        def inner(rest: float) -> float:
            # The logarithm is singular where the projection vanishes.
            return integrate.quad(
                lambda g: value((a + b * g) ** 2 / ((a + b * g) ** 2 + (b * rest) ** 2)) * stats.norm.pdf(g),
                -9, 9, points=[-a / b], limit=200,
            )[0]  # fmt: skip

        return float(integrate.quad(lambda rest: inner(rest) * chi.pdf(rest), 1e-9, 12)[0])

    return expectation(lambda p: -np.log(p) if p > 0 else 0.0), expectation(lambda p: p)


def write_sample(dataset: SequenceDataset, path: Path) -> None:
    """A few sequences of each split, as a dataset of its own; of large states the first elements only."""
    backing = dataset.backing
    chosen: list[int] = []
    splits = {}
    for name, count in IN_SAMPLE.items():
        first, last = backing.splits[name]
        splits[name] = (len(chosen), len(chosen) + count)
        chosen += range(first, min(first + count, last))
    rows = np.array(chosen)
    data = dataset.metadata
    whole = backing.read(rows, np.zeros_like(rows), backing.length)
    kept = min(backing.length, max(2, SAMPLE_BYTES * backing.length // whole.nbytes))
    if backing.lengths is not None:
        kept = backing.length
    SequenceDataset.from_arrays(
        whole[:, :kept],
        kind=data.kind,
        name=f"{data.name}-sample",
        vocabulary=data.vocabulary,
        phase_convention=data.phase_convention or "raw",
        times=None if backing.times is None else backing.times[:kept],
        lengths=None if backing.lengths is None else backing.lengths[rows],
        conditions={name: values[rows] for name, values in backing.conditions.items()},
        splits=splits,
        units=data.units,
        recipe={**data.recipe, "sequences": chosen},
        components=data.components,
        normalised=data.normalised,
    ).save(path)


def fill(path: Path, lines: list[str]) -> None:
    """Replace what stands between the marks of a card."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{path} lacks the marks {BEGIN} and {END}.")
    write_text(path, "\n".join([before + BEGIN, *lines, END + after]))


if __name__ == "__main__":
    main(sys.argv[1:])
