"""The page of a comparison with controls, task by task: verdicts, tables, numbers and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdyn.evaluation.attention.against_controls import SeedComparison, statement
from qdyn.evaluation.attention.comparison import Ground, Setting, TaskFindings, findings
from qdyn.evaluation.attention.figure import draw_comparison
from qdyn.evaluation.campaigns.trials import Outcome
from qdyn.evaluation.results import plain
from qdyn.files import write_json, write_text
from qdyn.models.matched import contestants, role_of


@dataclass(frozen=True)
class ComparisonPage:
    """All that the page shows.

    Attributes:
        title: Its heading.
        introduction: Paragraphs of Markdown: settings, and how to read the tables.
        settings: What was trained, in the order of the contestants.
        outcomes: Key of each trial -> what was found.
        grounds: Task -> what it offers, in the order of the page.
        tasks: Every task there is, also those that nothing was run on.
        refused: Task and contestant -> why the pair makes no sense.
        conditions: What the numbers depend on, for the file beside the page.
    """

    title: str
    introduction: Sequence[str]
    settings: Sequence[Setting]
    outcomes: Mapping[str, Outcome]
    grounds: Mapping[str, Ground]
    tasks: Sequence[str]
    refused: Mapping[tuple[str, str], str]
    conditions: Mapping[str, Any]


def write_comparison(page: ComparisonPage, path: Path, *, image: Path) -> None:
    """Write the page as Markdown, the numbers as JSON beside it, and the figure.

    Args:
        page: What to show.
        path: The page's file.
        image: The figure's file; the page looks for it in the folder ``images`` beside its own.
    """
    found = findings(page.settings, page.outcomes, page.grounds)
    lines = [f"# {page.title}", ""]
    for paragraph in page.introduction:
        lines += [paragraph, ""]
    lines += [f"![Test loss of every mechanism](../images/{image.name})", "", "## What the numbers say"]
    tables, content = [], {}
    for task, one in found.items():
        lines += ["", statement(task, one.figures, one.said, one.untrained)]
        splits = ", ".join(f"{size} of {split}" for split, size in one.ground.sizes.items())
        tables += [
            "",
            f"## {task}: {one.ground.kind}",
            "",
            f"Sequences of {one.ground.steps} steps: {splits}.",
            "",
            *table(one),
        ]
        content[task] = _content(one)
    missing = ["", "## Not run", "", *not_run(page)]
    write_text(path, "\n".join([*lines, *tables, *missing]) + "\n")
    write_json(path.with_suffix(".json"), {"conditions": page.conditions, "tasks": content})
    if found:
        draw_comparison(found, image)


def table(found: TaskFindings) -> list[str]:
    """A row for every contestant in Markdown, best first, predictors without training among them."""
    metric, untrained = found.metric, found.ground.untrained
    lines = [
        f"| model | attention | trained numbers | of the attention | train {metric} | test {metric} "
        "| minus control | minus frozen |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(one.figures["test"][metric].mean, name, one) for name, one in found.results.items()]
    rows += [(one.figures["test"][metric].mean, key, one) for key, one in untrained.items()]
    for _, name, one in sorted(rows, key=lambda row: row[0]):
        test = str(one.figures["test"][metric])
        if name not in found.own:
            label = f"*{one.label}*, knows the answer" if one.standing == "oracle" else f"*{one.label}*"
            lines.append(f"| {label} | – | {one.parameters or '–'} | – | – | {test} | – | – |")
            continue
        differences = [
            _shown(pairs.get(name)) for pairs in (found.said.against_control, found.said.against_frozen)
        ]
        cells = [f"**{name}**", role_of(name), str(one.parameters), str(found.own[name].matched.weights)]
        cells += [str(one.figures["train"][metric]), test, *differences]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def not_run(page: ComparisonPage) -> list[str]:
    """What the page lacks, task by task, and why where there is a reason."""
    done = {(one.task, one.contestant) for one in page.settings}
    every = contestants()
    lines = []
    for task in page.tasks:
        absent = [name for name in every if (task, name) not in done and (task, name) not in page.refused]
        if len(absent) == len(every):
            lines.append(f"- {task}: nothing was run.")
        elif absent:
            lines.append(f"- {task}: {', '.join(absent)}.")
    lines += [f"- {name} on {task}: refused. {why}" for (task, name), why in page.refused.items()]
    return lines or ["Nothing is missing."]


def _shown(one: SeedComparison | None) -> str:
    """A difference as a cell."""
    if one is None:
        return "–"
    mark = "**" if one.better else "*" if one.worse else ""
    return f"{mark}{one}{mark}"


def _content(found: TaskFindings) -> dict[str, Any]:
    """A task's numbers, for the file beside the page."""
    return {
        "metric": found.metric,
        "control": found.said.control,
        "trained": {
            name: plain(one)
            | {
                "weights_of_attention": found.own[name].matched.weights,
                "deviation": found.own[name].matched.deviation,
                "units": found.own[name].matched.config.feed_forward,
            }
            for name, one in found.results.items()
        },
        "sequences": dict(found.ground.sizes),
        "untrained": plain(found.ground.untrained),
        "against_control": plain(found.said.against_control),
        "against_frozen": plain(found.said.against_frozen),
    }
