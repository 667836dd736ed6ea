"""`qdyn datasets`: the shipped recipes."""

from __future__ import annotations

from typing import Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser

SUMMARY = "List the dataset recipes, or print one"
INTERRUPTED = "Interrupted."


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="datasets", summary=f"{SUMMARY}.", example="qdyn datasets\nqdyn datasets tfim-4q > mine.yaml"
    )
    made.add_argument(
        "recipe", metavar="RECIPE", nargs="?", help="print this recipe, to read or to start from"
    )
    return made


def run(options: Any) -> int:
    """Do it."""
    return show_or_list("datasets", options.recipe, columns=_columns, hint="qdyn generate NAME")


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    splits = content.get("splits", {})
    return (" / ".join(str(count) for count in splits.values()), str(content.get("description", "")))
