"""Compiled code is thrown away when any file changes that it was made of."""

from __future__ import annotations

import re
from pathlib import Path

import qdyn
from qdyn.quantum.compiling import kernel_sources


def test_every_file_with_compiled_code_is_watched() -> None:
    """Kernels call each other across rooms: one that is not watched would run as it was before a change."""
    package = Path(qdyn.__file__).parent
    compiling = re.compile(r"^@(compiled|intrinsic|njit)\b", flags=re.MULTILINE)
    made = {path for path in package.rglob("*.py") if compiling.search(path.read_text(encoding="utf-8"))}
    assert len(made) > 5
    assert made <= set(kernel_sources())
