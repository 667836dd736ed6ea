"""The closed form against the circuit itself: registers, loads and projections as explicit matrices."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
import torch

from qdyn.attention.qsa.observables import qsa_observables


def completed(state: np.ndarray) -> np.ndarray:
    """A unitary whose first column is ``state``: what loads it from |0>."""
    generator = np.random.default_rng(0)
    others = generator.normal(size=(len(state), len(state) - 1))
    q, r = np.linalg.qr(np.column_stack([state, others + 0j]))
    return q * (r[0, 0] / abs(r[0, 0]) * np.eye(len(state))[0] + np.eye(len(state))[1:].sum(axis=0))


def projector(dimension: int, index: int) -> np.ndarray:
    matrix = np.zeros((dimension, dimension), complex)
    matrix[index, index] = 1
    return matrix


class Registers:
    """Named registers; operators are Kronecker products over all of them."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes

    def operator(self, **factors: np.ndarray) -> np.ndarray:
        return reduce(np.kron, [factors.get(name, np.eye(size)) for name, size in self.sizes.items()])

    def controlled(self, gate: dict[str, np.ndarray], on: dict[str, int]) -> np.ndarray:
        """The gate where every control register holds its value, nothing elsewhere."""
        held = {name: projector(self.sizes[name], value) for name, value in on.items()}
        return self.operator() - self.operator(**held) + self.operator(**held, **gate)

    def project(self, state: np.ndarray, onto: dict[str, np.ndarray]) -> float:
        """Probability that the named registers are found in the given states, whatever the others hold."""
        found = self.operator(**{name: np.outer(held, held.conj()) for name, held in onto.items()})
        return float(np.linalg.norm(found @ state)) ** 2


def run_circuit(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    v: np.ndarray,
    phases: np.ndarray,
    *,
    degree: int,
    beta: float | None,
    leverage: np.ndarray | None,
) -> tuple[float, float, float]:
    """mu, nu and zeta by steps 1 to 5 of the circuit; ``beta`` None is the monomial kernel."""
    steps, d = x.shape
    index = 2 ** math.ceil(math.log2(steps))
    copies = [f"B{c}" for c in range(degree)]
    controls = [f"P{c}" for c in range(degree)] if beta is not None else []
    sizes = {"C1": index, "C2": index, "A": d}
    sizes |= dict.fromkeys(copies, d) | dict.fromkeys(controls, 2) | {"R": 2}
    registers = Registers(sizes)
    zero = {name: np.eye(size)[0] + 0j for name, size in sizes.items()}

    triangle = np.zeros((index, index), complex)
    triangle[np.tril_indices(steps)] = (steps * (steps + 1) / 2) ** -0.5
    unary = np.ones(1, complex)
    if beta is not None:
        series = [beta**p / math.factorial(p) for p in range(degree + 1)]
        unary = np.zeros(2**degree, complex)
        for p, c in enumerate(series):
            unary[int("1" * p + "0" * (degree - p), 2)] = math.sqrt(c / sum(series))
    start = [triangle.reshape(-1), *(zero[name] for name in ["A", *copies]), unary, zero["R"]]
    state = reduce(np.kron, start)

    for i in range(steps):
        state = registers.controlled({"A": completed(x[i])}, {"C2": i}) @ state
        for c, copy in enumerate(copies):
            on = {"C2": i} | ({f"P{c}": 1} if controls else {})
            state = registers.controlled({copy: completed(x[i])}, on) @ state
    state = registers.operator(A=v) @ state
    for c, copy in enumerate(copies):
        state = registers.controlled({copy: w}, {f"P{c}": 1} if controls else {}) @ state
    for j in range(steps):
        unload = {"A": np.exp(1j * phases[j]) * completed(y[j]).conj().T}
        if leverage is not None:
            root, rest = math.sqrt(leverage[j]), math.sqrt(1 - leverage[j])
            unload["R"] = np.array([[root, -rest], [rest, root]], complex)
        state = registers.controlled(unload, {"C1": j}) @ state
        for c, copy in enumerate(copies):
            on = {"C1": j} | ({f"P{c}": 1} if controls else {})
            state = registers.controlled({copy: completed(x[j]).conj().T}, on) @ state

    # Un-preparing a register and finding it in 0 is finding it in the prepared state.
    amplitude = reduce(np.kron, start).conj() @ state
    uniform = np.zeros(index, complex)
    uniform[:steps] = steps**-0.5
    all_but_unary = Registers({"rest": len(state) // (2 * len(unary)), "P": len(unary), "R": 2})
    unprepared = all_but_unary.operator(P=np.outer(unary, unary.conj())) @ state
    copies_back = {copy: zero[copy] for copy in copies} | {"C2": uniform}
    nu = registers.project(unprepared, copies_back | {"A": zero["A"], "R": zero["R"]})
    zeta = registers.project(unprepared, copies_back)
    return abs(amplitude) ** 2, nu, zeta


@pytest.mark.parametrize(
    ("steps", "d", "degree", "beta"),
    [
        (2, 2, 1, None),
        (3, 2, 1, None),
        (4, 2, 1, None),
        (2, 4, 1, None),
        (3, 2, 2, None),
        (2, 2, 3, None),
        (2, 2, 1, math.sqrt(2)),
        (3, 2, 2, math.sqrt(2)),
        (3, 2, 2, 0.5),
    ],
)
@pytest.mark.parametrize("with_leverage", [False, True])
def test_closed_form_is_what_the_circuit_measures(
    steps: int, d: int, degree: int, beta: float | None, with_leverage: bool
) -> None:
    generator = np.random.default_rng(steps + 10 * d + 100 * degree)
    parts = generator.normal(size=(2, steps + 1, d))
    states = parts[0] + 1j * parts[1]
    states /= np.linalg.norm(states, axis=-1, keepdims=True)
    w, v = (
        np.linalg.qr(generator.normal(size=(d, d)) + 1j * generator.normal(size=(d, d)))[0] for _ in range(2)
    )
    phases = generator.uniform(-np.pi, np.pi, steps)
    leverage = generator.uniform(0.2, 1.0, steps) if with_leverage else None
    expected = run_circuit(states[:-1], states[1:], w, v, phases, degree=degree, beta=beta, leverage=leverage)
    result = qsa_observables(
        *(torch.tensor(array) for array in (states[:-1], states[1:], w, v)),
        kernel="monomial" if beta is None else "polynomial",
        degree=degree,
        beta=beta,
        phases=torch.tensor(phases),
        leverage=None if leverage is None else torch.tensor(leverage),
    )
    np.testing.assert_allclose([float(result.mu), float(result.nu), float(result.zeta)], expected, atol=1e-13)
