"""Which parts of in-context attention help: one part changed at a time, every row with the same budget.

Usage: python scripts/ablate_in_context.py [--out docs/benchmarks] [--rows PATTERN] [--seeds 5] [--steps 60]

Tracks, all on the states of the recipe tfim-4q (T = 32, d = 16; 256 training, 128 test trajectories):

    raw          states as evolved
    first_real   the first amplitude of every state real and >= 0, as published
    noise 0.1,   raw states, each with complex Gaussian noise of that squared norm, normalised again: inputs
    noise 0.2    and targets alike, so that even the true state has a loss ("the state without noise")

Every model is trained by `qdyn.train` on L_1 with Adam at 2e-2 and a cosine, batches of 32, the same number
of steps; settings were not tuned row by row. L_1 on the test split is the mean and standard deviation over
seeds of teacher-forced forecasts; `steps 0` means that only the unitary fit (Procrustes) has seen the data.
The predictors without gradient training are fitted to the same splits.

Heads start from symmetries found in the training trajectories, but "from nothing" and on noisy tracks, where
none are found; units are those of a feed-forward.

Rows that match PATTERN are computed and replace those of the same name in in-context.json; the rest stays. So
the table can be made in pieces ("circuit" is the last one). in-context.md is written from in-context.json.

The cost of the circuit is that of untrained layers without completion: V is the unitary fit, every plain step
1/||rho_j||_F, those of conjugate gradients with a ridge of 0.05 ||rho_j||_F, mu from the closed form with the
best phases, mean over the test trajectories of the raw track.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import qdyn
from qdyn.attention.in_context.attention import Conjugate, Descent
from qdyn.attention.in_context.circuit import Block, in_context_costs
from qdyn.attention.in_context.transitions import Symmetry
from qdyn.data.sequences import SequenceDataset
from qdyn.evaluation.metrics import cross_entropy, step_fidelity
from qdyn.files import write_text
from qdyn.models.base import Predictor
from qdyn.models.baselines import (
    HamiltonianIdentification,
    InContextDMD,
    LeastSquares,
    MeanHamiltonian,
    Persistence,
    Procrustes,
)
from qdyn.models.in_context.config import InContextConfig
from qdyn.quantum.states import PhaseConvention
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

TRACKS = ("raw", "first_real", "noise 0.1", "noise 0.2")
ALL: tuple[Symmetry, ...] = ("time_reversal", "reflection", "spin_flip")
#: Of untrained conjugate gradients whose circuit is priced, in units of the norm of rho.
RIDGE = 0.05
BASE: dict[str, Any] = {"layers": 8, "completion_layers": 8}
DESCENT = BASE | {"steps": "descent"}
BLOCKS: dict[str, Any] = {"layers": 4, "completion_layers": 2, "symmetries": ALL, "phases": "as_given"}

FOUND: dict[str, Any] = {"heads": 5, "backward_heads": 5}

NOISY_MODELS: list[tuple[str, dict[str, Any], int | None]] = [
    ("1 block", BLOCKS, None),
    ("2 blocks", BLOCKS | {"blocks": 2}, None),
    ("3 blocks", BLOCKS | {"blocks": 3}, None),
    ("2 blocks, steps 0", BLOCKS | {"blocks": 2}, 0),
    ("2 blocks, phases restored", BLOCKS | {"blocks": 2, "phases": "transport"}, None),
    ("2 blocks, no symmetries", BLOCKS | {"blocks": 2, "symmetries": ()}, None),
    ("2 blocks, no symmetries, 5 + 5 heads", BLOCKS | {"blocks": 2, "symmetries": ()} | FOUND, None),
    ("2 blocks, 2 units of feed-forward", BLOCKS | {"blocks": 2, "feed_forward": 2}, None),
]

#: track, name, configuration, trained steps (None: as the command line says)
MODELS: list[tuple[str, str, dict[str, Any], int | None]] = [
    ("raw", "base: 8 layers", BASE, None),
    ("raw", "base, steps 0", BASE, 0),
    ("raw", "1 layer", BASE | {"layers": 1}, None),
    ("raw", "2 layers", BASE | {"layers": 2}, None),
    ("raw", "4 layers", BASE | {"layers": 4}, None),
    ("raw", "12 layers", BASE | {"layers": 12, "completion_layers": 12}, None),
    ("raw", "phases as given", BASE | {"phases": "as_given"}, None),
    ("raw", "no completion", BASE | {"completion_layers": 0}, None),
    ("raw", "cold start of V", BASE | {"warm_start": False}, None),
    ("raw", "V not trained", BASE | {"train_value": False}, None),
    ("raw", "V a circuit of 43 layers", BASE | {"unitaries": "hardware_efficient"}, None),
    ("raw", "time reversal", BASE | {"symmetries": ALL[:1]}, None),
    ("raw", "reflection and spin flip", BASE | {"symmetries": ALL[1:]}, None),
    ("raw", "all three symmetries", BASE | {"symmetries": ALL}, None),
    ("raw", "5 heads", BASE | {"heads": 5}, None),
    ("raw", "5 heads, 5 backwards", BASE | FOUND, None),
    ("raw", "5 heads, 5 backwards, steps 0", BASE | FOUND, 0),
    ("raw", "5 heads, 5 backwards, from nothing", BASE | FOUND | {"head_start": "cold"}, None),
    ("raw", "1 unit of feed-forward", BASE | {"feed_forward": 1}, None),
    ("raw", "2 units of feed-forward", BASE | {"feed_forward": 2}, None),
    ("raw", "5 heads, 5 backwards, 2 units", BASE | FOUND | {"feed_forward": 2}, None),
    ("raw", "learnt steps", DESCENT, None),
    ("raw", "learnt steps, momentum", DESCENT | {"momentum": True}, None),
    ("raw", "learnt steps, W_l", DESCENT | {"score_unitaries": True}, None),
    ("raw", "learnt steps, kernel to degree 2", DESCENT | {"kernel_degree": 2}, None),
    ("first_real", "base: 8 layers", BASE, None),
    ("first_real", "phases as given", BASE | {"phases": "as_given"}, None),
    ("first_real", "12 layers", BASE | {"layers": 12, "completion_layers": 12}, None),
    ("first_real", "all three symmetries", BASE | {"symmetries": ALL}, None),
    ("first_real", "5 heads, 5 backwards", BASE | FOUND, None),
    *((noise, *model) for noise in TRACKS[2:] for model in NOISY_MODELS),
]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        track: Which states.
        name: What was changed.
        trained: Whether gradients were followed.
        mean: Of test L_1 over seeds.
        deviation: Sample standard deviation over seeds; 0 for one.
        worst: Largest over seeds.
        early: Mean test L_1 of the first 8 steps.
        late: Mean test L_1 of the last 8 steps.
        seeds: How many.
        parameters: Trained real numbers.
        seconds: CPU time of the training of all seeds together.
    """

    track: str
    name: str
    trained: bool
    mean: float
    deviation: float
    worst: float
    early: float
    late: float
    seeds: int
    parameters: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--rows", default="", help="regular expression on 'track/name'; default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = options.out / "in-context.json"
    content = json.loads(table.read_text()) if table.exists() else {"rows": []}
    rows = {(row["track"], row["name"]): row for row in content["rows"]}
    circuit = (
        costs() if re.search(options.rows, "circuit") or "circuit" not in content else content["circuit"]
    )
    for track, name, model, steps in MODELS:
        if re.search(options.rows, f"{track}/{name}"):
            wanted = options.steps if steps is None else steps
            keep(rows, trained_row(track, name, InContextConfig(**model), wanted, options.seeds))
            write(options, rows, circuit)
    for track in TRACKS:
        for predictor in untrained():
            if re.search(options.rows, f"{track}/{predictor.label}"):
                keep(rows, untrained_row(track, predictor))
        if track.startswith("noise") and re.search(options.rows, f"{track}/the state without noise"):
            keep(rows, floor_row(track))
        write(options, rows, circuit)


def keep(rows: dict[tuple[str, str], dict[str, Any]], row: Row) -> None:
    rows[row.track, row.name] = asdict(row)
    print(
        f"{row.track:11s} {row.name:34s} {row.mean:.4f} +- {row.deviation:.4f} {row.seconds:.0f} s",
        flush=True,
    )


def trained_row(track: str, name: str, model: InContextConfig, steps: int, seeds: int) -> Row:
    data = dataset(track)
    config = RunConfig(
        name="in-context",
        dataset=DatasetConfig(name="tfim-4q", phase_convention=data.metadata.phase_convention),
        model=model,
        # No step is one that does not move: the weights that a run writes are the warm start.
        training=TrainingConfig(
            loss="L_1",
            steps=max(steps, 1),
            learning_rate=2e-2 if steps else 1e-12,
            learning_rate_floor=1e-4 if steps else 0.0,
            seeds=tuple(range(seeds)),
            evaluate_every=max(steps, 1),
        ),
    )
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = qdyn.train(config, dataset=data, out=Path(folder) / "run", progress=False)
        spent = time.process_time() - before
        losses = np.stack([test_losses(one, data) for one in run.models])
    return summary(
        track,
        name,
        losses,
        trained=steps > 0,
        parameters=run.record.parameters if steps else 0,
        seconds=spent,
    )


def untrained() -> list[Predictor]:
    return [
        Persistence(),
        LeastSquares(),
        Procrustes(),
        MeanHamiltonian(),
        InContextDMD(),
        InContextDMD(residual="procrustes"),
        HamiltonianIdentification(),
    ]


def untrained_row(track: str, predictor: Predictor) -> Row:
    data = dataset(track)
    before = time.process_time()
    losses = test_losses(predictor.fit(data), data)[None]
    return summary(track, predictor.label, losses, seconds=time.process_time() - before)


def floor_row(track: str) -> Row:
    noisy, clean = dataset(track).split("test"), dataset("raw").split("test")
    indices = range(len(noisy))
    p = step_fidelity(clean.batch(indices).targets, noisy.batch(indices).targets)
    return summary(track, "the state without noise", surprise(p)[None])


def summary(
    track: str,
    name: str,
    losses: np.ndarray,
    *,
    trained: bool = False,
    parameters: int = 0,
    seconds: float = 0.0,
) -> Row:
    """From -log p of every step, (seeds, sequences, steps)."""
    of_seed = losses.mean(axis=(1, 2))
    return Row(
        track=track,
        name=name,
        trained=trained,
        mean=float(of_seed.mean()),
        deviation=float(of_seed.std(ddof=1)) if len(of_seed) > 1 else 0.0,
        worst=float(of_seed.max()),
        early=float(losses[:, :, :8].mean()),
        late=float(losses[:, :, -8:].mean()),
        seeds=len(of_seed),
        parameters=parameters,
        seconds=round(seconds, 1),
    )


def test_losses(predictor: Predictor, data: SequenceDataset) -> np.ndarray:
    """-log p of the test split, (sequences, steps)."""
    test = data.split("test")
    batch = test.batch(range(len(test)))
    with torch.no_grad():
        p = step_fidelity(predictor.forecast(batch.inputs, batch.mask), batch.targets)
    assert abs(float(cross_entropy(p, batch.mask).mean()) - surprise(p).mean()) < 1e-5
    return surprise(p)


def surprise(p: torch.Tensor) -> np.ndarray:
    found: np.ndarray = -np.log(np.maximum(p.double().numpy(), 1e-30))
    return found


def dataset(track: str) -> SequenceDataset:
    """tfim-4q as the track shows it."""
    if not track.startswith("noise"):
        return qdyn.load_dataset("tfim-4q", phase_convention=cast(PhaseConvention, track))
    clean = qdyn.load_dataset("tfim-4q", phase_convention="raw")
    batch = clean.batch(range(len(clean)))
    states = torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1).numpy().astype(np.complex128)
    random = np.random.default_rng(np.random.SeedSequence(2024))
    noise = random.standard_normal((*states.shape, 2)) @ np.array([1, 1j]) / np.sqrt(2 * states.shape[-1])
    states = states + np.sqrt(float(track.removeprefix("noise "))) * noise
    sizes = np.cumsum([0, *(len(clean.split(name)) for name in clean.split_names)])
    return SequenceDataset.from_arrays(
        states / np.linalg.norm(states, axis=-1, keepdims=True),
        kind="quantum_state",
        name="tfim-4q with noise",
        times=clean.times,
        conditions={name: values.numpy() for name, values in batch.conditions.items()},
        splits={name: (int(sizes[i]), int(sizes[i + 1])) for i, name in enumerate(clean.split_names)},
        units=clean.metadata.units,
        recipe=clean.metadata.recipe,
    )


def costs() -> list[dict[str, Any]]:
    """What layers cost as a circuit, without training."""
    data = dataset("raw")
    value = Procrustes().fit(data).matrix
    assert value is not None
    test = data.split("test")
    batch = test.batch(range(len(test)))
    x, y = batch.inputs, batch.targets.to(torch.complex128)
    ones = torch.ones(x.shape[1], dtype=torch.float64)
    layers = (1, 2, 4, 8, 12)
    variants: list[tuple[str, int, Block, tuple[Symmetry, ...]]] = [
        *(("plain", n, Block(Descent(ones.expand(n, -1))), ()) for n in (*layers, 16, 32)),
        *(("conjugate", n, Block(Conjugate(n, RIDGE * ones)), ()) for n in layers),
        *(("conjugate, three symmetries", n, Block(Conjugate(n, RIDGE * ones)), ALL) for n in layers),
    ]
    found = []
    for steps, number, block, symmetries in variants:
        each = [in_context_costs(one, value, block, symmetries=symmetries) for one in x]
        z, prices = torch.stack([one.predictions for one in each]), torch.stack([one.prices for one in each])
        overlaps = (y.conj() * z).sum(dim=-1).abs()
        p = step_fidelity(z / torch.linalg.vector_norm(z, dim=-1, keepdim=True), y)
        found.append(
            {
                "steps": steps,
                "layers": number,
                "qubits": each[0].qubits,
                "loss": float(surprise(p).mean()),
                "price": float(prices.mean()),
                "median_price": float(prices.median()),
                "mu": float((overlaps.sum(dim=-1) / prices.sum(dim=-1)).square().mean()),
            }
        )
    return found


def write(
    options: argparse.Namespace, rows: dict[tuple[str, str], dict[str, Any]], circuit: list[dict[str, Any]]
) -> None:
    """in-context.json, and in-context.md made from it."""
    conditions = {"steps": options.steps, "seeds": options.seeds, "torch": torch.__version__}
    order = {(track, name): place for place, (track, name, *_) in enumerate(MODELS)}
    listed = sorted(rows.values(), key=lambda row: (order.get((row["track"], row["name"]), 999), row["mean"]))
    options.out.mkdir(parents=True, exist_ok=True)
    content = {"conditions": conditions, "rows": listed, "circuit": circuit}
    write_text(options.out / "in-context.json", json.dumps(content, indent=1) + "\n")
    lines = [
        "# In-context attention, part by part",
        "",
        "Written by `python scripts/ablate_in_context.py`, whose first lines say what the rows are. What the "
        "parts do: [in_context_attention.md](../in_context_attention.md). Rows in italics are not trained by "
        "gradients.",
        "",
        f"{options.steps} steps of training, {options.seeds} seeds (mean and standard deviation over seeds), "
        f"torch {torch.__version__}, one thread. Steps 1-8 and 25-32: mean L_1 of the first and the last 8 "
        "forecasts.",
    ]
    for track in TRACKS:
        if not any(row["track"] == track for row in listed):
            continue
        lines += ["", f"## {track}", "", "| | test L_1 | worst seed | steps 1-8 | steps 25-32 | parameters |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [line_of(row) for row in listed if row["track"] == track]
    lines += ["", "## The circuit of one block, untrained", ""]
    lines += ["| steps | layers | qubits | test L_1 | mean price | median price | mean mu |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {c['steps']} | {c['layers']} | {c['qubits']} | {c['loss']:.4f} | {c['price']:.3g} "
        f"| {c['median_price']:.3g} | {c['mu']:.1e} |"
        for c in circuit
    ]
    write_text(options.out / "in-context.md", "\n".join(lines) + "\n")


def line_of(row: dict[str, Any]) -> str:
    spread = f" ± {row['deviation']:.4f}" if row["seeds"] > 1 else ""
    name = row["name"] if row["trained"] or row["seeds"] > 1 else f"*{row['name']}*"
    numbers = [f"{row['mean']:.4f}{spread}", *(f"{row[key]:.4f}" for key in ("worst", "early", "late"))]
    return f"| {' | '.join([name, *numbers, str(row['parameters'] or '')])} |"


if __name__ == "__main__":
    main()
