"""Help, version, and what is said to someone who mistypes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qdyn
from qdyn.cli import COMMANDS, main


def test_help_lists_every_command_and_ends_in_an_example(typed):
    done = typed("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
    assert "example:\n  qdyn demo\n" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: qdyn {command} ")
    assert f"example:\n  qdyn {command}" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_version(typed):
    assert typed("--version").stdout == f"qdyn {qdyn.__version__}\n"


def test_help_does_not_wait_for_torch(typed):
    """Measured against the interpreter's own start, since the machine may be busy with other things."""
    code = "import sys; from qdyn.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.perf_counter() - began < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND is missing; see qdyn --help."),
        (["gen"], "Unknown command 'gen': did you mean 'generate'?"),
        (["trian", "x"], "Unknown command 'trian': did you mean 'train'?"),
        (["juggle"], "Unknown command 'juggle': valid: analyse, circuit, datasets, demo, "),
        (["--verson"], "Unknown option '--verson' of 'qdyn': did you mean '--version'?"),
        (
            ["generate", "tfim-4q", "--worker", "2"],
            "Unknown option '--worker' of 'qdyn generate': did you mean '--workers'?",
        ),
        (
            ["train", "x", "--ressume=1"],
            "Unknown option '--ressume' of 'qdyn train': did you mean '--resume'?",
        ),
        (["generate"], "RECIPE is missing; see qdyn generate --help."),
        (["evaluate", "a", "b"], "Unexpected 'b'; see qdyn evaluate --help."),
        (
            ["generate", "tfim-4q", "--workers", "two"],
            "Option --workers must be an integer >= 1, but is 'two'",
        ),
        (["generate", "tfim-4q", "--size", "0"], "Option --size must be an integer >= 1, but is '0'"),
        (["train", "x", "--seeds", "-1"], "Option --seeds must be an integer >= 0, but is '-1'"),
        (["train", "x", "--seeds", "0.5"], "Option --seeds must be an integer >= 0, but is '0.5'"),
        (["evaluate", "a", "--threshold", "1"], "Option --threshold must be a number in (0, 1), but is '1'"),
        (["demo", "--out"], "Option --out expected one argument"),
    ],
)
def test_what_is_mistyped_gets_one_line(refused, arguments, message):
    assert message in refused(*arguments)


def test_debug_shows_the_traceback_before_the_line(typed):
    for arguments in (["--debug", "datasets", "nowhere"], ["datasets", "nowhere", "--debug"]):
        done = typed(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Traceback ")
        assert done.stderr.splitlines()[-1].startswith("qdyn: error: Unknown recipe 'nowhere'")


def test_a_fault_of_qdyn_is_called_one(monkeypatch, capsys):
    def broken(kind):
        raise KeyError("lost")

    monkeypatch.setattr("qdyn.commands.listing.shipped_names", broken)
    assert main(["datasets"]) == 1
    shown = capsys.readouterr().err
    assert shown == "qdyn: error: a fault of qdyn itself (--debug shows where): KeyError: 'lost'\n"


@pytest.mark.parametrize("arguments", [["datasets"], ["models", "qsa-tfim-4q"], ["datasets", "grammar"]])
def test_a_reader_that_closes_early_is_no_error(arguments):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [Path(sys.executable).parent / "qdyn", *arguments], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""
