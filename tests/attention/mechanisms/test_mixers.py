"""Mechanisms that do not compare states in pairs: golden values, exact properties, circuits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

import qdyn
from qdyn.attention.kernels import make_kernel
from qdyn.attention.mechanisms.compound import CompoundAttention
from qdyn.attention.mechanisms.doubly_stochastic import DoublyStochasticAttention
from qdyn.attention.mechanisms.lcu_mixing import LCUAttention
from qdyn.attention.mechanisms.orthogonal import OrthogonalAttention
from qdyn.attention.mechanisms.overlap_interference import OverlapAttention
from qdyn.attention.mechanisms.qasa_adapter import AdapterAttention
from qdyn.attention.qsa.overlap import overlap_predictions
from qdyn.attention.rbs_layers import RBSMatrices, second_compound
from qdyn.attention.trained_circuits import expectations
from qdyn.circuits.executors.program import Program
from qdyn.circuits.executors.statevector import circuit_unitary
from qdyn.errors import ArgumentError

EXECUTORS = ["torch", pytest.param("cudaq", marks=pytest.mark.cudaq)]


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(7)
    return qdyn.attention.build(name, **options).double()  # type: ignore[arg-type]


def value(program: Program, executor: str) -> torch.Tensor:
    with torch.no_grad():
        return qdyn.run_circuit(program, backend=executor).value


@pytest.mark.parametrize(("kernel", "degree"), [("polynomial", 3), ("monomial", 2), ("softmax", 1)])
def test_overlap_attention_is_that_of_the_predictor(kernel: str, degree: int) -> None:
    """The same z as the model "qsa" computes, from states that go in as they are."""
    attention = build("overlap", dim=8, encoding="complex_amplitude", kernel=kernel, degree=degree)
    assert isinstance(attention, OverlapAttention)
    states = qdyn.haar_random_states(n_qubits=2, batch=10, seed=3).reshape(2, 5, 4)
    x = torch.cat([states.real, states.imag], dim=-1)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 1] = False
    output, weights = attention(x, x, x, mask)
    w, v = (one.matrices()[0] for one in (attention.score_circuits, attention.value_circuits))
    wanted = overlap_predictions(states, w, v, make_kernel(kernel, degree=degree, dimension=4), mask=mask)
    wanted = wanted / torch.linalg.vector_norm(wanted, dim=-1, keepdim=True)
    rows = mask
    torch.testing.assert_close(
        torch.complex(*output.chunk(2, dim=-1))[rows], wanted[rows], rtol=0, atol=1e-12
    )
    assert not weights[0, :, :, 1].any()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_overlap_scores_are_those_of_circuits(executor: str) -> None:
    attention = build("overlap", dim=8, encoding="complex_amplitude", kernel="monomial", degree=1)
    assert isinstance(attention, OverlapAttention)
    x = features(2, 3, 8)
    weights = attention(x, x, x)[1][:, 0, 2, 1]
    parts = [value(attention.circuit(x, x, 2, 1, part=part), executor) for part in ("real", "imaginary")]
    torch.testing.assert_close(torch.complex(*parts).abs(), weights.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_adapter_is_that_of_its_circuit(executor: str) -> None:
    attention = build("qasa", dim=6, heads=2)
    assert isinstance(attention, AdapterAttention)
    u = features(1, 2, 6)
    observables = (0, 7) if executor == "torch" else (7,)
    found = torch.stack(
        [value(attention.circuit(u, observable=one), executor) for one in observables], dim=-1
    )
    attention.up.weight.data = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(found, attention.features(u)[..., observables].detach(), rtol=0, atol=1e-9)


def test_values_or_output_go_through_the_adapter() -> None:
    """Without the circuit's way out it is plain attention, or nothing at all."""
    x = features(2, 4, 6)
    for place in ("output", "values"):
        attention = build("qasa", dim=6, heads=2, place=place)
        assert isinstance(attention, AdapterAttention)
        plain = build("softmax", dim=6, heads=2)
        torch.nn.Module.load_state_dict(
            plain, {name: attention.state_dict()[name] for name in plain.state_dict()}
        )
        torch.nn.init.zeros_(attention.up.weight)
        wanted = plain(x, x, x)[0] if place == "output" else torch.zeros(2, 4, 6).double()
        torch.testing.assert_close(attention(x, x, x)[0], wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_walks_are_doubly_stochastic_and_circuits(executor: str) -> None:
    attention = build("doubly_stochastic", dim=4, heads=2, causal=False, time=4.0)
    assert isinstance(attention, DoublyStochasticAttention)
    x = features(1, 5, 4)
    weights = attention(x, x, x)[1]
    one = torch.ones(1, 2, 5).double()
    torch.testing.assert_close(weights.sum(-1), one, rtol=0, atol=1e-13)
    torch.testing.assert_close(weights.sum(-2), one, rtol=0, atol=1e-13)
    assert (weights > 0.02).sum() > 30
    found = value(attention.circuit(x, x, 3, 1, head=1), executor)
    torch.testing.assert_close(found, weights[0, 1, 3, 1].detach(), rtol=0, atol=1e-9)
    # Parameters in single precision have a circuit, too.
    found = value(attention.float().circuit(x.float(), x.float(), 3, 1, head=1), executor)
    torch.testing.assert_close(found, weights[0, 1, 3, 1].detach(), rtol=0, atol=1e-5)


def test_a_walk_is_the_exponential_of_its_hopping_where_levels_are_degenerate_too() -> None:
    attention = build("doubly_stochastic", dim=4, causal=False, time=1.7)
    assert isinstance(attention, DoublyStochasticAttention)
    distinct = features(1, 5, 4)
    # Equal elements hop alike: three levels of four are the same.
    equal = distinct[:, :1].expand(1, 4, 4)
    for x in (distinct, equal):
        scores = attention.query(x) @ attention.key(x).mT / 2
        hopping = (scores + scores.mT) / 2
        expected = torch.linalg.matrix_exp(-1j * attention.time * hopping[:, None])
        torch.testing.assert_close(attention.unitaries(x, x), expected, rtol=0, atol=1e-13)

        def unitaries(x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(attention.unitaries(x, x))

        assert torch.autograd.gradcheck(unitaries, (x.clone().requires_grad_(),))


def test_walks_leave_masked_elements_alone() -> None:
    attention = build("doubly_stochastic", dim=4, causal=False)
    x, mask = features(1, 4, 4), torch.tensor([[True, True, False, True]])
    weights = attention(x, x, x, mask)[1][0, 0]
    seen = [0, 1, 3]
    torch.testing.assert_close(weights[seen][:, seen], attention(x[:, seen], x[:, seen], x[:, seen])[1][0, 0])
    torch.testing.assert_close(weights[2], torch.tensor([0.0, 0.0, 1.0, 0.0]).double())
    with pytest.raises(ArgumentError, match="only the identity is doubly stochastic"):
        qdyn.attention.build("doubly_stochastic", dim=4)


def golden_quixer() -> tuple[LCUAttention, torch.Tensor]:
    """Two elements whose components are the angles; element 1 sees them with weights 0.4i and 0.6."""
    attention = build("quixer", dim=12, degree=2, steps=2)
    assert isinstance(attention, LCUAttention)
    k = torch.arange(12, dtype=torch.float64)
    with torch.no_grad():
        attention.coefficients.copy_(torch.tensor([[[0.0, 0.4], [0.6, 0.0]]], dtype=torch.float64))
        attention.polynomial.copy_(torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64))
    return attention, torch.stack([0.1 * (k + 1), 0.3 - 0.05 * k])[None]


def test_mixing_is_the_published_one() -> None:
    """Golden values for circuit 14 on 3 qubits, a polynomial of degree 2, computed elsewhere."""
    attention, x = golden_quixer()
    allowed = torch.ones(1, 1, 2, 2, dtype=torch.bool).tril()
    states = attention.mixed(attention.unitaries(x), attention.combination(2, allowed))[0, 0, 1]
    length = torch.linalg.vector_norm(states)
    assert length.item() == pytest.approx(0.6586929712677456, abs=1e-14)
    wanted = [
        *(0.9082188260607832, 0.8938381216300181, 0.8712539843760512),
        *(0.18783569223453622, 0.22691199208761817, 0.3082683943082051),
        *(0.02420961082363737, 0.028131037057102876, -0.09929544216495485),
    ]
    np.testing.assert_allclose(expectations(states / length, attention.words).detach(), wanted, atol=1e-14)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_mixing_is_that_of_its_circuit(executor: str) -> None:
    """Two block encodings of the combination and one of the polynomial: 7 qubits."""
    attention, x = golden_quixer()
    norm = value(attention.circuit(x, 1), executor)
    assert norm.item() == pytest.approx(0.6586929712677456**2, abs=1e-9)
    read = value(attention.circuit(x, 1, observable=8), executor)
    assert (read / norm).item() == pytest.approx(-0.09929544216495485, abs=1e-8)


def test_windows_slide() -> None:
    """An element's output depends on those before it by their distance: shifted inputs, shifted outputs."""
    attention = build("quixer", dim=6, qubits=2, steps=6, degree=2)
    x = features(1, 6, 6)
    shifted = x.clone()
    shifted[:, 1:] = x[:, :-1]
    mask = torch.ones(1, 6, dtype=torch.bool)
    mask[:, 0] = False
    torch.testing.assert_close(
        attention(shifted, shifted, shifted, mask)[0][:, 1:], attention(x, x, x)[0][:, :-1]
    )
    with pytest.raises(ArgumentError, match="to 6 elements, but there are 7"):
        attention(*[features(1, 7, 6)] * 3)


@pytest.mark.parametrize(("layout", "size", "gates"), [("pyramid", 5, 10), ("butterfly", 4, 4), ("x", 6, 9)])
def test_rbs_circuits_are_orthogonal_and_their_compounds(layout: str, size: int, gates: int) -> None:
    """On one excitation W, on two its 2 x 2 minors where all gates are between neighbours."""
    torch.manual_seed(1)
    matrices = RBSMatrices(size, layout=layout).double()
    assert matrices.angles.shape == (1, gates)
    w = matrices().detach()[0]
    unitary = circuit_unitary(matrices.circuit("t"), {"t": matrices.angles.detach()[0]})
    one = [1 << (size - 1 - i) for i in range(size)]
    torch.testing.assert_close(unitary[one][:, one].real, w, rtol=0, atol=1e-14)
    pairs = list(combinations(range(size), 2))
    two = [one[i] | one[j] for i, j in pairs]
    minors = second_compound(w, pairs, pairs)
    if layout != "butterfly":
        torch.testing.assert_close(unitary[two][:, two].real, minors, rtol=0, atol=1e-14)
    assert layout != "butterfly" or (unitary[two][:, two].real - minors).abs().max() > 0.1
    torch.testing.assert_close(w @ w.mT, torch.eye(size).double(), rtol=0, atol=1e-14)
    assert torch.linalg.det(w).item() == pytest.approx(1.0)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_orthogonal_scores_are_those_of_circuits(executor: str) -> None:
    attention = build("orthogonal", dim=6, heads=2)
    assert isinstance(attention, OrthogonalAttention)
    x, other = features(2, 3, 6), features(2, 3, 6, seed=1)
    found = value(attention.circuit(x, other, 2, 1, head=1), executor)
    wanted = attention.probabilities(x, other)[:, 1, 2, 1]
    torch.testing.assert_close(found, wanted.detach(), rtol=0, atol=1e-9)
    # V keeps lengths: an element that sees itself alone only turns.
    output = attention(x, x, x, torch.eye(3, dtype=torch.bool))[0]
    lengths = [torch.linalg.vector_norm(y.unflatten(-1, (2, 3)), dim=-1) for y in (output, x)]
    torch.testing.assert_close(*lengths)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_compound_output_is_that_of_its_circuit(executor: str) -> None:
    attention = build("compound", dim=4, heads=2, steps=3, causal=False, initial_angle=2.0)
    assert isinstance(attention, CompoundAttention)
    x = features(1, 3, 4)
    output = attention(x, x, x)[0].unflatten(-1, (2, 2))[0, :, 1]
    norm = x.unflatten(-1, (2, 2))[0, :, 1].square().sum()
    for row, column in ((0, 0), (2, 1)) if executor == "torch" else ((2, 1),):
        found = value(attention.circuit(x, row, column, head=1), executor)
        torch.testing.assert_close(
            found[0], (output[row, column].square() / norm).detach(), rtol=0, atol=1e-9
        )


def test_rbs_refusals() -> None:
    for options, message in (
        ({"dim": 6, "layout": "butterfly"}, "needs a power of 2"),
        ({"dim": 5, "layout": "x"}, "needs an even size"),
        ({"dim": 4, "heads": 4}, "leave 2 components each"),
    ):
        with pytest.raises(ArgumentError, match=message):
            qdyn.attention.build("orthogonal", **options)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="rows to 2 elements, but there are 3"):
        build("compound", dim=4, steps=2)(*[features(1, 3, 4)] * 3)
