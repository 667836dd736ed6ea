"""Sweeps: many variants of one preset, trained and judged as a campaign, and their table.

A sweep is a YAML file that names a base and what is varied: a grid of dotted keys, whose product is taken,
and trials by name. What runs it, and how it goes on after a kill, is `qdyn.evaluation.campaigns.campaigns`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qdyn.config import build, override, read_yaml
from qdyn.data.load import load_dataset
from qdyn.errors import ConfigError, nearest
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial, judge_untrained
from qdyn.evaluation.results import decisive, plain
from qdyn.files import write_json, write_text
from qdyn.shipped import find_yaml
from qdyn.training.config import RunConfig

_UNFIT = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True)
class SweepConfig:
    """A sweep as its file says it.

    Attributes:
        name: Of the sweep and its folder.
        preset: The base: a shipped preset's name or the path of a YAML file; None where ``base`` is given.
        base: Or a whole preset in place.
        set: Dotted key -> value, for every trial.
        grid: Dotted key -> the values it takes; a trial for each combination.
        trials: Name -> dotted key -> value: further trials.
        reference: Key of the trial that the others are compared with, seed by seed; None compares none.
        baselines: Whether predictors that need no training stand in the table.
        description: One sentence.
    """

    name: str
    preset: str | None = None
    base: Mapping[str, Any] | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    trials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: str | None = None
    baselines: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.base is None):
            raise ConfigError("`preset` or `base` must be given, and not both.")
        for key, values in self.grid.items():
            if not values:
                raise ConfigError(f"`grid` must give `{key}` at least one value, but gives none.")
        if not self.grid and not self.trials:
            raise ConfigError("`grid` or `trials` must hold something to vary, but both are empty.")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        config: The sweep.
        datasets: Trial -> name of its dataset; where a sweep shows one dataset in several phase conventions
            the name says which: "tfim-4q, raw phases".
        outcomes: Trial -> what was found.
        untrained: Dataset, named likewise -> predictor -> what was found.
    """

    config: SweepConfig
    datasets: Mapping[str, str]
    outcomes: Mapping[str, Outcome]
    untrained: Mapping[str, Mapping[str, Outcome]]

    def table(self) -> str:
        """Markdown: the trials of each dataset, best first, and those without training among them."""
        parts = [f"# {self.config.name}", *([self.config.description] if self.config.description else [])]
        for dataset in dict.fromkeys(self.datasets.values()):
            chosen = [one for key, one in self.outcomes.items() if self.datasets[key] == dataset]
            parts += ["", *self._rows(dataset, chosen)]
        return "\n".join(parts) + "\n"

    def save(self, folder: Path) -> None:
        """Write ``table.md`` and ``sweep.json``."""
        content = {
            "datasets": dict(self.datasets),
            "trials": {key: plain(one) for key, one in self.outcomes.items()},
            "untrained": {
                name: {key: plain(one) for key, one in rows.items()} for name, rows in self.untrained.items()
            },
        }
        write_json(folder / "sweep.json", content)
        write_text(folder / "table.md", self.table())

    def _rows(self, dataset: str, outcomes: list[Outcome]) -> list[str]:
        name = decisive(outcomes[0].figures["test"])
        reference = self._reference(outcomes)
        against = "" if reference is None else f" minus {reference.key} |"
        lines = [
            f"| {dataset} | parameters | train {name} | test {name} |{against} seconds |",
            "|---|---|---|---|" + ("---|" if reference else "") + "---|",
        ]
        others = list(self.untrained.get(dataset, {}).values())
        for one in sorted([*outcomes, *others], key=lambda one: one.figures["test"][name].mean):
            trained = one.standing == "trained"
            shown = f"**{one.key}**" if trained else one.label
            train = one.figures.get("train", {}).get(name)
            cells = [shown, "–" if one.parameters is None else str(one.parameters)]
            cells += ["–" if train is None else str(train), str(one.figures["test"][name])]
            if reference is not None:
                cells.append(_difference(one, reference, name) if trained else "–")
            lines.append("| " + " | ".join([*cells, f"{one.seconds:.0f}" if trained else "–"]) + " |")
        return lines

    def _reference(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The trial to compare with: of a sweep over datasets the one whose key begins with its name."""
        wanted = self.config.reference
        found = [one for one in outcomes if wanted is not None and wanted in (one.key, one.key.split("~")[0])]
        return found[0] if found else None


def load_sweep(sweep: str | Path) -> SweepConfig:
    """Read a sweep.

    Args:
        sweep: A shipped sweep's name, or the path of a YAML file.

    Raises:
        ConfigError: unknown sweep, broken YAML, unknown key or wrong type.
    """
    path = find_yaml("sweeps", sweep)
    return build(SweepConfig, read_yaml(path), where=path)


def trials_of(sweep: SweepConfig, *, overrides: Sequence[str] = ()) -> list[Trial]:
    """Every trial, its configuration built and checked before anything is trained.

    The key of a trial of the grid says what it varies, "adapter=none,layers=2"; one by name is its name. A
    grid over ``dataset.name`` takes the named trials along: "classical~waveform".

    Args:
        sweep: What is varied.
        overrides: Assignments such as "training.steps=100", for every trial; what a trial by name changes
            comes after them.

    Raises:
        ConfigError: an unknown key or a value out of range, the trial named; two trials of one key; or an
            override of what the grid varies.

    Example:
        >>> base = {"name": "a", "dataset": {"name": "tfim-4q"}}
        >>> named = {"real": {"model.unitaries": "real"}}
        >>> sweep = SweepConfig(name="layers", base=base, grid={"model.layers": (2, 4)}, trials=named)
        >>> [(trial.key, trial.config.model.layers) for trial in trials_of(sweep)]
        [('layers=2', 2), ('layers=4', 4), ('real', 43)]
    """
    if sweep.base is not None:
        mapping = dict(sweep.base)
    else:
        assert sweep.preset is not None
        mapping = read_yaml(find_yaml("models", sweep.preset))
    mapping = _with(mapping, sweep.set)
    for assignment in overrides:
        _check_free(assignment, sweep)
        mapping = override(mapping, assignment)
    grid = {key: values for key, values in sweep.grid.items() if key != "dataset.name"}
    named = [(name, dict(changes)) for name, changes in sweep.trials.items()]
    combinations = itertools.product(*grid.values()) if grid else ()
    varied = [dict(zip(grid, values, strict=True)) for values in combinations]
    plans = [*((_key(changes), changes) for changes in varied), *named]
    datasets = sweep.grid.get("dataset.name", (None,))
    found = []
    for data, (plan, changes) in itertools.product(datasets, plans or [("", {})]):
        key = plan if data is None else "~".join(filter(None, (plan, _fit(data))))
        moved = {} if data is None else {"dataset.name": data}
        try:
            changed = _with(mapping, {**changes, **moved, "name": key})
            config = build(RunConfig, changed, where=f"sweep {sweep.name}")
        except ConfigError as problem:
            raise ConfigError(f"{problem} (trial {key})") from problem
        found.append(Trial(key, config))
    keys = [trial.key for trial in found]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"sweep {sweep.name}: two trials have the key {key}.")
    firsts = {key.split("~")[0] for key in keys}
    if sweep.reference is not None and sweep.reference not in firsts | {*keys}:
        hint = nearest(sweep.reference, keys)
        raise ConfigError(f"sweep {sweep.name}: `reference` is {sweep.reference!r}, no trial: {hint}")
    return found


def run_sweep(
    sweep: SweepConfig,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    workers: int = 2,
    scheduler: str | Path | None = None,
    progress: bool = True,
) -> SweepResult:
    """Train and judge every trial of a sweep, or go on with one, and write its table.

    Args:
        sweep: What is varied.
        out: The sweep's folder: runs, outcomes, ``sweep.json`` and ``table.md``.
        overrides: See `trials_of`.
        workers: See `qdyn.evaluation.campaigns.campaigns.run_campaign`.
        scheduler: See there.
        progress: See there.

    Raises:
        ConfigError: see `trials_of`.
        RunError: the folder holds trials of other settings, or a training diverged.

    Example:
        >>> found = run_sweep(load_sweep("qasa-placement"), out="runs/placement")  # doctest: +SKIP
        >>> print(found.table())  # doctest: +SKIP
    """
    trials = trials_of(sweep, overrides=overrides)
    outcomes = run_campaign(trials, folder=out, workers=workers, scheduler=scheduler, progress=progress)
    datasets = _shown(trials, outcomes)
    firsts = {datasets[trial.key]: trial for trial in reversed(trials)}
    untrained = {}
    for shown, trial in firsts.items() if sweep.baselines else ():
        settings, judged = trial.config.dataset, trial.config.evaluation
        data = load_dataset(settings.name, phase_convention=settings.phase_convention, progress=False)
        untrained[shown] = judge_untrained(data, context=judged.context, rollout_steps=judged.rollout_steps)
    found = SweepResult(sweep, datasets, outcomes, untrained)
    found.save(Path(out))
    return found


def _shown(trials: Sequence[Trial], outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Trial -> dataset, and its phase convention where there are several: losses in two do not compare."""
    names = {trial.key: trial.config.dataset.name for trial in trials}
    # Of the outcome, since a configuration may leave the convention to the recipe.
    phases = {key: outcomes[key].phase_convention for key in names}
    several = {
        name for name in names.values() if len({phases[key] for key in names if names[key] == name}) > 1
    }
    return {key: f"{name}, {phases[key]} phases" if name in several else name for key, name in names.items()}


def _check_free(assignment: str, sweep: SweepConfig) -> None:
    """Refuse to set what the grid sets after it: the value would be lost without a word."""
    key = assignment.partition("=")[0].strip()
    for varied, values in sweep.grid.items():
        if f"{key}.".startswith(f"{varied}."):
            raise ConfigError(
                f"sweep {sweep.name}: override {assignment!r} has no effect, since the grid gives `{varied}` "
                f"the values {json.dumps(list(values))}: change the grid in a copy of the sweep's file."
            )


def _with(mapping: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with dotted keys set."""
    found = dict(mapping)
    for key, value in changes.items():
        # JSON is YAML, so that a value of any kind crosses over as it is.
        found = override(found, f"{key}={json.dumps(value)}")
    return found


def _key(changes: Mapping[str, Any]) -> str:
    """What a trial varies, as the name of a folder; of dotted keys the last part."""
    return ",".join(f"{key.rsplit('.', 1)[-1]}={_fit(value)}" for key, value in changes.items())


def _fit(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(_fit, value)) or "none"
    text = Path(value).name if isinstance(value, str) else json.dumps(value)
    return _UNFIT.sub("-", text).strip("-")


def _difference(one: Outcome, reference: Outcome, name: str) -> str:
    """Mean over seeds of the paired difference, with its standard error; a dash where seeds differ."""
    if one.key == reference.key or one.seeds is None or one.seeds != reference.seeds:
        return "–"
    mine, theirs = (each.figures["test"][name].of_each_seed for each in (one, reference))
    return str(Figure.of(np.subtract(mine, theirs)[None]))
