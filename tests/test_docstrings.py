"""Every example in a docstring gives the output that stands under it."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import qdyn

PACKAGE = Path(qdyn.__file__).resolve().parent
# What an example may use without importing it.
GIVEN = {"qdyn": qdyn, "torch": torch, "np": np}
NEEDS = {"qdyn.circuits.executors.cudaq": "cudaq", "qdyn.circuits.executors.cudaq_kernel": "cudaq"}


def examples() -> Iterator[tuple[str, doctest.DocTest]]:
    """Every docstring that holds an example, by module.

    Read from the source: the shape checks wrap functions, and doctest's own search overlooks what is wrapped.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "_shipped" in parts:
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                continue
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                name = f"{module}.{getattr(node, 'name', '')}".rstrip(".")
                line = 1 if isinstance(node, ast.Module) else node.lineno
                yield module, doctest.DocTestParser().get_doctest(text, {}, name, str(path), line)


EXAMPLES = list(examples())


def test_examples_are_found() -> None:
    assert len(EXAMPLES) > 60
    assert {"qdyn.errors.nearest", "qdyn.dynamics.evolve.evolve"} <= {one.name for _, one in EXAMPLES}


@pytest.mark.parametrize(("module", "example"), EXAMPLES, ids=[one.name for _, one in EXAMPLES])
def test_example(module: str, example: doctest.DocTest, capsys: pytest.CaptureFixture[str]) -> None:
    if module in NEEDS and importlib.util.find_spec(NEEDS[module]) is None:
        pytest.skip(f"{NEEDS[module]} is not installed")
    example.globs = {**GIVEN, **vars(importlib.import_module(module))}
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)
