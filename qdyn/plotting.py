"""Figures: pure functions that draw arrays on axes and return the axes; no global state of pyplot is touched.

Colours are Okabe and Ito's, told apart under every common colour blindness; lines differ in style as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qdyn.errors import ArgumentError, OutputError
from qdyn.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, SHADE = "#1b1c20", "#5d6069", "#dfe2e7", "#eef0f4"
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)

_DASHED, _DASH_DOT, _DOTTED = (0, (5, 2)), (0, (6, 2, 1.2, 2)), (0, (1.2, 1.6))


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn.

    Attributes:
        colour: Hexadecimal.
        dash: A matplotlib line style.
        marker: A matplotlib marker, "" for none.
        width: In points.
    """

    colour: str
    dash: Any = "-"
    marker: str = ""
    width: float = 1.8


MODEL_STYLE = LineStyle(BLUE, width=2.6)
EXACT_STYLE = LineStyle(INK, width=1.6)
OTHER_STYLES = (
    LineStyle(VERMILLION, _DASHED),
    LineStyle(GREEN, _DASH_DOT),
    LineStyle(PURPLE, _DOTTED, width=2.2),
    LineStyle(PURPLE, marker="o", width=1.4),
    LineStyle(ORANGE, _DASHED, marker="s", width=1.4),
    LineStyle(SKY, _DASH_DOT, marker="^", width=1.4),
)
CHANCE_STYLE = LineStyle(MUTED, _DOTTED, width=1.4)


@dataclass(frozen=True)
class Line:
    """A line with a band.

    Attributes:
        label: For the legend.
        y: (points,).
        spread: (points,), half the height of the band, or None.
        style: How it is drawn.
    """

    label: str
    y: NDArray[np.floating]
    spread: NDArray[np.floating] | None = None
    style: LineStyle = MODEL_STYLE


def new_figure(width: float, height: float) -> Figure:
    """A figure of ``width`` by ``height`` inches that keeps its labels apart; it belongs to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def dress(axes: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> Axes:
    """Give axes the house's look: two thin spines, a light grid behind, a title on the left."""
    axes.set_facecolor("none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=MUTED, linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=10.5, length=3.5, width=0.8, color=MUTED)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel, color=INK, fontsize=11.5)
    axes.set_ylabel(ylabel, color=INK, fontsize=11.5)
    if title:
        axes.set_title(title, color=INK, fontsize=12, fontweight="bold", loc="left")
    return axes


def plot_lines(axes: Axes, x: ArrayLike, lines: Sequence[Line]) -> Axes:
    """Draw lines with their bands over a common ``x`` (points,).

    Raises:
        ArgumentError: a line has another number of points than ``x``.
    """
    places = np.asarray(x)
    for order, line in enumerate(reversed(lines)):
        if line.y.shape != places.shape:
            raise ArgumentError(
                f"Argument `lines` must have {len(places)} points each, but {line.label!r} is {line.y.shape}."
            )
        style = line.style
        axes.plot(
            places,
            line.y,
            color=style.colour,
            linestyle=style.dash,
            linewidth=style.width,
            marker=style.marker or None,
            markersize=4,
            markevery=max(1, len(places) // 8),
            label=line.label,
            zorder=3 + order,
            clip_on=False,
        )
        if line.spread is not None:
            low, high = line.y - line.spread, line.y + line.spread
            axes.fill_between(
                places, low, high, color=style.colour, alpha=0.25, linewidth=0, zorder=2.5 + order
            )
    return axes


def plot_fidelity(
    axes: Axes,
    steps: ArrayLike,
    lines: Sequence[Line],
    *,
    xlabel: str,
    threshold: float | None = None,
    time_step: float | None = None,
    time_label: str = "time",
    title: str = "",
) -> Axes:
    """Fidelity in [0, 1] against steps, with a second axis in time where the spacing is known.

    Args:
        axes: Where to draw.
        steps: (points,) numbers of steps.
        lines: Drawn first to last, the first on top.
        xlabel: Of the axis in steps.
        threshold: A level to mark.
        time_step: Spacing of the steps in time.
        time_label: Of the axis in time.
        title: Above the axes.
    """
    dress(axes, xlabel=xlabel, ylabel="mean fidelity", title=title)
    if threshold is not None:
        axes.axhline(threshold, color=MUTED, linewidth=0.9, zorder=1)
        axes.annotate(
            f"F = {threshold:g}", (0.995, threshold), xycoords=("axes fraction", "data"), xytext=(0, 2),
            textcoords="offset points", ha="right", va="bottom", color=MUTED, fontsize=9.5,
        )  # fmt: skip
    plot_lines(axes, steps, lines)
    places = np.asarray(steps)
    axes.set_ylim(0, 1.0)
    axes.set_xlim(places[0], max(places[-1], places[0] + 1))
    _whole_numbers(axes.xaxis)
    if time_step is not None:
        top = axes.secondary_xaxis("top", functions=(_times(time_step), _times(1 / time_step)))
        top.set_xlabel(time_label, color=MUTED, fontsize=10)
        top.tick_params(colors=MUTED, labelsize=9.5, length=3, width=0.8)
        top.spines["top"].set(color=GRID, linewidth=0.8)
    return axes


def plot_training(
    axes: Axes,
    steps: ArrayLike,
    loss: NDArray[np.floating],
    *,
    loss_label: str,
    validation_steps: ArrayLike | None = None,
    validation: NDArray[np.floating] | None = None,
    validation_label: str = "",
) -> Axes:
    """Training curves: a thin line a seed, their mean, and the validation figure with its spread.

    The axis is logarithmic where the loss falls by more than a factor of 4, so that its end can be read.

    Args:
        axes: Where to draw.
        steps: (lines,).
        loss: (lines, seeds).
        loss_label: Of the loss, in mathtext.
        validation_steps: (evaluations,).
        validation: (evaluations, seeds).
        validation_label: Of the validation figure.
    """
    dress(axes, xlabel="training step", ylabel="loss (nats)")
    places = np.asarray(steps)
    for number, one in enumerate(loss.T):
        label = "one seed" if number == 0 and loss.shape[1] > 1 else None
        axes.plot(places, one, color=SKY, linewidth=0.9, alpha=0.8, zorder=2, label=label)
    axes.plot(places, loss.mean(axis=1), color=BLUE, linewidth=2.2, zorder=3, label=loss_label)
    if validation is not None and validation_steps is not None and len(validation):
        spread = validation.std(axis=1, ddof=1) if validation.shape[1] > 1 else None
        axes.errorbar(
            np.asarray(validation_steps), validation.mean(axis=1), yerr=spread, color=VERMILLION, marker="o",
            markersize=5, linestyle="--", linewidth=1.6, capsize=3, zorder=4, label=validation_label,
        )  # fmt: skip
    axes.set_xlim(0, max(places[-1], 1))
    finite = loss[np.isfinite(loss)]
    if len(finite) and finite.min() > 0 and finite.max() > 4 * finite.min():
        _logarithmic(axes)
    else:
        axes.set_ylim(min(0.0, float(finite.min(initial=0.0))), None)
    legend(axes)
    return axes


def plot_observable(
    axes: Axes,
    times: ArrayLike,
    exact: NDArray[np.floating],
    forecasts: Sequence[Line],
    *,
    context: int,
    xlabel: str,
    ylabel: str,
) -> Axes:
    """An observable along one trajectory: exact throughout, forecasts after the context, which is shaded.

    Args:
        axes: Where to draw.
        times: (elements,).
        exact: (elements,).
        forecasts: Lines of (steps,) values from element ``context`` on.
        context: Elements seen before the roll-out.
        xlabel: Of the time axis.
        ylabel: Of the observable.
    """
    dress(axes, xlabel=xlabel)
    axes.set_ylabel(ylabel, color=INK, fontsize=14)
    moments = np.asarray(times)
    axes.axvspan(moments[0], moments[context - 1], color=SHADE, linewidth=0, zorder=0)
    for line in forecasts:
        # The forecast hangs on the last element seen.
        x = moments[context - 1 : context + len(line.y)]
        y = np.concatenate([exact[context - 1 : context], line.y])
        spread = None if line.spread is None else np.concatenate([[0.0], line.spread])
        plot_lines(axes, x, [Line(line.label, y, spread, line.style)])
    axes.plot(
        moments, exact, color=EXACT_STYLE.colour, linewidth=EXACT_STYLE.width, marker="o", markersize=3.5,
        zorder=8, label="exact",
    )  # fmt: skip
    axes.set_xlim(moments[0], moments[-1])
    return axes


def plot_attention(
    axes: Axes,
    weights: NDArray[np.floating],
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
) -> Any:
    """A map of attention weights (steps, elements), row j the step; returns the image, for a colour bar.

    The square root of a weight is linear in colour, so that small weights can be told from none; where some
    are negative, colours diverge from 0. The future of a step is left blank where none of it is seen.

    Args:
        axes: Where to draw.
        weights: Real, (T, T).
        labels: What the elements are, such as words, for both axes; None numbers them from 1.
        title: Above the map.

    Raises:
        ArgumentError: not as many labels as elements.
    """
    from matplotlib.colors import CenteredNorm, Normalize, PowerNorm

    dress(axes, xlabel="element attended to, $i$", ylabel="step, $j$", title=title)
    axes.grid(visible=False)
    steps = len(weights)
    ahead = np.triu(np.ones(weights.shape, dtype=np.bool_), k=1)
    causal = not weights[ahead].any()
    signed = bool((weights < 0).any())
    largest = max(float(np.abs(weights).max()), 1e-12)
    norm: Normalize = CenteredNorm(0.0, largest) if signed else PowerNorm(0.5, vmin=0.0, vmax=largest)
    image = axes.imshow(
        np.ma.masked_array(weights, mask=ahead & causal),
        cmap="RdBu_r" if signed else "viridis",
        norm=norm,
        interpolation="nearest",
        extent=(0.5, steps + 0.5, steps + 0.5, 0.5),
        aspect="equal",
    )
    if labels is None:
        for axis in (axes.xaxis, axes.yaxis):
            _whole_numbers(axis)
        return image
    if len(labels) != steps:
        raise ArgumentError(
            f"Argument `labels` must name the {steps} elements, but holds {len(labels)} names."
        )
    places = range(1, steps + 1)
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels)
    return image


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=8, integer=True))


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: np.asarray(value) * factor


def legend(holder: Any, **options: Any) -> Any:
    """A legend in the house's look, on axes or below a figure."""
    settings: dict[str, Any] = {"frameon": False, "fontsize": 10.5, "labelcolor": INK, "handlelength": 2.8}
    return holder.legend(**(settings | options))


def shared_legend(figure: Figure, axes: Axes, *, columns: int = 3) -> None:
    """One legend for a figure, below its axes, in the order the lines were given."""
    handles, labels = axes.get_legend_handles_labels()
    legend(
        figure,
        handles=handles[::-1],
        labels=labels[::-1],
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.8,
    )


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, by the suffix of ``path``, in one step and on white.

    Raises:
        OutputError: it cannot be written, or the suffix is another.
    """
    if path.suffix not in (".png", ".svg"):
        raise OutputError(f"A figure is saved as .png or .svg, but the path is {path}.")
    with replacing(path) as beside, _reproducible():
        # The date is left out: the same figure is the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(beside, format=path.suffix[1:], dpi=200, facecolor="white", metadata=metadata)
    return path


def to_svg(figure: Figure, *, colours: Mapping[str, str], prefix: str, description: str) -> str:
    """A figure as an ``<svg>`` element to put into a page.

    Args:
        figure: The figure.
        colours: Hexadecimal colour -> what to write for it, such as ``var(--ink)``, so that a page can have a
            dark mode.
        prefix: Put before every id, so that several figures can live in one page.
        description: What a reader who cannot see it is told.
    """
    import html
    import io
    import re

    buffer = io.StringIO()
    with _reproducible():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="#|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for colour, replacement in colours.items():
        text = re.sub(re.escape(colour), replacement, text, flags=re.IGNORECASE)
    label = html.escape(description, quote=True)
    # The width is the page's business; the view box keeps the proportions.
    opening = re.sub(r'\s(width|height)="[^"]*"', "", text[: text.index(">")])
    opening = opening.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return opening + text[text.index(">") :]


def _reproducible() -> Any:
    from matplotlib import rc_context

    return rc_context({"svg.hashsalt": "qdyn", "svg.fonttype": "path"})
