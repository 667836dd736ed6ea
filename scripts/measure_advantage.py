"""Is the advantage that the paper extrapolates to d >~ 119 there? Trains k-QSA up to d = 256 and measures mu.

python scripts/measure_advantage.py --out runs/advantage --document docs/benchmarks
python scripts/measure_advantage.py --out runs/quick --dimensions 8 16 --steps-seen 8 --degrees 1 --updates 20

Every training is a run folder under --out; a killed measurement goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import qdyn
from qdyn.attention.qsa.diagnostics import advantage_threshold, shots_for_precision
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe, read_recipe
from qdyn.data.sequences import SequenceDataset
from qdyn.files import make_folder, replacing, write_json
from qdyn.models.baselines import MeanHamiltonian, Procrustes
from qdyn.models.config import ModelConfig
from qdyn.plotting import BLUE, GREEN, INK, ORANGE, VERMILLION, dress, new_figure
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

LONGEST = 128
TRANSITIONS_AN_UPDATE = 1024
TEST_AT_A_TIME = 16

PAGE = """# Is the claimed advantage there?

Made by `scripts/measure_advantage.py`. arXiv:2602.06699 v2 calls quantum training cheaper than that of
its classical twin where $\\mu > k^2 \\log_2 d\\,/\\,m_k$ with $m_k = \\binom{{d+k-1}}{{k}}$, and
extrapolates from $d \\le 32$ that this happens from $d \\approx 119$ on. Here k-QSA is trained up to $d
= 256$, on chains of $\\log_2 d$ spins (transverse-field Ising, $J, h \\sim U(0.2, 2)$ for each
trajectory, 256 training and 64 test trajectories, time step 0.35): {updates} updates of Adam (2e-2,
cosine), {transitions} transitions an update, W and V brick walls of {layers} layers that start near the
identity (angles from U(0, 0.02); the CNOT rings of the default ansatz start
where F is that of random states: see gradients.md), {seeds} seeds. Figures are means over the test
trajectories, ± the standard deviation over seeds. *Untrained* is W = 1 with the Procrustes unitary of
the training split for V.

## Where mu crosses the threshold

The interval of d in which the mean comes to exceed the threshold by two standard errors.

{crossings}

![mu against d for each degree and number of steps](../images/advantage.png)

## What it means

{verdict}

## Every size

{sizes}
"""


@dataclass(frozen=True)
class Cell:
    """One size, and what was measured there; lists hold one number a seed."""

    dimension: int
    steps_seen: int
    degree: int
    threshold: float
    mu: list[float]
    fidelity: list[float]
    loss_1: list[float]
    untrained_mu: float
    mean_hamiltonian_loss_1: float
    seconds: float

    @property
    def mean(self) -> float:
        """mu, the mean over seeds."""
        return float(np.mean(self.mu))

    @property
    def spread(self) -> float:
        """The standard deviation of mu over seeds."""
        return float(np.std(self.mu, ddof=1)) if len(self.mu) > 1 else math.nan

    @property
    def ratio(self) -> tuple[float, float]:
        """Mu over the threshold: mean and standard error."""
        return self.mean / self.threshold, self.spread / math.sqrt(len(self.mu)) / self.threshold


def recipe(n_sites: int) -> Recipe:
    """The set of arXiv:2602.06699v2, section TFIM, for any number of sites and 128 steps."""
    base = read_recipe("tfim-4q")
    chain = {**base.parameters["hamiltonian"], "n_sites": n_sites}
    return replace(
        base,
        name=f"tfim-{n_sites}q-long",
        splits={"train": 256, "test": 64},
        parameters={**base.parameters, "hamiltonian": chain, "n_steps": LONGEST},
    )


def config(data: SequenceDataset, steps_seen: int, degree: int, options: argparse.Namespace) -> RunConfig:
    """k-QSA with our optimiser; every update sees the same number of transitions at every T."""
    return RunConfig(
        name=f"{degree}-QSA",
        dataset=DatasetConfig(name=data.metadata.name, window=steps_seen, stride=LONGEST),
        model=ModelConfig(
            unitaries="brick_wall",
            kernel="monomial",
            degree=degree,
            layers=options.layers,
            initial_angle=0.02,
        ),
        training=TrainingConfig(
            steps=options.updates,
            batch_size=max(1, TRANSITIONS_AN_UPDATE // steps_seen),
            seeds=tuple(range(options.seeds)),
            evaluate_every=options.updates,
            threads=options.threads,
        ),
    )


def place_of(folder: Path, dimension: int, steps_seen: int, degree: int) -> Path:
    """Where the run of one size is kept."""
    return folder / f"d{dimension}-T{steps_seen}-k{degree}"


def measure(folder: Path, data: SequenceDataset, sizes: tuple[int, int], options: argparse.Namespace) -> Cell:
    """Train one size, or go on with it, and measure the test split."""
    steps_seen, degree = sizes
    dimension = data.metadata.dimension
    began = time.process_time()
    place = place_of(folder, dimension, steps_seen, degree)
    done = place / "cell.json"
    if done.is_file():
        return Cell(**json.loads(done.read_text()))
    run = qdyn.train(
        config(data, steps_seen, degree, options),
        dataset=data,
        out=place / "run",
        resume=(place / "run" / "run.json").is_file(),
        progress=False,
    )
    test = data.split("test").windows(steps_seen, stride=LONGEST)
    found = [observables(cast(nn.Module, model), test) for model in run.models]
    procrustes = Procrustes().fit(data).matrix
    assert procrustes is not None
    twin = MeanHamiltonian().fit(data)
    batch = test.batch(range(len(test)))
    untrained = qdyn.qsa_observables(
        batch.inputs,
        batch.targets,
        torch.eye(dimension, dtype=torch.complex64),
        procrustes.to(torch.complex64),
        kernel="monomial",
        degree=degree,
    )
    forecast = twin.forecast(batch.inputs)
    overlap = (forecast.conj() * batch.targets).sum(-1).abs().square()
    cell = Cell(
        dimension=dimension,
        steps_seen=steps_seen,
        degree=degree,
        threshold=advantage_threshold(degree, dimension),
        mu=[one[0] for one in found],
        fidelity=[one[1] for one in found],
        loss_1=[one[2] for one in found],
        untrained_mu=float(untrained.mu.mean()),
        mean_hamiltonian_loss_1=float(-overlap.log().mean()),
        seconds=round(time.process_time() - began, 1),
    )
    write_json(done, asdict(cell))
    return cell


@torch.no_grad()
def observables(model: torch.nn.Module, test: SequenceDataset) -> tuple[float, float, float]:
    """mu, F and L_1, means over the sequences of the test split."""
    totals = np.zeros(3)
    for start in range(0, len(test), TEST_AT_A_TIME):
        batch = test.batch(range(start, min(start + TEST_AT_A_TIME, len(test))))
        seen = model(batch.inputs, batch.targets, batch.mask)
        totals += [float(value.double().sum()) for value in (seen.mu, seen.fidelity, seen.loss_1)]
    mu, fidelity, loss_1 = totals / len(test)
    return float(mu), float(fidelity), float(loss_1)


def crossing(cells: list[Cell]) -> str:
    """Between which dimensions mu comes to exceed the threshold by two standard errors, for one T and k."""
    above = [cell.ratio[0] - 2 * np.nan_to_num(cell.ratio[1]) > 1 for cell in cells]
    if not any(above):
        return f"not up to {cells[-1].dimension}"
    first = above.index(True)
    if not all(above[first:]):
        return "not monotone"
    return (
        f"at or below {cells[0].dimension}"
        if first == 0
        else f"{cells[first - 1].dimension} to {cells[first].dimension}"
    )


def table(cells: list[Cell], options: argparse.Namespace) -> str:
    """The page of the documentation."""
    lengths = sorted({cell.steps_seen for cell in cells})
    degrees = sorted({cell.degree for cell in cells})
    crossings = ["| T | " + " | ".join(f"k = {k}" for k in degrees) + " |", "|---" * (len(degrees) + 1) + "|"]
    for steps_seen in lengths:
        row = []
        for degree in degrees:
            series = [c for c in cells if (c.steps_seen, c.degree) == (steps_seen, degree)]
            row.append(crossing(sorted(series, key=lambda cell: cell.dimension)) if series else "–")
        crossings.append(f"| {steps_seen} | " + " | ".join(row) + " |")
    sizes = [
        "| d | T | k | mu (test) | threshold | mu / threshold | untrained mu | F (test) | L_1 (test) "
        "| mean Hamiltonian L_1 | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        ratio, error = cell.ratio
        sizes.append(
            f"| {cell.dimension} | {cell.steps_seen} | {cell.degree} | {cell.mean:.2e} ± {cell.spread:.0e} "
            f"| {cell.threshold:.2e} | {ratio:.3g} ± {error:.1g} | {cell.untrained_mu:.2e} "
            f"| {np.mean(cell.fidelity):.3f} | {np.mean(cell.loss_1):.3f} "
            f"| {cell.mean_hamiltonian_loss_1:.3f} | {cell.seconds:.0f} |"
        )
    return PAGE.format(
        updates=options.updates,
        layers=options.layers,
        seeds=options.seeds,
        transitions=TRANSITIONS_AN_UPDATE,
        crossings="\n".join(crossings),
        verdict="\n".join(verdict(cells)),
        sizes="\n".join(sizes),
    )


def verdict(cells: list[Cell]) -> list[str]:
    """What the numbers say, and what they do not."""
    above = [cell for cell in cells if cell.ratio[0] - 2 * np.nan_to_num(cell.ratio[1]) > 1]
    untrained = sum(cell.untrained_mu > cell.threshold for cell in above)
    lost = sum(float(np.mean(cell.loss_1)) > cell.mean_hamiltonian_loss_1 for cell in above)
    smallest = f"; the smallest d is {min(cell.dimension for cell in above)}" if above else ""
    work = [operations(cell) for cell in cells]
    cheaper = "in no size is the circuit cheaper." if min(work) > 1 else "below 1 the circuit is cheaper."
    return [
        f"- mu exceeds the threshold in {len(above)} of {len(cells)} sizes{smallest}.",
        f"- In {untrained} of these {len(above)} it does so untrained, for W = 1 and the Procrustes V.",
        f"- In {lost} of these {len(above)} the trained model forecasts worse than evolution under the mean",
        "  Hamiltonian.",
        f"- mu varies with T as $T^{{{exponent(cells):.2f}}}$ (fit at fixed d and k); the threshold falls as",
        "  $d^{-k}$ whatever is learnt: where the inequality holds is decided by the threshold.",
        "- The threshold sets the circuit against a twin that works in the symmetric space of",
        "  dimension $m_k$. The closed form of this library needs only scores: $T^2 d + 2 T d^2$",
        "  multiplications a sequence, for any k. Measuring L_B to 10 % takes at least $k T d$ loads a run,",
        "  times the runs that mu and F ask for. The ratio of these two counts lies between",
        f"  {min(work):.0e} and {max(work):.0e} over the sizes below:",
        f"  {cheaper}",
    ]


def operations(cell: Cell) -> float:
    """Loads of the measured L_B to 10 % over multiplications of the closed form, one sequence."""
    shots = shots_for_precision(cell.mean, relative_precision=0.1, fidelity=float(np.mean(cell.fidelity)))
    d, steps_seen = cell.dimension, cell.steps_seen
    return shots * cell.degree * steps_seen * d / (steps_seen**2 * d + 2 * steps_seen * d**2)


def exponent(cells: list[Cell]) -> float:
    """A of mu ~ T^a at fixed d and k, by least squares on logarithms with one offset for each (d, k)."""
    x, y = [], []
    for key in {(cell.dimension, cell.degree) for cell in cells}:
        series = [cell for cell in cells if (cell.dimension, cell.degree) == key]
        times = np.log([cell.steps_seen for cell in series])
        values = np.log([cell.mean for cell in series])
        x.extend(times - times.mean())
        y.extend(values - values.mean())
    return float(np.dot(x, y) / np.dot(x, x)) if np.dot(x, x) > 0 else math.nan


def draw(cells: list[Cell], path: Path) -> None:
    """Mu and the threshold against d, a panel for each degree."""
    degrees = sorted({cell.degree for cell in cells})
    lengths = sorted({cell.steps_seen for cell in cells})
    figure = new_figure(4.2 * len(degrees), 4.0)
    styles = dict(
        zip(lengths, [(BLUE, "o"), (VERMILLION, "s"), (GREEN, "^"), (ORANGE, "D"), (INK, "v")], strict=False)
    )
    panels = np.atleast_1d(figure.subplots(1, len(degrees), sharey=True))
    for axes, degree in zip(panels, degrees, strict=True):
        dress(axes, xlabel="dimension $d$ of an element", title=f"k = {degree}")
        dimensions = sorted({cell.dimension for cell in cells if cell.degree == degree})
        thresholds = [advantage_threshold(degree, d) for d in dimensions]
        axes.plot(dimensions, thresholds, color=INK, linestyle="--", label="threshold")
        axes.fill_between(dimensions, thresholds, 1.0, color="#eef0f4", zorder=0)
        for steps_seen in lengths:
            chosen = [c for c in cells if (c.steps_seen, c.degree) == (steps_seen, degree)]
            series = sorted(chosen, key=lambda cell: cell.dimension)
            colour, marker = styles[steps_seen]
            axes.errorbar(
                [c.dimension for c in series],
                [c.mean for c in series],
                yerr=[c.spread for c in series],
                color=colour,
                marker=marker,
                label=f"T = {steps_seen}",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_ylim(1e-5, 1.0)
        axes.set_xticks(dimensions, [str(d) for d in dimensions])
    panels[0].set_ylabel(r"observable $\mu$ (test)")
    panels[0].legend(frameon=False, fontsize=9, loc="lower left", ncols=2)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--document", type=Path, help="folder of the page; the figure goes to ../images")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--steps-seen", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    parser.add_argument("--degrees", type=int, nargs="+", default=[1, 2, 3, 6])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="write the page from what is finished")
    options = parser.parse_args()
    make_folder(options.out)
    torch.set_num_threads(options.threads)
    sizes = [(d, t, k) for d in options.dimensions for t in options.steps_seen for k in options.degrees]
    if options.report:
        sizes = [size for size in sizes if (place_of(options.out, *size) / "cell.json").is_file()]
    cells: list[Cell] = []
    with tqdm(sizes, unit=" sizes", file=sys.stderr) as bar:
        for dimension, steps_seen, degree in bar:
            bar.set_postfix_str(f"d={dimension} T={steps_seen} k={degree}")
            made = recipe(int(math.log2(dimension)))
            data = qdyn.load_dataset(generate(made, options.out / made.name, progress=False))
            cells.append(measure(options.out, data, (steps_seen, degree), options))
    document = options.document or options.out
    page = table(cells, options)
    make_folder(document)
    write_json(document / "advantage.json", [asdict(cell) for cell in cells])
    with replacing(document / "advantage.md") as part:
        part.write_text(page, encoding="utf-8")
    figures = document.parent / "images" if options.document else document
    draw(cells, figures / "advantage.png")
    print(page)


if __name__ == "__main__":
    main()
