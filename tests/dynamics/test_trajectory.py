"""Trajectory: its printed form, the xarray view, and the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import DatasetError, OutputError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import haar_random_states

TIMES = np.array([0.0, 0.5, 1.25])
NAMES = ["energy", "site_magnetisation_z"]


def make(kind: str, store: str = "states", dtype: torch.dtype = torch.complex128) -> Trajectory:
    psi0 = haar_random_states(n_qubits=3, batch=2, seed=0)
    model = {
        "single": TransverseFieldIsing(3, field=0.5),
        "batch": TransverseFieldIsing(3, coupling=[0.5, 1.5], field=0.5),
        "shared disorder": TransverseFieldIsing(3, field=[[0.1, 0.2, 0.3]]),
        "disorder": TransverseFieldIsing(3, coupling=[[0.1, 0.2], [0.3, 0.4]], field=[[0.1, 0.2, 0.3]]),
    }[kind]
    start = psi0[0] if kind == "single" else psi0
    return evolve(model, start, TIMES, observables=NAMES, store=store, dtype=dtype)


KINDS = ["single", "batch", "shared disorder", "disorder"]


def test_repr_shows_sizes_times_and_what_is_there() -> None:
    text = repr(make("batch"))
    assert text.splitlines()[0] == "Trajectory: 2 trajectories, 3 times, 3 sites, method 'exact'"
    assert "coupling=<(2,) values in [0.5, 1.5]>" in text
    assert "(2, 3, 8) complex128" in text
    assert "0 to 1.25 in 1/J" in text
    assert "energy (2, 3) in J" in text
    assert "1 trajectory," in repr(make("single"))
    assert "final_state   (2, 8)" in repr(make("batch", store="final"))


@pytest.mark.parametrize("kind", KINDS)
def test_xarray_has_named_dimensions_units_and_complex_states(kind: str) -> None:
    traj = make(kind)
    dataset = traj.to_xarray()
    batch = () if kind == "single" else ("trajectory",)
    assert dataset["states"].dims == (*batch, "time", "basis")
    assert dataset["states"].dtype == np.complex128
    np.testing.assert_array_equal(dataset["states"].values, traj.states.numpy())
    assert dataset["site_magnetisation_z"].dims == (*batch, "time", "site")
    assert dataset["time"].attrs["units"] == "1/J"
    assert dataset["energy"].attrs["units"] == "J"
    assert dataset["coupling"].attrs["units"] == "J"
    assert dataset["time"].values.tolist() == TIMES.tolist()
    assert set(traj.parameters) <= set(dataset.coords)
    expected = {
        "single": ((), ()),
        "batch": (("trajectory",), ()),
        "shared disorder": ((), ("site",)),
        "disorder": (("trajectory", "bond"), ("site",)),
    }[kind]
    assert (dataset["coupling"].dims, dataset["field"].dims) == expected
    late = dataset.sel(time=0.5)
    np.testing.assert_array_equal(late["states"].values, traj.states[..., 1, :].numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("store", ["states", "final", "none"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_what_is_saved_is_loaded_bit_for_bit(
    tmp_path: Path, kind: str, store: str, dtype: torch.dtype
) -> None:
    traj = make(kind, store, dtype)
    path = tmp_path / "trajectory.h5"
    traj.save(path)
    loaded = Trajectory.load(path)
    for name in ("states", "last_state", "times"):
        ours, theirs = getattr(traj, name), getattr(loaded, name)
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    for name in ("expectations", "parameters"):
        ours, theirs = getattr(traj, name), getattr(loaded, name)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for name in ("method", "n_sites", "phase_convention", "hamiltonian", "formula", "quantities", "details"):
        assert getattr(traj, name) == getattr(loaded, name)
    assert repr(traj) == repr(loaded)


def test_plain_xarray_opens_the_file(tmp_path: Path) -> None:
    traj = make("disorder")
    traj.save(tmp_path / "trajectory.h5")
    with xarray.open_dataset(tmp_path / "trajectory.h5", engine="h5netcdf") as dataset:
        assert dataset["states"].dims == ("trajectory", "time", "basis", "ri")
        states = dataset["states"].sel(ri="re").values + 1j * dataset["states"].sel(ri="im").values
        np.testing.assert_array_equal(states, traj.states.numpy())
        assert dataset["energy"].attrs["units"] == "J"
        assert dataset.attrs["formula"] == TransverseFieldIsing.formula


def test_damaged_and_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "trajectory.h5"
    make("batch").save(path)
    whole = path.read_bytes()
    states = make("batch").states.numpy().tobytes()
    place = whole.index(states[:16])
    for content in (
        whole[: len(whole) // 2],
        b"not a trajectory",
        whole[:place] + b"\x01" + whole[place + 1 :],
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError) as caught:
            Trajectory.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetError, match="no such file"):
        Trajectory.load(tmp_path / "absent.h5")


def test_an_unwritable_place_is_named_and_nothing_is_harmed(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("mine")
    with pytest.raises(OutputError):
        make("single").save(blocked / "trajectory.h5")
    assert blocked.read_text() == "mine"
