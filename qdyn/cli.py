"""The command line: find the command, run it, and turn what goes wrong into one line and an exit status.

======  ============================================================
status  what happened
======  ============================================================
0       done
1       `qdyn doctor` found a problem; or a fault of qdyn itself
2       an error that the user can mend, told in one line
130     Ctrl-C
141     whoever read the output closed it, as `head` does
======  ============================================================
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from qdyn import __version__
from qdyn.commands.parsing import CommandParser, UsageError
from qdyn.errors import QdynError, nearest

COMMANDS = (
    "demo",
    "generate",
    "train",
    "evaluate",
    "sweep",
    "sample",
    "circuit",
    "analyse",
    "datasets",
    "models",
    "doctor",
)

_SUMMARY = "Quantum dynamics with sequence models: from a Hamiltonian to a forecast."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What was typed after ``qdyn``; None takes it from ``sys.argv``.

    Returns:
        The exit status.

    Example:
        >>> main(["models", "--help"])  # doctest: +ELLIPSIS
        usage: qdyn models [NAME]
        ...
        0
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± and ≥ still gets the numbers
    try:
        status = _run(tokens)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, and Python would complain about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def _run(tokens: list[str]) -> int:
    command: ModuleType | None = None
    try:
        before, name, after = _split(tokens)
        top = _parser()
        top.refuse_unknown_options(before)
        top.parse_args(before)
        if name is None:
            raise UsageError("COMMAND is missing; see qdyn --help.")
        command = _command(name)
        parser = command.parser()
        parser.refuse_unknown_options(after)
        return command.run(parser.parse_args(after))
    except SystemExit as end:  # how the parser ends after --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt as stop:
        _say(str(stop) or (command.INTERRUPTED if command else "Interrupted."))
        return 130
    except BrokenPipeError:
        raise
    except (QdynError, OSError, MemoryError) as problem:
        return _failed(str(problem) or type(problem).__name__, tokens, status=2)
    except Exception as fault:
        text = f"{type(fault).__name__}: {fault}"
        return _failed(f"a fault of qdyn itself (--debug shows where): {text}", tokens, status=1)


def _split(tokens: list[str]) -> tuple[list[str], str | None, list[str]]:
    """The options before the command, the command, and what follows it."""
    for place, token in enumerate(tokens):
        if not token.startswith("-"):
            return tokens[:place], token, tokens[place + 1 :]
    return tokens, None, []


def _parser() -> CommandParser:
    modules = [(name, importlib.import_module(f"qdyn.commands.{name}")) for name in COMMANDS]
    lines = "\n".join(f"  {name:<10}{module.SUMMARY}" for name, module in modules)
    made = CommandParser(
        summary=f"{_SUMMARY}\n\ncommands:\n{lines}\n\nqdyn COMMAND --help says more about each.",
        example="qdyn demo\n"
        "qdyn train qsa-tfim-4q --set training.steps=100 --out runs/short\n"
        "qdyn evaluate runs/short",
        usage="qdyn [--help] [--version] [--debug] COMMAND ...",
    )
    made.add_argument("--version", action="version", version=f"qdyn {__version__}", help="print the version")
    return made


def _command(name: str) -> ModuleType:
    if name not in COMMANDS:
        begun = [command for command in COMMANDS if command.startswith(name)]
        suggestion = f"did you mean {begun[0]!r}?" if len(begun) == 1 else nearest(name, COMMANDS)
        raise UsageError(f"Unknown command {name!r}: {suggestion}")
    return importlib.import_module(f"qdyn.commands.{name}")


def _failed(text: str, tokens: Sequence[str], *, status: int) -> int:
    """Tell an error in one line, after its traceback where --debug asks for that."""
    if "--debug" in tokens:
        import traceback

        traceback.print_exc()
    _say(f"error: {text}")
    return status


def _say(text: str) -> None:
    print(f"qdyn: {' '.join(text.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
