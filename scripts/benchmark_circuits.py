"""Measure circuits a second, beside PennyLane and CUDA-Q.

Usage: python scripts/benchmark_circuits.py [--quick] [--qubits 6 7 8 9] [--large 14 16 18 20] [--rounds 5]
       [--out FOLDER]

Part one, a batch of 256 inputs (angle encoding) through two layers of the default ansatz: <Z> of the first
qubit, and its gradient by the weights. PennyLane's default.qubit has the batch at once and backpropagates
through torch; lightning.qubit runs one circuit after another with adjoint differentiation, so that 16 of them
tell its rate. All gradients are compared first. Part two, one large circuit of the same kind, forward, beside
CUDA-Q's qpp-cpu; both states are compared.

Time is the CPU time of the process, one thread for every contestant. Contestants take turns; figures are
medians over rounds with the smallest and the largest, ratios are taken within a round. In part two a run of
qpp-cpu that takes longer than 5 s is measured once.

Needs PennyLane with lightning for part one and CUDA-Q for part two; a part without its numbers is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from qdyn.circuits.encodings.vectors import reuploading
from qdyn.circuits.executors.program import PauliObservable, Program
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.processors import processor_name

LAYERS = 2
BATCH = 256
FEW = 16
SHORTEST = 0.2
Work = Callable[[], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="6 and 14 qubits, 2 rounds, nothing written")
    parser.add_argument("--qubits", type=int, nargs="*", default=[6, 7, 8, 9])
    parser.add_argument("--large", type=int, nargs="*", default=[14, 16, 18, 20])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    if options.quick:
        options.qubits, options.large, options.rounds = [6], [14], 2
    torch.set_num_threads(1)
    results = {
        "conditions": conditions(bool(options.qubits), bool(options.large)),
        "batched": [told(batched(n_qubits, options.rounds)) for n_qubits in options.qubits],
        "single": [told(single(n_qubits, options.rounds)) for n_qubits in options.large],
    }
    results["conditions"]["load average at the end"] = round(os.getloadavg()[0], 1)
    text = table(results)
    print(text)
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "circuits.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (options.out / "circuits.md").write_text(text, encoding="utf-8")


def conditions(peers: bool, large: bool) -> dict[str, Any]:
    from importlib.metadata import distributions

    wanted = ["torch", *(["pennylane", "pennylane-lightning"] if peers else [])]
    versions = {}
    for found in distributions():
        name = found.name.lower().replace("_", "-")
        if name in wanted or (large and name.startswith("cuda-quantum")):
            versions[name] = found.version
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load average at the start": round(os.getloadavg()[0], 1),
        "versions": dict(sorted(versions.items())),
        "python": platform.python_version(),
    }


# -- part one --------------------------------------------------------------------------------------


def batched(n_qubits: int, rounds: int) -> dict[str, Any]:
    """Circuits a second, forward and gradient, of every contestant; and ours over each of PennyLane's."""
    reference = ours(n_qubits, torch.complex128)()
    for device in ("default.qubit", "lightning.qubit"):
        theirs = pennylane(n_qubits, device, BATCH)()
        torch.testing.assert_close(theirs.to(reference.dtype), reference, atol=1e-8, rtol=0)
    single_precision = ours(n_qubits, torch.complex64)()
    torch.testing.assert_close(single_precision, reference, atol=1e-5, rtol=0)
    contestants = {
        "qdyn complex64": (ours(n_qubits, torch.complex64), BATCH),
        "qdyn complex128": (ours(n_qubits, torch.complex128), BATCH),
        "default.qubit": (pennylane(n_qubits, "default.qubit", BATCH), BATCH),
        "lightning.qubit": (pennylane(n_qubits, "lightning.qubit", FEW), FEW),
    }
    turns = [
        {name: circuits / cost(work) for name, (work, circuits) in contestants.items()}
        for _ in range(rounds + 1)
    ][1:]
    return {
        "qubits": n_qubits,
        "circuits a second": {name: spread([turn[name] for turn in turns]) for name in contestants},
        "times faster": {
            f"{mine} over {peer}": spread([turn[mine] / turn[peer] for turn in turns])
            for mine in ("qdyn complex64", "qdyn complex128")
            for peer in ("lightning.qubit", "default.qubit")
        },
    }


def inputs(n_qubits: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = np.random.default_rng(n_qubits)
    x = torch.from_numpy(draws.uniform(-3, 3, size=(BATCH, n_qubits)))
    return x, torch.from_numpy(draws.uniform(-3, 3, size=(LAYERS, n_qubits, 3)))


def ours(n_qubits: int, dtype: torch.dtype) -> Work:
    x, weights = inputs(n_qubits)
    weights.requires_grad_()
    encoded = reuploading(x, weights)
    first = PauliObservable(((1.0, "Z" + "I" * (n_qubits - 1)),))
    program = Program(encoded.circuit, encoded.values, first)

    def work() -> torch.Tensor:
        return torch.autograd.grad(program.expectation(dtype=dtype).mean(), weights)[0]

    return work


def pennylane(n_qubits: int, device: str, members: int) -> Work:
    import pennylane as qml

    x, weights = inputs(n_qubits)
    x = x[:members]
    weights.requires_grad_()
    method = "backprop" if device == "default.qubit" else "adjoint"

    @qml.qnode(qml.device(device, wires=n_qubits), interface="torch", diff_method=method)
    def circuit(x: torch.Tensor, weights: torch.Tensor) -> Any:
        for layer in range(LAYERS):
            for qubit in range(n_qubits):
                qml.RY(x[..., qubit], wires=qubit)
            for qubit in range(n_qubits):
                qml.RX(weights[layer, qubit, 0], wires=qubit)
                qml.RY(weights[layer, qubit, 1], wires=qubit)
                qml.RZ(weights[layer, qubit, 2], wires=qubit)
            for qubit in range(n_qubits):
                qml.CNOT(wires=[qubit, (qubit + 1) % n_qubits])
        return qml.expval(qml.PauliZ(0))

    def work() -> torch.Tensor:
        if device == "default.qubit":
            value = circuit(x, weights).mean()
        else:
            value = torch.stack([circuit(row, weights) for row in x]).mean()
        return torch.autograd.grad(value, weights)[0]

    return work


# -- part two --------------------------------------------------------------------------------------


def single(n_qubits: int, rounds: int) -> dict[str, Any]:
    """Seconds for one circuit, forward, on torch in double precision and on qpp-cpu."""
    from qdyn.circuits.executors.cudaq import CudaqExecutor, kernel_arguments
    from qdyn.circuits.lowering import lower
    from qdyn.quantum.cudaq_operators import import_cudaq

    cudaq = import_cudaq()
    from qdyn.circuits.executors.cudaq_kernel import run_gates

    cudaq.set_target("qpp-cpu")
    x, weights = inputs(n_qubits)
    (circuit,) = reuploading(x[0], weights).circuits()
    arguments = kernel_arguments(circuit)
    cudaq.get_state(run_gates, *kernel_arguments(reuploading(x[0, :2], weights[:, :2]).circuits()[0]))
    largest = float(np.abs(CudaqExecutor().state(circuit) - run_statevector(circuit).numpy()).max())
    assert largest < 1e-10, largest
    turns = []
    for turn in range(rounds + 1):
        theirs = cost(lambda: cudaq.get_state(run_gates, *arguments))
        mine = cost(lambda: run_statevector(circuit))
        if turn or theirs > 5:  # nothing of so long a run is warming up
            turns.append((mine, theirs))
        if theirs > 5:
            break
    return {
        "qubits": n_qubits,
        "gates": len(circuit),
        "CNOTs and one-qubit gates": len(lower(circuit)),
        "qdyn seconds": spread([mine for mine, _ in turns]),
        "qpp-cpu seconds": spread([theirs for _, theirs in turns]),
        "times faster": spread([theirs / mine for mine, theirs in turns]),
        "largest difference": largest,
    }


# -- measuring and writing -------------------------------------------------------------------------


def cost(work: Callable[[], Any]) -> float:
    """Seconds of CPU time a call, over at least SHORTEST seconds."""
    calls, began = 0, time.process_time()
    while not calls or time.process_time() - began < SHORTEST:
        work()
        calls += 1
    return (time.process_time() - began) / calls


def told(row: dict[str, Any]) -> dict[str, Any]:
    """The row, shown at once: a run that is broken off has said what it found."""
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "smallest": min(values), "largest": max(values)}


def table(results: dict[str, Any]) -> str:
    where = results["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines = [
        "# Speed of circuits",
        "",
        "Written by `python scripts/benchmark_circuits.py`, whose first lines say how it measures.",
        "",
        f"{where['processor']}, {where['cores']} cores, load average {where['load average at the start']} at "
        f"the start and {where['load average at the end']} at the end; Python {where['python']}, {versions}.",
        "One thread for every contestant, CPU time; median (smallest to largest).",
        "",
        f"A batch of {BATCH} inputs, {LAYERS} layers, expectation and gradient:",
        "",
        "| qubits | contestant | circuits a second | times lightning.qubit | times default.qubit |",
        "|---|---|---|---|---|",
    ]
    for row in results["batched"]:
        for name, rate in row["circuits a second"].items():
            ratios = [
                show(row["times faster"][f"{name} over {peer}"], 1) if name.startswith("qdyn") else ""
                for peer in ("lightning.qubit", "default.qubit")
            ]
            lines.append(f"| {row['qubits']} | {name} | {show(rate, 0)} | {ratios[0]} | {ratios[1]} |")
    lines += [
        "",
        "One circuit, forward, complex128:",
        "",
        "| qubits | gates | lowered for CUDA-Q | qdyn, seconds | qpp-cpu, seconds | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["single"]:
        cells = [str(row[name]) for name in ("qubits", "gates", "CNOTs and one-qubit gates")]
        cells += [show(row["qdyn seconds"], 4), show(row["qpp-cpu seconds"], 3), show(row["times faster"], 0)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def show(value: dict[str, float], digits: int) -> str:
    middle, low, high = (f"{value[key]:.{digits}f}" for key in ("median", "smallest", "largest"))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
