"""Evolution of matrix-product states: state vectors, free fermions, what truncation does, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.free_fermions import ising_correlation, ising_quench
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState, move_centre
from qdyn.dynamics.tensor_networks.mps import TruncationWarning, mps
from qdyn.dynamics.trajectory import Trajectory
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.product_states import ProductStates
from qdyn.quantum.sampling import samples
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states

START = "+0r1l-01"
N = len(START)
_random = np.random.default_rng(4)
MODELS = {
    "TFIM": TransverseFieldIsing(N, field=1.05),
    "mixed field": MixedFieldIsing(N, field=0.9, longitudinal_field=0.5),
    "disordered": TransverseFieldIsing(
        N, coupling=_random.normal(size=(1, N - 1)), field=_random.normal(size=(1, N))
    ),
    "XXZ": XXZ(N, anisotropy=0.7, field=_random.normal(size=(1, N)), transverse_field=0.3),
    "strings": PauliSum(
        {"X0 Y1": 0.3, "Z6 Y7": -1.1, "Y3": 0.4, "": 0.7, "X2 X3": 0.8, "Z4 Z5": 1.0}, n_sites=N
    ),
}


def distance(states: torch.Tensor, exact: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(states - exact, dim=-1).max())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_full_bonds_give_the_exact_state(model) -> None:
    times = [-0.2, 0.0, 0.6]
    exact = evolve(model, START, times, method="exact").states
    found = evolve(model, START, times, method=mps(order=6, step=0.04, cutoff=1e-14))
    assert distance(found.states, exact) < 1e-8
    assert found.method == "mps"


@pytest.mark.slow
@pytest.mark.parametrize("n_sites", [10, 12])
def test_full_bonds_give_the_exact_state_of_longer_chains(n_sites: int) -> None:
    for model in (MixedFieldIsing(n_sites), XXZ(n_sites, anisotropy=0.7, transverse_field=0.3)):
        start = ("+0r1l-" * 2)[:n_sites]
        exact = evolve(model, start, [1.0, 3.0], method="exact").states
        found = evolve(model, start, [1.0, 3.0], method=mps(order=6, step=0.02, cutoff=1e-14))
        assert distance(found.states, exact) < 1e-8


@pytest.mark.parametrize(("name", "error"), [("TFIM", 1e-3), ("TFIM", 1e-7), ("XXZ", 1e-5)])
def test_the_error_that_is_asked_for_is_kept(name: str, error: float) -> None:
    times = [-0.5, 0.4, 1.5]
    exact = evolve(MODELS[name], START, times, method="exact").states
    found = evolve(MODELS[name], START, times, method="mps", error=error)
    assert distance(found.states, exact) <= found.details["estimated_error"] * 1.5 + 1e-8
    assert found.details["estimated_error"] <= error
    assert distance(found.states, exact) <= error


def test_without_a_request_the_error_is_that_of_the_default() -> None:
    exact = evolve(MODELS["TFIM"], START, [2.0], method="exact").states
    found = evolve(MODELS["TFIM"], START, [2.0], method="mps")
    assert distance(found.states, exact) < 3e-5


def test_single_precision_chooses_steps_as_small() -> None:
    # Rounded norms hid the product formula's error: one step for the whole way, 1e-2 off, reported as 1e-7.
    for name in ("TFIM", "XXZ", "mixed field"):
        exact = evolve(MODELS[name], START, [0.7], method="exact").states
        double, single = (
            evolve(MODELS[name], START, [0.7], method="mps", dtype=dtype)
            for dtype in (torch.complex128, torch.complex64)
        )
        assert single.details["precision"] == "complex64"
        assert single.details["step"] == pytest.approx(double.details["step"], rel=0.3)
        assert distance(single.states.to(torch.complex128), exact) < 3 * single.details["estimated_error"]


def test_the_product_formula_has_its_order() -> None:
    for name, order, step in (("TFIM", 2, 0.1), ("XXZ", 2, 0.1), ("TFIM", 4, 0.2), ("XXZ", 4, 0.2)):
        exact = evolve(MODELS[name], START, [1.2], method="exact").states
        coarse, fine = (
            distance(evolve(MODELS[name], START, [1.2], method=mps(order=order, step=size)).states, exact)
            for size in (step, step / 2)
        )
        assert np.log2(coarse / fine) == pytest.approx(order, abs=0.35)


def test_single_precision() -> None:
    exact = evolve(MODELS["XXZ"], START, [1.0], method="exact").states
    found = evolve(MODELS["XXZ"], START, [1.0], method=mps(step=0.05), dtype=torch.complex64)
    assert found.states.dtype == torch.complex64
    assert found.details["precision"] == "complex64"
    assert distance(found.states.to(torch.complex128), exact) < 1e-4
    asked = evolve(MODELS["XXZ"], START, [1.0], method="mps", dtype=torch.complex64, error=1e-5)
    assert asked.details["precision"] == "complex128"


def test_every_observable_is_measured_on_the_way() -> None:
    names = ["site_magnetisation_x", "magnetisation_z", "energy", "energy_variance", "entanglement_entropy",
             "loschmidt_echo", "correlator_z_1_5", "pauli_XIZYIIZX"]  # fmt: skip
    times = [0.0, 0.5, 1.0]
    for name in ("mixed field", "XXZ"):
        exact = evolve(MODELS[name], START, times, method="exact", observables=names)
        found = evolve(MODELS[name], START, times, method=mps(step=0.02), observables=names, store="none")
        assert list(found.expectations) == names
        for key, values in exact.expectations.items():
            assert float((found.expectations[key] - values).abs().max()) < 1e-6, key


def test_batches_of_states_and_of_hamiltonians() -> None:
    starts = [START, "0" * N, "+" * N]
    model = TransverseFieldIsing(N, field=[0.4, 0.9, 1.3])
    settings = {"observables": ["energy", "loschmidt_echo"]}
    exact = evolve(model, starts, [0.3, 0.8], method="exact", **settings)
    found = evolve(model, starts, [0.3, 0.8], method=mps(step=0.05), **settings)
    assert found.states.shape == (3, 2, 2**N)
    assert distance(found.states, exact.states) < 1e-5
    for key in exact.expectations:
        assert float((found.expectations[key] - exact.expectations[key]).abs().max()) < 1e-5
    assert np.shape(found.details["discarded_weights"]) == (3, 2)
    shared = evolve(model, START, [0.3], method=mps(step=0.05), **settings)
    assert shared.states.shape == (3, 1, 2**N)
    alone = evolve(model.member(1), starts[1:2], [0.3], method=mps(step=0.05))
    assert alone.states.shape == (1, 1, 2**N)
    assert distance(alone.states, exact.states[1:2, :1]) < 1e-5


def test_vectors_are_initial_states_too() -> None:
    psi = haar_random_states(n_qubits=6, seed=0)
    model = MixedFieldIsing(6)
    exact = evolve(model, psi, [0.5], method="exact").states
    assert distance(evolve(model, psi, [0.5], method=mps(step=0.02)).states, exact) < 1e-7
    with pytest.raises(ArgumentError, match="`max_bond` must be at least 8 for this initial state, but is 4"):
        evolve(model, psi, [0.5], method=mps(max_bond=4))


def test_products_stay_products_where_nothing_couples() -> None:
    model = TransverseFieldIsing(60, coupling=0.0, field=0.8)
    times = np.linspace(0, 2, 5)
    traj = evolve(model, "0" * 60, times, method="mps", observables="site_magnetisation_z", store="none")
    assert traj.details["largest_bonds"] == [1] * 5
    precession = np.cos(2 * 0.8 * times)[:, None]
    assert float(np.abs(traj.expectations["site_magnetisation_z"].numpy() - precession).max()) < 1e-12
    single = evolve(TransverseFieldIsing(1, field=0.8), "0", times, method="mps")
    exact = evolve(TransverseFieldIsing(1, field=0.8), "0", times, method="exact")
    assert distance(single.states, exact.states) < 1e-12


def test_free_fermions_from_the_field_direction() -> None:
    """<X_i>, <Z_i Z_j>, entropy and echo of 40 sites, exact by free fermions."""
    n_sites, times = 40, [0.0, 0.75, 1.5]
    h = np.linspace(0.3, 1.2, n_sites)
    model, J, start = TransverseFieldIsing(n_sites, field=h[None]), np.ones(n_sites - 1), "+" * n_sites
    exact = ising_quench(J, h, start, times)
    pairs = [(19, 20), (18, 22), (3, 9)]
    names = [f"correlator_z_{i}_{j}" for i, j in pairs]
    observables = ["site_magnetisation_x", "entanglement_entropy", "loschmidt_echo", "energy", *names]
    method = mps(max_bond=64, step=0.05)
    traj = evolve(model, start, times, method=method, observables=observables, store="none")
    found = {name: values.numpy() for name, values in traj.expectations.items()}
    assert np.abs(found["site_magnetisation_x"] - exact.magnetisation).max() < 1e-7
    assert np.abs(found["entanglement_entropy"] - exact.entropy).max() < 1e-7
    assert np.abs(found["loschmidt_echo"] - exact.echo).max() < 1e-7
    correlations = ising_correlation(J, h, start, times, pairs=pairs)
    assert np.abs(np.stack([found[name] for name in names], axis=1) - correlations).max() < 1e-7
    assert np.abs(found["energy"] - exact.energy).max() < 1e-5


@pytest.mark.slow
def test_free_fermions_with_truncated_bonds() -> None:
    """Of 40 polarised sites: bonds of 64 are right to t = 3 and say at t = 5 that they are not."""
    n_sites, times = 40, np.arange(1, 6) * 1.0
    exact = ising_quench(np.ones(n_sites - 1), np.full(n_sites, 1.05), "0" * n_sites, times)
    model = TransverseFieldIsing(n_sites, field=1.05)
    for split in ("qr", "svd"):
        method = mps(max_bond=64, step=0.1, truncation=split)
        with pytest.warns(TruncationWarning):
            traj = evolve(
                model, "0" * n_sites, times, method=method, observables="site_magnetisation_x", store="none"
            )
        deviation = np.abs(traj.expectations["site_magnetisation_x"].numpy() - exact.magnetisation).max(
            axis=1
        )
        assert deviation[:3].max() < 3e-6
        assert 1e-3 < deviation[4] < 0.1
        assert traj.details["truncation_errors"][4] > deviation[4] / 2


@pytest.mark.parametrize("split", ["qr", "svd"])
def test_discarded_weight_bounds_the_distance(split: str) -> None:
    """Small bonds: the reported bound holds, grows, and is no more than tens of times too large."""
    times = np.linspace(0.5, 3, 6)
    step = {"step": 0.05, "order": 4}
    exact = evolve(MODELS["mixed field"], START, times, method=mps(**step)).states
    with pytest.warns(TruncationWarning, match="raise `max_bond`"):
        found = evolve(MODELS["mixed field"], START, times, method=mps(max_bond=6, truncation=split, **step))
    weights, bounds = (np.array(found.details[key]) for key in ("discarded_weights", "truncation_errors"))
    assert (np.diff(weights) >= 0).all()
    assert found.details["discarded_weight"] == weights[-1]
    deviations = torch.linalg.vector_norm(found.states - exact, dim=-1).numpy()
    assert (deviations <= bounds + 1e-9).all()
    assert bounds[-1] < 30 * deviations[-1]
    assert max(found.details["largest_bonds"]) == 6
    infidelity = 1 - torch.linalg.vecdot(found.states, exact).abs().square().numpy()
    assert (infidelity <= bounds**2 + 1e-12).all()
    assert np.abs(torch.linalg.vector_norm(found.states, dim=-1).numpy() - 1).max() < 1e-12


def test_one_truncation_loses_what_it_says() -> None:
    """The first sweep that truncates: the weight is 1 - fidelity, to rounding."""
    model = TransverseFieldIsing(N, field=0.0)
    # Commuting couplings make one sweep of order 2 exact: two sweeps from |+...+>, the second truncated.
    psi = evolve(model, "+" * N, [0.4], method=mps(order=2, step=0.4)).states[0]
    with pytest.warns(TruncationWarning):
        found = evolve(model, "+" * N, [0.4], method=mps(order=2, step=0.4, max_bond=1))
    fidelity = float(torch.linalg.vecdot(found.states[0], psi).abs().square())
    weight = found.details["discarded_weight"]
    assert weight == pytest.approx(1 - fidelity, rel=1e-9)


def test_qr_loses_nearly_the_least_weight() -> None:
    model, times = MODELS["mixed field"], [3.0]
    lost = {}
    for split in ("qr", "svd"):
        method = mps(max_bond=6, step=0.05, truncation=split)
        with pytest.warns(TruncationWarning):
            lost[split] = evolve(model, START, times, method=method).details["discarded_weight"]
    assert lost["svd"] / 1.5 < lost["qr"] < 1.5 * lost["svd"]


def test_energy_and_norm_are_conserved() -> None:
    model = XXZ(16, anisotropy=0.5)
    times = [0.0, 0.25, 0.5]
    traj = evolve(
        model,
        "01" * 8,
        times,
        method=mps(step=0.05),
        observables=["energy", "energy_variance"],
        store="final",
    )
    for name in ("energy", "energy_variance"):
        values = traj.expectations[name]
        assert float((values - values[0]).abs().max()) < 1e-5
    assert abs(traj.final_mps.norm - 1) < 1e-13


def test_time_reversal_returns_to_the_start() -> None:
    """An evolution goes on from the state where another one ended, also backwards."""
    model, n_sites = MixedFieldIsing(40), 40
    forth = evolve(model, "+" * n_sites, [0.5], method=mps(step=0.05), store="final").final_mps
    settings = {"method": mps(step=0.05), "store": "final", "observables": "loschmidt_echo"}
    back = evolve(model, forth, [-0.5, 0.0], **settings)
    returned = evolve(model, forth, [-0.5], **settings).final_mps
    assert float(returned.fidelity(ProductStates.of("+" * n_sites))) == pytest.approx(1, abs=1e-10)
    echo = float(forth.fidelity(ProductStates.of("+" * n_sites)))
    assert back.expectations["loschmidt_echo"].tolist() == pytest.approx([echo, 1.0], abs=1e-9)


def test_a_matrix_product_state_starts_every_method() -> None:
    halfway = evolve(MODELS["XXZ"], START, [0.4], method=mps(step=0.02), store="final").final_mps
    there = evolve(MODELS["XXZ"], START, [0.8], method="exact").states
    for method in ("exact", mps(step=0.02)):
        found = evolve(MODELS["XXZ"], halfway, [0.4], method=method, observables="loschmidt_echo")
        assert distance(found.states, there) < 1e-6
        echo = float(halfway.fidelity(there[0]))
        assert found.expectations["loschmidt_echo"].tolist() == pytest.approx([echo], abs=1e-6)


def test_a_matrix_product_state_may_come_in_any_form() -> None:
    """Left-canonical, with the centre inside or with norms moved about, it is the same state; norms are 1."""
    model, times = MODELS["mixed field"], [0.0, 0.3]
    wanted = {"observables": ["energy", "entanglement_entropy"], "method": mps(step=0.02), "store": "none"}
    state = evolve(model, START, [0.4], method=mps(step=0.05), store="final").final_mps
    expected = evolve(model, state, times, **wanted)
    left = move_centre(list(state.tensors))
    scaled = [tensor * 3.0 ** (-1) ** site for site, tensor in enumerate(left)]
    for tensors in (left, scaled):
        found = evolve(model, MatrixProductState(tuple(tensors)), times, **wanted)
        for name, values in expected.expectations.items():
            assert float((found.expectations[name] - values).abs().max()) < 1e-10
    again = evolve(model, state, [0.0], method="mps", store="final").final_mps
    assert all(torch.equal(old, new) for old, new in zip(state.tensors, again.tensors, strict=True))
    for tensors, message in (
        ((2 * left[0], *left[1:]), "unit vector .* norm 2"),
        ((left[0][:, :, :1], *left[1:]), r"shape \(1, 2, right bond\) at site 1"),
        ((*left[:-1], torch.cat([left[-1]] * 2, dim=2)), r"2, 1\) at site 7"),
        ((left[0] * np.nan, *left[1:]), "must be finite"),
    ):
        with pytest.raises(ArgumentError, match=message):
            evolve(model, MatrixProductState(tensors), times, **wanted)


def test_samples_of_a_hundred_sites_at_every_time() -> None:
    model = TransverseFieldIsing(100, field=0.5)
    method = mps(max_bond=32, step=0.1)
    settings = {"method": method, "store": "none"}
    drawn = evolve(model, "+" * 100, [0.0, 1.0], observables=samples(400, axis="x", seed=7), **settings)
    outcomes = drawn.expectations["samples_x"]
    assert outcomes.shape == (2, 400, 100)
    assert outcomes.dtype == torch.uint8
    assert not bool(outcomes[0].any())
    quench = ising_quench(np.ones(99), np.full(100, 0.5), "+" * 100, [1.0])
    means = 1 - 2 * outcomes[1].double().mean(dim=0).numpy()
    errors = np.sqrt((1 - quench.magnetisation[0] ** 2) / 400)
    # Each is normal with this error: among 100 a deviation beyond 4.5 of them has a chance of 7e-4.
    assert (np.abs(means - quench.magnetisation[0]) < 4.5 * errors).all()


def test_the_samples_of_a_vector_and_of_a_matrix_product_state_agree() -> None:
    times = [0.0, 0.7]
    settings = {"observables": samples(4000, seed=1), "store": "none"}
    by_vector = evolve(MODELS["TFIM"], [START, "0" * N], times, method="exact", **settings).expectations[
        "samples_z"
    ]
    by_mps = evolve(MODELS["TFIM"], [START, "0" * N], times, method="mps", **settings).expectations[
        "samples_z"
    ]
    assert by_mps.shape == by_vector.shape == (2, 2, 4000, N)
    difference = by_mps.double().mean(dim=2) - by_vector.double().mean(dim=2)
    assert float(difference.abs().max()) < 5 * np.sqrt(2 * 0.25 / 4000)


def test_auto_turns_to_it_where_no_vector_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = TransverseFieldIsing(100, field=0.5)
    traj = evolve(model, "+" * 100, [0.2], observables="magnetisation_x", store="none")
    assert traj.method == "mps"
    assert traj.details["discarded_weight"] < 1e-12
    # Where a vector fits, the exact methods stay first.
    assert evolve(MODELS["TFIM"], START, [0.2]).method != "mps"
    # One vector of 24 sites fits in 400 MiB, but not with the room that a method needs to work in.
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "400M")
    settings = {"store": "none", "observables": "magnetisation_x"}
    small = evolve(TransverseFieldIsing(24, field=0.5), "+" * 24, [0.2], **settings)
    assert small.method == "mps"
    with pytest.raises(MemoryLimitError, match="24 sites to 1 times needs about"):
        evolve(TransverseFieldIsing(24, periodic=True), "+" * 24, [0.2], **settings)


def test_the_final_state_is_kept_and_saved(tmp_path) -> None:
    model = TransverseFieldIsing(30)
    one = evolve(model, "+" * 30, [0.1, 0.3], method="mps", store="final", observables=samples(3, seed=0))
    two = evolve(model, ["+" * 30, "0" * 30], [0.1, 0.3], method="mps", store="final")
    assert two.batch_size == 2
    assert "matrix-product state" in repr(two)
    for traj in (one, two):
        traj.save(tmp_path / "trajectory.h5")
        loaded = Trajectory.load(tmp_path / "trajectory.h5")
        pairs = zip(*(x.final_mps if traj is two else [x.final_mps] for x in (traj, loaded)), strict=True)
        assert all(abs(complex(old.overlap(new)) - 1) < 1e-12 for old, new in pairs)
        assert loaded.details == traj.details
        for name, values in traj.expectations.items():
            assert torch.equal(loaded.expectations[name], values)
            assert loaded.expectations[name].dtype == values.dtype
        assert set(traj.to_xarray()["final_mps"].dims) >= {"site", "left_bond", "spin", "right_bond"}
    assert torch.equal(Trajectory.load(tmp_path / "trajectory.h5").times, two.times)
    small = evolve(MODELS["TFIM"], START, [0.4], method=mps(step=0.05), store="final")
    assert distance(small.final_state, evolve(MODELS["TFIM"], START, [0.4], method="exact").states[0]) < 1e-6


def by_mps(model, start=START, time: float = 3.0, **settings):
    method = mps(**settings.pop("options", {}))
    return lambda: evolve(model, start, [time], method=method, **settings)


BAD = [
    (lambda: mps(max_bond=0), "`max_bond` must be an integer >= 1, but is 0"),
    (by_mps(MODELS["TFIM"], MatrixProductState.product("00")), "must be a state of 8 sites, but has 2"),
    (lambda: mps(order=3), "`order` must be 2, 4 or 6, but is 3"),
    (lambda: mps(cutoff=-1.0), "`cutoff` must be in [0, 1), but is -1.0"),
    (lambda: mps(step=0.0), "`step` must be a finite number > 0"),
    (lambda: mps(dtype=torch.float64), "`dtype` must be torch.complex64 or torch.complex128"),
    (by_mps(TransverseFieldIsing(4, periodic=True), "0000"), "has the term Z0 Z3"),
    (by_mps(LongRangeIsing(4), "0000"), "must couple neighbours of an open chain only"),
    (by_mps(PauliSum(["XXX"], [1.0]), "000"), "has the term X0 X1 X2"),
    (by_mps(MODELS["TFIM"], error=1e-12), "must be at least 2.0e-08 for method 'mps'"),
    (
        by_mps(MixedFieldIsing(N), options={"max_bond": 4}, error=1e-3),
        "`max_bond` must be more than 4 to keep `error` = 0.001: truncation may be off by",
    ),
    (
        by_mps(MixedFieldIsing(N), options={"step": 0.5}, error=1e-6),
        "`step` must be smaller to keep `error` = 1e-06: with 0.5",
    ),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_vector_can_hold_says_so() -> None:
    model = TransverseFieldIsing(100)
    with pytest.raises(MemoryLimitError, match='Keep fewer states: store="final"'):
        evolve(model, "+" * 100, [1.0])
    with pytest.raises(MemoryLimitError, match=r'vector of 100 sites .* use method="mps"'):
        evolve(model, "+" * 100, [1.0], method="chebyshev", observables="energy", store="none")
    with pytest.raises(MemoryLimitError, match="couple neighbours of an open chain only"):
        evolve(LongRangeIsing(100), "+" * 100, [1.0], observables="energy", store="none")
