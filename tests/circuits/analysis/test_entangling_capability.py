"""The Meyer-Wallach measure: product states, GHZ and W, random states, QASA's published figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qdyn.attention.qasa.adapter import qasa_circuit
from qdyn.circuits.analysis.entangling_capability import (
    entangling_capability,
    meyer_wallach,
    random_meyer_wallach,
)
from qdyn.circuits.analysis.family import CircuitFamily, sample_mean
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states, random_product_states


@given(n_qubits=st.integers(1, 5), seed=st.integers(0, 1000))
def test_product_states_have_none(n_qubits: int, seed: int) -> None:
    states = random_product_states(n_qubits=n_qubits, batch=3, seed=seed)
    torch.testing.assert_close(meyer_wallach(states), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("n_qubits", [2, 3, 6])
def test_ghz_and_w(n_qubits: int) -> None:
    ghz, w = torch.zeros(2, 2**n_qubits, dtype=torch.complex128)
    ghz[[0, -1]] = 0.5**0.5
    w[[1 << k for k in range(n_qubits)]] = n_qubits**-0.5
    assert float(meyer_wallach(ghz)) == pytest.approx(1)
    # The reduced states of W are diag(1 - 1/n, 1/n).
    assert float(meyer_wallach(w)) == pytest.approx(2 - 2 * ((n_qubits - 1) ** 2 + 1) / n_qubits**2)


def test_purities_are_those_of_reduced_density_matrices() -> None:
    states = haar_random_states(n_qubits=4, batch=5, seed=0)
    tensors = states.reshape(5, 2, 2, 2, 2)
    for qubit in range(4):
        rows = tensors.movedim(1 + qubit, 1).reshape(5, 2, 8)
        reduced = rows @ rows.mH
        expected = 2 - 2 * torch.einsum("bij,bji->b", reduced, reduced).real
        torch.testing.assert_close(meyer_wallach(states, qubits=[qubit]), expected)


@pytest.mark.parametrize("real", [False, True])
def test_random_states_have_the_mean_of_their_law(real: bool) -> None:
    if real:
        vectors = np.random.default_rng(4).standard_normal((2000, 8))
        states = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).to(
            torch.complex128
        )
    else:
        states = haar_random_states(n_qubits=3, batch=2000, seed=4)
    mean, error = sample_mean(meyer_wallach(states))
    assert abs(mean - random_meyer_wallach(8, real=real)) < 4 * error
    # Sharp enough to tell one law from the other.
    assert abs(mean - random_meyer_wallach(8, real=not real)) > 4 * error


def test_qasa_entangles_as_recomputed(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "qasa.json").read_text())["pqc"]["circuit_analysis_recomputed"]
    mean, spread = golden["QASA"]["MW_Q"]
    circuit = qasa_circuit(torch.zeros(8), torch.zeros(4, 9)).circuit
    family = CircuitFamily(circuit, inputs=("inputs",), read=tuple(range(8)))
    found = entangling_capability(family, samples=600, seed=2)
    assert abs(found.mean - mean) < 4 * (found.standard_error**2 + spread**2 / 1000) ** 0.5
    assert found.std == pytest.approx(spread, rel=0.25)
    assert found.random_mean == pytest.approx(510 / 513)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused() -> None:
    states = haar_random_states(n_qubits=2, seed=0)
    with pytest.raises(ArgumentError, match=r"`qubits` must be an integer in \[0, 1\], but is 2"):
        meyer_wallach(states, qubits=[2])
    with pytest.raises(ArgumentError, match="at least one qubit"):
        meyer_wallach(states, qubits=[])
