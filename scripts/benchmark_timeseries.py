"""Measure one update of QASA against the same model in PennyLane: windows a second, in the same run.

python scripts/benchmark_timeseries.py [--rounds 10] [--runs 8] [--json docs/benchmarks/timeseries.json]
    [--page docs/benchmarks/timeseries.md]

One update, as the published program makes it: a window of 20 values, forward, backward, clipping, AdamW. The
contestants take turns in one process of one thread, so that whatever else the machine does falls on all:

    qdyn                    several runs as one batch (torch.func), the path of qdyn.train
    qdyn, one run           a single run by the same path
    PennyLane, by token     the same layers, the circuit a TorchLayer on lightning.qubit, adjoint gradients,
                            called token by token as the authors' program does
    PennyLane, one call     the same with one call for all 20 tokens

Initial weights are the same everywhere; loss and gradient are compared before anything is timed. A figure is
a median over rounds with quartiles; a ratio is the median of the ratios within a round. One update of qdyn
trains --runs models, so its time is divided by that number.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.attention.qasa.adapter import N_DATA, WEIGHT_SHAPE
from qdyn.evaluation.series.protocols import protocol_dataset, protocol_models, protocol_preset
from qdyn.files import write_json, write_text
from qdyn.models.adapters import QuantumAdapter
from qdyn.models.series.config import SeriesEncoderConfig
from qdyn.models.series.encoder import SeriesEncoder
from qdyn.processors import processor_name
from qdyn.training.batches import BatchSource
from qdyn.training.ensembles import Ensemble, clip_members
from qdyn.training.optimisers import make_optimiser

TASK = "chaotic-logistic"
TARGET = 40


class PennyLaneAdapter(nn.Module):
    """`QuantumAdapter` with its circuit run by PennyLane."""

    def __init__(self, ours: QuantumAdapter, *, by_token: bool) -> None:
        super().__init__()
        import pennylane as qml

        device = qml.device("lightning.qubit", wires=N_DATA + 1)

        @qml.qnode(device, interface="torch", diff_method="adjoint")
        def circuit(inputs: Tensor, weights: Tensor) -> list[Any]:
            for i in range(N_DATA):
                qml.RX(inputs[..., i], wires=i)
                qml.RZ(inputs[..., i], wires=i)
            for i in range(N_DATA):
                qml.RX(weights[0, i], wires=i)
                qml.RZ(weights[1, i], wires=i)
            for layer in range(1, WEIGHT_SHAPE[0]):
                for i in range(N_DATA):
                    qml.CNOT(wires=[i, (i + 1) % N_DATA])
                    qml.RY(weights[layer, i], wires=i)
                    qml.RZ(weights[layer, i], wires=i)
                qml.CNOT(wires=[N_DATA - 1, N_DATA])
                qml.RY(weights[layer, N_DATA], wires=N_DATA)
            return [qml.expval(qml.PauliZ(i)) for i in range(N_DATA)]

        self.shift, self.by_token = ours.shift, by_token
        self.narrow, self.norm, self.widen = ours.narrow, ours.norm, ours.widen
        self.circuit = qml.qnn.TorchLayer(circuit, {"weights": WEIGHT_SHAPE})
        with torch.no_grad():
            self.circuit.weights.copy_(ours.weights)

    def forward(self, hidden: Tensor) -> Tensor:
        """As `Adapter.forward`."""
        angles = self.norm(torch.tanh(self.narrow(hidden))) + self.shift
        calls = angles if self.by_token else angles[None]
        read = torch.cat([self.circuit(one).reshape(-1, N_DATA) for one in calls])
        return hidden + self.widen(read.to(hidden.dtype))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=8, help="runs that qdyn trains as one batch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = {
        "qdyn": ours(options.runs),
        "qdyn, one run": ours(1),
        "PennyLane, by token": theirs(by_token=True),
        "PennyLane, one call": theirs(by_token=False),
    }
    agree()
    found = measure(steps, rounds=options.rounds, runs=options.runs)
    text = report(found, options)
    print(text)
    if options.json:
        write_json(options.json, found)
    if options.page:
        write_text(options.page, text)


def models(count: int) -> list[SeriesEncoder]:
    """The published QASA from ``count`` seeds."""
    data, config = protocol_dataset("published", TASK), protocol_models("published")["qasa"]
    assert isinstance(config, SeriesEncoderConfig)
    return [SeriesEncoder(config, data.metadata, seed=seed) for seed in range(count)]


def source() -> BatchSource:
    """The published windows."""
    return BatchSource(
        protocol_dataset("published", TASK).split("train"), device=torch.device("cpu"), dtype=torch.float32
    )


def ours(count: int) -> Callable[[int], None]:
    """One update of ``count`` runs as one batch."""
    training = protocol_preset("published", protocol_models("published")["qasa"], name=TASK).training
    ensemble, batches = Ensemble(models(count)), source()
    optimiser = make_optimiser(ensemble, training)
    seeds = tuple(range(count))

    def step(number: int) -> None:
        data = batches.members(seeds, step=number, batch_size=1, shuffled=False)
        optimiser.zero_grad(set_to_none=True)
        ensemble.losses("MSE", *data).sum().backward()  # type: ignore[no-untyped-call]
        clip_members(ensemble.parameters, largest_norm=1.0)
        optimiser.step()

    return step


def with_pennylane(*, by_token: bool) -> SeriesEncoder:
    """The model of seed 0 with PennyLane's circuit."""
    (model,) = models(1)
    layer: Any = model.layers[3]
    layer.adapter = PennyLaneAdapter(layer.adapter, by_token=by_token)
    return model


def theirs(*, by_token: bool) -> Callable[[int], None]:
    """One update of one run with PennyLane's circuit."""
    model, batches = with_pennylane(by_token=by_token), source()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)

    def step(number: int) -> None:
        batch = batches.batch(np.array([number % len(batches)]))
        optimiser.zero_grad(set_to_none=True)
        loss = model.loss("MSE", batch.inputs, batch.targets, batch.mask).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def agree() -> None:
    """All compute the same loss and gradient, or there is nothing to compare."""
    contestants = [models(1)[0], *(with_pennylane(by_token=one) for one in (True, False))]
    batch = source().batch(np.array([0]))
    losses, gradients = [], []
    for model in contestants:
        loss = model.eval().loss("MSE", batch.inputs, batch.targets).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        layer: Any = model.layers[3]
        own = isinstance(layer.adapter, QuantumAdapter)
        weights = layer.adapter.weights if own else layer.adapter.circuit.weights
        losses.append(loss.detach())
        gradients.append(weights.grad.float())
    for loss, gradient in zip(losses[1:], gradients[1:], strict=True):
        torch.testing.assert_close(loss, losses[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=1e-3)


def measure(steps: dict[str, Callable[[int], None]], *, rounds: int, runs: int) -> dict[str, Any]:
    """Milliseconds a window of one run, (rounds,) each, in CPU time and by the clock."""
    each = {"qdyn": runs}
    found: dict[str, Any] = {"runs": runs, "processor": processor_name(), "torch": torch.__version__}
    times: dict[str, list[list[float]]] = {name: [] for name in steps}
    for turn in range(-2, rounds):  # the first rounds warm the allocator and the caches
        for name, step in steps.items():
            # Short updates are repeated, so that a round has about as much of each.
            repeats = 1 if name.startswith("PennyLane") else 5
            start = np.array([time.process_time(), time.perf_counter()])
            for extra in range(repeats):
                step((turn + 2) * repeats + extra)
            spent = np.array([time.process_time(), time.perf_counter()]) - start
            if turn >= 0:
                times[name].append((1e3 * spent / repeats / each.get(name, 1)).tolist())
    for column, clock in enumerate(("cpu", "clock")):
        of_each = {name: np.array(values)[:, column] for name, values in times.items()}
        found[clock] = {name: _quartiles(values) for name, values in of_each.items()}
        found[f"{clock}_ratio"] = {
            name: _quartiles(of_each[name] / of_each["qdyn"]) for name in of_each if name != "qdyn"
        }
    return found


def _quartiles(values: np.ndarray) -> list[float]:
    return [float(one) for one in np.quantile(values, (0.25, 0.5, 0.75))]


def report(found: dict[str, Any], options: argparse.Namespace) -> str:
    """The table for people."""
    text = (
        "Written by `python scripts/benchmark_timeseries.py`: one update of the published protocol, a window "
        f"of 20 values, one thread of {found['processor']}, torch {found['torch']}. All models have the same "
        "initial weights, loss and gradient (checked in the same run). PennyLane: lightning.qubit with "
        "adjoint gradients; the authors' program calls it token by token. Milliseconds a window and run, and "
        f"how many times those of qdyn's batch of {found['runs']} runs: medians of {options.rounds} rounds "
        "(quartiles), in CPU time and by the clock."
    )
    lines = [
        "# Throughput of training QASA",
        "",
        *textwrap.wrap(text, width=110, break_on_hyphens=False),
        "",
        "| | CPU time, ms | ratio | clock, ms | ratio |",
        "|---|---|---|---|---|",
    ]
    for name in found["cpu"]:
        label = f"qdyn, {found['runs']} runs as one batch" if name == "qdyn" else name
        cells = []
        for clock in ("cpu", "clock"):
            ratio = found[f"{clock}_ratio"].get(name)
            cells += [_cell(found[clock][name], 2), "1" if ratio is None else _cell(ratio, 1)]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    lines += ["", f"The target is {TARGET} times the authors' program."]
    return "\n".join(lines) + "\n"


def _cell(quartiles: list[float], digits: int) -> str:
    low, middle, high = quartiles
    return f"{middle:.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


if __name__ == "__main__":
    main()
