from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import unitary_group

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.encodings.state_preparation import (
    add_diagonal,
    add_global_phase,
    diagonal_angles,
    loading_circuit,
    preparation_angles,
    unitary_circuit,
)
from qdyn.circuits.executors.statevector import circuit_unitary, run_statevector
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states


def loaded(states: torch.Tensor, n_select: int) -> torch.Tensor:
    """What the circuit loads for every index: (..., 2**n_select, 2**n)."""
    n_qubits = states.shape[-1].bit_length() - 1
    circuit = loading_circuit(n_qubits, n_select, "x", real=not states.is_complex())
    unitary = circuit_unitary(circuit, {"x": preparation_angles(states, n_select=n_select)})
    columns = unitary.unflatten(-1, (2**n_select, 2**n_qubits))[..., 0]
    return torch.diagonal(columns.unflatten(-2, (2**n_select, 2**n_qubits)), dim1=-3, dim2=-1).mT


@given(n=st.integers(1, 4), n_select=st.integers(0, 3), missing=st.integers(0, 3), seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_every_index_loads_its_state_with_its_phase(n: int, n_select: int, missing: int, seed: int) -> None:
    count = max(1, 2**n_select - missing)
    states = haar_random_states(n_qubits=n, batch=count, seed=seed)
    result = loaded(states, n_select)
    # One phase is common to all indices; it shows on the first.
    common = torch.vdot(states[0], result[0])
    assert abs(abs(common) - 1) < 1e-12
    torch.testing.assert_close(result[:count], states * common, atol=1e-12, rtol=0)
    empty = torch.zeros(2**n_select - count, 2**n, dtype=torch.complex128)
    empty[:, 0] = common
    torch.testing.assert_close(result[count:], empty, atol=1e-12, rtol=0)


@given(n=st.integers(1, 5), n_select=st.integers(0, 2), seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_real_states_keep_their_signs(n: int, n_select: int, seed: int) -> None:
    states = torch.from_numpy(np.random.default_rng(seed).normal(size=(2**n_select, 2**n)))
    states = states / states.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(loaded(states, n_select).real, states, atol=1e-12, rtol=0)
    assert loaded(states, n_select).imag.abs().max() == 0


def test_sparse_states_load_and_have_finite_gradients() -> None:
    for dtype in (torch.float64, torch.complex128):
        states = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, -1.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        result = loaded(states, 1)
        overlaps = (result.conj() * states).sum(-1)
        torch.testing.assert_close(overlaps, overlaps[0].expand(2), atol=1e-12, rtol=0)
        result.abs().sum().backward()
        assert states.grad is not None
        assert bool(torch.isfinite(torch.view_as_real(states.grad.to(torch.complex128))).all())


def test_batches_of_states_load_in_one_run_and_differentiate() -> None:
    states = haar_random_states(n_qubits=2, batch=6, seed=3).reshape(3, 2, 4).requires_grad_()
    circuit = loading_circuit(2, 1, "x", real=False)
    circuit.h(0)
    together = run_statevector(circuit, {"x": preparation_angles(states, n_select=1)})
    assert together.shape == (3, 8)
    for k in range(3):
        alone = run_statevector(circuit, {"x": preparation_angles(states[k], n_select=1)})
        torch.testing.assert_close(together[k], alone)

    def density(states: torch.Tensor) -> torch.Tensor:
        psi = run_statevector(circuit, {"x": preparation_angles(states, n_select=1)})
        return torch.view_as_real(psi[..., :, None] * psi[..., None, :].conj())

    assert torch.autograd.gradcheck(density, (states.detach()[0].requires_grad_(),), atol=1e-6)


@given(n=st.integers(1, 4), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_diagonals(n: int, seed: int) -> None:
    phases = torch.from_numpy(np.random.default_rng(seed).uniform(-7, 7, size=2**n))
    *angles, overall = diagonal_angles(phases)
    circuit = Circuit(q=n)
    add_diagonal(circuit, circuit["q"], circuit.slot("phases", 2**n - 1))
    add_global_phase(circuit, 0, float(overall))
    unitary = circuit_unitary(circuit, {"phases": torch.cat(angles)})
    torch.testing.assert_close(unitary, torch.diag(torch.polar(torch.ones(2**n).double(), phases)))


@given(n=st.integers(1, 4), seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_any_unitary_is_a_circuit(n: int, seed: int) -> None:
    matrix = unitary_group.rvs(2**n, random_state=seed) if n else np.eye(1)
    np.testing.assert_allclose(circuit_unitary(unitary_circuit(matrix)).numpy(), matrix, atol=1e-11)


@pytest.mark.parametrize(
    "matrix",
    [np.eye(8), -np.eye(4), np.eye(8)[[1, 0, 3, 2, 7, 6, 5, 4]], np.diag([1, 1j, -1, 1]), np.eye(4)[::-1]],
)
def test_degenerate_unitaries_are_circuits_too(matrix: np.ndarray) -> None:
    np.testing.assert_allclose(circuit_unitary(unitary_circuit(matrix)).numpy(), matrix, atol=1e-11)


def test_bad_states_and_matrices_are_refused() -> None:
    with pytest.raises(ArgumentError, match="1 to 2 states for an index of 1 qubits, but holds 3"):
        preparation_angles(torch.ones(3, 4), n_select=1)
    with pytest.raises(ArgumentError, match=r"length 2\*\*n"):
        preparation_angles(torch.ones(1, 3))
    with pytest.raises(ArgumentError, match="must be unitary, but U\\^H U deviates from 1 by 3"):
        unitary_circuit(2 * np.eye(2))
