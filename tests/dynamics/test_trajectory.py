"""Trajectory: its printed form, the xarray view, and the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import ArgumentError, DatasetError, OutputError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.operator_means import operator_mean
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.sampling import samples
from qdyn.quantum.spin_models import XXZ, LongRangeIsing
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


def test_axes_of_different_lengths_have_names_of_their_own(tmp_path: Path) -> None:
    """Sums of 1, 2 and 3 strings, 2 and 1 bonds, and 4 and 7 shots in one file."""
    strings = {"X0": 0.3, "Z1": 0.2, "Y2": 0.1}
    parts = [PauliSum(dict(list(strings.items())[:count]), n_sites=3) for count in (2, 1, 3)]
    chain = TransverseFieldIsing(3, coupling=[[0.1, 0.2]], field=[[0.1, 0.2, 0.3]])
    lone = TransverseFieldIsing(3, coupling=[[0.4]], bonds=[(0, 2)])
    drives = [(np.sin, part) for part in (*parts[1:], chain, lone)]
    shots = [samples(4, seed=0), samples(7, axis="x", seed=0), "site_magnetisation_z"]
    traj = evolve(DrivenHamiltonian(parts[0], drives), "000", TIMES, observables=shots)
    dataset = traj.to_xarray()
    assert dataset["coefficients"].dims == ("term",)
    assert dataset["drive_0_coefficients"].dims == ("drive_0_coefficients_term",)
    assert dataset["drive_2_field"].dims == dataset["site_magnetisation_z"].dims[-1:] == ("site",)
    assert dataset["samples_z"].sizes == {"time": 3, "shot": 4, "site": 3}
    assert dataset["samples_x"].sizes == {"time": 3, "samples_x_shot": 7, "site": 3}
    traj.save(tmp_path / "trajectory.h5")
    loaded = Trajectory.load(tmp_path / "trajectory.h5")
    for name in ("expectations", "parameters"):
        ours, theirs = getattr(traj, name), getattr(loaded, name)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for name in ("quantities", "parameter_axes", "parameter_units"):
        assert getattr(traj, name) == getattr(loaded, name)


def test_couplings_that_are_pure_numbers_say_so(tmp_path: Path) -> None:
    start = haar_random_states(n_qubits=3, seed=0)
    driven = DrivenHamiltonian(XXZ(3), [(np.sin, LongRangeIsing(3))])
    traj = evolve(driven, start, TIMES)
    units = {name: entry.attrs["units"] for name, entry in traj.to_xarray().coords.items()}
    assert (units["coupling"], units["anisotropy"], units["drive_0_exponent"]) == ("J", "1", "1")
    traj.save(tmp_path / "trajectory.h5")
    assert Trajectory.load(tmp_path / "trajectory.h5").parameter_units == traj.parameter_units


@pytest.mark.parametrize("name", ["site", "shot", "term", "final_mps", "detail_truncation_errors"])
def test_names_that_a_file_needs_are_refused_before_the_run(name: str) -> None:
    """By the operator, and by evolve for observables of a user's own."""
    with pytest.raises(ArgumentError, match=rf"no other array .* but is '{name}'"):
        operator_mean(TransverseFieldIsing(2), name=name)
    own = replace(operator_mean(TransverseFieldIsing(2), name="mine"), name=name)
    with pytest.raises(ArgumentError, match=rf"'{name}', which another array or an axis"):
        evolve(TransverseFieldIsing(2), "00", TIMES, observables=own)


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
