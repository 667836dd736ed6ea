"""A run that is killed with kill -9 goes on as if nothing had happened; a run that has changed is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import RunError
from qdyn.training.config import RunConfig
from qdyn.training.train import train

MakeConfig = Callable[..., RunConfig]
MakeDataset = Callable[..., SequenceDataset]

HERE = Path(__file__).parent


def run_script(body: str) -> subprocess.CompletedProcess[str]:
    head = f"""
        import os, signal, sys
        sys.path.insert(0, {str(HERE)!r})
        import torch
        torch.set_num_threads(1)
        from conftest import small_config as make_config, small_dataset as make_dataset
        from qdyn.training.callbacks import Callback
        from qdyn.training.train import train
    """
    script = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def log_lines(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig, make_dataset: MakeDataset
) -> Path:
    """The same run without any interruption."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(make_config(), dataset=make_dataset("quantum_state"), out=folder)
    return folder


@pytest.mark.parametrize("step", [3, 5, 8, 12])
def test_kill_after_a_step(
    tmp_path: Path, whole: Path, states: SequenceDataset, step: int, make_config: MakeConfig
) -> None:
    out = tmp_path / "run"
    done = run_script(f"""
        class Kill(Callback):
            def on_step_end(self, progress):
                if progress.step == {step}:
                    os.kill(os.getpid(), signal.SIGKILL)
        train(make_config(), dataset=make_dataset("quantum_state"), out={str(out)!r}, callbacks=[Kill()])
    """)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / "weights.safetensors").exists()
    run = train(make_config(), dataset=states, out=out, resume=True)
    assert run.finished
    assert same_weights(whole, out)
    assert log_lines(whole) == log_lines(out)


def test_kill_in_the_middle_of_writing_a_checkpoint(
    tmp_path: Path, whole: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    out = tmp_path / "run"
    done = run_script(f"""
        from qdyn.training import checkpoints
        save, calls = checkpoints.save_file, []
        def half(tensors, path, metadata=None):
            save(tensors, path, metadata=metadata)
            calls.append(path)
            if len(calls) == 2:
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        checkpoints.save_file = half
        train(make_config(), dataset=make_dataset("quantum_state"), out={str(out)!r})
    """)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(path.suffix == ".part" for path in out.iterdir())
    train(make_config(), dataset=states, out=out, resume=True)
    assert same_weights(whole, out)


def test_kill_from_outside_at_an_arbitrary_moment(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    script = f"""
        import sys
        sys.path.insert(0, {str(HERE)!r})
        import torch
        torch.set_num_threads(1)
        from conftest import small_config as make_config, small_dataset as make_dataset
        from qdyn.training.train import train
        config = make_config(steps=3000, checkpoint_every=3, log_every=1, schedule="constant")
        train(config, dataset=make_dataset("quantum_state"), out={str(tmp_path / "run")!r})
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE) as process:
        log = tmp_path / "run" / "log.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") > 20):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    reached = json.loads(log.read_bytes().splitlines()[19])["step"]
    steps = reached + 40
    stored = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(stored.replace("steps: 3000", f"steps: {steps}"))
    config = make_config(steps=steps, checkpoint_every=3, log_every=1, schedule="constant")
    train(config, dataset=states, out=tmp_path / "whole")
    train(config, dataset=states, out=tmp_path / "run", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "run")


class TestRefusals:
    def refuse(self, folder: Path, expected: str, config: RunConfig, data: SequenceDataset) -> None:
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(RunError, match=expected) as problem:
            train(config, dataset=data, out=folder, resume=True)
        assert "\n" not in str(problem.value)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    def test_the_key_that_differs_is_named(
        self, whole: Path, states: SequenceDataset, make_config: MakeConfig
    ) -> None:
        self.refuse(whole, r"training.learning_rate=0.02; .* 0.03", make_config(learning_rate=0.03), states)
        self.refuse(whole, r"training.seeds=\[3, 5\]; .* \[3, 6\]", make_config(seeds=(3, 6)), states)
        config = make_config()
        self.refuse(
            whole, "model.layers=3; .* 4", replace(config, model=replace(config.model, layers=4)), states
        )

    def test_another_dataset_of_the_same_name(
        self, whole: Path, make_config: MakeConfig, make_dataset: MakeDataset
    ) -> None:
        self.refuse(whole, "of digest .* cannot go on", make_config(), make_dataset("quantum_state", seed=2))

    def test_a_cosine_schedule_cannot_be_extended(
        self, whole: Path, states: SequenceDataset, make_config: MakeConfig
    ) -> None:
        self.refuse(
            whole,
            "cannot be extended from training.steps=12 to 20: its cosine",
            make_config(steps=20),
            states,
        )
        self.refuse(whole, "cannot be cut to 5", make_config(steps=5), states)

    def test_a_truncated_checkpoint(
        self, tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
    ) -> None:
        run = train(make_config(schedule="constant"), dataset=states, out=tmp_path / "run")
        checkpoint = run.path / "checkpoint.safetensors"
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
        with pytest.raises(RunError, match="may be truncated"):
            train(make_config(schedule="constant", steps=20), dataset=states, out=run.path, resume=True)


def test_a_finished_run_is_returned_as_it_is(
    whole: Path,
    states: SequenceDataset,
    capsys: pytest.CaptureFixture[str],
    make_config: MakeConfig,
) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    run = train(make_config(), dataset=states, out=whole, resume=True, progress=True)
    assert run.finished
    assert "has already finished its 12 steps" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == before


def test_a_constant_schedule_can_be_extended(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    train(make_config(schedule="constant"), dataset=states, out=tmp_path / "parts")
    longer = make_config(schedule="constant", steps=20)
    run = train(longer, dataset=states, out=tmp_path / "parts", resume=True)
    assert run.step == run.record.step == 20
    train(longer, dataset=states, out=tmp_path / "whole")
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_resumed_run_takes_the_threads_it_began_with(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    train(make_config(schedule="constant"), dataset=states, out=tmp_path / "run")
    torch.set_num_threads(2)
    try:
        run = train(
            make_config(schedule="constant", steps=14), dataset=states, out=tmp_path / "run", resume=True
        )
    finally:
        torch.set_num_threads(1)
    assert run.record.threads == 1
