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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.lines import Line2D
from torch import nn

import qdyn
from qdyn.attention.mechanism import attention_class, names
from qdyn.data.generation.generate import generate
from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.errors import QdynError
from qdyn.evaluation.campaigns import Figure, Outcome, Trial, judge_untrained, run_campaign
from qdyn.evaluation.paired import compare_paired
from qdyn.evaluation.results import decisive, plain, with_error
from qdyn.files import write_json, write_text
from qdyn.models.registry import build_model
from qdyn.models.transformer_config import TransformerConfig
from qdyn.plotting import BLUE, INK, MUTED, ORANGE, SKY, VERMILLION, dress, new_figure, save_figure
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig

WIDTH, BATCH, RATE = 16, 32, 1e-2
#: Largest relative deviation from the parameters of the softmax transformer that counts as matched.
BAND = 0.02
#: Of the mean paired difference, two-sided, for all quantum mechanisms of a task together.
SIGNIFICANCE = 0.05
REMOVED: dict[str, tuple[str, dict[str, Any]]] = {
    "identity": ("uniform", {"sees": "itself"}),
    "uniform": ("uniform", {}),
}
REPLACED = {"tanh_bottleneck": "measured", "kernel": "fidelity"}
"""Control -> the mechanism whose number of weights it has."""
CLASSICAL = ("softmax", *REMOVED, *REPLACED)
QUANTUM = tuple(name for name in names() if name != "softmax")
CONTESTANTS = (*CLASSICAL, *QUANTUM, *(f"frozen-{name}" for name in QUANTUM))


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


@dataclass(frozen=True)
class Setting:
    """A contestant on a task, with its feed-forward network fitted.

    Attributes:
        task: The task's name.
        contestant: Of `CONTESTANTS`.
        trial: What the campaign is given.
        weights: Trained numbers of the attention alone.
        deviation: Of all trained numbers from those of the softmax transformer, relative to them.
    """

    task: str
    contestant: str
    trial: Trial
    weights: int
    deviation: float


@dataclass(frozen=True)
class Ground:
    """What a task offers before anything is trained.

    Attributes:
        sizes: Split -> sequences.
        steps: Of the longest sequence.
        untrained: Predictor without gradient training -> what was found.
    """

    sizes: Mapping[str, int]
    steps: int
    untrained: Mapping[str, Outcome]


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
        grounds[task] = Ground(sizes, data.n_steps, judge_untrained(data, context=16, rollout_steps=1))
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
        write_page(options, settings, outcomes, grounds, refused)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the campaign's folder")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS, metavar="NAME")
    parser.add_argument("--mechanisms", nargs="+", default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", type=Path, help="the page to write, with the numbers beside it")
    parser.add_argument("--image", type=Path, help="its figure; default: ../images/attention.png beside it")
    parser.add_argument("--report", action="store_true", help="train nothing, report what is finished")
    options = parser.parse_args()
    for name in options.mechanisms:
        if name not in CONTESTANTS:
            parser.error(f"--mechanisms names {name!r}, which is none of {', '.join(CONTESTANTS)}")
    if options.seeds < 2:
        parser.error("--seeds must be at least 2: contestants are compared seed by seed")
    return options


# -- what is trained -----------------------------------------------------------------------------------


def attention_of(contestant: str, steps: int) -> tuple[str, dict[str, Any]]:
    """Name and options of a contestant's attention, for sequences of so many steps."""
    if contestant in REMOVED:
        return REMOVED[contestant]
    if contestant in REPLACED:
        return contestant, {"features": features_of(contestant)}
    if contestant.startswith("frozen-"):
        name, held = attention_of(contestant.removeprefix("frozen-"), steps)
        return "frozen", {"mechanism": name, "options": held}
    return contestant, {"steps": steps} if contestant in ("compound", "quixer") else {}


def features_of(control: str) -> int:
    """Features with which a control comes nearest to the weights of the mechanism that it replaces."""
    wanted = count(qdyn.attention.build(REPLACED[control], dim=WIDTH))
    return min(
        range(1, WIDTH + 1),
        key=lambda features: abs(count(qdyn.attention.build(control, dim=WIDTH, features=features)) - wanted),
    )


def count(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def trained_numbers(config: TransformerConfig, metadata: SequenceMetadata) -> int:
    """Of a whole model."""
    model = build_model(config, metadata, seed=0)
    assert isinstance(model, nn.Module)
    return count(model)


def matched(contestant: str, metadata: SequenceMetadata, steps: int) -> tuple[TransformerConfig, int, float]:
    """The transformer whose trained numbers come nearest to those of the one with softmax.

    Returns:
        The model, the trained numbers of its attention, and the relative deviation of all of them.
    """
    attention, chosen = attention_of(contestant, steps)
    config = TransformerConfig(
        attention=attention,
        attention_options=chosen,
        causal=attention_class(chosen.get("mechanism", attention)).can_be_causal,
        width=WIDTH,
        steps=steps,
    )
    wanted = trained_numbers(TransformerConfig(width=WIDTH, steps=steps), metadata)
    one, two = (trained_numbers(replace(config, feed_forward=units), metadata) for units in (1, 2))
    units = max(1, 1 + round((wanted - one) / (two - one)))
    found = replace(config, feed_forward=units)
    weights = count(qdyn.attention.build(attention, dim=WIDTH, causal=config.causal, **chosen))
    return found, weights, trained_numbers(found, metadata) / wanted - 1


def data_folder(out: Path, task: str) -> Path:
    """Where the sequences of a task lie."""
    return (out / "data" / task).absolute()


def setting(contestant: str, task: str, data: SequenceDataset, options: argparse.Namespace) -> Setting:
    """One contestant on one task.

    Raises:
        QdynError: the pair makes no sense.
    """
    model, weights, deviation = matched(contestant, data.metadata, data.n_steps)
    config = RunConfig(
        name=contestant,
        dataset=DatasetConfig(name=str(data_folder(options.out, task))),
        model=model,
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
    return Setting(task, contestant, Trial(key, config), weights, deviation)


def budget(options: argparse.Namespace) -> str:
    """What tells trials of one folder apart that differ in nothing else."""
    return f"{options.updates}-updates~{options.seeds}-seeds"


# -- what is said of it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Two contestants on a task, seed by seed.

    Attributes:
        name: The first.
        against: The second.
        difference: Mean of first minus second; negative: the first is better.
        standard_error: Of that mean, over seeds.
        p_value: Student's paired test, two-sided, times the number of comparisons it is one of.
    """

    name: str
    against: str
    difference: float
    standard_error: float
    p_value: float

    @property
    def better(self) -> bool:
        """Whether the first is better by more than chance explains."""
        return self.difference < 0 and self.p_value < SIGNIFICANCE

    @property
    def worse(self) -> bool:
        """Whether the second is."""
        return self.difference > 0 and self.p_value < SIGNIFICANCE

    def __str__(self) -> str:
        return with_error(self.difference, self.standard_error)


def compare(name: str, against: str, found: Mapping[str, Figure], *, comparisons: int) -> Comparison:
    """``name`` minus ``against``, paired over seeds.

    Args:
        name: The first contestant.
        against: The second.
        found: Contestant -> figure of the test split.
        comparisons: How many are made together; the p-value is multiplied by it (Bonferroni).
    """
    first, second = (np.array(found[one].of_each_seed) for one in (name, against))
    paired = compare_paired(first, second)
    error = float((first - second).std(ddof=1) / np.sqrt(paired.pairs))
    # Without any spread the test has no value, and says nothing.
    p = 1.0 if np.isnan(paired.t_test) else min(1.0, paired.t_test * comparisons)
    return Comparison(name, against, paired.difference, error, p)


@dataclass(frozen=True)
class Verdict:
    """What the numbers of a task say.

    Attributes:
        control: The classical contestant with the lowest mean; None where none was run.
        against_control: Every quantum mechanism against it.
        against_frozen: Every quantum mechanism against itself with frozen circuits.
    """

    control: str | None
    against_control: Mapping[str, Comparison]
    against_frozen: Mapping[str, Comparison]


def verdict(found: Mapping[str, Figure]) -> Verdict:
    """From contestant -> figure of the test split."""
    quantum = [name for name in QUANTUM if name in found]
    classical = [name for name in CLASSICAL if name in found]
    twins = [name for name in quantum if f"frozen-{name}" in found]
    control = min(classical, key=lambda name: found[name].mean, default=None)
    return Verdict(
        control,
        {name: compare(name, control, found, comparisons=len(quantum)) for name in quantum}
        if control is not None
        else {},
        {name: compare(name, f"frozen-{name}", found, comparisons=len(twins)) for name in twins},
    )


def statement(task: str, found: Mapping[str, Figure], said: Verdict, untrained: Mapping[str, Figure]) -> str:
    """The verdict in a paragraph."""
    text = f"**{task}.** "
    compared = said.against_control.values()
    if not compared:
        text += "No quantum mechanism stands beside a control yet."
    else:
        control = f"the best control, {said.control} ({found[str(said.control)].mean:.4g})"
        better = [one for one in compared if one.better]
        worse = sum(one.worse for one in compared)
        if better:
            listed = ", ".join(f"{one.name} ({one})" for one in better)
            text += f"{len(better)} of {len(compared)} quantum mechanisms beat {control}: {listed}; "
        else:
            text += f"**No quantum mechanism of the {len(compared)} run beats {control}**; "
        rest = len(compared) - len(better) - worse
        text += f"{worse} are worse than it, {rest} cannot be told from it. "
    twins = said.against_frozen.values()
    if twins:
        gained = [one.name for one in twins if one.better]
        text += (
            f"Training the circuits instead of leaving them as drawn helps {len(gained)} of {len(twins)}"
            + (f" ({', '.join(gained)}). " if gained else ". ")
        )
    if untrained and found:
        best = min(untrained, key=lambda name: untrained[name].mean)
        beaten = sum(figure.mean < untrained[best].mean for figure in found.values())
        text += (
            f"The best predictor without gradient training, {best}, has {untrained[best].mean:.4g}: "
            f"{beaten} of {len(found)} trained models are below it."
        )
    return text.strip()


def write_page(
    options: argparse.Namespace,
    settings: Sequence[Setting],
    outcomes: Mapping[str, Outcome],
    grounds: Mapping[str, Ground],
    refused: Mapping[tuple[str, str], str],
) -> None:
    """The page, the numbers behind it, and the figure."""
    page: Path = options.page
    image: Path = options.image or page.parent.parent / "images" / "attention.png"
    deviation = max((abs(one.deviation) for one in settings), default=0.0)
    outside = [f"{one.contestant} on {one.task}" for one in settings if abs(one.deviation) > BAND]
    lines = [
        "# Every attention mechanism, with controls",
        "",
        "Written by `python scripts/compare_attention.py`, whose first lines say what the rows are. "
        f"One block of width {WIDTH}; {options.updates} updates by Adam at {RATE:g} on a cosine, batches of "
        f"{BATCH}, {options.seeds} seeds, the same mini-batches for all; no setting was tuned. "
        f"torch {torch.__version__}.",
        "",
        "Trained numbers are matched to those of the transformer with softmax, by the width of the "
        f"feed-forward network: the largest deviation is {100 * deviation:.2g} %"
        + (f"; outside of the band of {100 * BAND:g} %: {', '.join(outside)}." if outside else "."),
        "",
        "a ± b: mean and standard deviation over seeds, test split, lower is better. *minus control*: paired "
        "over seeds, against the classical row with the lowest mean; *minus frozen*: against the same "
        "mechanism with random circuits that are not trained; a(b): mean and standard error in the last "
        f"digits. **Bold** differences are below, *slanted* ones above 0 with p < {SIGNIFICANCE:g} by "
        "Student's paired test, p times the number of quantum mechanisms of the task. The control is the "
        f"best of {len(CLASSICAL)} on the split it is judged on, which favours it by a little; what another "
        "draw of the data would change is not in the error.",
        "",
        f"![Test loss of every mechanism](../images/{image.name})",
        "",
        "## What the numbers say",
    ]
    tables, content, panels = [], {}, {}
    for task in options.tasks:
        own = {one.contestant: one for one in settings if one.task == task}
        results = {name: outcomes[one.trial.key] for name, one in own.items()}
        if not results:
            continue
        ground = grounds[task]
        metric = decisive(next(iter(results.values())).figures["test"])
        found = {name: one.figures["test"][metric] for name, one in results.items()}
        others = {
            one.label: one.figures["test"][metric]
            for one in ground.untrained.values()
            if one.standing == "untrained"
        }
        said = verdict(found)
        lines += ["", statement(task, found, said, others)]
        splits = ", ".join(f"{size} of {split}" for split, size in ground.sizes.items())
        tables += [
            "",
            f"## {task}: {TASKS[task].kind}",
            "",
            f"Sequences of {ground.steps} steps: {splits}.",
            "",
            *table(own, results, metric, said, ground.untrained),
        ]
        panels[task] = (metric, found, others, said)
        content[task] = {
            "metric": metric,
            "control": said.control,
            "trained": {
                name: plain(one)
                | {
                    "weights_of_attention": own[name].weights,
                    "deviation": own[name].deviation,
                    "units": own[name].trial.config.model.feed_forward,  # type: ignore[attr-defined]
                }
                for name, one in results.items()
            },
            "sequences": dict(ground.sizes),
            "untrained": plain(ground.untrained),
            "against_control": plain(said.against_control),
            "against_frozen": plain(said.against_frozen),
        }
    missing = not_run(settings, refused)
    write_text(page, "\n".join([*lines, *tables, "", "## Not run", "", *missing]) + "\n")
    conditions = {
        "updates": options.updates,
        "seeds": options.seeds,
        "width": WIDTH,
        "batch_size": BATCH,
        "learning_rate": RATE,
        "torch": torch.__version__,
    }
    write_json(page.with_suffix(".json"), {"conditions": conditions, "tasks": content})
    if panels:
        draw(image, panels)


def table(
    own: Mapping[str, Setting],
    results: Mapping[str, Outcome],
    metric: str,
    said: Verdict,
    untrained: Mapping[str, Outcome],
) -> list[str]:
    """A row for every contestant, best first, predictors without training among them."""
    lines = [
        f"| model | attention | trained numbers | of the attention | train {metric} | test {metric} "
        "| minus control | minus frozen | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [(one.figures["test"][metric].mean, name, one) for name, one in results.items()]
    rows += [(one.figures["test"][metric].mean, key, one) for key, one in untrained.items()]
    for _, name, one in sorted(rows, key=lambda row: row[0]):
        test = str(one.figures["test"][metric])
        if name not in own:
            label = f"*{one.label}*, knows the answer" if one.standing == "oracle" else f"*{one.label}*"
            lines.append(f"| {label} | – | {one.parameters or '–'} | – | – | {test} | – | – | – |")
            continue
        differences = [shown(pairs.get(name)) for pairs in (said.against_control, said.against_frozen)]
        cells = [f"**{name}**", kind_of(name), str(one.parameters), str(own[name].weights)]
        cells += [str(one.figures["train"][metric]), test, *differences, f"{one.seconds:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def shown(one: Comparison | None) -> str:
    """A difference as a cell."""
    if one is None:
        return "–"
    mark = "**" if one.better else "*" if one.worse else ""
    return f"{mark}{one}{mark}"


def kind_of(contestant: str) -> str:
    """Quantum, classical or frozen."""
    if contestant in CLASSICAL:
        return "removed" if contestant in REMOVED else "classical"
    return "frozen" if contestant.startswith("frozen-") else "quantum"


def not_run(settings: Sequence[Setting], refused: Mapping[tuple[str, str], str]) -> list[str]:
    """What the page lacks, task by task, and why where there is a reason."""
    done = {(one.task, one.contestant) for one in settings}
    lines = []
    for task in TASKS:
        absent = [name for name in CONTESTANTS if (task, name) not in done and (task, name) not in refused]
        if len(absent) == len(CONTESTANTS):
            lines.append(f"- {task}: nothing was run.")
        elif absent:
            lines.append(f"- {task}: {', '.join(absent)}.")
    lines += [f"- {name} on {task}: refused. {why}" for (task, name), why in refused.items()]
    return lines or ["Nothing is missing."]


def draw(
    path: Path, panels: Mapping[str, tuple[str, Mapping[str, Figure], Mapping[str, Figure], Verdict]]
) -> None:
    """A panel a task: every seed as a dot, rows ordered by the mean; the best control as a line.

    The best predictor without gradient training is a dashed line where it lies among the trained ones.
    """
    colours = {"quantum": BLUE, "frozen": SKY, "classical": VERMILLION, "removed": ORANGE}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    tallest = max(len(found) for _, found, _, _ in panels.values())
    figure = new_figure(5.2 * columns, (1.4 + 0.24 * tallest) * rows)
    for place, (task, (metric, found, untrained, said)) in enumerate(panels.items()):
        axes = dress(figure.add_subplot(rows, columns, place + 1), title=task)
        shown = f"${metric}$" if "_" in metric else metric
        order = sorted(found, key=lambda name: -found[name].mean)
        for row, name in enumerate(order):
            colour = colours[kind_of(name)]
            seeds = found[name].of_each_seed
            axes.plot(seeds, [row] * len(seeds), "o", color=colour, markersize=3.5, alpha=0.6, linewidth=0)
            axes.plot([found[name].mean], [row], "|", color=colour, markersize=12, markeredgewidth=2)
        axes.set_yticks(range(len(order)), order, fontsize=8.5)
        if said.control is not None:
            axes.axvline(found[said.control].mean, color=INK, linewidth=0.9)
        axes.set_xlabel(f"test {shown}")
        if untrained:
            best = min(untrained, key=lambda name: untrained[name].mean)
            reached = untrained[best].mean
            axes.set_xlabel(f"test {shown}\nnot trained: {best}, {reached:.3g}", fontsize=8.5)
            low, high = axes.get_xlim()
            if low < reached < high:
                axes.axvline(reached, color=MUTED, linewidth=0.9, linestyle="--")
    lines = [("-", INK, "best control"), ("--", MUTED, "best without gradient training")]
    shown_kinds = {kind_of(name) for _, found, _, _ in panels.values() for name in found}
    handles = [_mark(colour, kind) for kind, colour in colours.items() if kind in shown_kinds]
    handles += [Line2D([], [], color=colour, linestyle=style, label=label) for style, colour, label in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, path)


def _mark(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linewidth=0, markersize=5, label=label)


if __name__ == "__main__":
    main()
