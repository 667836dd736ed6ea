"""The command line as a person types it: the installed executable, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXECUTABLE = Path(sys.executable).parent / "qdyn"

Typed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    """Run ``qdyn`` with the given arguments in the test's folder."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [EXECUTABLE, *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def refused(typed: Typed, tmp_path: Path) -> Callable[..., str]:
    """Run ``qdyn`` and return its one line of complaint, after checking that it left every file as it was."""

    def run(*arguments: str | Path, **environment: str) -> str:
        before = _contents(tmp_path)
        done = typed(*arguments, **environment)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("qdyn: error: ")
        assert done.stderr.endswith("\n")
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
        after = _contents(tmp_path)
        assert {name: after.get(name) for name in before} == before
        assert not any(name.endswith(".part") for name in after)
        return done.stderr.removeprefix("qdyn: error: ").rstrip("\n")

    return run


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
