"""Training as a whole: what it learns, what it writes, what it refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from qdyn.config import read_yaml
from qdyn.data.sequences import Kind, SequenceDataset
from qdyn.errors import ArgumentError, ConfigError, DatasetError, OutputError, RunError
from qdyn.training.callbacks import Callback, Progress, StopRun
from qdyn.training.config import RunConfig
from qdyn.training.loop import TrainingInterrupted
from qdyn.training.train import train

MakeConfig = Callable[..., RunConfig]
MakeDataset = Callable[..., SequenceDataset]

KINDS: tuple[Kind, ...] = ("quantum_state", "token", "real")


class At(Callback):
    """Does something after one step."""

    def __init__(self, step: int, action: object) -> None:
        self.step = step
        self.action = action

    def on_step_end(self, progress: Progress) -> None:
        if progress.step == self.step:
            self.action()  # type: ignore[operator]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def log_lines(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_on_every_kind_of_data(
    kind: Kind, tmp_path: Path, make_config: MakeConfig, make_dataset: MakeDataset
) -> None:
    config = make_config(kind, steps=60, learning_rate=5e-2, evaluate_every=60)
    run = train(config, dataset=make_dataset(kind), out=tmp_path / "run")
    history = run.history
    assert np.isfinite(history.loss).all()
    assert (history.loss[-5:].mean(axis=0) < 0.7 * history.loss[0]).all()
    assert run.finished
    for model in run.models:
        batch = run.dataset().split("test").batch([0, 1])
        assert torch.isfinite(torch.view_as_real(model.forecast(batch.inputs).to(torch.complex64))).all()


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_an_ensemble_equals_separate_runs(
    dtype: str, tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    config = make_config(dtype=dtype, gradient_clip=0.5, seeds=(3, 5, 11), steps=20)
    together = train(config, dataset=states, out=tmp_path / "together")
    stacked = weights(tmp_path / "together")
    for index, seed in enumerate(config.training.seeds):
        alone = train(config, dataset=states, out=tmp_path / f"alone-{seed}", seeds=[seed])
        for name, tensor in weights(alone.path).items():
            torch.testing.assert_close(stacked[name][index], tensor[0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(together.history.loss[:, index], alone.history.loss[:, 0], atol=1e-5)


def test_seeds_differ_and_a_run_repeats_itself(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    for name in "ab":
        train(make_config(), dataset=states, out=tmp_path / name)
    assert_same_bits(tmp_path / "a", tmp_path / "b")
    for stack in weights(tmp_path / "a").values():
        assert not torch.equal(stack[0], stack[1]) or stack.numel() == 2


def test_what_a_run_leaves(tmp_path: Path, states: SequenceDataset, make_config: MakeConfig) -> None:
    run = train(make_config(), dataset=states, out=tmp_path / "run")
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoint.safetensors",
        "config.yaml",
        "log.jsonl",
        "run.json",
        "weights.safetensors",
    ]
    record = json.loads((run.path / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["step"] == 12
    assert record["seeds"] == [3, 5]
    assert record["sequences"] == {"train": 24, "validation": 8, "test": 8}
    assert record["parameters"] == 2 * 3 * 2 * 3
    assert record["threads"] == 1
    assert record["dataset"]["name"] == "orbits-quantum_state"
    assert len(record["dataset"]["digest"]) == 64
    assert {"qdyn", "torch", "numpy", "python"} <= record["versions"].keys()
    assert record["training_seconds"] > 0
    assert read_yaml(run.path / "config.yaml")["training"]["learning_rate"] == 0.02
    assert [line["step"] for line in log_lines(run.path)] == [1, 2, 4, 6, 8, 10, 12]
    assert run.history.validation_steps.tolist() == [6, 12]
    assert run.history.validation["L_1"].shape == (2, 2)


def test_windows_train_on_parts_of_the_sequences(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    config = make_config(steps=3)
    windowed = replace(config, dataset=replace(config.dataset, window=3))
    train(windowed, dataset=states, out=tmp_path / "windows")
    train(config, dataset=states, out=tmp_path / "whole")
    assert log_lines(tmp_path / "windows")[0]["loss"] != log_lines(tmp_path / "whole")[0]["loss"]


def test_a_dataset_without_splits_is_trained_on_as_a_whole(
    tmp_path: Path, make_config: MakeConfig, make_dataset: MakeDataset
) -> None:
    values = make_dataset("quantum_state").split("train").sequences()
    data = SequenceDataset.from_arrays(values, kind="quantum_state")
    run = train(make_config(steps=2), dataset=data, out=tmp_path / "run")
    assert run.history.validation == {}


def test_ctrl_c_keeps_a_checkpoint_and_the_resumed_run_is_the_same(
    tmp_path: Path,
    states: SequenceDataset,
    make_config: MakeConfig,
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(make_config(), dataset=states, out=whole)
    ctrl_c = At(7, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=r"Interrupted after step 7 of 12: .* --resume") as problem:
        train(make_config(), dataset=states, out=parts, callbacks=[ctrl_c])
    assert "\n" not in str(problem.value)
    assert isinstance(problem.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert json.loads((parts / "run.json").read_text())["status"] == "interrupted"
    run = train(make_config(), dataset=states, out=parts, resume=True)
    assert run.finished
    assert_same_bits(whole, parts)
    assert log_lines(whole) == log_lines(parts)


def test_a_second_ctrl_c_acts_at_once(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as problem:
        train(make_config(), dataset=states, out=tmp_path / "run", callbacks=[At(7, twice)])
    assert not isinstance(problem.value, TrainingInterrupted)
    train(make_config(), dataset=states, out=tmp_path / "whole")
    train(make_config(), dataset=states, out=tmp_path / "run", resume=True)
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


def test_stop_run_keeps_weights_and_can_go_on(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    def stop() -> None:
        raise StopRun("good enough")

    run = train(make_config(), dataset=states, out=tmp_path / "run", callbacks=[At(4, stop)])
    assert run.record.status == "stopped"
    assert run.record.reason == "good enough"
    assert run.step == 4
    assert len(run.models) == 2
    train(make_config(), dataset=states, out=tmp_path / "run", resume=True)
    train(make_config(), dataset=states, out=tmp_path / "whole")
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_callbacks_see_every_step_and_every_evaluation(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    class Witness(Callback):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_start(self, step: int, steps: int) -> None:
            self.events.append(f"start {step}/{steps}")

        def on_step_end(self, progress: Progress) -> None:
            assert progress.loss.shape == (2,)
            self.events.append(f"step {progress.step}")

        def on_evaluate(self, progress: Progress) -> None:
            assert progress.validation is not None
            self.events.append(f"evaluate {progress.step}")

        def on_end(self) -> None:
            self.events.append("end")

    witness = Witness()
    config = make_config(steps=3, evaluate_every=2)
    train(config, dataset=states, out=tmp_path / "run", callbacks=[witness])
    expected = ["start 0/3", "step 1", "evaluate 2", "step 2", "evaluate 3", "step 3", "end"]
    assert witness.events == expected


def test_divergence_names_step_and_seed_and_keeps_the_checkpoint(
    tmp_path: Path,
    states: SequenceDataset,
    monkeypatch: pytest.MonkeyPatch,
    make_config: MakeConfig,
) -> None:
    from qdyn.training.ensembles import Ensemble

    losses, calls = Ensemble.losses, iter(range(1000))

    def poisoned(self: Ensemble, *data: object, **options: object) -> torch.Tensor:
        good = losses(self, *data, **options)  # type: ignore[arg-type]
        return good + torch.tensor([0.0, torch.nan]) if next(calls) == 8 else good

    monkeypatch.setattr(Ensemble, "losses", poisoned)
    with pytest.raises(RunError) as problem:
        train(make_config(evaluate_every=100), dataset=states, out=tmp_path / "run")
    assert str(problem.value).startswith(
        "Training diverged: at step 9 the loss or a parameter of seed 5 is not finite"
    )
    assert "the last checkpoint is kept" in str(problem.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    monkeypatch.setattr(Ensemble, "losses", losses)
    train(make_config(evaluate_every=100), dataset=states, out=tmp_path / "run", resume=True)
    train(make_config(evaluate_every=100), dataset=states, out=tmp_path / "whole")
    assert_same_bits(tmp_path / "run", tmp_path / "whole")


def test_parameters_that_are_not_finite_never_reach_a_checkpoint(
    tmp_path: Path,
    states: SequenceDataset,
    monkeypatch: pytest.MonkeyPatch,
    make_config: MakeConfig,
) -> None:
    from qdyn.training import loop

    def poison(parameters: dict[str, torch.Tensor], *, largest_norm: float, each: bool) -> None:
        for tensor in parameters.values():
            assert tensor.grad is not None
            tensor.grad[0] = torch.nan

    monkeypatch.setattr(loop, "clip_members", poison)
    config = make_config(gradient_clip=1.0, checkpoint_every=1)
    with pytest.raises(RunError, match=r"at step 1 .* of seed 3 is not finite \(there was no"):
        train(config, dataset=states, out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_threads_are_set_for_the_run_and_put_back(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    seen: list[int] = []
    witness = At(1, lambda: seen.append(torch.get_num_threads()))
    run = train(make_config(threads=2, steps=1), dataset=states, out=tmp_path / "run", callbacks=[witness])
    assert seen == [2]
    assert torch.get_num_threads() == 1
    assert run.record.threads == 2


def test_progress_lines(
    tmp_path: Path, states: SequenceDataset, capsys: pytest.CaptureFixture[str], make_config: MakeConfig
) -> None:
    train(make_config(), dataset=states, out=tmp_path / "a", progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("small: step 12 of 12, ")
    assert "validation L_1" in lines[-1]
    train(make_config(), dataset=states, out=tmp_path / "b")
    train(make_config(), dataset=states, out=tmp_path / "c", progress=False)
    assert capsys.readouterr().err == ""


class TestRefusals:
    """Nothing on disk is harmed, and the message is one line."""

    @pytest.fixture(autouse=True)
    def _small(self, make_config: MakeConfig) -> None:
        self.config = make_config(steps=2)

    def refuse(self, kind: type[Exception], expected: str, **arguments: object) -> None:
        with pytest.raises(kind, match=expected) as problem:
            train(**{"preset": self.config, **arguments})  # type: ignore[arg-type]
        assert "\n" not in str(problem.value)

    def test_occupied_folders(self, tmp_path: Path, states: SequenceDataset, make_config: MakeConfig) -> None:
        run = train(make_config(steps=2), dataset=states, out=tmp_path / "run")
        before = {path.name: path.read_bytes() for path in run.path.iterdir()}
        self.refuse(OutputError, "already holds a run", dataset=states, out=run.path)
        assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.tex").write_text("years of work")
        self.refuse(OutputError, r"holds other files \(thesis.tex\)", dataset=states, out=tmp_path / "other")
        self.refuse(OutputError, "is a file", dataset=states, out=tmp_path / "other" / "thesis.tex")
        assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "config.yaml").write_text("a: 1\n")
        self.refuse(OutputError, r"holds other files \(config.yaml\)", dataset=states, out=tmp_path / "mine")
        assert (tmp_path / "mine" / "config.yaml").read_text() == "a: 1\n"

    def test_an_empty_folder_and_the_traces_of_a_killed_start_are_fine(
        self,
        tmp_path: Path,
        states: SequenceDataset,
        make_config: MakeConfig,
    ) -> None:
        train(make_config(steps=2), dataset=states, out=tmp_path / "first")
        killed = tmp_path / "killed"
        killed.mkdir()
        (killed / "config.yaml").write_bytes((tmp_path / "first" / "config.yaml").read_bytes())
        (killed / ".run.json.17.part").write_text("{")
        train(make_config(steps=2), dataset=states, out=killed)
        assert_same_bits(tmp_path / "first", killed)

    def test_a_run_that_fails_before_its_first_update_is_in_nobodys_way(
        self, tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
    ) -> None:
        """A misspelt loss is found out late: the corrected command must not be told of a run to resume."""
        config = make_config()
        wrong = replace(config, training=replace(config.training, loss="MSE"))
        with pytest.raises(ArgumentError, match="`loss` is 'MSE', which is unknown"):
            train(wrong, dataset=states, out=tmp_path / "run", progress=False)
        assert list((tmp_path / "run").iterdir()) == []
        assert train(config, dataset=states, out=tmp_path / "run", progress=False).finished

    def test_unwritable(self, states: SequenceDataset) -> None:
        self.refuse(OutputError, "Cannot make the folder /proc/none", dataset=states, out="/proc/none/run")

    def test_nothing_to_resume(self, tmp_path: Path, states: SequenceDataset) -> None:
        self.refuse(RunError, "There is no run at", dataset=states, out=tmp_path / "none", resume=True)

    def test_overrides_need_a_preset(self, tmp_path: Path, states: SequenceDataset) -> None:
        self.refuse(
            ConfigError, "`overrides`", dataset=states, out=tmp_path / "a", overrides=["training.steps=1"]
        )

    def test_an_unknown_dataset(self, tmp_path: Path) -> None:
        self.refuse(ConfigError, "Unknown recipe", dataset="tfim-4p", out=tmp_path / "a")
        assert not (tmp_path / "a").exists()

    def test_a_dataset_of_test_sequences_only(self, tmp_path: Path, make_dataset: MakeDataset) -> None:
        values = make_dataset("quantum_state").sequences()
        data = SequenceDataset.from_arrays(values, kind="quantum_state", splits={"test": (0, 40)})
        self.refuse(DatasetError, "no sequences in its split 'train'", dataset=data, out=tmp_path / "a")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_no_cuda(self, tmp_path: Path, states: SequenceDataset, make_config: MakeConfig) -> None:
        config: RunConfig = make_config(device="cuda")
        self.refuse(ConfigError, "finds no CUDA device", preset=config, dataset=states, out=tmp_path / "a")


def test_one_number_is_no_list_of_seeds(
    as_user: None, tmp_path: Path, make_config: MakeConfig, make_dataset: MakeDataset
) -> None:
    data = make_dataset("real")
    with pytest.raises(ArgumentError, match=r"`seeds` must be a list such as \[0, 1\], but is 3"):
        train(make_config("real"), dataset=data, out=tmp_path / "run", seeds=3)  # type: ignore[arg-type]
