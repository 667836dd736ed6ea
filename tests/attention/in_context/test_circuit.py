"""The circuits of in-context attention against the closed form, on both executors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import qdyn
from qdyn.attention.in_context.attention import Conjugate, Descent, in_context_predictions, refined_states
from qdyn.attention.in_context.circuit import Block, InContextCircuit, in_context_circuit, in_context_costs
from qdyn.attention.in_context.heads import Heads, feed_forward
from qdyn.circuits.ansatz.variational import free_unitary
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states


def unitaries(*shape: int, d: int = 2, seed: int = 7) -> Tensor:
    return free_unitary(torch.from_numpy(np.random.default_rng(seed).normal(size=(*shape, 2, d, d))))


def numbers(*shape: int, low: float = 0.2, high: float = 2.0, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, shape))


HEADS = Heads(unitaries(3), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), backward=1)


def descent(layers: int = 1, steps: int = 3, seed: int = 0) -> Descent:
    return Descent(numbers(layers, steps, seed=seed))


def conjugate(layers: int, ridge: float, steps: int = 3) -> Conjugate:
    return Conjugate(layers, ridge * numbers(steps))


#: Name -> blocks, what in_context_circuit is told beside them, n, T.
CASES: dict[str, tuple[list[Block], dict[str, Any], int, int]] = {
    "one layer, two steps": ([Block(descent(steps=2))], {}, 1, 2),
    "one layer": ([Block(descent())], {"phases": "transport"}, 1, 3),
    "two layers": ([Block(descent(2, 4))], {}, 1, 4),
    "completion": ([Block(descent(), descent(seed=1), 0.6)], {"phases": "transport"}, 1, 3),
    "two qubits": ([Block(descent(1, 4), descent(1, 4, seed=1), 0.6)], {}, 2, 4),
    "conjugate": ([Block(conjugate(2, 0.0))], {}, 1, 3),
    "conjugate, ridge": ([Block(conjugate(2, 0.2), conjugate(1, 0.3), 0.6)], {}, 1, 3),
    "conjugate, two qubits": ([Block(conjugate(2, 0.1))], {"phases": "transport"}, 2, 3),
    "symmetries": ([Block(conjugate(1, 0.2))], {"symmetries": ("time_reversal", "spin_flip")}, 1, 3),
    "heads": ([Block(conjugate(1, 0.2), conjugate(1, 0.0))], {"heads": HEADS}, 1, 3),
    "feed-forward": (
        [Block(conjugate(1, 0.0), units=unitaries(2, 2), strength=numbers(2, 3))],
        {},
        1,
        3,
    ),
    "two blocks": (
        [Block(descent(), trust=numbers(3)), Block(descent(seed=2))],
        {"phases": "transport"},
        1,
        3,
    ),
    "two blocks, conjugate": (
        [Block(conjugate(1, 0.3), trust=numbers(3)), Block(conjugate(1, 0.2))],
        {},
        1,
        3,
    ),
    "two blocks, units in the first": (
        [
            Block(descent(), units=unitaries(1, 2), strength=numbers(1, 3), trust=numbers(3)),
            Block(descent(seed=2)),
        ],
        {},
        1,
        3,
    ),
}
ON_CUDA_Q = [
    "conjugate",
    "symmetries",
    "feed-forward",
    pytest.param("completion", marks=pytest.mark.slow),
    pytest.param("two blocks", marks=pytest.mark.slow),
    pytest.param("conjugate, ridge", marks=pytest.mark.slow),
    pytest.param("heads", marks=pytest.mark.slow),
]


def instance(name: str) -> tuple[Tensor, Tensor, Tensor, list[Block], dict[str, Any]]:
    blocks, told, n_qubits, steps = CASES[name]
    states = haar_random_states(n_qubits=n_qubits, batch=steps + 1, seed=1)
    return states[:-1], states[1:], unitaries(d=2**n_qubits, seed=3), blocks, told


def closed_form(x: Tensor, value: Tensor, blocks: list[Block], told: dict[str, Any]) -> Tensor:
    seen = x
    for block in blocks:
        predictions = in_context_predictions(
            seen,
            value,
            block.regression,
            completion=block.completion,
            restoration=torch.as_tensor(block.restoration, dtype=torch.float64),
            **told,
        )
        if block.units is not None:
            assert block.strength is not None
            predictions = feed_forward(
                predictions, seen, block.units[:, 0], block.units[:, 1], block.strength
            )
        if block.trust is not None:
            seen = refined_states(x, predictions, block.trust)
    return predictions


def expected(circuit: InContextCircuit, y: Tensor, observable: str) -> Tensor:
    """The table of the module, from the closed form."""
    overlaps = (y.conj() * circuit.predictions).sum(dim=-1).abs()
    if observable == "mu":
        return (overlaps.sum() / circuit.prices.sum()) ** 2
    squares = overlaps if observable == "nu" else torch.linalg.vector_norm(circuit.predictions, dim=-1)
    return squares.square().sum() / circuit.prices.square().sum()


@pytest.mark.parametrize("observable", ["mu", "nu", "zeta"])
@pytest.mark.parametrize("name", CASES)
def test_the_circuit_measures_the_closed_form(name: str, observable: str) -> None:
    x, y, value, blocks, told = instance(name)
    circuit = in_context_circuit(x, y, value, blocks, observable=observable, **told)
    torch.testing.assert_close(circuit.predictions, closed_form(x, value, blocks, told), atol=1e-9, rtol=0)
    measured = qdyn.run_circuit(circuit.program).value
    assert abs(float(measured - expected(circuit, y, observable))) < 1e-12
    costs = in_context_costs(x, value, blocks, **told)
    assert costs.qubits == circuit.program.n_qubits
    torch.testing.assert_close(costs.prices, circuit.prices)


@pytest.mark.cudaq
@pytest.mark.parametrize("name", ON_CUDA_Q)
def test_cuda_q_measures_the_same(name: str) -> None:
    x, y, value, blocks, told = instance(name)
    observable = "zeta" if name == "symmetries" else "mu"
    circuit = in_context_circuit(x, y, value, blocks, observable=observable, **told)
    measured = qdyn.run_circuit(circuit.program, backend="cudaq").value
    assert abs(float(measured - expected(circuit, y, observable))) < 1e-9


def test_the_registers_are_as_large_as_the_table_says() -> None:
    """C1, one qubit an answer, for each layer an index of the transitions and one more, A."""
    for name, (layers, completions) in {"two layers": (2, 0), "two qubits": (1, 1)}.items():
        x, _, value, blocks, told = instance(name)
        steps, n_qubits = CASES[name][3], CASES[name][2]
        index = (steps - 2).bit_length()
        found = in_context_costs(x, value, blocks, **told).qubits
        assert found == (steps - 1).bit_length() + layers + (layers + completions) * (index + 1) + n_qubits


@pytest.mark.parametrize("name", CASES)
def test_no_observable_is_more_than_a_probability(name: str) -> None:
    """|A_j| <= w_j <= Lambda_j: the price bounds the length of every forecast."""
    x, _, value, blocks, told = instance(name)
    costs = in_context_costs(x, value, blocks, **told)
    assert bool((torch.linalg.vector_norm(costs.predictions, dim=-1) <= costs.prices + 1e-12).all())


def test_gentle_steps_cost_what_they_add() -> None:
    """Steps of 2/n or less project for nothing: only the answers, 2 each, are paid for."""
    x = torch.eye(8, dtype=torch.complex128)[:6]
    seen = torch.arange(6, dtype=torch.float64)
    sizes = torch.where(seen > 0, 2 / seen.clamp_min(1).sqrt(), 0.0).expand(3, 6)
    block = Block(Descent(sizes), Descent(sizes[:1]), restoration=0.0)
    prices = in_context_costs(x, torch.eye(8, dtype=torch.complex128), block).prices
    torch.testing.assert_close(prices, torch.tensor([1.0] + [7.0] * 5, dtype=torch.float64))


ONE = torch.tensor([[1.0 + 0j, 0.0]], dtype=torch.complex128)
MOMENTUM = Block(Descent(numbers(1, 3), momentum=numbers(1, 3)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": ONE, "y": ONE}, "T >= 2"),
        ({"x": torch.ones(3, 2, dtype=torch.complex128)}, "`x` must"),
        ({"observable": "xi"}, "`observable`"),
        ({"blocks": [Block(descent())] * 3}, "one or two blocks"),
        ({"blocks": [Block(descent())] * 2}, "a trust in the first"),
        ({"blocks": MOMENTUM}, "neither momentum nor score unitaries"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    x, y, value, blocks, told = instance("one layer")
    given = {"x": x, "y": y, "value": value, "blocks": blocks, **told, **change}
    with pytest.raises(ArgumentError, match=message):
        in_context_circuit(**given)
