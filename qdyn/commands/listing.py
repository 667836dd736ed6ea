"""What `qdyn datasets` and `qdyn models` share: a list of shipped YAML files, or one of them as it stands."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from typing import Any

from qdyn.config import read_yaml
from qdyn.shipped import Kind, find_yaml, shipped_names


def show_or_list(
    kind: Kind, name: str | None, *, columns: Callable[[dict[str, Any]], tuple[str, ...]], hint: str
) -> int:
    """Print the YAML file called ``name``; without a name, a line for each, with ``columns`` of it."""
    if name is not None:
        sys.stdout.write(find_yaml(kind, name).read_text(encoding="utf-8"))
        return 0
    rows = [(name, *columns(read_yaml(find_yaml(kind, name)))) for name in shipped_names(kind)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    indent = " " * (sum(widths) + 2 * len(widths))
    for row in rows:
        head = "".join(f"{cell:<{width}}  " for cell, width in zip(row[:-1], widths, strict=True))
        text = textwrap.fill(row[-1], width=110, initial_indent=head, subsequent_indent=indent)
        print(text.rstrip())
    print(f"\nUse one with: {hint}. Print one with: qdyn {kind} NAME.")
    return 0
