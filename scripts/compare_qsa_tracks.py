"""QSA in both phase conventions, on one Hamiltonian, and with little context, beside what needs no training.

    python scripts/compare_qsa_tracks.py --out DIR [--seeds 5] [--tracks varied,fixed,short-4,short-8]
        [--phases first_real,raw] [--page FILE]

Trained with our optimiser: k-QSA of degree 1, 3 and 6, and poly-8-QSA at inverse temperature 8. One table of
L_1 and one of closed-loop fidelity, a column for each track and phase convention. What is killed goes on when
it is called again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from pathlib import Path
from typing import Any

from reproduce_qsa_tfim import TRACKS, model_of, open_track, training_of

from qdyn.errors import QdynError
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.page import matrix
from qdyn.evaluation.campaigns.published import table_rows
from qdyn.evaluation.campaigns.trials import Outcome, Trial, judge_untrained
from qdyn.files import write_json, write_text
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig

#: Family, degree and inverse temperature (None: sqrt(d) = 4).
TRAINED = (("k-QSA", 1, None), ("k-QSA", 3, None), ("k-QSA", 6, None), ("poly-k-QSA", 8, 8.0))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the campaigns")
    parser.add_argument("--tracks", default=",".join(TRACKS), help="with commas between")
    parser.add_argument("--phases", default="first_real,raw", help="with commas between")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--page", type=Path, help="write the tables for people here too")
    options = parser.parse_args()
    tracks, conventions = options.tracks.split(","), options.phases.split(",")
    if unknown := [track for track in tracks if track not in TRACKS]:
        parser.error(f"argument --tracks: {unknown[0]!r} is unknown, the tracks are {', '.join(TRACKS)}")
    began = time.perf_counter()
    found: dict[str, dict[str, Outcome]] = {}
    try:
        for track in tracks:
            for phases in conventions:
                found[f"{track}, {phases}"] = conduct(options, track, phases)
    except QdynError as problem:
        parser.error(str(problem))
    rows: list[dict[str, Any]] = []
    for column, outcomes in found.items():
        for key, outcome in outcomes.items():
            made = table_rows(outcome.figures, model=key, degree=None, seconds=outcome.seconds)
            rows += [{"track": column} | row for row in made]
    write_json(options.out / "table.json", rows)
    text = "\n".join(page_lines(found, seeds=options.seeds)) + "\n"
    write_text(options.out / "table.md", text)
    if options.page is not None:
        write_text(options.page, text)
        write_json(options.page.with_suffix(".json"), rows)
    print(text)
    print(f"{time.perf_counter() - began:.0f} s by the clock")


def conduct(options: argparse.Namespace, track: str, phases: str) -> dict[str, Outcome]:
    """Train on one track in one phase convention, and judge the baselines that see the same phases."""
    name, dataset = open_track(track, phases, options.out / "data", draw="tfim-4q")
    context = (dataset.n_steps + 1) // 2
    rolled = dataset.n_steps + 1 - context
    trials = []
    for family, degree, beta in TRAINED:
        key = f"{family}-{degree}"
        config = RunConfig(
            name=key,
            dataset=DatasetConfig(name=name, phase_convention=phases),  # type: ignore[arg-type]
            model=model_of(family, degree, tuned=True, beta=beta),
            training=training_of(family, tuned=True, seeds=options.seeds),
            evaluation=EvaluationConfig(context=context, rollout_steps=rolled),
        )
        trials.append(Trial(key, config))
    outcomes = run_campaign(trials, folder=options.out / f"{track}-{phases}", workers=options.workers)
    untrained = judge_untrained(dataset, context=context, rollout_steps=rolled)
    return outcomes | {key: one for key, one in untrained.items() if one.phase_convention == phases}


def page_lines(found: dict[str, dict[str, Outcome]], *, seeds: int) -> list[str]:
    """The page as Markdown."""
    lines = ["# QSA on other tracks", "", "Written by `python scripts/compare_qsa_tracks.py`.", ""]
    lines += [f"- **{track}**: {what}." for track, what in TRACKS.items()]
    lines += [
        "",
        "Open chain of 4 sites, Haar-random initial states, dt = 0.35; 256 training and 128 test "
        "trajectories, of 32 predictions unless short. Trained: our optimiser, 400 updates (polynomial "
        f"kernel 600), {seeds} seeds, all of which count. a ± b: over seeds; a(b): standard error over "
        "trajectories.",
        "",
        "first_real: the first amplitude of every state is made real. raw: as evolved. Each predictor is "
        "fitted to, and sees, the phases of its column.",
        "",
        "## Test L_1",
        "",
        *matrix(found, "L_1"),
        "",
        "## Closed loop: mean fidelity of a roll-out of the second half from the first",
        "",
        *matrix(found, "rollout_fidelity"),
    ]
    return lines


if __name__ == "__main__":
    main()
