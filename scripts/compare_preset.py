"""Train a preset and set it beside the predictors without gradient training, as a page.

    python scripts/compare_preset.py PRESET --out DIR [--seeds 4] [--page FILE]

Test split: L_1, teacher-forced fidelity and closed-loop fidelity. What is killed goes on when called again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import shutil
import time
from pathlib import Path

from qdyn import load_dataset
from qdyn.errors import QdynError
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.page import Entry, Page, write_campaign
from qdyn.evaluation.campaigns.trials import Trial, judge_untrained
from qdyn.training.config import load_config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", help="name of a shipped preset")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run and its outcome")
    parser.add_argument("--seeds", type=int, help="how many; the preset's without")
    parser.add_argument("--page", type=Path, help="write the table for people here too")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        write_campaign(conduct(options), options.out)
    except QdynError as problem:
        parser.error(str(problem))
    if options.page is not None:
        shutil.copy(options.out / "table.md", options.page)
        shutil.copy(options.out / "table.json", options.page.with_suffix(".json"))
    print((options.out / "table.md").read_text(encoding="utf-8"))
    print(f"{time.perf_counter() - began:.0f} s by the clock")


def conduct(options: argparse.Namespace) -> Page:
    """Train, judge and gather what the page shows."""
    config = load_config(options.preset)
    if options.seeds is not None:
        config = config.with_seeds(range(options.seeds))
    judged, training = config.evaluation, config.training
    data = load_dataset(config.dataset.name, phase_convention=config.dataset.phase_convention)
    entries = [Entry(config.name, None, Trial(config.name, config))]
    return Page(
        title=f"{config.name} beside predictors without gradient training",
        introduction=[
            f"{config.description}. Dataset {config.dataset.name}, {data.metadata.phase_convention} phases: "
            f"{len(data.split('train'))} training and {len(data.split('test'))} test sequences of "
            f"{data.n_steps} predictions.",
            f"Loss {training.loss}, {training.steps} updates; all {len(training.seeds)} seeds count.",
            f"Roll-out: {judged.rollout_steps} steps fed back after {judged.context} elements.",
        ],
        entries=entries,
        outcomes=run_campaign([entry.trial for entry in entries], folder=options.out, workers=1),
        untrained=judge_untrained(data, context=judged.context, rollout_steps=judged.rollout_steps),
        written_by=f"scripts/compare_preset.py {options.preset}",
    )


if __name__ == "__main__":
    main()
