"""Checkpoints: what goes in comes out bit for bit, and a bad file is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qdyn.errors import RunError
from qdyn.training.checkpoints import Position, checkpoint_position, load_checkpoint, save_checkpoint
from qdyn.training.config import TrainingConfig
from qdyn.training.ensembles import Ensemble
from qdyn.training.optimisers import make_optimiser


class Bowl(nn.Module):
    def __init__(self, seed: int, size: int = 3) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(seed)))
        self.unused = nn.Parameter(torch.ones(2))

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        return (self.place.square().sum() * inputs + 0 * self.unused.sum()).sum(-1)


def step(ensemble: Ensemble, optimiser: torch.optim.Optimizer, number: int) -> None:
    optimiser.zero_grad()
    data = torch.full((2, 4, 1), 1.0 + number)
    ensemble.losses("L_B", data, data, data).sum().backward()
    optimiser.step()


def fresh(size: int = 3) -> tuple[Ensemble, torch.optim.Optimizer]:
    ensemble = Ensemble([Bowl(seed, size) for seed in (1, 2)])
    return ensemble, make_optimiser(ensemble, TrainingConfig())


def test_going_on_from_a_checkpoint_is_bitwise_the_same(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    ensemble, optimiser = fresh()
    for number in range(3):
        step(ensemble, optimiser, number)
    save_checkpoint(path, ensemble, optimiser, position=Position(step=3, seconds=1.5))
    resumed, resumed_optimiser = fresh()
    assert load_checkpoint(path, resumed, resumed_optimiser) == Position(step=3, seconds=1.5)
    assert checkpoint_position(path) == Position(step=3, seconds=1.5)
    for number in range(3, 6):
        step(ensemble, optimiser, number)
        step(resumed, resumed_optimiser, number)
    for name, tensor in ensemble.parameters.items():
        assert torch.equal(tensor, resumed.parameters[name])


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    ensemble, optimiser = fresh()
    save_checkpoint(path, ensemble, optimiser, position=Position(step=0, seconds=0.0))
    before = path.read_bytes()

    def half_written(tensors: object, target: Path, metadata: object) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("qdyn.training.checkpoints.save_file", half_written)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, ensemble, optimiser, position=Position(step=1, seconds=0.0))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


def test_bad_files_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    ensemble, optimiser = fresh()
    step(ensemble, optimiser, 0)
    save_checkpoint(path, ensemble, optimiser, position=Position(step=1, seconds=0.0))

    def refusal(expected: str, *, size: int = 3) -> None:
        with pytest.raises(RunError, match=expected) as problem:
            load_checkpoint(path, *fresh(size))
        assert "\n" not in str(problem.value)

    refusal("does not hold the parameter place of this model", size=4)
    path.write_bytes(path.read_bytes()[:-10])
    refusal("cannot be read, it may be truncated")
    path.write_bytes(b"foreign")
    refusal("cannot be read, it may be truncated")
    save_file({"x": torch.ones(1)}, path)
    refusal("is not a qdyn-checkpoint-1 file")
    path.unlink()
    refusal("cannot be read")
    assert checkpoint_position(path) == Position(step=0, seconds=0.0)
