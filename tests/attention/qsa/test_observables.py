"""The closed form against loops over the definitions, and the identities that hold for any parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qdyn.attention.qsa.observables import QSAObservables, qsa_observables
from qdyn.errors import ArgumentError


def unit_vectors(generator: np.random.Generator, *shape: int, real: bool = False) -> np.ndarray:
    vectors = generator.normal(size=shape) + (0 if real else 1j) * generator.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def unitary(generator: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(d, d)) + 1j * generator.normal(size=(d, d)))[0]


def reference(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    v: np.ndarray,
    *,
    kernel: str,
    degree: int,
    beta: float,
    phases: np.ndarray | None = None,
    leverage: np.ndarray | None = None,
) -> dict[str, float | np.ndarray]:
    """One sequence, written out as on the theory page."""
    steps, d = x.shape
    alpha = np.ones(steps) if leverage is None else leverage
    series = [beta**p / math.factorial(p) for p in range(degree + 1)]
    price = sum(series) if kernel == "polynomial" else 1.0
    overlaps, lengths, v1 = np.zeros(steps, complex), np.zeros(steps), np.zeros(steps, complex)
    for j in range(steps):
        scores = [np.vdot(x[j], w @ x[i]) for i in range(j + 1)]
        if kernel == "monomial":
            weights = [s**degree for s in scores]
        elif kernel == "polynomial":
            weights = [sum(c * s**p for p, c in enumerate(series)) for s in scores]
        else:
            raised = [math.exp(beta * abs(s) ** 2) for s in scores]
            weights = [r / sum(raised) for r in raised]
        z = sum(g * (v @ x[i]) for i, g in enumerate(weights))
        overlaps[j] = math.sqrt(alpha[j]) * np.vdot(y[j], z)
        lengths[j] = np.linalg.norm(z)
        if kernel != "softmax":
            # The prefix state itself, each power of the key register by an explicit tensor product.
            blocks = []
            for p in range(degree + 1):
                c = series[p] if kernel == "polynomial" else float(p == degree)
                block = np.zeros(d ** (p + 1), complex)
                for i in range(j + 1):
                    term = x[i]
                    for _ in range(p):
                        term = np.kron(term, x[i])
                    block += term
                blocks.append(math.sqrt(c) * block)
            v1[j] = overlaps[j] / (math.sqrt(price) * np.linalg.norm(np.concatenate(blocks)))
    pairs = steps * (steps + 1) / 2
    turn = np.exp(-1j * np.angle(overlaps)) if phases is None else np.exp(1j * phases)
    fidelities = abs(overlaps) ** 2 / lengths**2
    mu = abs((turn * overlaps).sum()) ** 2 / (price * pairs) ** 2
    nu = (abs(overlaps) ** 2).sum() / (price**2 * steps * pairs)
    zeta = (lengths**2).sum() / (price**2 * steps * pairs)
    loss_1 = -np.log(fidelities).mean()
    loss_b = -math.log((steps + 1) / (2 * steps) * mu / zeta)
    mu_v1 = math.nan if kernel == "softmax" else abs((turn * v1).mean()) ** 2
    return {
        "mu": mu,
        "nu": nu,
        "zeta": zeta,
        "fidelity": (steps + 1) / (2 * steps) * mu / zeta,
        "loss_b": loss_b,
        "loss_a": -math.log(nu / zeta),
        "renyi_half_divergence": loss_b + math.log(nu / zeta),
        "loss_half": -2 * math.log(np.sqrt(fidelities).mean()),
        "loss_1": loss_1,
        "loss_1_excess": loss_1 + np.log(alpha).mean(),
        "loss_b_excess": loss_b + math.log(alpha.mean()),
        "step_fidelity": fidelities,
        "mu_v1": mu_v1,
        "loss_v1": math.nan if kernel == "softmax" else -math.log(mu_v1),
    }


def example(seed: int, *, steps: int = 5, d: int = 4, real: bool = False) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    states = unit_vectors(generator, steps + 1, d, real=real)
    return states[:-1], states[1:], unitary(generator, d), unitary(generator, d)


def as_tensors(*arrays: np.ndarray) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(array) for array in arrays)


def assert_equal(result: QSAObservables, expected: dict[str, float | np.ndarray]) -> None:
    assert set(expected) == set(result._fields)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(result, name).numpy(), value, rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize(
    ("kernel", "degree", "beta"),
    [
        *(("monomial", degree, None) for degree in range(1, 7)),
        *(("polynomial", degree, None) for degree in (1, 2, 3, 5)),
        ("polynomial", 3, 0.7),
        ("softmax", 1, None),
        ("softmax", 1, 3.0),
    ],
)
@pytest.mark.parametrize("trained_phases", [False, True])
@pytest.mark.parametrize("with_leverage", [False, True])
def test_closed_form_is_the_definition(
    kernel: str, degree: int, beta: float | None, trained_phases: bool, with_leverage: bool
) -> None:
    x, y, w, v = example(degree)
    generator = np.random.default_rng(100 + degree)
    phases = generator.uniform(-np.pi, np.pi, len(x)) if trained_phases else None
    leverage = generator.uniform(0.1, 1.0, len(x)) if with_leverage else None
    expected = reference(
        x, y, w, v, kernel=kernel, degree=degree, beta=beta or 2.0, phases=phases, leverage=leverage
    )
    result = qsa_observables(
        *as_tensors(x, y, w, v),
        kernel=kernel,
        degree=degree,
        beta=beta,
        phases="optimal" if phases is None else torch.tensor(phases),
        leverage=None if leverage is None else torch.tensor(leverage),
    )
    assert_equal(result, expected)


def test_values_need_not_be_unitary() -> None:
    x, y, w, _ = example(0)
    v = np.random.default_rng(1).normal(size=(4, 4)) + 0j
    expected = reference(x, y, w, v, kernel="softmax", degree=1, beta=2.0)
    assert_equal(qsa_observables(*as_tensors(x, y, w, v), kernel="softmax"), expected)


def test_real_states_stay_real() -> None:
    generator = np.random.default_rng(0)
    states = unit_vectors(generator, 6, 4, real=True).real
    w, v = (np.linalg.qr(generator.normal(size=(4, 4)))[0] for _ in range(2))
    result = qsa_observables(*as_tensors(states[:-1], states[1:], w, v), kernel="polynomial", degree=3)
    assert_equal(result, reference(states[:-1], states[1:], w, v, kernel="polynomial", degree=3, beta=2.0))


def test_leading_axes_broadcast() -> None:
    cases = [example(seed) for seed in range(3)]
    x, y = (torch.tensor(np.stack([case[part] for case in cases])) for part in (0, 1))
    matrices = [as_tensors(*example(seed)[2:]) for seed in (7, 8)]
    w, v = (torch.stack([pair[part] for pair in matrices])[:, None] for part in (0, 1))
    result = qsa_observables(x, y, w, v)
    assert result.mu.shape == (2, 3)
    assert result.step_fidelity.shape == (2, 3, 5)
    for member in range(2):
        for sequence in range(3):
            one = qsa_observables(x[sequence], y[sequence], *matrices[member])
            torch.testing.assert_close(result.loss_1[member, sequence], one.loss_1)


@pytest.mark.parametrize("kernel", ["monomial", "polynomial", "softmax"])
@pytest.mark.parametrize("pattern", ["TTTFF", "FTTTT", "TFTFT", "TFFFF"])
def test_masked_steps_are_as_if_deleted(kernel: str, pattern: str) -> None:
    x, y, w, v = as_tensors(*example(3))
    keep = torch.tensor([letter == "T" for letter in pattern])
    alpha = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    options = {"kernel": kernel, "degree": 2}
    short = qsa_observables(x[keep], y[keep], w, v, leverage=alpha[keep], **options)
    x[~keep], y[~keep] = torch.nan, torch.nan
    masked = qsa_observables(x, y, w, v, leverage=alpha, mask=keep, **options)
    for name in QSAObservables._fields:
        if name != "step_fidelity":
            torch.testing.assert_close(
                getattr(masked, name), getattr(short, name), equal_nan=name.endswith("v1")
            )
    torch.testing.assert_close(masked.step_fidelity[keep], short.step_fidelity)
    assert not masked.step_fidelity[~keep].any()


@pytest.mark.parametrize("kernel", ["monomial", "polynomial", "softmax"])
def test_what_stands_at_a_masked_step_does_not_reach_the_gradient(kernel: str) -> None:
    x, y, w, v = as_tensors(*example(3))
    w, v = w.requires_grad_(), v.requires_grad_()
    keep = torch.tensor([True, True, False, True, False])

    def gradients(states: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        result = qsa_observables(states, targets, w, v, kernel=kernel, mask=keep)
        return torch.autograd.grad(result.loss_1 + result.loss_b, (w, v))

    clean = gradients(x, y)
    x[~keep], y[~keep] = torch.nan, torch.nan
    for dirty, expected in zip(gradients(x, y), clean, strict=True):
        assert torch.isfinite(torch.view_as_real(dirty)).all()
        torch.testing.assert_close(dirty, expected)


parameters = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "steps": st.integers(1, 9),
        "d": st.sampled_from([2, 3, 4, 8]),
        "kernel": st.sampled_from(["monomial", "polynomial"]),
        "degree": st.integers(1, 7),
    }
)


def draw(case: dict) -> tuple[tuple[Tensor, ...], dict]:
    tensors = as_tensors(*example(case["seed"], steps=case["steps"], d=case["d"]))
    return tensors, {"kernel": case["kernel"], "degree": case["degree"]}


@given(parameters)
@settings(max_examples=150)
def test_identities_for_any_parameters(case: dict) -> None:
    tensors, options = draw(case)
    result = qsa_observables(*tensors, **options)
    steps, tight = case["steps"], 1 + 1e-9
    assert 0 <= float(result.fidelity) <= tight
    assert float(result.nu) <= float(result.zeta) * tight
    assert float(result.mu) <= 2 * steps / (steps + 1) * float(result.zeta) * tight
    assert 0 <= float(result.zeta) <= tight  # probabilities
    assert 0 <= float(result.mu) <= tight
    torch.testing.assert_close(result.loss_b, result.loss_a + result.renyi_half_divergence)
    assert float(result.loss_a) >= -1e-9
    assert float(result.renyi_half_divergence) >= -1e-9
    assert float(result.loss_half) <= float(result.loss_1) + 1e-9
    assert float(result.mu_v1) <= tight
    assert bool((result.step_fidelity <= tight).all())


@given(parameters, st.lists(st.floats(-math.pi, math.pi), min_size=9, max_size=9))
@settings(max_examples=100)
def test_optimal_phases_dominate_any_others(case: dict, angles: list[float]) -> None:
    tensors, options = draw(case)
    phases = torch.tensor(angles[: case["steps"]], dtype=torch.float64)
    best, other = qsa_observables(*tensors, **options), qsa_observables(*tensors, phases=phases, **options)
    assert float(other.mu) <= float(best.mu) * (1 + 1e-9)
    assert float(other.mu_v1) <= float(best.mu_v1) * (1 + 1e-9)
    torch.testing.assert_close(other.nu, best.nu)
    torch.testing.assert_close(other.zeta, best.zeta)
    if float(other.mu) > 1e-20:
        torch.testing.assert_close(other.loss_b, other.loss_a + other.renyi_half_divergence)
    one_phase_more = qsa_observables(*tensors, phases=phases + 1.234, **options)
    torch.testing.assert_close(one_phase_more.mu, other.mu)


@given(parameters, st.floats(-math.pi, math.pi))
@settings(max_examples=50)
def test_global_phases(case: dict, angle: float) -> None:
    """Phases of a whole sequence, of each target alone, and of W and V change nothing."""
    (x, y, w, v), options = draw(case)
    turn = complex(math.cos(angle), math.sin(angle))
    before = qsa_observables(x, y, w, v, **options)
    each = torch.polar(
        torch.ones(len(y), 1, dtype=torch.float64), torch.arange(len(y))[:, None].double() * angle
    )
    same = [(x * turn, y * turn, w, v), (x, y * each, w, v), (x, y, w, v * turn)]
    if case["kernel"] == "monomial":
        same.append((x, y, w * turn, v))
    for arguments in same:
        after = qsa_observables(*arguments, **options)
        torch.testing.assert_close(after.loss_1, before.loss_1)
        torch.testing.assert_close(after.mu, before.mu)


@given(parameters)
@settings(max_examples=50)
def test_any_basis_gives_the_same_observables(case: dict) -> None:
    (x, y, w, v), options = draw(case)
    basis = torch.tensor(unitary(np.random.default_rng(case["seed"] + 1), case["d"]))
    before = qsa_observables(x, y, w, v, **options)
    after = qsa_observables(x @ basis.mT, y @ basis.mT, basis @ w @ basis.mH, basis @ v @ basis.mH, **options)
    torch.testing.assert_close(after.loss_1, before.loss_1)
    torch.testing.assert_close(after.zeta, before.zeta)


@given(parameters)
@settings(max_examples=50)
def test_excess_losses_remove_the_floor(case: dict) -> None:
    tensors, options = draw(case)
    alpha = torch.tensor(np.random.default_rng(case["seed"]).uniform(0.01, 1.0, case["steps"]))
    result = qsa_observables(*tensors, leverage=alpha, **options)
    assert bool((result.step_fidelity <= alpha * (1 + 1e-9)).all())
    assert float(result.loss_1_excess) >= -1e-9
    assert float(result.loss_b_excess) >= -1e-9


@pytest.mark.parametrize("name", ["mu", "loss_b", "loss_a", "loss_half", "loss_1", "loss_v1"])
@pytest.mark.parametrize("kernel", ["monomial", "polynomial"])
def test_derivatives_agree_with_finite_differences(name: str, kernel: str) -> None:
    x, y, w, v = (tensor.requires_grad_() for tensor in as_tensors(*example(1, steps=3, d=2)))
    normalise = torch.nn.functional.normalize

    def value(*arguments: Tensor) -> Tensor:
        states, targets = (normalise(vectors, dim=-1) for vectors in arguments[:2])
        return getattr(qsa_observables(states, targets, *arguments[2:], kernel=kernel, degree=3), name)

    torch.autograd.gradcheck(value, (x, y, w, v))
    if name == "loss_b":
        torch.autograd.gradgradcheck(value, (x, y, w, v))


@pytest.mark.parametrize("kernel", ["monomial", "polynomial", "softmax"])
@pytest.mark.parametrize("degree", [1, 2, 6])
def test_vmap_over_members_is_one_member_at_a_time(kernel: str, degree: int) -> None:
    members = [as_tensors(*example(seed)) for seed in range(4)]
    stacked = [torch.stack(parts) for parts in zip(*members, strict=True)]

    def loss(x: Tensor, y: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return qsa_observables(x, y, w, v, kernel=kernel, degree=degree).loss_b

    gradient = torch.func.grad(loss, argnums=(0, 2, 3))
    for in_dims in [(0, 0, 0, 0), (None, None, 0, 0), (0, None, None, 0)]:
        arguments = [stack if dim == 0 else stack[0] for stack, dim in zip(stacked, in_dims, strict=True)]
        together = torch.func.vmap(gradient, in_dims=in_dims)(*arguments)
        for index, member in enumerate(members):
            chosen = [
                part if dim == 0 else members[0][n]
                for n, (part, dim) in enumerate(zip(member, in_dims, strict=True))
            ]
            for got, expected in zip(together, gradient(*chosen), strict=True):
                torch.testing.assert_close(got[index], expected)
    everything = torch.func.vmap(lambda *a: qsa_observables(*a, kernel=kernel, degree=degree))(*stacked)
    assert isinstance(everything, QSAObservables)
    assert everything.step_fidelity.shape == (4, 5)


def test_many_sequences_are_cut_into_pieces_without_a_trace() -> None:
    """Scores are computed a cache-full at a time; 300 sequences of 32 steps make several pieces."""
    generator = np.random.default_rng(0)
    states = torch.tensor(unit_vectors(generator, 300, 33, 2))
    w, v = (torch.tensor(unitary(generator, 2)).requires_grad_() for _ in range(2))
    together = qsa_observables(states[:, :-1], states[:, 1:], w, v, kernel="monomial", degree=3).loss_1
    alone = torch.stack(
        [qsa_observables(s[:-1], s[1:], w, v, kernel="monomial", degree=3).loss_1 for s in states]
    )
    torch.testing.assert_close(together, alone)
    for got, expected in zip(
        torch.autograd.grad(together.sum(), (w, v)), torch.autograd.grad(alone.sum(), (w, v)), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_single_precision_suffices_for_training() -> None:
    double = as_tensors(*example(2, steps=32, d=16))
    single = [tensor.to(torch.complex64) for tensor in double]
    for kernel in ("monomial", "polynomial"):
        expected = qsa_observables(*double, kernel=kernel, degree=6)
        result = qsa_observables(*single, kernel=kernel, degree=6)
        torch.testing.assert_close(result.loss_b.double(), expected.loss_b, rtol=1e-5, atol=0)
        torch.testing.assert_close(result.loss_1.double(), expected.loss_1, rtol=1e-5, atol=0)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": torch.ones(4, 4, dtype=torch.complex128) / 2}, r"Argument `y` must have the steps"),
        ({"query_key": torch.eye(3)}, r"Argument `query_key` must end in \(4, 4\)"),
        ({"value": torch.eye(4)[0]}, r"Argument `value` must end in \(4, 4\)"),
        ({"x": torch.ones(4)}, r"Argument `x` must have shape \(\.\.\., T, d\)"),
        ({"x": torch.ones(5, 4, dtype=torch.complex128)}, r"Argument `x` must hold unit vectors .* norm 2"),
        ({"y": torch.full((5, 4), torch.nan)}, r"Argument `y` must be finite, but y\[0, 0\] is nan"),
        ({"kernel": "polynomail"}, r"did you mean 'polynomial'"),
        ({"degree": 0}, r"Argument `degree` must be an integer in \[1, 64\], but is 0"),
        ({"beta": -1.0}, r"Argument `beta` must be a finite number > 0"),
        ({"phases": "best"}, r"Argument `phases` must be 'optimal'"),
    ],
)
def test_bad_input_gets_one_line(change: dict, message: str) -> None:
    x, y, w, v = as_tensors(*example(0))
    arguments = {"x": x, "y": y, "query_key": w, "value": v} | change
    data = [arguments.pop(name) for name in ("x", "y", "query_key", "value")]
    with pytest.raises(ArgumentError, match=message) as problem:
        qsa_observables(*data, **arguments)
    assert "\n" not in str(problem.value)
