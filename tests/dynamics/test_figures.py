"""Figures of trajectories show the numbers that are held or measured, with units, and refuse in one line."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qdyn import plotting
from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.open_systems.jumps import quantum_jumps
from qdyn.dynamics.open_systems.lindblad import evolve_open
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import ArgumentError
from qdyn.quantum.channels import decay
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observables import entanglement_entropy, site_magnetisation
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import product_state

TIMES = np.linspace(0, 2, 9)
H = TransverseFieldIsing(5, field=[0.5, 1.2])


@pytest.fixture(scope="module")
def batch() -> Trajectory:
    return evolve(H, product_state("00100"), TIMES, observables=["energy", "magnetisation_x"], method="exact")


def drawn_map(axes: Axes) -> np.ndarray:
    (mesh,) = axes.collections
    return np.ma.getdata(mesh.get_array()).reshape(mesh.get_array().shape)


def drawn_line(axes: Axes) -> np.ndarray:
    return np.asarray(axes.get_lines()[0].get_ydata())


def panels(figure: Figure) -> dict[str, Axes]:
    """Axes by their label: for a map that of its colour bar."""
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    labels = iter([bar.get_ylabel() for bar in bars])
    shown = [axes for axes in figure.axes if axes not in bars]
    return {next(labels) if axes.get_ylabel() == "site" else axes.get_ylabel(): axes for axes in shown}


def test_a_figure_without_further_words(batch: Trajectory) -> None:
    before = dict(mpl.rcParams)
    figure = batch.plot(index=1)
    labels = list(panels(figure))
    assert labels == [
        r"$\langle \sigma^{z}_{i} \rangle$",
        r"$\langle \sigma^{z}_{2} \sigma^{z}_{j} \rangle_c$",
        "entanglement entropy $S_{2}$ (nat)",
        r"energy drift $|E(t) - E(t_0)|$ (J)",
        r"$\frac{1}{n} \sum_i \langle \sigma^{x}_{i} \rangle$",
    ]
    assert all(axes.get_xlabel() == "time (1/J)" for axes in panels(figure).values())
    assert figure.get_suptitle().startswith("trajectory 1 of 2; TransverseFieldIsing(n_sites=5")
    assert dict(mpl.rcParams) == before


def test_the_map_is_the_magnetisation_with_symmetric_colours(batch: Trajectory) -> None:
    (axes,) = panels(batch.plot("magnetisation_z", index=1)).values()
    expected = site_magnetisation("z").expectation(batch.states[1]).numpy()
    np.testing.assert_allclose(drawn_map(axes), expected.T, atol=1e-15)
    (mesh,) = axes.collections
    assert mesh.norm.vmin == -mesh.norm.vmax == -np.abs(expected).max()
    # White at nought: as far from both ends.
    np.testing.assert_allclose(mesh.cmap(mesh.norm(0.0))[:3], 0.966, atol=0.01)


def test_the_light_cone_leaves_out_its_centre_and_shows_the_front(batch: Trajectory) -> None:
    (axes,) = panels(batch.plot("correlator_z", front=2.0)).values()
    (mesh,) = axes.collections
    masked = np.ma.getmaskarray(mesh.get_array())
    assert masked[2].all()
    assert masked.sum() == len(TIMES)
    fronts = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    np.testing.assert_allclose(fronts, [2 + 2 * TIMES, 2 - 2 * TIMES])
    assert axes.get_legend().get_texts()[0].get_text() == "2 sites per 1/J"


def test_lines_are_measured_where_states_are_held(batch: Trajectory) -> None:
    figure = batch.plot(["entanglement_entropy", "energy", "loschmidt_echo"], index=1)
    entropy, energy, echo = panels(figure).values()
    expected = entanglement_entropy(2).expectation(batch.states[1]).numpy()
    np.testing.assert_allclose(drawn_line(entropy), expected, atol=1e-15)
    np.testing.assert_array_equal(drawn_line(energy), batch.expectations["energy"][1].numpy())
    assert drawn_line(echo)[0] == pytest.approx(1)
    assert energy.get_ylabel() == r"$\langle H \rangle$ (J)"


def test_the_drift_is_logarithmic_and_the_hamiltonian_may_come_later() -> None:
    traj = evolve(H, product_state("00100"), TIMES, method="exact")
    (axes,) = panels(traj.plot("energy_drift", index=1, hamiltonian=H)).values()
    assert axes.get_yscale() == "log"
    assert 0 < np.nanmax(drawn_line(axes)) < 1e-13
    with pytest.raises(ArgumentError, match="`hamiltonian` is needed"):
        traj.plot("energy")


def test_given_axes_are_drawn_on(batch: Trajectory) -> None:
    figure = plotting.new_figure(4, 3)
    axes = figure.add_subplot()
    assert batch.plot("entanglement_entropy", ax=axes) is figure
    assert len(axes.get_lines()) == 1
    with pytest.raises(ArgumentError, match="`ax` takes one panel"):
        batch.plot(["energy", "magnetisation_x"], ax=axes)


def test_what_was_measured_on_the_way_is_enough() -> None:
    names = ["site_magnetisation_x", "connected_correlators_z_1", "entanglement_entropy_1", "energy"]
    traj = evolve(H, product_state("++++-"), TIMES, observables=names, store="none")
    figure = traj.plot()
    assert len(panels(figure)) == 4
    first = next(iter(panels(figure).values()))
    np.testing.assert_array_equal(drawn_map(first), traj.expectations[names[0]][0].numpy().T)
    np.testing.assert_array_equal(
        drawn_map(next(iter(panels(traj.plot("magnetisation_x")).values()))), drawn_map(first)
    )


def test_jumps_are_drawn_one_by_one_and_as_their_mean() -> None:
    traj = quantum_jumps(
        TransverseFieldIsing(3), product_state("111"), TIMES, channels=decay(0.5), trajectories=8, seed=1,
        observables=["energy"],
    )  # fmt: skip
    energies = traj.expectations["energy"].numpy()
    (mean,) = panels(traj.plot("energy", index="mean")).values()
    np.testing.assert_allclose(drawn_line(mean), energies.mean(axis=0))
    (band,) = mean.collections
    spread = energies.std(axis=0, ddof=1) / np.sqrt(8)
    corners = band.get_paths()[0].vertices[:, 1]
    assert corners.max() == pytest.approx((energies.mean(axis=0) + spread).max())
    # Jumps change the energy: what is drawn by itself is the energy, not a drift.
    assert r"$\langle H \rangle$ (J)" in panels(traj.plot(index=3))


def test_density_matrices() -> None:
    model = TransverseFieldIsing(2, field=[0.5, 1.0])
    traj = evolve_open(model, product_state("11"), TIMES, channels=decay(0.4))
    figure = traj.plot(index=1, hamiltonian=model)
    assert list(panels(figure)) == [
        r"$\langle \sigma^{z}_{i} \rangle$",
        r"$\langle H \rangle$ (J)",
        r"purity tr $\rho^2$",
    ]
    np.testing.assert_allclose(drawn_line(panels(figure)[r"purity tr $\rho^2$"]), traj.purity[1].numpy())
    with pytest.raises(ArgumentError, match="not linear"):
        traj.plot("entanglement_entropy")
    only = evolve_open(
        model, product_state("11"), TIMES, channels=decay(0.4), observables="energy", store="none"
    )
    (energy,) = panels(only.plot(index="mean")).values()
    np.testing.assert_allclose(drawn_line(energy), only.expectations["energy"].mean(dim=0).numpy())


def test_a_lone_spin_is_a_line() -> None:
    traj = evolve(TransverseFieldIsing(1), product_state("0"), TIMES)
    (axes,) = panels(traj.plot()).values()
    np.testing.assert_allclose(drawn_line(axes), np.cos(2 * TIMES), atol=1e-13)


def test_drawing_imports_no_pyplot() -> None:
    script = (
        "import sys, qdyn; H = qdyn.TransverseFieldIsing(3);"
        "t = qdyn.evolve(H, qdyn.product_state('000'), [0.0, 1.0]);"
        "assert 'matplotlib' not in sys.modules; t.plot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


NOTHING = evolve(TransverseFieldIsing(3), product_state("000"), TIMES, store="final")
SINGLE = evolve(TransverseFieldIsing(3), product_state("000"), TIMES, observables="energy", store="none")
BAD = [
    (lambda: SINGLE.plot("magnetization_z"), "did you mean 'magnetisation_z'"),
    (lambda: SINGLE.plot("magnetisation_z"), "holds no states and, of expectation values, energy"),
    (lambda: SINGLE.plot("correlator_x"), "'correlator_x', but this trajectory holds no states"),
    (lambda: SINGLE.plot(index=1), "`index` must be 'mean' or from 0 to 0, but is 1"),
    (lambda: SINGLE.plot(index="mean"), "there is a single trajectory"),
    (NOTHING.plot, "Nothing can be plotted"),
    (
        lambda: evolve(TransverseFieldIsing(3), product_state("000"), [0.5]).plot(),
        "at least 2 times, but there is 1",
    ),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_what_cannot_be_drawn_is_said_in_one_line(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_mean_drift_is_that_of_each_trajectory() -> None:
    energies = torch.tensor([[1.0, 1.2, 1.3], [2.0, 1.8, 1.9]], dtype=torch.float64)
    traj = evolve(XXZ(2), ["01", "10"], [0.0, 1.0, 2.0], observables="energy", store="none")
    traj = replace(traj, expectations={"energy": energies})
    figure = traj.plot("energy_drift", index="mean")
    np.testing.assert_allclose(drawn_line(figure.axes[0])[1:], [0.2, 0.2])


def test_the_energy_of_a_driven_system_is_drawn() -> None:
    spin = PauliSum({"Z0": 1.0}, n_sites=1)
    driven = DrivenHamiltonian(spin, [(math.cos, spin)])
    traj = evolve(driven, "0", [0.0, 1.0, math.pi])
    figure = traj.plot("energy", hamiltonian=driven)
    np.testing.assert_allclose(drawn_line(figure.axes[0]), [2.0, 1 + math.cos(1.0), 0.0], atol=1e-7)
