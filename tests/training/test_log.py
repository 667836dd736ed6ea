"""The log: no step twice, none lost, a torn last line forgiven, two writers refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from qdyn.errors import OutputError, RunError
from qdyn.training.callbacks import Progress
from qdyn.training.log import TrainingLog, read_history


def progress(step: int, loss: list[float], validation: dict[str, np.ndarray] | None = None) -> Progress:
    seeds = tuple(range(len(loss)))
    return Progress(
        step=step,
        steps=100,
        seeds=seeds,
        learning_rate=0.1,
        loss=np.array(loss),
        seconds=float(step),
        validation=validation,
    )


def write(path: Path, steps: range, *, keep_until: int) -> None:
    with TrainingLog(path, keep_until=keep_until) as log:
        for step in steps:
            validation = {"L_1": np.array([0.5 * step, 1.0])} if step % 2 == 0 else None
            log.write(progress(step, [1.0 / step, 2.0], validation))


def test_history_is_what_was_written(tmp_path: Path) -> None:
    write(tmp_path / "log", range(1, 5), keep_until=0)
    history = read_history(tmp_path / "log", n_seeds=2)
    np.testing.assert_array_equal(history.steps, [1, 2, 3, 4])
    np.testing.assert_allclose(history.loss, [[1, 2], [1 / 2, 2], [1 / 3, 2], [1 / 4, 2]])
    np.testing.assert_array_equal(history.validation_steps, [2, 4])
    np.testing.assert_array_equal(history.validation["L_1"], [[1.0, 1.0], [2.0, 1.0]])


def test_a_resumed_log_has_every_step_once(tmp_path: Path) -> None:
    write(tmp_path / "whole", range(1, 9), keep_until=0)
    write(tmp_path / "log", range(1, 7), keep_until=0)
    write(tmp_path / "log", range(5, 9), keep_until=4)
    assert (tmp_path / "log").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize("torn", [b"", b'{"step": 4, "loss"', b"\x00\xff\n", b'{"step": 4}\n'])
def test_a_torn_tail_is_cut_off_on_resume(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log"
    write(path, range(1, 4), keep_until=0)
    before = path.read_bytes()
    path.write_bytes(before + torn)
    TrainingLog(path, keep_until=100).close()
    assert path.read_bytes() == before


def test_a_line_cut_short_by_a_kill_is_left_out_of_the_history(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, range(1, 4), keep_until=0)
    path.write_bytes(path.read_bytes() + b'{"step": 4, "los')
    assert read_history(path, n_seeds=2).steps.tolist() == [1, 2, 3]


def test_foreign_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"step": 1, "seconds": 0, "learning_rate": 1, "loss": [1]}\nnonsense\n')
    with pytest.raises(RunError, match=r"log:2: not a line of a training log"):
        read_history(path, n_seeds=1)
    with pytest.raises(RunError, match=r"log:1: not a line of a training log of 3 seeds"):
        read_history(path, n_seeds=3)
    with pytest.raises(RunError, match="Cannot read the log"):
        read_history(tmp_path / "none", n_seeds=1)


def test_every_line_is_json_even_where_a_metric_is_not_finite(tmp_path: Path) -> None:
    with TrainingLog(tmp_path / "log", keep_until=0) as log:
        log.write(progress(1, [1.0], {"L_1": np.array([math.inf])}))
    line = (tmp_path / "log").read_text()
    json.loads(line, parse_constant=pytest.fail)
    assert np.isnan(read_history(tmp_path / "log", n_seeds=1).validation["L_1"]).all()


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with TrainingLog(path, keep_until=0), pytest.raises(RunError, match="Another process is training into"):
        TrainingLog(path, keep_until=0)
    TrainingLog(path, keep_until=0).close()


def test_an_unwritable_log_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(OutputError, match="Cannot write"):
        TrainingLog(tmp_path / "log", keep_until=0)


def test_the_part_of_some_members() -> None:
    whole = progress(3, [1.0, 2.0, 3.0, 4.0], {"L_1": np.array([5.0, 6.0, 7.0, 8.0])})
    part = whole.of_members(slice(2, 4))
    assert (part.step, part.seeds, part.loss.tolist()) == (3, (2, 3), [3.0, 4.0])
    assert part.validation is not None
    assert part.validation["L_1"].tolist() == [7.0, 8.0]
    assert progress(3, [1.0, 2.0]).of_members(slice(0, 1)).validation is None
