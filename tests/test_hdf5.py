from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qdyn.errors import DatasetError, OutputError
from qdyn.hdf5 import (
    NamedArray,
    complex_to_pairs,
    create_file,
    dimensions,
    open_file,
    pairs_to_complex,
    read_array,
    verify_content,
    write_file,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small trajectory file."""
    rng = np.random.default_rng(1)
    states = rng.standard_normal((2, 3, 4)) + 1j * rng.standard_normal((2, 3, 4))
    arrays = [
        NamedArray("time", np.array([0.0, 0.1, 0.3]), ("time",), "1/J"),
        NamedArray("states", states, ("trajectory", "time", "basis")),
        NamedArray("energy", np.float64(-1.5), (), "J", "mean energy"),
        NamedArray("method", np.array(["exact", "krylov"]), ("trajectory",)),
    ]
    write_file(tmp_path / "a.h5", arrays, format="trajectory", attributes={"note": "hello"})
    return tmp_path / "a.h5"


def test_xarray_reads_names_units_and_values(path: Path) -> None:
    with xr.open_dataset(path, engine="h5netcdf") as found, open_file(path, format="trajectory") as file:
        assert found["states"].dims == ("trajectory", "time", "basis", "ri")
        assert list(found["ri"].values) == ["re", "im"]
        assert found["time"].attrs["units"] == "1/J"
        assert found["energy"].attrs == {"units": "J", "long_name": "mean energy"}
        assert list(found["method"].values) == ["exact", "krylov"]
        states = read_array(file, "states")
        assert np.array_equal(found["states"].sel(ri="re").values, states.real)
        assert all("units" in found[name].attrs for name in found.variables)


def test_a_state_vector_is_contiguous_on_disk(path: Path) -> None:
    with open_file(path, format="trajectory") as file:
        offset = file["states"].id.get_offset()
        states = read_array(file, "states")
    raw = np.frombuffer(path.read_bytes(), dtype="<f8", count=states.size * 2, offset=offset)
    assert np.array_equal(pairs_to_complex(raw.reshape(2, 3, 4, 2)), states)


@given(
    hnp.arrays(
        st.sampled_from(["c8", "c16", "f4", "f8", "i8", "u1", "b1"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_every_array_returns_as_it_was(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("any") / "x.h5"
    dims = tuple(f"axis{i}" for i in range(values.ndim))
    write_file(path, [NamedArray("values", values, dims, "J")], format="trajectory")
    with open_file(path, format="trajectory") as file:
        verify_content(path, file)
        found = read_array(file, "values")
        is_complex = values.dtype.kind == "c"
        assert dimensions(file["values"]) == (*dims, *(("ri",) if is_complex else ()))
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    assert found.tobytes() == values.tobytes()


def test_pairs_are_a_view() -> None:
    states = np.ones((2, 4), dtype=np.complex64)
    assert complex_to_pairs(states).base is not None
    assert np.shares_memory(pairs_to_complex(complex_to_pairs(states)), states)


@pytest.mark.parametrize("changed", ["value", "unit", "attribute"])
def test_any_change_breaks_the_checksum(path: Path, changed: str) -> None:
    with h5py.File(path, "r+") as file:
        if changed == "value":
            file["states"][0, 0, 0, 0] += 1e-12
        elif changed == "unit":
            file["time"].attrs["units"] = "s"
        else:
            file.attrs["note"] = "goodbye"
    with open_file(path, format="trajectory") as file, pytest.raises(DatasetError, match="damaged"):
        verify_content(path, file)


@pytest.mark.parametrize("problem", [RuntimeError("stop"), None])
def test_a_failing_writer_leaves_the_old_file(path: Path, problem: Exception | None) -> None:
    def write() -> None:
        with create_file(path, format="trajectory", attributes={}) as writer:
            writer.declare("states", dims=("time",), shape=(3,), dtype="c16")
            if problem:
                raise problem

    before = path.read_bytes()
    with pytest.raises((RuntimeError, ValueError), match=r"stop|0 of 3 rows"):
        write()
    assert path.read_bytes() == before
    assert [child.name for child in path.parent.iterdir()] == ["a.h5"]


def test_what_cannot_be_opened_is_named(path: Path, tmp_path: Path) -> None:
    def message(file: Path, format: str = "trajectory") -> str:
        with pytest.raises(DatasetError) as caught, open_file(file, format=format):
            pass
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert message(tmp_path / "no.h5") == f"Cannot open {tmp_path / 'no.h5'}: no such file."
    assert message(tmp_path) == f"Cannot open {tmp_path}: it is a folder."
    assert "holds a trajectory, but a sequence dataset is needed" in message(path, "sequences")

    whole = path.read_bytes()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole[: len(whole) // 2])
    assert (
        message(cut) == f"{cut} is truncated: it has {len(whole) // 2} bytes, but {len(whole)} were written."
    )
    cut.write_bytes(whole[:20])
    assert "cut.h5 is" in message(cut)
    cut.write_bytes(b"")
    assert message(cut) == f"{cut} is not an HDF5 file."
    cut.write_text("name: tfim\n")
    assert message(cut) == f"{cut} is not an HDF5 file."

    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["states"] = np.ones(3)
    assert "qdyn did not write it" in message(foreign)

    with h5py.File(path, "r+") as file:
        file.attrs["qdyn_schema"] = 99
    assert "has schema version 99, but this version of qdyn reads 1" in message(path)


def test_missing_arrays_and_long_attributes_are_refused(path: Path, tmp_path: Path) -> None:
    with (
        open_file(path, format="trajectory") as file,
        pytest.raises(DatasetError, match="lacks the array `x`"),
    ):
        read_array(file, "x")
    with pytest.raises(OutputError, match="attribute 'recipe'"):
        write_file(tmp_path / "b.h5", [], format="trajectory", attributes={"recipe": "x" * 70_000})
    with pytest.raises(OutputError, match="Cannot"):
        write_file(path / "below" / "b.h5", [], format="trajectory")
