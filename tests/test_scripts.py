"""Scripts measure what pages say: what they import of qdyn must be there, though no test runs for minutes."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

NEEDS_CUDAQ = ("qdyn.circuits.executors.cudaq_kernel",)
"""Files that cannot be imported without an optional package."""

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_a_script_imports_of_qdyn_is_there(script: Path) -> None:
    """Also what it imports within functions, which mypy alone would see."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qdyn":
            if node.module in NEEDS_CUDAQ:
                continue
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 10
