"""Measure how fast random windows come out of a warm file, beside other ways to store the same states.

Usage: python scripts/benchmark_data.py [--sequences 512] [--batch 64] [--rounds 9] [--wall] [--folder FOLDER]

A window is 16 steps, 17 states of 10 qubits in single precision (139 kB), at a random place of a random
sequence. The contestants take turns within one process on one thread. Time is the CPU time of the process: it
includes the system's copying out of the page cache, and does not depend on who else uses the machine; --wall
takes the clock instead. Each figure is the median over rounds, with the smallest and the largest, and each
ratio the median over rounds of the ratio within a round. A window counts as read when it is a complex tensor
in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from qdyn import SequenceDataset
from qdyn.data.batch import collate
from qdyn.data.store import open_dataset

STEPS, ELEMENTS, DIMENSION = 16, 51, 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--windows", type=int, default=2048, help="windows a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--wall", action="store_true", help="time by the clock")
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options)


def measure(folder: Path, options: argparse.Namespace) -> None:
    states = random_states(options.sequences)
    SequenceDataset.from_arrays(states, kind="quantum_state").save(folder / "qdyn.h5")
    with h5py.File(folder / "compound.h5", "w") as file:
        file["states"] = states
    np.save(folder / "states.npy", states)

    dataset = open_dataset(folder / "qdyn.h5", cached_bytes=0)
    windows = dataset.windows(STEPS)
    first_real = windows.with_phase_convention("first_real")
    places = ELEMENTS - STEPS
    with h5py.File(folder / "compound.h5") as compound, h5py.File(folder / "qdyn.h5") as pairs:
        mapped = np.load(folder / "states.npy", mmap_mode="r")

        def from_compound(chosen: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(by_h5py(compound["states"], chosen, places))

        def from_pairs(chosen: np.ndarray) -> torch.Tensor:
            return torch.view_as_complex(torch.from_numpy(by_h5py(pairs["states"], chosen, places)))

        def from_memory_map(chosen: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(
                np.stack([mapped[i // places, i % places :][: STEPS + 1] for i in chosen.tolist()])
            )

        contestants: dict[str, Callable[[np.ndarray], torch.Tensor]] = {
            "qdyn, one batch": lambda chosen: windows.batch(chosen).inputs,
            "qdyn, one batch, first_real phases": lambda chosen: first_real.batch(chosen).inputs,
            "qdyn, one window at a time": lambda chosen: (
                collate([windows[i] for i in chosen.tolist()]).inputs
            ),
            "h5py, the same file": from_pairs,
            "h5py, compound complex type": from_compound,
            "numpy memory map of .npy": from_memory_map,
        }
        check_equal(contestants, windows)
        rates = race(contestants, len(windows), options)
    report(rates, options)


def random_states(count: int) -> np.ndarray:
    """Unit vectors; how fast they are read does not depend on what they are."""
    random = np.random.default_rng(0)
    states = np.empty((count, ELEMENTS, DIMENSION), dtype=np.complex64)
    for row in states:
        parts = random.standard_normal((ELEMENTS, DIMENSION, 2), dtype=np.float32)
        row[:] = parts.view(np.complex64)[..., 0] / np.linalg.norm(parts, axis=(1, 2))[:, None]
    return states


def by_h5py(stored: h5py.Dataset, chosen: np.ndarray, places: int) -> np.ndarray:
    out = np.empty((len(chosen), STEPS + 1, *stored.shape[2:]), dtype=stored.dtype)
    for row, index in enumerate(chosen.tolist()):
        start = index % places
        out[row] = stored[index // places, start : start + STEPS + 1]
    return out


def check_equal(
    contestants: dict[str, Callable[[np.ndarray], torch.Tensor]], windows: SequenceDataset
) -> None:
    chosen = np.array([0, 1, len(windows) // 2, len(windows) - 1])
    wanted = windows.sequences(chosen)
    for name, read in contestants.items():
        if "phases" not in name and "at a time" not in name:
            found = read(chosen)
            assert torch.equal(found, wanted[:, : found.shape[1]]), name


def race(
    contestants: dict[str, Callable[[np.ndarray], torch.Tensor]], count: int, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Windows a second of each contestant in each round."""
    random = np.random.default_rng(1)
    clock = time.perf_counter if options.wall else time.process_time
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.rounds + 1):
        chosen = random.integers(0, count, (options.windows // options.batch, options.batch))
        for name, read in contestants.items():
            began = clock()
            for batch in chosen:
                read(batch)
            # The first round warms the page cache.
            if number:
                rates[name].append(chosen.size / (clock() - began))
    return rates


def report(rates: dict[str, list[float]], options: argparse.Namespace) -> None:
    ours = np.array(rates["qdyn, one batch"])
    print(
        f"{options.sequences} x {ELEMENTS} x {DIMENSION} complex64, windows of {STEPS} steps, batches of "
        f"{options.batch}, {'clock' if options.wall else 'CPU'} time"
    )
    print(f"{'':36s}{'windows/s':>12s}{'min':>10s}{'max':>10s}{'ours/this':>12s}{'min':>7s}{'max':>7s}")
    for name, found in rates.items():
        ratio = ours / np.array(found)
        print(
            f"{name:36s}{np.median(found):12,.0f}{min(found):10,.0f}{max(found):10,.0f}"
            f"{np.median(ratio):12.2f}{ratio.min():7.2f}{ratio.max():7.2f}"
        )


if __name__ == "__main__":
    main()
