from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import qdyn
from qdyn.data.generation.generate import generate
from qdyn.data.series.forecast_windows import WindowPlan, forecast_windows
from qdyn.data.xarray_backend import QdynBackendEntrypoint
from qdyn.errors import DatasetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate("tfim-4q", tmp_path_factory.mktemp("tfim") / "a", size=14, shard_size=5, progress=False)


@pytest.fixture(scope="module")
def states(folder: Path) -> np.ndarray:
    return qdyn.load_dataset(folder, phase_convention="raw").sequences().numpy()


def test_states_are_complex_and_labelled(folder: Path, states: np.ndarray) -> None:
    with xr.open_dataset(folder, engine="qdyn") as found:
        assert found["states"].dims == ("sequence", "time", "basis")
        assert np.array_equal(found["states"].values, states)
        assert found["states"].attrs["units"] == "1"
        assert found["time"].attrs["units"] == "1/J"
        assert found["time"].values == pytest.approx(0.35 * np.arange(33))
        assert found["coupling"].attrs["units"] == found["field"].attrs["units"] == "J"
        assert found["split"].values.tolist() == ["train"] * 8 + ["validation"] * 2 + ["test"] * 4
        assert found.attrs["phase_convention"] == "raw"
        assert found.attrs["name"] == "tfim-4q"
        late = found.where(found["split"] == "test", drop=True).sel(time=11.2, method="nearest")
        assert np.array_equal(late["states"].values, states[10:, -1])
        assert "coupling" not in xr.open_dataset(folder, engine="qdyn", drop_variables="coupling")


def test_the_usual_engine_reads_a_shard_as_reals(folder: Path, states: np.ndarray) -> None:
    with xr.open_dataset(folder / "shard-00001.h5", engine="h5netcdf") as found:
        assert found["states"].dims == ("sequence", "time", "basis", "ri")
        assert np.array_equal(found["states"].sel(ri="re").values, states[5:10].real)
        assert np.array_equal(found["states"].sel(ri="im").values, states[5:10].imag)
        assert found["sequence"].values.tolist() == [5, 6, 7, 8, 9]
        assert found["split"].attrs["flag_meanings"] == "none train validation test"
        assert found["split"].values.tolist() == [1, 1, 1, 2, 2]
        assert all("units" in found[name].attrs for name in found.variables)
    with xr.open_dataset(folder / "shard-00001.h5", engine="qdyn") as found:
        assert np.array_equal(found["states"].values, states[5:10])


KEY = st.one_of(
    st.integers(-5, 4),
    # xarray itself fails on a slice that goes backwards over nothing.
    st.slices(5).filter(lambda part: (part.step or 1) > 0 or len(range(5)[part]) > 0),
    st.lists(st.integers(-5, 4), min_size=1, max_size=4).map(np.array),
)


@pytest.fixture(scope="module")
def lazy(folder: Path) -> xr.DataArray:
    with xr.open_dataset(folder, engine="qdyn", cache=False) as found:
        return found["states"].isel(sequence=slice(3, 8), time=slice(4, 9), basis=slice(6, 11))


@given(st.tuples(KEY, KEY, KEY))
def test_lazy_reads_are_what_indexing_says(
    lazy: xr.DataArray, states: np.ndarray, key: tuple[object, ...]
) -> None:
    part = (slice(3, 8), slice(4, 9), slice(6, 11))
    got = lazy.isel(dict(zip(lazy.dims, key, strict=True))).values
    expected = states[part]
    for axis, index in reversed(list(enumerate(key))):
        expected = expected[(slice(None),) * axis + (index,)]
    assert np.array_equal(got, expected)


def test_only_what_is_asked_for_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdyn.data.store import FileBacking

    asked = []
    genuine = FileBacking.read

    def noted(self: FileBacking, sequences: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
        asked.append((sequences.tolist(), starts.tolist(), count))
        return genuine(self, sequences, starts, count)

    monkeypatch.setattr(FileBacking, "read", noted)
    with xr.open_dataset(folder, engine="qdyn") as found:
        asked.clear()
        found["states"].isel(sequence=[2, 9], time=slice(4, 7)).load()
    assert asked == [([2, 9], [4, 4], 3)]


def test_only_folders_are_claimed(folder: Path, tmp_path: Path) -> None:
    entry = QdynBackendEntrypoint()
    assert entry.guess_can_open(folder)
    assert not entry.guess_can_open(folder / "shard-00000.h5")
    assert not entry.guess_can_open(tmp_path)
    assert not entry.guess_can_open(b"bytes")
    with pytest.raises(DatasetError, match="holds no dataset"):
        xr.open_dataset(tmp_path, engine="qdyn")


def test_a_view_in_memory_reads_the_same(folder: Path, states: np.ndarray) -> None:
    dataset = qdyn.load_dataset(folder)
    shown = dataset.split("test").to_xarray()
    assert shown["sequence"].values.tolist() == [10, 11, 12, 13]
    assert shown.attrs["phase_convention"] == "first_real"
    assert (shown["states"].values[..., 0].imag == 0).all()
    windows = dataset.with_phase_convention("raw").split("test").windows(30, 2).to_xarray()
    assert windows["states"].dims == ("window", "time", "basis")
    assert windows["start"].values.tolist() == [0, 2] * 4
    assert np.array_equal(windows["states"].values[1], states[10, 2:33])
    assert windows["time"].values == pytest.approx(0.35 * np.arange(31))


def test_windows_of_a_series_keep_both_starts(tmp_path: Path) -> None:
    """Where a window lies in its sequence, and where that lies in the record, are two things."""
    plan = WindowPlan(4, {"train": (0, 8)})
    series = forecast_windows(np.arange(8.0), plan, scaling="none")
    windows = series.windows(2, 1).to_xarray()
    assert windows["start"].values.tolist() == [0, 1, 2] * 4
    assert windows["condition_start"].values.tolist() == np.repeat([0, 1, 2, 3], 3).tolist()
    first = windows["vectors"].values[:, 0, 0]
    assert first.tolist() == (windows["start"] + windows["condition_start"]).values.tolist()
    assert series.to_xarray()["start"].values.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("name", "array"), [("grammar", "tokens"), ("markov-sphere", "vectors")])
def test_words_and_vectors_open_too(tmp_path: Path, name: str, array: str) -> None:
    folder = generate(name, tmp_path / name, size=12, progress=False)
    dataset = qdyn.load_dataset(folder)
    with xr.open_dataset(folder, engine="qdyn") as found:
        assert np.array_equal(found[array].values, dataset.sequences().numpy())
        if name == "grammar":
            assert tuple(found["vocabulary"].values) == dataset.metadata.vocabulary
            assert found["length"].values.tolist() == dataset.batch(range(12)).mask.sum(1).add(1).tolist()


def test_trajectories_open_with_complex_states(tmp_path: Path) -> None:
    pure = qdyn.evolve(qdyn.XXZ(2, field=[0.1, 0.4]), "01", [0.0, 1.0], observables="energy")
    mixed = qdyn.evolve_open(qdyn.XXZ(2), "01", [0.0, 1.0], channels=qdyn.dephasing(0.3))
    pure.save(tmp_path / "pure.h5")
    mixed.save(tmp_path / "mixed.h5")
    found = xr.open_dataset(tmp_path / "pure.h5", engine="qdyn", drop_variables="energy")
    xr.testing.assert_identical(found, pure.to_xarray().drop_vars("energy"))
    assert found["states"].dtype == np.complex128
    xr.testing.assert_identical(xr.open_dataset(tmp_path / "mixed.h5", engine="qdyn"), mixed.to_xarray())
