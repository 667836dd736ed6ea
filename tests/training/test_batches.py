"""The order of the data: every sequence once a pass, and a function of seed and step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.data.sequences import SequenceDataset
from qdyn.errors import DatasetError
from qdyn.training import batches
from qdyn.training.batches import BatchSource, batch_indices, steps_per_epoch

CPU = torch.device("cpu")


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 1000), n=st.integers(1, 60), size=st.integers(1, 70))
def test_a_pass_sees_every_sequence_at_most_once(seed: int, epoch: int, n: int, size: int) -> None:
    per_epoch = steps_per_epoch(n, size)
    steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    seen = np.concatenate([batch_indices(seed=seed, step=s, n_sequences=n, batch_size=size) for s in steps])
    assert len(set(seen.tolist())) == len(seen)
    assert len(seen) == (n if size >= n else n // size * size)
    assert set(seen.tolist()) <= set(range(n))


def test_passes_and_seeds_have_their_own_order() -> None:
    def order(seed: int, step: int) -> list[int]:
        return batch_indices(seed=seed, step=step, n_sequences=50, batch_size=50).tolist()

    assert order(3, 0) == order(3, 0)
    assert order(3, 0) != order(3, 1)
    assert order(3, 0) != order(4, 0)


def states(n: int = 12) -> SequenceDataset:
    values = torch.randn(n, 5, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    values = values / torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    known = {"coupling": torch.arange(n).double(), "field": 10 + torch.arange(n).double()}
    return SequenceDataset.from_arrays(
        values, kind="quantum_state", lengths=[5] * (n - 1) + [3], conditions=known
    )


def test_members_see_their_own_sequences() -> None:
    source = BatchSource(states(), device=CPU, dtype=torch.complex64)
    inputs, targets, mask, told = source.members((5, 9), step=2, batch_size=4)
    assert told is None
    assert inputs.shape == targets.shape == (2, 4, 4, 4)
    for member, seed in enumerate((5, 9)):
        rows = batch_indices(seed=seed, step=2, n_sequences=12, batch_size=4)
        alone = states().batch(rows)
        assert torch.equal(inputs[member], alone.inputs)
        assert torch.equal(targets[member], alone.targets)
        assert torch.equal(mask[member], alone.mask)


def test_reading_from_file_gives_what_memory_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = BatchSource(states(), device=CPU, dtype=torch.complex64, told=("field", "coupling"))
    monkeypatch.setattr(batches, "_RESIDENT_BYTES", 0)
    streamed = BatchSource(states(), device=CPU, dtype=torch.complex64, told=("field", "coupling"))
    for one, other in zip(
        resident.members((1, 2), step=7, batch_size=5),
        streamed.members((1, 2), step=7, batch_size=5),
        strict=True,
    ):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_members_are_told_the_conditions_of_their_own_sequences() -> None:
    source = BatchSource(states(), device=CPU, dtype=torch.complex64, told=("field", "coupling"))
    told = source.members((5, 9), step=2, batch_size=4)[3]
    assert told is not None
    for member, seed in enumerate((5, 9)):
        rows = batch_indices(seed=seed, step=2, n_sequences=12, batch_size=4)
        assert told[member].tolist() == [[10.0 + row, float(row)] for row in rows]
    with pytest.raises(
        DatasetError, match="no condition 'feld', which the model is told: did you mean 'field'"
    ):
        BatchSource(states(), device=CPU, dtype=torch.complex64, told=("feld",))


def test_precision_is_the_asked_one_and_tokens_stay_integers() -> None:
    double = BatchSource(states(), device=CPU, dtype=torch.complex128)
    assert double.batch(np.array([0])).inputs.dtype == torch.complex128
    words = SequenceDataset.from_arrays(torch.tensor([[0, 1, 2], [2, 1, 0]]), kind="token", dimension=3)
    assert (
        BatchSource(words, device=CPU, dtype=torch.complex64).batch(np.array([1])).inputs.dtype == torch.int64
    )


def test_chunks_cover_the_split_in_order() -> None:
    source = BatchSource(states(), device=CPU, dtype=torch.complex64)
    chunks = source.chunks(5)
    assert np.concatenate(chunks).tolist() == list(range(12))
    assert max(map(len, chunks)) <= 5
