from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdyn.circuits.circuit import Circuit
from qdyn.circuits.executors.execution import Runner, run_circuit
from qdyn.circuits.executors.gradients import parameter_shift, spsa
from qdyn.circuits.executors.program import AllZero, PauliObservable, Program
from qdyn.circuits.random_circuits import random_circuit
from qdyn.errors import ArgumentError

OBSERVABLE = PauliObservable(((1.0, "ZZI"), (-0.7, "XIY"), (0.4, "IIZ")))


def autograd(program: Program) -> dict[str, np.ndarray]:
    values = {name: torch.as_tensor(value).clone().requires_grad_() for name, value in program.values.items()}
    total = Program(program.circuit, values, program.observable).expectation().sum()
    total = total + 0 * sum(value.sum() for value in values.values())  # some circuits use no slot
    found = torch.autograd.grad(total, list(values.values()))
    return {name: slope.numpy() for name, slope in zip(values, found, strict=True)}


@given(drawn=st.fixed_dictionaries({"n_gates": st.integers(1, 10), "seed": st.integers(0, 2**32 - 1)}))
@settings(max_examples=25)
def test_parameter_shift_is_exact_for_repeated_controlled_and_selected_angles(drawn: dict[str, Any]) -> None:
    circuit = random_circuit(n_qubits=3, **drawn)
    theta = np.random.default_rng(drawn["seed"]).normal(size=5)
    runner = Runner(backend="torch")
    program = Program(circuit, {"theta": torch.from_numpy(theta)}, OBSERVABLE)
    found = parameter_shift(program, ["theta"], lambda shifted: runner.measure(shifted)[0])
    expected = autograd(program)
    np.testing.assert_allclose(found["theta"], expected["theta"], atol=1e-11)


def entangled(values: torch.Tensor, observable: AllZero | PauliObservable = OBSERVABLE) -> Program:
    circuit = Circuit(q=3)
    theta = circuit.slot("theta", 4)
    circuit.ry(0, theta[0]).ry(1, theta[1]).cx(0, 1).rx(2, theta[0] * 2, controls=(1,))
    circuit.cx(1, 2).rz(1, theta[2:], select=(0,)).h(1).ry(0, theta[1])
    return Program(circuit, {"theta": values}, observable)


@pytest.mark.parametrize("rule", ["parameter_shift", pytest.param("cudaq", marks=pytest.mark.cudaq)])
def test_a_run_carries_its_gradient_to_the_users_tensors(rule: str) -> None:
    if rule == "cudaq":
        pytest.importorskip("cudaq")
    values = torch.tensor(
        [[0.3, 1.0, -0.4, 2.0], [1.3, 0.1, 0.7, -0.2]], dtype=torch.float64
    ).requires_grad_()
    backend = "cudaq" if rule == "cudaq" else "torch"
    result = run_circuit(entangled(values), backend=backend, gradient="parameter_shift")
    (result.value * torch.tensor([1.0, 3.0])).sum().backward()
    expected = autograd(entangled(values.detach()))["theta"] * np.array([[1.0], [3.0]])
    assert values.grad is not None
    np.testing.assert_allclose(values.grad.numpy(), expected, atol=1e-11)


def test_parameter_shift_with_shots_scatters_around_the_gradient() -> None:
    values = torch.tensor([0.3, 1.0, -0.4, 2.0], dtype=torch.float64)
    program = entangled(values, AllZero((0, 1)))
    expected = autograd(program)["theta"]

    def slopes(seed: int) -> np.ndarray:
        runner = Runner(backend="torch", shots=500, seed=seed)
        return parameter_shift(program, ["theta"], lambda shifted: runner.measure(shifted)[0])["theta"]

    samples = [slopes(seed) for seed in range(40)]
    mean, error = np.mean(samples, 0), np.std(samples, 0) / np.sqrt(40)
    assert (np.abs(mean - expected) < 4.5 * error + 1e-12).all()
    assert error.max() < 0.01


def test_spsa_is_the_gradient_on_average() -> None:
    values = torch.tensor([0.3, 1.0, -0.4, 2.0], dtype=torch.float64)
    program = entangled(values)
    runner = Runner(backend="torch")
    expected = autograd(program)["theta"]
    single = [
        spsa(
            program,
            ["theta"],
            lambda moved: runner.measure(moved)[0],
            step=0.02,
            repeats=20,
            seed=seed,
        )["theta"]
        for seed in range(25)
    ]
    mean, error = np.mean(single, 0), np.std(single, 0) / np.sqrt(len(single))
    # The bias is of the order of step**2 = 4e-4 times third derivatives.
    assert (np.abs(mean - expected) < 4.5 * error + 2e-3).all()
    assert error.max() < 0.1


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'spsa'"):
        run_circuit(entangled(torch.zeros(4)), gradient="spas")
