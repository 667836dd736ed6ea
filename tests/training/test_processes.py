"""Several processes that share the updates of a run: the same losses and weights as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

import qdyn
from qdyn.training.processes import ALONE, Processes

SCRIPT = """
import sys
import numpy as np
import qdyn
from qdyn.data.sequences import SequenceDataset
from qdyn.models.hybrid_decoder_config import HybridDecoderConfig
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

draw = np.random.default_rng(0)
data = SequenceDataset.from_arrays(
    draw.integers(0, 7, (40, 9)), kind="token", dimension=7, lengths=draw.integers(3, 10, 40),
    conditions={"a": draw.normal(size=40)}, splits={"train": (0, 30), "validation": (30, 40)}, name="words",
)
config = RunConfig(
    name="shared",
    dataset=DatasetConfig("words"),
    model=HybridDecoderConfig(conditions=("a",), standardise=True, dropout=0.2, width=8),
    training=TrainingConfig(
        loss="L_1", steps=6, batch_size=7, seeds=(0, 1), optimiser="adamw", weight_decay=0.1,
        learning_rate=1e-2, gradient_clip=0.5, evaluate_every=3, checkpoint_every=3, log_every=1,
        dtype="complex128", keep="best",
    ),
)
run = qdyn.train(config, dataset=data, out=sys.argv[1], progress=False, resume=len(sys.argv) > 2)
assert len(run.models) == 2
"""


def start(folder: Path, out: str, *, processes: int) -> None:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(script), str(folder / out)]
    made = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr


def test_two_processes_come_to_what_one_does(tmp_path: Path) -> None:
    """A batch of seven cannot be halved, entries are dropped, gradients clipped, the best evaluation kept."""
    start(tmp_path, "one", processes=1)
    start(tmp_path, "two", processes=2)
    one, two = (qdyn.load_run(tmp_path / name) for name in ("one", "two"))
    assert two.finished
    torch.testing.assert_close(
        torch.from_numpy(one.history.loss), torch.from_numpy(two.history.loss), rtol=1e-10, atol=0
    )
    ours, theirs = (torch.from_numpy(run.history.validation["L_1"]) for run in (one, two))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    every = ([cast(nn.Module, model) for model in run.models] for run in (one, two))
    for a, b in zip(*every, strict=True):
        for ours, theirs in zip(a.parameters(), b.parameters(), strict=True):
            # Adam divides by the size of gradients, also of those that rounding alone makes.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    lines = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("rows", "count"), [(7, 2), (8, 4), (3, 3)])
def test_shares_are_the_whole(rows: int, count: int) -> None:
    shares = [Processes(rank, count).share(rows) for rank in range(count)]
    assert [row for share in shares for row in range(rows)[share]] == list(range(rows))
    assert (
        max(len(range(rows)[share]) for share in shares) - min(len(range(rows)[share]) for share in shares)
        <= 1
    )


def test_one_process_adds_nothing() -> None:
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    assert torch.equal(tensor, torch.ones(3))
    assert ALONE.first
    assert not ALONE.any(False)
