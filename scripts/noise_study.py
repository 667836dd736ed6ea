"""How gate noise moves mu, zeta and the loss of a small attention circuit: a table and a figure.

    python scripts/noise_study.py [--out docs/images/circuit-noise.png]

Two tokens of one qubit, monomial kernel of degree 1: 4 qubits, on CUDA-Q's density-matrix-cpu, exact
expectations, so that what is seen is noise of the gates and not of shots.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import qdyn
from qdyn.attention.qsa.measured_loss import loss_programs, measure_loss
from qdyn.circuits.ansatz.variational import hardware_efficient_unitary
from qdyn.circuits.counting import count_circuit
from qdyn.circuits.executors.noise import GateNoise

RATES = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
MODELS = {
    "depolarising": lambda rate: GateNoise(depolarising=rate),
    "amplitude damping": lambda rate: GateNoise(amplitude_damping=rate),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("circuit-noise.png"), help="figure: png, svg or pdf")
    options = parser.parse_args()
    # A qubit that turns about x, and a value circuit that turns it as far: a prediction worth measuring.
    turn = 0.7
    start = qdyn.haar_random_states(n_qubits=1, seed=3)
    step = hardware_efficient_unitary(torch.tensor([[[turn, 0.0, 0.0]]], dtype=torch.float64))
    states = torch.stack([start, step @ start, step @ step @ start])
    angles = torch.tensor([[[[0.3, 0.0, 0.0]]], [[[turn, 0.0, 0.0]]]], dtype=torch.float64)
    programs = loss_programs(states[:2], states[1:], *angles, kernel="monomial", degree=1)
    cost = count_circuit(programs[0].circuit)
    print(f"{cost.qubits} qubits, {cost.total} gates, of these {cost.two_qubit_gates} CNOTs")
    print(f"{'noise':>18} {'rate':>8} {'mu':>9} {'zeta':>9} {'F':>8} {'L_B':>8}")
    curves = {}
    for name, model in MODELS.items():
        rows = []
        for rate in RATES:
            noise = model(rate) if rate else None
            loss = measure_loss(programs, steps=2, backend="cudaq", target="density-matrix-cpu", noise=noise)
            row = [float(number) for number in (loss.mu, loss.zeta, loss.fidelity, loss.loss_b)]
            print(f"{name:>18} {rate:8.0e} {row[0]:9.5f} {row[1]:9.5f} {row[2]:8.4f} {row[3]:8.4f}")
            rows.append(row)
        curves[name] = np.array(rows)
    draw(curves, options.out)


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    for axes, column, label in zip(figure.subplots(1, 2), (0, 3), (r"$\mu$", r"$L_B$"), strict=True):
        for name, rows in curves.items():
            axes.plot(RATES[1:], rows[1:, column], marker="o", markersize=3, label=name)
        axes.axhline(next(iter(curves.values()))[0, column], color="0.5", linewidth=0.8, label="no noise")
        axes.set(xscale="log", xlabel="error rate a gate", ylabel=label)
    figure.axes[0].legend(fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
