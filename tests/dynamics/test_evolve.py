"""evolve(): batches and broadcasting, what is stored, choice of method, reproducibility, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import METHODS, evolve, register_method
from qdyn.dynamics.methods import Estimate, Problem
from qdyn.dynamics.recorder import Recorder
from qdyn.dynamics.tensor_networks.mps import mps
from qdyn.dynamics.trotter import trotter
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observables import energy, loschmidt_echo, magnetisation, site_magnetisation
from qdyn.quantum.product_states import ProductStates
from qdyn.quantum.states import basis_state, haar_random_states, product_state

TIMES = np.linspace(0.3, 2, 5)
PSI = haar_random_states(n_qubits=3, batch=4, seed=0)
FIELDS = np.linspace(0.2, 1.4, 4)


def test_a_batch_is_the_loop_over_its_members() -> None:
    rng = np.random.default_rng(0)
    model = TransverseFieldIsing(3, coupling=rng.normal(size=4), field=rng.normal(size=(4, 3)))
    names = ["energy", "loschmidt_echo", "site_magnetisation_y"]
    batch = evolve(model, PSI, TIMES, observables=names)
    assert batch.states.shape == (4, 5, 8)
    for index in range(4):
        single = evolve(model.member(index), PSI[index], TIMES, observables=names)
        assert single.states.shape == (5, 8)
        assert float((single.states - batch.states[index]).abs().max()) < 1e-14
        for name in names:
            assert float((single.expectations[name] - batch.expectations[name][index]).abs().max()) < 1e-14


@pytest.mark.parametrize(
    ("field", "n_states", "shape"),
    [
        (0.5, None, (5, 8)),
        (0.5, 1, (1, 5, 8)),
        (0.5, 4, (4, 5, 8)),
        ([0.5], None, (1, 5, 8)),
        ([0.5], 4, (4, 5, 8)),
        (FIELDS, None, (4, 5, 8)),
        (FIELDS, 1, (4, 5, 8)),
        (FIELDS, 4, (4, 5, 8)),
        ([[0.1, 0.2, 0.3]], None, (5, 8)),
        ([[0.1, 0.2, 0.3]], 4, (4, 5, 8)),
    ],
)
def test_hamiltonians_and_states_broadcast(field, n_states: int | None, shape: tuple[int, ...]) -> None:
    model = TransverseFieldIsing(3, field=field)
    psi0 = PSI[0] if n_states is None else PSI[:n_states]
    names = ["energy", "loschmidt_echo", "site_magnetisation_z"]
    traj = evolve(model, psi0, TIMES, observables=names)
    assert traj.states.shape == shape
    assert traj.batch_size == (None if len(shape) == 2 else shape[0])
    assert traj.expectations["energy"].shape == shape[:-1]
    assert traj.expectations["site_magnetisation_z"].shape == (*shape[:-1], 3)
    for index in range(shape[0] if len(shape) == 3 else 1):
        one = model if model.batch_size is None else model.member(index if model.batch_size > 1 else 0)
        start = PSI[index] if n_states == 4 else PSI[0]
        states = traj.states if len(shape) == 2 else traj.states[index]
        assert float((evolve(one, start, TIMES).states - states).abs().max()) < 1e-14


@pytest.mark.parametrize("method", ["exact", "chebyshev", "trotter4", "qutip"])
def test_product_states_by_name(method: str) -> None:
    model = TransverseFieldIsing(3, field=0.7)
    settings = {"observables": "loschmidt_echo", "method": method}
    one = evolve(model, "+0r", TIMES, **settings)
    two = evolve(model, ["+0r", "1-l"], TIMES, **settings)
    assert one.states.shape == (5, 8)
    assert two.states.shape == (2, 5, 8)
    for name, index in (("+0r", 0), ("1-l", 1)):
        vector = evolve(model, product_state(name), TIMES, **settings)
        assert float((vector.states - two.states[index]).abs().max()) < 1e-13
        echo = two.expectations["loschmidt_echo"][index]
        assert float((vector.expectations["loschmidt_echo"] - echo).abs().max()) < 1e-13
    assert float((one.states - two.states[0]).abs().max()) < 1e-13
    shared = evolve(TransverseFieldIsing(3, field=FIELDS), ProductStates.of("+0r"), TIMES, **settings)
    assert shared.states.shape == (4, 5, 8)
    assert shared.expectations["loschmidt_echo"].shape == (4, 5)


def test_what_is_stored() -> None:
    model = TransverseFieldIsing(3)
    full = evolve(model, PSI, TIMES, observables="magnetisation_x")
    final = evolve(model, PSI, TIMES, observables="magnetisation_x", store="final")
    none = evolve(model, PSI, TIMES, observables="magnetisation_x", store="none")
    assert final.states is None
    assert none.states is None
    assert torch.equal(final.final_state, full.states[:, -1])
    assert torch.equal(full.final_state, full.states[:, -1])
    for other in (final, none):
        assert torch.equal(other.expectations["magnetisation_x"], full.expectations["magnetisation_x"])
    with pytest.raises(ArgumentError, match="expectation values only"):
        _ = none.final_state


def test_observables_are_measured_at_every_time() -> None:
    model = TransverseFieldIsing(3, field=FIELDS)
    measured = [magnetisation("x"), site_magnetisation("z"), energy(model), loschmidt_echo(PSI), "pauli_XYZ"]
    traj = evolve(model, PSI, TIMES, observables=measured)
    assert list(traj.expectations) == [
        "magnetisation_x",
        "site_magnetisation_z",
        "energy",
        "loschmidt_echo",
        "pauli_XYZ",
    ]
    for observable in measured[:4]:
        direct = observable.expectation(traj.states)
        assert float((direct - traj.expectations[observable.name]).abs().max()) < 1e-14


def test_single_precision_is_the_rounded_double() -> None:
    model = TransverseFieldIsing(3, field=FIELDS)
    double = evolve(model, PSI, TIMES, observables="energy")
    single = evolve(model, PSI, TIMES, observables="energy", dtype=torch.complex64)
    assert single.states.dtype == torch.complex64
    assert single.expectations["energy"].dtype == torch.float32
    assert torch.equal(single.states, double.states.to(torch.complex64))
    assert torch.equal(single.expectations["energy"], double.expectations["energy"].to(torch.float32))


@pytest.mark.parametrize("shared", [False, True])
def test_the_same_input_gives_the_same_bits(shared: bool) -> None:
    """Neither where arrays lie in memory nor the call before may change what a data set holds."""
    n_sites = 6
    model = TransverseFieldIsing(n_sites, field=0.7 if shared else np.linspace(0.3, 2, 5))
    psi0 = haar_random_states(n_qubits=n_sites, batch=5, seed=3)
    first = evolve(model, psi0, np.arange(9) * 0.35, observables="energy", method="exact")
    for clutter in range(1, 8):
        kept = [torch.empty(8 * clutter + 3) for _ in range(5)]
        shifted = torch.empty(psi0.numel() + clutter, dtype=psi0.dtype)[clutter:].reshape(psi0.shape)
        shifted.copy_(psi0)
        again = evolve(model, shifted, np.arange(9) * 0.35, observables="energy", method="exact")
        assert torch.equal(again.states, first.states)
        assert torch.equal(again.expectations["energy"], first.expectations["energy"])
        del kept


def test_input_forms_and_untouched_input() -> None:
    model = TransverseFieldIsing(2)
    start = np.array([1, 0, 0, 0])
    expected = evolve(model, basis_state("00"), [0.0, 1.0]).states
    assert torch.equal(evolve(model, start, torch.tensor([0, 1])).states, expected)
    assert torch.equal(evolve(model, start.astype(np.float32), (0, 1)).states, expected)
    single = basis_state("00", dtype=torch.complex64)
    assert torch.equal(evolve(model, single, [0.0, 1.0]).states, expected)
    assert start.tolist() == [1, 0, 0, 0]
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    traj = evolve(model, start, times)
    times[1] = 5
    assert traj.times.tolist() == [0, 1]


def test_the_trajectory_says_what_ran() -> None:
    traj = evolve(TransverseFieldIsing(3, field=FIELDS), PSI[0], TIMES, observables="energy", error=1e-12)
    assert traj.method == "exact"
    assert traj.phase_convention == "raw"
    assert traj.parameters["field"].tolist() == FIELDS.tolist()
    assert traj.details["estimated_error"] <= 1e-12
    assert traj.quantities["energy"].unit == "J"


def test_a_new_method_plugs_in_and_auto_weighs_it() -> None:
    def euler(problem: Problem, recorder: Recorder) -> dict[str, float]:
        applied = problem.hamiltonian.apply(problem.initial_states)
        for members, window in recorder.blocks():
            times = problem.times[window, None]
            recorder.put(
                members, window, problem.initial_states[members, None] - 1j * times * applied[members, None]
            )
        return {"order": 1.0}

    register_method("euler", euler, description="one Euler step", estimate=lambda _: Estimate(1e-4, 0, 0.0))
    try:
        model, psi0 = TransverseFieldIsing(3), PSI
        assert evolve(model, psi0, [1e-4], error=1e-3).method == "euler"
        assert evolve(model, psi0, [1e-4], error=1e-6).method == "exact"
        with pytest.raises(ArgumentError, match=r"at least 1\.0e-04 for method 'euler'"):
            evolve(model, psi0, [1e-4], error=1e-6, method="euler")
        rough = evolve(model, psi0, [1e-4], method="euler", observables="energy")
        assert rough.details["order"] == 1
        fine = evolve(model, psi0, [1e-4], method="exact", observables="energy")
        assert float((rough.states - fine.states).abs().max()) < 1e-6
        with pytest.raises(ArgumentError, match="'euler' is taken"):
            register_method("euler", euler, description="", estimate=lambda _: Estimate(0, 0, 0))
    finally:
        del METHODS["euler"]


ONE = TransverseFieldIsing(1)
BAD = [
    (lambda: evolve(ONE, "0", TIMES, error="1e-6"), "`error` must be a finite number > 0, but is '1e-6'"),
    (lambda: evolve(ONE, "0", TIMES, error=[1e-6]), "`error` must be a finite number > 0, but is [1e-06]"),
    (lambda: evolve(ONE, "0", TIMES, observables=5), "`observables` must be a name, an Observable or a list"),
    (lambda: mps(cutoff="a"), "`cutoff` must be in [0, 1), but is 'a'"),
    (lambda: trotter(step="a"), "`step` must be a finite number > 0, but is 'a'"),
    (lambda: trotter(order=4.0), "`order` must be 2, 4 or 6, but is 4.0"),
    (lambda: TransverseFieldIsing(3, bonds=3), "`bonds` must be a list of pairs of sites, but is 3"),
    (lambda: DrivenHamiltonian(ONE, None), "`drives` must be a list of pairs"),
    (lambda: evolve(None, PSI, TIMES), "`hamiltonian` must be a Hamiltonian, but is of type NoneType"),
    (
        lambda: evolve(TransverseFieldIsing(4), PSI, TIMES),
        "(16,) or (batch, 16) for 4 sites, but has shape (4, 8)",
    ),
    (lambda: evolve(TransverseFieldIsing(3), PSI[:, None], TIMES), "has shape (4, 1, 8)"),
    (lambda: evolve(TransverseFieldIsing(3), PSI[:0], TIMES), "has shape (0, 8)"),
    (lambda: evolve(TransverseFieldIsing(3), 2 * PSI, TIMES), "unit vectors"),
    (lambda: evolve(TransverseFieldIsing(3), np.nan * PSI.numpy(), TIMES), "initial_state[0, 0] is"),
    (
        lambda: evolve(TransverseFieldIsing(3), object(), TIMES),
        "the name of a product state, not of type obj",
    ),
    (lambda: evolve(TransverseFieldIsing(3), "00", TIMES), "must name 3 sites, one character each, but '00'"),
    (lambda: evolve(TransverseFieldIsing(3), ["000", "0x0"], TIMES), "unknown site 'x' at 1"),
    (lambda: evolve(TransverseFieldIsing(3), ["000", "0000"], TIMES), "`initial_state` number 1 must name 3"),
    (lambda: evolve(TransverseFieldIsing(3), ProductStates.of("00"), TIMES), "a state of 3 sites"),
    (lambda: evolve(TransverseFieldIsing(3, field=[1.0, 2.0]), PSI, TIMES), "2 Hamiltonians, but holds 4"),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI, [0, 0.1, 0.3, 0.2]),
        "`times` must be increasing, but times[3]=0.2 follows 0.3",
    ),
    (lambda: evolve(TransverseFieldIsing(3), PSI, [0.0, 0.0]), "times[1]=0 follows 0"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, []), "at least one entry, not shape (0,)"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, [[0.0, 1.0]]), "not shape (1, 2)"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, [0.0, float("nan")]), "times[1] is nan"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, ["soon"]), "`times` must hold real numbers"),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, observables=["magnetization_x"]),
        "'magnetisation_x'",
    ),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, observables=["energy", "energy"]), "'energy' twice"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, observables=[3]), "observables[0] is of type int"),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, observables=loschmidt_echo(PSI[:2])),
        "for 2 trajectories, but there are 4",
    ),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI[0], TIMES, observables=loschmidt_echo(PSI)),
        "for 4 trajectories, but there is 1",
    ),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, observables="magnetisation_x_3"), "needs site 3"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, method="exakt"), "did you mean 'exact'"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, store="state"), "did you mean 'states'"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, store="none"), "nothing would be returned"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, error=0.0), "`error`"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, error=float("nan")), "`error`"),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, error=1e-15), "`error` must be at least"),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, error=1e-9, dtype=torch.complex64),
        "at least 1.0e-07 for method 'auto' and torch.complex64",
    ),
    (lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, dtype=torch.float64), "`dtype`"),
    (
        lambda: evolve(TransverseFieldIsing(3), PSI, TIMES, device="tpu-9"),
        "must be 'cpu' or 'cuda', but is 'tpu-9'",
    ),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_missing_cuda_device_is_named() -> None:
    with pytest.raises(ArgumentError, match="no CUDA device"):
        evolve(TransverseFieldIsing(3), PSI, TIMES, device="cuda")


def test_what_cannot_fit_is_refused_before_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    model, psi0 = TransverseFieldIsing(8), haar_random_states(n_qubits=8, batch=2, seed=0)
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "500M")
    with pytest.raises(MemoryLimitError, match="Keep fewer states") as caught:
        evolve(model, psi0, np.arange(1_000_000), method="exact")
    assert "2 x 8 sites to 1000000 times needs about 7.6 GiB" in str(caught.value)
    kept = evolve(model, psi0, np.arange(10.0), store="none", observables="energy", method="exact")
    assert kept.expectations
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "plenty")
    with pytest.raises(ArgumentError, match="QDYN_MEMORY_LIMIT must be a size"):
        evolve(model, psi0, [0.0, 1.0])


def test_a_dense_matrix_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "1G")
    with pytest.raises(MemoryLimitError, match="GiB to work in"):
        evolve(TransverseFieldIsing(14), basis_state("0" * 14), [0.0, 1.0], method="exact")


def test_arrays_in_any_order_of_memory_are_read() -> None:
    """Negative strides and the other byte order are copied, not refused."""
    field, psi = np.array([[0.3, 0.7, 1.1]]), haar_random_states(n_qubits=3, seed=3).numpy()
    expected = evolve(TransverseFieldIsing(3, field=field[:, ::-1].copy()), psi, [0.0, 0.5, 1.0]).states
    for turned, state, times in (
        (field[:, ::-1], psi[::-1].copy()[::-1], np.linspace(1, 0, 3)[::-1]),
        (field[:, ::-1].astype(">f8"), psi.astype(">c16"), np.linspace(0, 1, 3).astype(">f4")),
    ):
        assert torch.equal(evolve(TransverseFieldIsing(3, field=turned), state, times).states, expected)
