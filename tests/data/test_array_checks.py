"""What a damaged file may hold is told by name before a model is trained on it or judged by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from qdyn.data.array_checks import check_batch
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import DatasetError
from qdyn.quantum.states import haar_random_states


@pytest.fixture
def dataset():
    states = haar_random_states(n_qubits=2, batch=15, seed=3).reshape(3, 5, 4)
    return SequenceDataset.from_arrays(states, kind="quantum_state", name="mine", lengths=[5, 5, 3])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7.0, 0.0])
@pytest.mark.parametrize(("name", "shift"), [("inputs", 0), ("targets", 1)])
def test_the_wrong_element_is_named(dataset, value, name, shift):
    batch = dataset.batch([2, 1])
    check_batch(batch, dataset.metadata)
    wrong = getattr(batch, name).clone()
    wrong[1, 3] = value
    with pytest.raises(
        DatasetError, match=rf"dataset mine is damaged: element {3 + shift} of its item 1 has"
    ):
        check_batch(replace(batch, **{name: wrong}), dataset.metadata)


def test_padding_may_hold_anything(dataset):
    batch = dataset.batch([2])
    targets = batch.targets.clone()
    targets[0, 2:] = float("nan")
    check_batch(replace(batch, targets=targets), dataset.metadata)


def test_single_precision_passes_and_real_vectors_need_no_norm(dataset):
    check_batch(dataset.batch([0]).to(dtype=torch.complex64), dataset.metadata)
    real = SequenceDataset.from_arrays(3 * torch.ones(2, 4, 3), kind="real")
    batch = real.batch([0, 1])
    check_batch(batch, real.metadata)
    with pytest.raises(DatasetError, match="has norm nan"):
        check_batch(replace(batch, inputs=batch.inputs * float("nan")), real.metadata)


def test_words_are_words():
    words = SequenceDataset.from_arrays(torch.tensor([[0, 1, 2]]), kind="token", dimension=3)
    check_batch(words.batch([0]), words.metadata)
