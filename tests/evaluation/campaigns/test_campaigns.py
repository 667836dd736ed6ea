"""Campaigns: the same figures in one process or two, resumable, refusing what does not belong together."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qdyn.data.sequences import SequenceDataset
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError, RunError
from qdyn.evaluation.campaigns.campaigns import run_campaign
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial, judge_untrained
from qdyn.evaluation.evaluate import evaluate
from qdyn.models.config import ModelConfig
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import haar_random_states
from qdyn.training.config import DatasetConfig, EvaluationConfig, RunConfig, TrainingConfig
from qdyn.training.run import load_run


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 trajectories of two sites, in a file."""
    couplings = np.random.default_rng(1).uniform(0.2, 2.0, (2, 20))
    chain = TransverseFieldIsing(
        n_sites=2, coupling=torch.tensor(couplings[0]), field=torch.tensor(couplings[1])
    )
    times = 0.35 * np.arange(9)
    data = SequenceDataset.from_arrays(
        evolve(chain, haar_random_states(n_qubits=2, batch=20, seed=0), times).states,  # type: ignore[arg-type]
        kind="quantum_state",
        phase_convention="first_real",
        times=times,
        conditions={"coupling": couplings[0], "field": couplings[1]},
        splits={"train": (0, 12), "test": (12, 20)},
        recipe={"hamiltonian": {"model": "transverse_field_ising", "n_sites": 2}},
    )
    path = tmp_path_factory.mktemp("campaign") / "pairs.h5"
    data.save(path)
    return path


def trial(stored: Path, degree: int, *, steps: int = 6) -> Trial:
    config = RunConfig(
        name=f"k-{degree}",
        dataset=DatasetConfig(name=str(stored)),
        model=ModelConfig(layers=2, kernel="monomial", degree=degree),
        training=TrainingConfig(steps=steps, batch_size=4, seeds=(0, 1), evaluate_every=steps),
        evaluation=EvaluationConfig(context=4, rollout_steps=5),
    )
    return Trial(f"k-{degree}", config)


def test_a_worker_finds_what_one_process_finds_and_what_evaluate_finds(stored: Path, tmp_path: Path) -> None:
    trials = [trial(stored, 1), trial(stored, 2)]
    alone = run_campaign(trials, folder=tmp_path / "one", workers=1, progress=False)
    elsewhere = run_campaign(trials[1:], folder=tmp_path / "two", workers=2, progress=False)
    assert elsewhere["k-2"].figures == alone["k-2"].figures
    assert list(alone) == ["k-1", "k-2"]
    for key, outcome in alone.items():
        run = load_run(tmp_path / "one" / "runs" / key)
        row = evaluate(run, compare=False, progress=False).rows[0]
        for metric in ("L_1", "fidelity", "L_B"):
            figure = outcome.figures["test"][metric]
            assert figure.mean == pytest.approx(row.metrics[metric].mean, rel=1e-6)
            assert figure.std == pytest.approx(row.metrics[metric].std, rel=1e-4)
        batch = run.dataset().split("train").batch(range(12))
        mu = [model(batch.inputs, batch.targets).mu.mean().detach() for model in run.models]  # type: ignore[operator]
        assert outcome.figures["train"]["mu"].of_each_seed == pytest.approx([float(one) for one in mu])


def test_what_is_finished_is_not_done_again(stored: Path, tmp_path: Path) -> None:
    first = run_campaign([trial(stored, 1)], folder=tmp_path, workers=1, progress=False)
    weights = tmp_path / "runs" / "k-1" / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    second = run_campaign([trial(stored, 1), trial(stored, 3)], folder=tmp_path, workers=1, progress=False)
    assert weights.stat().st_mtime_ns == written
    assert second["k-1"] == first["k-1"]
    assert isinstance(second["k-3"], Outcome)


def test_a_campaign_of_other_settings_is_refused(stored: Path, tmp_path: Path) -> None:
    run_campaign([trial(stored, 1)], folder=tmp_path, workers=1, progress=False)
    with pytest.raises(RunError, match=r"training\.steps"):
        run_campaign([trial(stored, 1, steps=7)], folder=tmp_path, workers=1, progress=False)
    with pytest.raises(ArgumentError, match="distinct keys"):
        run_campaign([trial(stored, 1), trial(stored, 1)], folder=tmp_path, progress=False)
    (tmp_path / "outcomes" / "k-1.json").write_text("{")
    with pytest.raises(RunError, match=r"outcomes/k-1.json cannot be read: .* Delete it to judge again"):
        run_campaign([trial(stored, 1)], folder=tmp_path, workers=1, progress=False)


def test_a_killed_campaign_goes_on_and_ends_the_same(stored: Path, tmp_path: Path) -> None:
    one = trial(stored, 2, steps=60)
    one = Trial(one.key, replace(one.config, training=replace(one.config.training, checkpoint_every=5)))
    (tmp_path / "preset.yaml").write_text(one.config.to_yaml())
    program = f"""
        from qdyn.evaluation.campaigns.campaigns import run_campaign
        from qdyn.evaluation.campaigns.trials import Trial
        from qdyn.training.config import load_config
        if __name__ == "__main__":
            config = load_config({str(tmp_path / "preset.yaml")!r})
            run_campaign([Trial("k-2", config)], folder={str(tmp_path / "killed")!r}, workers=2)
    """
    script = tmp_path / "campaign.py"
    script.write_text(textwrap.dedent(program))
    checkpoint = tmp_path / "killed" / "runs" / "k-2" / "checkpoint.safetensors"
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if checkpoint.exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    assert checkpoint.exists(), f"the campaign ended with {process.poll()} before its first checkpoint"
    process.kill()
    process.wait()
    # The worker notices that its parent is gone and ends; what it wrote is whole.
    time.sleep(1.5)
    resumed = run_campaign([one], folder=tmp_path / "killed", workers=1, progress=False)
    whole = run_campaign([one], folder=tmp_path / "whole", workers=1, progress=False)
    assert resumed["k-2"].figures == whole["k-2"].figures


def test_baselines_are_judged_on_the_test_split(stored: Path) -> None:
    from qdyn.data.load import load_dataset

    found = judge_untrained(load_dataset(stored), context=4, rollout_steps=5)
    assert found["exact"].figures["test"]["rollout_fidelity"].mean == pytest.approx(1.0, abs=1e-6)
    assert found["persistence"].figures["test"]["L_1"].std is None
    assert "train" not in found["persistence"].figures
    assert (
        found["identification"].figures["test"]["L_1"].mean
        < found["mean_hamiltonian"].figures["test"]["L_1"].mean
    )


def test_a_figure_keeps_every_seed() -> None:
    values = np.array([[1.0, 3.0], [5.0, 7.0]])
    figure = Figure.of(values)
    assert figure.of_each_seed == (2.0, 6.0)
    assert figure.mean == 4.0
    assert figure.std == pytest.approx(np.std([2.0, 6.0], ddof=1))
    assert figure.standard_error == pytest.approx(np.std([3.0, 5.0], ddof=1) / 2**0.5)
