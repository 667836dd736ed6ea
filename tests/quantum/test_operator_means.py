"""Means of own operators against dense matrices, and the energy of a driven system against its work."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import qdyn
from qdyn.dynamics.evolve import evolve
from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.observable_names import named_observable
from qdyn.quantum.operator_means import operator_mean
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ
from qdyn.quantum.states import haar_random_states

CHIRALITY = PauliSum(
    {"X0 Y1 Z2": 1, "Y0 Z1 X2": 1, "Z0 X1 Y2": 1, "X0 Z1 Y2": -1, "Z0 Y1 X2": -1, "Y0 X1 Z2": -1}, n_sites=3
)


def test_any_operator_beside_the_energy() -> None:
    ring, psi0 = XXZ(3, periodic=True), haar_random_states(n_qubits=3, batch=4, seed=2)
    measured = [operator_mean(CHIRALITY, name="chirality", unit="J"), "energy"]
    traj = evolve(ring, psi0, [0.0, 0.4, 1.1], observables=measured)
    states = traj.states.numpy()
    dense = np.einsum("bti,ij,btj->bt", states.conj(), CHIRALITY.to_dense().numpy(), states).real
    np.testing.assert_allclose(traj.expectations["chirality"], dense, atol=1e-12)
    # The chirality of a triangle commutes with its exchange.
    np.testing.assert_allclose(dense, dense[:, :1].repeat(3, axis=1), atol=1e-12)
    assert traj.quantities["chirality"].unit == "J"


def test_matrix_product_states_have_it_too() -> None:
    n = 6
    staggered = PauliSum({f"Z{site}": (-1) ** site / n for site in range(n)}, n_sites=n)
    imbalance = operator_mean(staggered, name="imbalance")
    dense, factors = (
        evolve(XXZ(n), "01" * 3, [0.0, 0.7], observables=imbalance, method=method).expectations["imbalance"]
        for method in ("exact", "mps")
    )
    assert float(dense[0]) == pytest.approx(1)
    torch.testing.assert_close(factors, dense, atol=1e-4, rtol=0)


def test_what_drives_do_is_the_change_of_the_energy() -> None:
    # d<H(t)>/dt = sum_k f_k'(t) <H_k>, Hellmann and Feynman in time.
    static = XXZ(3, field=[[0.3, -0.2, 0.5], [0.1, 0.9, -0.4]])
    shaken = PauliSum({"X0": 1.0, "Z1 X2": 0.7}, n_sites=3)
    H = DrivenHamiltonian(static, [(lambda t: math.sin(2 * t), shaken)])
    times = np.linspace(0, 2, 401)
    psi0 = haar_random_states(n_qubits=3, seed=1)
    push = operator_mean(shaken, name="push")
    traj = evolve(H, psi0, times, observables=["energy", push], store="none")
    energy, push_values = (traj.expectations[name].numpy() for name in ("energy", "push"))
    power = 2 * np.cos(2 * times) * push_values
    work = np.concatenate(
        [np.zeros((2, 1)), np.cumsum((power[:, 1:] + power[:, :-1]) / 2 * np.diff(times), axis=1)], axis=1
    )
    np.testing.assert_allclose(energy - energy[:, :1], work, atol=2e-5)
    assert np.ptp(energy) > 0.1
    for time in (0, 150, 400):  # beside the matrix at that time
        only = evolve(H, psi0, times[: time + 1], store="final").final_state
        matrix = H.at(times[time]).to_dense().to(only.dtype)
        expected = torch.einsum("bi,bij,bj->b", only.conj(), matrix, only).real
        np.testing.assert_allclose(energy[:, time], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: operator_mean(CHIRALITY, name="time"), "no other array of a trajectory has, but is 'time'"),
        (
            lambda: evolve(XXZ(3), "000", [1.0], observables=operator_mean(CHIRALITY, name="field")),
            "holds 'field', which is a coupling of the Hamiltonian",
        ),
        (lambda: operator_mean(CHIRALITY, name="a/b"), "letters, digits and underscores"),
        (
            lambda: operator_mean(CHIRALITY.to_dense(), name="a"),
            "such as qdyn.PauliSum, but is of type Tensor",
        ),
        (
            lambda: operator_mean(DrivenHamiltonian(CHIRALITY, [(math.sin, CHIRALITY)]), name="a"),
            "must not depend on time",
        ),
        (
            lambda: named_observable(
                "energy_variance", 3, DrivenHamiltonian(CHIRALITY, [(math.sin, CHIRALITY)])
            ),
            "'energy_variance' needs a Hamiltonian that does not depend on time",
        ),
        (
            lambda: evolve(CHIRALITY, "000", [1.0], observables=[CHIRALITY]),
            r"\(see `operator_mean`\), but observables\[0\] is of type PauliSum",
        ),
        (
            lambda: evolve(DrivenHamiltonian(CHIRALITY, [(lambda t: None, CHIRALITY)]), "000", [1.0]),
            "A drive must give a number, but gives None at t=0",
        ),
    ],
)
def test_bad_arguments_are_named(as_user: None, call, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_it_is_public() -> None:
    assert qdyn.operator_mean is operator_mean
