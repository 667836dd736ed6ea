"""Every attention mechanism at matched parameters and equal budget, on one task of each kind, with controls.

Usage: python scripts/compare_attention.py --out FOLDER [--tasks NAME ...] [--mechanisms NAME ...]
           [--seeds 5] [--updates 300] [--workers 2] [--page docs/benchmarks/attention.md] [--report]

A transformer of one block and width 16 differs in its attention alone. Its feed-forward network takes up the
difference in parameters, so that every model learns as many numbers as the one with softmax, within BAND.
Seed s fixes the mini-batches and what is drawn at the start, so that seeds pair up; all seeds of a model
train as one batch. Nothing is tuned by model.

The controls: attention removed ("identity": an element sees itself alone; "uniform": all that it may),
"tanh_bottleneck" and "kernel" (the weights of "measured" and "fidelity", without a circuit), and for each
quantum mechanism "frozen-NAME": its circuits stay as drawn, its linear maps are trained.

A campaign is resumable: the same command goes on, and more tasks or mechanisms come on top. --page writes
table, numbers and figure of all that is finished in FOLDER at this budget, and names the rest as not run;
--report trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import qdyn
from qdyn.data.generation.generate import generate
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import QdynError
from qdyn.evaluation.attention.against_controls import SIGNIFICANCE
from qdyn.evaluation.attention.comparison import Ground, Setting
from qdyn.evaluation.attention.page import ComparisonPage, write_comparison
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.trials import Trial, judge_untrained
from qdyn.models.matched import BAND, CLASSICAL, contestants, matched_transformer
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig

WIDTH, BATCH, RATE = 16, 32, 1e-2


@dataclass(frozen=True)
class Task:
    """A dataset of one kind.

    Attributes:
        kind: What people call it.
        size: Sequences, of all splits together; None takes the recipe's.
    """

    kind: str
    size: int | None = None


TASKS = {
    "tfim-4q": Task("quantum states"),
    "grammar": Task("next words", 704),
    "meaning-classification": Task("classification"),
    "small-molecules": Task("SMILES", 2400),
    "damped-oscillator": Task("a time series"),
    "protein-families": Task("proteins", 264),
}


def main() -> None:
    options = arguments()
    settings, refused = [], {}
    grounds: dict[str, Ground] = {}
    for task in options.tasks:
        if options.report and not any((options.out / "outcomes").glob(f"{task}~*~{budget(options)}.json")):
            continue
        folder = data_folder(options.out, task)
        data = qdyn.load_dataset(generate(task, folder, size=TASKS[task].size, progress=False))
        sizes = {split: len(data.split(split)) for split in data.split_names}
        untrained = judge_untrained(data, context=16, rollout_steps=1)
        grounds[task] = Ground(TASKS[task].kind, sizes, data.n_steps, untrained)
        for name in options.mechanisms:
            try:
                settings.append(setting(name, task, data, options))
            except QdynError as problem:
                refused[task, name] = str(problem)
    if options.report:
        settings = [one for one in settings if (options.out / "outcomes" / f"{one.trial.key}.json").exists()]
    trials = [one.trial for one in settings]
    outcomes = run_campaign(trials, folder=options.out, workers=1 if options.report else options.workers)
    if options.page is not None:
        page = ComparisonPage(
            title="Every attention mechanism, with controls",
            introduction=introduction(options, settings),
            settings=settings,
            outcomes=outcomes,
            grounds=grounds,
            tasks=tuple(TASKS),
            refused=refused,
            conditions=conditions(options),
        )
        image = options.image or options.page.parent.parent / "images" / "attention.png"
        write_comparison(page, options.page, image=image)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the campaign's folder")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="NAME")
    parser.add_argument("--mechanisms", nargs="+", default=list(contestants()), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="the page to write, with the numbers beside it")
    parser.add_argument("--image", type=Path, help="its figure; default: ../images/attention.png beside it")
    parser.add_argument("--report", action="store_true", help="train nothing, report what is finished")
    options = parser.parse_args()
    for name in options.mechanisms:
        if name not in contestants():
            parser.error(f"--mechanisms names {name!r}, which is none of {', '.join(contestants())}")
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: contestants are compared seed by seed")
    return options


def data_folder(out: Path, task: str) -> Path:
    """Where the sequences of a task lie."""
    return (out / "data" / task).absolute()


def setting(contestant: str, task: str, data: SequenceDataset, options: argparse.Namespace) -> Setting:
    """One contestant on one task.

    Raises:
        QdynError: the pair makes no sense.
    """
    matched = matched_transformer(contestant, data.metadata, width=WIDTH, steps=data.n_steps)
    config = RunConfig(
        name=contestant,
        dataset=DatasetConfig(name=str(data_folder(options.out, task))),
        model=matched.config,
        training=TrainingConfig(
            loss="L_1",
            steps=options.updates,
            batch_size=BATCH,
            learning_rate=RATE,
            seeds=tuple(range(options.seeds)),
            evaluate_every=options.updates,
            checkpoint_every=50,
            threads=1,
        ),
        # Nothing here rests on roll-outs: one step of them is the least there is.
        evaluation=EvaluationConfig(context=16, rollout_steps=1),
    )
    key = f"{task}~{contestant}~{budget(options)}"
    return Setting(task, contestant, Trial(key, config), matched)


def budget(options: argparse.Namespace) -> str:
    """What tells trials of one folder apart that differ in nothing else."""
    return f"{options.updates}-updates~{options.seeds}-seeds"


def introduction(options: argparse.Namespace, settings: Sequence[Setting]) -> list[str]:
    """What the page says of the settings, and how its tables are to be read."""
    deviation = max((abs(one.matched.deviation) for one in settings), default=0.0)
    outside = [f"{one.contestant} on {one.task}" for one in settings if abs(one.matched.deviation) > BAND]
    return [
        "Written by `python scripts/compare_attention.py`, whose first lines say what the rows are. "
        f"One block of width {WIDTH}; {options.updates} updates by Adam at {RATE:g} on a cosine, batches of "
        f"{BATCH}, {options.seeds} seeds, the same mini-batches for all; no setting was tuned. "
        f"torch {torch.__version__}.",
        "Trained numbers are matched to those of the transformer with softmax, by the width of the "
        f"feed-forward network: the largest deviation is {100 * deviation:.2g} %"
        + (f"; outside of the band of {100 * BAND:g} %: {', '.join(outside)}." if outside else "."),
        "a ± b: mean and standard deviation over seeds, test split, lower is better. *minus control*: paired "
        "over seeds, against the classical row with the lowest mean; *minus frozen*: against the same "
        "mechanism with random circuits that are not trained; a(b): mean and standard error in the last "
        f"digits. **Bold** differences are below, *slanted* ones above 0 with p < {SIGNIFICANCE:g} by "
        "Student's paired test, p times the number of quantum mechanisms of the task. The control is the "
        f"best of {len(CLASSICAL)} on the split it is judged on, which favours it by a little; what another "
        "draw of the data would change is not in the error.",
    ]


def conditions(options: argparse.Namespace) -> Mapping[str, int | float | str]:
    """What the numbers depend on."""
    return {
        "updates": options.updates,
        "seeds": options.seeds,
        "width": WIDTH,
        "batch_size": BATCH,
        "learning_rate": RATE,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
