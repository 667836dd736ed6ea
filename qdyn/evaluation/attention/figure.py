"""The figure of a comparison with controls: every seed of every contestant, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qdyn.evaluation.attention.comparison import TaskFindings
from qdyn.models.matched import role_of
from qdyn.plotting import BLUE, INK, MUTED, ORANGE, SKY, VERMILLION, dress, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

_COLOURS = {"quantum": BLUE, "frozen": SKY, "classical": VERMILLION, "removed": ORANGE}
_COLUMNS = 3


def draw_comparison(found: Mapping[str, TaskFindings], path: Path) -> None:
    """A panel a task: every seed as a dot, rows ordered by the mean; the best control as a line.

    The best predictor without gradient training is a dashed line where it lies among the trained ones.

    Args:
        found: Task -> what was found, at least one.
        path: The figure's file.
    """
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    tallest = max(len(one.results) for one in found.values())
    figure = new_figure(5.2 * columns, (1.4 + 0.24 * tallest) * rows)
    for place, (task, one) in enumerate(found.items()):
        axes = dress(figure.add_subplot(rows, columns, place + 1), title=task)
        figures, untrained = one.figures, one.untrained
        order = sorted(figures, key=lambda name: -figures[name].mean)
        for row, name in enumerate(order):
            colour = _COLOURS[role_of(name)]
            seeds = figures[name].of_each_seed
            axes.plot(seeds, [row] * len(seeds), "o", color=colour, markersize=3.5, alpha=0.6, linewidth=0)
            axes.plot([figures[name].mean], [row], "|", color=colour, markersize=12, markeredgewidth=2)
        axes.set_yticks(range(len(order)), order, fontsize=8.5)
        if one.said.control is not None:
            axes.axvline(figures[one.said.control].mean, color=INK, linewidth=0.9)
        shown = f"${one.metric}$" if "_" in one.metric else one.metric
        axes.set_xlabel(f"test {shown}")
        if untrained:
            best = min(untrained, key=lambda name: untrained[name].mean)
            reached = untrained[best].mean
            axes.set_xlabel(f"test {shown}\nnot trained: {best}, {reached:.3g}", fontsize=8.5)
            low, high = axes.get_xlim()
            if low < reached < high:
                axes.axvline(reached, color=MUTED, linewidth=0.9, linestyle="--")
    present = {role_of(name) for one in found.values() for name in one.results}
    handles = [
        _key(role, color=colour, marker="o", linewidth=0, markersize=5)
        for role, colour in _COLOURS.items()
        if role in present
    ]
    handles.append(_key("best control", color=INK, linestyle="-"))
    handles.append(_key("best without gradient training", color=MUTED, linestyle="--"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)


def _key(label: str, **style: object) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style)  # type: ignore[arg-type]
