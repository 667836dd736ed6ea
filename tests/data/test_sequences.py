from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn import SequenceDataset, haar_random_states
from qdyn.errors import ArgumentError, DatasetError


def states(count: int = 6, length: int = 5, n_qubits: int = 2) -> torch.Tensor:
    flat = haar_random_states(n_qubits=n_qubits, batch=count * length, seed=3)
    return flat.reshape(count, length, -1)


def quantum(**changes: object) -> SequenceDataset:
    arguments = {
        "kind": "quantum_state",
        "times": 0.35 * np.arange(5),
        "conditions": {"coupling": np.linspace(1, 2, 6)},
        "splits": {"train": (0, 3), "validation": (3, 4), "test": (4, 6)},
        "units": {"time": "1/J", "coupling": "J"},
        **changes,
    }
    return SequenceDataset.from_arrays(states(), **arguments)


def test_step_j_predicts_the_next_element() -> None:
    dataset = quantum()
    whole = dataset.sequences()
    batch = dataset.batch([4, 1])
    assert torch.equal(batch.inputs, whole[[4, 1], :-1])
    assert torch.equal(batch.targets, whole[[4, 1], 1:])
    assert batch.mask.all()
    assert batch.mask.shape == (2, 4)
    assert torch.equal(batch.conditions["coupling"], dataset.conditions["coupling"][[4, 1]])
    assert batch.indices.tolist() == [4, 1]
    item = dataset[-2]
    assert torch.equal(item.targets, batch.targets[0])
    assert item.conditions["coupling"].shape == ()
    assert dataset.n_steps == 4
    assert dataset.metadata.dimension == 4
    assert dataset.metadata.time_step == pytest.approx(0.35)
    assert len(list(dataset)) == len(dataset) == 6
    assert dataset.batch([]).inputs.shape == (0, 4, 4)


def test_the_three_kinds() -> None:
    tokens = SequenceDataset.from_arrays([[0, 1, 2], [0, 2, 2]], kind="token", vocabulary=["a", "b", "c"])
    assert tokens.metadata.dimension == 3
    assert tokens.batch([0]).inputs.dtype == torch.int64
    assert tokens.metadata.phase_convention is None
    real = SequenceDataset.from_arrays(np.ones((2, 3, 4), dtype=np.float32), kind="real")
    assert real.batch([0]).inputs.dtype == torch.float32
    assert quantum().batch([0]).inputs.dtype == torch.complex128
    assert "token of dimension 3" in repr(tokens)


@given(
    cuts=st.lists(st.integers(0, 9), min_size=4, max_size=4).map(sorted),
    length=st.integers(1, 6),
    stride=st.integers(1, 8),
    lengths=st.none() | st.lists(st.integers(2, 7), min_size=9, max_size=9),
)
def test_windows_stay_within_their_sequence_and_split(
    cuts: list[int], length: int, stride: int, lengths: list[int] | None
) -> None:
    # Each element says which sequence and place it is from.
    tokens = np.arange(9)[:, None] * 10 + np.arange(7)
    splits = {"train": (cuts[0], cuts[1]), "validation": (cuts[1], cuts[2]), "test": (cuts[2], cuts[3])}
    dataset = SequenceDataset.from_arrays(tokens, kind="token", dimension=100, lengths=lengths, splits=splits)
    seen: dict[str, set[int]] = {}
    for name, (first, last) in splits.items():
        part = dataset.split(name).windows(length, stride)
        windows = part.sequences().numpy()
        seen[name] = set((windows // 10).ravel().tolist())
        assert seen[name] <= set(range(first, last))
        assert (windows // 10 == windows[:, :1] // 10).all()
        assert (np.diff(windows, axis=1) == 1).all()
        starts = [
            (sequence, start)
            for sequence in range(first, last)
            for start in range(0, 7 - length, stride)
            if lengths is None or start + 1 < lengths[sequence]
        ]
        assert [(row // 10, row % 10) for row in windows[:, 0].tolist()] == starts
        batch = part.batch(np.arange(len(part)))
        exists = 7 if lengths is None else np.array(lengths)[windows[:, :1] // 10]
        assert (batch.mask.numpy() == (windows[:, 1:] % 10 < exists)).all()
        assert batch.mask.any(dim=1).all()
        assert len(part) == len(starts)
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_a_window_of_all_steps_is_the_sequence() -> None:
    dataset = quantum()
    assert torch.equal(dataset.windows(4).sequences(), dataset.sequences())
    window = dataset.split("test").windows(2)
    assert len(window) == 6
    assert window.times is not None
    assert window.times.tolist() == pytest.approx([0, 0.35, 0.7])
    assert window.conditions["coupling"].tolist() == pytest.approx([1.8] * 3 + [2.0] * 3)
    assert quantum(times=np.array([0, 1, 3, 4, 9])).windows(2).times is None


def test_phase_conventions_are_views() -> None:
    raw = quantum()
    fixed = raw.with_phase_convention("first_real")
    first = fixed.sequences()[..., 0]
    assert (first.imag == 0).all()
    assert (first.real >= 0).all()
    overlap = (raw.sequences().conj() * fixed.sequences()).sum(-1).abs()
    torch.testing.assert_close(overlap, torch.ones_like(overlap))
    assert torch.equal(fixed.with_phase_convention("raw").sequences(), raw.sequences())
    assert fixed.split("test").windows(2).metadata.phase_convention == "first_real"
    assert raw.metadata.phase_convention == "raw"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "states"}, "Argument `kind` is 'states', which is unknown"),
        ({"kind": "real"}, "must be real vectors of shape (N, T+1, d), but is complex128"),
        ({"times": [0, 1, 1, 2, 3]}, "Argument `times` must be increasing"),
        ({"times": [0, 1]}, "Argument `times` must have shape (5,), but has (2,)"),
        ({"conditions": {"field": [1.0]}}, "Argument `conditions['field']` must have shape (6,)"),
        ({"lengths": [5, 5, 5, 5, 5, 1]}, "Argument `lengths` must hold integers from 2 to 5"),
        ({"splits": {"train": (0, 4), "test": (3, 6)}}, "must not overlap, but 'test' begins at 3"),
        ({"splits": {"train": (0, 7)}}, "within 0 and 6"),
        ({"splits": {"valid": (0, 1)}}, "unknown split 'valid'"),
        ({"splits": {"train": 0.8}}, "(first, one past the last), but 'train' is 0.8"),
        ({"splits": {"train": (0, 0.8)}}, "(first, one past the last), but 'train' is (0, 0.8)"),
        ({"splits": ["train"]}, "must map names to ranges, but is ['train']"),
        ({"phase_convention": "first"}, "Argument `phase_convention` is 'first', which is unknown"),
    ],
)
def test_wrong_arrays_get_one_line(as_user: None, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        quantum(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_values_get_one_line(as_user: None) -> None:
    wrong = states()
    wrong[2, 1] *= 1.1
    with pytest.raises(ArgumentError, match="must hold unit vectors"):
        SequenceDataset.from_arrays(wrong, kind="quantum_state")
    wrong[2, 1, 0] = torch.nan
    with pytest.raises(ArgumentError, match="must be finite"):
        SequenceDataset.from_arrays(wrong, kind="quantum_state")
    with pytest.raises(DatasetError, match="token numbers from 0 to 2, but holds 3"):
        SequenceDataset.from_arrays([[0, 3]], kind="token", dimension=3)
    with pytest.raises(ArgumentError, match="`dimension` or `vocabulary`"):
        SequenceDataset.from_arrays([[0, 3]], kind="token")
    with pytest.raises(ArgumentError, match="at least one sequence of two elements"):
        SequenceDataset.from_arrays(np.ones((4, 1, 3)), kind="real")


def test_wrong_requests_get_one_line(as_user: None, tmp_path: Path) -> None:
    dataset = quantum()
    with pytest.raises(DatasetError, match="has no split 'valid': did you mean 'validation'"):
        dataset.split("valid")
    with pytest.raises(DatasetError, match="the split 'train' already"):
        dataset.split("train").split("test")
    with pytest.raises(DatasetError, match="it defines none"):
        quantum(splits=None).split("train")
    with pytest.raises(ArgumentError, match=r"`length` must be an integer in \[1, 4\], but is 5"):
        dataset.windows(5)
    with pytest.raises(ArgumentError, match="`stride`"):
        dataset.windows(2, 0)
    with pytest.raises(DatasetError, match="shows windows already"):
        dataset.windows(2).windows(1)
    with pytest.raises(ArgumentError, match="from 0 to 5, but holds 6"):
        dataset.batch([0, 6])
    with pytest.raises(ArgumentError, match="list of integers"):
        dataset.batch([0.5])
    with pytest.raises(IndexError):
        dataset[6]
    with pytest.raises(ArgumentError, match="is a slice"):
        dataset[0:2]  # type: ignore[index]
    with pytest.raises(ArgumentError, match="of one shape"):
        SequenceDataset.from_arrays([[[1.0]] * 3, [[1.0]] * 2], kind="real")
    with pytest.raises(ArgumentError, match="'first'"):
        dataset.with_phase_convention("first")
    with pytest.raises(DatasetError, match="needs quantum states"):
        SequenceDataset.from_arrays([[0, 1]], kind="token", dimension=2).with_phase_convention("raw")
    with pytest.raises(DatasetError, match="Only a whole dataset"):
        dataset.split("test").save(tmp_path / "a.h5")
