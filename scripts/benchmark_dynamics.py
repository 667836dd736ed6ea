"""Measure what a stored state costs, beside QuTiP and, where it is installed, QuSpin.

Usage: python scripts/benchmark_dynamics.py [--quick] [--sizes 10 12 14 16] [--rounds 5] [--out FOLDER]

16 trajectories of the transverse-field Ising chain, J = 1, h = 1.05, open, from random product states, to 50
times 0.1 apart, every state kept; then the same for the XXZ chain with anisotropy 1.05, and for an XYZ chain
with Dzyaloshinskii-Moriya bonds and fields in all directions, which stands for any Hamiltonian of two-site
terms. The contestants take turns within one process, every library on one thread. Then both: what a second
thread gains over the 16 trajectories and within a single one, by the clock, so on a quiet machine only.
Time is the CPU time of the process for whole calls: checks, tables and result included; it does not depend on
who else uses the machine, except through the caches they share. QuTiP has no batches, so that it runs a few
of the trajectories one by one, at its default tolerances; the ratio is to the quickest of its methods in the
same round. Figures are medians over rounds with the smallest and the largest.

Errors are the largest deviations of an amplitude from diagonalisation (n = 10) or, at the last time, from
scipy's expm_multiply. The memory allocator keeps freed memory for the next round, so that no contestant pays
for the pages of another; the first round of every contestant is not counted.
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

SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**36),
}
BATCH, STEPS, STEP, COUPLING, FIELD = 16, 50, 0.1, 1.0, 1.05
OURS = ("qdyn complex128", "qdyn complex64")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10 and 12 sites, 3 rounds, nothing written")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 12, 14, 16])
    parser.add_argument("--large", type=int, nargs="*", default=[16, 18, 20], help="sizes of the copy floor")
    parser.add_argument("--threads", type=int, default=2, help="threads to compare with one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        # Libraries read these when they load.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SETTINGS})
    if options.quick:
        options.sizes, options.large, options.rounds = [10, 12], [16], 3
    contests = [(model, n_sites) for model in ("Ising", "XXZ") for n_sites in options.sizes]
    contests += [("XYZ", n_sites) for n_sites in options.sizes if n_sites <= 12]
    shared = [(10, BATCH), (12, BATCH)] + [(n_sites, 1) for n_sites in options.large]
    if not options.quick:
        shared += [(14, BATCH), (16, BATCH)]
    results: dict[str, Any] = {
        "conditions": conditions(),
        "peers": [compare_with_peers(*contest, options.rounds) for contest in contests],
        "disorder": own_disorder(4 * options.rounds),
        "copies": [copy_floor(n_sites) for n_sites in options.large],
        "threads": [more_threads(*job, options.threads) for job in sorted(shared)],
    }
    results["conditions"]["load average at the end"] = round(os.getloadavg()[0], 1)
    text = table(results)
    print(text)
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "dynamics.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (options.out / "dynamics.md").write_text(text, encoding="utf-8")


def conditions() -> dict[str, Any]:
    import numba
    import qutip
    import scipy
    import torch

    from qdyn.processors import processor_name

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load average at the start": round(os.getloadavg()[0], 1),
        "versions": {module.__name__: module.__version__ for module in (torch, numba, scipy, qutip)},
        "python": platform.python_version(),
    }


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "smallest": min(values), "largest": max(values)}


def compare_with_peers(model: str, n_sites: int, rounds: int) -> dict[str, Any]:
    import numpy as np
    import qutip
    import torch

    from qdyn.dynamics.evolve import evolve
    from qdyn.quantum.hamiltonians import TransverseFieldIsing
    from qdyn.quantum.pauli_sum import PauliSum
    from qdyn.quantum.spin_models import XXZ
    from qdyn.quantum.states import random_product_states

    torch.set_num_threads(1)
    models: dict[str, Callable[[], Any]] = {
        "Ising": lambda: TransverseFieldIsing(n_sites, coupling=COUPLING, field=FIELD),
        "XXZ": lambda: XXZ(n_sites, coupling=COUPLING, anisotropy=FIELD),
        "XYZ": lambda: PauliSum(strings_of_xyz(n_sites), n_sites=n_sites),
    }
    H = models[model]()
    initial = random_product_states(n_qubits=n_sites, batch=BATCH, seed=1)
    times = STEP * np.arange(STEPS + 1)
    operator = H.to_qutip()
    kets = [qutip.Qobj(state.numpy(), dims=[[2] * n_sites, [1] * n_sites]) for state in initial]
    n_peer = {10: 8, 12: 4}.get(n_sites, 1)

    def ours(dtype: torch.dtype) -> Callable[[], Any]:
        return lambda: evolve(H, initial, times, method="chebyshev", dtype=dtype).states

    def qutips(**solver: Any) -> Callable[[], Any]:
        return lambda: [qutip.sesolve(operator, ket, times, options=solver) for ket in kets[:n_peer]]

    contestants: dict[str, tuple[int, Callable[[], Any]]] = {
        OURS[0]: (BATCH, ours(torch.complex128)),
        OURS[1]: (BATCH, ours(torch.complex64)),
        "QuTiP krylov": (n_peer, qutips(method="krylov", krylov_dim=10)),
        "QuTiP adams": (n_peer, qutips()),
        "QuTiP tsit5": (n_peer, qutips(method="tsit5")),
    }
    quspin = quspin_call(H, initial[:n_peer], times)
    if quspin is not None:
        contestants["QuSpin expm_multiply_parallel"] = (n_peer, quspin)
    errors = {name: error_of(name, call(), H, initial, times) for name, (_, call) in contestants.items()}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, (n_trajectories, call) in contestants.items():
            cost = seconds(call) / (n_trajectories * STEPS)
            if turn:
                taken[name].append(1e6 * cost)
    result: dict[str, Any] = {"model": model, "n_sites": n_sites, "rounds": rounds, "errors": errors}
    result["microseconds"] = {name: spread(values) for name, values in taken.items()}
    best = [min(taken[name][turn] for name in taken if name.startswith("QuTiP")) for turn in range(rounds)]
    result["times faster"] = {
        name: spread([peer / own for peer, own in zip(best, taken[name], strict=True)]) for name in OURS
    }
    if quspin is not None:
        peers = taken["QuSpin expm_multiply_parallel"]
        result["times faster than QuSpin"] = spread(
            [p / o for p, o in zip(peers, taken[OURS[0]], strict=True)]
        )
    print(f"{model}, {n_sites} sites: {result['times faster']}", file=sys.stderr)
    return result


def strings_of_xyz(n_sites: int) -> dict[str, float]:
    """Every bond its own XX, YY, ZZ, XY and YX, every site its own X, Y and Z."""
    import numpy as np

    random = np.random.default_rng(0)
    strings = {
        f"{a}{i} {b}{i + 1}": float(random.uniform(-1, 1))
        for i in range(n_sites - 1)
        for a, b in ("XX", "YY", "ZZ", "XY", "YX")
    }
    return strings | {f"{a}{i}": float(random.uniform(-1, 1)) for i in range(n_sites) for a in "XYZ"}


def quspin_call(H: Any, initial: Any, times: Any) -> Callable[[], Any] | None:
    try:
        from quspin.tools.evolution import expm_multiply_parallel
    except ImportError:
        return None
    import numpy as np

    step = expm_multiply_parallel(H.to_sparse().astype(np.complex128), a=-1j * STEP)

    def run() -> Any:
        trajectories = []
        for state in initial.numpy():
            states = [state]
            for _ in times[1:]:
                states.append(step.dot(states[-1]))
            trajectories.append(states)
        return trajectories

    return run


def error_of(name: str, states: Any, H: Any, initial: Any, times: Any) -> float:
    import numpy as np
    from scipy.sparse.linalg import expm_multiply

    from qdyn.dynamics.evolve import evolve

    if name.startswith("QuTiP"):
        found = np.array([state.full()[:, 0] for state in states[0].states])
    else:
        found = np.asarray(states[0])
    if H.n_sites <= 10:
        exact = evolve(H, initial[0], times, method="exact").states
        assert exact is not None
        return float(np.abs(found - exact.numpy()).max())
    last = expm_multiply(-1j * float(times[-1]) * H.to_sparse(), initial[0].numpy())
    return float(np.abs(found[-1] - last).max())


def own_disorder(rounds: int) -> dict[str, Any]:
    """10 sites, couplings and fields of every trajectory drawn anew in every round."""
    import numpy as np

    from qdyn.dynamics.evolve import evolve
    from qdyn.quantum.hamiltonians import TransverseFieldIsing
    from qdyn.quantum.states import random_product_states

    n_sites = 10
    initial = random_product_states(n_qubits=n_sites, batch=BATCH, seed=1)
    times = STEP * np.arange(STEPS + 1)
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {"batch of 16": [], "one at a time": []}
    for turn in range(rounds + 1):
        J, h = random.uniform(0.5, 1.5, (BATCH, n_sites - 1)), random.uniform(0.5, 1.5, (BATCH, n_sites))
        H = TransverseFieldIsing(n_sites, coupling=J, field=h)
        batch = seconds(lambda H=H: evolve(H, initial, times, method="chebyshev"))
        alone = seconds(
            lambda H=H: [evolve(H.member(i), initial[i], times, method="chebyshev") for i in range(BATCH)]
        )
        if turn:
            taken["batch of 16"].append(1e3 * batch / BATCH)
            taken["one at a time"].append(1e3 * alone / BATCH)
    return {name: spread(values) for name, values in taken.items()}


def copy_floor(n_sites: int) -> dict[str, Any]:
    """One trajectory beside a copy of each state to the next, in the memory of the result."""
    import numpy as np
    import torch

    from qdyn.dynamics.evolve import evolve
    from qdyn.quantum.hamiltonians import TransverseFieldIsing
    from qdyn.quantum.states import random_product_states

    H = TransverseFieldIsing(n_sites, coupling=COUPLING, field=FIELD)
    initial = random_product_states(n_qubits=n_sites, batch=1, seed=1)
    times = STEP * np.arange(STEPS + 1)
    result: dict[str, Any] = {"n_sites": n_sites}
    for dtype in (torch.complex128, torch.complex64):
        evolve(H, initial, times, method="chebyshev", dtype=dtype)
        ratios, costs = [], []
        for _ in range(3):
            start = time.process_time()
            states = evolve(H, initial, times, method="chebyshev", dtype=dtype).states
            ours = time.process_time() - start
            assert states is not None
            start = time.process_time()
            for index in range(STEPS):
                states[0, index + 1] = states[0, index]
            copies = time.process_time() - start
            costs.append(1e6 * ours / STEPS)
            ratios.append(ours / copies)
            del states
        name = str(dtype).removeprefix("torch.")
        result[name] = {"microseconds": spread(costs), "copies": spread(ratios)}
    return result


def more_threads(n_sites: int, batch: int, n_threads: int) -> dict[str, Any]:
    """Gain by the clock of several threads over one; it needs a quiet machine."""
    import numpy as np
    import torch

    from qdyn.dynamics.evolve import evolve
    from qdyn.quantum.hamiltonians import TransverseFieldIsing
    from qdyn.quantum.states import random_product_states

    H = TransverseFieldIsing(n_sites, coupling=COUPLING, field=FIELD)
    initial = random_product_states(n_qubits=n_sites, batch=batch, seed=1)
    times = STEP * np.arange(STEPS + 1)
    gains, alone = [], []
    for turn in range(6 if n_sites < 20 else 3):
        clock = []
        for count in (1, n_threads):
            torch.set_num_threads(count)
            start = time.perf_counter()
            evolve(H, initial, times, method="chebyshev")
            clock.append(time.perf_counter() - start)
        torch.set_num_threads(1)
        if turn:
            gains.append(clock[0] / clock[1])
            alone.append(1e3 * clock[0])
    found = {"n_sites": n_sites, "trajectories": batch, "threads": n_threads}
    return {**found, "milliseconds on one": spread(alone), "gain": spread(gains)}


def table(results: dict[str, Any]) -> str:
    where = results["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    lines = [
        "# Speed of time evolution",
        "",
        "Written by `python scripts/benchmark_dynamics.py`, whose first lines say how it measures.",
        "",
        f"{where['processor']}, {where['cores']} cores, load average {where['load average at the start']} at "
        f"the start and {where['load average at the end']} at the end; Python {where['python']}, {versions}.",
        "One thread for every contestant. Microseconds of CPU time per stored state and trajectory: median "
        "(smallest to largest).",
        "",
        "| model | sites | contestant | microseconds | largest error | times faster than best QuTiP |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["peers"]:
        for name, cost in row["microseconds"].items():
            ratio = show(row["times faster"][name]) if name in OURS else ""
            error = f"{row['errors'][name]:.0e}"
            place = f"{row['model']} | {row['n_sites']}"
            lines.append(f"| {place} | {name} | {show(cost)} | {error} | {ratio} |")
    faster = [row for row in results["peers"] if "times faster than QuSpin" in row]
    for row in faster:
        ratio = show(row["times faster than QuSpin"])
        lines += ["", f"{row['model']}, {row['n_sites']} sites: {ratio} times faster than QuSpin."]
    if not faster:
        lines += ["", "QuSpin is not installed here and was left out."]
    lines += [
        "",
        "A trajectory with couplings and fields of its own (10 sites, 50 states, complex128, all set-up "
        "included), milliseconds: "
        + "; ".join(f"{name} {show(cost, 2)}" for name, cost in results["disorder"].items())
        + ".",
        "",
        "One trajectory beside a plain copy of each state to the next:",
        "",
        "| sites | type | microseconds per state | copies |",
        "|---|---|---|---|",
    ]
    for row in results["copies"]:
        for name in ("complex128", "complex64"):
            cell = row[name]
            lines.append(
                f"| {row['n_sites']} | {name} | {show(cell['microseconds'], 0)} | {show(cell['copies'])} |"
            )
    lines += [
        "",
        f"{results['threads'][0]['threads']} threads beside one, gain by the clock:",
        "",
        "| sites | trajectories | milliseconds on one | gain |",
        "|---|---|---|---|",
    ]
    for row in results["threads"]:
        cells = f"{show(row['milliseconds on one'])} | {show(row['gain'], 2)}"
        lines.append(f"| {row['n_sites']} | {row['trajectories']} | {cells} |")
    return "\n".join([*lines, ""])


def show(value: dict[str, float], digits: int = 1) -> str:
    middle, low, high = (f"{value[key]:.{digits}f}" for key in ("median", "smallest", "largest"))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
