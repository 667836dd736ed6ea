"""`qdyn analyse`: as a person types it once, then in this process, which spares loading PyTorch each time."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from qdyn.cli import main

FEW = ["--pairs", "40", "--samples", "10"]


def test_an_ansatz_is_analysed_and_written(
    typed: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["analyse", "real", "--qubits", "2", "--layers", "2", *FEW, "--noise", "0.01", "--out", "a"]
    done = typed(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "RY + CNOT ring, 2 qubits, 2 layers"
    assert "3 of 4 weights, at most 3" in done.stdout
    assert lines[-1] == "a/analysis.png"
    content = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert content["real"] is True
    assert content["expressibility"]["pairs"] == 40


def test_the_same_seed_gives_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for seed in ("3", "3", "4"):
        assert main(["analyse", "real", "--qubits", "2", *FEW, "--noise", "--seed", seed]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(("name", "weights"), [("qasa", 36), ("qlstm", 32), ("qnnformer", 30)])
def test_value_circuits_are_known(name: str, weights: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", name, *FEW, "--noise"]) == 0
    table = capsys.readouterr().out
    assert re.search(rf"^weights +{weights}, drawn from -3\.142 to 3\.142$", table, re.MULTILINE)
    assert "depolarising" not in table


def test_a_preset_is_analysed_from_its_own_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "qsa-monomial-tfim-4q", *FEW, "--noise"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("qsa-monomial-tfim-4q: hardware_efficient, 4 qubits, ")
    assert "drawn from 0 to " in table


def test_the_circuit_of_a_forecaster_is_analysed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "qasa-chaotic-logistic", *FEW, "--noise"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("qasa-chaotic-logistic: value circuit of qasa\n")
    assert "drawn from 0 to 6.283" in table


def test_what_is_left_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--pairs", "2", "--samples", "2"]
    assert main(["analyse", "real", "--qubits", "11", "--layers", "1", *few, "--noise", "0.01"]) == 0
    assert capsys.readouterr().err == "Noise is left out: it is followed for at most 10 qubits.\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["qas"], "did you mean 'qasa'?"),
        (["free"], "a free unitary has none"),
        (["csa-tfim-4q"], "made of gates"),
        (["in-context-tfim-4q"], "Argument `CIRCUIT` must be quantum self-attention, but is"),
        (["qasa", "--qubits", "3"], "`--qubits` is for an ansatz: 'qasa' has its own"),
        (["hardware_eficient", "--qubits", "3"], "did you mean 'hardware_efficient'?"),
        (["brick_wall", "--qubits", "1"], "at least 2 for brick_wall, but is 1"),
        (["real", "--angles", "-1"], "`--angles` must be a finite number > 0, but is -1"),
        (["real", "--pairs", "1"], "--pairs must be an integer >= 2"),
        (["real", "--noise", "2"], "must be a number in (0, 1)"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str], as_user: None
) -> None:
    del as_user
    assert main(["analyse", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("qdyn: error: ")
    assert said.err.count("\n") == 1
    assert part in said.err
