"""Adam, L-BFGS, Riemannian steps and natural gradients on the published TFIM set, with the same tuning.

python scripts/compare_optimisers.py --document docs/benchmarks/optimisers.md
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.files import replacing
from qdyn.models.config import ModelConfig, UnitaryName
from qdyn.training.config import OptimiserName, RunConfig, load_config

WHOLE = 256
NEAR = 0.005


@dataclass(frozen=True)
class Entry:
    """An optimiser with the unitaries and batch size it is meant for, and the rates it may choose from."""

    optimiser: OptimiserName
    unitaries: UnitaryName
    batch_size: int
    rates: tuple[float, float, float]


ENTRIES = (
    Entry("adam", "hardware_efficient", 32, (0.01, 0.02, 0.05)),
    Entry("adam", "hardware_efficient", WHOLE, (0.01, 0.02, 0.05)),
    Entry("lbfgs", "hardware_efficient", WHOLE, (0.03, 0.1, 0.3)),
    Entry("natural", "hardware_efficient", 32, (0.1, 0.3, 1.0)),
    Entry("natural", "hardware_efficient", WHOLE, (0.1, 0.3, 1.0)),
    Entry("adam", "free", 32, (0.01, 0.02, 0.05)),
    Entry("lbfgs", "free", WHOLE, (0.03, 0.1, 0.3)),
    Entry("riemannian", "matrix", 32, (0.02, 0.05, 0.1)),
)


@dataclass(frozen=True)
class Outcome:
    """The best rate of an entry by the validation split, and what it gives."""

    entry: Entry
    rate: float
    validation: np.ndarray
    steps: np.ndarray
    test: np.ndarray
    seconds: float
    failed: int


def configured(base: RunConfig, entry: Entry, rate: float, options: argparse.Namespace) -> RunConfig:
    """The run of one entry at one rate."""
    assert isinstance(base.model, ModelConfig)
    return replace(
        base,
        model=replace(base.model, unitaries=entry.unitaries),
        training=replace(
            base.training,
            optimiser=entry.optimiser,
            learning_rate=rate,
            learning_rate_floor=min(rate, 1e-4),
            batch_size=entry.batch_size,
            steps=options.updates,
            seeds=tuple(range(options.seeds)),
            evaluate_every=5,
            checkpoint_every=options.updates,
            threads=1,
        ),
    )


def run(base: RunConfig, entry: Entry, data: SequenceDataset, options: argparse.Namespace) -> Outcome:
    """Train with each rate and keep that of lowest mean validation L_1; one that diverges has failed."""
    best: Outcome | None = None
    failed = 0
    test = data.split("test").batch(range(128))
    for rate in entry.rates:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = qdyn.train(
                    configured(base, entry, rate, options), dataset=data, out=f"{folder}/run", progress=False
                )
            except qdyn.QdynError:
                failed += 1
                continue
            seconds = time.process_time() - began
            validation = found.history.validation["L_1"]
            losses = [
                cast(Any, model).loss("L_1", test.inputs, test.targets).mean().item()
                for model in found.models
            ]
            steps = found.history.validation_steps
        outcome = Outcome(entry, rate, validation, steps, np.array(losses), seconds, failed)
        if best is None or validation[-1].mean() < best.validation[-1].mean():
            best = outcome
    if best is None:
        raise SystemExit(f"{entry.optimiser} diverged at every rate.")
    return replace(best, failed=failed)


def page(outcomes: list[Outcome], options: argparse.Namespace) -> str:
    """The page of the documentation."""
    reached = min(outcome.validation[-1].mean() for outcome in outcomes) + NEAR
    lines = [
        "# Optimisers",
        "",
        "Made by `scripts/compare_optimisers.py`: the polynomial-kernel model of `models/qsa-tfim-4q` on",
        f"tfim-4q, {options.seeds} seeds, {options.updates} updates on a cosine. Each row may choose among",
        "three learning rates by the validation split; test: mean ± standard deviation over seeds.",
        "*Near*: updates (CPU seconds, all seeds) until the mean validation L_1 is within",
        f"{NEAR} of the best row's end.",
        "",
        "| optimiser | W and V | batch | learning rate | test L_1 | ms per update | near |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        entry = outcome.entry
        per_update = outcome.seconds / options.updates
        hit = np.flatnonzero(outcome.validation.mean(axis=1) <= reached)
        near = (
            f"{outcome.steps[hit[0]]} ({outcome.steps[hit[0]] * per_update:.1f} s)" if len(hit) else "never"
        )
        note = f", {outcome.failed} of 3 rates diverged" if outcome.failed else ""
        lines.append(
            f"| {entry.optimiser} | {entry.unitaries} | {entry.batch_size} | {outcome.rate:g}{note} "
            f"| {outcome.test.mean():.4f} ± {outcome.test.std(ddof=1):.4f} | {1000 * per_update:.0f} "
            f"| {near} |"
        )
    lines += [
        "",
        "*lbfgs* has one history a seed and no line search; *riemannian* moves free unitaries along",
        "geodesics; *natural* inverts the metric that a circuit inherits from the unitary group. The",
        "diagonal of that metric is 1/4 for every rotation: its natural gradient is gradient descent.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--document", type=Path, help="where the page goes besides the terminal")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    base, data = load_config("qsa-tfim-4q"), qdyn.load_dataset("tfim-4q")
    outcomes = [run(base, entry, data, options) for entry in ENTRIES]
    text = page(outcomes, options)
    if options.document:
        with replacing(options.document) as part:
            part.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
