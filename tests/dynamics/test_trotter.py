"""Product formulas: order of convergence, errors that are kept, groups that commute, circuits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qdyn.dynamics.evolve import evolve
from qdyn.dynamics.trotter import commuting_groups, compositions, trotter
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.lattices import ladder_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing
from qdyn.quantum.states import haar_random_states

PSI = haar_random_states(n_qubits=4, batch=2, seed=4)
MODELS = [
    TransverseFieldIsing(4, field=1.05),
    MixedFieldIsing(4, field=[[0.2, 1.0, 0.4, 0.9]], periodic=True),
    LongRangeIsing(4, longitudinal_field=0.2),
    XXZ(4, anisotropy=0.7, field=[0.3, 0.1], transverse_field=0.4),
    XXZ(4, bonds=ladder_bonds(2)),
    PauliSum({"X0 Y1 Z2": 0.5, "Y3": 0.3, "Z0 Z2": 1.0, "X3 Z0": 0.2, "Y0 Y1": -0.4}, n_sites=4),
]


def _name(model: Hamiltonian) -> str:
    return type(model).__name__


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("model", MODELS, ids=_name)
def test_the_error_falls_with_the_order_of_the_formula(model: Hamiltonian, order: int) -> None:
    exact = evolve(model, PSI, [-0.8, 1.6], method="exact").states
    steps = [0.2, 0.1, 0.05] if order < 6 else [0.4, 0.2, 0.1]
    errors = []
    for step in steps:
        found = evolve(model, PSI, [-0.8, 1.6], method=trotter(order=order, step=step))
        assert found.details["step"] == pytest.approx(step)
        errors.append(float((found.states - exact).abs().max()))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.35)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("model", MODELS, ids=_name)
@pytest.mark.parametrize(("order", "error"), [(2, 1e-4), (4, 1e-7), (6, 1e-9)])
def test_the_error_that_is_asked_for_is_kept_and_measured(
    model: Hamiltonian, order: int, error: float
) -> None:
    times = np.linspace(0, 2, 6)
    exact = evolve(model, PSI, times, method="exact").states
    found = evolve(model, PSI, times, method=f"trotter{order}", error=error)
    deviation = float((found.states - exact).abs().max())
    assert deviation <= error
    # What it measures of itself is what it does, up to what higher orders and rounding add.
    assert deviation == pytest.approx(found.details["measured_error"], rel=0.5, abs=1e-12)


def test_unitary_and_time_reversible() -> None:
    model = XXZ(4, anisotropy=0.7)
    there = evolve(model, PSI, [3.0], method=trotter(order=4, step=0.3)).states[:, 0]
    assert torch.allclose(torch.linalg.vector_norm(there, dim=-1), torch.ones(2, dtype=torch.float64))
    back = evolve(model, there, [-3.0], method=trotter(order=4, step=0.3)).states[:, 0]
    assert float((back - PSI).abs().max()) < 1e-13


def test_a_given_step_is_a_circuit_whose_error_is_foretold() -> None:
    model = TransverseFieldIsing(4, field=1.05)
    for order, step in ((2, 0.25), (4, 0.2), (6, 0.2)):
        found = evolve(model, PSI, [0.0, 1.0, 2.0], method=trotter(order=order, step=step))
        exact = evolve(model, PSI, [0.0, 1.0, 2.0], method="exact").states
        deviation = float((found.states - exact).abs().max())
        assert deviation / 5 < found.details["estimated_error"] < 20 * deviation
    with pytest.raises(ArgumentError, match="must be at least"):
        evolve(model, PSI, [1.0], method=trotter(order=2, step=0.25), error=1e-6)


def test_one_step_of_order_two_is_the_strang_product() -> None:
    model = TransverseFieldIsing(3, field=0.7)
    step, psi0 = 0.3, PSI[0, :8] / torch.linalg.vector_norm(PSI[0, :8])
    bonds = PauliSum({"Z0 Z1": -1.0, "Z1 Z2": -1.0}, n_sites=3).to_dense()
    fields = PauliSum({"X0": -0.7, "X1": -0.7, "X2": -0.7}, n_sites=3).to_dense()
    half = torch.linalg.matrix_exp(-0.5j * step * bonds)
    expected = half @ torch.linalg.matrix_exp(-1j * step * fields) @ half @ psi0
    found = evolve(model, psi0, [step], method=trotter(order=2, step=step)).states[0]
    assert float((found - expected).abs().max()) < 1e-14


def test_parts_commute_and_weights_add_up() -> None:
    for model in MODELS:
        terms = model.pauli_terms()
        groups = commuting_groups(terms.words)
        assert sorted(place for group in groups for place in group) == list(range(len(terms.words)))
        for group in groups:
            strings = [PauliSum({label: 1.0}).to_dense().to(torch.complex128) for label in terms.labels]
            for first in group:
                for second in group:
                    product = strings[first] @ strings[second]
                    assert torch.equal(product, strings[second] @ strings[first])
    assert len(commuting_groups(MODELS[0].pauli_terms().words)) == 2
    for order in (2, 4, 6):
        assert sum(map(sum, compositions(order))) == pytest.approx(1, abs=1e-14)


@pytest.mark.usefixtures("as_user")
def test_bad_orders_and_steps_are_named() -> None:
    with pytest.raises(ArgumentError, match="`order` must be 2, 4 or 6, but is 3"):
        trotter(order=3)
    with pytest.raises(ArgumentError, match="`step`"):
        trotter(step=-0.1)
