"""`qdyn circuit` as a person types it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Typed = Callable[..., subprocess.CompletedProcess[str]]

SMALL = [
    "circuit",
    "qsa-monomial-tfim-4q",
    "--set",
    "model.degree=1",
    "--set",
    "model.layers=2",
    "--steps",
    "3",
]


def figures(output: str, name: str) -> list[float]:
    """The numbers on the line of ``name``."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{name} "))
    return [float(word) for word in re.findall(r"[-+0-9.e]+", line.removeprefix(name)) if word[0].isdigit()]


def test_count_names_every_register(typed: Typed) -> None:
    done = typed("circuit", "qsa-tfim-4q")
    assert done.returncode == 0, done.stderr
    # 2 ceil(log2 4) + (8 + 1) 4 + 8 of arXiv:2602.06699
    assert re.search(r"^qubits +48 \(C1 2, C2 2, A 4, B_1 4,.* P 8\)$", done.stdout, re.MULTILINE)
    assert "CNOTs" in done.stdout


def test_count_says_how_the_cost_grows(typed: Typed) -> None:
    done = typed(*SMALL, "--count")
    assert done.returncode == 0, done.stderr
    for name, sizes in (("T", [1, 3, 6]), ("d", [8, 16, 32]), ("k", [1, 2])):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"  {name} "))
        assert re.findall(r"(\d+):", line) == [str(size) for size in sizes]
        assert 0.4 < float(re.findall(r"a = ([0-9.]+)", line)[0]) < 1.6


def test_an_exact_run_equals_the_closed_form(typed: Typed) -> None:
    done = typed(*SMALL, "--run")
    assert done.returncode == 0, done.stderr
    for name in ("mu", "F", "L_B"):
        measured, closed = figures(done.stdout, name)
        assert measured == pytest.approx(closed, rel=1e-5)


def test_shots_give_an_interval_and_a_seed_repeats_them(typed: Typed) -> None:
    first = typed(*SMALL, "--shots", "20000", "--seed", "4")
    again = typed(*SMALL, "--shots", "20000", "--seed", "4")
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    measured, low, high, closed = figures(first.stdout, "L_B")
    assert low < measured < high
    assert abs(measured - closed) < 3 * (high - low)


@pytest.mark.cudaq
def test_a_cudaq_target_gives_the_same(typed: Typed, refused: Callable[..., str]) -> None:
    done = typed(*SMALL, "--target", "qpp-cpu")
    assert done.returncode == 0, done.stderr
    measured, closed = figures(done.stdout, "L_B")
    assert measured == pytest.approx(closed, rel=1e-5)
    assert "did you mean 'qpp-cpu'?" in refused(*SMALL, "--target", "qpp-cp")


def test_without_cudaq_a_target_says_what_to_install(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is installed: a module of its name that cannot be imported stands before it."""
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "cudaq.py").write_text("raise ModuleNotFoundError(name='cudaq')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(absent))
    assert "pip install 'qdyn-toolkit[cudaq]'" in refused(*SMALL, "--target", "qpp-cpu")


def test_drawing_and_export_write_what_they_say(typed: Typed, tmp_path: Path) -> None:
    done = typed(*SMALL, "--draw", "a.svg", "--qasm", "a.qasm")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["a.svg", "a.qasm"]
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.qasm").read_text().startswith("OPENQASM 2.0;")
    text = typed(*SMALL, "--draw")
    assert "C1 0: " in text.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["csa-tfim-4q"], "classical twin"),
        (["qsa-tfim-4q", "--steps", "99"], "at most 32"),
        (["qsa-tfim-4q", "--run"], "48-qubit"),
        (["qsa-tfim-4q", "--draw", "a.jpg"], ".svg or .png"),
        (["qsa-tfim-4"], "did you mean 'qsa-tfim-4q'?"),
        (["qsa-tfim-4q", "--sequence", "128"], "128"),
    ],
)
def test_what_makes_no_sense_is_one_line(words: list[str], part: str, refused: Callable[..., str]) -> None:
    assert part in refused("circuit", *words)
