"""The Lindblad equation: closed forms of one spin, trace and positivity, and QuTiP's mesolve as a witness."""

from __future__ import annotations

import numpy as np
import pytest
import qutip
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.open_systems.dissipation import count_terms
from qdyn.dynamics.open_systems.lindblad import evolve_open
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.channels import Channel, decay, dephasing, depolarising, excitation
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import haar_random_states, product_state

TIMES = np.linspace(0, 3, 7)
AT_REST = TransverseFieldIsing(1, field=0.0)
TIGHT = {"method": "vern9", "rtol": 1e-11, "atol": 1e-13, "nsteps": 10**6, "progress_bar": ""}


def mesolve(model: Hamiltonian, psi0: torch.Tensor, times: np.ndarray, channels: list[Channel]) -> np.ndarray:
    operators = [operator for channel in channels for operator in channel.to_qutip(model.n_sites)]
    ket = qutip.Qobj(psi0.numpy()[:, None], dims=[[2] * model.n_sites, [1]])
    found = qutip.mesolve(model.to_qutip(), ket, times, operators, options=TIGHT)
    return np.array([state.full() for state in found.states])


def bloch(channels: Channel | list[Channel], start: str, axis: str) -> np.ndarray:
    name = f"magnetisation_{axis}"
    traj = evolve_open(AT_REST, product_state(start), TIMES, channels=channels, observables=name)
    return traj.expectations[name].numpy()


def test_one_spin_in_closed_form() -> None:
    fall = np.exp(-0.7 * TIMES)
    assert np.abs(bloch(decay(0.7), "1", "z") - (1 - 2 * fall)).max() < 1e-10
    assert np.abs(bloch(decay(0.7), "+", "x") - np.sqrt(fall)).max() < 1e-10
    assert np.abs(bloch(excitation(0.7), "0", "z") - (2 * fall - 1)).max() < 1e-10
    assert np.abs(bloch(dephasing(0.7), "+", "x") - fall).max() < 1e-10
    assert np.abs(bloch(dephasing(0.7), "0", "z") - 1).max() < 1e-10
    for start, axis in (("+", "x"), ("0", "z")):
        assert np.abs(bloch(depolarising(0.7), start, axis) - fall).max() < 1e-10


def test_a_bath_ends_in_its_thermal_state() -> None:
    """Detailed balance: the populations end in the ratio of the rates."""
    found = evolve_open(AT_REST, product_state("1"), [200.0], channels=[decay(0.3), excitation(0.1)])
    assert found.density_matrices[0].diagonal().real.tolist() == pytest.approx([0.75, 0.25], abs=1e-10)


MODELS = [
    TransverseFieldIsing(3, field=1.05),
    XXZ(3, anisotropy=0.6, field=0.2, transverse_field=0.3),
    PauliSum({"X0 Y1": 0.5, "Z0 Z2": 1.0, "Y2": 0.3, "Y0 Y1 Y2": 0.2}, n_sites=3),
]
CHANNELS = [
    [decay(0.3)],
    [dephasing([0.1, 0.0, 0.7]), excitation(0.2), decay([0.6, 0.1, 0.3])],
    [depolarising(5.0)],
]


@pytest.mark.parametrize("channels", CHANNELS, ids=str)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_agrees_with_mesolve(model: Hamiltonian, channels: list[Channel]) -> None:
    psi0 = haar_random_states(n_qubits=3, seed=3)
    found = evolve_open(model, psi0, TIMES, channels=channels).density_matrices
    assert np.abs(found.numpy() - mesolve(model, psi0, TIMES, channels)).max() < 1e-8
    trace = found.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    assert float((trace - 1).abs().max()) < 1e-11
    assert float((found - found.mH).abs().max()) < 1e-11
    assert float(torch.linalg.eigvalsh(found).min()) > -1e-11


@pytest.mark.parametrize("error", [1e-4, 1e-7, 1e-11])
def test_the_error_is_kept_for_weak_and_strong_damping(error: float) -> None:
    psi0 = haar_random_states(n_qubits=2, seed=1)
    for rate in (0.01, 1.0, 30.0):
        channels = [decay(rate), dephasing(rate)]
        found = evolve_open(TransverseFieldIsing(2), psi0, TIMES, channels=channels, error=error)
        witness = evolve_open(TransverseFieldIsing(2), psi0, TIMES, channels=channels, error=1e-13)
        assert float((found.density_matrices - witness.density_matrices).abs().max()) < error


def test_without_channels_it_is_the_schroedinger_equation() -> None:
    model, psi0 = XXZ(3, field=[0.2, 0.6]), haar_random_states(n_qubits=3, batch=2, seed=0)
    names = ["energy", "site_magnetisation_y"]
    found = evolve_open(model, psi0, TIMES, channels=[], observables=names)
    pure = evolve(model, psi0, TIMES, observables=names)
    expected = pure.states[..., :, None] * pure.states[..., None, :].conj()
    assert float((found.density_matrices - expected).abs().max()) < 1e-9
    assert float((found.purity - 1).abs().max()) < 1e-9
    for name in names:
        assert float((found.expectations[name] - pure.expectations[name]).abs().max()) < 1e-9


def test_a_mixed_start_and_a_batch_are_linear() -> None:
    """Evolution is linear in rho: a mixture evolves to the mixture."""
    model, channels = TransverseFieldIsing(2, field=0.8), [decay(0.4)]
    pure = haar_random_states(n_qubits=2, batch=2, seed=5)
    each = evolve_open(model, pure, TIMES[1:], channels=channels).density_matrices
    start = 0.3 * torch.outer(pure[0], pure[0].conj()) + 0.7 * torch.outer(pure[1], pure[1].conj())
    mixed = evolve_open(model, start, TIMES[1:], channels=channels).density_matrices
    assert float((mixed - 0.3 * each[0] - 0.7 * each[1]).abs().max()) < 1e-9


def test_the_echo_is_taken_with_the_state_that_was_given() -> None:
    """A decaying |1> is found again with probability exp(-t); each member of a batch has its own echo."""
    wanted = {"channels": decay(1.0), "observables": "loschmidt_echo"}
    echo = evolve_open(AT_REST, "1", TIMES, **wanted).expectations["loschmidt_echo"].numpy()
    assert np.abs(echo - np.exp(-TIMES)).max() < 1e-10
    pair = evolve_open(AT_REST, product_state("1").expand(3, -1), TIMES, **wanted)
    assert np.abs(pair.expectations["loschmidt_echo"].numpy() - np.exp(-TIMES)).max() < 1e-10
    model = TransverseFieldIsing(3)
    closed = evolve(model, "111", TIMES, observables="loschmidt_echo")
    opened = evolve_open(model, "111", TIMES, channels=[], observables="loschmidt_echo")
    difference = opened.expectations["loschmidt_echo"] - closed.expectations["loschmidt_echo"]
    assert float(difference.abs().max()) < 1e-8
    with pytest.raises(ArgumentError, match=r"loschmidt_echo.*density matrices"):
        evolve_open(AT_REST, torch.eye(2) / 2, TIMES, **wanted)


def test_names_and_factors_are_pure_states() -> None:
    """As many names as dimensions are a batch, not a density matrix; a state in factors is its vector."""
    pair = evolve_open(AT_REST, ["+", "-"], TIMES, channels=dephasing(0.7), observables="magnetisation_x")
    fall = np.exp(-0.7 * TIMES)
    assert np.abs(pair.expectations["magnetisation_x"].numpy() - [fall, -fall]).max() < 1e-10
    state = haar_random_states(n_qubits=3, seed=5)
    wanted = {"channels": decay(0.4), "observables": ["energy", "loschmidt_echo"]}
    expected = evolve_open(TransverseFieldIsing(3), state, TIMES, **wanted)
    found = evolve_open(TransverseFieldIsing(3), MatrixProductState.from_vector(state), TIMES, **wanted)
    assert float((found.density_matrices - expected.density_matrices).abs().max()) < 1e-12
    for name, values in expected.expectations.items():
        assert float((found.expectations[name] - values).abs().max()) < 1e-12


def test_arrays_in_any_order_of_memory_are_read() -> None:
    backwards = np.array([0.6, 0.8])[::-1]
    expected = evolve_open(AT_REST, backwards.copy(), TIMES, channels=decay(0.4)).density_matrices
    for given in (backwards, backwards.astype(">c16"), np.outer(backwards, backwards).astype(">f8")):
        assert torch.equal(evolve_open(AT_REST, given, TIMES, channels=decay(0.4)).density_matrices, expected)


def test_several_observables_share_one_diagonalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (calls.append(len(matrix)), eigh(matrix))[1])
    names = ["energy", "magnetisation_x", "magnetisation_z", "site_magnetisation_y"]
    found = evolve_open(TransverseFieldIsing(3), "111", TIMES, channels=decay(0.4), observables=names)
    assert calls == [len(TIMES)]
    energies = torch.einsum(
        "tij,ji->t", found.density_matrices, TransverseFieldIsing(3).to_dense().to(torch.complex128)
    )
    assert float((found.expectations["energy"] - energies.real).abs().max()) < 1e-12


def test_what_is_kept() -> None:
    model, psi0 = TransverseFieldIsing(2), product_state("01")
    kept = evolve_open(model, psi0, TIMES, channels=decay(0.1), observables="magnetisation_z", store="none")
    full = evolve_open(model, psi0, TIMES, channels=decay(0.1), observables="magnetisation_z")
    assert kept.density_matrices is None
    assert torch.equal(kept.expectations["magnetisation_z"], full.expectations["magnetisation_z"])
    assert "decay(0.1)" in repr(full)
    with pytest.raises(ArgumentError, match="expectation values only"):
        _ = kept.purity


def test_more_terms_for_longer_phases_and_wider_ranges() -> None:
    assert count_terms(10, 0, 1e-10) > count_terms(5, 0, 1e-10)
    assert count_terms(5, 0.3, 1e-10) > count_terms(5, 0, 1e-10) > count_terms(5, 0, 1e-6)


PSI = product_state("01")
TWO = TransverseFieldIsing(2)


@pytest.mark.parametrize("pure", [True, False])
def test_a_state_in_single_precision_is_normalised_to_its_digits(pure: bool) -> None:
    """As `evolve` takes it, whose states of complex64 have norms of 1 to 1e-7."""
    psi0 = haar_random_states(n_qubits=3, seed=4)
    rho0 = psi0[:, None] * psi0.conj()
    model, given = TransverseFieldIsing(3), (psi0 if pure else rho0).to(torch.complex64)
    found = evolve_open(model, given, [0.0, 1.0], channels=decay(0.3)).density_matrices
    expected = evolve_open(model, rho0, [0.0, 1.0], channels=decay(0.3)).density_matrices
    assert found is not None
    assert expected is not None
    assert not torch.equal(found, expected)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)


BAD = [
    (lambda: evolve_open("H", PSI, [1.0], channels=[]), "`hamiltonian` must be a Hamiltonian, but is of"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=None), "`channels` must be a channel such as decay(0.1)"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=0.1), "or a list of them, but is 0.1"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=[], error="a"), "`error` must be a finite number > 0"),
    (lambda: evolve_open(TWO, PSI, [-1.0, 1.0], channels=decay(1)), "must be >= 0, but times[0]=-1"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=[0.1]), "such as decay(0.1), but holds 0.1"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=decay([1, 1, 1])), "2 rates"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=[], observables="entanglement_entropy"), "linear"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=[], observables="energy_variance"), "linear"),
    (lambda: evolve_open(TWO, torch.eye(4) / 2, [1.0], channels=[]), "trace 1"),
    (lambda: evolve_open(TWO, torch.diag(torch.tensor([1.5, -0.5, 0, 0])), [1.0], channels=[]), "-0.5"),
    (lambda: evolve_open(TWO, 2 * PSI, [1.0], channels=[]), "unit vectors"),
    (lambda: evolve_open(TWO, PSI[:3], [1.0], channels=[]), "has shape (3,)"),
    (lambda: evolve_open(TWO, torch.zeros(0, 4), [1.0], channels=[]), "has shape (0, 4)"),
    (lambda: evolve_open(TWO, torch.zeros(0, 4, 4), [1.0], channels=[]), "has shape (0, 4, 4)"),
    (lambda: evolve_open(TWO, PSI, [1.0], channels=[], error=-1.0), "`error`"),
    (lambda: evolve_open(DrivenHamiltonian(TWO, [(np.sin, TWO)]), PSI, [1.0], channels=[]), "depend on time"),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)


def test_what_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "10M")
    with pytest.raises(MemoryLimitError, match="density matrices of 6 sites"):
        evolve_open(TransverseFieldIsing(6), product_state("0" * 6), np.arange(1000.0), channels=decay(0.1))


def test_states_that_are_followed_but_not_kept_must_fit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "10M")
    wanted = {"channels": decay(0.1), "observables": "energy", "store": "none"}
    with pytest.raises(MemoryLimitError, match=r"Following 1000 density matrices of 6 sites .* 62.5 MiB"):
        evolve_open(TransverseFieldIsing(6), "0" * 6, np.arange(1000.0), **wanted)
    found = evolve_open(TransverseFieldIsing(3), "000", np.arange(5.0), **wanted)
    assert found.expectations["energy"].shape == (5,)


def test_a_density_matrix_that_cannot_fit_is_refused_before_it_is_made() -> None:
    with pytest.raises(MemoryLimitError, match=r"A density matrix of 24 sites needs about 4\.0 PiB"):
        evolve_open(XXZ(24), "0" * 24, [1.0], channels=dephasing(0.1), store="none")
