"""Draw docs/images/disorder.png: imbalance and entropy of disordered chains, alone and dephasing.

Usage: python scripts/draw_disorder.py [--sites N] [--realisations N] [--out FILE]

The example of docs/quench.md on twelve sites and with 100 realisations; about a minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import qdyn
from qdyn.plotting import (
    BLUE,
    VERMILLION,
    Line,
    LineStyle,
    dress,
    new_figure,
    plot_lines,
    save_figure,
    shared_legend,
)
from qdyn.quantum.observable import Observable

ROOT = Path(__file__).resolve().parents[1]
TIMES = np.linspace(0, 10, 81)
STRENGTHS = (1.0, 8.0)
PANELS = {"imbalance": "imbalance", "entanglement_entropy": "entropy of half the chain (nat)"}
DEPHASING = 0.1


def simulate(sites: int, realisations: int) -> dict[str, qdyn.Trajectory]:
    """Trajectories by what the legend calls them."""
    random = np.random.default_rng(1)
    staggered = qdyn.PauliSum({f"Z{site}": (-1) ** site / sites for site in range(sites)}, n_sites=sites)
    measured: list[str | Observable] = [
        qdyn.operator_mean(staggered, name="imbalance"),
        "entanglement_entropy",
    ]
    neel, found = "01" * (sites // 2), {}
    for strength in STRENGTHS:
        chains = qdyn.XXZ(n_sites=sites, field=random.uniform(-strength, strength, (realisations, sites)))
        found[f"W = {strength:g} J"] = qdyn.evolve(chains, neel, TIMES, observables=measured, store="none")
        found[f"W = {strength:g} J, dephasing"] = qdyn.quantum_jumps(
            chains,
            neel,
            TIMES,
            channels=qdyn.dephasing(DEPHASING),
            trajectories=realisations,
            seed=2,
            observables=measured,
            store="none",
        )
    return found


def average(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over realisations and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def main() -> None:
    """Simulate and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--realisations", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "disorder.png")
    options = parser.parse_args()
    found = simulate(options.sites, options.realisations)
    styles = [LineStyle(colour, dash) for colour in (BLUE, VERMILLION) for dash in ("-", "--")]
    figure = new_figure(9, 3.8)
    for axes, (name, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        lines = [
            Line(what, *average(traj.expectations[name].numpy()), style)
            for (what, traj), style in zip(found.items(), styles, strict=True)
        ]
        plot_lines(dress(axes, xlabel="time (1/J)", ylabel=label), TIMES, lines)
        axes.set_xlim(TIMES[0], TIMES[-1])
    shared_legend(figure, figure.axes[0], columns=4)
    save_figure(figure, options.out)


if __name__ == "__main__":
    main()
