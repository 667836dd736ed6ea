"""Gradients at the start of training against qubits and layers: where the plateaus are.

python scripts/measure_gradients.py --document docs/benchmarks
"""

from __future__ import annotations

import argparse
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import qdyn
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.files import make_folder, replacing, write_json
from qdyn.models.config import ModelConfig
from qdyn.plotting import BLUE, GREEN, ORANGE, VERMILLION, dress, new_figure
from qdyn.training.gradient_variance import gradient_variance

STARTS = {
    "rings, angles in U(0, 2π)": ("hardware_efficient", 2 * math.pi, BLUE, "o"),
    "rings, angles in U(0, 0.3)": ("hardware_efficient", 0.3, VERMILLION, "s"),
    "brick wall, angles in U(0, 2π)": ("brick_wall", 2 * math.pi, ORANGE, "D"),
    "brick wall, angles in U(0, 0.02)": ("brick_wall", 0.02, GREEN, "^"),
}


def recipe(n_sites: int) -> Recipe:
    """32 trajectories of the published kind."""
    base = read_recipe("tfim-4q")
    chain = {**base.parameters["hamiltonian"], "n_sites": n_sites}
    return replace(
        base,
        name=f"tfim-{n_sites}q-gradients",
        splits={"train": 32},
        parameters={**base.parameters, "hamiltonian": chain, "n_steps": 16},
    )


def measure(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """One row for each start, depth and number of qubits."""
    rows: list[dict[str, float | str]] = []
    for n_qubits in options.qubits:
        with tempfile.TemporaryDirectory() as folder:
            data = qdyn.load_dataset(generate(recipe(n_qubits), f"{folder}/data", progress=False))
            for label, (unitaries, scale, _, _) in STARTS.items():
                for layers in options.layers:
                    config = ModelConfig(
                        unitaries=unitaries,  # type: ignore[arg-type]
                        kernel="monomial",
                        degree=options.degree,
                        layers=layers,
                        initial_angle=scale,
                    )
                    found = gradient_variance(config, data, starts=range(options.starts), batch_size=8)
                    rows.append(
                        {
                            "start": label,
                            "qubits": n_qubits,
                            "layers": layers,
                            "variance": found.variance,
                            "measured": found.measured,
                            "norm": found.norm,
                            "loss": found.loss,
                        }
                    )
    return rows


def falls_as(rows: list[dict[str, float | str]], quantity: str) -> float:
    """The exponent b of variance ~ 2^(-b n), by least squares on logarithms."""
    logarithms = [math.log2(float(row[quantity])) for row in rows]
    return -float(np.polyfit([float(row["qubits"]) for row in rows], logarithms, 1)[0])


def page(rows: list[dict[str, float | str]], options: argparse.Namespace) -> str:
    """The page of the documentation."""
    n_first, n_last = options.qubits[0], options.qubits[-1]
    lines = [
        "# Gradients at the start of training",
        "",
        f"Made by `scripts/measure_gradients.py`: k-QSA with k = {options.degree} on transverse-field Ising",
        f"chains of {n_first} to {n_last} sites (16 steps, 8 trajectories), {options.starts} starts: the",
        "variance over starts of the derivative by an angle, averaged over the angles, of the loss",
        "$L_B = -\\log F$ and of F itself, which is what shots estimate. *b* is the exponent of a fit",
        "$2^{-bn}$.",
        "",
        f"| start | layers | L_B at n = {n_last} | norm of dL_B | Var dL_B, n = {n_first} | n = {n_last} | b "
        f"| Var dF, n = {n_first} | n = {n_last} | b |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for label in STARTS:
        for layers in options.layers:
            chosen = [row for row in rows if row["start"] == label and row["layers"] == layers]
            cells = [f"{float(chosen[-1]['loss']):.2f}", f"{float(chosen[-1]['norm']):.2f}"]
            for quantity in ("variance", "measured"):
                ends = [float(chosen[place][quantity]) for place in (0, -1)]
                cells += [f"{ends[0]:.1e}", f"{ends[1]:.1e}", f"{falls_as(chosen, quantity):.2f}"]
            lines.append(f"| {label} | {layers} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "![variance of the gradients against qubits](../images/gradients.png)",
        "",
        "In closed form nothing vanishes: the logarithm divides the gradient of F by F. Shots see F: where",
        "it starts at the level of random states, its gradient falls with the number of qubits, and the",
        "shots for a given precision grow. A brick wall near the identity starts nearer to persistence, the",
        "nearer the fewer its layers. Such starts resemble one another, so that the variance over them says",
        "little of the size of the gradient: that is its norm.",
    ]
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, float | str]], path: Path, options: argparse.Namespace) -> None:
    """Both variances against the number of qubits, for the deepest circuits."""
    figure = new_figure(9.0, 3.8)
    layers = options.layers[-1]
    panels = figure.subplots(1, 2)
    for axes, (quantity, name) in zip(panels, (("variance", "L_B"), ("measured", "F")), strict=True):
        dress(axes, xlabel="qubits $n$", ylabel=rf"variance of $\partial {name}/\partial\theta$")
        for label, (_, _, colour, marker) in STARTS.items():
            chosen = [row for row in rows if row["start"] == label and row["layers"] == layers]
            x = [row["qubits"] for row in chosen]
            axes.plot(x, [row[quantity] for row in chosen], color=colour, marker=marker, label=label)
        axes.set_yscale("log")
    panels[0].set_title(f"{layers} layers", loc="left", fontsize=12, fontweight="bold")
    panels[0].legend(frameon=False, fontsize=8.5)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--document", type=Path, required=True, help="folder of the page; the figure goes to ../images"
    )
    parser.add_argument("--qubits", type=int, nargs="+", default=[2, 3, 4, 5, 6, 7])
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 8, 24])
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--starts", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options)
    make_folder(options.document)
    write_json(options.document / "gradients.json", rows)
    text = page(rows, options)
    with replacing(options.document / "gradients.md") as part:
        part.write_text(text, encoding="utf-8")
    images = options.document.parent / "images"
    make_folder(images)
    draw(rows, images / "gradients.png", options)
    print(text)


if __name__ == "__main__":
    main()
