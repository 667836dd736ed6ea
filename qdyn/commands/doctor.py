"""`qdyn doctor`: is this installation in order."""

from __future__ import annotations

from typing import Any

from qdyn.commands.parsing import CommandParser

SUMMARY = "Report versions, devices, threads, cache and anything that is out of order"
INTERRUPTED = "Interrupted."


def parser() -> CommandParser:
    """What the command understands."""
    return CommandParser(
        name="doctor",
        summary=f"{SUMMARY}.\n\nExit status 0 where all is in order, 1 where something needs mending.",
        example="qdyn doctor",
    )


def run(options: Any) -> int:
    """Do it."""
    from qdyn.doctor import examine

    found = examine()
    print(found)
    return 1 if found.problems else 0
