"""Variational unitaries against circuits written out gate by gate with Kronecker products."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.func import vmap

from qdyn.circuits.ansatz.order import brick_wall_pairs
from qdyn.circuits.ansatz.variational import (
    ANSATZE,
    ansatz,
    brick_wall_unitary,
    free_unitary,
    hardware_efficient_unitary,
    real_unitary,
)
from qdyn.errors import ArgumentError
from qdyn.quantum.products import kronecker_product, ordered_product

X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1.0 + 0j, -1.0])


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    return scipy.linalg.expm(-0.5j * angle * axis)


def on_qubit(gate: np.ndarray, qubit: int, n: int) -> np.ndarray:
    return reduce(np.kron, [gate if place == qubit else np.eye(2) for place in range(n)])


def cnot(control: int, target: int, n: int) -> np.ndarray:
    zero, one = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    return on_qubit(zero, control, n) + on_qubit(one, control, n) @ on_qubit(X, target, n)


def ring(n: int) -> list[np.ndarray]:
    return [cnot(qubit, (qubit + 1) % n, n) for qubit in range(n)] if n > 1 else []


def apply_in_order(gates: list[np.ndarray], n: int) -> np.ndarray:
    unitary = np.eye(2**n, dtype=complex)
    for gate in gates:
        unitary = gate @ unitary
    return unitary


def hardware_efficient_gates(angles: np.ndarray) -> list[np.ndarray]:
    layers, n, _ = angles.shape
    gates = []
    for layer in range(layers):
        for qubit in range(n):
            gates += [
                on_qubit(rotation(axis, angle), qubit, n)
                for axis, angle in zip((X, Y, Z), angles[layer, qubit], strict=True)
            ]
        gates += ring(n)
    return gates


def brick_wall_gates(angles: np.ndarray, rows: list[list[tuple[int, int]]]) -> list[np.ndarray]:
    layers, n, _ = angles.shape
    gates = []
    for layer in range(layers):
        pairs = [pair for row in rows for pair in row]
        for block, (a, b) in enumerate(pairs):
            for half in angles[layer, block].reshape(2, 2, 3):
                for qubit, triple in zip((a, b), half, strict=True):
                    gates += [
                        on_qubit(rotation(p, t), qubit, n) for p, t in zip((X, Y, Z), triple, strict=True)
                    ]
                gates.append(cnot(a, b, n))
    return gates


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("layers", [1, 2, 5])
def test_hardware_efficient_is_its_circuit(n: int, layers: int) -> None:
    angles = np.random.default_rng(n + 10 * layers).uniform(-np.pi, np.pi, (layers, n, 3))
    expected = apply_in_order(hardware_efficient_gates(angles), n)
    np.testing.assert_allclose(hardware_efficient_unitary(torch.tensor(angles)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_brick_wall_is_its_circuit(n: int) -> None:
    angles = np.random.default_rng(n).uniform(-np.pi, np.pi, (3, n, 12))
    expected = apply_in_order(brick_wall_gates(angles, brick_wall_pairs(n)), n)
    np.testing.assert_allclose(brick_wall_unitary(torch.tensor(angles)).numpy(), expected, atol=1e-12)


def test_pairs_of_the_brick_wall() -> None:
    assert brick_wall_pairs(2) == [[(0, 1)], [(1, 0)]]
    assert brick_wall_pairs(6) == [[(0, 1), (2, 3), (4, 5)], [(1, 2), (3, 4), (5, 0)]]
    for n in range(2, 9):
        touched = sorted(qubit for row in brick_wall_pairs(n) for pair in row for qubit in pair)
        assert touched == sorted([*range(n), *range(n)])  # every qubit in two blocks
        for row in brick_wall_pairs(n):
            assert len({qubit for pair in row for qubit in pair}) == 2 * len(row)  # which act side by side


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_real_ansatz_is_its_circuit(n: int) -> None:
    angles = np.random.default_rng(n).uniform(-np.pi, np.pi, (3, n))
    gates = []
    for layer in angles:
        gates += [on_qubit(rotation(Y, angle), qubit, n) for qubit, angle in enumerate(layer)]
        gates += ring(n)
    unitary = real_unitary(torch.tensor(angles))
    assert not unitary.is_complex()
    np.testing.assert_allclose(unitary.numpy(), apply_in_order(gates, n), atol=1e-12)


def test_free_unitary_is_the_exponential_of_its_hermitian_part() -> None:
    parameters = np.random.default_rng(3).normal(size=(2, 8, 8))
    general = parameters[0] + 1j * parameters[1]
    expected = scipy.linalg.expm(0.5j * (general + general.conj().T))
    np.testing.assert_allclose(free_unitary(torch.tensor(parameters)).numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("name", ANSATZE)
def test_every_ansatz_is_unitary_and_takes_leading_axes(name: str) -> None:
    family = ansatz(name)
    generator = np.random.default_rng(0)
    shape = family.parameter_shape(3, 4)
    parameters = torch.tensor(generator.normal(size=(2, 5, *shape)))
    if family.on_group:  # its parameters are the entries of unitaries, and start as such
        starts = [family.start(shape, 1.0, generator) for _ in range(10)]
        parameters = torch.tensor(np.stack(starts)).reshape(2, 5, *shape)
    matrices = family.unitary(parameters)
    assert matrices.shape == (2, 5, 8, 8)
    torch.testing.assert_close(
        matrices @ matrices.mH, torch.eye(8, dtype=matrices.dtype).expand(2, 5, 8, 8), atol=1e-11, rtol=0
    )
    torch.testing.assert_close(matrices[1, 3], family.unitary(parameters[1, 3]))
    torch.testing.assert_close(matrices, vmap(vmap(family.unitary))(parameters))


@pytest.mark.parametrize("name", ANSATZE)
@pytest.mark.parametrize("layers", [1, 2, 5])
def test_derivatives_agree_with_finite_differences(name: str, layers: int) -> None:
    family = ansatz(name)
    parameters = torch.tensor(
        np.random.default_rng(1).normal(size=(2, *family.parameter_shape(2, layers))), requires_grad=True
    )
    torch.autograd.gradcheck(family.unitary, parameters)


@pytest.mark.parametrize("name", ["hardware_efficient", "brick_wall", "real"])
def test_second_derivatives_agree_with_finite_differences(name: str) -> None:
    family = ansatz(name)
    parameters = torch.tensor(
        np.random.default_rng(2).normal(size=family.parameter_shape(2, 3)), requires_grad=True
    )
    torch.autograd.gradgradcheck(family.unitary, parameters)


@pytest.mark.parametrize("name", ["hardware_efficient", "brick_wall", "real", "free"])
def test_gradients_under_vmap_are_those_of_each_member(name: str) -> None:
    family = ansatz(name)
    generator = np.random.default_rng(4)
    parameters = torch.tensor(generator.normal(size=(3, *family.parameter_shape(2, 3))))
    weight = torch.tensor(generator.normal(size=(3, 4, 4)))

    def gain(angles: torch.Tensor, member_weight: torch.Tensor) -> torch.Tensor:
        matrix = family.unitary(angles)
        return (matrix * member_weight).sum().abs().square()

    together = torch.func.vmap(torch.func.grad(gain))(parameters, weight)
    for member in range(3):
        torch.testing.assert_close(
            together[member], torch.func.grad(gain)(parameters[member], weight[member])
        )
    outside = parameters.clone().requires_grad_()
    vmap(gain)(outside, weight).sum().backward()
    torch.testing.assert_close(outside.grad, together)


@pytest.mark.parametrize("layers", [1, 2, 3, 7, 43])
def test_ordered_product_multiplies_from_the_left(layers: int) -> None:
    matrices = torch.tensor(np.random.default_rng(layers).normal(size=(2, layers, 3, 3))) / 2
    expected = reduce(lambda product, matrix: matrix @ product, matrices.unbind(1))
    torch.testing.assert_close(ordered_product(matrices), expected)


def test_kronecker_product_puts_the_first_factor_on_the_most_significant_index() -> None:
    factors = [
        torch.tensor(np.random.default_rng(seed).normal(size=(5, 2 + seed, 2 + seed))) for seed in range(3)
    ]
    expected = torch.stack([reduce(torch.kron, [factor[i] for factor in factors]) for i in range(5)])
    torch.testing.assert_close(kronecker_product(factors), expected)


@pytest.mark.parametrize("name", ["hardware_efficient", "brick_wall", "real"])
def test_initial_angles_fill_their_interval(name: str) -> None:
    generator = np.random.default_rng(0)
    angles = ansatz(name).initial(n_qubits=4, layers=200, scale=0.3, generator=generator)
    assert 0 <= float(angles.min()) < 0.005
    assert 0.295 < float(angles.max()) <= 0.3
    assert abs(float(angles.mean()) - 0.15) < 5 * 0.3 / np.sqrt(12 * angles.numel())


def test_initial_free_unitaries_have_a_hamiltonian_of_the_given_size() -> None:
    generator = np.random.default_rng(0)
    parameters = ansatz("free").initial(n_qubits=6, layers=1, scale=0.3, generator=generator)
    general = torch.complex(*parameters.unbind(0))
    energies = torch.linalg.eigvalsh((general + general.mH) / 2)
    # The semicircle's edge is twice its deviation; fluctuations at the edge are of order d^(-2/3).
    assert float(energies.abs().max()) == pytest.approx(0.3, rel=0.15)


def test_parameter_counts_of_the_published_comparison() -> None:
    assert np.prod(ansatz("hardware_efficient").parameter_shape(4, 43)) * 2 == 1032
    assert np.prod(ansatz("free").parameter_shape(4, 43)) * 2 == 1024


def test_unknown_ansatz_names_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="did you mean 'brick_wall'"):
        ansatz("brickwall")


def test_one_qubit_has_no_brick_wall() -> None:
    with pytest.raises(ArgumentError, match="needs at least 2 qubits"):
        ansatz("brick_wall").parameter_shape(1, 3)
