"""The figure of a circuit's analysis: fidelities against random states, gradients, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qdyn.circuits.analysis.expressibility import Expressibility
from qdyn.circuits.analysis.summary import CircuitAnalysis
from qdyn.plotting import BLUE, INK, MUTED, OTHER_STYLES, SHADE, VERMILLION, dress, legend, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_analysis(found: CircuitAnalysis) -> Figure:
    """Three panels: shares of fidelities, the variance of each derivative, what noise leaves."""
    figure = new_figure(13.0, 3.9)
    panels = figure.subplots(1, 3 if found.noise else 2)
    draw_fidelities(panels[0], found.expressibility, title=found.name)
    _draw_gradients(panels[1], found)
    if found.noise:
        _draw_noise(panels[2], found)
    return figure


def draw_fidelities(axes: Axes, found: Expressibility, *, title: str = "") -> Axes:
    """Pairs in each bin over what random states put there, in bins of equal probability.

    The band is one standard deviation of the sample: random states stay in it in two bins of three.
    """
    dress(axes, xlabel="rank of the fidelity among random states", ylabel="pairs / expected", title=title)
    ratio = found.observed / found.expected
    places = np.linspace(0, 1, len(ratio) + 1)
    sigma = np.sqrt((1 - found.expected) / (found.pairs * found.expected))
    axes.stairs(1 + sigma, places, baseline=1 - sigma, fill=True, color=SHADE, zorder=1)
    axes.axhline(1.0, color=MUTED, linewidth=0.9, zorder=2)
    axes.stairs(ratio, places, baseline=None, color=BLUE, linewidth=1.6, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(2.0, 1.05 * float(ratio.max())))
    said = f"$D$ = {found.divergence:.1e} nats\nrandom states {found.random_level:.1e}"
    axes.annotate(
        said, (0.97, 0.05), xycoords="axes fraction", ha="right", va="bottom", color=INK, fontsize=10
    )
    return axes


def _draw_gradients(axes: Axes, found: CircuitAnalysis) -> None:
    name = r"variance of $\partial\langle Z\rangle/\partial w$"
    dress(axes, xlabel="weight, by its variance", ylabel=name)
    for gradient, style, label in (
        (found.local, OTHER_STYLES[0], "one $Z$"),
        (found.mean_z, OTHER_STYLES[1], "mean of the $Z$ read"),
    ):
        ordered = np.sort(gradient.of_each.numpy())[::-1]
        shown = ordered[: gradient.moving]
        axes.plot(
            np.arange(1, len(shown) + 1), shown, color=style.colour, linestyle=style.dash,
            marker="o", markersize=3, label=f"{label}: {gradient.moving} of {gradient.weights} move it",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, found.weights + 1)
    legend(axes, loc="lower left", fontsize=9.5)


def _draw_noise(axes: Axes, found: CircuitAnalysis) -> None:
    dress(axes, xlabel="error rate a gate", ylabel="what noise leaves")
    for kind, colour in (("depolarising", BLUE), ("amplitude damping", VERMILLION)):
        rows = [one for one in found.noise if one.noise == kind]
        if not rows:
            continue
        rates = [one.rate for one in rows]
        for values, errors, dash, what in (
            ([one.fidelity for one in rows], [one.fidelity_error for one in rows], "-", "fidelity"),
            ([one.signal for one in rows], [one.signal_error for one in rows], "--", "signal"),
        ):
            axes.errorbar(
                rates, values, yerr=errors, color=colour, linestyle=dash, marker="o", markersize=4, capsize=3,
                label=f"{what}, {kind}",
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 1.05)
    legend(axes, fontsize=9.5)
