"""QASA's value circuit: golden numbers, the gates one by one, CUDA-Q, and what no output depends on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qdyn
from qdyn.attention.qasa.adapter import (
    ENCODINGS,
    INERT_WEIGHTS,
    EncodingName,
    prune_weights,
    qasa_circuit,
    restore_weights,
)
from qdyn.errors import ArgumentError


def drawn(seed: int, *batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    inputs = random.uniform(-4, 4, (*batch, 8))
    return torch.from_numpy(inputs), torch.from_numpy(random.uniform(-4, 4, (4, 9)))


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared / "golden" / "qasa.json").read_text())["pqc"]
    return content


def golden_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    weights = 0.05 * torch.arange(1, 37, dtype=torch.float64).reshape(4, 9)
    return 0.1 * torch.arange(1, 9, dtype=torch.float64), weights


def test_values_are_the_golden_ones(golden: dict[str, Any]) -> None:
    inputs, weights = golden_inputs()
    for shift, key in ((0, "qasa_pqc_x"), (20, "qasa_pqc_x_plus_20")):
        expected = torch.tensor(golden[key], dtype=torch.float64)
        found = qdyn.qasa_expectations(inputs + shift, weights)
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_gradients_are_the_golden_ones(golden: dict[str, Any]) -> None:
    inputs, weights = (value.requires_grad_() for value in golden_inputs())
    found = torch.autograd.grad(qdyn.qasa_expectations(inputs, weights).sum(), (inputs, weights))
    for gradient, name in zip(found, ("x", "w"), strict=True):
        expected = torch.tensor(golden[f"qasa_pqc_grad_sum_wrt_{name}"], dtype=torch.float64)
        torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=0)
    assert tuple(map(tuple, golden["dead_weights"])) == INERT_WEIGHTS


@given(seed=st.integers(0, 2**32), pruned=st.booleans())
@settings(max_examples=6)
def test_the_closed_form_is_the_circuit_gate_by_gate(seed: int, pruned: bool) -> None:
    inputs, weights = drawn(seed, 2)
    found = qdyn.qasa_expectations(inputs, weights)
    for output in (0, seed % 6 + 1, 7):
        program = qasa_circuit(inputs, weights, output=output, pruned=pruned)
        torch.testing.assert_close(qdyn.run_circuit(program).value, found[:, output], atol=1e-13, rtol=0)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_its_circuit_and_of_its_degree(encoding: EncodingName) -> None:
    """Gate by gate; and an output holds the frequencies 0, 1 and for the published encoding 2 of an input."""
    inputs, weights = drawn(31, 20)
    found = qdyn.qasa_expectations(inputs, weights, encoding=encoding)
    program = qasa_circuit(inputs[:2], weights, output=7, encoding=encoding)
    torch.testing.assert_close(qdyn.run_circuit(program).value, found[:2, 7], atol=1e-13, rtol=0)
    circle = inputs[:1].repeat(16, 1)
    circle[:, 3] = torch.arange(16, dtype=torch.float64) * (torch.pi / 8)
    amplitudes = torch.fft.rfft(qdyn.qasa_expectations(circle, weights, encoding=encoding), dim=0).abs()
    present = (amplitudes.amax(dim=1) > 1e-12).nonzero().flatten().tolist()
    assert present == ([0, 1, 2] if encoding == "rx_rz" else [0, 1])


def test_the_circuit_has_the_published_gates() -> None:
    gates = qasa_circuit(*drawn(0)).circuit.gates
    assert sum(gate.name == "x" for gate in gates) == 27
    assert len(gates) == 83 + 27
    pruned = qasa_circuit(*drawn(0), pruned=True).circuit.gates
    assert sum(gate.name == "x" for gate in pruned) == 26


@pytest.mark.cudaq
@pytest.mark.parametrize("pruned", [False, True])
def test_cudaq_finds_the_same_numbers(pruned: bool) -> None:
    pytest.importorskip("cudaq")
    inputs, weights = drawn(3)
    found = qdyn.qasa_expectations(inputs, weights)
    for output in (0, 3, 7):
        program = qasa_circuit(inputs, weights, output=output, pruned=pruned)
        assert abs(qdyn.run_circuit(program, backend="cudaq").value - found[output]) < 1e-10


def test_without_weights_the_outputs_are_products_of_cosines() -> None:
    """CNOTs turn Z into products of Z, and <Z> of RZ(t) RX(t) |0> is cos t.

    Three passes of x_i -> x_0 + … + x_i, x_0 -> x_0 + x_7 over the integers mod 2 say which.
    """
    inputs, _ = drawn(5, 4)
    found = qdyn.qasa_expectations(inputs, torch.zeros(4, 9, dtype=torch.float64))
    matrix = np.eye(8, dtype=int)
    for _, i in itertools.product(range(3), range(8)):
        matrix[(i + 1) % 8] ^= matrix[i]
    for output, row in enumerate(matrix):
        kept = inputs[:, torch.from_numpy(row).bool()].cos().prod(dim=-1)
        torch.testing.assert_close(found[:, output], kept, atol=1e-14, rtol=0)


def test_inert_weights_change_nothing_and_every_other_one_does() -> None:
    inputs, weights = drawn(7, 3)
    weights.requires_grad_()
    outputs = qdyn.qasa_expectations(inputs, weights)
    jacobian = torch.stack(
        [torch.autograd.grad(one, weights, retain_graph=True)[0] for one in outputs.reshape(-1)]
    )
    largest = jacobian.abs().amax(dim=0)
    inert = [tuple(place) for place in (largest == 0).nonzero().tolist()]
    assert tuple(inert) == INERT_WEIGHTS
    assert float(largest[largest > 0].min()) > 1e-3
    # <Z_0> alone sees 25 of them.
    seen = jacobian[[0, 8, 16]].abs().amax(dim=0) > 1e-14
    assert int(seen.sum()) == 25


def test_the_33_weights_give_the_same_outputs_and_gradients() -> None:
    inputs, weights = drawn(11, 5)
    pruned = prune_weights(weights).requires_grad_()
    weights.requires_grad_()
    outputs = [qdyn.qasa_expectations(inputs, one) for one in (weights, pruned)]
    assert torch.equal(*outputs)
    full, short = (
        torch.autograd.grad(o.sum(), w)[0] for o, w in zip(outputs, (weights, pruned), strict=True)
    )
    torch.testing.assert_close(prune_weights(full), short, atol=1e-15, rtol=0)
    assert prune_weights(restore_weights(short)).equal(short)


def test_the_last_rz_of_qubit_0_is_not_inert() -> None:
    """It stands before the CNOT from 7 to 0 and RY on 7, so that <Z_7> depends on it."""
    program = qasa_circuit(*drawn(13), output=7)
    gates = program.circuit.gates
    (place,) = [
        k for k, gate in enumerate(gates)
        if gate.name == "rz" and gate.target == 0 and gate.angles[0].terms == (("weights", 27, 1.0),)
    ]  # fmt: skip
    without = qdyn.circuits.executors.program.Program(
        program.circuit.like(gates[:place] + gates[place + 1 :]), program.values, program.observable
    )
    assert float((without.expectation() - program.expectation()).abs()) > 1e-3


def test_gradients_are_those_of_finite_differences() -> None:
    inputs, weights = drawn(17, 1)
    assert torch.autograd.gradcheck(
        lambda x, w: qdyn.qasa_expectations(x, w)[..., [0, 7]],
        (inputs.requires_grad_(), weights.requires_grad_()),
        fast_mode=True,
    )


def test_batches_models_and_precisions_agree() -> None:
    inputs, weights = drawn(19, 3, 2)
    found = qdyn.qasa_expectations(inputs, weights)
    assert found.shape == (3, 2, 8)
    torch.testing.assert_close(found[1, 1], qdyn.qasa_expectations(inputs[1, 1], weights), atol=1e-15, rtol=0)
    models = torch.stack([weights, -weights, weights + 1])
    stacked = torch.vmap(qdyn.qasa_expectations)(inputs, models)
    for index in range(3):
        alone = qdyn.qasa_expectations(inputs[index], models[index])
        torch.testing.assert_close(stacked[index], alone, atol=1e-14, rtol=0)
    single = qdyn.qasa_expectations(inputs.float(), weights.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, atol=3e-6, rtol=0)
    assert qdyn.qasa_expectations(inputs[:0], weights).shape == (0, 2, 8)


def closed_form(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Plain PyTorch, which few inputs at a time are computed by."""
    return torch.cat([qdyn.qasa_expectations(one, weights) for one in torch.split(inputs, 5)])


def test_the_kernels_are_the_closed_form() -> None:
    """Values, gradients and second derivatives of more inputs than lanes, and not a multiple of them."""
    inputs, weights = (value.requires_grad_() for value in drawn(23, 37))
    arriving = drawn(24, 37)[0]
    found = []
    for form in (qdyn.qasa_expectations, closed_form):
        values = form(inputs, weights)
        first = torch.autograd.grad((values * arriving).sum(), (inputs, weights), create_graph=True)
        second = torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (inputs, weights))
        found.append((values, *first, *second))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-11, rtol=1e-11)
    assert all(float(found[0][2].detach()[place]) == 0 for place in INERT_WEIGHTS)


def test_the_kernels_work_under_the_transformations_of_functions() -> None:
    inputs, weights = drawn(29, 3, 20)
    models = torch.stack([weights, -weights, weights + 1])
    expected = torch.stack([closed_form(one, w) for one, w in zip(inputs, models, strict=True)])
    for found in (
        qdyn.qasa_expectations(inputs, models),
        torch.vmap(qdyn.qasa_expectations)(inputs, models),
        qdyn.qasa_expectations(inputs, prune_weights(models)),
    ):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)

    def total(form: Any) -> Any:
        return torch.func.grad(lambda x, w: form(x, w).square().sum(), argnums=(0, 1))

    for mine, theirs in zip(
        torch.vmap(total(qdyn.qasa_expectations))(inputs, models),
        zip(*[total(closed_form)(one, w) for one, w in zip(inputs, models, strict=True)], strict=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, torch.stack(theirs), atol=1e-12, rtol=0)
    single = qdyn.qasa_expectations(inputs.float(), models.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=3e-6, rtol=0)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="`inputs` must be a tensor, but is of type ndarray"):
        qdyn.qasa_expectations(np.zeros(8), torch.zeros(4, 9))  # type: ignore[arg-type]
    inputs, weights = drawn(0)
    with pytest.raises(ArgumentError, match=r"`inputs` must have shape \(\.\.\., 8\), but has shape \(7,\)"):
        qdyn.qasa_expectations(inputs[:7], weights)
    with pytest.raises(ArgumentError, match=r"`weights` must have shape \(4, 9\) or \(33,\)"):
        qdyn.qasa_expectations(inputs, weights[:3])
    with pytest.raises(
        ArgumentError, match=r"is for inputs of shape \(3,\) \+ \(\.\.\., 8\), but `inputs` has shape"
    ):
        qdyn.qasa_expectations(inputs, weights.expand(3, 4, 9))
    with pytest.raises(ArgumentError, match=r"`weights` must be real floating-point"):
        qdyn.qasa_expectations(inputs, weights.long())
    with pytest.raises(ArgumentError, match=r"`encoding` is 'rxz', which is unknown|must be one of"):
        qdyn.qasa_expectations(inputs, weights, encoding="rxz")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"`output` must be an integer in \[0, 7\], but is 8"):
        qasa_circuit(inputs, weights, output=8)
