"""The page of a campaign: our figures beside the published ones, and the predictors that need no training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qdyn.evaluation.campaigns.published import (
    SIGNIFICANCE,
    Agreement,
    Published,
    PublishedFigure,
    agreement,
    table_rows,
)
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial
from qdyn.files import write_json, write_text

#: What is compared, in the order of the page, and how each is written.
_COMPARED = (("train", "L_1"), ("test", "L_1"), ("train", "L_B"), ("train", "mu"))
_PROJECTED = (("train", "L_1_excess"), ("test", "L_1_excess"))
_RANKED = ("L_1", "fidelity", "rollout_fidelity")


@dataclass(frozen=True)
class Entry:
    """A trial with its place in the table.

    Attributes:
        model: The family.
        degree: k, or None where the family has none.
        trial: What is trained.
    """

    model: str
    degree: int | None
    trial: Trial


@dataclass(frozen=True)
class Page:
    """All that a campaign's page shows.

    Attributes:
        title: Its heading.
        introduction: Paragraphs: the data and the settings.
        entries: The trained models in the order of the table.
        outcomes: Key of each trial -> what was found.
        untrained: The baselines.
        published: What to set beside our figures, or None.
        same_settings: Whether the published figures were made with the same settings, so that they should
            agree.
        stalling: Families whose runs are known to end in one of two outcomes.
        written_by: The script and its arguments.
        remarks: Family -> what the publication leaves open, to stand beside a difference.
    """

    title: str
    introduction: Sequence[str]
    entries: Sequence[Entry]
    outcomes: Mapping[str, Outcome]
    untrained: Mapping[str, Outcome]
    published: Published | None = None
    same_settings: bool = True
    stalling: frozenset[str] = frozenset()
    remarks: Mapping[str, str] = field(default_factory=dict)
    written_by: str = "scripts/reproduce_qsa_tfim.py"


def write_campaign(page: Page, folder: Path) -> None:
    """Write ``table.json`` and ``table.md`` into ``folder``."""
    rows: list[dict[str, Any]] = []
    for entry in page.entries:
        found = page.outcomes[entry.trial.key]
        rows += table_rows(
            found.figures,
            model=entry.model,
            degree=entry.degree,
            seconds=found.seconds,
            published=page.published,
        )
    for key, found in page.untrained.items():
        rows += table_rows(found.figures, model=key, degree=None, seconds=found.seconds)
    write_json(folder / "table.json", rows)
    write_text(folder / "table.md", "\n".join(page_lines(page)) + "\n")


def page_lines(page: Page) -> list[str]:
    """The page as Markdown."""
    lines = [f"# {page.title}", "", f"Written by `python {page.written_by}`.", ""]
    lines += [line for paragraph in page.introduction for line in (paragraph, "")]
    heading = "By degree" if any(entry.degree is not None for entry in page.entries) else "Trained"
    lines += [f"## {heading}", "", *_by_degree(page), ""]
    if page.published is not None and page.same_settings:
        lines += ["## Agreement", "", *_agreement_lines(page), ""]
    lines += ["## Beside predictors without gradient training", "", *_ranking(page)]
    return lines


def _by_degree(page: Page) -> list[str]:
    degrees = sorted({entry.degree for entry in page.entries if entry.degree is not None})
    columns: list[int | None] = [*degrees]
    if any(entry.degree is None for entry in page.entries):
        columns.append(None)
    heads = ["no degree" if degree is None else f"k = {degree}" for degree in columns]
    lines = []
    if page.published is not None:
        lines += [f"In brackets as published: {page.published.citation}. a ± b: over seeds.", ""]
    else:
        lines += ["a ± b: over seeds.", ""]
    lines += [
        "| model | figure | " + " | ".join(heads) + " |",
        "|---|---|" + "---|" * len(heads),
    ]
    for model in dict.fromkeys(entry.model for entry in page.entries):
        trials = {entry.degree: entry.trial.key for entry in page.entries if entry.model == model}
        first = page.outcomes[next(iter(trials.values()))].figures["test"]
        for name in _COMPARED + (_PROJECTED if "L_1_excess" in first else ()):
            cells = [_cell(page, model, d, trials[d], name) if d in trials else "" for d in columns]
            lines.append(f"| {model} | {' '.join(name)} | " + " | ".join(cells) + " |")
        seconds = [f"{page.outcomes[trials[d]].seconds:.0f}" if d in trials else "" for d in columns]
        lines.append(f"| {model} | seconds | " + " | ".join(seconds) + " |")
    return lines


def _cell(page: Page, model: str, degree: int | None, key: str, figure_name: tuple[str, str]) -> str:
    split, metric = figure_name
    figure = page.outcomes[key].figures[split].get(metric)
    if figure is None:
        return ""
    form = "{:.2e}" if metric == "mu" else "{:.3f}"
    text = form.format(figure.mean) + _spread(figure.std if metric != "mu" else None)
    theirs = page.published.find(model, degree, split, metric) if page.published else None
    return text if theirs is None else f"{text} ({form.format(theirs.mean)}{_spread(theirs.std)})"


def _spread(std: float | None) -> str:
    return "" if std is None else f" ± {std:.3f}"


def _agreement_lines(page: Page) -> list[str]:
    """How many published means ours agree with, and what explains the others."""
    assert page.published is not None
    found: dict[str, list[str]] = {"seeds": [], "draw": [], "stalled": [], "open": []}
    count = 0
    for entry in page.entries:
        for split, metrics in page.outcomes[entry.trial.key].figures.items():
            for metric, figure in metrics.items():
                theirs = page.published.find(entry.model, entry.degree, split, metric)
                if theirs is None:
                    continue
                count += 1
                two = entry.model in page.stalling and metric != "mu"
                result = agreement(figure, theirs, two_outcomes=two)
                where = f"{entry.trial.key} {split} {metric}"
                line = _difference(where, figure, theirs.mean, result)
                if result.verdict == "open":
                    line += "".join(f"; {note}" for note in _notes(page, entry, metric, figure, theirs))
                found[result.verdict].append(line)
    groups = {
        "draw": "more lie within two standard errors of the difference: the spread over seeds of both, and "
        "what another draw of the trajectories changes, which each side has drawn once",
        "stalled": "more differ in how many seeds stalled, and by no more than chance allows (Fisher's exact "
        f"test, p >= {SIGNIFICANCE:g}); theirs follow from the published mean and spread",
        "open": "differ by more than that",
    }
    lines = [
        f"Of {count} published means, {len(found['seeds'])} lie within two standard errors of ours over "
        "seeds."
    ]
    for verdict, what in groups.items():
        if found[verdict]:
            lines += ["", f"{len(found[verdict])} {what}:", "", *found[verdict]]
    return lines


def _notes(page: Page, entry: Entry, metric: str, ours: Figure, theirs: PublishedFigure) -> list[str]:
    """What can be said of a difference that chance does not explain."""
    notes = []
    if theirs.std is None:
        notes.append("published without a spread")
    if metric == "mu" and entry.model in page.stalling and theirs.mean < max(ours.of_each_seed):
        # A seed that stalled has a smaller mu, at least 0.
        missing = math.ceil(theirs.seeds * (1 - theirs.mean / max(ours.of_each_seed)))
        notes.append(f"it takes at least {missing} stalled seeds of {theirs.seeds} to lower ours as far")
    if entry.model in page.remarks:
        notes.append(page.remarks[entry.model])
    return notes


def _difference(where: str, ours: Figure, theirs: float, result: Agreement) -> str:
    form = "{:.2e}" if abs(theirs) < 0.01 else "{:.3f}"
    own = f"{abs(result.own_errors):.1f} errors of ours, " if ours.std else ""
    line = (
        f"- {where}: {form.format(ours.mean)} against {form.format(theirs)}; {own}"
        f"{abs(result.joint_errors):.1f} of the difference"
    )
    if result.stalled is not None and result.probability is not None:
        line += (
            f"; stalled seeds {result.stalled[0]} against {result.stalled[1]}, p = {result.probability:.2g}"
        )
    return line


def _ranking(page: Page) -> list[str]:
    """Test split: trained models and baselines by L_1; a(b) is a standard error over trajectories."""
    lines = [
        "Test split. a ± b: over seeds; a(b): standard error over trajectories in the last digits. Closed "
        "loop: mean fidelity of the roll-out.",
        "",
        "| predictor | sees phases | L_1 | fidelity | closed loop | parameters |",
        "|---|---|---|---|---|---|",
    ]
    named = []
    for entry in page.entries:
        found = page.outcomes[entry.trial.key]
        seeds = len(_metric(found, "L_1").of_each_seed)
        named.append((f"**{entry.trial.key}**, {seeds} seed{'s' if seeds > 1 else ''}", found))
    named += [(found.label, found) for found in page.untrained.values() if found.standing != "oracle"]
    named.sort(key=lambda one: _metric(one[1], "L_1").mean)
    named += [(f"*{found.label}*", found) for found in page.untrained.values() if found.standing == "oracle"]
    for label, found in named:
        cells = [str(_metric(found, name)) for name in _RANKED]
        parameters = "–" if found.parameters is None else str(found.parameters)
        lines.append(f"| {label} | {found.phase_convention} | " + " | ".join(cells) + f" | {parameters} |")
    return lines


def _metric(outcome: Outcome, name: str) -> Figure:
    return outcome.figures["test"][name]


def matrix(found: Mapping[str, Mapping[str, Outcome]], metric: str) -> list[str]:
    """One figure of the test split as a table: a row for each contestant, a column for each campaign.

    Args:
        found: Column heading -> key -> outcome.
        metric: Which figure.
    """
    keys = list(dict.fromkeys(key for outcomes in found.values() for key in outcomes))
    lines = ["| predictor | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for key in keys:
        labels = [outcomes[key] for outcomes in found.values() if key in outcomes]
        trained = labels[0].standing == "trained"
        cells = [
            str(_metric(outcomes[key], metric)) if key in outcomes else "–" for outcomes in found.values()
        ]
        lines.append(f"| {f'**{key}**' if trained else labels[0].label} | " + " | ".join(cells) + " |")
    return lines
