"""Several processes that share the updates of a run: the same losses and weights as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import DatasetError
from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig
from qdyn.training.processes import ALONE, Processes
from qdyn.training.session import Part, Session

STEPS = 6


def train_on_words(out: Path, steps: int, *, resume: bool = False) -> qdyn.Run:
    """Two seeds told a condition, with dropout, clipping, decay, and the best evaluation kept."""
    draw = np.random.default_rng(0)
    data = SequenceDataset.from_arrays(
        draw.integers(0, 7, (40, 9)), kind="token", dimension=7, lengths=draw.integers(3, 10, 40),
        conditions={"a": draw.normal(size=40)}, splits={"train": (0, 30), "validation": (30, 40)},
        name="words",
    )  # fmt: skip
    config = RunConfig(
        name="shared",
        dataset=DatasetConfig("words"),
        model=HybridDecoderConfig(conditions=("a",), standardise=True, dropout=0.2, width=8),
        training=TrainingConfig(
            loss="L_1", steps=steps, batch_size=7, seeds=(0, 1), optimiser="adamw", weight_decay=0.1,
            learning_rate=1e-2, schedule="constant", gradient_clip=0.5, evaluate_every=2, checkpoint_every=2,
            log_every=1, dtype="complex128", keep="best",
        ),
    )  # fmt: skip
    return qdyn.train(config, dataset=data, out=out, progress=False, resume=resume)


def train_in_two(out: Path, steps: int) -> None:
    """The same by two processes that torchrun starts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [__file__, str(out), str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert made.returncode == 0, made.stderr


def test_two_processes_come_to_what_one_does(tmp_path: Path) -> None:
    """A batch of seven cannot be halved; in the end one process goes on with what two began."""
    one = train_on_words(tmp_path / "one", STEPS)
    train_in_two(tmp_path / "two", 4)
    assert qdyn.load_run(tmp_path / "two").finished
    two = train_on_words(tmp_path / "two", STEPS, resume=True)
    assert two.finished
    for ours, theirs in (
        (one.history.loss, two.history.loss),
        (one.history.validation["L_1"], two.history.validation["L_1"]),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    every = ([cast(nn.Module, model) for model in run.models] for run in (one, two))
    for a, b in zip(*every, strict=True):
        for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
            # Adam divides by the size of gradients, also of those that rounding alone makes.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    lines = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (8, 4), (3, 3)])
def test_shares_are_the_whole(rows: int, count: int) -> None:
    shares = [Processes(rank, count).share(rows) for rank in range(count)]
    assert [row for share in shares for row in range(rows)[share]] == list(range(rows))
    assert (
        max(len(range(rows)[share]) for share in shares) - min(len(range(rows)[share]) for share in shares)
        <= 1
    )


def test_more_processes_than_sequences_are_refused(tmp_path: Path) -> None:
    """One of them would have the mean over nothing."""
    data = SequenceDataset.from_arrays(np.zeros((3, 4), dtype=np.int64), kind="token", dimension=2)
    config = RunConfig(
        name="few",
        dataset=DatasetConfig("few"),
        model=HybridDecoderConfig(width=8),
        training=TrainingConfig(),
    )
    with pytest.raises(DatasetError, match="4 processes need as many sequences to train on, but there are 3"):
        Session(
            [Part(tmp_path, config, data)],
            checkpoint=tmp_path / "checkpoint",
            device=torch.device("cpu"),
            processes=Processes(rank=0, count=4),
        )


def test_one_process_adds_nothing() -> None:
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    assert torch.equal(tensor, torch.ones(3))
    assert ALONE.first
    assert not ALONE.any(False)


if __name__ == "__main__":
    assert len(train_on_words(Path(sys.argv[1]), int(sys.argv[2])).models) == 2
