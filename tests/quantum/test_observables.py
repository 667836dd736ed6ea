"""Observables against dense matrices and QuTiP, on states with closed-form values, and by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.observables import (
    correlator,
    energy,
    energy_variance,
    entanglement_entropy,
    loschmidt_echo,
    magnetisation,
    pauli_string,
    site_magnetisation,
)
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.states import basis_state, fidelity, haar_random_states, product_state

PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]]),
}


def string_matrix(letters: str) -> np.ndarray:
    result = np.ones((1, 1))
    for letter in letters:
        result = np.kron(result, PAULI[letter])
    return result


def dense_mean(matrix: np.ndarray, states: torch.Tensor) -> np.ndarray:
    vectors = states.numpy()
    return np.einsum("...a,ab,...b->...", vectors.conj(), matrix, vectors).real


@given(st.text(alphabet="IXYZ", min_size=1, max_size=5), st.integers(0, 2**31))
def test_pauli_string_is_its_matrix_in_the_state(letters: str, seed: int) -> None:
    states = haar_random_states(n_qubits=len(letters), batch=2, seed=seed)
    expected = dense_mean(string_matrix(letters), states)
    np.testing.assert_allclose(pauli_string(letters).expectation(states).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_magnetisation_of_sites_and_its_mean(axis: str, shape: tuple[int, ...]) -> None:
    n_sites = 4
    states = haar_random_states(n_qubits=n_sites, batch=math.prod(shape), seed=1).reshape(*shape, 16)
    words = ["I" * i + axis.upper() + "I" * (n_sites - 1 - i) for i in range(n_sites)]
    expected = np.stack([dense_mean(string_matrix(word), states) for word in words], axis=-1)
    sites = site_magnetisation(axis)
    assert sites.axes == ("site",)
    assert sites.expectation(states).shape == (*shape, n_sites)
    np.testing.assert_allclose(sites.expectation(states).numpy(), expected, atol=1e-14)
    mean = magnetisation(axis).expectation(states)
    np.testing.assert_allclose(mean.numpy(), expected.mean(axis=-1), atol=1e-14)
    third = magnetisation(axis, 2).expectation(states)
    np.testing.assert_allclose(third.numpy(), expected[..., 2], atol=1e-14)


@given(st.integers(0, 2**31))
def test_correlators_of_a_product_state_factorise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state = product_state(rng.uniform(0, 2 * np.pi, (4, 2)))
    for axis in ("x", "y", "z"):
        sites = site_magnetisation(axis).expectation(state)
        product = float(sites[1] * sites[3])
        assert float(correlator(axis, 1, 3).expectation(state)) == pytest.approx(product, abs=1e-14)
        assert float(correlator(axis, 1, 3, connected=True).expectation(state)) == pytest.approx(0, abs=1e-14)


def test_correlators_of_the_ghz_state() -> None:
    """(|000> + |111>)/sqrt 2: <ZZ> = 1 with <Z> = 0, <XX> = 0, <XXX> = 1, <XYY> = -1."""
    ghz = (basis_state("000") + basis_state("111")) / math.sqrt(2)
    assert float(correlator("z", 0, 2, connected=True).expectation(ghz)) == pytest.approx(1)
    assert float(correlator("x", 0, 2).expectation(ghz)) == pytest.approx(0)
    assert float(pauli_string("XXX").expectation(ghz)) == pytest.approx(1)
    assert float(pauli_string("XYY").expectation(ghz)) == pytest.approx(-1)


@pytest.mark.parametrize("batched", [False, True])
def test_energy_and_its_variance_are_those_of_the_matrix(batched: bool) -> None:
    field = [0.4, 1.7] if batched else 0.4
    model = TransverseFieldIsing(4, coupling=0.9, field=field)
    states = haar_random_states(n_qubits=4, batch=6, seed=2).reshape(2, 3, 16)
    for index in range(2):
        matrix = (model.member(index) if batched else model).to_dense().numpy()
        first = dense_mean(matrix, states[index])
        second = dense_mean(matrix @ matrix, states[index])
        np.testing.assert_allclose(energy(model).expectation(states)[index].numpy(), first, atol=1e-13)
        variance = energy_variance(model).expectation(states)[index]
        np.testing.assert_allclose(variance.numpy(), second - first**2, atol=1e-13)
    if batched:
        part = energy(model).for_members(slice(1, 2))
        assert torch.equal(part.expectation(states[1:]), energy(model).expectation(states)[1:])


def test_an_eigenstate_has_no_energy_variance() -> None:
    model = TransverseFieldIsing(5, field=0.8)
    energies, vectors = torch.linalg.eigh(model.to_dense())
    states = vectors.T.to(torch.complex128).contiguous()
    np.testing.assert_allclose(energy(model).expectation(states).numpy(), energies.numpy(), atol=1e-13)
    assert float(energy_variance(model).expectation(states).max()) < 1e-26


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_entropy_agrees_with_qutip(cut: int) -> None:
    import qutip

    state = haar_random_states(n_qubits=4, seed=3)
    ket = qutip.Qobj(state.numpy()[:, None], dims=[[2] * 4, [1] * 4])
    expected = qutip.entropy_vn(ket.ptrace(list(range(cut))))
    assert float(entanglement_entropy(cut).expectation(state)) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**31))
def test_entropy_is_that_of_either_half_and_zero_for_products(seed: int) -> None:
    state = haar_random_states(n_qubits=5, seed=seed)
    swapped = state.reshape(4, 8).T.reshape(-1)
    left = float(entanglement_entropy(2).expectation(state))
    assert left == pytest.approx(float(entanglement_entropy(3).expectation(swapped)), abs=1e-12)
    assert 0 < left < 2 * math.log(2) + 1e-12
    product = product_state(np.random.default_rng(seed).uniform(0, 6, (5, 2)))
    assert float(entanglement_entropy(2).expectation(product)) == pytest.approx(0, abs=1e-12)


def test_entropy_of_nested_bell_pairs_counts_the_cut_pairs() -> None:
    """Pairs (0, 3) and (1, 2): cuts after 1, 2, 3 sites pass 1, 2, 1 pairs, each ln 2."""
    bell = torch.eye(2, dtype=torch.complex128) / math.sqrt(2)
    state = torch.einsum("ad,bc->abcd", bell, bell).reshape(-1)
    for cut, pairs in ((1, 1), (2, 2), (3, 1)):
        entropy = float(entanglement_entropy(cut).expectation(state))
        assert entropy == pytest.approx(pairs * math.log(2), abs=1e-14)


def test_echo_is_the_fidelity_with_the_start() -> None:
    start = haar_random_states(n_qubits=3, batch=2, seed=4)
    states = haar_random_states(n_qubits=3, batch=10, seed=5).reshape(2, 5, 8)
    expected = fidelity(start[:, None], states)
    torch.testing.assert_close(loschmidt_echo(start).expectation(states), expected, atol=1e-15, rtol=0)
    part = loschmidt_echo(start).for_members(slice(1, 2)).expectation(states[1:])
    torch.testing.assert_close(part, expected[1:], atol=1e-15, rtol=0)
    one = loschmidt_echo(start[0]).expectation(states)
    torch.testing.assert_close(one, fidelity(start[0], states), atol=1e-15, rtol=0)


NAMES = [
    "magnetisation_x",
    "magnetisation_y_2",
    "site_magnetisation_z",
    "correlator_x_0_2",
    "connected_correlator_z_1_2",
    "pauli_XIZ",
    "energy",
    "energy_variance",
    "entanglement_entropy",
    "entanglement_entropy_2",
    "loschmidt_echo",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_the_observable_that_bears_it(name: str) -> None:
    start = basis_state("000")
    observable = named_observable(name, 3, TransverseFieldIsing(3), start)
    assert observable.name == name
    assert observable.label.startswith("$")
    assert observable.label.endswith("$")
    assert observable.expectation(start).shape == (() if not observable.axes else (3,))


def test_labels_are_mathtext_that_matplotlib_can_set() -> None:
    from matplotlib.mathtext import MathTextParser

    for name in NAMES:
        label = named_observable(name, 3, TransverseFieldIsing(3), basis_state("000")).label
        MathTextParser("path").parse(label)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named_observable("magnetization_x", 3), "did you mean 'magnetisation_x'"),
        (lambda: named_observable("correlators_z_0_1", 3), "did you mean 'correlator_z_0_2'"),
        (lambda: named_observable("energy", 3), "`hamiltonian` is needed"),
        (lambda: named_observable("loschmidt_echo", 3), "`initial_state` is needed"),
        (lambda: named_observable("magnetisation_x_3", 3), "needs site 3, but the system has 3 sites"),
        (lambda: named_observable("pauli_XX", 3), "for 2 sites, but the system has 3"),
        (lambda: named_observable("energy", 4, TransverseFieldIsing(3)), "for 3 sites"),
        (lambda: named_observable("entanglement_entropy", 1), "at least 2 sites"),
        (lambda: named_observable("entanglement_entropy_3", 3), "a site on each side"),
        (lambda: named_observable("correlator_z_1_1", 3), "different sites, but both are 1"),
        (lambda: magnetisation("w"), "`axis` is 'w'"),
        (lambda: magnetisation("x", -1), "`site`"),
        (lambda: pauli_string("XQ"), "`letters`"),
        (lambda: entanglement_entropy(0), "`cut`"),
        (lambda: loschmidt_echo(basis_state("00")).check_sites(3), "4 amplitudes"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_sites", [2, 11])
def test_real_states_are_complex_ones_without_imaginary_part(n_sites: int) -> None:
    """Y is imaginary, so that it takes a real state out of the real numbers."""
    real = torch.from_numpy(np.random.default_rng(1).normal(size=2**n_sites))
    real /= torch.linalg.vector_norm(real)
    H = PauliSum({"Y0": 1.0, "X0 Z1": 0.5, "Y0 Y1": 0.3}, n_sites=n_sites)
    assert torch.equal(H.apply(real), H.apply(real.to(torch.complex128)))
    psi = haar_random_states(n_qubits=n_sites, seed=2)
    for seen in (
        *(magnetisation(axis) for axis in ("x", "y", "z")),
        *(site_magnetisation(axis) for axis in ("x", "y", "z")),
        correlator("y", 0, 1),
        energy(H),
        energy_variance(H),
        loschmidt_echo(psi),
    ):
        assert torch.equal(seen.expectation(real), seen.expectation(real.to(torch.complex128))), seen.name


def test_a_string_acts_on_integers_and_on_real_numbers() -> None:
    up = torch.tensor([1, 0])
    assert PauliSum({"X0": 1.5}, n_sites=1).apply(up).tolist() == [0, 1.5]
    assert PauliSum({"Y0": 1.0}, n_sites=1).apply(up.float()).tolist() == [0, 1j]
    assert PauliSum({"X0": 1.0}, n_sites=1).apply(up.float()).dtype == torch.float32
