"""Measure how the time of a training step grows with T, d, k, L and the number of seeds: fitted exponents.

    python scripts/measure_cost_growth.py [--rounds 7] [--page docs/benchmarks/qsa-cost.md] [--json FILE]

One step is forward, backward and Adam on random states; polynomial kernel, hardware-efficient circuits,
complex64, one thread. One size is varied at a time around T = 32, d = 16, k = 4, L = 32, 4 seeds, batches of
32. CPU time, the median over rounds in which all sizes take turns, so that what else the machine does falls
on all of them. An exponent is the slope of log time over log size, by least squares over all sizes and
between the two largest. Beside it the same slopes of the number of complex multiplications. Circuits of 6
qubits and more are applied gate by gate, so that the last step in d changes the method.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from qdyn import haar_random_states
from qdyn.data.sequences import SequenceMetadata
from qdyn.files import write_json, write_text
from qdyn.models.config import ModelConfig
from qdyn.models.registry import build_model
from qdyn.training.config import TrainingConfig
from qdyn.training.ensembles import Ensemble
from qdyn.training.record import versions

BATCH, QUBITS_GATE_BY_GATE = 32, 6
WARM_UP = 2


@dataclass(frozen=True)
class Size:
    """What a step's time depends on."""

    steps: int = 32
    dimension: int = 16
    degree: int = 4
    layers: int = 32
    seeds: int = 4

    @property
    def multiplications(self) -> float:
        """Complex multiplications of the forward pass; the derivative takes about twice as many again."""
        t, d, qubits = self.steps, self.dimension, int(np.log2(self.dimension))
        # Two circuits: products of layer matrices, or 2 x 2 gates and CNOTs on the d columns of the unitary.
        layer = d**3 if qubits < QUBITS_GATE_BY_GATE else 2 * qubits * d**2
        attention = 2 * t * d**2 + 2 * t**2 * d + self.degree * t**2
        return self.seeds * (2 * self.layers * layer + BATCH * attention)


AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "steps": ("T", (8, 16, 32, 64, 128, 256)),
    "dimension": ("d", (4, 8, 16, 32, 64)),
    "degree": ("k", (1, 2, 4, 8, 16, 32)),
    "layers": ("L", (8, 16, 32, 64, 128)),
    "seeds": ("seeds", (1, 2, 4, 8, 16)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--page", type=Path, help="write the page here")
    parser.add_argument("--json", type=Path, help="write the times here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    sizes = {
        dataclasses.replace(Size(), **{name: value}) for name, (_, values) in AXES.items() for value in values
    }
    seconds = measure(sorted(sizes, key=dataclasses.astuple), rounds=options.rounds)
    lines = page_lines(seconds, rounds=options.rounds, load=load)
    if options.page is not None:
        write_text(options.page, "\n".join(lines) + "\n")
    if options.json is not None:
        rows = [
            dataclasses.asdict(size)
            | {"cpu_seconds": times.tolist(), "multiplications": size.multiplications}
            for size, times in seconds.items()
        ]
        write_json(options.json, rows)
    print("\n".join(lines))


def measure(sizes: list[Size], *, rounds: int) -> dict[Size, np.ndarray]:
    """CPU seconds of a step of each size, (rounds,)."""
    steps = {size: training_step(size) for size in sizes}
    seconds: dict[Size, list[float]] = {size: [] for size in sizes}
    for turn in range(-WARM_UP, rounds):
        for size, step in steps.items():
            began = time.process_time()
            step()
            if turn >= 0:
                seconds[size].append(time.process_time() - began)
    return {size: np.array(values) for size, values in seconds.items()}


def training_step(size: Size) -> Callable[[], None]:
    """One step as `qdyn.train` takes it, on random states."""
    metadata = SequenceMetadata("random", "quantum_state", size.dimension, phase_convention="raw")
    config = ModelConfig(layers=size.layers, degree=size.degree)
    models = []
    for seed in range(size.seeds):
        model = build_model(config, metadata, seed=seed)
        assert isinstance(model, nn.Module)
        models.append(model)
    ensemble = Ensemble(models)
    optimiser = torch.optim.Adam(
        list(ensemble.parameters.values()), lr=TrainingConfig().learning_rate, fused=True
    )
    count = size.seeds * BATCH * (size.steps + 1)
    states = haar_random_states(n_qubits=int(np.log2(size.dimension)), batch=count, seed=0)
    states = states.to(torch.complex64).reshape(size.seeds, BATCH, size.steps + 1, size.dimension)
    inputs, targets = states[:, :, :-1].contiguous(), states[:, :, 1:].contiguous()
    mask = torch.ones(size.seeds, BATCH, size.steps, dtype=torch.bool)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        ensemble.losses("L_B", inputs, targets, mask).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def page_lines(seconds: dict[Size, np.ndarray], *, rounds: int, load: float) -> list[str]:
    """The page as Markdown."""
    lines = [
        "# Cost of a QSA training step",
        "",
        "Written by `python scripts/measure_cost_growth.py`, whose first lines say how it measures.",
        "",
        f"{platform.system()}, {platform.machine()}, {os.cpu_count()} CPUs; torch {versions()['torch']}; "
        f"{rounds} rounds, load average {load:.1f} at the start.",
        "",
        "| varied | sizes | ms a step | exponent, all sizes | exponent, two largest | counted, all sizes | "
        "counted, two largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (symbol, values) in AXES.items():
        sizes = [dataclasses.replace(Size(), **{name: value}) for value in values]
        times = np.array([np.median(seconds[size]) for size in sizes])
        counts = np.array([size.multiplications for size in sizes])
        lines.append(
            f"| {symbol} | {', '.join(map(str, values))} | {', '.join(f'{1e3 * t:.1f}' for t in times)} | "
            f"{_fit(values, times)} | {_last(values, times):.2f} | {_fit(values, counts)} | "
            f"{_last(values, counts):.2f} |"
        )
    return [
        *lines,
        "",
        "Counted: complex multiplications, S (2 L d^3 + B (2 T d^2 + 2 T^2 d + k T^2)) for S seeds and a "
        f"batch of B = {BATCH}; from {QUBITS_GATE_BY_GATE} qubits on, circuits are applied gate by gate and "
        "count 4 L n d^2 in place of 2 L d^3. a ± b: standard error of the slope.",
    ]


def _fit(values: tuple[int, ...], times: np.ndarray) -> str:
    x, y = np.log(values), np.log(times)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return f"{slope:.2f} ± {np.sqrt(covariance[0, 0]):.2f}"


def _last(values: tuple[int, ...], times: np.ndarray) -> float:
    return float(np.log(times[-1] / times[-2]) / np.log(values[-1] / values[-2]))


if __name__ == "__main__":
    main()
