"""How far a roll-out may go: what is seen and what is forecast lie within one sequence."""

from __future__ import annotations

from qdyn.checks import check_integer
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.training.config import EvaluationConfig


def check_roll_out(
    dataset: SequenceDataset,
    context: int,
    steps: int,
    *,
    names: tuple[str, str] = ("context", "rollout_steps"),
) -> None:
    """Refuse a roll-out that leaves the sequences.

    Args:
        dataset: What is rolled out.
        context: Elements seen, in [1, T].
        steps: Elements rolled out, >= 1; context + steps <= T + 1.
        names: What the message calls these two.

    Raises:
        ArgumentError: one of them is out of range, or both together.

    Example:
        >>> import torch
        >>> nine = torch.zeros(1, 9, dtype=torch.int64)
        >>> words = SequenceDataset.from_arrays(nine, kind="token", dimension=2)
        >>> check_roll_out(words, 4, 5)
    """
    elements = dataset.n_steps + 1
    check_integer(names[0], context, minimum=1, maximum=elements - 1)
    check_integer(names[1], steps, minimum=1)
    if context + steps > elements:
        raise ArgumentError(
            f"Arguments `{names[0]}` and `{names[1]}` must add up to at most the {elements} elements of a "
            f"sequence, but are {context} and {steps}."
        )


def roll_out_lengths(
    part: SequenceDataset, context: int | None, steps: int | None, settings: EvaluationConfig | None
) -> tuple[int, int]:
    """The elements seen and rolled out: those given, else those of a run, else half of a sequence each.

    Raises:
        ArgumentError: see `check_roll_out`; of a run's own the message says so.
    """
    elements = part.n_steps + 1
    if settings and context is None and steps is None:
        wanted = settings.context + settings.rollout_steps
        if wanted > elements:
            raise ArgumentError(
                f"Arguments `context` and `rollout_steps` are needed: the run's own, {settings.context} and "
                f"{settings.rollout_steps}, are more than the {elements} elements of a sequence."
            )
    seen = context if context is not None else (settings.context if settings else elements // 2)
    # Before the rest of a sequence is counted: a context beyond it leaves none.
    check_integer("context", seen, minimum=1, maximum=elements - 1)
    ahead = steps if steps is not None else (settings.rollout_steps if settings else elements - seen)
    check_roll_out(part, seen, ahead)
    return seen, ahead


def refuse_roll_out(data: SequenceDataset, **settings: float | None) -> None:
    """Refuse what says how to roll out where nothing is, by name: it would have no effect."""
    for name, value in settings.items():
        if value is not None:
            raise ArgumentError(
                f"Argument `{name}` must be left out unless the data are quantum states, which alone are "
                f"rolled out, but is {value}, and {data.metadata.name} holds data of kind "
                f"{data.metadata.kind!r}."
            )
