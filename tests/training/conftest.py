"""Small sequences of each kind that a model can learn in a few steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from qdyn.data.sequences import Kind, SequenceDataset
from qdyn.models.config import ModelConfig
from qdyn.training.callbacks import Callback, Progress, StopRun
from qdyn.training.config import DatasetConfig, RunConfig, TrainingConfig

SPLITS = {"train": (0, 24), "validation": (24, 32), "test": (32, 40)}


def small_dataset(kind: Kind, *, n_sequences: int = 40, steps: int = 6, seed: int = 1) -> SequenceDataset:
    """Orbits of one random unitary (or rotation), or of one random permutation of 8 words; three splits."""
    rng = np.random.default_rng(seed)
    if kind == "token":
        successor = rng.permutation(8)
        words = [rng.integers(0, 8, n_sequences)]
        for _ in range(steps):
            words.append(successor[words[-1]])
        lengths = np.where(np.arange(n_sequences) % 5 == 0, steps - 1, steps + 1)
        return SequenceDataset.from_arrays(
            torch.as_tensor(np.stack(words, axis=1)),
            kind="token",
            vocabulary=[f"w{number}" for number in range(8)],
            lengths=lengths,
            splits=SPLITS,
            name="words",
        )
    matrix = rng.standard_normal((4, 4)) + (
        1j * rng.standard_normal((4, 4)) if kind == "quantum_state" else 0
    )
    unitary = np.linalg.qr(matrix)[0]
    start = rng.standard_normal((n_sequences, 4)) + (
        1j * rng.standard_normal((n_sequences, 4)) if kind == "quantum_state" else 0
    )
    orbit = [start / np.linalg.norm(start, axis=1, keepdims=True)]
    for _ in range(steps):
        orbit.append(orbit[-1] @ unitary.T)
    values = np.stack(orbit, axis=1).astype(np.complex64 if kind == "quantum_state" else np.float32)
    return SequenceDataset.from_arrays(values, kind=kind, splits=SPLITS, name=f"orbits-{kind}")


def small_config(kind: Kind = "quantum_state", **training: Any) -> RunConfig:
    """A polynomial QSA of three layers on two or three qubits."""
    settings = {
        "steps": 12,
        "batch_size": 8,
        "seeds": (3, 5),
        "log_every": 2,
        "evaluate_every": 6,
        "checkpoint_every": 5,
    }
    return RunConfig(
        name="small",
        dataset=DatasetConfig(name="unused"),
        model=ModelConfig(
            unitaries="real" if kind == "real" else "hardware_efficient",
            layers=3,
            degree=2,
            embedding_dimension=4 if kind == "token" else None,
        ),
        training=TrainingConfig(**{**settings, **training}),
    )


class StopAt(Callback):
    """Ends a run after so many updates, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, progress: Progress) -> None:
        if progress.step == self._step:
            raise StopRun("far enough")


@pytest.fixture
def states() -> SequenceDataset:
    return small_dataset("quantum_state")


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., SequenceDataset]:
    return small_dataset


@pytest.fixture(scope="session")
def make_config() -> Callable[..., RunConfig]:
    return small_config


@pytest.fixture(scope="session")
def stop_at() -> Callable[[int], Callback]:
    return StopAt
