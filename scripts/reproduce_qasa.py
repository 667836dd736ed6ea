"""Train QASA, its rivals and its controls on nine series, as published and as it should be.

python scripts/reproduce_qasa.py --out DIR [--protocol published,causal] [--models classical,qasa,...]
    [--tasks chaotic-logistic,...] [--data-seeds 5] [--minutes 9] [--page docs/benchmarks/qasa.md]

Several tasks are trained at a time with all their seeds as one batch, a *unit*. Every unit keeps checkpoints:
after Ctrl-C, a kill, or when --minutes are over, the same command goes on where it stood. The page is written
from the units that are finished, and names what has not been run. --status says how far each unit has come.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import signal
import time
from pathlib import Path

from qdyn.data.timeseries import series_names
from qdyn.evaluation.campaigns.published import read_published
from qdyn.evaluation.series.campaign import DATA_SEEDS, campaign_units, conduct
from qdyn.evaluation.series.page import campaign_page
from qdyn.evaluation.series.protocols import PROTOCOLS, protocol_models
from qdyn.files import write_text
from qdyn.training.callbacks import Callback, Progress
from qdyn.training.loop import TrainingInterrupted

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "published" / "qasa.yaml"


class Deadline(Callback):
    """Asks for a checkpoint and the end once the time is over."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def on_step_end(self, progress: Progress) -> None:
        """As Ctrl-C does."""
        if time.monotonic() > self._moment:
            self._moment = float("inf")
            signal.raise_signal(signal.SIGINT)


def parse() -> argparse.Namespace:
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
    parser.add_argument(
        "--data-seeds", type=int, default=len(DATA_SEEDS), choices=range(1, len(DATA_SEEDS) + 1)
    )
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
    return options


def main() -> None:
    """Train what is asked for until the time is over, and write the page."""
    options = parse()
    moment = time.monotonic() + 60 * options.minutes
    units = [
        unit
        for protocol in options.protocol
        for unit in campaign_units(
            protocol, options.models, tasks=options.tasks, data_seeds=options.data_seeds
        )
    ]
    if not units:
        raise SystemExit(f"No {' or '.join(options.protocol)} unit trains {', '.join(options.models)}.")
    try:
        for unit in units:
            if options.status or unit.finished(options.out):
                state = "finished" if unit.finished(options.out) else f"{unit.updates(options.out)} updates"
                print(f"{unit.key}: {state}")
                continue
            if time.monotonic() > moment:
                break
            conduct(unit, options.out, callbacks=[Deadline(moment)])
            print(f"{unit.key}: finished", flush=True)
    except TrainingInterrupted:
        print("Interrupted with a checkpoint: the same command goes on.", flush=True)
    if options.page:
        write_text(options.page, campaign_page(options.out, read_published(PUBLISHED)))


if __name__ == "__main__":
    main()
