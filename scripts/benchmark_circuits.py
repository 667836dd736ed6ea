"""Circuits a second: our batched torch state vector beside PennyLane and CUDA-Q, measured in one run.

    python scripts/benchmark_circuits.py [--qubits 6 7 8 9] [--large 14 16 18] [--seconds 2] [--out FILE]

Part one, a batch of 256 inputs (angle encoding) through two layers of the default ansatz, <Z> of the first
qubit and its gradient by the weights: ours in single and double precision, PennyLane's default.qubit (torch
backpropagation, broadcast over the batch) and lightning.qubit (adjoint differentiation, one circuit after
another). Part two, one large circuit, forward: ours and CUDA-Q's qpp-cpu. One thread for all.

Needs PennyLane with lightning, and CUDA-Q for part two (--large without numbers leaves it out).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from qdyn.quantum.encodings import reuploading
from qdyn.quantum.program import PauliObservable, Program
from qdyn.quantum.statevector import run_statevector

LAYERS = 2
BATCH = 256


def rate(work: Callable[[], object], circuits: int, seconds: float) -> float:
    """Circuits a second: the best of three stretches, after one call to warm up."""
    work()
    best = 0.0
    for _ in range(3):
        calls, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds / 3:
            work()
            calls += 1
        best = max(best, calls * circuits / (time.perf_counter() - began))
    return best


def program(n_qubits: int, x: torch.Tensor, weights: torch.Tensor) -> Program:
    encoded = reuploading(x, weights)
    return Program(encoded.circuit, encoded.values, PauliObservable(((1.0, "Z" + "I" * (n_qubits - 1)),)))


def ours(n_qubits: int, dtype: torch.dtype, backward: bool) -> Callable[[], torch.Tensor]:
    x, weights = inputs(n_qubits)
    built = program(n_qubits, x, weights)
    weights.requires_grad_(backward)

    def work() -> torch.Tensor:
        value = built.expectation(dtype=dtype).mean()
        return torch.autograd.grad(value, weights)[0] if backward else value

    return work


def pennylane(n_qubits: int, device: str, members: int) -> Callable[[], torch.Tensor]:
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


def inputs(n_qubits: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = np.random.default_rng(n_qubits)
    x = torch.from_numpy(draws.uniform(-3, 3, size=(BATCH, n_qubits)))
    return x, torch.from_numpy(draws.uniform(-3, 3, size=(LAYERS, n_qubits, 3)))


def batched(qubits: list[int], seconds: float) -> list[dict[str, Any]]:
    rows = []
    for n_qubits in qubits:
        reference = ours(n_qubits, torch.complex128, True)()
        few = 16  # lightning runs one circuit after another, so its rate needs no full batch
        for device in ("default.qubit", "lightning.qubit"):
            theirs = pennylane(n_qubits, device, BATCH)()
            torch.testing.assert_close(theirs.to(reference.dtype), reference, atol=1e-8, rtol=0)
        row = {
            "qubits": n_qubits,
            "ours complex64": rate(ours(n_qubits, torch.complex64, True), BATCH, seconds),
            "ours complex128": rate(ours(n_qubits, torch.complex128, True), BATCH, seconds),
            "default.qubit": rate(pennylane(n_qubits, "default.qubit", BATCH), BATCH, seconds),
            "lightning.qubit": rate(pennylane(n_qubits, "lightning.qubit", few), few, seconds),
        }
        row["times lightning"] = row["ours complex64"] / row["lightning.qubit"]
        row["times lightning, double"] = row["ours complex128"] / row["lightning.qubit"]
        print({name: round(value, 1) for name, value in row.items()}, flush=True)
        rows.append(row)
    return rows


def large(qubits: list[int], seconds: float) -> list[dict[str, Any]]:
    from qdyn.quantum.cudaq import import_cudaq, kernel_arguments

    cudaq = import_cudaq()
    from qdyn.quantum.cudaq_kernel import run_gates

    cudaq.set_target("qpp-cpu")
    rows = []
    for n_qubits in qubits:
        x, weights = inputs(n_qubits)
        built = program(n_qubits, x[0], weights)
        bound = built.circuit.bind({name: value.numpy() for name, value in built.values.items()})
        arguments = kernel_arguments(bound)

        def on_cudaq(arguments: Any = arguments) -> object:
            return cudaq.get_state(run_gates, *arguments)

        def on_torch(bound: Any = bound) -> object:
            return run_statevector(bound)

        row = {
            "qubits": n_qubits,
            "gates": len(bound),
            "ours seconds": 1 / rate(on_torch, 1, seconds),
            "qpp-cpu seconds": 1 / rate(on_cudaq, 1, seconds),
        }
        row["times faster"] = row["qpp-cpu seconds"] / row["ours seconds"]
        print({name: round(value, 5) for name, value in row.items()}, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--qubits", type=int, nargs="*", default=[6, 7, 8, 9])
    parser.add_argument("--large", type=int, nargs="*", default=[14, 16, 18])
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each number")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "batch": BATCH,
        "layers": LAYERS,
        "batched": batched(options.qubits, options.seconds),
        "large": large(options.large, options.seconds) if options.large else [],
    }
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
