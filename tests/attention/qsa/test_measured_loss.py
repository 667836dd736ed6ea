from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from qdyn.attention.qsa.circuit import qsa_circuit
from qdyn.attention.qsa.measured_loss import loss_from_results, loss_programs, measure_loss
from qdyn.attention.qsa.observables import qsa_observables
from qdyn.circuits.ansatz.variational import hardware_efficient_unitary
from qdyn.circuits.executors.execution import run_circuit
from qdyn.circuits.executors.program import Program
from qdyn.circuits.executors.shots import log_ratio_interval, proportion_interval, shots_for_loss
from qdyn.errors import ArgumentError
from qdyn.quantum.states import haar_random_states

Instance = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
CIRCUIT = {"kernel": "monomial", "degree": 1}


@pytest.fixture(scope="module")
def instance() -> Instance:
    states = haar_random_states(n_qubits=1, batch=3, seed=3)
    angles = torch.from_numpy(np.random.default_rng(1).uniform(-2, 2, size=(2, 2, 1, 3)))
    return states[:2], states[1:], angles[0], angles[1]


def closed_form(instance: Instance) -> Any:
    x, y, w, v = instance
    return qsa_observables(x, y, hardware_efficient_unitary(w), hardware_efficient_unitary(v), **CIRCUIT)


def test_the_exact_loss_is_the_closed_form_with_its_gradient(instance: Instance) -> None:
    x, y, w, v = (tensor.clone() for tensor in instance)
    w.requires_grad_(), v.requires_grad_()
    loss = measure_loss(loss_programs(x, y, w, v, **CIRCUIT), steps=2)
    expected = closed_form((x, y, w, v))
    assert abs(float((loss.loss_b - expected.loss_b).detach())) < 1e-12
    for ours, theirs in zip(
        torch.autograd.grad(loss.loss_b, (w, v)), torch.autograd.grad(expected.loss_b, (w, v)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


def test_intervals_of_mu_f_and_the_loss_cover_at_their_nominal_rate(instance: Instance) -> None:
    expected = closed_form(instance)
    covered = np.zeros(3, dtype=int)
    programs = loss_programs(*instance, **CIRCUIT)
    for seed in range(200):
        mu, zeta = (run_circuit(program, shots=500, seed=2 * seed + k) for k, program in enumerate(programs))
        loss = loss_from_results(mu, zeta, steps=2)
        for place, (interval, truth) in enumerate(
            [
                (loss.mu_interval, expected.mu),
                (loss.fidelity_interval, expected.fidelity),
                (loss.loss_b_interval, expected.loss_b),
            ]
        ):
            assert interval is not None
            covered[place] += bool((interval[0] <= truth) & (truth <= interval[1]))
    # Of 200 intervals of 95 %, 180 to 199 cover with probability 0.998.
    assert ((covered >= 180) & (covered <= 199)).all(), covered


def test_coverage_of_proportions_is_never_below_nominal() -> None:
    """Exactly, by summing the binomial distribution over the counts whose interval covers."""
    from scipy.stats import binom

    for shots in (20, 300):
        counts = np.arange(shots + 1)
        lower, upper = proportion_interval(counts, shots)
        for p in (0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.77, 0.99):
            coverage = binom.pmf(counts, shots, p)[(lower <= p) & (p <= upper)].sum()
            assert coverage >= 0.95
    assert lower[0] == 0
    assert upper[-1] == 1


def test_coverage_of_ratios_is_close_to_nominal() -> None:
    """Exactly, over the joint distribution of two counts."""
    from scipy.stats import binom

    shots = (400, 300)
    counts = np.meshgrid(np.arange(shots[0] + 1), np.arange(shots[1] + 1), indexing="ij")
    _, lower, upper = log_ratio_interval((counts[0], counts[1]), shots)
    for p, q in [(0.02, 0.1), (0.05, 0.3), (0.2, 0.2), (0.5, 0.6)]:
        weight = np.outer(binom.pmf(np.arange(401), 400, p), binom.pmf(np.arange(301), 300, q))
        coverage = weight[(lower <= math.log(p / q)) & (math.log(p / q) <= upper)].sum()
        assert 0.94 < coverage < 0.975


def test_the_shot_budget_gives_the_wanted_error(instance: Instance) -> None:
    """By experiment: the standard deviation of L_B over 300 runs with the shots of the budget."""
    expected = closed_form(instance)
    budget = shots_for_loss(0.1, mu=float(expected.mu), zeta=float(expected.zeta))
    program = {
        name: qsa_circuit(*instance, observable=name, **CIRCUIT).expectation() for name in ("mu", "zeta")
    }
    draws = np.random.default_rng(0)
    hits = [
        draws.binomial(n, float(program[name]), size=2000) for name, n in zip(program, budget, strict=True)
    ]
    losses = -log_ratio_interval((hits[0], hits[1]), budget)[0]
    assert 0.093 < losses.std() < 0.107
    once = measure_loss(loss_programs(*instance, **CIRCUIT), steps=2, shots=budget, seed=1)
    assert once.loss_b_interval is not None
    width = float(once.loss_b_interval[1] - once.loss_b_interval[0])
    assert 0.9 < width / (2 * 1.96 * 0.1) < 1.1


def test_mixed_shots_and_a_named_observable_are_refused(instance: Instance, as_user: None) -> None:
    with pytest.raises(ArgumentError, match="both circuits shots or none"):
        measure_loss(loss_programs(*instance, **CIRCUIT), steps=2, shots=(10, None))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="must not name an observable"):
        loss_programs(*instance, observable="nu")
    with pytest.raises(ArgumentError, match=r"`mu` must lie in \(0, 1\)"):
        shots_for_loss(0.1, mu=0.0, zeta=0.5)


def train(instance: Instance, *, shots: int | None = None, **run: Any) -> list[float]:
    """20 steps of Adam on W, V and the step phases; nothing but measured values enters."""
    x, y, w, v = instance
    parameters = [w.clone(), v.clone(), torch.zeros(x.shape[0], dtype=torch.float64)]
    for tensor in parameters:
        tensor.requires_grad_()
    optimiser = torch.optim.Adam(parameters, lr=0.1)
    losses = []
    for step in range(20):
        programs = loss_programs(x, y, *parameters[:2], **CIRCUIT, phases=parameters[2])
        loss = measure_loss(programs, steps=2, shots=shots, seed=step, **run).loss_b
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return losses


@pytest.mark.cudaq
def test_training_on_cudaq_alone_follows_torch(instance: Instance) -> None:
    pytest.importorskip("cudaq")
    reference = train(instance)
    assert reference[-1] < reference[0] - 0.3
    exact = train(instance, backend="cudaq", gradient="parameter_shift")
    np.testing.assert_allclose(exact, reference, atol=1e-8)


@pytest.mark.cudaq
def test_training_on_cudaq_with_shots_follows_torch(instance: Instance) -> None:
    pytest.importorskip("cudaq")
    reference = np.array(train(instance))
    measured = np.array(train(instance, backend="cudaq", gradient="parameter_shift", shots=4000))
    expected = closed_form(instance)
    error = math.sqrt(sum((1 - p) / p / 4000 for p in (float(expected.mu), float(expected.zeta))))
    assert np.abs(measured - reference).max() < 6 * error
    assert measured[-1] < measured[0] - 0.2


def test_a_program_without_gradients_is_left_alone(instance: Instance) -> None:
    program = qsa_circuit(*instance, **CIRCUIT)
    assert isinstance(program, Program)
    assert not program.expectation().requires_grad
