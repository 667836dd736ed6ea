"""The table as text for a terminal, and the columns that text and report share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qdyn.evaluation.results import RAW_SUFFIX, Row

if TYPE_CHECKING:
    from qdyn.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Column:
    """A metric's column.

    Attributes:
        metric: Name in `Row.metrics`.
        heading: For a terminal.
        html: For a page.
        meaning: One sentence.
        higher_is_better: Which way is good.
    """

    metric: str
    heading: str
    html: str
    meaning: str
    higher_is_better: bool = False


_COLUMNS = (
    Column("L_1", "L_1", "L<sub>1</sub>", "Shannon cross-entropy −mean log p in nats, teacher-forced"),
    Column(
        "L_1_padded", "padded", "L<sub>1</sub> with padding", "L_1 with padding among the steps to forecast"
    ),
    Column(
        "L_1_residue",
        "L_1/residue",
        "L<sub>1</sub> of residues",
        "L_1 of the residues alone, neither tags nor the end of a protein",
    ),
    Column("L_half", "L_1/2", "L<sub>1/2</sub>", "Rényi-1/2 cross-entropy −2 log mean √p"),
    Column("L_B", "L_B", "L<sub>B</sub>", "the training objective of quantum self-attention"),
    Column("L_1_excess", "L_1 exc.", "L<sub>1</sub> excess", "L_1 above the floor set by the embedding"),
    Column(
        "NMSE", "NMSE", "NMSE", "squared error in units of that of the training split's mean, teacher-forced"
    ),
    Column("MSE", "MSE", "MSE", "mean squared error of a component, teacher-forced"),
    Column("perplexity", "perplexity", "Perplexity", "exp(L_1)"),
    Column("fidelity", "fidelity", "Fidelity", "mean of p, teacher-forced", higher_is_better=True),
    Column("accuracy", "accuracy", "Accuracy", "how often the likeliest token came", higher_is_better=True),
)

GROUPS = {
    "trained": "Trained by gradient",
    "untrained": "Without gradient training",
    "raw": "Without gradient training, seeing raw phases (the dynamics is linear in them)",
    "oracle": "Oracle: told the true couplings",
}


def columns(rows: tuple[Row, ...]) -> list[Column]:
    """The columns in which at least one row has an entry."""
    return [column for column in _COLUMNS if any(column.metric in row.metrics for row in rows)]


def group_of(row: Row, own_convention: str | None) -> str:
    """The group a row is shown in: a key of `GROUPS`."""
    if row.standing == "untrained" and row.phase_convention == "raw" != own_convention:
        return "raw"
    return row.standing


def heading(name: str, evaluation: Evaluation) -> str:
    """The heading of a group; it says which phases are seen where that makes a difference."""
    own = evaluation.provenance.dataset.get("phase_convention")
    if name == "untrained" and own == "first_real":
        return f"{GROUPS[name]}, seeing the same first_real phases as the model"
    return GROUPS[name]


def short_label(row: Row) -> str:
    """The label below a heading that names the phases."""
    return row.label.removesuffix(RAW_SUFFIX)


def grouped(evaluation: Evaluation) -> list[tuple[str, list[Row]]]:
    """The rows by group, in the order of `GROUPS`, empty groups left out."""
    own = evaluation.provenance.dataset.get("phase_convention")
    found = [(name, [row for row in evaluation.rows if group_of(row, own) == name]) for name in GROUPS]
    return [(name, rows) for name, rows in found if rows]


def horizon_cell(row: Row, time_step: float | None, unit: str) -> str:
    """The horizon in steps and in time: ``2 (0.7/J)``."""
    if row.mean_horizon is None:
        return "–"
    if time_step is None or not row.mean_horizon[0]:
        return row.horizon_text
    return f"{row.horizon_text} ({in_time(row.mean_horizon[0] * time_step, unit)})"


def in_time(value: float, unit: str) -> str:
    """A time with its unit.

    >>> in_time(0.7, "1/J"), in_time(2.0, "fs"), in_time(2.0, "")
    ('0.70/J', '2.00 fs', '2.00')
    """
    if unit.startswith("1/"):
        return f"{value:.2f}{unit[1:]}"
    return f"{value:.2f} {unit}".rstrip()


def conditions_line(evaluation: Evaluation) -> str:
    """What was judged on what, in one line."""
    data = evaluation.provenance.dataset
    noun = {"quantum_state": "trajectories", "real": "sequences", "token": "sequences"}[evaluation.kind]
    phases = f", {data['phase_convention']} phases" if data.get("phase_convention") else ""
    amount = f"{evaluation.n_sequences} {noun} of {evaluation.n_steps} steps"
    line = f"{data['name']}, {evaluation.split} split: {amount}{phases}"
    if evaluation.context is not None:
        line += f"; roll-out of {evaluation.rollout_steps} steps from {evaluation.context} states"
    return line


def footnotes(evaluation: Evaluation) -> list[str]:
    """How the figures are to be read."""
    notes = [
        "a ± b: mean and sample standard deviation over seeds; a(b): standard error over sequences "
        "in the last digits."
    ]
    if evaluation.context is not None:
        time = ""
        if evaluation.time_step is not None:
            time = f" A step is {in_time(evaluation.time_step, evaluation.time_unit)}."
        notes.append(
            f"Horizon: roll-out steps before the mean fidelity first falls below {evaluation.threshold:g}; "
            f"0 if the first step already lies below, ≥ n if none of n does; nothing is interpolated.{time}"
        )
    if evaluation.kind == "token":
        notes.append("Cross-entropies are averaged over the steps of a sequence, then over sequences.")
    return notes + list(evaluation.notes)


def text_table(evaluation: Evaluation) -> str:
    """The table for a terminal, about 110 columns wide; the training objective is left to the report."""
    shown = [column for column in columns(evaluation.rows) if column.metric != "L_B"]
    rolled = any(row.horizons for row in evaluation.rows)
    headings = ["", *(column.heading for column in shown)]
    headings += [f"horizon F≥{evaluation.threshold:g}"] if rolled else []
    headings += ["parameters"]
    lines: list[list[str] | str] = [headings]
    for name, rows in grouped(evaluation):
        lines.append(heading(name, evaluation))
        for row in rows:
            seeds = f", {row.n_seeds} seeds" if row.n_seeds > 1 else ""
            cells = [f"  {short_label(row)}{seeds}"]
            cells += [str(row.metrics.get(column.metric, "–")) for column in shown]
            cells += [horizon_cell(row, evaluation.time_step, evaluation.time_unit)] if rolled else []
            cells += ["–" if row.parameters is None else str(row.parameters)]
            lines.append(cells)
    table = [line for line in lines if isinstance(line, list)]
    widths = [max(len(line[place]) for line in table) for place in range(len(headings))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    text = [conditions_line(evaluation), rule]
    for number, line in enumerate(lines):
        if isinstance(line, str):
            text.append(line)
            continue
        aligned = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        text.append("  ".join(aligned).rstrip())
        if number == 0:
            text.append(rule)
    return "\n".join([*text, rule, *footnotes(evaluation), "", evaluation.headline])
