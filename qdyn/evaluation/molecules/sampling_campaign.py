"""Molecules drawn from decoders for many targets: what is asked and kept, beside published figures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdyn.data.molecules.properties import PROPERTIES
from qdyn.evaluation.molecules.generation import GeneratedMolecules, percent
from qdyn.evaluation.molecules.metrics import TrainingMolecules
from qdyn.evaluation.results import Estimate
from qdyn.files import write_json, write_text

FREE = "no_conditions"
"""The experiment that asks for nothing."""
PUBLISHED_WEIGHTS = "published weights"


@dataclass(frozen=True)
class DrawnModel:
    """A model that molecules are drawn from.

    Attributes:
        name: As it was published.
        origin: Where its weights come from: `PUBLISHED_WEIGHTS`, or where they were trained.
    """

    name: str
    origin: str

    def __str__(self) -> str:
        return f"{self.name}, {self.origin}"

    @property
    def slug(self) -> str:
        """What files of it are called."""
        return f"{self.name}-{self.origin.partition(' ')[0]}"


Experiments = Mapping[str, Mapping[str, Any]]
"""Experiment -> what was found, as `GeneratedMolecules.to_dict` tells it."""


def targets_of(training: TrainingMolecules) -> dict[str, dict[str, float]]:
    """Experiment -> what is asked for: nothing, then each property 2 standard deviations off its mean.

    Args:
        training: Its mean and standard deviation. Not below 0 is asked for, but of LogP.

    Source: arXiv:2502.19214.
    """
    found: dict[str, dict[str, float]] = {FREE: {}}
    for name in PROPERTIES:
        values = training.properties[name]
        mean, spread = float(values.mean()), float(values.std())
        low = mean - 2 * spread
        found[f"upper_{name}"] = {name: mean + 2 * spread}
        found[f"lower_{name}"] = {name: low if name == "LogP" else max(0.0, low)}
    return found


def kept(out: Path, model: DrawnModel, experiment: str) -> Path:
    """Where an experiment's figures are written to."""
    return out / "inference" / model.slug / f"{experiment}.json"


def keep(out: Path, model: DrawnModel, experiment: str, found: GeneratedMolecules) -> None:
    """Write an experiment's figures.

    Raises:
        OutputError: they cannot be written.
    """
    named = {"name": model.name, "origin": model.origin, "experiment": experiment}
    write_json(kept(out, model, experiment), {**found.to_dict(), **named})


def gather_drawn(out: Path) -> dict[DrawnModel, dict[str, Any]]:
    """All experiments that were kept in a folder, by model."""
    found: dict[DrawnModel, dict[str, Any]] = {}
    for path in sorted((out / "inference").glob("*/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        model = DrawnModel(content["name"], content["origin"])
        found.setdefault(model, {})[content["experiment"]] = content
    return found


def write_sampling_page(
    page: Path,
    found: Mapping[DrawnModel, Experiments],
    training: TrainingMolecules,
    published: Mapping[str, Any],
) -> None:
    """Write tables beside the published ones, and the numbers behind them beside the page as JSON.

    Args:
        page: Ends with .md.
        found: What was drawn.
        training: What the models were trained on.
        published: "queries", "sequence" and "conditions", see docs/benchmarks/published/hybrid_sampling.yaml.

    Raises:
        OutputError: one of them cannot be written.
    """
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
    plain = {model: experiments for model, experiments in found.items() if set(experiments) == {FREE}}
    if plain:
        lines += sequence_lines(plain, published)
    for model, experiments in found.items():
        if model not in plain:
            lines += conditions_lines(model, experiments, published)
    write_text(page, "\n".join(lines) + "\n")
    numbers = {
        str(model): {
            experiment: {key: value for key, value in content.items() if key != "attention"}
            for experiment, content in experiments.items()
        }
        for model, experiments in found.items()
    }
    write_json(page.with_suffix(".json"), numbers)


def sequence_lines(found: Mapping[DrawnModel, Experiments], published: Mapping[str, Any]) -> list[str]:
    """The table of models that are told nothing."""
    queries = published["queries"]
    lines = [
        "",
        "## Models of sequences",
        "",
        f"Published: distinct and new molecules of {queries} queries, one seed. Their validity and "
        "uniqueness were not published; those in the row *elsewhere* are of an independent program with the "
        "same weights. σ: how far ours is from that, in standard errors of the difference.",
        "",
        "| model | queries | V | U | N | distinct | new | σ of V | σ of N |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    beside: set[str] = set()
    for model, experiments in found.items():
        (one,) = experiments.values()
        theirs = published["sequence"].get(model.name)
        far = new = "–"
        if theirs is not None and model.origin == PUBLISHED_WEIGHTS:
            share = theirs["validity_elsewhere"] / 100
            error = math.hypot(
                one["validity"]["standard_error"] or 0.0, math.sqrt(share * (1 - share) / queries)
            )
            far = _in_errors(one["validity"]["mean"] - share, error)
            if one["queries"] == queries:
                novelty = one["novelty"]
                gap = novelty["mean"] - theirs["novel"] / theirs["distinct"]
                # The same number of draws has the same error.
                new = _in_errors(gap, math.sqrt(2) * novelty["standard_error"])
        lines.append(
            f"| {model} | {one['queries']} | {_shares(one)} | {one['distinct']} | {one['novel']} "
            f"| {far} | {new} |"
        )
        if theirs is not None and model.name not in beside:
            beside.add(model.name)
            lines.append(
                f"| {model.name}, elsewhere and published | {queries} "
                f"| {theirs['validity_elsewhere']:.2f} | {theirs['uniqueness_elsewhere']:.2f} "
                f"| {100 * theirs['novel'] / theirs['distinct']:.2f} | {theirs['distinct']} "
                f"| {theirs['novel']} | | |"
            )
    return lines


def conditions_lines(model: DrawnModel, experiments: Experiments, published: Mapping[str, Any]) -> list[str]:
    """The table of a model that is told the properties, a row for every target."""
    theirs = published["conditions"].get(model.name, {})
    first = next(iter(experiments.values()))
    lines = [
        "",
        f"## {model}",
        "",
        f"Told the nine properties; {first['queries']} queries for each target, published "
        f"{published['queries']}. Mean: of the property asked for, over valid draws; the others are imputed.",
        "",
        "| target | value | V | U | N | V, published | mean | mean, published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for experiment in [FREE, *(f"{side}_{one}" for one in PROPERTIES for side in ("upper", "lower"))]:
        if experiment not in experiments:
            continue
        one = experiments[experiment]
        validity, *_, mean = theirs.get(experiment, [None, None, None, None])
        asked = experiment.partition("_")[2]
        goal, ours = one["settings"]["targets"].get(asked), drawn_mean(one, asked)
        lines.append(
            f"| {experiment} | {_number(goal, 3)} | {_shares(one)} | {_number(validity, 2)} "
            f"| {'–' if ours is None else ours} | {_number(mean, 3)} |"
        )
    return lines


def drawn_mean(experiment: Mapping[str, Any], name: str) -> Estimate | None:
    """The mean of a property over the valid draws of an experiment; None where it has none."""
    found = next((row["mean"] for row in experiment["properties"] if row["name"] == name), None)
    return None if found is None else Estimate(**found)


def _shares(one: Mapping[str, Any]) -> str:
    """Validity, uniqueness and novelty in percent, as cells."""
    cells = []
    for name in ("validity", "uniqueness", "novelty"):
        found = one[name]
        cells.append("–" if found is None else percent(Estimate(**found)).removesuffix(" %"))
    return " | ".join(cells)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _in_errors(difference: float, error: float) -> str:
    return f"{difference / error:+.1f}" if error else "–"
