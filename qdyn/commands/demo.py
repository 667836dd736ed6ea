"""`qdyn demo`: the whole path, from a Hamiltonian to a report."""

from __future__ import annotations

from typing import Any

from qdyn.commands.parsing import CommandParser, integer

SUMMARY = "Show the whole path: trajectories, training, evaluation, report.html"
INTERRUPTED = "Interrupted: the same command goes on where it stopped."

_DETAILS = """
Generates the recipe tfim-4q, trains the preset qsa-tfim-4q from several seeds
at once, judges the forecasts on trajectories that training has not seen beside
predictors that need no training, prints the table and writes report.html.

An interrupted demo goes on when the command is repeated; a finished one is
judged again, not trained again. A folder that holds anything else is refused.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="demo",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn demo\nqdyn demo --quick --out first-look",
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="a few trajectories and steps: shows that everything works, and its figures mean nothing",
    )
    made.add_argument("--out", metavar="DIR", help="where to write (default: qdyn-demo, or qdyn-demo-quick)")
    made.add_argument(
        "--seeds", metavar="N", type=integer(minimum=1), help="train seeds 0 ... N-1 (default: the preset's)"
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.demo import demo

    try:
        shown = demo(options.out, quick=options.quick, seeds=options.seeds)
    except KeyboardInterrupt as stop:  # training's own advice is for `qdyn train`
        raise KeyboardInterrupt(INTERRUPTED) from stop
    print(shown.summary())
    return 0
