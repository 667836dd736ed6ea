"""`qdyn sweep`: many variants of one preset, trained, judged and set side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qdyn.commands.parsing import CommandParser, add_cluster_options

SUMMARY = "Train and judge variants of a preset: a grid of keys, and a table"
INTERRUPTED = "Interrupted: the same command goes on; finished trials are kept."

_DETAILS = """
CONFIG names a base preset and what is varied: a grid of dotted keys, and trials by
name. Every trial is checked before the first is trained. Killed at any moment, the
same command goes on: finished trials are kept, others resume from their last
checkpoint. Several processes share the work, or the workers of a dask scheduler,
which needs pip install 'qdyn-toolkit[scale]'.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="sweep",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn sweep qasa-placement --list\n"
        "qdyn sweep mine.yaml --workers 8 --set training.steps=100 --out runs/mine\n"
        "qdyn sweep mine.yaml --scheduler tcp://node17:8786 --out /shared/runs/mine",
    )
    made.add_argument("sweep", metavar="CONFIG", help="a shipped sweep's name, or the path of a YAML file")
    made.add_argument("--out", metavar="DIR", help="the sweep's folder (default: runs/NAME)")
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a key of every trial, e.g. training.steps=100; may be repeated",
    )
    add_cluster_options(made)
    made.add_argument("--list", action="store_true", help="print the keys of the trials, and train nothing")
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.config import read_yaml
    from qdyn.shipped import find_yaml

    read_yaml(find_yaml("sweeps", options.sweep))  # told before torch loads
    from qdyn.evaluation.campaigns.sweeps import load_sweep, run_sweep, trials_of
    from qdyn.files import inside

    sweep = load_sweep(options.sweep)
    if options.list:
        print("\n".join(trial.key for trial in trials_of(sweep, overrides=options.set)))
        return 0
    out = Path(options.out) if options.out else inside(Path("runs"), sweep.name)
    found = run_sweep(
        sweep,
        out=out,
        overrides=options.set,
        workers=options.workers,
        scheduler=options.scheduler,
    )
    print(found.table(), end="")
    return 0
