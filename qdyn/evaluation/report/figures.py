"""The figures of a report: which curves go where, and the captions that say what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qdyn import plotting
from qdyn.evaluation.evaluation import Evaluation
from qdyn.evaluation.report.table import conditions_line
from qdyn.evaluation.results import Curve, Row
from qdyn.plotting import CHANCE_STYLE, MODEL_STYLE, OTHER_STYLES, Line, LineStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Which baselines are drawn, in this order; a figure with every one of them could not be read.
_DRAWN = (
    "identification",
    "mean_hamiltonian",
    "procrustes",
    "in_context_procrustes",
    "in_context_procrustes (raw)",
    "in_context",
    "persistence",
    "mean",
    "bigram",
    "unigram",
    "least_squares",
    "chance",
)
_MOST_LINES = 6

_LOSS_LABELS = {
    "L_B": r"$L_B$",
    "L_A": r"$L_A$",
    "L_half": r"$L_{1/2}$",
    "L_1": r"$L_1$",
    "v1": r"$-\log\mu_{v1}$",
    "MSE": "mean squared error",
    "MSE_last": "squared error at the last position",
}


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its words.

    Attributes:
        name: File name without suffix.
        title: Heading.
        caption: What is drawn: split, seeds, bands, units.
        alt: What it shows, for readers who cannot see it.
        figure: The drawing.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


def figures(evaluation: Evaluation) -> list[ReportFigure]:
    """Every figure that the evaluation has the data for."""
    made = [_forecasts(evaluation)]
    if evaluation.example is not None:
        made.append(_example(evaluation))
    if evaluation.training is not None and len(evaluation.training.steps):
        made.append(_training(evaluation))
    if evaluation.attention is not None:
        made.append(_attention(evaluation))
    return made


def styles(evaluation: Evaluation) -> dict[str, LineStyle]:
    """The line style of each row that is drawn, the same in every figure."""
    judged = [row.key for row in evaluation.rows if row.standing == "trained"] or [evaluation.rows[0].key]
    known = {row.key for row in evaluation.rows}
    others = [key for key in judged[1:] if key in known]
    others += [key for key in _DRAWN if key in known and key not in judged and key != "chance"]
    chosen = {judged[0]: MODEL_STYLE}
    chosen |= dict(zip(others[: _MOST_LINES - 1], OTHER_STYLES, strict=False))
    if "chance" in known:
        chosen["chance"] = CHANCE_STYLE
    return chosen


def _lines(evaluation: Evaluation, curves: Mapping[str, Curve]) -> list[Line]:
    """Lines of the rows that are drawn; models with several seeds have a band."""
    return [
        Line(_label(evaluation.row(key)), curves[key].mean, curves[key].std, style)
        for key, style in styles(evaluation).items()
        if key in curves
    ]


def _label(row: Row) -> str:
    return f"{row.label} ({row.n_seeds} seeds)" if row.n_seeds > 1 else row.label


def _band(evaluation: Evaluation) -> str:
    spread = [row for row in evaluation.rows if row.n_seeds > 1]
    if not spread:
        return "One predictor a line, so there are no bands."
    count = spread[0].n_seeds
    return f"Band: ± one standard deviation over the {count} seeds (it may be thinner than the line)."


def _forecasts(evaluation: Evaluation) -> ReportFigure:
    if evaluation.kind == "quantum_state":
        return _fidelity(evaluation)
    figure = plotting.new_figure(9.6, 4.6)
    axes = figure.add_subplot()
    noun = "probability of the token that came" if evaluation.kind == "token" else "squared overlap"
    if any("NMSE" in row.metrics for row in evaluation.rows):
        noun = "squared error (training mean: 1)"
    plotting.dress(axes, xlabel="elements seen, $j$", ylabel=f"mean {noun}")
    plotting.plot_lines(
        axes, np.arange(1, evaluation.n_steps + 1), _lines(evaluation, evaluation.teacher_forced)
    )
    axes.set_ylim(0, None)
    axes.set_xlim(1, max(2, evaluation.n_steps))
    plotting.shared_legend(figure, axes)
    return ReportFigure(
        name="forecast",
        title="Forecast against position",
        caption=f"{conditions_line(evaluation)}. Teacher-forced: each step sees the true elements before it. "
        f"{_band(evaluation)}",
        alt=f"Line chart of the mean {noun} against the number of elements seen, a line for each predictor. "
        + _ends(evaluation, evaluation.teacher_forced),
        figure=figure,
    )


def _fidelity(evaluation: Evaluation) -> ReportFigure:
    figure = plotting.new_figure(10.4, 5.2)
    left, right = figure.subplots(1, 2, sharey=True)
    unit = f" ({evaluation.time_unit})" if evaluation.time_unit else ""
    plotting.plot_fidelity(
        left,
        np.arange(1, evaluation.n_steps + 1),
        _lines(evaluation, evaluation.teacher_forced),
        xlabel="states seen, $j$",
        title="Teacher-forced, one step ahead",
        time_step=evaluation.time_step,
        time_label=f"time of the forecast state{unit}",
    )
    plotting.plot_fidelity(
        right,
        np.arange(1, evaluation.rollout_steps + 1),
        _lines(evaluation, evaluation.rolled_out),
        xlabel=f"roll-out steps after {evaluation.context} states",
        title="Rolled out",
        threshold=evaluation.threshold,
        time_step=evaluation.time_step,
        time_label=f"time since the last true state{unit}",
    )
    right.set_ylabel("")
    plotting.shared_legend(figure, left, columns=2)
    return ReportFigure(
        name="fidelity",
        title="Fidelity against horizon",
        caption=f"{conditions_line(evaluation)}. Left: each forecast sees the true states before it. Right: "
        f"after {evaluation.context} true states a predictor sees its own forecasts; the horizon is where "
        f"its line crosses F = {evaluation.threshold:g}. {_band(evaluation)} "
        "The exact evolution is 1 throughout.",
        alt="Two line charts of mean fidelity. " + _ends(evaluation, evaluation.rolled_out),
        figure=figure,
    )


def _ends(evaluation: Evaluation, curves: Mapping[str, Curve]) -> str:
    parts = [
        f"{evaluation.row(key).label} from {curves[key].mean[0]:.2f} to {curves[key].mean[-1]:.2f}"
        for key in styles(evaluation)
        if key in curves
    ]
    return "First and last values: " + "; ".join(parts) + "."


def _example(evaluation: Evaluation) -> ReportFigure:
    example = evaluation.example
    assert example is not None
    assert evaluation.context is not None
    figure = plotting.new_figure(10.4, 5.4)
    panels = figure.subplots(len(example.exact), 1, sharex=True, squeeze=False)[:, 0]
    chosen = styles(evaluation)
    for place, (axes, (name, exact)) in enumerate(zip(panels, example.exact.items(), strict=True)):
        lines = []
        for number, (key, values) in enumerate(example.forecast.items()):
            found = values[name]
            spread = found.std(axis=0, ddof=1) if len(found) > 1 else None
            style = chosen.get(key, OTHER_STYLES[number])
            lines.append(Line(_label(evaluation.row(key)), found.mean(axis=0), spread, style))
        plotting.plot_observable(
            axes,
            example.times,
            exact,
            lines,
            context=evaluation.context,
            xlabel=f"time ({evaluation.time_unit})"
            if place == len(panels) - 1 and evaluation.time_unit
            else "",
            ylabel=name,
        )
    panels[0].annotate(
        f"{evaluation.context} states seen", (0.01, 0.97), xycoords="axes fraction", ha="left", va="top",
        color=plotting.MUTED, fontsize=10,
    )  # fmt: skip
    plotting.shared_legend(figure, panels[0])
    drawn = " and ".join(evaluation.row(key).label for key in example.forecast)
    return ReportFigure(
        name="magnetisation",
        title="Magnetisation, forecast and exact",
        caption=f"Trajectory {example.index} of the {evaluation.split} split: the one whose rolled-out "
        f"fidelity is the median. Site averages along x (top) and z (bottom); states up to the end of the "
        f"shaded part are given, all later ones forecast. {_band(evaluation)}",
        alt=f"Two line charts of magnetisation against time, exact and as forecast by {drawn}.",
        figure=figure,
    )


def _training(evaluation: Evaluation) -> ReportFigure:
    training = evaluation.training
    assert training is not None
    figure = plotting.new_figure(9.6, 4.4)
    axes = figure.add_subplot()
    name = "L_1" if "L_1" in training.validation else next(iter(training.validation), None)
    seeds = training.loss.shape[1]
    mean = f", mean of {seeds} seeds" if seeds > 1 else ""
    plotting.plot_training(
        axes,
        training.steps,
        training.loss,
        loss_label=f"{_LOSS_LABELS[training.loss_name]} of the mini-batch{mean}",
        validation_steps=training.validation_steps,
        validation=None if name is None else training.validation[name],
        validation_label="" if name is None else f"{_LOSS_LABELS.get(name, name)}, validation split",
    )
    bars = " Bars: ± one standard deviation over seeds." if seeds > 1 and name else ""
    each = "Thin lines: the mini-batch loss of each seed. " if seeds > 1 else ""
    return ReportFigure(
        name="training",
        title="Training",
        caption=f"{each}Validation after whole passes over the validation split.{bars}",
        alt=f"Line chart of the training loss against steps, {training.loss[0].mean():.2f} at first and "
        f"{training.loss[-1].mean():.2f} at last.",
        figure=figure,
    )


def _attention(evaluation: Evaluation) -> ReportFigure:
    weights = evaluation.attention
    assert weights is not None
    figure = plotting.new_figure(6.6, 5.4)
    axes = figure.add_subplot()
    image: Any = plotting.plot_attention(axes, weights)
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.set_label("mean weight", color=plotting.INK, fontsize=11)
    bar.ax.tick_params(colors=plotting.INK, labelsize=10)
    bar.outline.set_visible(False)
    last = weights[-1]
    lead = next(row for row in evaluation.rows if row.standing == "trained")
    return ReportFigure(
        name="attention",
        title="Attention",
        caption=f"{_label(lead)}: how much of step j's forecast rests on element i ≤ j: the modulus of the "
        f"weight g(s), each row summing to 1, averaged over seeds and the {evaluation.n_sequences} sequences "
        f"of the {evaluation.split} split. The colour scale is quadratic, so that small weights show.",
        alt="Triangular heat map of attention weights. In the last step the present element has weight "
        f"{last[-1]:.2f}, the first one {last[0]:.2f}.",
        figure=figure,
    )
