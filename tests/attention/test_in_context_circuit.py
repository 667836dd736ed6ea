"""The circuit of in-context attention against its closed form, on both executors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import qdyn
from qdyn.attention.in_context import Descent, in_context_predictions
from qdyn.attention.in_context_circuit import InContextCircuit, circuit_prices, in_context_circuit
from qdyn.circuits.ansatz import free_unitary
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states


def instance(*, n_qubits: int, steps: int, layers: int, completions: int, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    states = haar_random_states(n_qubits=n_qubits, batch=steps + 1, seed=seed)
    d = 2**n_qubits
    return {
        "x": states[:-1],
        "y": states[1:],
        "value": free_unitary(torch.from_numpy(random.normal(size=(2, d, d)))),
        "sizes": torch.from_numpy(random.uniform(0.2, 2.0, (layers, steps))),
        "completion_sizes": torch.from_numpy(random.uniform(0.2, 2.0, (completions, steps))),
        "restoration": 0.6,
    }


def closed_form(case: dict[str, Any], phases: str) -> Tensor:
    return in_context_predictions(
        case["x"],
        case["value"],
        Descent(case["sizes"]),
        completion=Descent(case["completion_sizes"]) if len(case["completion_sizes"]) else None,
        restoration=torch.tensor(case["restoration"], dtype=torch.float64),
        phases=phases,  # type: ignore[arg-type]
    )


def expected(circuit: InContextCircuit, case: dict[str, Any], observable: str) -> Tensor:
    """The table of the module, from the closed form."""
    overlaps = (case["y"].conj() * circuit.predictions).sum(dim=-1).abs()
    if observable == "mu":
        return (overlaps.sum() / circuit.prices.sum()) ** 2
    squares = overlaps if observable == "nu" else torch.linalg.vector_norm(circuit.predictions, dim=-1)
    return squares.square().sum() / circuit.prices.square().sum()


CASES = [(1, 2, 1, 0), (1, 3, 1, 0), (1, 4, 2, 0), (1, 3, 1, 1), (2, 4, 1, 1)]


@pytest.mark.parametrize("observable", ["mu", "nu", "zeta"])
@pytest.mark.parametrize("shape", CASES, ids=str)
def test_the_circuit_measures_the_closed_form(shape: tuple[int, int, int, int], observable: str) -> None:
    n_qubits, steps, layers, completions = shape
    case = instance(n_qubits=n_qubits, steps=steps, layers=layers, completions=completions)
    phases = "transport" if layers == 1 else "as_given"
    circuit = in_context_circuit(**case, phases=phases, observable=observable)
    torch.testing.assert_close(circuit.predictions, closed_form(case, phases), atol=1e-12, rtol=0)
    measured = qdyn.run_circuit(circuit.program).value
    assert abs(float(measured - expected(circuit, case, observable))) < 1e-10
    index = (steps - 1).bit_length()
    assert circuit.program.n_qubits == index + layers + (layers + completions) * (index + 1) + n_qubits


@pytest.mark.cudaq
@pytest.mark.parametrize("observable", ["mu", "zeta"])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 1, 0)], ids=str)
def test_cuda_q_measures_the_same(shape: tuple[int, int, int, int], observable: str) -> None:
    n_qubits, steps, layers, completions = shape
    case = instance(n_qubits=n_qubits, steps=steps, layers=layers, completions=completions, seed=3)
    circuit = in_context_circuit(**case, phases="transport", observable=observable)
    measured = qdyn.run_circuit(circuit.program, backend="cudaq").value
    assert abs(float(measured - expected(circuit, case, observable))) < 1e-9


def test_no_observable_is_more_than_a_probability() -> None:
    """|A_j| <= w_j <= Lambda_j: the price bounds the length of every forecast."""
    for seed in range(5):
        case = instance(n_qubits=2, steps=5, layers=2, completions=1, seed=seed)
        circuit = in_context_circuit(**case)
        assert bool((torch.linalg.vector_norm(circuit.predictions, dim=-1) <= circuit.prices + 1e-12).all())


def test_gentle_steps_cost_what_they_add() -> None:
    """Steps of 2/n or less project for nothing: only the answers are paid for."""
    seen = torch.arange(6, dtype=torch.float64)
    sizes = torch.where(seen > 0, 2 / seen.clamp_min(1), 0.0).expand(3, 6)
    prices = circuit_prices(sizes, sizes[:1], torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(prices, torch.tensor([1.0] + [7.0] * 5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {
                "x": torch.tensor([[1.0 + 0j, 0.0]], dtype=torch.complex128),
                "y": torch.tensor([[1.0 + 0j, 0.0]], dtype=torch.complex128),
                "sizes": torch.ones(1, 1, dtype=torch.float64),
                "completion_sizes": None,
            },
            "T >= 2",
        ),
        ({"x": torch.ones(3, 2, dtype=torch.complex128)}, "`x` must"),
        ({"observable": "xi"}, "`observable`"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    case = instance(n_qubits=1, steps=3, layers=1, completions=0)
    with pytest.raises(ArgumentError, match=message):
        in_context_circuit(**{**case, **change})
