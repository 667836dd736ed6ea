from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.attention.hadamard import (
    exact_overlaps,
    factorised_overlaps,
    hadamard_test,
    overlap_table,
    register_rotations,
    register_states,
)
from qdyn.circuits.executors.execution import run_circuit
from qdyn.errors import ArgumentError

ANSATZE = ("real", "hardware_efficient")


def angles(
    seed: int, *, ansatz: str = "real", layers: int = 1, registers: int = 2, steps: int = 3
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Angles of ``registers`` registers on 6 qubits in all, and of the query and key circuits."""
    draw = np.random.default_rng(seed)
    rest = () if ansatz == "real" else (3,)
    shape = (steps, layers, 6 // registers, *rest)
    each = [torch.from_numpy(draw.uniform(-4, 4, shape)) for _ in range(registers)]
    query, key = torch.from_numpy(draw.uniform(-4, 4, (2, layers, 6, *rest)))
    return each, query, key


def published_factor(a: Tensor, b: Tensor, delta: Tensor) -> Tensor:
    """M of a register of two or three qubits in elementary functions.

    The four or eight terms come from the Pauli strings that conjugation by the ring of CNOTs gives.
    """
    m, s = (a - b) / 2, (a + b) / 2
    cm, sm, cs, ss = torch.cos(m), torch.sin(m), torch.cos(s), torch.sin(s)
    c, t = torch.cos(delta / 2), torch.sin(delta / 2)
    if len(delta) == 2:
        return (
            c[0] * c[1] * cm[0] * cm[1]
            + c[0] * t[1] * sm[0] * cs[1]
            + t[0] * c[1] * ss[0] * sm[1]
            + t[0] * t[1] * cs[0] * ss[1]
        )
    return (
        c[0] * c[1] * c[2] * cm[0] * cm[1] * cm[2]
        + c[0] * c[1] * t[2] * sm[0] * sm[1] * sm[2]
        + c[0] * t[1] * c[2] * cs[0] * sm[1] * ss[2]
        + c[0] * t[1] * t[2] * ss[0] * cm[1] * cs[2]
        + t[0] * c[1] * c[2] * ss[0] * sm[1] * cs[2]
        + t[0] * c[1] * t[2] * cs[0] * cm[1] * ss[2]
        + t[0] * t[1] * c[2] * sm[0] * cm[1] * sm[2]
        + t[0] * t[1] * t[2] * cm[0] * sm[1] * cm[2]
    )


@pytest.mark.parametrize("qubits", [2, 3])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_a_table_is_the_elementary_formula(qubits: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = torch.from_numpy(draw.uniform(-4, 4, (2, 4, 1, qubits)))
    query, key = torch.from_numpy(draw.uniform(-4, 4, (2, 1, qubits)))
    table = overlap_table(register_states(a), register_rotations(query, key), register_states(b))
    for i, j in itertools.product(range(4), repeat=2):
        expected = published_factor(a[i, 0], b[j, 0], (key - query)[0])
        assert abs(float(table[i, j] - expected)) < 1e-12


@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("registers", [2, 3])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_one_layer_factorises(ansatz: str, registers: int, seed: int) -> None:
    inputs = angles(seed, ansatz=ansatz, registers=registers)
    exact, tables = (overlaps(*inputs, ansatz=ansatz) for overlaps in (exact_overlaps, factorised_overlaps))
    assert float((exact - tables).abs().max()) < 1e-13
    assert exact.is_complex() == (ansatz != "real")


def test_two_layers_do_not_factorise() -> None:
    with pytest.raises(ArgumentError, match="one layer for the scores to factorise, but has 2"):
        factorised_overlaps(*angles(0, layers=2))


@pytest.mark.parametrize("part", ["real", "imaginary"])
@pytest.mark.parametrize("ansatz", ANSATZE)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("registers", [2, 3])
def test_the_circuit_reads_the_overlap(registers: int, layers: int, ansatz: str, part: str) -> None:
    each, query, key = angles(layers, ansatz=ansatz, layers=layers, registers=registers, steps=2)
    program = hadamard_test(
        [angle[:, None] for angle in each], [angle[None] for angle in each], query, key,
        ansatz=ansatz, part=part,
    )  # fmt: skip
    overlaps = exact_overlaps(each, query, key, ansatz=ansatz).to(torch.complex128)
    expected = overlaps.real if part == "real" else overlaps.imag
    assert program.n_qubits == 7
    assert float((run_circuit(program).value - expected).abs().max()) < 1e-13


def test_the_circuits_have_the_published_gates() -> None:
    """74 gates where both registers are undone, 66 where the third is shared by query and key."""
    (token, position), query, key = angles(0, steps=2)
    assert len(hadamard_test([token[0], position[0]], [token[1], position[1]], query, key).circuit) == 74
    (token, position, told), query, key = angles(0, registers=3, steps=2)
    shared = told[0]
    program = hadamard_test([token[0], position[0], shared], [token[1], position[1], shared], query, key)
    assert len(program.circuit) == 66
    expected = exact_overlaps([token, position, shared.expand(2, 1, 2)], query, key)[0, 1]
    assert abs(float(run_circuit(program).value - expected)) < 1e-13


def test_shots_scatter_about_the_overlap() -> None:
    """<Z> of n readings has the standard deviation sqrt((1 - s^2)/n); its mean is within five of them."""
    each, query, key = angles(3, steps=4)
    program = hadamard_test([a[:, None] for a in each], [a[None] for a in each], query, key)
    exact = exact_overlaps(each, query, key)
    shots, repeats = 400, 50
    values = torch.stack([run_circuit(program, shots=shots, seed=seed).value for seed in range(repeats)])
    spread = ((1 - exact.square()) / shots).sqrt()
    assert float(((values.mean(0) - exact).abs() / spread).max()) < 5 / math.sqrt(repeats)
    assert 0.7 < float((values.std(0) / spread).median()) < 1.4


@pytest.mark.cudaq
@pytest.mark.parametrize("registers", [2, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_cudaq_reads_the_same(layers: int, registers: int) -> None:
    pytest.importorskip("cudaq")
    each, query, key = angles(7, layers=layers, registers=registers, steps=2)
    program = hadamard_test([a[:, None] for a in each], [a[None] for a in each], query, key)
    value = run_circuit(program, backend="cudaq").value
    assert float((value - exact_overlaps(each, query, key)).abs().max()) < 1e-6


def test_equal_angles_without_a_difference_overlap_fully() -> None:
    each, query, _ = angles(1)
    assert torch.allclose(exact_overlaps(each, query, query).diagonal(), torch.ones(3, dtype=torch.float64))


def test_unknown_options_are_refused() -> None:
    each, query, key = angles(0)
    with pytest.raises(ArgumentError, match="`ansatz` is 'reel'"):
        hadamard_test([a[0] for a in each], [a[1] for a in each], query, key, ansatz="reel")
    with pytest.raises(ArgumentError, match="`part` is 'imag'"):
        hadamard_test([a[0] for a in each], [a[1] for a in each], query, key, part="imag")
