"""What symmetry blocks save: diagonalisation in blocks and whole, in one process, CPU time of one thread.

    python scripts/benchmark_symmetry_blocks.py --sites 8,10,12

One state and one time, so that the diagonalisation dominates. Below 11 sites the first of two runs is not
counted. Where blocks are not expected to pay, both are the whole matrix.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import qdyn
from qdyn.dynamics import exact


def models(n_sites: int) -> dict[str, qdyn.TransverseFieldIsing | qdyn.XXZ]:
    """Chains and rings, uniform and disordered."""
    fields = np.random.default_rng(1).uniform(0.5, 1.5, (1, n_sites))
    return {
        "Ising chain": qdyn.TransverseFieldIsing(n_sites, field=1.05),
        "Ising chain, disordered": qdyn.TransverseFieldIsing(n_sites, field=fields),
        "Ising ring": qdyn.TransverseFieldIsing(n_sites, field=1.05, periodic=True),
        "XXZ chain, disordered": qdyn.XXZ(n_sites, anisotropy=0.7, field=fields),
        "XXZ ring": qdyn.XXZ(n_sites, anisotropy=0.7, periodic=True),
    }


def run(
    model: qdyn.TransverseFieldIsing | qdyn.XXZ, psi: torch.Tensor, *, fewest: int
) -> tuple[qdyn.Trajectory, float]:
    """The trajectory and its CPU time in seconds; blocks are looked for from ``fewest`` sites on."""
    kept, exact._FEWEST_SITES = exact._FEWEST_SITES, fewest
    try:
        for _ in range(2 if model.n_sites < 11 else 1):
            start = time.process_time()
            traj = qdyn.evolve(model, psi, [3.0], method="exact")
            seconds = time.process_time() - start
    finally:
        exact._FEWEST_SITES = kept
    return traj, seconds


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description="Symmetry blocks against whole matrices.")
    parser.add_argument("--sites", default="8,10,12", help="numbers of sites, separated by commas")
    torch.set_num_threads(1)
    print("| model | sites | blocks | largest | whole, ms | in blocks, ms | ratio | deviation |")
    print("|---|---|---|---|---|---|---|---|")
    for n_sites in (int(part) for part in parser.parse_args().sites.split(",")):
        psi = qdyn.haar_random_states(n_qubits=n_sites, seed=1)
        for name, model in models(n_sites).items():
            blocks, quick = run(model, psi, fewest=1)
            whole, slow = run(model, psi, fewest=99)
            assert blocks.states is not None
            assert whole.states is not None
            deviation = float((blocks.states - whole.states).abs().max())
            shape = f"{blocks.details['blocks']:.0f} | {blocks.details['largest_block']:.0f}"
            times = f"{1e3 * slow:.1f} | {1e3 * quick:.1f} | {slow / quick:.1f}"
            print(f"| {name} | {n_sites} | {shape} | {times} | {deviation:.0e} |", flush=True)


if __name__ == "__main__":
    main()
