"""Measure how many molecules are drawn in a minute, and how many properties are computed.

Usage: python scripts/benchmark_molecules.py [--quick] [--weights FILE ...] [--queries 10240] [--rounds 5]
       [--out FOLDER]

Part one, drawing. The contestants take turns in one process:

    cached          `sample_sequences`: keys and values kept, double precision, one thread
    cached, 2       the same on two threads
    whole prefix    the same without a cache, single precision, one thread
    plain           what one would write down, and as arXiv:2502.19214 draws: the model on the whole prefix at
                    every step, multinomial draws, all sequences to the longest length; one thread

They draw the same number of sequences in blocks of 512; fewer of those that are slow, in whole blocks. Models
are as initialised, or published weights (FILE: .safetensors). Part two, the nine properties by RDKit of all
47,521 molecules of up to six atoms, in one process and in two, their start included: processes started by a
script import PyTorch as it does, those started by `qdyn` on the command line import RDKit alone.

Rates are by the clock. Figures are medians over rounds with the smallest and the largest; ratios are taken
within a round.
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

import torch
from benchmark_circuits import show, spread, told

from qdyn.data.molecules.properties import molecule_properties
from qdyn.data.molecules.small_molecules import MOST_ATOMS, small_molecules
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.smiles import BEGIN, QM9_BLOCK, QM9_VOCABULARY
from qdyn.models import HybridDecoder
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig, ScoreName
from qdyn.models.sampling import BLOCK, sample_sequences
from qdyn.processors import processor_name, torch_threads

SCORES: tuple[ScoreName, ...] = ("quantum", "classical")
PLAIN = "plain"
FEWER = 4
"""How many times fewer sequences those draw that keep nothing."""
MOST_IDLE = 1.5
"""The largest load average before a benchmark of a machine that is called idle."""
Draw = Callable[[int], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few sequences, 2 rounds, nothing written")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="published weights")
    parser.add_argument("--queries", type=int, default=20 * BLOCK)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    if options.quick:
        options.queries, options.rounds = 4 * BLOCK, 2
    results: dict[str, Any] = {"conditions": conditions(), "drawing": []}
    with torch_threads(1):
        for name, model in models(options.weights):
            results["drawing"].append(told(drawing(name, model, options)))
    if not options.quick:
        results["properties"] = told(properties(options.rounds))
    results["conditions"]["load average at the end"] = round(os.getloadavg()[0], 1)
    text = table(results)
    print(text)
    if not options.quick:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "molecules.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (options.out / "molecules.md").write_text(text, encoding="utf-8")


def conditions() -> dict[str, Any]:
    import rdkit

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load average at the start": round(os.getloadavg()[0], 1),
        "versions": {"rdkit": rdkit.__version__, "torch": torch.__version__},
        "python": platform.python_version(),
    }


def models(weights: list[Path]) -> list[tuple[str, HybridDecoder]]:
    if weights:
        return [(f"{path.stem}, published", HybridDecoder.from_published(path)) for path in weights]
    data = SequenceMetadata("qm9", "token", len(QM9_VOCABULARY), vocabulary=QM9_VOCABULARY)
    return [
        (f"{score}, as initialised", HybridDecoder(HybridDecoderConfig(score=score), data).eval())
        for score in SCORES
    ]


# -- drawing -----------------------------------------------------------------------------------------------


def drawing(name: str, model: HybridDecoder, options: argparse.Namespace) -> dict[str, Any]:
    """Molecules a minute of every contestant, and over the plain loop."""
    few = max(BLOCK, options.queries // FEWER // BLOCK * BLOCK)
    contestants: dict[str, tuple[Draw, int]] = {
        "cached": (ours(model), options.queries),
        "cached, 2 threads": (ours(model, workers=2), options.queries),
        "whole prefix": (ours(model, cached=False), few),
        PLAIN: (lambda count: plain(model, count), few),
    }
    turns = [
        {key: 60 * count / seconds(draw, count) for key, (draw, count) in contestants.items()}
        for _ in range(options.rounds + 1)
    ][1:]
    return {
        "model": name,
        "molecules a minute": {key: spread([turn[key] for turn in turns]) for key in contestants},
        "times plain": {key: spread([turn[key] / turn[PLAIN] for turn in turns]) for key in contestants},
    }


def ours(model: HybridDecoder, *, workers: int = 1, cached: bool = True) -> Draw:
    return lambda count: sample_sequences(model, count, elements=QM9_BLOCK, workers=workers, cached=cached)


@torch.no_grad()
def plain(model: HybridDecoder, count: int) -> torch.Tensor:
    """The whole prefix at every step, for all sequences."""
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(0, count, BLOCK):
        words = torch.full((BLOCK, 1), QM9_VOCABULARY.index(BEGIN))
        for _ in range(QM9_BLOCK - 1):
            logits, _ = model(words)
            following = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=generator)
            words = torch.cat([words, following], dim=1)
        drawn.append(words)
    return torch.cat(drawn)


# -- properties --------------------------------------------------------------------------------------------


def properties(rounds: int) -> dict[str, Any]:
    """Molecules a minute whose nine properties are computed, in one process and in two."""
    smiles = small_molecules(MOST_ATOMS - 1)

    def rate(workers: int) -> float:
        return 60 * len(smiles) / seconds(lambda _: molecule_properties(smiles, workers=workers), 0)

    turns = [{workers: rate(workers) for workers in (1, 2)} for _ in range(rounds)]
    return {
        "molecules": len(smiles),
        "molecules a minute": {f"{n} processes": spread([turn[n] for turn in turns]) for n in (1, 2)},
        "times one process": spread([turn[2] / turn[1] for turn in turns]),
    }


# -- measuring and writing ---------------------------------------------------------------------------------


def seconds(work: Callable[[int], Any], count: int) -> float:
    began = time.perf_counter()
    work(count)
    return time.perf_counter() - began


def table(results: dict[str, Any]) -> str:
    where = results["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    busy = where["load average at the start"] > MOST_IDLE
    lines = [
        "# Speed of drawing molecules",
        "",
        "Written by `python scripts/benchmark_molecules.py`, whose first lines say how it measures.",
        "",
        f"{where['processor']}, {where['cores']} cores, load average {where['load average at the start']} at "
        f"the start and {where['load average at the end']} at the end; Python {where['python']}, {versions}.",
        "By the clock; median (smallest to largest)."
        + (" Other jobs ran beside it: an idle machine is faster." if busy else ""),
        "",
        "| model | contestant | thousand molecules a minute | times plain |",
        "|---|---|---|---|",
    ]
    for row in results["drawing"]:
        for name, rate in row["molecules a minute"].items():
            ratio = "" if name == PLAIN else show(row["times plain"][name], 1)
            lines.append(f"| {row['model']} | {name} | {show(thousands(rate), 1)} | {ratio} |")
    found = results.get("properties")
    if found is not None:
        lines += [
            "",
            f"Nine properties of {found['molecules']} molecules, the start of processes included:",
            "",
            "| processes | thousand molecules a minute | times one process |",
            "|---|---|---|",
        ]
        for name, rate in found["molecules a minute"].items():
            ratio = show(found["times one process"], 2) if name.startswith("2") else ""
            lines.append(f"| {name.partition(' ')[0]} | {show(thousands(rate), 1)} | {ratio} |")
    return "\n".join([*lines, ""])


def thousands(rate: dict[str, float]) -> dict[str, float]:
    return {name: value / 1000 for name, value in rate.items()}


if __name__ == "__main__":
    main()
