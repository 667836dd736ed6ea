"""`qdyn models`: the shipped presets, and published weights."""

from __future__ import annotations

from typing import Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser, UsageError

SUMMARY = "List the model presets, print one, or import published weights"
INTERRUPTED = "Interrupted."


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="models",
        summary=f"{SUMMARY}.",
        usage="qdyn models [PRESET]\n       qdyn models import PUBLISHED [--out DIR]",
        example="qdyn models\nqdyn models qsa-tfim-4q > mine.yaml\n"
        "qdyn models import quantum_sequence.safetensors --out runs/published",
    )
    made.add_argument(
        "words",
        metavar="PRESET",
        nargs="*",
        help="print this preset, to read or to start from; or `import` with published weights: a "
        ".safetensors file with its .json beside it, or a .pt checkpoint",
    )
    made.add_argument(
        "--out", metavar="DIR", help="import: the run's folder, new or empty (default: runs/NAME)"
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    words = options.words or []
    if words and words[0] == "import":
        if len(words) != 2:
            raise UsageError("`qdyn models import` takes one file: qdyn models import PUBLISHED.")
        return _import(words[1], options.out)
    if len(words) > 1:
        raise UsageError(f"Unexpected {words[1]!r}; see qdyn models --help.")
    return show_or_list("models", words[0] if words else None, columns=_columns, hint="qdyn train NAME")


def _import(file: str, out: str | None) -> int:
    from pathlib import Path

    from qdyn.training.published import import_published

    run = import_published(file, Path(out) if out else Path("runs") / Path(file).stem)
    print(f"{run.name}: {run.record.parameters} parameters, {run.metadata.dimension} words.")
    print(f"Written to {run.path}; open it with: qdyn.load_run({str(run.path)!r})")
    return 0


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    return (str(content.get("dataset", {}).get("name", "")), str(content.get("description", "")))
