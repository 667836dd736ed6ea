from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from qdyn import SequenceDataset, haar_random_states
from qdyn.data.batch import Batch, collate


@pytest.fixture
def dataset() -> SequenceDataset:
    states = haar_random_states(n_qubits=2, batch=30, seed=0).reshape(6, 5, 4)
    return SequenceDataset.from_arrays(states, kind="quantum_state", conditions={"field": np.arange(6.0)})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_gives_every_window_once(dataset: SequenceDataset, workers: int) -> None:
    windows = dataset.windows(2)
    loader = DataLoader(
        windows, batch_size=4, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(1)
    )
    batches = list(loader)
    assert all(isinstance(batch, Batch) for batch in batches)
    assert sorted(torch.cat([batch.indices for batch in batches]).tolist()) == list(range(len(windows)))
    for batch in batches:
        wanted = windows.batch(batch.indices)
        assert torch.equal(batch.inputs, wanted.inputs)
        assert torch.equal(batch.conditions["field"], wanted.conditions["field"])


def test_collating_items_is_reading_a_batch(dataset: SequenceDataset) -> None:
    items, batch = collate([dataset[4], dataset[0]]), dataset.batch([4, 0])
    for name in ("inputs", "targets", "mask", "indices"):
        assert torch.equal(getattr(items, name), getattr(batch, name))
    assert torch.equal(items.conditions["field"], batch.conditions["field"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_precision_keeps_complex_complex_and_integers_integers(
    dataset: SequenceDataset, dtype: torch.dtype
) -> None:
    batch = dataset.batch([0, 1]).to("cpu", dtype)
    assert batch.inputs.dtype == batch.targets.dtype == torch.complex64
    assert batch.conditions["field"].dtype == torch.float32
    assert batch.mask.dtype == torch.bool
    assert batch.indices.dtype == torch.int64
    assert batch.to(dtype=torch.float64).inputs.dtype == torch.complex128
    assert batch.to().inputs.dtype == torch.complex64
    with pytest.raises(ValueError, match="single or double"):
        batch.to(dtype=torch.float16)
