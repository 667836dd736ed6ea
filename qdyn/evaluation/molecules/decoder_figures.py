"""Figures of trained decoders of molecules: losses by epoch, and what one thing is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qdyn.evaluation.molecules.decoder_comparison import Answer, longest
from qdyn.evaluation.molecules.decoder_runs import DecoderVariant, Results
from qdyn.plotting import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Line,
    LineStyle,
    dress,
    legend,
    new_figure,
    plot_lines,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, GREEN, VERMILLION, ORANGE, PURPLE, SKY, INK, MUTED)
_TITLES = {
    (False, False): "Sequences, published settings",
    (True, False): "Told the properties, published settings",
    (False, True): "Sequences, settings of ours",
    (True, True): "Told the properties, settings of ours",
}


def draw_campaign(
    path: Path,
    variants: Mapping[str, DecoderVariant],
    results: Results,
    published: Mapping[str, Sequence[float]],
    found: Sequence[Answer],
) -> Path:
    """Losses by epoch in a panel for each kind of training, and the differences with their intervals.

    Args:
        path: Of the figure.
        variants: Key -> what it is.
        results: Key -> what is finished.
        published: Name -> validation loss after every epoch.
        found: What is told of differences; those of one seed are left out.

    Raises:
        OutputError: it cannot be written.
    """
    shown = [one for key, one in variants.items() if key in results or one.published is not None]
    kinds = [kind for kind in _TITLES if any(_kind(one) == kind for one in shown)]
    sure = [one for one in found if one.interval is not None]
    columns = min(len(kinds), 2)
    rows = -(-len(kinds) // columns)
    heights = [5.6 * rows] + [1.0 + 0.42 * len(sure)] * bool(sure)
    figure = new_figure(6.8 * columns, sum(heights))
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, kind in enumerate(kinds):
        axes = parts[0].add_subplot(rows, columns, place + 1)
        plot_losses(axes, variants, results, published, conditioned=kind[0], tuned=kind[1])
    if sure:
        plot_answers(parts[1].subplots(), variants, sure)
    return save_figure(figure, path)


def plot_losses(
    axes: Axes,
    variants: Mapping[str, DecoderVariant],
    results: Results,
    published: Mapping[str, Sequence[float]],
    *,
    conditioned: bool,
    tuned: bool = False,
) -> Axes:
    """Validation loss by epoch: ours drawn through, the published ones dashed in the same colour.

    Args:
        axes: Where to draw.
        variants: Key -> what it is; of one family in all panels the same colour.
        results: Key -> what is finished; what is shorter than the longest of the panel is left out.
        published: Name -> validation loss after every epoch, beside settings as published.
        conditioned: Which kind is drawn: those told properties, or the others.
        tuned: Likewise: settings of ours, or published ones.
    """
    from matplotlib.ticker import MaxNLocator

    kind = (conditioned, tuned)
    dress(axes, xlabel="epoch", ylabel="validation loss, padding counted", title=_TITLES[kind])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    colours = dict(zip(dict.fromkeys(map(_family, variants.values())), cycle(_COLOURS), strict=False))
    shown = {key: longest(runs) for key, runs in results.items() if _kind(variants[key]) == kind}
    most = max((runs[0].epochs for runs in shown.values()), default=0)
    late: list[np.ndarray] = []
    for key, variant in variants.items():
        colour = colours[_family(variant)]
        lines = []
        if key in shown and shown[key][0].epochs == most:
            curves = np.array([one.validation for one in shown[key]])
            band = curves.std(axis=0, ddof=1) if len(curves) > 1 else None
            lines.append(Line(variant.label, curves.mean(axis=0), band, LineStyle(colour)))
        if variant.published is not None and _kind(variant) == kind:
            style = LineStyle(colour, "--", width=1.1)
            recorded = np.array(published[variant.published])
            lines.append(Line(f"{variant.label}, published", recorded, None, style))
        for line in lines:
            plot_lines(axes, np.arange(1, len(line.y) + 1), [line])
            late.append(line.y[min(2, len(line.y) // 5) :])
    # The first epochs are far above, and single ones later: the rest could not be told apart.
    low, high = np.min(np.concatenate(late)), np.quantile(np.concatenate(late), 0.98)
    margin = max(0.1 * (high - low), 1e-3)
    axes.set_ylim(low - margin, high + margin)
    for drawn in axes.lines:
        drawn.set_clip_on(True)
    legend(axes, fontsize=9, ncols=2, columnspacing=1.2, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return axes


def plot_answers(axes: Axes, variants: Mapping[str, DecoderVariant], found: Sequence[Answer]) -> Axes:
    """Differences of paired losses, seed by seed, with 95 % intervals; left of zero the first is better.

    Args:
        axes: Where to draw.
        variants: Key -> what it is.
        found: Of two seeds or more each.
    """
    dress(axes, xlabel="padded loss of the first minus that of the second", title="What one thing is worth")
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=":")
    names = []
    for row, one in enumerate(found):
        low, high = one.interval or (one.mean, one.mean)
        axes.plot([low, high], [row, row], color=BLUE, linewidth=2.4, solid_capstyle="butt")
        axes.plot(one.differences, [row] * len(one.seeds), "o", color=INK, alpha=0.45, markersize=3.5)
        axes.plot([one.mean], [row], "D", color=BLUE, markersize=6)
        first, second = (variants[key] for key in (one.question.first, one.question.second))
        told = ", told" if first.conditioned else ""
        names.append(f"{first.label}{told} − {second.label} ({one.epochs} epochs)")
    axes.set_yticks(range(len(found)), names, fontsize=9.5)
    axes.set_ylim(len(found) - 0.5, -0.5)
    return axes


def _kind(variant: DecoderVariant) -> tuple[bool, bool]:
    return variant.conditioned, variant.tuned


def _family(variant: DecoderVariant) -> str:
    """What variants that differ in their settings alone have in common."""
    return variant.label.removesuffix(", tuned")
