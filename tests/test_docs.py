"""Every Python and shell block of the documentation runs, and prints what stands under it.

The blocks of a page run in order, in one temporary folder; Python blocks share their names. A block ``text``
that follows another is what that one prints: ``...`` stands for anything, and white space does not matter.
An HTML comment on the line before a block changes that:

    <!-- slow -->       runs under the marker slow only; so must what builds on it
    <!-- varies -->     the output below differs from machine to machine: not compared
    <!-- not run: why -->
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from qdyn.attention import mechanism
from qdyn.data import source
from qdyn.dynamics import evolve, methods  # noqa: F401 - evolve fills the list of methods
from qdyn.models import config, registry

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "benchmarks" not in path.parts),
    ROOT / "datasets" / "README.md",
    ROOT / "models" / "README.md",
]
LINKED = [
    *PAGES,
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("datasets/*/README.md")),
    *sorted(ROOT.glob("models/*/README.md")),
]
LANGUAGES = {"python", "sh", "text", "yaml", "mermaid", "bibtex", ""}
# Of the site: its contents and its reference are lists that Sphinx fills in.
DIRECTIVES = {"{toctree}", "{eval-rst}"}
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
REMARK = re.compile(r"^<!--\s*(slow|varies|not run: .+?)\s*-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its first line's number, what it says, and the remark before it."""

    language: str
    line: int
    text: str
    remark: str
    expected: str | None = None


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page; one of language text becomes the expected output of the one just before it."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number, remark, adjacent = 0, "", False
    while number < len(lines):
        line = lines[number]
        if note := REMARK.match(line.strip()):
            remark = note[1]
        elif line.startswith("```"):
            language = line.removeprefix("```").strip()
            end = next(place for place in range(number + 1, len(lines)) if lines[place].startswith("```"))
            text = "\n".join(lines[number + 1 : end]) + "\n"
            if language == "text" and adjacent and found[-1].language in ("python", "sh"):
                last = found.pop()
                expected = None if remark == "varies" else text
                found.append(Block(last.language, last.line, last.text, last.remark, expected))
            else:
                found.append(Block(language, number + 2, text, remark))
            number, remark, adjacent = end, "", True
        elif line.strip():
            remark, adjacent = "", False
        number += 1
    return found


def run_page(page: Path, folder: Path, *, slow: bool) -> int:
    """Run the blocks of a page in ``folder``; slow ones too if asked. Returns how many ran."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for block in blocks_of(page):
        skipped = block.remark.startswith("not run") or (block.remark == "slow" and not slow)
        if block.language not in ("python", "sh") or skipped:
            continue
        where = f"{page.relative_to(ROOT)}:{block.line}"
        said = (
            run_python(block, names, where) if block.language == "python" else run_shell(block, folder, where)
        )
        count += 1
        if block.expected is not None:
            same = doctest.OutputChecker().check_output(block.expected, said, SAME)
            assert same, f"{where} printed\n{said}\ninstead of\n{block.expected}"
    return count


def run_python(block: Block, names: dict[str, Any], where: str) -> str:
    said = io.StringIO()
    # The line numbers of a traceback are then those of the page.
    program = compile("\n" * (block.line - 1) + block.text, where.split(":")[0], "exec")
    with contextlib.redirect_stdout(said):
        try:
            exec(program, names)
        except Exception:
            pytest.fail(f"{where} failed:\n{traceback.format_exc()}")
    return said.getvalue()


def run_shell(block: Block, folder: Path, where: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, f"{where} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(autouse=True)
def _registries() -> Iterator[None]:
    """What a page registers, as an example, does not outlive it."""
    registries: list[dict[str, Any]] = [
        mechanism._REGISTERED,
        methods.METHODS,
        source._SOURCES,
        registry._FACTORIES,
        config._SECTIONS,
    ]
    before = [dict(one) for one in registries]
    yield
    for one, content in zip(registries, before, strict=True):
        one.clear()
        one.update(content)


def needs_bash(page: Path) -> None:
    if any(block.language == "sh" for block in blocks_of(page)) and shutil.which("bash") is None:
        pytest.skip("bash is not there")


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_user: None) -> None:
    """As a reader would run it: without the shape checks that only the tests install."""
    del as_user
    needs_bash(page)
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_page_runs_whole(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_user: None) -> None:
    del as_user
    needs_bash(page)
    if not any(block.remark == "slow" for block in blocks_of(page)):
        pytest.skip("no slow block on this page")
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path, slow=True)


def test_the_pages_hold_blocks() -> None:
    """Guards the tests above against a parser that finds nothing."""
    count = {
        name: sum(block.language in ("python", "sh") for block in blocks_of(page))
        for name, page in zip(NAMES, PAGES, strict=True)
    }
    assert count["README.md"] >= 3
    assert count["docs/architecture.md"] >= 4
    assert sum(block.expected is not None for page in PAGES for block in blocks_of(page)) >= 10


@pytest.mark.parametrize("page", LINKED, ids=[path.relative_to(ROOT).as_posix() for path in LINKED])
def test_blocks_name_a_language(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES | DIRECTIVES, f"{page.name}:{block.line}"


@pytest.mark.parametrize("page", LINKED, ids=[path.relative_to(ROOT).as_posix() for path in LINKED])
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links reach a file, and a heading of it where they name one."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = unquote(target).partition("#")
        reached = (page.parent / path).resolve() if path else page
        assert reached.exists(), f"{page.relative_to(ROOT)} links to {target}"
        if heading:
            assert heading in anchors(reached), f"{page.relative_to(ROOT)} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_commands_of_the_first_screen_are_those_of_ci() -> None:
    """The two commands of the README are not run here, since .ci/run runs exactly them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    screen = readme[: readme.index("\n## ")]
    assert "pip install . && qdyn demo\n" in screen
    assert 'pip install ".[dev]" && pytest\n' in screen
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r'^pip install .*"\.\[dev\]" && .*pytest$', ci, flags=re.MULTILINE)
    assert "qdyn demo --quick" in ci


def test_the_readme_lists_every_command() -> None:
    from qdyn.cli import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert f"| `qdyn {command}" in readme, command
