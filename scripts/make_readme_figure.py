"""Draw the README's picture and fill in its table from a finished demo.

Usage: python scripts/make_readme_figure.py [DEMO_FOLDER]     (default: qdyn-demo, where `qdyn demo` writes)

Writes docs/images/demo.png, and everything between the two marks of README.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from qdyn.evaluation.results import with_error
from qdyn.files import write_text
from qdyn.plotting import (
    BLUE,
    CHANCE_STYLE,
    EXACT_STYLE,
    INK,
    MODEL_STYLE,
    MUTED,
    OTHER_STYLES,
    Line,
    LineStyle,
    new_figure,
    plot_fidelity,
    save_figure,
)

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- demo: begin -->", "<!-- demo: end -->"
# What is drawn beside the trained model: enough to see who wins where, few enough to tell apart.
RIVALS: dict[str, tuple[str, LineStyle]] = {
    "exact": ("exact evolution, told J and h", EXACT_STYLE),
    "in_context_procrustes (raw)": ("in-context least squares, raw phases", OTHER_STYLES[1]),
    "mean_hamiltonian": ("mean Hamiltonian", OTHER_STYLES[0]),
    "procrustes": ("one unitary", OTHER_STYLES[4]),
    "in_context_procrustes": ("in-context least squares", OTHER_STYLES[2]),
    "persistence": ("persistence", OTHER_STYLES[5]),
    "chance": ("chance", CHANCE_STYLE),
}


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else "qdyn-demo")
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    curves = json.loads((folder / "curves.json").read_text(encoding="utf-8"))
    if json.loads((folder / "demo.json").read_text(encoding="utf-8"))["quick"]:
        raise SystemExit(f"{folder} is a quick demo, whose figures mean nothing.")
    draw(table, curves, ROOT / "docs" / "images" / "demo.png")
    fill(ROOT / "README.md", markdown(table))


def draw(table: dict[str, Any], curves: dict[str, Any], path: Path) -> None:
    """Fidelity along the roll-out on the left, the figures of the same rows on the right."""
    rows = {row["key"]: row for row in table["rows"]}
    model = table["rows"][0]
    shown = {model["key"]: (f"{model['label']}, {model['seeds']} seeds", MODEL_STYLE), **RIVALS}
    rolled = curves["rolled_out"]
    figure = new_figure(11.5, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    plot_fidelity(
        left,
        rolled["step"],
        [
            Line(
                label,
                np.array(rolled["rows"][key]["mean"]),
                None if rolled["rows"][key]["std"] is None else np.array(rolled["rows"][key]["std"]),
                style,
            )
            for key, (label, style) in shown.items()
        ],
        xlabel=f"steps rolled out, after {table['context']} states were seen",
        threshold=table["horizon_threshold"],
        time_step=rolled["time_step"],
        time_label=f"time rolled out, in {rolled['time_unit']}",
    )
    _write_table(right, [(rows[key], label, style) for key, (label, style) in shown.items()])
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)


def _write_table(axes: Any, rows: list[tuple[dict[str, Any], str, LineStyle]]) -> None:
    """The legend of the curves, with the figures that belong to them."""
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(rows) + 0.6, -0.9)
    columns = ((0.75, "$L_1$"), (0.885, "fidelity"), (1.0, "horizon"))
    for place, heading in columns:
        axes.text(place, -0.35, heading, ha="right", va="center", color=MUTED, fontsize=10.5)
    axes.axhline(0.1, color=MUTED, linewidth=0.8)
    for number, (row, label, style) in enumerate(rows):
        y = number + 0.7
        axes.plot(
            (0, 0.055), (y, y), color=style.colour, linestyle=style.dash, linewidth=style.width,
            marker=style.marker or None, markersize=4, markevery=(1, 2), clip_on=False,
        )  # fmt: skip
        model = row["standing"] == "trained"
        look = {"va": "center", "fontsize": 10.5, "color": BLUE if model else INK}
        look |= {"fontweight": "bold"} if model else {}
        axes.text(0.075, y, label, ha="left", **look)
        cells = (f"{mean(row, 'L_1'):.3f}", f"{mean(row, 'fidelity'):.3f}", horizon(row))
        for (place, _), cell in zip(columns, cells, strict=True):
            axes.text(place, y, cell, ha="right", **look)


def markdown(table: dict[str, Any]) -> list[str]:
    """Every row of the demo's table."""
    head = [
        "| predictor | sees phases | $L_1$ | fidelity | horizon | parameters |",
        "|---|---|---|---|---|---|",
    ]
    body = []
    for row in table["rows"]:
        label = row["label"].removesuffix(", raw phases")
        if row["standing"] == "trained":
            label = f"**{label}**, {row['seeds']} seeds, trained"
        if row["standing"] == "oracle":
            label = f"*{label}*"
        cells = [label, row["phase_convention"], cell(row, "L_1"), cell(row, "fidelity"), horizon(row)]
        body.append(f"| {' | '.join(cells)} | {row['parameters']} |")
    note = (
        f"Test split of `{table['dataset']['name']}`, {table['sequences']} trajectories. a ± b: mean and "
        "standard deviation over seeds; a(b): standard error over trajectories in the last digits. Horizon: "
        f"steps of a roll-out from {table['context']} states before the mean fidelity first falls below "
        f"{table['horizon_threshold']:g}."
    )
    return [*head, *body, "", note]


def cell(row: dict[str, Any], metric: str) -> str:
    found = row["metrics"][metric]
    if found["std"] is not None:
        return f"{found['mean']:.3f} ± {found['std']:.3f}"
    return with_error(found["mean"], found["standard_error"])


def mean(row: dict[str, Any], metric: str) -> float:
    return float(row["metrics"][metric]["mean"])


def horizon(row: dict[str, Any]) -> str:
    found = row["horizon"]
    return f"{'≥ ' if found['lower_bound'] else ''}{found['steps']:.3g}"


def fill(path: Path, lines: list[str]) -> None:
    """Replace what stands between the marks."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{path} lacks the marks {BEGIN} and {END}.")
    write_text(path, "\n".join([before + BEGIN, "", *lines, "", END + after]))


if __name__ == "__main__":
    main(sys.argv[1:])
