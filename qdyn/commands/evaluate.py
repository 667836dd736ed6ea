"""`qdyn evaluate`: how good the forecasts of a run are."""

from __future__ import annotations

from typing import Any

from qdyn.commands.parsing import CommandParser, fraction, integer

SUMMARY = "Judge a run's forecasts beside predictors that need no training"
INTERRUPTED = "Interrupted: the same command starts the evaluation again."

_DETAILS = """
Prints the table and writes report.html, table.json, curves.json and the figures.
"""


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="evaluate",
        summary=f"{SUMMARY}.\n{_DETAILS}",
        example="qdyn evaluate runs/qsa-tfim-4q\n"
        "qdyn evaluate runs/qsa-tfim-4q --split validation --out judged",
    )
    made.add_argument("run", metavar="RUN", help="the folder that `qdyn train` wrote")
    made.add_argument(
        "--out",
        metavar="DIR",
        help="where to write (default: RUN/evaluation; of another split than the default one "
        "RUN/evaluation-SPLIT)",
    )
    made.add_argument(
        "--dataset", metavar="DATA", help="a recipe's name or a path in place of the run's dataset"
    )
    made.add_argument(
        "--split",
        help="train, validation or test (default: test, or validation where there is no test split)",
    )
    made.add_argument(
        "--context",
        metavar="N",
        type=integer(minimum=1),
        help="states seen before the roll-out; this and the next two are for quantum states",
    )
    made.add_argument("--rollout-steps", metavar="N", type=integer(minimum=1), help="steps rolled out")
    made.add_argument(
        "--threshold", metavar="F", type=fraction, help="fidelity that the horizon is measured at"
    )
    made.add_argument("--no-baselines", action="store_true", help="leave the untrained predictors out")
    return made


def run(options: Any) -> int:
    """Do it."""
    from qdyn.data.load import load_dataset
    from qdyn.evaluation.evaluate import evaluate
    from qdyn.evaluation.splits import sizes_of, usual_split
    from qdyn.training.run import load_run

    judged = load_run(options.run)
    given = None if options.dataset is None else load_dataset(options.dataset)
    sizes = judged.record.sequences if given is None else sizes_of(given)
    found = evaluate(
        judged,
        dataset=given,
        split=options.split or usual_split(sizes),
        context=options.context,
        rollout_steps=options.rollout_steps,
        threshold=options.threshold,
        compare=not options.no_baselines,
        out=options.out,
    )
    print(found)
    print(f"\nReport: {found.folder}/report.html")
    return 0
