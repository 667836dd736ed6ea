"""`qdyn analyse` as a person types it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Typed = Callable[..., subprocess.CompletedProcess[str]]

FEW = ["--pairs", "40", "--samples", "10"]


def test_an_ansatz_is_analysed_and_written(typed: Typed, tmp_path: Path) -> None:
    done = typed("analyse", "real", "--qubits", "2", "--layers", "2", *FEW, "--noise", "0.01", "--out", "a")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "RY + CNOT ring, 2 qubits, 2 layers"
    assert "3 of 4 weights, at most 3" in done.stdout
    assert lines[-1] == "a/analysis.png"
    content = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert content["real"] is True
    assert content["expressibility"]["pairs"] == 40
    again = typed("analyse", "real", "--qubits", "2", "--layers", "2", *FEW, "--noise", "0.01")
    assert again.stdout.splitlines() == lines[:-1]


@pytest.mark.parametrize(("name", "weights"), [("qasa", 36), ("qlstm", 32), ("qnnformer", 30)])
def test_value_circuits_are_known(name: str, weights: int, typed: Typed) -> None:
    done = typed("analyse", name, *FEW, "--noise")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^weights +{weights}, drawn from -3\.142 to 3\.142$", done.stdout, re.MULTILINE)
    assert "depolarising" not in done.stdout


def test_a_preset_is_analysed_from_its_own_start(typed: Typed) -> None:
    done = typed("analyse", "qsa-monomial-tfim-4q", *FEW, "--noise")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("qsa-monomial-tfim-4q: hardware_efficient, 4 qubits, ")
    assert "drawn from 0 to " in done.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["qas"], "did you mean 'qasa'?"),
        (["free"], "a free unitary has none"),
        (["csa-tfim-4q"], "made of gates"),
        (["qasa", "--qubits", "3"], "`--qubits` is for an ansatz: 'qasa' has its own"),
        (["brick_wall", "--qubits", "1"], "at least 2 for brick_wall, but is 1"),
        (["real", "--angles", "-1"], "`--angles` must be a finite number > 0, but is -1"),
        (["real", "--pairs", "1"], "--pairs must be an integer >= 2"),
        (["real", "--noise", "2"], "must be a number in (0, 1)"),
    ],
)
def test_what_makes_no_sense_is_one_line(words: list[str], part: str, refused: Callable[..., str]) -> None:
    assert part in refused("analyse", *words)
