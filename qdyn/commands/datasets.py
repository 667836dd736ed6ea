"""`qdyn datasets`: the shipped recipes; molecules from files and from the network."""

from __future__ import annotations

from typing import Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser, UsageError, integer

SUMMARY = "List the dataset recipes, print one; fetch QM9, or read a file of molecules"
INTERRUPTED = "Interrupted: what has been fetched or computed so far is kept; repeat the command to go on."
_ACTIONS = {"fetch": "qdyn datasets fetch qm9", "import": "qdyn datasets import FILE --out DATASET.h5"}


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="datasets",
        summary=f"{SUMMARY}.",
        usage="qdyn datasets [RECIPE]\n       qdyn datasets fetch qm9 [options]\n"
        "       qdyn datasets import FILE --out DATASET.h5 [options]",
        example="qdyn datasets\nqdyn datasets tfim-4q > mine.yaml\n"
        "qdyn datasets import molecules.csv --out molecules.h5",
    )
    made.add_argument(
        "words",
        metavar="RECIPE",
        nargs="*",
        help="print this recipe, to read or to start from; or `fetch` with the name of a dataset, or "
        "`import` with a CSV or .smi file",
    )
    made.add_argument("--out", metavar="FILE", help="import: the dataset to write, an HDF5 file")
    made.add_argument("--column", metavar="NAME", help="import: the CSV column of SMILES (default: smiles)")
    made.add_argument(
        "--split",
        choices=("random", "published"),
        default="random",
        help="import: 90 / 5 / 5 % at random (default), or as arXiv:2502.19214 shared out QM9",
    )
    made.add_argument("--url", metavar="URL", help="fetch: another place that holds the same file")
    made.add_argument(
        "--workers",
        metavar="N",
        type=integer(minimum=1),
        default=1,
        help="processes that compute properties (default: 1)",
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    words = options.words or []
    if words and words[0] in _ACTIONS:
        if len(words) != 2:
            raise UsageError(f"`qdyn datasets {words[0]}` takes one name: {_ACTIONS[words[0]]}.")
        return {"fetch": _fetch, "import": _import}[words[0]](words[1], options)
    if len(words) > 1:
        raise UsageError(f"Unexpected {words[1]!r}; see qdyn datasets --help.")
    return show_or_list("datasets", words[0] if words else None, columns=_columns, hint="qdyn generate NAME")


def _fetch(name: str, options: Any) -> int:
    from dataclasses import replace

    from qdyn.checks import check_choice
    from qdyn.data.load import FETCHED, fetched_file
    from qdyn.data.qm9 import QM9, fetch_qm9

    check_choice("dataset", name, FETCHED)
    remote = QM9 if options.url is None else replace(QM9, url=options.url)
    found = fetch_qm9(remote=remote, workers=options.workers, progress=True)
    print(f"{name}: {found.cleaned}.")
    print(f"Kept as {fetched_file(name)}; use it with: qdyn train PRESET --dataset {name}")
    return 0


def _import(file: str, options: Any) -> int:
    from pathlib import Path

    from qdyn.data.load import cache_folder
    from qdyn.data.molecules import read_molecules

    if options.out is None:
        raise UsageError(f"Option --out is missing: {_ACTIONS['import']}.")
    found = read_molecules(
        file,
        column=options.column,
        split=options.split,
        workers=options.workers,
        cache=cache_folder() / "properties",
        progress=True,
    )
    found.dataset.save(Path(options.out))
    print(f"{file}: {found.cleaned}.")
    print(f"Written to {options.out}; use it with: qdyn train PRESET --dataset {options.out}")
    return 0


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    splits = content.get("splits", {})
    return (" / ".join(str(count) for count in splits.values()), str(content.get("description", "")))
