"""States: site order, the Haar measure, product states against kron, fidelity and the phase conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.states import (
    basis_state,
    fidelity,
    haar_random_states,
    product_state,
    random_product_states,
    with_phase_convention,
)

ROOT_HALF = math.sqrt(0.5)
KETS = {
    "0": [1, 0],
    "1": [0, 1],
    "+": [ROOT_HALF, ROOT_HALF],
    "-": [ROOT_HALF, -ROOT_HALF],
    "r": [ROOT_HALF, 1j * ROOT_HALF],
    "l": [ROOT_HALF, -1j * ROOT_HALF],
}
PAULI = {
    "x": np.array([[0, 1], [1, 0]]),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]]),
}


def kron_all(factors: list) -> np.ndarray:
    result = np.ones(1)
    for factor in factors:
        result = np.kron(result, np.asarray(factor))
    return result


@given(st.text(alphabet="01+-rl", min_size=1, max_size=5))
def test_product_state_is_the_kron_of_its_sites_with_site_0_first(sites: str) -> None:
    expected = kron_all([KETS[site] for site in sites])
    np.testing.assert_allclose(product_state(sites).numpy(), expected, atol=1e-15)


@given(st.text(alphabet="01", min_size=1, max_size=6))
def test_basis_state_puts_the_one_where_the_binary_number_says(bits: str) -> None:
    state = basis_state(bits)
    assert int(bits, 2) == int(state.real.argmax())
    assert torch.equal(state, basis_state([int(bit) for bit in bits]))
    assert torch.equal(state.real, product_state(bits).real)


@pytest.mark.parametrize(
    ("label", "symbol"), [("z+", "0"), ("z-", "1"), ("x+", "+"), ("x-", "-"), ("y+", "r"), ("y-", "l")]
)
def test_labels_are_the_eigenstates_they_name(label: str, symbol: str) -> None:
    state = product_state([label, "z+"])
    assert torch.equal(state, product_state(symbol + "0"))
    single = product_state([label]).numpy()
    sign = 1 if label[1] == "+" else -1
    np.testing.assert_allclose(PAULI[label[0]] @ single, sign * single, atol=1e-15)


@given(
    st.lists(
        st.tuples(st.floats(-7, 7), st.floats(-7, 7)),
        min_size=1,
        max_size=4,
    )
)
def test_angles_and_bloch_vectors_describe_the_same_state(angles: list[tuple[float, float]]) -> None:
    theta, phi = np.array(angles).T
    sites = [[math.cos(t / 2), np.exp(1j * p) * math.sin(t / 2)] for t, p in angles]
    state = product_state(angles)
    np.testing.assert_allclose(state.numpy(), kron_all(sites), atol=1e-14)
    bloch = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1)
    assert float(fidelity(state, product_state(bloch))) == pytest.approx(1, abs=1e-12)


def test_bloch_vectors_in_single_precision_need_not_be_longer_than_their_digits_allow() -> None:
    bloch = np.random.default_rng(0).normal(size=(20, 3, 3))
    bloch /= np.linalg.norm(bloch, axis=-1, keepdims=True)
    states = product_state(torch.tensor(bloch, dtype=torch.float32, requires_grad=True))
    np.testing.assert_allclose(fidelity(states, product_state(bloch)), 1, atol=1e-12)
    np.testing.assert_allclose(states.norm(dim=-1), 1, atol=1e-14)


def test_product_state_of_a_batch_of_angles() -> None:
    angles = np.random.default_rng(0).uniform(0, 3, (2, 3, 4, 2))
    states = product_state(angles)
    assert states.shape == (2, 3, 16)
    assert torch.equal(states[1, 2], product_state(angles[1, 2]))


def test_haar_states_are_normalised_and_each_depends_on_its_own_number() -> None:
    states = haar_random_states(n_qubits=5, batch=9, seed=3)
    assert states.shape == (9, 32)
    np.testing.assert_allclose(states.norm(dim=-1).numpy(), 1, atol=1e-15)
    assert torch.equal(states[:4], haar_random_states(n_qubits=5, batch=4, seed=3))
    assert torch.equal(states[0], haar_random_states(n_qubits=5, seed=3))
    assert not torch.equal(states, haar_random_states(n_qubits=5, batch=9, seed=4))
    rounded = haar_random_states(n_qubits=5, batch=9, seed=3, dtype=torch.complex64)
    assert torch.equal(rounded, states.to(torch.complex64))


def test_haar_moments() -> None:
    """Haar: the mean of |psi><psi| is 1/d, and E|psi_b|^4 = 2 / (d (d + 1))."""
    states = haar_random_states(n_qubits=2, batch=20_000, seed=1)
    mean = torch.einsum("ba,bc->ac", states, states.conj()) / len(states)
    # The spread of an entry of |psi><psi| is below 1/d: five standard errors of the mean.
    assert float((mean - torch.eye(4) / 4).abs().max()) < 5 * 0.25 / math.sqrt(20_000)
    fourth = states.abs().pow(4)
    error = fourth.std(dim=0) / math.sqrt(20_000)
    assert bool(((fourth.mean(dim=0) - 2 / 20).abs() < 5 * error).all())


def test_random_product_states_are_products_with_isotropic_bloch_vectors() -> None:
    states = random_product_states(n_qubits=2, batch=8_000, seed=5)
    matrices = states.reshape(-1, 2, 2)
    purity = torch.linalg.svdvals(matrices)
    assert float(purity[:, 1].max()) < 1e-15
    pauli = torch.tensor(np.stack([np.kron(PAULI[axis], np.eye(2)) for axis in "xyz"]))
    bloch = torch.einsum("bi,aij,bj->ba", states.conj(), pauli, states).real
    assert float(bloch.mean(dim=0).abs().max()) < 5 / math.sqrt(3 * 8_000)
    covariance = bloch.T @ bloch / len(bloch)
    assert float((covariance - torch.eye(3) / 3).abs().max()) < 5 * 0.3 / math.sqrt(8_000)
    assert torch.equal(states[:3], random_product_states(n_qubits=2, batch=3, seed=5))
    assert random_product_states(n_qubits=2, seed=5).shape == (4,)


@given(st.integers(0, 2**31), st.floats(0, 6.3), st.floats(0, 6.3))
def test_fidelity_ignores_global_phases(seed: int, alpha: float, beta: float) -> None:
    a, b = haar_random_states(n_qubits=3, batch=2, seed=seed)
    turned = fidelity(a * np.exp(1j * alpha), b * np.exp(1j * beta))
    assert float(turned) == pytest.approx(float(fidelity(a, b)), abs=1e-14)
    assert float(fidelity(a, a)) == pytest.approx(1, abs=1e-14)
    assert float(fidelity(a, b)) == pytest.approx(abs(np.vdot(a.numpy(), b.numpy())) ** 2, abs=1e-14)


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_first_real_turns_the_first_amplitude_and_nothing_else(seed: int, n_qubits: int) -> None:
    states = haar_random_states(n_qubits=n_qubits, batch=3, seed=seed)
    turned = with_phase_convention(states, "first_real")
    assert torch.equal(turned[:, 0].imag, torch.zeros(3, dtype=torch.float64))
    assert bool((turned[:, 0].real >= 0).all())
    np.testing.assert_allclose(fidelity(states, turned).numpy(), 1, atol=1e-14)
    np.testing.assert_allclose(
        with_phase_convention(turned, "first_real").numpy(), turned.numpy(), atol=1e-15
    )
    assert torch.equal(with_phase_convention(states, "raw"), states)


def test_first_real_leaves_a_state_without_a_first_amplitude_alone() -> None:
    state = torch.tensor([0, 0.6j, 0, -0.8], dtype=torch.complex128)
    assert torch.equal(with_phase_convention(state, "first_real"), state)


def test_first_real_works_under_vmap_and_has_finite_gradients() -> None:
    states = haar_random_states(n_qubits=2, batch=3, seed=0)
    mapped = torch.func.vmap(lambda state: with_phase_convention(state, "first_real"))(states)
    assert torch.equal(mapped, with_phase_convention(states, "first_real"))
    leaf = torch.tensor([0, 1j], dtype=torch.complex128, requires_grad=True)
    with_phase_convention(leaf, "first_real").abs().sum().backward()
    assert leaf.grad is not None
    assert bool(torch.isfinite(torch.view_as_real(leaf.grad)).all())


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: basis_state("012"), "bits[2] is '2'"),
        (lambda: basis_state([]), "is empty"),
        (lambda: basis_state([0, 2]), "bits[1] is 2"),
        (lambda: product_state("0+x"), "'x' at 2"),
        (lambda: product_state(["z+", "z"]), "'z' at 1"),
        (lambda: product_state([[0.1, 0.2, 0.3, 0.4]]), "shape (1, 4)"),
        (lambda: product_state([[float("nan"), 0.2]]), "sites[0, 0] is nan"),
        (lambda: product_state([[0.0, 0.0, 0.5]]), "length 0.5"),
        (lambda: product_state(np.array([[1.0, 1j]])), "`sites` must hold real numbers"),
        (lambda: product_state(""), "is empty"),
        (lambda: haar_random_states(n_qubits=0, seed=1), "`n_qubits`"),
        (lambda: haar_random_states(n_qubits=2, batch=0, seed=1), "`batch`"),
        (lambda: haar_random_states(n_qubits=2, seed=-1), "`seed`"),
        (lambda: haar_random_states(n_qubits=2, seed=1, dtype=torch.float64), "`dtype`"),
        (lambda: random_product_states(n_qubits=True, seed=1), "`n_qubits`"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("as_user")
def test_unknown_phase_convention_suggests_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'first_real'"):
        with_phase_convention(basis_state("0"), "first-real")


def test_states_that_cannot_fit_are_refused_before_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "1M")
    with pytest.raises(MemoryLimitError, match=r"16 qubits needs about .* MiB of memory"):
        haar_random_states(n_qubits=16, seed=0)
    with pytest.raises(MemoryLimitError, match="60 qubits"):
        basis_state("0" * 60)


@pytest.mark.parametrize("other", [torch.ones(8), torch.ones(3, 4), torch.ones(4, dtype=torch.complex128)])
def test_fidelity_of_what_does_not_go_together(as_user: None, other: torch.Tensor) -> None:
    with pytest.raises(ArgumentError, match="must be states of one dimension and type, but are"):
        fidelity(torch.ones(2, 4), other)
