"""The documentation as a site: every public name is in its reference, and it builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import qdyn

ROOT = Path(__file__).resolve().parents[1]


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"auto(?:function|class|exception):: qdyn\.(\w+)$", page, re.MULTILINE))
    rooms = {"attention", "__version__"}
    assert listed == set(qdyn.__all__) - rooms


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "docs" / "contents.md").read_text(encoding="utf-8")
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"contents"}
    assert pages <= set(contents.split())


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo", "sphinxcontrib.mermaid"):
        pytest.importorskip(package, reason="the extra `docs` is not installed")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "."]
    done = subprocess.run(
        [*build, str(tmp_path / "site")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Solve the Schroedinger equation" in (tmp_path / "site/docs/reference.html").read_text()
