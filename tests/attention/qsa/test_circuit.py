from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qdyn
from qdyn.attention.qsa.circuit import _triangle_state, qsa_circuit
from qdyn.attention.qsa.observables import qsa_observables
from qdyn.circuits.ansatz.variational import ansatz
from qdyn.circuits.counting import count_circuit
from qdyn.circuits.executors.statevector import run_statevector
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

MOST_QUBITS = 15


def instance(
    steps: int,
    n_qubits: int,
    seed: int,
    *,
    layers: int = 2,
    name: str = "hardware_efficient",
    real: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, y and the angles of W and V, each drawn on its own."""
    states = haar_random_states(n_qubits=n_qubits, batch=2 * steps, seed=seed)
    if real:
        states = states.real / torch.linalg.vector_norm(states.real, dim=-1, keepdim=True)
    shape = ansatz(name).parameter_shape(n_qubits, layers)
    angles = torch.from_numpy(np.random.default_rng(seed).uniform(-4, 4, size=(2, *shape)))
    return states[:steps], states[steps:], angles[0], angles[1]


def closed_form(
    x: torch.Tensor,
    y: torch.Tensor,
    w: torch.Tensor,
    v: torch.Tensor,
    *,
    name: str = "hardware_efficient",
    **options: Any,
) -> Any:
    unitary = ansatz(name).unitary
    dtype = torch.complex128
    return qsa_observables(x.to(dtype), y.to(dtype), unitary(w).to(dtype), unitary(v).to(dtype), **options)


@pytest.mark.parametrize("kernel", ["monomial", "polynomial"])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("n_qubits", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
def test_the_circuit_measures_the_closed_form(steps: int, n_qubits: int, degree: int, kernel: str) -> None:
    inputs = instance(steps, n_qubits, seed=steps)
    options = {"kernel": kernel, "degree": degree}
    expected = closed_form(*inputs, **options)
    for name in ("mu", "nu", "zeta"):
        program = qsa_circuit(*inputs, **options, observable=name)
        if program.n_qubits > MOST_QUBITS:
            pytest.skip(f"{program.n_qubits} qubits")
        n_index = (steps - 1).bit_length()
        assert program.n_qubits == 2 * n_index + (degree + 1) * n_qubits + (
            degree if kernel == "polynomial" else 0
        )
        assert abs(float(program.expectation()) - float(getattr(expected, name))) < 1e-12


@given(
    steps=st.integers(2, 4),
    beta=st.floats(0.1, 3),
    seed=st.integers(0, 10**6),
    real=st.booleans(),
    ansatz_and_qubits=st.sampled_from([("hardware_efficient", 1), ("real", 2), ("brick_wall", 2)]),
)
@settings(max_examples=25)
def test_any_temperature_phases_ansatz_and_real_data(
    steps: int, ansatz_and_qubits: tuple[str, int], beta: float, seed: int, real: bool
) -> None:
    name, n_qubits = ansatz_and_qubits
    inputs = instance(steps, n_qubits, seed, name=name, real=real)
    phases = torch.from_numpy(np.random.default_rng(seed).uniform(-4, 4, size=steps))
    expected = closed_form(*inputs, name=name, degree=2, beta=beta, phases=phases)
    program = qsa_circuit(*inputs, degree=2, beta=beta, phases=phases, ansatz=name)
    assert abs(float(program.expectation()) - float(expected.mu)) < 1e-12


@pytest.mark.parametrize("kernel", ["monomial", "polynomial"])
def test_one_qubit_more_supplies_the_leverage_of_tokens(kernel: str) -> None:
    inputs = instance(3, 2, seed=1)
    leverage = torch.tensor([0.3, 1.0, 0.62], dtype=torch.float64)
    expected = closed_form(*inputs, kernel=kernel, degree=1, leverage=leverage)
    plain = closed_form(*inputs, kernel=kernel, degree=1)
    assert abs(float(expected.mu - plain.mu)) > 1e-4
    for name in ("mu", "nu", "zeta"):
        program = qsa_circuit(*inputs, kernel=kernel, degree=1, leverage=leverage, observable=name)
        assert len(program.circuit["R"]) == (name != "zeta")
        assert abs(float(program.expectation()) - float(getattr(expected, name))) < 1e-12


@pytest.mark.parametrize(
    ("steps", "n_qubits", "degree"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 2, 1), (5, 1, 2), (8, 3, 1)]
)
def test_the_circuit_of_prefix_states_measures_v1(steps: int, n_qubits: int, degree: int) -> None:
    inputs = instance(steps, n_qubits, seed=7)
    expected = closed_form(*inputs, kernel="monomial", degree=degree)
    program = qsa_circuit(*inputs, kernel="monomial", degree=degree, observable="mu_v1")
    assert abs(float(program.expectation()) - float(expected.mu_v1)) < 1e-12


def test_sequences_and_parameters_in_batches() -> None:
    states = haar_random_states(n_qubits=2, batch=5 * 6, seed=2).reshape(5, 6, 4)
    angles = torch.randn(2, 3, 1, 2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y, (w, v) = states[:, :3], states[:, 3:], angles
    program = qsa_circuit(x, y, w, v, degree=1)
    assert program.batch_shape == (3, 5)
    torch.testing.assert_close(
        program.expectation(), closed_form(x, y, w, v, degree=1).mu, atol=1e-12, rtol=0
    )


def test_gradients_of_mu_equal_those_of_the_closed_form() -> None:
    x, y, w, v = (tensor.requires_grad_() for tensor in instance(3, 2, seed=4))
    through_circuit = torch.autograd.grad(qsa_circuit(x, y, w, v, degree=2).expectation(), (x, y, w, v))
    direct = torch.autograd.grad(closed_form(x, y, w, v, degree=2).mu, (x, y, w, v))
    for name, ours, theirs in zip(("x", "y"), through_circuit, direct, strict=False):
        # The circuit normalises what it loads; only the part of the gradient along the state may differ.
        states = {"x": x, "y": y}[name].detach()
        along = torch.linalg.vecdot(states, theirs).real[:, None] * states
        torch.testing.assert_close(ours, theirs - along, atol=1e-12, rtol=0)
    for ours, theirs in zip(through_circuit[2:], direct[2:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
        assert ours.abs().max() > 1e-4


def test_bad_arguments_are_refused(as_user: None) -> None:
    x, y, w, v = instance(3, 2, seed=0)
    with pytest.raises(ArgumentError, match="did you mean 'mu'"):
        qsa_circuit(x, y, w, v, observable="mue")
    with pytest.raises(ArgumentError, match="softmax is no circuit"):
        qsa_circuit(x, y, w, v, kernel="softmax")
    with pytest.raises(ArgumentError, match="`x` must hold unit vectors"):
        qsa_circuit(2 * x, y, w, v)
    with pytest.raises(ArgumentError, match=r"`y` must have shape \(..., T, d\) like `x`, but has \(2, 4\)"):
        qsa_circuit(x, y[:2], w, v)
    with pytest.raises(ArgumentError, match=r"`value_angles` must have shape \(..., L, 2, 3\)"):
        qsa_circuit(x, y, w, v[..., :2])
    with pytest.raises(ArgumentError, match="needs the monomial kernel and no leverage"):
        qsa_circuit(x, y, w, v, observable="mu_v1")
    with pytest.raises(ArgumentError, match=r"length 2\*\*n"):
        qsa_circuit(torch.ones(2, 3) / 3**0.5, torch.ones(2, 3) / 3**0.5, w, v)


@pytest.mark.parametrize("steps", range(1, 18))
def test_the_triangle_of_indices_is_even_and_cheap(steps: int) -> None:
    n_index = (steps - 1).bit_length()
    circuit = _triangle_state(n_index, steps)
    state = run_statevector(circuit).reshape(2**n_index, 2**n_index)
    expected = torch.ones(steps, steps, dtype=torch.complex128).tril() / (steps * (steps + 1) / 2) ** 0.5
    torch.testing.assert_close(state[:steps, :steps], expected, atol=1e-14, rtol=0)
    padded = 2**n_index
    assert count_circuit(circuit).two_qubit_gates <= 7 * padded * max(n_index, 1)


@pytest.mark.cudaq
@pytest.mark.parametrize(
    ("steps", "n_qubits", "degree", "kernel"),
    [
        (2, 1, 1, "monomial"),
        (2, 2, 2, "polynomial"),
        (3, 2, 1, "polynomial"),
        (4, 2, 1, "monomial"),
        (4, 2, 2, "polynomial"),
        (5, 1, 2, "polynomial"),
        (8, 3, 1, "monomial"),
    ],
)
@pytest.mark.parametrize("observable", ["mu", "nu", "zeta"])
def test_cudaq_measures_the_closed_form(
    steps: int, n_qubits: int, degree: int, kernel: str, observable: str
) -> None:
    pytest.importorskip("cudaq")
    inputs = instance(steps, n_qubits, seed=11)
    expected = getattr(closed_form(*inputs, kernel=kernel, degree=degree), observable)
    program = qsa_circuit(*inputs, kernel=kernel, degree=degree, observable=observable)
    result = qdyn.run_circuit(program, backend="cudaq")
    assert result.qubits == program.n_qubits
    assert abs(float(result.value) - float(expected)) < 1e-9


@pytest.mark.cudaq
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["monomial", "polynomial"])
@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("n_qubits", [1, 2, 3])
@pytest.mark.parametrize("steps", [2, 3, 4, 5, 8])
def test_cudaq_measures_the_closed_form_up_to_15_qubits(
    steps: int, n_qubits: int, degree: int, kernel: str
) -> None:
    pytest.importorskip("cudaq")
    inputs = instance(steps, n_qubits, seed=12)
    expected = closed_form(*inputs, kernel=kernel, degree=degree)
    for name in ("mu", "nu", "zeta"):
        program = qsa_circuit(*inputs, kernel=kernel, degree=degree, observable=name)
        if program.n_qubits > MOST_QUBITS:
            pytest.skip(f"{program.n_qubits} qubits")
        value = qdyn.run_circuit(program, backend="cudaq").value
        assert abs(float(value) - float(getattr(expected, name))) < 1e-9


@pytest.mark.cudaq
def test_cudaq_measures_leverage_and_prefix_states() -> None:
    pytest.importorskip("cudaq")
    inputs = instance(3, 2, seed=13)
    leverage = torch.tensor([0.3, 1.0, 0.62], dtype=torch.float64)
    expected = closed_form(*inputs, kernel="monomial", degree=1, leverage=leverage).mu
    weighed = qsa_circuit(*inputs, kernel="monomial", degree=1, leverage=leverage)
    assert abs(float(qdyn.run_circuit(weighed, backend="cudaq").value - expected)) < 1e-9
    prefixes = qsa_circuit(*inputs, kernel="monomial", degree=1, observable="mu_v1")
    expected = closed_form(*inputs, kernel="monomial", degree=1).mu_v1
    assert abs(float(qdyn.run_circuit(prefixes, backend="cudaq").value - expected)) < 1e-9
