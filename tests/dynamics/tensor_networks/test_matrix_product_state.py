"""Matrix-product states against the state vectors they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.tensor_networks.chain_terms import ChainTerms
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState, move_centre, reverse
from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.quantum.factorised import FactorisedState
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.product_states import ProductStates
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import fidelity, haar_random_states, product_state

N = 7
VECTOR = haar_random_states(n_qubits=N, seed=2)
STATE = MatrixProductState.from_vector(VECTOR)
MODELS = {
    "mixed field": MixedFieldIsing(N, coupling=[[0.3, -1, 0.7, 1, 1, 2]], field=0.4),
    "XXZ": XXZ(N, anisotropy=0.6, field=np.linspace(-1, 1, N)[None], transverse_field=0.2),
    "strings": PauliSum({"X0 Y1": 0.3, "Z5 Y6": -1.1, "Y3": 0.4, "": 0.7, "X2 X3": 0.2}, n_sites=N),
}


def test_a_vector_survives_the_round_trip() -> None:
    assert STATE.bond_dimensions == (2, 4, 8, 8, 4, 2)
    assert float((STATE.vector() - VECTOR).abs().max()) < 1e-14
    assert abs(STATE.norm - 1) < 1e-14


def test_tensors_are_right_canonical() -> None:
    for tensor in STATE.tensors[1:]:
        flat = tensor.reshape(tensor.shape[0], -1)
        assert float((flat @ flat.mH - torch.eye(len(flat))).abs().max()) < 1e-13


def test_moving_the_centre_and_reading_backwards_change_nothing() -> None:
    there = reverse(move_centre(reverse(move_centre(list(STATE.tensors)))))
    assert float((MatrixProductState(tuple(there)).vector() - VECTOR).abs().max()) < 1e-13
    backwards = MatrixProductState(tuple(reverse(list(STATE.tensors)))).vector()
    expected = VECTOR.reshape(*[2] * N).permute(*range(N)[::-1]).reshape(-1)
    assert float((backwards - expected).abs().max()) < 1e-14


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "name",
    ["magnetisation_x", "site_magnetisation_y", "site_magnetisation_z", "magnetisation_y_3",
     "correlator_z_1_5", "connected_correlator_x_2_3", "pauli_XIZYIIZ", "pauli_IIIIIII", "energy",
     "energy_variance", "entanglement_entropy", "entanglement_entropy_1", "loschmidt_echo"],
)  # fmt: skip
def test_every_observable_agrees_with_the_vector(name: str, model) -> None:
    product = "+0r1l-0"
    for start in (product_state(product), ProductStates.of(product)):
        observable = named_observable(name, N, model, start)
        found, expected = observable.measure(STATE), observable.expectation(VECTOR)
        assert found.dtype == torch.float64
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < 1e-12


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_all_correlations_at_once(axis: str) -> None:
    found = STATE.correlations(axis)
    assert torch.equal(found, found.mT)
    assert found.diagonal().tolist() == [1.0] * N
    for i in range(N):
        for j in range(i):
            expected = named_observable(f"correlator_{axis}_{j}_{i}", N).expectation(VECTOR)
            assert abs(float(found[i, j] - expected)) < 1e-13


def test_energy_of_strings_of_any_length_but_not_its_variance() -> None:
    model = LongRangeIsing(N, exponent=1.5, field=0.7)
    found = named_observable("energy", N, model).measure(STATE)
    assert abs(float(found - named_observable("energy", N, model).expectation(VECTOR))) < 1e-12
    with pytest.raises(ArgumentError, match="must couple neighbours of an open chain only"):
        named_observable("energy_variance", N, model).measure(STATE)


def test_the_variance_of_an_eigenstate_is_zero() -> None:
    model = MODELS["XXZ"]
    ground = torch.linalg.eigh(model.to_dense()).eigenvectors[:, 0].to(torch.complex128)
    variance = named_observable("energy_variance", N, model).measure(MatrixProductState.from_vector(ground))
    assert abs(float(variance)) < 1e-11


def test_schmidt_values_and_truncation() -> None:
    values = torch.linalg.svdvals(VECTOR.reshape(8, 16))
    assert float((STATE.schmidt_values(3) - values).abs().max()) < 1e-12
    cut = MatrixProductState.from_vector(VECTOR, max_bond=4)
    assert max(cut.bond_dimensions) == 4
    assert 0.1 < float(cut.fidelity(VECTOR)) < 1
    assert abs(cut.norm - 1) < 1e-14


def test_overlap_and_fidelity() -> None:
    other = haar_random_states(n_qubits=N, seed=3)
    expected = torch.linalg.vecdot(VECTOR, other)
    assert abs(complex(STATE.overlap(MatrixProductState.from_vector(other)) - expected)) < 1e-14
    assert abs(float(STATE.fidelity(other) - fidelity(VECTOR, other))) < 1e-14


def test_product_states_have_bonds_of_one() -> None:
    state = MatrixProductState.product("+0r1" * 25)
    assert state.bond_dimensions == (1,) * 99
    assert abs(float(state.entanglement_entropy(50))) < 1e-14
    assert state.site_magnetisation("y")[:4].round(decimals=12).tolist() == [0, 0, 1, 0]
    assert isinstance(state, FactorisedState)
    with pytest.raises(MemoryLimitError, match="The state vector of 100 sites"):
        state.vector()


def test_chain_terms_are_the_hamiltonian() -> None:
    for model in MODELS.values():
        terms = ChainTerms.of(model.pauli_terms())
        bonds = terms.with_fields_on_bonds()
        dense = sum(
            torch.kron(torch.kron(torch.eye(2**i), bond), torch.eye(2 ** (N - 2 - i)))
            for i, bond in enumerate(bonds)
        )
        assert float((dense - model.to_dense()).abs().max()) < 1e-14
    assert ChainTerms.of(MODELS["mixed field"].pauli_terms()).bonds_commute()
    assert not ChainTerms.of(MODELS["XXZ"].pauli_terms()).bonds_commute()


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="`cut` must be an integer in \\[1, 6\\]"):
        STATE.schmidt_values(7)
    with pytest.raises(ArgumentError, match="`other` must have 7 sites, but has 2"):
        STATE.overlap(MatrixProductState.product("00"))
    with pytest.raises(ArgumentError, match="`state` must be one state"):
        MatrixProductState.product(ProductStates.named(["0", "1"], n_sites=1))
    with pytest.raises(ArgumentError, match="must hold unit vectors"):
        MatrixProductState.from_vector(2 * VECTOR)


def test_a_real_state_is_measured_along_y_too() -> None:
    bell = MatrixProductState.from_vector(torch.tensor([1.0, 0, 0, 1], dtype=torch.float64) / 2**0.5)
    assert float(bell.correlations("y")[0, 1]) == pytest.approx(-1)
    shots = bell.sample(50, axis="y", seed=0)
    assert bool((shots[:, 0] != shots[:, 1]).all())
    plain = MatrixProductState(tuple(tensor.real for tensor in bell.tensors))
    assert float(plain.string_expectation(((0, "Y"), (1, "Y")))) == pytest.approx(-1)
    with pytest.raises(ArgumentError, match="`max_bond` must be an integer >= 1, but is 0"):
        MatrixProductState.from_vector(bell.vector(), max_bond=0)
