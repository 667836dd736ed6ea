"""What every HTML page shares: its colours, its figures, and how its template is filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qdyn.evaluation.report.figures import ReportFigure
from qdyn.plotting import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SHADE,
    SKY,
    VERMILLION,
    save_figure,
    to_svg,
)

if TYPE_CHECKING:
    import jinja2

# The page's names for the figures' colours, so that its dark mode can brighten them.
PAGE_COLOURS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    SHADE: "var(--shade)",
    BLUE: "var(--blue)",
    VERMILLION: "var(--vermillion)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
    ORANGE: "var(--orange)",
    SKY: "var(--sky)",
}


def environment() -> jinja2.Environment:
    """Where the templates of pages are found; what is put into them is escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("qdyn.evaluation"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def saved_figures(drawn: Sequence[ReportFigure], folder: Path) -> list[dict[str, str]]:
    """Write figures into ``folder``/figures as PNG and SVG, and give what a template needs to show them.

    Raises:
        OutputError: one cannot be written.
    """
    for one in drawn:
        for suffix in ("png", "svg"):
            save_figure(one.figure, folder / "figures" / f"{one.name}.{suffix}")
    return [
        {
            "name": one.name,
            "title": one.title,
            "caption": one.caption,
            "svg": to_svg(one.figure, colours=PAGE_COLOURS, prefix=one.name, description=one.alt),
        }
        for one in drawn
    ]
