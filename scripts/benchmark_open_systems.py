"""Time quantum jumps and the Lindblad equation beside QuTiP, in one process, one thread each.

    python scripts/benchmark_open_systems.py [--sites 8 10 12] [--rounds 3] [--error 1e-9] [--out FILE]

Open transverse-field Ising chain, h = 1.05, decay at 0.1 on every site, all sites excited, 50 stored states
0.1 apart. Times are process CPU time, the median of rounds in which the methods take turns; set-up is part of
a call on both sides. QuTiP runs at its default tolerances; the error this leaves is shown for mesolve and not
measured for mcsolve. Ours of quantum jumps is set by --error, 1e-9 unless told otherwise.
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

RATE, FIELD = 0.1, 1.05
TIMES = np.arange(51) * 0.1


def cpu_seconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, per: int) -> tuple[float, float]:
    """Medians in microseconds a stored step and trajectory; ``per`` is ours to theirs in trajectories."""
    ours()
    mine, other = [], []
    for _ in range(rounds):
        mine.append(cpu_seconds(ours) / per)
        other.append(cpu_seconds(theirs))
    return statistics.median(mine), statistics.median(other)


def jumps(n_sites: int, rounds: int, error: float) -> dict[str, Any]:
    H, channel, psi0 = TransverseFieldIsing(n_sites, field=FIELD), decay(RATE), product_state("1" * n_sites)
    ours_count, theirs_count = (64, 8) if n_sites <= 10 else (32, 3)
    operator, operators = H.to_qutip(), channel.to_qutip(n_sites)
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * n_sites, [1]])
    options = {"progress_bar": "", "store_states": True, "keep_runs_results": True}
    solver = qutip.MCSolver(operator, operators, options=options)
    mine, other = compare(
        lambda: quantum_jumps(H, psi0, TIMES, channels=channel, trajectories=ours_count, seed=1, error=error),
        lambda: solver.run(ket, TIMES, ntraj=theirs_count, seeds=1),
        rounds,
        1,
    )
    steps = len(TIMES) - 1
    ours_us, theirs_us = 1e6 * mine / ours_count / steps, 1e6 * other / theirs_count / steps
    return {"sites": n_sites, "qdyn_us": ours_us, "mcsolve_us": theirs_us, "ratio": theirs_us / ours_us}


def density(n_sites: int, rounds: int) -> dict[str, Any]:
    H, channel, psi0 = TransverseFieldIsing(n_sites, field=FIELD), decay(RATE), product_state("1" * n_sites)
    operator, operators = H.to_qutip(), channel.to_qutip(n_sites)
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * n_sites, [1]])
    tight = {"progress_bar": "", "method": "vern9", "rtol": 1e-10, "atol": 1e-12, "nsteps": 10**6}
    found: dict[str, Any] = {}

    def solve(name: str, options: dict[str, Any]) -> None:
        states = qutip.mesolve(operator, ket, TIMES, operators, options=options).states
        found[name] = np.array([state.full() for state in states])

    def ours() -> None:
        found["qdyn"] = evolve_open(H, psi0, TIMES, channels=channel).density_matrices.numpy()

    mine, other = compare(ours, lambda: solve("mesolve", {"progress_bar": ""}), rounds, 1)
    tight_time = cpu_seconds(lambda: solve("tight", tight))
    steps = len(TIMES) - 1
    return {
        "sites": n_sites,
        "qdyn_us": 1e6 * mine / steps,
        "mesolve_us": 1e6 * other / steps,
        "mesolve_tight_us": 1e6 * tight_time / steps,
        "qdyn_deviation_from_tight": float(np.abs(found["qdyn"] - found["tight"]).max()),
        "mesolve_deviation_from_tight": float(np.abs(found["mesolve"] - found["tight"]).max()),
        "ratio": other / mine,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, nargs="+", default=[8, 10, 12])
    parser.add_argument("--density-sites", type=int, nargs="*", default=[2, 4, 6])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--error", type=float, default=1e-9, help="error of quantum_jumps between jumps")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "qutip": qutip.__version__,
        "error": arguments.error,
        "jumps": [],
        "density": [],
    }
    for n_sites in arguments.sites:
        row = jumps(n_sites, arguments.rounds, arguments.error)
        report["jumps"].append(row)
        print(
            f"jumps    n={n_sites:2d}  qdyn {row['qdyn_us']:8.1f} us  mcsolve {row['mcsolve_us']:9.1f} us"
            f"  a step and trajectory: {row['ratio']:.0f} times",
            flush=True,
        )
    for n_sites in arguments.density_sites:
        row = density(n_sites, arguments.rounds)
        report["density"].append(row)
        print(
            f"density  n={n_sites:2d}  qdyn {row['qdyn_us']:8.1f} us  mesolve {row['mesolve_us']:9.1f} us"
            f"  a step: {row['ratio']:.1f} times, deviations from tight mesolve "
            f"{row['qdyn_deviation_from_tight']:.0e} and {row['mesolve_deviation_from_tight']:.0e}",
            flush=True,
        )
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
