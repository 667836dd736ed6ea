"""DensityTrajectory: its file and its xarray view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.open_systems.density_trajectory import DensityTrajectory
from qdyn.dynamics.open_systems.lindblad import evolve_open
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import DatasetError
from qdyn.quantum.channels import decay, dephasing
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import product_state

TIMES = np.linspace(0, 2, 5)
MODEL = TransverseFieldIsing(2, coupling=[0.5, 1.5], field=[[0.1, 0.2]])


def make(store: str = "states") -> DensityTrajectory:
    channels = [decay(0.4), dephasing([0.1, 0.3])]
    return evolve_open(
        MODEL,
        product_state("10"),
        TIMES,
        channels=channels,
        observables=["energy", "site_magnetisation_z"],
        store=store,
    )


@pytest.mark.parametrize("store", ["states", "none"])
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, store: str) -> None:
    traj = make(store)
    traj.save(tmp_path / "open.h5")
    loaded = DensityTrajectory.load(tmp_path / "open.h5")
    assert repr(traj) == repr(loaded)
    for name in ("channels", "formula", "hamiltonian", "details", "quantities", "n_sites", "batch_size"):
        assert getattr(traj, name) == getattr(loaded, name)
    if store == "states":
        assert torch.equal(traj.density_matrices, loaded.density_matrices)
        assert torch.equal(traj.purity, loaded.purity)
    else:
        assert loaded.density_matrices is None
    assert torch.equal(traj.times, loaded.times)
    for name in ("expectations", "parameters"):
        ours, theirs = getattr(traj, name), getattr(loaded, name)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_xarray_has_named_dimensions_units_and_complex_matrices() -> None:
    traj = make()
    dataset = traj.to_xarray()
    assert dataset["density_matrices"].dims == ("trajectory", "time", "basis", "basis_bra")
    np.testing.assert_array_equal(dataset["density_matrices"].values, traj.density_matrices.numpy())
    assert dataset["site_magnetisation_z"].dims == ("trajectory", "time", "site")
    assert dataset["energy"].attrs["units"] == "J"
    assert dataset["coupling"].dims == ("trajectory",)
    assert dataset["field"].dims == ("site",)
    np.testing.assert_allclose(
        np.trace(dataset["density_matrices"].values, axis1=-2, axis2=-1), 1, atol=1e-10
    )


def test_plain_xarray_opens_the_file(tmp_path: Path) -> None:
    traj = make()
    traj.save(tmp_path / "open.h5")
    with xarray.open_dataset(tmp_path / "open.h5", engine="h5netcdf") as dataset:
        parts = dataset["density_matrices"]
        assert parts.dims == ("trajectory", "time", "basis", "basis_bra", "ri")
        matrices = parts.sel(ri="re").values + 1j * parts.sel(ri="im").values
        np.testing.assert_array_equal(matrices, traj.density_matrices.numpy())
        assert dataset.attrs["channels"] == '["decay(0.4)", "dephasing(<2 rates>)"]'


def test_kinds_of_files_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    make().save(tmp_path / "open.h5")
    evolve(TransverseFieldIsing(2), product_state("00"), TIMES).save(tmp_path / "pure.h5")
    with pytest.raises(
        DatasetError, match="holds a trajectory of density matrices, but a trajectory is needed"
    ):
        Trajectory.load(tmp_path / "open.h5")
    with pytest.raises(
        DatasetError, match="holds a trajectory, but a trajectory of density matrices is needed"
    ):
        DensityTrajectory.load(tmp_path / "pure.h5")
