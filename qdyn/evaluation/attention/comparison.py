"""What a comparison of contestants with controls found, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qdyn.evaluation.attention.against_controls import Verdict, verdict
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial
from qdyn.evaluation.results import decisive
from qdyn.models.matched import Matched


@dataclass(frozen=True)
class Setting:
    """A contestant on a task.

    Attributes:
        task: The task's name.
        contestant: Of `qdyn.models.matched.contestants`.
        trial: What the campaign is given.
        matched: Its model, with the feed-forward network fitted.
    """

    task: str
    contestant: str
    trial: Trial
    matched: Matched


@dataclass(frozen=True)
class Ground:
    """What a task offers before anything is trained.

    Attributes:
        kind: What people call the data.
        sizes: Split -> sequences.
        steps: Of the longest sequence.
        untrained: Predictor without gradient training -> what was found.
    """

    kind: str
    sizes: Mapping[str, int]
    steps: int
    untrained: Mapping[str, Outcome]


@dataclass(frozen=True)
class TaskFindings:
    """What was found on a task.

    Attributes:
        metric: The figure that contestants are compared by; lower is better.
        own: Contestant -> its setting.
        results: Contestant -> its outcome.
        ground: What the task offers untrained.
        said: What the figures of the test split say.
    """

    metric: str
    own: Mapping[str, Setting]
    results: Mapping[str, Outcome]
    ground: Ground
    said: Verdict

    @property
    def figures(self) -> dict[str, Figure]:
        """Contestant -> figure of the test split."""
        return {name: one.figures["test"][self.metric] for name, one in self.results.items()}

    @property
    def untrained(self) -> dict[str, Figure]:
        """Label of each predictor without gradient training -> figure; not of those that know the answer."""
        return {
            one.label: one.figures["test"][self.metric]
            for one in self.ground.untrained.values()
            if one.standing == "untrained"
        }


def findings(
    settings: Sequence[Setting], outcomes: Mapping[str, Outcome], grounds: Mapping[str, Ground]
) -> dict[str, TaskFindings]:
    """Task -> what was found, of all that something was run on.

    Args:
        settings: What was trained.
        outcomes: Key of each trial -> what was found.
        grounds: Task -> what it offers, in the order wanted.
    """
    found = {}
    for task, ground in grounds.items():
        own = {one.contestant: one for one in settings if one.task == task}
        results = {name: outcomes[one.trial.key] for name, one in own.items()}
        if not results:
            continue
        metric = decisive(next(iter(results.values())).figures["test"])
        said = verdict({name: one.figures["test"][metric] for name, one in results.items()})
        found[task] = TaskFindings(metric, own, results, ground, said)
    return found
