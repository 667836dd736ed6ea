"""Forecasts of local observables at horizons 1 to 40: trained models beside those that need no training.

python scripts/forecast_observables.py --out runs/observables --document docs/benchmarks

Interrupted or killed, the same command goes on where it stood.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.evaluation.horizon_errors import HorizonErrors, horizon_errors
from qdyn.files import make_folder, write_json, write_text
from qdyn.models.base import Predictor
from qdyn.models.baselines import AutoRegression, HigherOrderDMD, Persistence, TrainingMean
from qdyn.models.config import ModelSection
from qdyn.models.series.config import QLSTMConfig, SeriesEncoderConfig
from qdyn.plotting import (
    CHANCE_STYLE,
    EXACT_STYLE,
    MODEL_STYLE,
    OTHER_STYLES,
    Line,
    dress,
    new_figure,
    plot_lines,
    save_figure,
    shared_legend,
)
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

STEPS = 40
SHOWN = (1, 2, 5, 10, 20, 40)
# Elements seen before a roll-out.
ORIGINS = {"tfim-12q-observables": (64, 128, 192), "mfim-8q-observables": (40, 56)}
WINDOW, BATCH = 20, 32
# Up to what the trained models see, and until no best is at an edge that could be moved.
ORDERS = (1, 2, 4, 8, 12, 16, 20)
DELAYS, CUTOFFS = (2, 4, 8, 12, 16, 20), (9e-1, 6e-1, 3e-1, 1e-1, 3e-2, 1e-2, 1e-3, 1e-5, 1e-7)
FIGURE = "../images/observables.png"

MODELS: dict[str, ModelSection] = {
    "classical": SeriesEncoderConfig(layers=2, dropout=0.0, window=WINDOW),
    "qasa": SeriesEncoderConfig(
        layers=2, dropout=0.0, window=WINDOW, adapter="quantum", adapter_layers=(1,), pruned=True
    ),
    "bottleneck": SeriesEncoderConfig(
        layers=2, dropout=0.0, window=WINDOW, adapter="bottleneck", adapter_layers=(1,)
    ),
    "qlstm": QLSTMConfig(window=WINDOW, dropout=0.0),
}
LABELS = {
    "classical": "Transformer encoder",
    "qasa": "The same with QASA's adapter in its last layer",
    "bottleneck": "The same with a classical bottleneck there",
    "qlstm": "QLSTM",
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    key: str
    label: str
    standing: str
    seeds: int
    parameters: int
    passes: float
    errors: HorizonErrors


def rows_of(name: str, options: argparse.Namespace) -> list[Row]:
    """Every forecaster on one dataset."""
    data = qdyn.load_dataset(name, progress=False)
    origins = ORIGINS[name]
    rows = []
    for model in untrained(data, origins):
        began = time.process_time()
        found = horizon_errors(model, data, origins=origins, steps=STEPS)
        rows.append(Row(model.name, model.label, "untrained", 1, parameters(model), 0.0, found))
        print(f"{name} {model.name}: {found.nmse[0]:.3f}, {time.process_time() - began:.0f} s", flush=True)
    for key in options.models:
        run = train(key, name, options)
        found = horizon_errors(run.models, data, origins=origins, steps=STEPS)
        count = sum(one.numel() for one in run.models[0].parameters())  # type: ignore[attr-defined]
        windows = len(data.split("train")) * (data.n_steps - WINDOW + 1)
        passes = options.steps * BATCH / windows
        rows.append(Row(key, LABELS[key], "trained", len(run.models), count, passes, found))
        seconds = run.record.training_seconds
        print(f"{name} {key}: {found.nmse[0]:.3f}, trained for {seconds:.0f} s", flush=True)
    return rows


def parameters(model: Predictor) -> int:
    """Numbers learnt from the training split."""
    return int(getattr(model, "n_parameters", 0))


def untrained(data: SequenceDataset, origins: tuple[int, ...]) -> list[Predictor]:
    """Fitted; order and cutoff are those with the least error of roll-outs on the validation split."""

    def error(model: Predictor) -> float:
        found = horizon_errors(model, data, origins=origins, steps=STEPS, split="validation")
        return float(found.nmse.mean())

    regressions = [AutoRegression(order).fit(data) for order in ORDERS]
    decompositions = [HigherOrderDMD(delay, cutoff=cut).fit(data) for delay in DELAYS for cut in CUTOFFS]
    best = min(decompositions, key=error)
    best.label += f", cutoff {best.cutoff:g}"
    return [
        TrainingMean().fit(data),
        Persistence().fit(data),
        regressions[0],
        min(regressions, key=error),
        best,
    ]


def train(key: str, name: str, options: argparse.Namespace) -> qdyn.Run:
    """The same budget for every model: updates, windows in a mini-batch, optimiser, seeds."""
    config = RunConfig(
        name=key,
        dataset=DatasetConfig(name=name, window=WINDOW),
        model=MODELS[key],
        training=TrainingConfig(
            loss="MSE",
            steps=options.steps,
            batch_size=BATCH,
            optimiser="adamw",
            weight_decay=1e-4,
            learning_rate=2e-3,
            learning_rate_floor=0.0,
            gradient_clip=1.0,
            keep="best",
            seeds=tuple(range(options.seeds)),
            log_every=50,
            evaluate_every=max(50, options.steps // 10),
            checkpoint_every=50,
            threads=1,
        ),
    )
    place = options.out / name / key
    return qdyn.train(config, out=place, resume=(place / "run.json").exists(), progress=False)


def as_dict(row: Row) -> dict[str, Any]:
    """Plain numbers."""
    return {
        "key": row.key, "label": row.label, "standing": row.standing, "seeds": row.seeds,
        "parameters": row.parameters, "passes": row.passes, "nmse": row.errors.nmse.tolist(),
        "standard_error": row.errors.standard_error.tolist(),
        "std": None if row.errors.std is None else row.errors.std.tolist(),
    }  # fmt: skip


def page(tables: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """The page of the documentation."""
    lines = [
        "# Quantum observables as time series",
        "",
        *prose(
            "Made by `scripts/forecast_observables.py`. Magnetisations and correlators of neighbours along x",
            "and z, forecast from what has been seen of a trajectory, forecasts fed back, at",
            "horizons of up to",
            f"{STEPS} steps. NMSE is the squared error over that of the mean of the training",
            "split, which is 1",
            "at every horizon. In brackets the standard error over test trajectories in the last digits,",
            "that of a ratio of two means over the same trajectories; of trained models it is that of the",
            "mean over seeds.",
        ),
        "",
        *prose(
            f"Trained models: {options.seeds} seeds each, {options.steps} updates of AdamW on {BATCH}",
            f"windows of {WINDOW} steps, causal, two encoder layers of width 64; of all evaluations on the",
            "validation split the best is kept. The order of AR(p), and the order and cutoff of the",
            "higher-order dynamic-mode decomposition (HODMD), are the best on the validation split: of",
            f"orders {', '.join(map(str, ORDERS))}, of {', '.join(map(str, DELAYS))} and cutoffs",
            f"{', '.join(f'{cut:g}' for cut in CUTOFFS)}. HODMD",
            "sees the whole trajectory up to the origin, the trained models its last",
            f"{WINDOW} elements, AR(p) the last p.",
        ),
        "",
        f"![NMSE against the horizon]({FIGURE})",
    ]
    for name, rows in tables.items():
        origins = ", ".join(map(str, ORIGINS[name]))
        lines += [
            "",
            f"## {name}",
            "",
            f"Roll-outs of the test trajectories after {origins} elements. The trained models have made",
            f"{rows[-1]['passes']:.2g} passes over the training windows.",
            "",
            f"| forecaster | parameters | {' | '.join(f'h = {h}' for h in SHOWN)} |",
            "|---|---" + "|---" * len(SHOWN) + "|",
        ]
        for row in rows:
            cells = [bracketed(row["nmse"][h - 1], row["standard_error"][h - 1]) for h in SHOWN]
            label = f"**{row['label']}**" if row["standing"] == "trained" else row["label"]
            lines.append(f"| {label} | {row['parameters']} | {' | '.join(cells)} |")
        lines += ["", *verdict(rows)]
    return "\n".join(lines) + "\n"


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Who has the least error at each horizon of the table."""
    best: dict[str, list[str]] = {}
    for h in SHOWN:
        first = min(rows, key=lambda row: row["nmse"][h - 1])
        best.setdefault(first["label"], []).append(str(h))
    parts = [f"{label} at h = {', '.join(horizons)}" for label, horizons in best.items()]
    return prose("Least error:", "; ".join(parts) + ".")


def bracketed(value: float, error: float) -> str:
    """0.123(4); errors of at least 1 are written with one digit after the point."""
    if value >= 1000:
        return f"{value:.1e}"
    if error < 1e-9:
        return f"{value:.4g}"
    digits = int(np.clip(np.ceil(-np.log10(max(error, 1e-4))), 1, 4))
    return f"{value:.{digits}f}({round(error * 10**digits)})"


def prose(*parts: str) -> list[str]:
    """A paragraph, wrapped."""
    return textwrap.wrap(" ".join(parts), 118)


def draw(tables: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """NMSE against the horizon, one panel a dataset."""
    figure = new_figure(12.0, 5.2)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    styles = {
        "mean": CHANCE_STYLE, "persistence": OTHER_STYLES[3], "autoregression": OTHER_STYLES[1],
        "higher_order_dmd": EXACT_STYLE, "classical": OTHER_STYLES[4], "qasa": MODEL_STYLE,
        "bottleneck": OTHER_STYLES[5], "qlstm": OTHER_STYLES[2],
    }  # fmt: skip
    horizon = np.arange(1, STEPS + 1)
    for axes, (name, rows) in zip(panels, tables.items(), strict=True):
        dress(axes, xlabel="horizon in steps", ylabel="NMSE (mean predictor: 1)", title=name)
        # The first-order regression is in the table; a figure holds the better of the two.
        chosen = {row["key"]: row for row in rows}
        lines = [
            Line(
                "AR(p)"
                if key == "autoregression"
                else "HODMD"
                if key == "higher_order_dmd"
                else row["label"],
                np.clip(row["nmse"], 0, 2.5),
                np.asarray(row["standard_error"]),
                styles[key],
            )
            for key, row in chosen.items()
        ]
        plot_lines(axes, horizon, lines)
        axes.set_ylim(0, 2)
        axes.set_xlim(1, STEPS)
    shared_legend(figure, max(panels, key=lambda axes: len(axes.lines)), columns=4)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--document", type=Path, required=True, help="folder of the page")
    parser.add_argument(
        "--models", nargs="*", choices=list(MODELS), default=["classical", "qasa", "bottleneck"]
    )
    parser.add_argument("--datasets", nargs="+", choices=list(ORIGINS), default=list(ORIGINS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = {name: [as_dict(row) for row in rows_of(name, options)] for name in options.datasets}
    make_folder(options.document)
    write_json(options.document / "observables.json", tables)
    text = page(tables, options)
    write_text(options.document / "observables.md", text)
    draw(tables, options.document / FIGURE)
    print(text)


if __name__ == "__main__":
    main()
