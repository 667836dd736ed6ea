"""In-context attention: least squares by layers, unitarity, phases, symmetries and causality."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.attention.in_context.attention import Conjugate, Descent, in_context_predictions, refined_states
from qdyn.attention.in_context.transitions import (
    OperatorPast,
    ScorePast,
    Symmetry,
    basis_permutation,
    frobenius,
    symmetric_images,
    transition_pairs,
)
from qdyn.circuits.ansatz.variational import free_unitary
from qdyn.dynamics.evolve import evolve
from qdyn.quantum.hamiltonians import TransverseFieldIsing
from qdyn.quantum.states import fidelity, haar_random_states

STEPS, QUBITS, D = 7, 2, 4
# Conjugate gradients stop where the gradient is as long as the root of the machine precision.
CLOSE = {"atol": 1e-5, "rtol": 0.0}


def unitary(seed: int, d: int = D) -> Tensor:
    return free_unitary(torch.from_numpy(np.random.default_rng(seed).normal(size=(2, d, d))))


def orbit(seed: int = 0, *, steps: int = STEPS + 1, u: Tensor | None = None, qubits: int = QUBITS) -> Tensor:
    """x, U x, U^2 x, ... of one unitary."""
    u = unitary(seed + 1, 2**qubits) if u is None else u
    states = [haar_random_states(n_qubits=qubits, batch=1, seed=seed)[0]]
    for _ in range(steps - 1):
        states.append(u @ states[-1])
    return torch.stack(states)


def descent(layers: int, size: float = 1.0, steps: int = STEPS) -> Descent:
    return Descent(torch.full((layers, steps), size, dtype=torch.float64))


def conjugate(layers: int = 12, ridge: float = 0.0, steps: int = STEPS) -> Conjugate:
    return Conjugate(layers, torch.full((steps,), ridge, dtype=torch.float64))


def with_phases(x: Tensor, seed: int = 9) -> Tensor:
    angles = torch.from_numpy(np.random.default_rng(seed).uniform(0, 2 * np.pi, x.shape[:-1]))
    return x * torch.polar(torch.ones_like(angles), angles).unsqueeze(-1)


def test_a_layer_is_the_sum_over_the_transitions_seen() -> None:
    """The recursions of the theory page, written as loops over j, l and i."""
    x, value = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=0), unitary(3)
    sizes = torch.from_numpy(np.random.default_rng(1).uniform(0, 2, (3, STEPS)))
    found = in_context_predictions(x, value, Descent(sizes))
    for j in range(STEPS):
        rho = sum((torch.outer(x[i], x[i].conj()) for i in range(j)), torch.zeros(D, D, dtype=x.dtype))
        phase = sum(((value @ x[i]).conj() @ x[i + 1] for i in range(j)), torch.zeros((), dtype=x.dtype))
        moved = value * (phase / phase.abs() if j else 1.0)
        r, z = x[j], moved @ x[j]
        for size in sizes[:, j]:
            eta = size / torch.linalg.matrix_norm(rho) if j else 0.0
            scores = [x[i].conj() @ r for i in range(j)]
            for i in range(j):
                z = z + eta * scores[i] * (x[i + 1] - moved @ x[i])
                r = r - eta * scores[i] * x[i]
        torch.testing.assert_close(found[j], z, atol=1e-12, rtol=0)


def test_layers_are_gradient_descent_on_in_context_least_squares() -> None:
    """A <- A - eta dL/dA* of L = sum_{i<j} ||x_{i+1} - A x_i||^2 from A = e^{i alpha} V, applied to x_j."""
    x, value, j = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=4), unitary(5), STEPS - 1
    keys, values = x[:j], x[1 : j + 1]
    eta = 0.8 / torch.linalg.matrix_norm(keys.mT @ keys.conj())
    phase = ((keys @ value.mT).conj() * values).sum()
    matrix = (value * phase / phase.abs()).requires_grad_()
    for _ in range(5):
        loss = (values - keys @ matrix.mT).abs().square().sum()
        (gradient,) = torch.autograd.grad(loss, matrix)
        matrix = (matrix - eta * gradient / 2).detach().requires_grad_()
    found = in_context_predictions(x, value, descent(5, 0.8))
    torch.testing.assert_close(found[j], matrix.detach() @ x[j], atol=1e-12, rtol=0)


@pytest.mark.parametrize("regression", [descent(6000, 1.9), conjugate()], ids=["descent", "conjugate"])
def test_many_layers_are_the_exact_least_squares(regression: Descent | Conjugate) -> None:
    x, value = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=2), unitary(3)
    found = in_context_predictions(x, value, regression)
    for j in range(1, STEPS):
        keys, values = x[:j].mT, x[1 : j + 1].mT
        phase = torch.vdot((value @ keys).flatten(), values.flatten())
        coefficients = torch.linalg.pinv(keys) @ x[j]
        rest = value @ (x[j] - keys @ coefficients) * phase / phase.abs()
        torch.testing.assert_close(found[j], values @ coefficients + rest, **CLOSE)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_conjugate_gradients_need_a_layer_a_transition(seed: int) -> None:
    """L layers solve a context of L transitions; no descent does."""
    x = orbit(seed)
    found = in_context_predictions(x[:STEPS], unitary(seed + 2), conjugate(D), completion=conjugate(D))
    torch.testing.assert_close(found[D + 1 :], x[D + 2 :], **CLOSE)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_completion_makes_the_map_unitary(seed: int) -> None:
    """z keeps its length, and its overlaps with what followed are those of x_j with what was before."""
    x = orbit(seed)[:STEPS]
    found = in_context_predictions(x, unitary(seed + 2), conjugate(), completion=conjugate())
    length = torch.linalg.vector_norm(found, dim=-1)
    torch.testing.assert_close(length, torch.ones_like(length), **CLOSE)
    for j in range(1, STEPS):
        asked, given_ = x[:j].conj() @ x[j], x[1 : j + 1].conj() @ found[j]
        torch.testing.assert_close(given_, asked, **CLOSE)


def test_completion_forecasts_better_than_least_squares() -> None:
    """Where V is near U. The gain is five standard errors and more."""
    gains = []
    for seed in range(30):
        x, near = orbit(seed, qubits=3), 0.3 * np.random.default_rng(seed + 100).normal(size=(2, 8, 8))
        value = unitary(seed + 1, 8) @ free_unitary(torch.from_numpy(near))
        plain = in_context_predictions(x[:STEPS], value, conjugate())
        whole = in_context_predictions(x[:STEPS], value, conjugate(), completion=conjugate())
        p = [fidelity(z / torch.linalg.vector_norm(z, dim=-1, keepdim=True), x[1:]) for z in (plain, whole)]
        gains.append(float((p[1] - p[0])[1:].mean()))
    assert np.mean(gains) > 5 * np.std(gains) / np.sqrt(len(gains)) > 0


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_transported_phases_make_forecasts_covariant(seed: int) -> None:
    """A phase of every state changes no forecast but by a phase."""
    x = orbit(seed)[:STEPS]
    for regression in (descent(3), conjugate(4)):
        plain, turned = (
            in_context_predictions(
                one,
                unitary(1),
                regression,
                completion=descent(2),
                phases="transport",
                symmetries=("reflection",),
            )
            for one in (x, with_phases(x, seed))
        )
        overlap = (plain.conj() * turned).sum(dim=-1).abs()
        torch.testing.assert_close(overlap, plain.abs().square().sum(dim=-1), atol=1e-9, rtol=0)


def test_transport_restores_the_linearity_that_phases_broke() -> None:
    """<x_i|U x_i> is the same for all i of an orbit, so one phase for the whole orbit is left."""
    x = with_phases(orbit(3))
    keys, values = transition_pairs(x, phases="transport")
    u = unitary(4)
    phases = ((keys @ u.mT).conj() * values).sum(dim=-1)
    torch.testing.assert_close(phases.abs(), torch.ones(STEPS, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(phases, phases[:1].expand(STEPS), atol=1e-9, rtol=0)


def test_forecasts_never_see_what_comes_after() -> None:
    x, other = (haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=seed) for seed in (0, 1))

    def forecast(states: Tensor) -> Tensor:
        first = in_context_predictions(
            states, unitary(2), conjugate(3), completion=descent(2), symmetries=("time_reversal",)
        )
        refined = refined_states(states, first, torch.full((STEPS,), 0.7, dtype=torch.float64))
        return in_context_predictions(refined, unitary(2), descent(3), phases="transport")

    for j in range(STEPS - 1):
        changed = torch.cat([x[: j + 1], other[j + 1 :]])
        torch.testing.assert_close(forecast(changed)[: j + 1], forecast(x)[: j + 1], atol=1e-12, rtol=0)
        assert not torch.allclose(forecast(changed)[j + 1], forecast(x)[j + 1])


def test_the_order_of_transitions_does_not_matter() -> None:
    x = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=5)
    keys, values = transition_pairs(x)
    order = torch.randperm(STEPS - 1, generator=torch.Generator().manual_seed(0))
    one, two = OperatorPast.of(keys, values), OperatorPast.of(keys[order], values[order])
    for left, right in ((one.rho, two.rho), (one.carry, two.carry), (one.image, two.image)):
        torch.testing.assert_close(left[-1], right[-1])


@pytest.mark.parametrize("symmetries", [(), ("time_reversal",), ("reflection", "spin_flip", "time_reversal")])
def test_operators_and_scores_are_the_same_attention(symmetries: tuple[Symmetry, ...]) -> None:
    x, value = haar_random_states(n_qubits=QUBITS, batch=2 * STEPS, seed=6).reshape(2, STEPS, D), unitary(7)
    keys, values = transition_pairs(x)
    one, two = OperatorPast.of(keys, values, symmetries), ScorePast.of(keys, values, symmetries)
    for left, right in zip(
        (*one.attend(x), *one.attend_to_values(x), *one.bounds(), one.mean_phase(value)),
        (*two.attend(x), *two.attend_to_values(x), *two.bounds(), two.mean_phase(value)),
        strict=True,
    ):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


def test_the_symmetries_of_a_chain_give_true_transitions() -> None:
    h = TransverseFieldIsing(n_sites=3, coupling=0.7, field=1.3)
    u = evolve(h, torch.eye(8, dtype=torch.complex128), [0.35]).states
    assert u is not None
    u = u[:, 0].T
    keys, values = transition_pairs(orbit(1, u=u, qubits=3))
    many, after = symmetric_images(keys, values, ("time_reversal", "reflection", "spin_flip"))
    assert many.shape == (8, STEPS, 8)
    torch.testing.assert_close(many @ u.mT, after, atol=1e-9, rtol=0)
    assert basis_permutation("reflection", 8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


def test_symmetries_make_a_context_count_for_more() -> None:
    """Two transitions and their images span the eight dimensions of three qubits, nearly always."""
    h = TransverseFieldIsing(n_sites=3, coupling=0.7, field=1.3)
    u = evolve(h, torch.eye(8, dtype=torch.complex128), [0.35]).states
    assert u is not None
    x = orbit(2, u=u[:, 0].T, qubits=3)
    found = in_context_predictions(
        x[:STEPS], unitary(0, 8), conjugate(24), symmetries=("time_reversal", "reflection", "spin_flip")
    )
    torch.testing.assert_close(found[3:], x[4:], **CLOSE)
    assert float((found[1] - x[2]).abs().max()) > 1e-2


@given(seed=st.integers(0, 10**6), size=st.floats(0.0, 2.0))
@settings(max_examples=20, deadline=None)
def test_no_step_can_lengthen_what_is_left(seed: int, size: float) -> None:
    x = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=seed)
    past = OperatorPast.of(*transition_pairs(x))
    bound, _ = past.bounds()
    spectral = torch.linalg.matrix_norm(past.rho, ord=2)
    assert bool((spectral <= bound + 1e-12).all())
    left, _ = descent(40, size).explain(past.attend, bound, x)
    assert bool((torch.linalg.vector_norm(left, dim=-1) <= 1 + 1e-9).all())


def test_a_kernel_of_one_term_is_the_score_itself() -> None:
    x = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=8)
    plain = in_context_predictions(x, unitary(1), descent(3))
    kernel = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(in_context_predictions(x, unitary(1), descent(3), kernel=kernel), plain)
    other = in_context_predictions(x, unitary(1), descent(3), kernel=kernel.flip(0))
    assert not torch.allclose(other, plain)


def test_what_is_masked_is_not_there() -> None:
    x = haar_random_states(n_qubits=QUBITS, batch=STEPS, seed=0)
    mask = torch.tensor([True] * 4 + [False] * 3)
    padded = x.masked_fill(~mask.unsqueeze(-1), torch.nan)
    regression, short = conjugate(4), conjugate(4, steps=4)
    found = in_context_predictions(padded, unitary(1), regression, completion=descent(2), mask=mask)
    expected = in_context_predictions(x[:4], unitary(1), short, completion=descent(2, steps=4))
    torch.testing.assert_close(found[:4], expected)
    assert bool(torch.isfinite(found.abs()).all())


@pytest.mark.parametrize("kind", ["descent", "conjugate"])
def test_gradients_are_finite_and_right(kind: str) -> None:
    """Also on an orbit that stands still, where everything is explained at once."""

    def objective(value: Tensor, knob: Tensor, x: Tensor) -> Tensor:
        rows = knob.expand(2, STEPS)
        regression = Descent(rows) if kind == "descent" else Conjugate(2, knob.expand(STEPS))
        found = in_context_predictions(
            x, value, regression, completion=Descent(0.5 * rows), phases="transport"
        )
        return found.abs().pow(3).sum()

    knob, value = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), unitary(1).requires_grad_()
    x = orbit(2)[:STEPS]
    assert torch.autograd.gradcheck(lambda v, k: objective(v, k, x), (value, knob), atol=1e-6)
    still = x[:1].expand(STEPS, -1)
    for gradient in torch.autograd.grad(objective(value, knob, still), (value, knob)):
        assert bool(torch.isfinite(gradient.abs()).all())


def test_mixing_in_forecasts_averages_noise() -> None:
    """Exact forecasts from noisy states carry noise of their own: the mean of two has half of it."""
    clean = orbit(0, qubits=4, steps=200)
    noise = haar_random_states(n_qubits=4, batch=200, seed=1) * 0.3
    noisy = clean + noise
    noisy = noisy / torch.linalg.vector_norm(noisy, dim=-1, keepdim=True)
    forecasts = with_phases(noisy @ unitary(1, 16).mT)
    refined = refined_states(noisy, forecasts, torch.ones(200, dtype=torch.float64))
    errors = [1 - fidelity(one[1:], clean[1:]).mean() for one in (noisy, refined)]
    assert 0.4 < float(errors[1] / errors[0]) < 0.6


def test_the_frobenius_norm_is_the_root_of_the_purity() -> None:
    matrix = torch.randn(3, 4, 4, dtype=torch.complex128)
    torch.testing.assert_close(frobenius(matrix), torch.linalg.matrix_norm(matrix))
