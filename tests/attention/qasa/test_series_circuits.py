"""Circuits of QLSTM and QnnFormer: golden numbers, the gates one by one, CUDA-Q, batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import qdyn
from qdyn.attention.qasa import lstm_circuit
from qdyn.attention.qasa.lstm_circuit import qlstm_circuit, qlstm_expectations
from qdyn.attention.qasa.qnnformer_circuit import qnnformer_circuit, qnnformer_expectations
from qdyn.errors import ArgumentError


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared / "golden" / "qasa.json").read_text())["pqc"]
    return content


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-4, 4, shape))


def doubles(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_values_are_the_golden_ones(golden: dict[str, Any]) -> None:
    lstm, qnn = golden["qlstm_vqc_golden"], golden["qnnformer_vqc_golden"]
    found = qlstm_expectations(doubles(lstm["x"]), doubles(lstm["w"]))
    torch.testing.assert_close(found, doubles(lstm["out"]), atol=1e-10, rtol=0)
    weights = torch.cat([doubles(qnn[name]).flatten() for name in "wegb"])
    found = qnnformer_expectations(doubles(qnn["x"]), weights)
    torch.testing.assert_close(found, doubles(qnn["out"]), atol=1e-10, rtol=0)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=4)
def test_the_fast_forms_are_the_circuits_gate_by_gate(seed: int) -> None:
    inputs, weights = drawn(seed, 2, 8), drawn(seed + 1, 4, 8)
    output = seed % 8
    found = qlstm_expectations(inputs, weights)[:, output]
    value = qdyn.run_circuit(qlstm_circuit(inputs, weights, output=output)).value
    torch.testing.assert_close(value, found, atol=1e-13, rtol=0)
    inputs, weights = drawn(seed, 2, 4), drawn(seed + 1, 30)
    for output in (seed % 4, seed % 4 + 4, seed % 4 + 8):
        found = qnnformer_expectations(inputs, weights)[:, output]
        value = qdyn.run_circuit(qnnformer_circuit(inputs, weights, output=output)).value
        torch.testing.assert_close(value, found, atol=1e-13, rtol=0)


@pytest.mark.cudaq
def test_cudaq_finds_the_same_numbers() -> None:
    pytest.importorskip("cudaq")
    inputs, weights = drawn(3, 8), drawn(4, 4, 8)
    found = qlstm_expectations(inputs, weights)
    for output in (0, 7):
        program = qlstm_circuit(inputs, weights, output=output)
        assert abs(qdyn.run_circuit(program, backend="cudaq").value - found[output]) < 1e-10
    inputs, weights = drawn(3, 4), drawn(4, 30)
    found = qnnformer_expectations(inputs, weights)
    for output in (1, 6, 11):
        program = qnnformer_circuit(inputs, weights, output=output)
        assert abs(qdyn.run_circuit(program, backend="cudaq").value - found[output]) < 1e-10


def test_the_circuits_have_the_published_gates() -> None:
    gates = qlstm_circuit(torch.zeros(8), torch.zeros(4, 8)).circuit.gates
    assert sum(gate.name == "x" for gate in gates) == 28
    gates = qnnformer_circuit(torch.zeros(4), torch.zeros(30)).circuit.gates
    assert sum(gate.name == "rx" and len(gate.controls) == 1 for gate in gates) == 12


def test_bloch_vectors_lie_in_the_unit_ball() -> None:
    """The three readings of a qubit are its Bloch vector, whose length is at most 1."""
    found = qnnformer_expectations(drawn(1, 20, 4), drawn(2, 30)).reshape(20, 3, 4)
    length = torch.linalg.vector_norm(found, dim=-2)
    assert float(length.max()) <= 1 + 1e-12
    assert float(length.min()) < 0.99  # they are entangled


@pytest.mark.parametrize(("n", "shape"), [(8, (4, 8)), (4, (30,))])
def test_batches_gates_and_models_agree(n: int, shape: tuple[int, ...]) -> None:
    expectations = {8: qlstm_expectations, 4: qnnformer_expectations}[n]
    inputs, weights = drawn(5, 3, 2, n), drawn(6, 3, 5, *shape)
    stacked = torch.vmap(expectations)(inputs, weights)
    for model, gate in ((0, 1), (2, 4)):
        alone = expectations(inputs[model, 1], weights[model, gate])
        torch.testing.assert_close(stacked[model, gate, 1], alone, atol=1e-14, rtol=0)
    single = expectations(inputs[0].float(), weights[0].float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), stacked[0], atol=3e-6, rtol=0)


@pytest.mark.parametrize(("n", "shape"), [(8, (4, 8)), (4, (30,))])
def test_gradients_are_those_of_finite_differences(n: int, shape: tuple[int, ...]) -> None:
    expectations = {8: qlstm_expectations, 4: qnnformer_expectations}[n]
    arguments = (drawn(7, 2, n).requires_grad_(), drawn(8, *shape).requires_grad_())
    assert torch.autograd.gradcheck(expectations, arguments, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_kernels_of_qlstm_are_its_closed_form(dtype: torch.dtype) -> None:
    """Values, gradients and second derivatives of more circuits than lanes, and not a multiple of them."""
    inputs, weights = (drawn(9, 3, 7, 8).to(dtype), drawn(10, 3, 2, 4, 8).to(dtype))
    found = []
    for form in (qlstm_expectations, lstm_circuit._closed_form):
        given = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
        values = torch.vmap(form)(*given)
        arriving = drawn(11, *values.shape).to(dtype)
        first = torch.autograd.grad((values * arriving).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(one.square().sum() for one in first), given)
        found.append((values, *first, *second))
    tolerance = {torch.float64: 1e-13, torch.float32: 2e-4}[dtype]
    for mine, theirs in zip(*found, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs, atol=tolerance * float(theirs.detach().abs().max()), rtol=0)


def test_many_circuits_of_qlstm_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare the closed form with itself."""
    monkeypatch.setattr(lstm_circuit, "_matrices", None)
    assert qlstm_expectations(drawn(12, 4, 8), drawn(13, 4, 4, 8)).shape == (4, 4, 8)


@pytest.mark.usefixtures("as_user")
def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"`inputs` must have shape \(\.\.\., 8\), but has shape \(7,\)"):
        qlstm_expectations(torch.zeros(7), torch.zeros(4, 8))
    with pytest.raises(ArgumentError, match=r"`weights` must end with the shape \(30,\)"):
        qnnformer_expectations(torch.zeros(4), torch.zeros(29))
    with pytest.raises(ArgumentError, match=r"`output` must be an integer in \[0, 11\], but is 12"):
        qnnformer_circuit(torch.zeros(4), torch.zeros(30), output=12)
