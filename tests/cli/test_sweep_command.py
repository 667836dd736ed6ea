"""`qdyn sweep` as a person types it; how it runs is tested in tests/evaluation/campaigns/test_sweeps.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdyn.cli import main


def test_a_list_names_every_trial_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "qasa-placement", "--list"]) == 0
    keys = capsys.readouterr().out.split()
    assert len(keys) == len(set(keys)) == 3 * 13
    assert "frozen~square-wave" in keys
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["qasa-placemen"], "Unknown sweep 'qasa-placemen': did you mean 'qasa-placement'?"),
        (["absent.yaml"], "The sweep file absent.yaml does not exist."),
        (["broken.yaml"], "unknown key `grids`: did you mean 'grid'?"),
        (["qasa-placement", "--set", "training.step=3"], "did you mean 'training.steps'?"),
        (
            ["qasa-placement", "--set", "dataset.name=arma"],
            "override 'dataset.name=arma' has no effect, since the grid gives `dataset.name` the values [",
        ),
        (["qasa-placement", "--workers", "0"], "--workers must be an integer >= 1"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    words: list[str],
    part: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\npreset: qsa-tfim-4q\ngrids: {model.layers: [1]}\n")
    assert main(["sweep", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("qdyn: error: ")
    assert said.err.count("\n") == 1
    assert part in said.err
    assert list(tmp_path.iterdir()) == [broken]
