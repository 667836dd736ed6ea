"""Time quantum jumps and the Lindblad equation beside QuTiP, in one process, one thread each.

    python scripts/benchmark_open_systems.py [--sites 8 10 12] [--rounds 5] [--out FOLDER]

Open transverse-field Ising chain, h = 1.05, decay at 0.1 on every site, all sites excited, 50 stored states
0.1 apart. Times are process CPU time of whole calls, set-up included on both sides, in rounds in which the
contestants take turns; medians with the smallest and the largest. QuTiP runs at its default tolerances: for
closed systems they leave an error of about 1e-6 (see dynamics.md); that of mcsolve was not measured. Ours of
quantum jumps runs at the errors 1e-6 and 1e-9. With --out, open_systems.json and open_systems.md are written.
"""

# ruff: noqa: E402 - the numbers of threads must be set before numpy is imported.

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qutip
import torch

from qdyn import TransverseFieldIsing, decay, evolve_open, product_state, quantum_jumps
from qdyn.processors import processor_name

RATE, FIELD = 0.1, 1.05
TIMES = np.arange(51) * 0.1
ERRORS = (1e-6, 1e-9)


def cpu_seconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def show(value: dict[str, float], digits: int = 1) -> str:
    middle, low, high = (f"{value[key]:.{digits}f}" for key in ("median", "smallest", "largest"))
    return f"{middle} ({low} to {high})"


def jumps(n_sites: int, rounds: int) -> dict[str, Any]:
    H, channel, psi0 = TransverseFieldIsing(n_sites, field=FIELD), decay(RATE), product_state("1" * n_sites)
    ours, theirs = (64, 8) if n_sites <= 10 else (32, 3)
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * n_sites, [1]])
    options = {"progress_bar": "", "store_states": True, "keep_runs_results": True}
    solver = qutip.MCSolver(H.to_qutip(), channel.to_qutip(n_sites), options=options)
    taken: dict[str, list[float]] = {name: [] for name in ("mcsolve", *(f"{error:g}" for error in ERRORS))}
    for turn in range(rounds + 1):
        costs = {"mcsolve": cpu_seconds(lambda: solver.run(ket, TIMES, ntraj=theirs, seeds=1)) / theirs}
        for error in ERRORS:
            costs[f"{error:g}"] = (
                cpu_seconds(
                    lambda error=error: quantum_jumps(
                        H, psi0, TIMES, channels=channel, trajectories=ours, seed=1, error=error
                    )
                )
                / ours
            )
        for name, cost in costs.items():
            if turn:
                taken[name].append(1e6 * cost / (len(TIMES) - 1))
    peers = taken["mcsolve"]
    faster = {
        name: spread([peer / own for peer, own in zip(peers, taken[name], strict=True)])
        for name in taken
        if name != "mcsolve"
    }
    microseconds = {name: spread(values) for name, values in taken.items()}
    return {"sites": n_sites, "microseconds": microseconds, "times faster": faster}


def density(n_sites: int, rounds: int) -> dict[str, Any]:
    H, channel, psi0 = TransverseFieldIsing(n_sites, field=FIELD), decay(RATE), product_state("1" * n_sites)
    operator, operators = H.to_qutip(), channel.to_qutip(n_sites)
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * n_sites, [1]])
    found: dict[str, Any] = {}

    def solve(name: str, options: dict[str, Any]) -> None:
        states = qutip.mesolve(operator, ket, TIMES, operators, options=options).states
        found[name] = np.array([state.full() for state in states])

    def ours() -> None:
        matrices = evolve_open(H, psi0, TIMES, channels=channel).density_matrices
        assert matrices is not None
        found["qdyn"] = matrices.numpy()

    mine, other = [], []
    for turn in range(rounds + 1):
        costs = cpu_seconds(ours), cpu_seconds(lambda: solve("mesolve", {"progress_bar": ""}))
        if turn:
            mine.append(1e6 * costs[0] / (len(TIMES) - 1))
            other.append(1e6 * costs[1] / (len(TIMES) - 1))
    solve("tight", {"progress_bar": "", "method": "vern9", "rtol": 1e-10, "atol": 1e-12, "nsteps": 10**6})
    return {
        "sites": n_sites,
        "microseconds": {"qdyn": spread(mine), "mesolve": spread(other)},
        "deviation": {
            name: float(np.abs(found[name] - found["tight"]).max()) for name in ("qdyn", "mesolve")
        },
        "times faster": spread([peer / own for peer, own in zip(other, mine, strict=True)]),
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        "# Speed of open systems",
        "",
        "Written by `python scripts/benchmark_open_systems.py --out docs/benchmarks`, whose first lines say "
        "how it measures.",
        "",
        f"{report['processor']}, load average {report['load average']}; QuTiP {report['qutip']}. One thread. "
        "Microseconds of CPU time per stored state and trajectory: median (smallest to largest).",
        "",
        "Quantum jumps:",
        "",
        "| sites | contestant | microseconds | times faster than mcsolve |",
        "|---|---|---|---|",
    ]
    for row in report["jumps"]:
        for name, cost in row["microseconds"].items():
            label = "QuTiP mcsolve" if name == "mcsolve" else f"qdyn, error {name}"
            ratio = show(row["times faster"][name]) if name in row["times faster"] else ""
            lines.append(f"| {row['sites']} | {label} | {show(cost)} | {ratio} |")
    lines += [
        "",
        "Density matrices; deviation is the largest from mesolve at tight tolerances:",
        "",
        "| sites | contestant | microseconds | deviation | times faster than mesolve |",
        "|---|---|---|---|---|",
    ]
    for row in report["density"]:
        for name, label in (("qdyn", "qdyn"), ("mesolve", "QuTiP mesolve")):
            cells = f"{show(row['microseconds'][name])} | {row['deviation'][name]:.0e}"
            ratio = show(row["times faster"]) if name == "qdyn" else ""
            lines.append(f"| {row['sites']} | {label} | {cells} | {ratio} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, nargs="+", default=[8, 10, 12])
    parser.add_argument("--density-sites", type=int, nargs="*", default=[2, 4, 6])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "processor": processor_name(),
        "load average": round(os.getloadavg()[0], 1),
        "qutip": qutip.__version__,
        "jumps": [jumps(n_sites, arguments.rounds) for n_sites in arguments.sites],
        "density": [density(n_sites, arguments.rounds) for n_sites in arguments.density_sites],
    }
    text = table(report)
    print(text)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "open_systems.json").write_text(
            json.dumps(report, indent=2) + "\n", encoding="utf-8"
        )
        (arguments.out / "open_systems.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
