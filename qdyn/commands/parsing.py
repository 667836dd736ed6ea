"""Parsing for every command: a usage error is one line with the nearest valid name, never a page of usage."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from qdyn.errors import QdynError, nearest

_MISSING = "the following arguments are required: "


class UsageError(QdynError):
    """What was typed is not a command."""


class CommandParser(ArgumentParser):
    """A parser whose refusals are `UsageError`; its help ends in an example.

    Args:
        summary: What the command does.
        example: Command lines to imitate, one a line.
        name: The command as typed; empty for `qdyn` itself.
        usage: The usage line, where it is not to be made from the options.
    """

    def __init__(self, *, summary: str, example: str, name: str = "", usage: str | None = None) -> None:
        lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
        super().__init__(
            prog=f"qdyn {name}".strip(),
            usage=usage,
            description=summary,
            epilog=f"example:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse what was typed."""
        raise UsageError(f"{_readable(message)}; see {self.prog} --help.") from ex

    def refuse_unknown_options(self, tokens: Sequence[str]) -> None:
        """Refuse an option that does not exist, naming the nearest that does."""
        known = {option for action in self._actions for option in action.option_strings}
        for token in tokens:
            if token == "--":
                return
            option = token.partition("=")[0]
            if option.startswith("--") and option not in known:
                suggestion = nearest(option, (name for name in known if name.startswith("--")))
                raise UsageError(f"Unknown option {option!r} of {self.prog!r}: {suggestion}")


def _readable(message: str) -> str:
    """The parser's message in the words of whoever typed: PRESET, option --workers."""
    text = " ".join(message.split())
    text = re.sub(r"^argument (?:-\w/)?(--\S+): ", r"option \1 ", text)
    text = re.sub(r"^unrecognized arguments: (.*)$", r"unexpected '\1'", text, flags=re.IGNORECASE)
    if text.startswith(_MISSING):
        names = [name.rsplit(".", 1)[-1].upper() for name in text.removeprefix(_MISSING).split(", ")]
        text = f"{' and '.join(names)} is missing"
    return text[:1].upper() + text[1:]


def integer(*, minimum: int) -> Callable[[Any], int]:
    """The type of an option that takes an integer >= ``minimum``."""

    def convert(text: Any) -> int:
        try:
            value = int(str(text))
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be an integer >= {minimum}, but is {text!r}")
        return value

    return convert


def fraction(text: Any) -> float:
    """The type of an option that takes a number in (0, 1)."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number in (0, 1), but is {text!r}")
    return value


def positive(text: Any) -> float:
    """The type of an option that takes a number > 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0, but is {text!r}")
    return value


def add_cluster_options(parser: CommandParser) -> None:
    """``--workers`` and ``--scheduler``, of commands whose work several processes or machines share."""
    parser.add_argument(
        "--workers",
        metavar="N",
        type=integer(minimum=1),
        default=1,
        help="processes to share the work; with --scheduler, how many to wait for (default: 1)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a running dask scheduler: tcp://HOST:PORT, or the path of its scheduler file",
    )
