"""Mechanisms that compare states: golden values, and the circuit says what the closed form says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import qdyn
from qdyn.attention.hadamard import exact_overlaps
from qdyn.attention.mechanisms.fidelity_kernel import fidelity_kernel
from qdyn.attention.mechanisms.logic_similarity import (
    bit_probabilities,
    logic_row,
    logic_scores,
    walsh_hadamard,
)
from qdyn.attention.mechanisms.mixed_state import mixed_overlaps
from qdyn.attention.paired_states import PairAttention, overlaps
from qdyn.attention.trained_circuits import expectations
from qdyn.circuits.executors.program import Program
from qdyn.errors import ConfigError, QdynError

EXECUTORS = ["torch", pytest.param("cudaq", marks=pytest.mark.cudaq)]


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention_of(
    name: str, *, dim: int = 4, heads: int = 1, causal: bool = True, **options: object
) -> PairAttention:
    torch.manual_seed(7)
    made = qdyn.attention.build(name, dim=dim, heads=heads, causal=causal, initial_angle=2.0, **options)
    assert isinstance(made, PairAttention)
    return made.double()


def states_of(attention: PairAttention, x: torch.Tensor, role: str) -> torch.Tensor:
    return getattr(attention, f"{role}_circuits")(attention.states(x))


def value(program: Program, executor: str) -> torch.Tensor:
    with torch.no_grad():
        return qdyn.run_circuit(program, backend=executor).value


def test_projected_attention_is_the_published_one() -> None:
    """Golden values of arXiv:2205.05625's layer on 4 qubits, computed gate by gate elsewhere."""
    attention = qdyn.attention.build("gaussian_projected", dim=12, causal=False, qubits=4).double()
    assert isinstance(attention, PairAttention)
    y = 0.1 * (torch.arange(3).double()[:, None] + 1) + 0.05 * torch.arange(12).double()
    with torch.no_grad():
        for place, role in enumerate(("query", "key", "value")):
            theta = 0.2 * (place + 1) + 0.03 * torch.arange(12).double()
            getattr(attention, f"{role}_circuits").angles.copy_(theta.reshape(1, 3, 4))
    output, weights = attention(y[None], y[None], y[None])
    z_q, z_k = (
        expectations(states_of(attention, y[None], role), attention.projections)[0, 0, :, 0]
        for role in ("query", "key")
    )
    assert z_q.tolist() == pytest.approx([-0.4993828269885412, -0.5384110576938946, -0.562670953415937])
    assert z_k.tolist() == pytest.approx([-0.6415501324822257, -0.6231776704426266, -0.5734309859085945])
    golden = [
        [0.33115480410612613, 0.33277691203735055, 0.3360682838565232],
        [0.33190459966794195, 0.33305241078375586, 0.3350429895483022],
        [0.33237068026601585, 0.33322292651601687, 0.33440639321796733],
    ]
    np.testing.assert_allclose(weights[0, 0].detach(), golden, rtol=0, atol=1e-14)
    wanted = [
        *(-0.4033478839113137, 0.7551832541601952, 0.056363116679584074, 0.784767231248396),
        *(-0.2807009905347474, 0.678901608891792, -0.2759314510930627, 0.9495649133495401),
        *(0.5116734574779738, 0.18765323665238626, 0.9761309110267691, 0.35918391311895165),
    ]
    np.testing.assert_allclose((y + output[0])[0].detach(), wanted, rtol=0, atol=1e-14)


def test_projected_weights_differ_by_the_stated_bound_at_most() -> None:
    """exp(4 m beta): reached where one element measures +1 and another -1."""
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.complex128).reshape(1, 1, 2, 2)
    attention = attention_of("gaussian_projected", qubits=1, causal=False, beta=1.5)
    allowed = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    weights = attention.pair_weights(z, z, allowed, None)[0, 0]
    assert (weights[0, 0] / weights[0, 1]).item() == pytest.approx(np.exp(4 * 1.5))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_closed_forms_are_those_of_circuits(executor: str) -> None:
    positions = "rotary" if executor == "torch" else "register"
    x, places = features(2, 3, 4), ((0, 0), (2, 1)) if executor == "torch" else ((2, 1),)
    options = {"qubits": 2, "positions": positions, "position_qubits": 1, "heads": 2}
    for name in ("fidelity", "hadamard", "mixed_state"):
        attention = attention_of(name, **options)  # type: ignore[arg-type]
        q, k = (states_of(attention, x, role)[:, 1] for role in ("query", "key"))
        closed = {
            "fidelity": fidelity_kernel(q, k),
            "hadamard": overlaps(q, k).real,
            "mixed_state": mixed_overlaps(q, k, traced=1),
        }[name]
        for row, column in places:
            found = value(attention.circuit(x, x, row, column, head=1), executor)
            torch.testing.assert_close(found, closed[:, row, column].detach(), rtol=0, atol=1e-9)
        if name == "hadamard":
            found = value(attention.circuit(x, x, 2, 1, head=1, part="imaginary"), executor)  # type: ignore[call-arg]
            torch.testing.assert_close(found, overlaps(q, k).imag[:, 2, 1].detach(), rtol=0, atol=1e-9)
    for name in ("gaussian_projected", "measured"):
        attention = attention_of(name, **options)  # type: ignore[arg-type]
        for role, words in (
            ("query", attention.projections),
            ("key", attention.projections),
            ("value", attention.words),
        ):
            closed_value = expectations(states_of(attention, x, role), words)[:, 1, 1, -1]
            program = attention.circuit(x, x, 1, 1, head=1, role=role, observable=len(words) - 1)  # type: ignore[call-arg]
            torch.testing.assert_close(value(program, executor), closed_value.detach(), rtol=0, atol=1e-9)


def test_hadamard_overlaps_are_those_by_tables() -> None:
    """Encoding "real" with positions of their own register is the model of arXiv:2502.19214."""
    attention = attention_of(
        "hadamard", dim=2, qubits=2, encoding="real", positions="register", steps=3, ansatz="real"
    )
    x = features(2, 3, 2)
    found = overlaps(states_of(attention, x, "query"), states_of(attention, x, "key"))[:, 0]
    assert attention.states.position_angles is not None
    registers = [x[:, :, None, :], attention.states.position_angles[:, None, :].expand(2, 3, 1, 2)]
    wanted = exact_overlaps(registers, attention.query_circuits.angles[0], attention.key_circuits.angles[0])
    torch.testing.assert_close(found.real, wanted, rtol=0, atol=1e-13)
    _, weights = attention(x, x, x)
    causal = torch.ones(3, 3, dtype=torch.bool).triu(1)
    scores = (2**0.5 * wanted).masked_fill(causal, -torch.inf)
    torch.testing.assert_close(weights[:, 0], scores.softmax(-1), rtol=0, atol=1e-13)


def test_complex_overlaps_combine_value_states() -> None:
    """Against the definition, one row at a time: sum_j <k_j|q_i> U_v|x_j>, normalised, measured."""
    attention = attention_of("hadamard", qubits=2, part="complex", values="measured", dim=6)
    x = features(1, 4, 6)
    output, shares = attention(x, x, x)
    q, k, v = (states_of(attention, x, role)[0, 0] for role in ("query", "key", "value"))
    for row in range(4):
        combined = sum((k[j].conj() @ q[row]) * v[j] for j in range(row + 1))
        assert isinstance(combined, torch.Tensor)
        wanted = expectations(combined / torch.linalg.vector_norm(combined), attention.words)
        torch.testing.assert_close(attention.output(wanted), output[0, row], rtol=0, atol=1e-13)
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 1, 4).double())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_gate_of_a_kernel_is_that_of_its_circuit(executor: str) -> None:
    """One key only, so that the output of the layer is E_ij itself."""
    attention = attention_of("qksan", qubits=2, dim=6)
    x = features(2, 3, 6)
    only = torch.zeros(3, 3, dtype=torch.bool)
    only[2, 1] = True
    output, weights = attention(x, x, x, only)
    for observable in (0, 3):
        found = value(attention.circuit(x, x, 2, 1, observable=observable), executor)  # type: ignore[call-arg]
        torch.testing.assert_close(found, output[:, 2, observable].detach(), rtol=0, atol=1e-9)
    kernel = fidelity_kernel(states_of(attention, x, "query"), states_of(attention, x, "key"))
    torch.testing.assert_close(weights[..., 2, 1], kernel[..., 2, 1])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_row_of_logic_is_that_of_its_circuit(executor: str) -> None:
    """Three elements on two bits each: 18 qubits and 15 Toffoli gates; all outputs share the row's query."""
    attention = attention_of("logic", qubits=2, dim=2)
    steps = 3 if executor == "torch" else 2
    x = features(1, steps, 2)
    output, _ = attention(x, x, x)
    for observable in (0, 1):
        found = value(attention.circuit(x, x, steps - 1, steps - 1, observable=observable), executor)  # type: ignore[call-arg]
        torch.testing.assert_close(found, output[:, -1, observable].detach(), rtol=0, atol=1e-9)


def test_logic_of_certain_bits_is_boolean() -> None:
    """Every word of 3 bits as query, key and value: scores and outputs as integers say. And a golden row."""
    basis = torch.eye(8, dtype=torch.float64)
    words = np.arange(8)
    scores = logic_scores(basis, basis)
    wanted = np.bitwise_count(words[:, None] & words) % 2
    np.testing.assert_allclose(scores, wanted, rtol=0, atol=1e-15)
    for key, other in product((3, 5), (6, 7)):
        values = bit_probabilities(basis[[other, key]])
        parity = logic_row(basis, basis[[key, other]], values, torch.ones(8, 2).double())
        for query in words:
            bits = [((int(query) & a).bit_count() % 2) * b for a, b in ((key, other), (other, key))]
            out = bits[0] ^ bits[1]
            np.testing.assert_array_equal(parity[query], [1 - 2 * (out >> t & 1) for t in (2, 1, 0)])
    # 1101 and 1011: AND is 1001, whose bits add up to an even number.
    basis = torch.eye(16, dtype=torch.float64)
    assert logic_scores(basis[[0b1101]], basis[[0b1011]]).item() == 0.0


def test_logic_of_products_factorises() -> None:
    """E[(-1)^score] of independent bits is the product of 1 - 2 q_t k_t."""
    q, k = torch.rand(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    joint = [
        torch.stack(
            [
                torch.where(torch.tensor([b >> t & 1 for t in (2, 1, 0)]) > 0, p, 1 - p).prod()
                for b in range(8)
            ]
        )
        for p in (q, k)
    ]
    score = logic_scores(joint[0][None], joint[1][None]).item()
    assert 1 - 2 * score == pytest.approx((1 - 2 * q * k).prod().item(), abs=1e-15)
    from scipy.linalg import hadamard

    np.testing.assert_allclose(walsh_hadamard(joint[0]), hadamard(8) @ joint[0].numpy(), rtol=0, atol=1e-15)


def test_logic_sees_no_phases() -> None:
    attention = attention_of("logic", qubits=3, dim=3)
    x = features(1, 4, 3)
    plain = attention(x, x, x)[0]
    phases = torch.polar(torch.ones(8).double(), features(8))
    for circuits in (attention.query_circuits, attention.key_circuits, attention.value_circuits):
        assert circuits is not None
        before = circuits.matrices().detach()
        circuits.matrices = lambda before=before: torch.diag(phases) @ before  # type: ignore[method-assign]
    torch.testing.assert_close(attention(x, x, x)[0], plain, rtol=0, atol=1e-13)


def test_mixed_overlaps_are_traces_of_density_matrices() -> None:
    import qutip

    states = qdyn.haar_random_states(n_qubits=3, batch=2, seed=5)
    kept = [qutip.Qobj(one.numpy(), dims=[[2, 2, 2], [1, 1, 1]]).ptrace([0, 1]) for one in states]
    wanted = [[(a * b).tr().real for b in kept] for a in kept]
    np.testing.assert_allclose(mixed_overlaps(states, states, traced=1), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hadamard", {"part": "complex"}, "must be 'measured' for the part 'complex'"),
        ("qksan", {"values": "linear"}, "must be 'measured'"),
        ("logic", {"observables": 3}, "one bit a qubit"),
        ("mixed_state", {"qubits": 2, "traced": 2}, "must be less than the 2 qubits"),
        ("measured", {"qubits": 1, "projected": 4}, "at most 3"),
        ("fidelity", {"normalisation": "sums"}, "did you mean 'sum'"),
        ("fidelity", {"heads": 3}, "must divide dim=4"),
        ("fidelity", {"observables": 3}, "needs values 'measured'"),
        ("fidelity", {"steps": 3, "positions": "rotary"}, "needs positions 'entangled' or 'register'"),
    ],
)
def test_refusals(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises((ConfigError, QdynError), match=message) as refusal:
        qdyn.attention.build(name, dim=4, **options)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
