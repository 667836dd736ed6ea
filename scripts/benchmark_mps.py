"""Measure a step of matrix-product states beside quimb and TeNPy, and how right each is.

Usage: python scripts/benchmark_mps.py [--sites 40] [--bond 64] [--steps 50] [--without tenpy] [--out FOLDER]

The quench of the open transverse-field Ising chain from |0...0>, J = 1, h = 1.05, by fourth-order TEBD with
steps of 0.1, the same largest bond and the same cutoff of Schmidt coefficients for all, 1e-10 (1e-6 in single
precision). The contestants take turns step by step in one process, each on one thread. Time is the CPU time
of the process for the step alone; what is measured on the states is not counted, nor is the first step, in
which packages load and compile. A ratio is that of two times of the same step; its median is given with the
smallest and the largest. "Late" steps are the last ten, whose bonds are full: they cost what every further
step would.

Errors are the largest deviation of <X_i> over all sites from the free-fermion solution. The discarded weight
is what qdyn reports. quimb comes with ``pip install 'qdyn-toolkit[tensor-networks]'``, TeNPy with ``pip
install physics-tenpy``; whichever is absent is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

SETTINGS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "QUIMB_NUM_PROCS"),
    "1",
)
STEP, COUPLING, FIELD, CUTOFF, LATE = 0.1, 1.0, 1.05, 1e-10, 10
OURS = "qdyn complex128"
# Milliseconds a step, all 50 and the last 10, of TeNPy 1.1.1 on another machine (AMD Zen 4, one thread),
# measured with the same chain of 40 sites.
CITED = {64: (732, 1076), 128: (1995, 4307)}


class Contestant:
    """Something that can take a step and tell <X_i>."""

    def __init__(self, advance: Callable[[], object], magnetisation: Callable[[], Any]) -> None:
        self.advance, self.magnetisation = advance, magnetisation
        self.seconds: list[float] = []
        self.errors: dict[int, float] = {}
        self.chain: Any = None


def ours(n_sites: int, bond: int, *, single: bool, split: Literal["qr", "svd"]) -> Contestant:
    import torch

    from qdyn import TransverseFieldIsing
    from qdyn.dynamics.tensor_networks.chain_terms import ChainTerms
    from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
    from qdyn.dynamics.tensor_networks.tebd import Chain, Propagator, Truncation

    dtype = torch.complex64 if single else torch.complex128
    terms = ChainTerms.of(TransverseFieldIsing(n_sites, coupling=COUPLING, field=FIELD).pauli_terms())
    propagator = Propagator(terms, order=4, dtype=dtype, device=torch.device("cpu"))
    truncation = Truncation(bond, 1e-6 if single else CUTOFF, split)
    chain = Chain(MatrixProductState.product("0" * n_sites, dtype=dtype), truncation)
    contestant = Contestant(
        lambda: propagator.advance(chain, STEP, 1), lambda: chain.state().site_magnetisation("x").numpy()
    )
    contestant.chain = chain
    return contestant


def quimb(n_sites: int, bond: int) -> Contestant:
    import numpy as np
    import quimb.tensor as qtn

    builder = qtn.SpinHam1D(S=1 / 2)
    builder += -4 * COUPLING, "Z", "Z"
    builder += -2 * FIELD, "X"
    options = {"cutoff": CUTOFF, "cutoff_mode": "rel", "max_bond": bond}
    start = qtn.MPS_computational_state("0" * n_sites, dtype="complex128")
    tebd = qtn.TEBD(start, builder.build_local_ham(n_sites), dt=STEP, split_opts=options, progbar=False)

    def magnetisation() -> Any:
        state = tebd.pt
        norm = (state.H @ state).real
        return np.array([2 * state.magnetization(site, "X").real for site in range(n_sites)]) / norm

    return Contestant(lambda: tebd.step(order=4), magnetisation)


def tenpy(n_sites: int, bond: int) -> Contestant:
    import numpy as np
    from tenpy.algorithms.tebd import TEBDEngine
    from tenpy.models.tf_ising import TFIChain
    from tenpy.networks.mps import MPS

    # TeNPy's chain has X and Z exchanged.
    model = TFIChain({"L": n_sites, "J": COUPLING, "g": FIELD, "bc_MPS": "finite", "conserve": None})
    plus = np.array([1.0, 1.0], dtype=complex) / np.sqrt(2)
    state = MPS.from_product_state(model.lat.mps_sites(), [plus] * n_sites, bc="finite", dtype=complex)
    options = {"order": 4, "dt": STEP, "N_steps": 1, "trunc_params": {"chi_max": bond, "svd_min": CUTOFF}}
    engine = TEBDEngine(state, model, options)
    return Contestant(engine.run, lambda: np.asarray(state.expectation_value("Sigmaz")).real)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--bond", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--without", nargs="*", default=[], choices=["quimb", "tenpy"])
    parser.add_argument("--out", type=Path, help="folder for mps.md and mps.json; nothing is written without")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        # Libraries read these when they load.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SETTINGS})
    warnings.simplefilter("ignore")
    results = run(options)
    text = page(results)
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "mps.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (options.out / "mps.md").write_text(text, encoding="utf-8")


def run(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import torch

    from qdyn.dynamics.free_fermions import ising_quench
    from qdyn.processors import processor_name

    torch.set_num_threads(1)
    n_sites, bond = options.sites, options.bond
    contestants = {
        OURS: ours(n_sites, bond, single=False, split="qr"),
        "qdyn complex64": ours(n_sites, bond, single=True, split="qr"),
        "qdyn complex128, SVD throughout": ours(n_sites, bond, single=False, split="svd"),
    }
    packages = {"quimb": ("quimb", quimb), "tenpy": ("physics-tenpy", tenpy)}
    versions = {name: version(name) for name in ("torch", "numpy")}
    for name, (package, make) in packages.items():
        if name not in options.without and find_spec(name) is not None:
            versions[package] = version(package)
            contestants[f"{name} {versions[package]}"] = make(n_sites, bond)
    times = STEP * np.arange(options.steps + 1)
    exact = ising_quench(np.full(n_sites - 1, COUPLING), np.full(n_sites, FIELD), "0" * n_sites, times)
    load = os.getloadavg()[0]
    for step in range(1, options.steps + 1):
        for contestant in contestants.values():
            start = time.process_time()
            contestant.advance()
            contestant.seconds.append(time.process_time() - start)
            if step % 10 == 0:
                found = contestant.magnetisation()
                contestant.errors[step] = float(np.abs(found - exact.magnetisation[step]).max())
        if step % 10 == 0:
            print(
                f"step {step}", {name: f"{1e3 * one.seconds[-1]:.0f} ms" for name, one in contestants.items()}
            )
    rows = {
        name: {
            "milliseconds": [1e3 * value for value in one.seconds],
            "errors": one.errors,
            "discarded_weight": None if one.chain is None else one.chain.discarded,
        }
        for name, one in contestants.items()
    }
    return {
        "conditions": {
            "processor": processor_name(), "cores": os.cpu_count(), "python": platform.python_version(),
            "load": [load, os.getloadavg()[0]], **versions,
        },
        "sites": n_sites, "bond": bond, "steps": options.steps, "rows": rows,
    }  # fmt: skip


def page(results: dict[str, Any]) -> str:
    conditions, rows = results["conditions"], results["rows"]
    ours = rows[OURS]["milliseconds"]
    steps = sorted(int(step) for step in rows[OURS]["errors"])
    software = ", ".join(
        f"{key} {conditions[key]}" for key in conditions if key not in ("processor", "cores", "load")
    )
    lines = [
        "# Speed of matrix-product states",
        "",
        f"Written by `python scripts/benchmark_mps.py --sites {results['sites']} --bond {results['bond']} "
        f"--steps {results['steps']}`, whose first lines say how it measures.",
        "",
        f"{conditions['processor']}, {conditions['cores']} cores, load average "
        f"{conditions['load'][0]:.1f} at the start and {conditions['load'][1]:.1f} at the end; {software}.",
        f"Open Ising chain of {results['sites']} sites, bonds up to {results['bond']}, {results['steps']} "
        f"steps of {STEP}, fourth order, one thread. Milliseconds of CPU time a step; ratios to {OURS}, "
        "median (smallest to largest) over the late steps.",
        "",
        f"| contestant | ms a step | ms a late step | times slower | discarded weight | "
        f"{' | '.join(f'error at t = {step * STEP:g}' for step in steps)} |",
        f"|---|---|---|---|---|{'---|' * len(steps)}",
    ]
    for name, row in rows.items():
        values = row["milliseconds"]
        late = [other / mine for other, mine in zip(values[-LATE:], ours[-LATE:], strict=True)]
        ratio = "" if name == OURS else f"{median(late):.1f} ({min(late):.1f} to {max(late):.1f})"
        weight = "" if row["discarded_weight"] is None else f"{row['discarded_weight']:.1e}"
        errors = " | ".join(f"{row['errors'][step]:.0e}" for step in steps)
        mean, mean_late = sum(values[1:]) / len(values[1:]), sum(values[-LATE:]) / LATE
        lines.append(f"| {name} | {mean:.0f} | {mean_late:.0f} | {ratio} | {weight} | {errors} |")
    if results["sites"] == 40 and results["bond"] in CITED:
        every, late = CITED[results["bond"]]
        lines += [
            "",
            f"For orientation, not measured here: TeNPy 1.1.1 took {every} ms a step and {late} ms a late "
            "one for this chain on one thread of an AMD Zen 4.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
