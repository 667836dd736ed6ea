"""Real vectors of any length: what a dataset says of them, in memory, in files and to other programs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from qdyn import SequenceDataset, load_dataset
from qdyn.errors import ArgumentError

UNIT = np.tile(np.array([0.6, 0.8]), (3, 5, 1))
SERIES = np.cumsum(np.random.default_rng(0).standard_normal((3, 5, 2)), axis=1)


def dataset(values: np.ndarray, **changes: object) -> SequenceDataset:
    return SequenceDataset.from_arrays(values, kind="real", **changes)


def test_whether_vectors_are_unit_vectors_is_found_out_or_said() -> None:
    assert dataset(UNIT).metadata.normalised
    assert not dataset(SERIES).metadata.normalised
    assert not dataset(UNIT, normalised=False).metadata.normalised
    states = SequenceDataset.from_arrays(UNIT.astype(complex), kind="quantum_state")
    assert states.metadata.normalised


def test_padding_does_not_count() -> None:
    padded = UNIT.copy()
    padded[1, 3:] = 0
    assert dataset(padded, lengths=[5, 3, 5]).metadata.normalised
    assert not dataset(padded).metadata.normalised


def test_wrong_claims_are_refused(as_user: None) -> None:
    with pytest.raises(
        ArgumentError, match=r"`values` must hold unit vectors, but one has norm .* `normalised=False`"
    ):
        dataset(SERIES, normalised=True)
    with pytest.raises(ArgumentError, match="`normalised` must be True or None for the kind 'quantum_state'"):
        SequenceDataset.from_arrays(UNIT.astype(complex), kind="quantum_state", normalised=False)
    with pytest.raises(ArgumentError, match="`components` must name the 2 components"):
        dataset(SERIES, components=["x"])


def test_a_file_keeps_names_and_length(tmp_path: Path) -> None:
    mine = dataset(SERIES, components=["oil", "load"], name="ett", units={"vectors": "K"})
    mine.save(tmp_path / "series.h5")
    again = load_dataset(tmp_path / "series.h5", verify=True)
    assert again.metadata.components == ("oil", "load")
    assert not again.metadata.normalised
    assert again.metadata.units["vectors"] == "K"
    np.testing.assert_array_equal(again.sequences(), SERIES)
    seen = again.to_xarray()
    assert seen["vectors"].sel(component="load").values[2, 4] == SERIES[2, 4, 1]
    assert seen.attrs["normalised"] == 0
    with h5py.File(tmp_path / "series.h5") as file:
        assert [name.decode() for name in file["component"][()]] == ["oil", "load"]
        assert file.attrs["normalised"] == 0


def test_the_digest_knows_of_names_and_length(tmp_path: Path) -> None:
    def digest(name: str, **changes: object) -> str | None:
        dataset(UNIT, **changes).save(tmp_path / name)
        return load_dataset(tmp_path / name).metadata.digest

    plain = digest("plain.h5")
    assert len({plain, digest("a.h5", components=["p", "q"]), digest("b.h5", normalised=False)}) == 3
    with h5py.File(tmp_path / "plain.h5") as file:
        assert "normalised" not in file.attrs
