"""Train QASA, its rivals and its controls on nine series, as published and as it should be.

python scripts/reproduce_qasa.py --out DIR [--protocol published,causal] [--models classical,qasa,...]
    [--tasks chaotic-logistic,...] [--data-seeds 5] [--minutes 9] [--page docs/benchmarks/qasa.md]

Tasks are trained three at a time with all their seeds as one batch, a *unit*. Every unit keeps checkpoints:
after Ctrl-C, a kill, or when --minutes are over, the same command goes on where it stood. The page is written
from the units that are finished, and names what has not been run. --status says how far each unit has come.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import signal
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qdyn.data.timeseries import series_names
from qdyn.evaluation.paired import compare_paired
from qdyn.evaluation.published import Published, read_published
from qdyn.evaluation.series_protocols import (
    FIRST_TEST,
    NOISY,
    PROTOCOLS,
    SeriesErrors,
    one_step_errors,
    protocol_dataset,
    protocol_models,
    protocol_preset,
    protocol_values,
    rollout_errors,
    trivial_forecasters,
)
from qdyn.files import write_json, write_text
from qdyn.models.base import Predictor
from qdyn.training.callbacks import Callback, Progress
from qdyn.training.checkpoints import checkpoint_position
from qdyn.training.folder import CHECKPOINT
from qdyn.training.loop import TrainingInterrupted
from qdyn.training.together import train_together

# The first group is that of the published ablation, on which the slow rivals are trained too.
GROUPS = (
    ("chaotic-logistic", "damped-oscillator", "square-wave"),
    ("arma", "noisy-damped-osc", "seasonal-trend"),
    ("piecewise-regime", "sawtooth", "waveform"),
)
SLOW = ("qlstm", "qnnformer")
DATA_SEEDS = (42, 0, 1, 2, 3)
"""Of the noise; 42 is the published one."""

LABELS = {
    "classical": "Classical encoder",
    "qasa": "QASA",
    "qlstm": "QLSTM",
    "qnnformer": "QnnFormer",
    "removed": "QASA, adapter removed",
    "bottleneck": "Classical bottleneck",
    "bottleneck-shifted": "Classical bottleneck, inputs + 20",
    "zero": "Zero",
    "mean": "Mean of training",
    "persistence": "Last value",
    "autoregression": "AR(20)",
    "seasonal_naive": "Seasonal naive",
}
METRICS = {"published": ("late", "aligned"), "causal": ("aligned", "one_step")}
PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "qasa.yaml"


@dataclass(frozen=True)
class Unit:
    """Tasks that one model is trained on as one batch, with one seed of the noise."""

    protocol: str
    model: str
    tasks: tuple[str, ...]
    data_seed: int

    @property
    def key(self) -> str:
        """Names the folder."""
        return f"{self.protocol}/{self.model}/{self.tasks[0]}-{self.data_seed}"

    def names(self) -> list[str]:
        """Of the runs."""
        return [f"{task}-{self.data_seed}" for task in self.tasks]


def units(options: argparse.Namespace) -> Iterator[Unit]:
    """What the options ask for, the quickest first."""
    for protocol in options.protocol:
        models = [name for name in protocol_models(protocol) if name in options.models]
        for model in models:
            for seed, group in itertools.product(DATA_SEEDS[: options.data_seeds], GROUPS):
                if model in SLOW and group != GROUPS[0]:
                    continue
                if protocol == "published" and seed != DATA_SEEDS[0]:
                    continue
                # Without noise every seed gives the same series.
                tasks = tuple(task for task in group if seed == DATA_SEEDS[0] or task in NOISY)
                if tasks and (not options.tasks or set(tasks) & set(options.tasks)):
                    yield Unit(protocol, model, tasks, seed)


class Deadline(Callback):
    """Asks for a checkpoint and the end once the time is over."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def on_step_end(self, progress: Progress) -> None:
        """As Ctrl-C does."""
        if time.monotonic() > self._moment:
            self._moment = float("inf")
            signal.raise_signal(signal.SIGINT)


def conduct(unit: Unit, folder: Path, *, moment: float) -> None:
    """Train a unit to its end, or go on with it, and judge its models."""
    model = protocol_models(unit.protocol)[unit.model]
    presets = [protocol_preset(unit.protocol, model, name=name) for name in unit.names()]
    datasets = {
        name: protocol_dataset(unit.protocol, task, data_seed=unit.data_seed)
        for name, task in zip(unit.names(), unit.tasks, strict=True)
    }
    place = folder / unit.key
    began = time.process_time()
    try:
        runs = train_together(
            presets,
            datasets=datasets,
            out=place,
            resume=True,
            progress=None,
            callbacks=[Deadline(moment)],
        )
    finally:
        spent = place / "seconds.json"
        before = json.loads(spent.read_text()) if spent.exists() else 0.0
        write_json(spent, before + time.process_time() - began)
    rows = []
    for task, run in zip(unit.tasks, runs, strict=True):
        values = protocol_values(unit.protocol, task, data_seed=unit.data_seed)
        for seed, predictor in zip(run.seeds, run.models, strict=True):
            rows.append({"task": task, "seed": seed} | judged(unit.protocol, predictor, values))
    write_json(
        place / "errors.json",
        {
            "model": unit.model,
            "data_seed": unit.data_seed,
            "parameters": runs[0].record.parameters,
            "cpu_seconds": json.loads((place / "seconds.json").read_text()),
            "rows": rows,
        },
    )


def judged(protocol: str, predictor: Predictor, values: np.ndarray) -> dict[str, Any]:
    """All errors that the protocol's table shows."""
    steps = len(values) - FIRST_TEST
    found: dict[str, SeriesErrors] = {}
    if protocol == "published":
        found["late"] = rollout_errors(predictor, values, steps=steps - 1, late=True)
        found["aligned"] = rollout_errors(predictor, values, steps=steps - 1)
    else:
        found["aligned"] = rollout_errors(predictor, values, steps=steps)
        found["one_step"] = one_step_errors(predictor, values)
    return {name: asdict(errors) for name, errors in found.items()}


@dataclass
class Table:
    """(model, task, data seed) -> rows of errors, one a model seed; trivial forecasters have one."""

    protocol: str
    rows: dict[tuple[str, str, int], list[dict[str, Any]]]
    cpu: dict[str, float]

    def values(self, model: str, task: str, metric: str, what: str) -> np.ndarray:
        """(data seeds, model seeds) of those data seeds that were run."""
        found = [
            [row[metric][what] for row in rows]
            for (name, which, _), rows in sorted(self.rows.items())
            if (name, which) == (model, task)
        ]
        return np.array(found)

    def seeds(self, model: str, task: str) -> list[int]:
        """Data seeds that were run."""
        return sorted(seed for name, which, seed in self.rows if (name, which) == (model, task))

    def cell(self, model: str, task: str, metric: str, what: str) -> str:
        """Mean and spread; a dash for what was not run."""
        values = self.values(model, task, metric, what)
        if not values.size:
            return "–"
        # Published spreads are those of the population.
        spread = f" ± {values.std():.3g}" if values.size > 1 and values.std() > 0 else ""
        return f"{values.mean():.4g}{spread}"


def collect(folder: Path, protocol: str, data_seeds: Sequence[int]) -> Table:
    """Finished units and the trivial forecasters."""
    table = Table(protocol, {}, {})
    for path in sorted(folder.glob(f"{protocol}/*/*/errors.json")):
        content = json.loads(path.read_text())
        model = content["model"]
        table.cpu[model] = table.cpu.get(model, 0.0) + content["cpu_seconds"]
        for row in content["rows"]:
            table.rows.setdefault((model, row["task"], content["data_seed"]), []).append(row)
    for task in series_names():
        for seed in data_seeds if task in NOISY else data_seeds[:1]:
            values = protocol_values(protocol, task, data_seed=seed)
            train = FIRST_TEST + 1 if protocol == "published" else 320
            for name, predictor in trivial_forecasters(values, train=train).items():
                table.rows[name, task, seed] = [judged(protocol, predictor, values)]
    return table


def published_page(table: Table, published: Published) -> list[str]:
    """The table of the published protocol beside the published figures."""
    lines = [
        "## Published protocol",
        "",
        *paragraph(
            "The loss leaks 19 of 20 targets to the encoders, and the roll-out is compared with "
            "values one step late: a perfect forecaster has an error here. Seeds 42, 43, 44; "
            "200 passes over 381 windows; values as they are. Each cell: MAE / MSE of the late "
            "roll-out of 99 steps, mean ± population standard deviation over seeds of the MAE. "
            "*Published*: arXiv:2504.05336v3, three seeds. A dash: not run."
        ),
        "",
        "| task | " + " | ".join(f"{LABELS[m]} | *published*" for m in PUBLISHED_MODELS) + " |",
        "|---" * (1 + 2 * len(PUBLISHED_MODELS)) + "|",
    ]
    for task in series_names():
        cells = []
        for model in PUBLISHED_MODELS:
            ours = table.cell(model, task, "late", "mae")
            if ours != "–":
                ours += f" / {table.values(model, task, 'late', 'mse').mean():.4g}"
            theirs = [published.find(model, None, task, metric) for metric in ("MAE", "MSE")]
            quoted = " / ".join(f"{one.mean:.4g}" for one in theirs if one is not None)
            cells += [ours, f"*{quoted}*"]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    lines += ["", "The same metric for forecasters without training (exact, no seeds):", ""]
    lines += trivial_table(table, "late")
    lines += ["", "Aligned, each forecast compared with the value that it forecasts (MAE):", ""]
    lines += plain_table(table, [*PUBLISHED_MODELS, *TRIVIAL], "aligned", "mae")
    return lines


def causal_page(table: Table) -> list[str]:
    """The tables of the causal protocol, and who differs from whom."""
    models = list(protocol_models("causal"))
    lines = [
        "## Causal protocol",
        "",
        *paragraph(
            "Causally masked loss, values standardised by the training segment (0 to 319), the best "
            "evaluation on the validation segment kept, forecasts compared with what they forecast. "
            "Model seeds 0 to 9; "
            f"series with noise from the data seeds {', '.join(map(str, DATA_SEEDS))}; the others have none. "
            "Adam with decoupled weight decay, 720 updates of 16 windows. Mean ± standard deviation over all "
            "seeds. A dash: not run."
        ),
        "",
        "MAE of the roll-out of 100 steps from value 400, in units of the training segment's deviation:",
        "",
        *plain_table(table, [*models, *TRIVIAL], "aligned", "mae"),
        "",
        "MAE one step ahead, values 400 to 499, each from the 20 before it:",
        "",
        *plain_table(table, [*models, *TRIVIAL], "one_step", "mae"),
        "",
        "### Paired comparisons",
        "",
        *paragraph(
            "QASA minus the other, on the same series, noise and model seed. d: Cohen's effect "
            "size of paired differences; δ: Cliff's delta, from -1 (QASA always lower) to 1; p: "
            "Student's paired t and Wilcoxon's signed-rank test, two-sided, not corrected for "
            "the number of comparisons. Seeds are independent; pairs that share a series of "
            "noise are not, so that p-values of noisy tasks are too small. The last column "
            "counts series of noise on which QASA's mean is the lower one."
        ),
        "",
    ]
    for metric, title in (("aligned", "Roll-out MAE"), ("one_step", "One-step MAE")):
        rows = list(comparisons(table, metric))
        if rows:
            lines += [
                f"{title}:",
                "",
                "| task | against | pairs | difference | d | δ | p (t) | p (Wilcoxon) | series |",
                "|---|---|---|---|---|---|---|---|---|",
                *rows,
                "",
            ]
    return lines


def comparisons(table: Table, metric: str) -> Iterator[str]:
    """QASA against the others, task by task."""
    for task in series_names():
        for other in ("classical", "removed", "bottleneck", "bottleneck-shifted"):
            shared = [s for s in table.seeds("qasa", task) if s in table.seeds(other, task)]
            if not shared:
                continue
            pairs = [
                [[row[metric]["mae"] for row in table.rows[name, task, seed]] for seed in shared]
                for name in ("qasa", other)
            ]
            first, second = (np.array(one) for one in pairs)
            found = compare_paired(first.ravel(), second.ravel())
            lower = int((first.mean(axis=1) < second.mean(axis=1)).sum())
            yield (
                f"| {task} | {LABELS[other]} | {found.pairs} | {found.difference:+.4g} | "
                f"{found.cohen:+.2f} | {found.cliff:+.2f} | {found.t_test:.2g} | "
                f"{found.wilcoxon:.2g} | {lower} of {len(shared)} |"
            )


def paragraph(text: str) -> list[str]:
    """Lines of at most 110 characters."""
    return textwrap.wrap(text, width=110, break_on_hyphens=False)


PUBLISHED_MODELS = ("classical", "qasa", "qlstm", "qnnformer")
TRIVIAL = ("zero", "mean", "persistence", "autoregression", "seasonal_naive")


def plain_table(table: Table, models: Sequence[str], metric: str, what: str) -> list[str]:
    """One line a task, one column a model; the lowest mean of each line is bold."""
    shown = [model for model in models if any(name == model for name, _, _ in table.rows)]
    lines = [
        "| task | " + " | ".join(LABELS[model] for model in shown) + " |",
        "|---" * (1 + len(shown)) + "|",
    ]
    for task in series_names():
        means = [table.values(model, task, metric, what) for model in shown]
        best = min(values.mean() for values in means if values.size)
        cells = [
            f"**{cell}**" if values.size and values.mean() == best else cell
            for cell, values in zip(
                (table.cell(model, task, metric, what) for model in shown), means, strict=True
            )
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def trivial_table(table: Table, metric: str) -> list[str]:
    """MAE / MSE of the forecasters without training."""
    lines = [
        "| task | " + " | ".join(LABELS[name] for name in TRIVIAL) + " |",
        "|---" * (1 + len(TRIVIAL)) + "|",
    ]
    for task in series_names():
        cells = [
            " / ".join(f"{table.values(name, task, metric, what).mean():.4g}" for what in ("mae", "mse"))
            for name in TRIVIAL
        ]
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return lines


def page(folder: Path) -> str:
    """The whole page."""
    lines = [
        "# QASA and its rivals on nine series",
        "",
        "Written by `python scripts/reproduce_qasa.py` from the runs that are finished. Models, protocols,",
        "and what is wrong with the published one: [timeseries.md](../timeseries.md).",
        "",
    ]
    for protocol in PROTOCOLS:
        seeds = DATA_SEEDS if protocol == "causal" else DATA_SEEDS[:1]
        table = collect(folder, protocol, seeds)
        if protocol == "published":
            lines += published_page(table, read_published(PUBLISHED))
        else:
            lines += ["", *causal_page(table)]
        spent = [f"{LABELS[name]} {seconds / 3600:.2f} h" for name, seconds in sorted(table.cpu.items())]
        if spent:
            lines += ["", f"CPU time on one core: {', '.join(spent)}."]
    every = argparse.Namespace(protocol=PROTOCOLS, models=list(LABELS), tasks=[], data_seeds=len(DATA_SEEDS))
    missing: dict[tuple[str, str], list[str]] = {}
    for unit in units(every):
        if not (folder / unit.key / "errors.json").exists():
            missing.setdefault((unit.protocol, unit.model), []).extend(unit.names())
    if missing:
        lines += ["", "## Not run", "", "Series, and the seed of its noise.", ""]
        for (protocol, model), names in missing.items():
            text = f"- {protocol}, {LABELS[model]}: {', '.join(names)}"
            lines += textwrap.wrap(text, 110, break_on_hyphens=False, subsequent_indent="  ")
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--protocol", type=lambda text: text.split(","), default=list(PROTOCOLS))
    parser.add_argument(
        "--models", type=lambda text: text.split(","), default=list(protocol_models("causal"))
    )
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=[])
    parser.add_argument("--data-seeds", type=int, default=len(DATA_SEEDS))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--page", type=Path)
    parser.add_argument("--status", action="store_true")
    options = parser.parse_args()
    for name, given, known in (
        ("tasks", options.tasks, series_names()),
        ("models", options.models, list(protocol_models("causal"))),
        ("protocol", options.protocol, PROTOCOLS),
    ):
        if unknown := [one for one in given if one not in known]:
            parser.error(f"--{name}: {unknown[0]!r} is none of {', '.join(known)}")
    moment = time.monotonic() + 60 * options.minutes
    try:
        for unit in units(options):
            place = options.out / unit.key
            if options.status or (place / "errors.json").exists():
                done = "finished" if (place / "errors.json").exists() else ""
                step = checkpoint_position(place / CHECKPOINT).step
                print(f"{unit.key}: {done or f'{step} updates'}")
                continue
            if time.monotonic() > moment:
                break
            conduct(unit, options.out, moment=moment)
            print(f"{unit.key}: finished", flush=True)
    except TrainingInterrupted:
        print("Interrupted with a checkpoint: the same command goes on.", flush=True)
    if options.page:
        write_text(options.page, page(options.out))


if __name__ == "__main__":
    main()
