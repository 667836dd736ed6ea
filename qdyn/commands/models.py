"""`qdyn models`: the shipped presets."""

from __future__ import annotations

from typing import Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser

SUMMARY = "List the model presets, or print one"
INTERRUPTED = "Interrupted."


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="models", summary=f"{SUMMARY}.", example="qdyn models\nqdyn models qsa-tfim-4q > mine.yaml"
    )
    made.add_argument(
        "preset", metavar="PRESET", nargs="?", help="print this preset, to read or to start from"
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    return show_or_list("models", options.preset, columns=_columns, hint="qdyn train NAME")


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    return (str(content.get("dataset", {}).get("name", "")), str(content.get("description", "")))
