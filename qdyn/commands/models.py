"""`qdyn models`: the shipped presets, the attention mechanisms, and published weights."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from qdyn.commands.listing import show_or_list
from qdyn.commands.parsing import CommandParser, UsageError
from qdyn.shipped import shipped_names

SUMMARY = "List the model presets and attention mechanisms, show one, or import published weights"
INTERRUPTED = "Interrupted."


def parser() -> CommandParser:
    """What the command understands."""
    made = CommandParser(
        name="models",
        summary=f"{SUMMARY}.",
        usage="qdyn models [NAME]\n       qdyn models import PUBLISHED [--out DIR]",
        example="qdyn models\nqdyn models qsa-tfim-4q > mine.yaml\nqdyn models hadamard\n"
        "qdyn models import quantum_sequence.safetensors --out runs/published",
    )
    made.add_argument(
        "words",
        metavar="NAME",
        nargs="*",
        help="print this preset, to read or to start from; show this attention mechanism; or `import` "
        "with published weights: a .safetensors file with its .json beside it, or a .pt checkpoint",
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
    name = words[0] if words else None
    if name is not None and name not in shipped_names("models") and not Path(name).exists():
        from qdyn.attention import names

        if name in names():
            return _show_mechanism(name)
    shown = show_or_list("models", name, columns=_columns, hint="qdyn train NAME")
    if name is None:
        _list_mechanisms()
    return shown


def _list_mechanisms() -> None:
    from qdyn.attention.mechanism import describe, names

    width = max(len(name) for name in names())
    print("\nAttention mechanisms, for `model.attention` of the kind transformer:\n")
    for name in names():
        print(f"{name:<{width}}  {describe(name)}")
    print("\nShow one and its options with: qdyn models NAME.")


def _show_mechanism(name: str) -> int:
    import inspect

    from qdyn.attention.mechanism import attention_class
    from qdyn.config import to_mapping, to_yaml

    found = attention_class(name)
    print(inspect.getdoc(found) or name)
    options = to_mapping(found.options_class())
    # What options a mechanism shares with others is told where those are defined.
    for one in found.options_class.__mro__:
        if is_dataclass(one):
            print(f"\n{inspect.getdoc(one)}")
    print("\nThe options and their defaults, for a preset:\n")
    section = {"kind": "transformer", "attention": name, "attention_options": options}
    print(to_yaml({"model": section}), end="")
    return 0


def _import(file: str, out: str | None) -> int:
    from qdyn.training.published import import_published

    run = import_published(file, Path(out) if out else Path("runs") / Path(file).stem)
    print(f"{run.name}: {run.record.parameters} parameters, {run.metadata.dimension} words.")
    print(f"Written to {run.path}; open it with: qdyn.load_run({str(run.path)!r})")
    return 0


def _columns(content: dict[str, Any]) -> tuple[str, ...]:
    return (str(content.get("dataset", {}).get("name", "")), str(content.get("description", "")))
