"""Figures of generated molecules: their properties, attention over a SMILES, and the molecules themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from qdyn.data.molecules.properties import PROPERTIES
from qdyn.data.molecules.rdkit_calls import import_rdkit
from qdyn.evaluation.molecules.generation import AttentionMap, GeneratedMolecules, count_text, property_label
from qdyn.evaluation.molecules.sampling_campaign import drawn_mean
from qdyn.evaluation.report.figures import ReportFigure
from qdyn.plotting import BLUE, INK, MUTED, VERMILLION, dress, legend, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 32
# RDKit's colours of bonds and elements, by the page's names for colours of the same meaning.
_DRAWN_COLOURS = {
    "#000000": "var(--ink)",
    "#FF0000": "var(--vermillion)",
    "#0000FF": "var(--blue)",
    "#33CCCC": "var(--green)",
    "#3B3B3B": "var(--ink)",
}


def plot_property(
    axes: Axes,
    sampled: Float[np.ndarray, " draws"],
    trained: Float[np.ndarray, " molecules"] | None,
    *,
    name: str,
    target: float | None = None,
) -> Axes:
    """How often each value of a property comes among molecules drawn, and among those trained on.

    Args:
        axes: Where to draw.
        sampled: Of the valid draws.
        trained: Of the training molecules.
        name: One of `PROPERTIES`.
        target: A value to mark, and the mean of ``sampled`` with it.
    """
    dress(axes, xlabel=property_label(name))
    both = [values for values in (sampled, trained) if values is not None]
    edges = _edges(np.concatenate(both)).tolist()
    weights = [np.full(len(values), 1 / len(values)) for values in both]
    axes.hist(sampled, bins=edges, weights=weights[0], color=BLUE, alpha=0.45, label="drawn")
    if trained is not None:
        axes.hist(
            trained, bins=edges, weights=weights[1], histtype="step", color=INK, linewidth=1.4,
            label="trained on",
        )  # fmt: skip
    if target is not None:
        axes.axvline(float(sampled.mean()), color=BLUE, linewidth=1.8, label="mean drawn")
        axes.axvline(target, color=VERMILLION, linewidth=1.8, linestyle="--", label="target")
        # A target may lie outside of all that is known.
        edges = [min(edges[0], target), *edges, max(edges[-1], target)]
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(_few_ticks(integer=_are_whole(np.concatenate(both))))
    axes.yaxis.set_major_locator(_few_ticks())
    return axes


def plot_words_attention(axes: Axes, shown: AttentionMap, *, first: int = 0) -> Any:
    """A map of attention over the words of a SMILES, row i the step after word i; returns the image.

    Colour is linear in the weight times the length of the row, so that 1 is uniform attention in every row.

    Args:
        axes: Where to draw.
        shown: The map.
        first: Leave out the words before this one; 1 leaves out [CLS].
    """
    count = len(shown.words)
    lower = np.tril(np.ones((count, count), dtype=np.bool_))
    relative = np.ma.masked_array(shown.weights * np.arange(1, count + 1)[:, None], mask=~lower)[
        first:, first:
    ]
    dress(axes, xlabel="word attended to", ylabel="step after word")
    axes.grid(visible=False)
    deviation = max(1e-6, float(np.abs(relative - 1).max()))
    image = axes.imshow(
        relative, cmap="RdBu_r", vmin=1 - deviation, vmax=1 + deviation, interpolation="nearest"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(count - first), shown.words[first:], fontsize=9.5, family="monospace")
    axes.tick_params(axis="x", rotation=90)
    return image


def property_figure(generated: GeneratedMolecules) -> ReportFigure:
    """The nine properties of what was drawn, beside those of what was trained on."""
    figure = new_figure(10.5, 7.2)
    places = figure.subplots(3, 3).ravel()
    values = generated.judged.valid_properties
    known = {} if generated.training is None else generated.training.properties
    goals: Mapping[str, float] = generated.settings["targets"]
    for axes, name, column in zip(places, PROPERTIES, values.T, strict=True):
        plot_property(axes, column, known.get(name), name=name, target=goals.get(name))
    for axes in places[::3]:
        axes.set_ylabel("share", color=INK, fontsize=11.5)
    _legend_below(figure, places)
    beside = " (filled) and of the molecules trained on (line)" if known else ""
    asked = ", dashed the target and through the mean drawn" if goals else ""
    return ReportFigure(
        name="properties",
        title="Properties",
        caption=f"Shares of {count_text(len(values))} valid draws, repeats included{beside}{asked}. Of "
        "continuous properties the outermost 0.1 % on either side are not drawn.",
        alt="Nine histograms, one for each property. "
        + ", ".join(f"{one.name}: mean {one.mean}" for one in generated.figures.properties),
        figure=figure,
    )


def attention_figure(shown: AttentionMap, *, model: str) -> ReportFigure:
    """Attention over one molecule, with its colour bar."""
    figure = new_figure(6.4, 5.6)
    axes = figure.subplots()
    image = plot_words_attention(axes, shown)
    _attention_bar(figure, axes, image)
    last = shown.weights[-1]
    strongest = int(last.argmax())
    return ReportFigure(
        name="attention",
        title="Attention",
        caption=f"{model}, {shown.smiles}: how the step after each word spreads its attention over the words "
        "up to it, times their number. 1 is what uniform attention gives.",
        alt=f"Triangular heat map. The last step attends most to word {strongest + 1}, "
        f"{shown.words[strongest]}, with weight {last[strongest]:.3f}; uniform attention would give "
        f"{1 / len(last):.3f}.",
        figure=figure,
    )


def attention_row(maps: Sequence[tuple[str, AttentionMap]]) -> Figure:
    """Attention over one molecule by several models, three in a row, [CLS] left out as in arXiv:2502.19214.

    Args:
        maps: What to call each model, and its map.
    """
    columns = min(len(maps), 3)
    rows = -(-len(maps) // columns)
    figure = new_figure(5.8 * columns, 5.2 * rows)
    for place, (name, shown) in enumerate(maps):
        axes = figure.add_subplot(rows, columns, place + 1)
        image = plot_words_attention(axes, shown, first=1)
        axes.set_title(name, color=INK, fontsize=11, fontweight="bold", loc="left")
        _attention_bar(figure, axes, image)
    return figure


def targets_figure(
    experiments: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Sequence[float]]
) -> Figure:
    """For each property the mean drawn against the target, ours and published.

    Args:
        experiments: See `qdyn.evaluation.molecules.sampling_campaign.gather_drawn`.
        theirs: Experiment -> published validity, uniqueness, novelty and mean.
    """
    figure = new_figure(11, 7.5)
    for place, asked in enumerate(PROPERTIES):
        label = property_label(asked)
        axes = dress(figure.add_subplot(3, 3, place + 1), xlabel="target", ylabel="mean drawn", title=label)
        for side in ("lower", "upper"):
            name = f"{side}_{asked}"
            if name not in experiments:
                continue
            one = experiments[name]
            goal, ours, recorded = one["settings"]["targets"][asked], drawn_mean(one, asked), theirs.get(name)
            axes.axline((goal, goal), slope=1, color=MUTED, linewidth=1, linestyle=":", label="target")
            if ours is not None:
                error = ours.standard_error or 0.0
                axes.errorbar(goal, ours.mean, error, color=BLUE, marker="o", ls="", label="drawn here")
            if recorded is not None:
                axes.plot(goal, recorded[-1], color=VERMILLION, marker="x", ls="", label="published")
    _legend_below(figure, figure.axes)
    return figure


def molecule_svg(smiles: str, *, width: int = 210, height: int = 150) -> str:
    """A molecule as an ``<svg>`` element in the colours of a page.

    Args:
        smiles: Valid.
        width: In pixels.
        height: Likewise.

    Example:
        >>> drawn = molecule_svg("CCO")
        >>> drawn[:4], "var(--vermillion)" in drawn, "#000000" in drawn
        ('<svg', True, False)
    """
    chem = import_rdkit()
    from rdkit.Chem.Draw import rdMolDraw2D

    canvas = rdMolDraw2D.MolDraw2DSVG(width, height)
    # RDKit's stubs take its fields for options of options.
    options: Any = canvas.drawOptions()
    options.clearBackground = False
    options.bondLineWidth = 1.6
    options.padding = 0.08
    options.fixedBondLength = 32
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, chem.MolFromSmiles(smiles))
    canvas.FinishDrawing()
    text = canvas.GetDrawingText()
    text = text[text.index("<svg") :].replace("<svg", f"<svg role='img' aria-label='{smiles}'", 1)
    for colour, name in _DRAWN_COLOURS.items():
        text = re.sub(colour, name, text, flags=re.IGNORECASE)
    return text


def _attention_bar(figure: Figure, axes: Axes, image: Any) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("weight, in units of uniform attention", color=INK, fontsize=11)
    bar.outline.set_visible(False)
    # The colours go as far below 1 as above, but no weight is negative.
    low, high = image.get_clim()
    bar.ax.set_ylim(max(0.0, low), high)


def _legend_below(figure: Figure, places: Iterable[Axes]) -> None:
    """What stands in any of the axes, once."""
    handles = {
        label: handle
        for axes in places
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    legend(figure, handles=list(handles.values()), labels=list(handles), loc="outside lower center", ncols=4)


def _edges(values: Float[np.ndarray, " values"]) -> Float[np.ndarray, " edges"]:
    """A bin for each whole number where there are no others, else `_BINS` over all but the outermost."""
    if _are_whole(values):
        return np.arange(values.min() - 0.5, values.max() + 1)
    low, high = np.quantile(values, [0.001, 0.999])
    return np.linspace(low, max(high, low + 1e-6), _BINS + 1)


def _are_whole(values: Float[np.ndarray, " values"]) -> bool:
    return bool((values == np.round(values)).all())


def _few_ticks(*, integer: bool = False) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6 if integer else 4, integer=integer)


def shown_first(generated: GeneratedMolecules, count: int) -> Sequence[tuple[str, bool | None]]:
    """The first so many distinct molecules of some drawn, and whether each was not trained on."""
    judged = generated.judged
    first: dict[str, bool | None] = {}
    for form, new in zip(judged.canonical, judged.is_novel, strict=True):
        if form is not None:
            first.setdefault(form, new)
    return list(first.items())[:count]
