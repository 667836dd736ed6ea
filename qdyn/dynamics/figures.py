"""Figures of trajectories: space-time maps, light cones, entropy, energy, any expectation value as a line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn import plotting
from qdyn.errors import ArgumentError, nearest
from qdyn.plotting import BLUE, GRID, INK, MUTED, Line, LineStyle
from qdyn.quantum.correlators import connected_correlators
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.observables import site_magnetisation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qdyn.dynamics.trajectory import Quantity

Index = int | Literal["mean"]

# Blue is negative, red positive, white nought; told apart under every common colour blindness.
_DIVERGING = "RdBu_r"
_WIDTH, _HEIGHT = 5.6, 3.5
# Up to this fraction of its size, a change of the energy is an error of the computation and not physics.
_CONSERVED = 1e-3
# Values this small are rounding errors of nought.
_NOTHING = 1e-9
_KINDS = (
    *(f"{kind}_{axis}" for kind in ("magnetisation", "site_magnetisation", "correlator") for axis in "xyz"),
    *("entanglement_entropy", "energy", "energy_drift", "energy_variance", "loschmidt_echo", "purity"),
)


@dataclass(frozen=True)
class Source:
    """What there is to draw.

    Attributes:
        title: what is drawn, for people.
        times: (times,), in 1/J.
        n_sites: number of sites.
        batch_size: number of trajectories; None where there is no batch axis.
        expectations: by name, ([batch], times, *axes).
        quantities: their labels, units and axes.
        measure: the values of an observable from stored states, of one trajectory or of all; None where no
            states are stored.
        initial_state: the states at t = 0, where they are stored.
        hamiltonian: H, where it is known.
        pure: whether the states are pure.
    """

    title: str
    times: NDArray[np.float64]
    n_sites: int
    batch_size: int | None
    expectations: Mapping[str, Tensor]
    quantities: Mapping[str, Quantity]
    measure: Callable[[Observable, Index], Tensor] | None
    initial_state: Tensor | None
    hamiltonian: Hamiltonian | None
    pure: bool = True


@dataclass(frozen=True)
class _Panel:
    """One quantity, of one trajectory or the mean of all: (times,), or (times, sites) for a map."""

    label: str
    values: NDArray[Any]
    error: NDArray[Any] | None = None
    centre: int | None = None
    logarithmic: bool = False


def plot(
    source: Source,
    quantity: str | Sequence[str] | None,
    *,
    index: Index,
    ax: Axes | None,
    front: float | None,
) -> Figure:
    """Draw panels, one a quantity; see `Trajectory.plot`."""
    _check_index(source, index)
    if len(source.times) < 2:
        raise ArgumentError(f"A figure needs at least 2 times, but there is {len(source.times)}.")
    names = _choose(source, index) if quantity is None else quantity
    listed = [names] if isinstance(names, str) else list(names)
    if ax is not None and (quantity is None or len(listed) != 1):
        raise ArgumentError(
            f"Argument `ax` takes one panel, but `quantity` asks for {len(listed)}: name one of {listed}."
        )
    panels = [_find(source, name, index) for name in listed]
    if ax is not None:
        _draw(ax, source, panels[0], front)
        return cast("Figure", ax.figure)
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = plotting.new_figure(_WIDTH * columns, _HEIGHT * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, panel in enumerate(panels):
        _draw(grid.flat[place], source, panel, front)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    which = "" if source.batch_size is None else f"trajectory {index} of {source.batch_size}; "
    if index == "mean":
        which = f"mean of {source.batch_size} trajectories; "
    title = textwrap.fill(
        which + source.title, width=125 if columns == 2 else 62, max_lines=2, placeholder=" …"
    )
    figure.suptitle(title, color=MUTED, fontsize=10, x=0.01, ha="left")
    return figure


def _check_index(source: Source, index: Index) -> None:
    if index == "mean":
        if source.batch_size is None:
            raise ArgumentError("Argument `index` is 'mean', but there is a single trajectory.")
    elif not isinstance(index, int) or not 0 <= index < (source.batch_size or 1):
        raise ArgumentError(
            f"Argument `index` must be 'mean' or from 0 to {(source.batch_size or 1) - 1}, but is {index!r}."
        )


def _choose(source: Source, index: Index) -> list[str]:
    """What is worth a panel: what is held, and what stored states give at little cost."""
    held = list(source.expectations)
    maps = [name for name in held if name.startswith("site_magnetisation")]
    cones = [name for name in held if name.startswith("connected_correlators")]
    entropies = [name for name in held if name.startswith("entanglement_entropy")]
    if not maps and source.measure:
        # By symmetry the magnetisation along an axis may vanish for ever: then another one is worth a panel.
        axes = [f"site_magnetisation_{axis}" for axis in "zxy"]
        maps = [
            next(
                (name for name in axes if np.abs(_find(source, name, index).values).max() > _NOTHING), axes[0]
            )
        ]
    chosen = list(maps)
    if source.pure and source.measure and source.n_sites > 2:
        cones = cones or ["correlator_z"]
    if source.pure and source.measure and source.n_sites > 1:
        entropies = entropies or ["entanglement_entropy"]
    chosen = [*chosen, *cones, *entropies]
    if "energy" in held or (source.hamiltonian is not None and source.measure):
        energy = _find(source, "energy", index).values
        small = np.ptp(energy) < _CONSERVED * max(1.0, float(np.abs(energy).max()))
        chosen.append("energy_drift" if small else "energy")
    lines = [name for name in held if source.expectations[name].ndim == 1 + (source.batch_size is not None)]
    chosen += [name for name in lines if name not in chosen and name != "energy"]
    if not chosen:
        raise ArgumentError(
            f"Nothing can be plotted: this trajectory holds no states and, as expectation values, "
            f"{', '.join(held) or 'none'}."
        )
    return chosen


def _find(source: Source, name: str, index: Index) -> _Panel:
    """The panel called ``name``, from what is held or else from the states."""
    if name == "energy_drift":
        # Of each trajectory by itself: the drift of a mean would be a sum of errors of either sign.
        each = range(source.batch_size or 1) if index == "mean" else [index]
        energies = [_find(source, "energy", one).values for one in each]
        drift = np.mean([np.abs(energy - energy[0]) for energy in energies], axis=0)
        return _Panel(r"energy drift $|E(t) - E(t_0)|$ (J)", drift, logarithmic=True)
    for known in _synonyms(source, name):
        if known in source.expectations:
            quantity = source.quantities[known]
            return _select(source, known, quantity.label, quantity.unit, source.expectations[known], index)
    observable = _observable(source, name, index)
    if source.measure is None:
        held = ", ".join(source.expectations) or "none"
        raise ArgumentError(
            f"Argument `quantity` is {name!r}, but this trajectory holds no states and, of expectation "
            f"values, {held}."
        )
    if not source.pure and not observable.is_linear:
        raise ArgumentError(f"Argument `quantity` is {name!r}, which is not linear in the density matrix.")
    values = source.measure(observable, index)
    single = index if isinstance(index, str) else None
    return _select(source, observable.name, observable.label, observable.unit, values, single)


def _synonyms(source: Source, name: str) -> list[str]:
    """The names under which a quantity may be held, the richest first."""
    if found := re.fullmatch("magnetisation_([xyz])", name):
        return [f"site_{name}", name]
    if found := re.fullmatch("correlator_([xyz])", name):
        start = f"connected_correlators_{found[1]}_"
        return [held for held in source.expectations if held.startswith(start)]
    return [name]


def _observable(source: Source, name: str, index: Index) -> Observable:
    if found := re.fullmatch("(site_)?magnetisation_([xyz])", name):
        return site_magnetisation(found[2])  # type: ignore[arg-type]
    if found := re.fullmatch("correlator_([xyz])", name):
        return connected_correlators(found[1], source.n_sites // 2)  # type: ignore[arg-type]
    hamiltonian = source.hamiltonian
    if hamiltonian is not None and hamiltonian.batch_size is not None and isinstance(index, int):
        hamiltonian = hamiltonian.member(index)
    start = source.initial_state
    if start is not None and start.ndim == 2 and isinstance(index, int):
        start = start[index]
    try:
        times = torch.from_numpy(source.times)
        return named_observable(name, source.n_sites, hamiltonian, start, times)
    except ArgumentError as problem:
        if "unknown name" not in str(problem):
            raise
        known = [*_KINDS, *source.expectations]
        raise ArgumentError(f"Argument `quantity` is {name!r}: {nearest(name, known)}") from None


def _select(  # noqa: PLR0917
    source: Source, name: str, label: str, unit: str, values: Tensor, index: Index | None
) -> _Panel:
    """Take one trajectory, or the mean of all with its standard error; None where it is one already."""
    found = values.detach().double().numpy(force=True)
    error = None
    if source.batch_size is not None and index is not None:
        if index == "mean":
            if len(found) > 1:
                error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
            found = found.mean(axis=0)
        else:
            found = found[index]
    if found.ndim > 2 or (found.ndim == 2 and found.shape[1] != source.n_sites):
        raise ArgumentError(
            f"Argument `quantity` is {name!r}, which has no figure: it is more than one number."
        )
    if found.ndim == 2 and found.shape[1] == 1:
        found, error = found[:, 0], None if error is None else error[:, 0]
    centre = re.fullmatch(r"connected_correlators_[xyz]_(\d+)", name)
    if name.startswith("entanglement_entropy"):
        label = f"entanglement entropy {label}"
    text = label if unit == "1" else f"{label} ({unit.replace('^2', '$^2$')})"
    return _Panel(text, found, error, int(centre[1]) if centre else None)


def _draw(axes: Axes, source: Source, panel: _Panel, front: float | None) -> None:
    if panel.values.ndim == 2:
        _draw_map(axes, source, panel, front)
        return
    plotting.dress(axes, xlabel="time (1/J)", ylabel=panel.label)
    if panel.logarithmic:
        _draw_logarithmic(axes, source.times, panel.values)
    else:
        line = Line("", panel.values, panel.error, LineStyle(BLUE, width=2.0))
        plotting.plot_lines(axes, source.times, [line])
        spread = float(np.ptp(panel.values))
        # A constant is drawn as one, not as its rounding errors.
        if spread < 1e-9 * max(1.0, float(np.abs(panel.values).max())):
            middle = float(panel.values.mean())
            axes.set_ylim(middle - 0.5 * max(1.0, abs(middle)), middle + 0.5 * max(1.0, abs(middle)))
    axes.set_xlim(source.times[0], source.times[-1])


def _draw_logarithmic(axes: Axes, times: NDArray[Any], values: NDArray[Any]) -> None:
    """Values on a logarithmic axis; a nought has no place there and leaves a gap."""
    shown = np.where(values > 0, values, np.nan)
    axes.semilogy(times, shown, color=BLUE, linewidth=1.2, marker=".", markersize=5, clip_on=False)
    # Whole decades, at least three of them: the digits of rounding errors mean nothing.
    high = 10.0 ** np.ceil(np.log10(max(float(values.max()), 1e-15)))
    low = 10.0 ** np.floor(np.log10(max(float(np.nanmin(shown, initial=high)), 1e-18)))
    axes.set_ylim(min(low, high / 1e3), high)
    if not np.any(values > 0):
        axes.annotate(
            "no drift at all", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED, fontsize=11
        )


def _draw_map(axes: Axes, source: Source, panel: _Panel, front: float | None) -> None:
    """A map of sites over time, white at nought, colours symmetric about it.

    Correlators are shown by the square root of their size, so that the front can be told from nothing; the
    site itself, which is no correlation, is left out.
    """
    from matplotlib.colors import FuncNorm, Normalize
    from matplotlib.ticker import MaxNLocator

    plotting.dress(axes, xlabel="time (1/J)", ylabel="site")
    axes.grid(visible=False)
    axes.set_facecolor(GRID)
    values = np.ma.masked_invalid(panel.values.T.copy())
    if panel.centre is not None:
        values[panel.centre] = np.ma.masked
    largest = float(np.abs(values).max() or 0.0)
    largest = largest if largest > _NOTHING else 1.0
    norm: Normalize = Normalize(-largest, largest)
    if panel.centre is not None:
        norm = FuncNorm((_signed_root, _signed_square), vmin=-largest, vmax=largest)
    sites = np.arange(source.n_sites)
    image = axes.pcolormesh(
        source.times, sites, values, cmap=_DIVERGING, norm=norm, shading="nearest", rasterized=True
    )
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=18)
    bar.set_label(panel.label, color=INK, fontsize=12)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9.5, color=MUTED)
    if panel.centre is not None:
        bar.set_ticks([-largest, -largest / 4, 0, largest / 4, largest])
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        if front is not None:
            _draw_front(axes, source.times, panel.centre, front)
    axes.set_xlim(source.times[0], source.times[-1])
    axes.set_ylim(-0.5, source.n_sites - 0.5)


def _draw_front(axes: Axes, times: NDArray[Any], centre: int, speed: float) -> None:
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=3, foreground="white")]
    for direction in (1, -1):
        axes.plot(
            times, centre + direction * speed * np.abs(times), color=INK, linewidth=1.4, linestyle="--",
            path_effects=outline, label=f"{speed:.3g} sites per 1/J" if direction == 1 else None,
        )  # fmt: skip
    plotting.legend(
        axes,
        loc="upper right",
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=0.85,
        fontsize=9.5,
    )


def _signed_root(values: Any) -> Any:
    return np.sign(values) * np.sqrt(np.abs(values))


def _signed_square(values: Any) -> Any:
    return np.sign(values) * np.square(values)
