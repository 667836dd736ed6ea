"""Quenches as drives in steps: products of matrix exponentials, at whatever times they are asked for."""

from __future__ import annotations

import itertools

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn import DrivenHamiltonian, SampledDrive, TransverseFieldIsing, evolve, product_state
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian

N = 3
START = product_state("0+1")


def quench(times: list[float], values: list[float], **couplings: object) -> DrivenHamiltonian:
    static = TransverseFieldIsing(n_sites=N, field=0.4)
    given = {"coupling": 0.3, "field": 1.0} | couplings
    return DrivenHamiltonian(
        static, [(SampledDrive(times, values, kind="steps"), TransverseFieldIsing(n_sites=N, **given))]
    )


def propagated(hamiltonian: DrivenHamiltonian, state: Tensor, time: float, edges: list[float]) -> Tensor:
    """The product of the exponentials of all pieces between 0 and ``time``."""
    inner = sorted((edge for edge in edges if 0 < edge / time < 1), key=abs) if time else []
    stops = [0.0, *inner, time]
    for start, end in itertools.pairwise(stops):
        matrix = hamiltonian.at((start + end) / 2).to_dense().numpy()
        state = torch.from_numpy(scipy.linalg.expm(-1j * (end - start) * matrix) @ state.numpy())
    return state


@given(
    times=st.lists(st.integers(-12, 12), min_size=1, max_size=6, unique=True).map(sorted),
    edges=st.lists(st.integers(-11, 11), min_size=0, max_size=4, unique=True).map(sorted),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None)
def test_states_are_products_of_exponentials(times: list[int], edges: list[int], seed: int) -> None:
    """On both sides of 0, at steps and between them, with 0 among the times or not."""
    values = torch.randn(len(edges) + 1, generator=torch.Generator().manual_seed(seed)).tolist()
    where = [-20.0, *(edge / 4 for edge in edges)]
    hamiltonian = quench(where, values)
    asked = [time / 4 for time in times]
    found = evolve(hamiltonian, START, asked, method="piecewise", observables=["magnetisation_x", "energy"])
    expected = torch.stack([propagated(hamiltonian, START, time, where) for time in asked])
    torch.testing.assert_close(found.states, expected, atol=1e-11, rtol=0)
    witness = evolve(hamiltonian, START, asked, method="magnus", observables=["magnetisation_x", "energy"])
    for name, values_found in found.expectations.items():
        torch.testing.assert_close(values_found, witness.expectations[name], atol=1e-7, rtol=0)


def test_batches_of_hamiltonians_and_states() -> None:
    fields = torch.tensor([0.2, 1.0, 2.5], dtype=torch.float64)
    hamiltonian = quench([-5.0, 1.0, 2.0], [0.0, 1.0, -0.5], field=fields)
    states = torch.stack([product_state(name) for name in ("000", "+-0", "1+1")])
    times = [-1.0, 0.5, 1.5, 3.0]
    found = evolve(hamiltonian, states, times)
    assert found.method == "piecewise"
    for index in range(3):
        alone = hamiltonian.member(index)
        for place, time in enumerate(times):
            expected = propagated(alone, states[index], time, [1.0, 2.0])
            torch.testing.assert_close(found.states[index, place], expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_last_state_alone(dtype: torch.dtype) -> None:
    hamiltonian = quench([0.0, 1.0, 1.5], [0.0, 1.0, 0.2])
    found = evolve(hamiltonian, START, [0.5, 2.0], store="final", dtype=dtype, observables=["energy"])
    assert found.states is None
    assert found.method == "piecewise"
    tolerance = {torch.complex64: 1e-6, torch.complex128: 1e-12}[dtype]
    expected = propagated(hamiltonian, START, 2.0, [1.0, 1.5]).to(dtype)
    torch.testing.assert_close(found.last_state, expected, atol=tolerance, rtol=0)
    assert found.expectations["energy"].shape == (2,)


def test_pieces_that_do_not_differ_are_one() -> None:
    hamiltonian = quench([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 0.5, 0.5])
    found = evolve(hamiltonian, START, [4.0], method="piecewise")
    assert found.details["pieces"] == 2.0


def test_nothing_moves_without_a_hamiltonian() -> None:
    static = TransverseFieldIsing(n_sites=N, coupling=0.0, field=1.0)
    drive = SampledDrive([0.0, 1.0], [0.0, -1.0], kind="steps")
    found = evolve(DrivenHamiltonian(static, [(drive, static)]), START, [1.0, 5.0], method="piecewise")
    torch.testing.assert_close(found.states[0], found.states[1], atol=1e-14, rtol=0)


def test_the_error_that_is_asked_for_is_kept() -> None:
    where = [0.1 * step for step in range(40)]
    values = [float(step % 2) for step in range(40)]
    hamiltonian = quench(where, values)
    exact = propagated(hamiltonian, START, 4.0, where)
    for error in (1e-4, 1e-9):
        found = evolve(hamiltonian, START, [4.0], method="piecewise", error=error)
        assert float((found.states[0] - exact).abs().max()) <= error
        assert found.details["estimated_error"] <= error


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    "hamiltonian",
    [
        TransverseFieldIsing(n_sites=N),
        DrivenHamiltonian(
            TransverseFieldIsing(n_sites=N), [(([0.0, 9.0], [0.0, 1.0]), TransverseFieldIsing(n_sites=N))]
        ),
    ],
    ids=["static", "ramp"],
)
def test_what_is_not_constant_in_pieces_is_refused(hamiltonian: Hamiltonian) -> None:
    with pytest.raises(ArgumentError, match=r"'piecewise' is for drives that are all SampledDrive\(kind"):
        evolve(hamiltonian, START, [1.0], method="piecewise")
    assert evolve(hamiltonian, START, [1.0]).method != "piecewise"
