"""`qdyn train`: models from a preset, one a seed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from qdyn.commands.parsing import CommandParser, integer

SUMMARY = "Train the models of a preset, several seeds at once"
INTERRUPTED = (
    "Interrupted: with --resume the same command goes on from the last checkpoint, where there is one."
)

_DETAILS = """
Writes a run: resolved configuration, log, checkpoints, weights. Killed or
interrupted, it goes on from its last checkpoint with --resume and ends with the
same weights, bit for bit. `qdyn models` lists the presets, and
`qdyn models NAME > mine.yaml` is a start for one of your own.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="train",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn train qsa-tfim-4q\n"
        "qdyn train qsa-tfim-4q --out runs/short --seeds 0 1 --set training.steps=100\n"
        "qdyn train qsa-tfim-4q --out runs/short --seeds 0 1 --set training.steps=100 --resume",
    )
    made.add_argument("preset", metavar="PRESET", help="a shipped preset's name, or the path of a YAML file")
    made.add_argument("--out", metavar="DIR", help="the run's folder, new or empty (default: runs/NAME)")
    made.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    made.add_argument(
        "--seeds", metavar="SEED", type=integer(minimum=0), nargs="+", help="seeds in place of the preset's"
    )
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a key of the preset, e.g. training.steps=100; may be repeated",
    )
    made.add_argument(
        "--dataset", metavar="DATA", help="a recipe's name or a path in place of the preset's dataset"
    )
    made.add_argument(
        "--print-config",
        action="store_true",
        help="print the preset with every key resolved, and train nothing",
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.config import override, read_yaml
    from qdyn.files import inside
    from qdyn.shipped import find_yaml

    mapping = read_yaml(find_yaml("models", options.preset))  # told before torch loads
    for assignment in options.set:
        mapping = override(mapping, assignment)
    from qdyn.training.config import load_config

    config = load_config(options.preset, overrides=options.set)
    if options.seeds:
        config = config.with_seeds(options.seeds)
    if options.print_config:
        sys.stdout.write(config.to_yaml())
        return 0
    from qdyn.training.processes import is_first_process
    from qdyn.training.train import train

    if options.out is None:
        inside(Path("runs"), config.name)
    out = options.out or f"runs/{config.name}"
    made = train(config, dataset=options.dataset, out=out, resume=options.resume, progress=True)
    if not is_first_process():
        return 0
    print(f"{made!r}\nTo judge it: qdyn evaluate {out}")
    return 0
