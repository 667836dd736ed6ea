"""`qdyn sweep` as a person types it; how it runs is tested in tests/evaluation/test_sweeps.py."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Typed = Callable[..., subprocess.CompletedProcess[str]]


def test_a_list_names_every_trial_and_trains_nothing(typed: Typed, tmp_path: Path) -> None:
    done = typed("sweep", "qasa-placement", "--list")
    assert done.returncode == 0, done.stderr
    keys = done.stdout.split()
    assert len(keys) == len(set(keys)) == 3 * 11
    assert "frozen~square-wave" in keys
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["qasa-placemen"], "Unknown sweep 'qasa-placemen': did you mean 'qasa-placement'?"),
        (["absent.yaml"], "The sweep file absent.yaml does not exist."),
        (["broken.yaml"], "unknown key `grids`: did you mean 'grid'?"),
        (["qasa-placement", "--set", "training.step=3"], "did you mean 'training.steps'?"),
        (["qasa-placement", "--workers", "0"], "--workers must be an integer >= 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str], part: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "broken.yaml").write_text("name: broken\npreset: qsa-tfim-4q\ngrids: {model.layers: [1]}\n")
    assert part in refused("sweep", *words)
