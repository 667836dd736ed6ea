"""The report: one HTML file that needs no network, with the figures beside it as PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qdyn
from qdyn.evaluation.evaluation import Evaluation
from qdyn.evaluation.report.figures import figures
from qdyn.evaluation.report.page import environment, saved_figures
from qdyn.evaluation.report.table import columns, footnotes, grouped, heading, horizon_cell, short_label
from qdyn.files import write_text


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write figures/*.png, figures/*.svg and report.html into ``folder``; return the path of the latter.

    Raises:
        OutputError: something cannot be written.
    """
    content = saved_figures(figures(evaluation), folder)
    path = folder / "report.html"
    write_text(path, render(evaluation, content))
    return path


def render(evaluation: Evaluation, drawn: list[dict[str, str]]) -> str:
    """The page.

    Args:
        evaluation: What it reports.
        drawn: Figures with name, title, caption and svg, the last being markup of our own making.
    """
    pages = environment()
    pages.filters["mathematics"] = _mathematics
    return pages.get_template("report.html.j2").render(
        evaluation=evaluation,
        title=_title(evaluation),
        summary=_summary(evaluation),
        columns=columns(evaluation.rows),
        groups=[
            (heading(name, evaluation), [_cells(evaluation, row) for row in rows])
            for name, rows in grouped(evaluation)
        ],
        rolled=any(row.horizons for row in evaluation.rows),
        footnotes=footnotes(evaluation),
        figures=drawn,
        facts=_facts(evaluation),
        version=qdyn.__version__,
    )


def _mathematics(text: str) -> Any:
    """``text`` escaped, with the names of the losses set as formulas."""
    from markupsafe import Markup, escape

    escaped = str(escape(text))
    for plain, set_ in (("L_1/2", "L<sub>1/2</sub>"), ("L_1", "L<sub>1</sub>"), ("L_B", "L<sub>B</sub>")):
        escaped = escaped.replace(plain, set_)
    return Markup(escaped)


def _title(evaluation: Evaluation) -> str:
    trained = [row.label for row in evaluation.rows if row.standing == "trained"]
    name = str(evaluation.provenance.dataset["name"])
    return f"{', '.join(trained)} on {name}" if trained else f"Predictors on {name}"


def _summary(evaluation: Evaluation) -> str:
    """One paragraph: what was done."""
    data = evaluation.provenance.dataset
    trained = [row for row in evaluation.rows if row.standing == "trained"]
    noun = {"quantum_state": "quantum states", "real": "real unit vectors", "token": "tokens"}[
        evaluation.kind
    ]
    dimension = "a vocabulary of" if evaluation.kind == "token" else "dimension"
    text = []
    if trained and evaluation.provenance.seeds:
        count = len(evaluation.provenance.seeds)
        amount = data.get("sequences", {}).get("train")
        on = f" on {amount} sequences" if amount else ""
        times = f"{count} times{on}, once for each seed" if count > 1 else f"once{on}"
        text.append(f"{trained[0].label} was trained {times}.")
    text.append(
        f"Every predictor forecasts the next element of {evaluation.n_sequences} sequences of the "
        f"{evaluation.split} split of {data['name']} ({noun}, {dimension} {data['dimension']}), at each of "
        f"{evaluation.n_steps} positions, seeing only what came before."
    )
    if evaluation.context is not None:
        text.append(
            f"Then each is rolled out: from the first {evaluation.context} states it forecasts the next "
            f"{evaluation.rollout_steps}, feeding its own forecasts back."
        )
    return " ".join(text)


def _cells(evaluation: Evaluation, row: Any) -> dict[str, Any]:
    return {
        "label": short_label(row),
        "seeds": row.n_seeds,
        "standing": row.standing,
        "metrics": [str(row.metrics.get(column.metric, "–")) for column in columns(evaluation.rows)],
        "horizon": horizon_cell(row, evaluation.time_step, evaluation.time_unit),
        "parameters": "–" if row.parameters is None else f"{row.parameters:,}".replace(",", "\u202f"),
    }


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and value of what one needs to repeat this."""
    data, provenance = evaluation.provenance.dataset, evaluation.provenance
    facts = [("Dataset", str(data["name"]))]
    if data.get("digest"):
        facts.append(("Dataset digest", str(data["digest"])))
    if data.get("sequences"):
        facts.append(("Sequences", ", ".join(f"{name} {count}" for name, count in data["sequences"].items())))
    if data.get("phase_convention"):
        facts.append(("Phase convention", str(data["phase_convention"])))
    if provenance.seeds:
        facts.append(("Seeds", ", ".join(map(str, provenance.seeds))))
    facts += list(provenance.facts.items())
    facts.append(("Evaluation", f"{evaluation.seconds:.1f} s, qdyn {qdyn.__version__}"))
    return facts
