"""Optimisers: members apart, resumed to the same bits, and each what its name promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from qdyn.circuits.ansatz.variational import ansatz
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ConfigError
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.training.callbacks import Callback
from qdyn.training.config import RunConfig
from qdyn.training.lbfgs import HISTORY, EnsembleLBFGS
from qdyn.training.train import train

MakeConfig = Callable[..., RunConfig]
MakeStop = Callable[[int], Callback]

KINDS = [
    ("adam", "hardware_efficient"),
    ("adamw", "hardware_efficient"),
    ("lbfgs", "hardware_efficient"),
    ("natural", "hardware_efficient"),
    ("riemannian", "matrix"),
]


def configured(make_config: MakeConfig, optimiser: str, unitaries: str, **training: object) -> RunConfig:
    config = make_config(**{"steps": 6, "learning_rate": 0.05, **training})
    return replace(
        config,
        model=replace(config.model, unitaries=unitaries),
        training=replace(
            config.training, optimiser=optimiser, weight_decay=0.1 if optimiser == "adamw" else 0.0
        ),
    )


@pytest.mark.parametrize(("optimiser", "unitaries"), KINDS)
def test_it_lowers_the_loss_and_members_are_the_runs_of_single_seeds(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig, optimiser: str, unitaries: str
) -> None:
    config = configured(make_config, optimiser, unitaries, steps=12, batch_size=24, dtype="complex128")
    together = train(config, dataset=states, out=tmp_path / "all")
    losses = together.history.loss
    assert (losses[-1] < losses[0] - 0.05).all()
    last = config.training.seeds[-1]
    alone = train(config, dataset=states, seeds=[last], out=tmp_path / "one")
    for ours, theirs in zip(together.models[-1].parameters(), alone.models[0].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("optimiser", "unitaries"), KINDS)
def test_a_stopped_run_goes_on_to_the_same_bits(
    tmp_path: Path,
    states: SequenceDataset,
    make_config: MakeConfig,
    stop_at: MakeStop,
    optimiser: str,
    unitaries: str,
) -> None:
    config = configured(make_config, optimiser, unitaries)
    train(config, dataset=states, out=tmp_path / "whole")
    train(config, dataset=states, out=tmp_path / "parts", callbacks=[stop_at(3)])
    train(config, dataset=states, out=tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_riemannian_steps_stay_on_the_group(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    config = configured(make_config, "riemannian", "matrix", steps=60, learning_rate=0.3)
    model = train(config, dataset=states, out=tmp_path / "run").model(0)
    assert isinstance(model, QSAPredictor)
    for unitary in model.matrices()[:2]:
        identity = torch.eye(unitary.shape[-1], dtype=unitary.dtype)
        torch.testing.assert_close(unitary @ unitary.mH, identity, rtol=0, atol=2e-6)


def test_a_riemannian_step_has_the_length_of_the_learning_rate(
    tmp_path: Path, states: SequenceDataset, make_config: MakeConfig
) -> None:
    config = configured(
        make_config, "riemannian", "matrix", steps=1, learning_rate=0.01, dtype="complex128", seeds=(0,)
    )
    trained = train(config, dataset=states, out=tmp_path / "run").model(0)
    assert isinstance(trained, QSAPredictor)
    start = QSAPredictor(config.model, states.metadata, seed=0).double()
    for after, before in zip(trained.matrices()[:2], start.matrices()[:2], strict=True):
        angles = np.angle(np.linalg.eigvals((after @ before.mH).detach().numpy()))
        assert np.sqrt((angles**2).mean()) == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("n_qubits", [1, 2, 3])
def test_the_metric_of_a_circuit_is_that_of_its_derivative(n_qubits: int) -> None:
    family = ansatz("hardware_efficient")
    assert family.metric is not None
    random = torch.Generator().manual_seed(n_qubits)
    angles = 6 * torch.rand(3, n_qubits, 3, dtype=torch.float64, generator=random)

    def entries(values: Tensor) -> Tensor:
        return torch.view_as_real(family.unitary(values))

    derivative = torch.autograd.functional.jacobian(entries, angles).reshape(-1, angles.numel())
    expected = derivative.mT @ derivative / 2**n_qubits
    torch.testing.assert_close(family.metric(angles), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(
        expected.diagonal(), torch.full((angles.numel(),), 0.25).double(), rtol=0, atol=1e-13
    )


def test_lbfgs_is_the_dense_recursion_of_each_member() -> None:
    """H g from the two loops is BFGS with dense matrices, H_0 scaled by the latest pair (N&W 7.20)."""
    random = np.random.default_rng(3)
    curvatures = [np.diag(random.uniform(0.5, 2, 5)) for _ in range(2)]
    place = torch.nn.Parameter(torch.from_numpy(random.standard_normal((2, 5))))
    optimiser = EnsembleLBFGS([place], lr=1e3)
    history: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
    for _ in range(4):
        before = place.detach().numpy().copy()
        gradients = [a @ x for a, x in zip(curvatures, before, strict=True)]
        expected = []
        for pairs, gradient in zip(history, gradients, strict=True):
            inverse = np.eye(5)
            if pairs:
                step, change = pairs[-1]
                inverse *= step @ change / (change @ change)
            for step, change in pairs:
                rho = 1 / (step @ change)
                left = np.eye(5) - rho * np.outer(step, change)
                inverse = left @ inverse @ left.T + rho * np.outer(step, step)
            expected.append(inverse @ gradient)
        place.grad = torch.from_numpy(np.stack(gradients))
        optimiser.step()
        after = place.detach().numpy()
        np.testing.assert_allclose(before - after, expected, atol=1e-10)
        for member, (a, pairs) in enumerate(zip(curvatures, history, strict=True)):
            moved = after[member] - before[member]
            pairs.append((moved, a @ moved))


def test_lbfgs_solves_a_quadratic_and_keeps_a_bounded_history() -> None:
    curvature = torch.diag(torch.linspace(1, 5, 6)).double()
    place = torch.nn.Parameter(torch.ones(1, 6).double())
    optimiser = EnsembleLBFGS([place], lr=0.5)
    for _ in range(40):
        place.grad = place.detach() @ curvature
        optimiser.step()
    assert place.detach().abs().max() < 1e-8
    assert len(optimiser.state[place]["steps"]) == HISTORY


def test_no_parameter_moves_by_more_than_the_learning_rate_under_lbfgs() -> None:
    place = torch.nn.Parameter(torch.tensor([[100.0, 1.0], [0.01, 0.0]]))
    before = place.detach().clone()
    place.grad = before.clone()
    EnsembleLBFGS([place], lr=0.5).step()
    moved = before - place.detach()
    torch.testing.assert_close(moved, torch.tensor([[0.5, 0.005], [0.01, 0.0]]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (("riemannian", "free"), "must be 'riemannian' exactly where model.unitaries is 'matrix', but is"),
        (("adam", "matrix"), "must be 'riemannian' exactly where model.unitaries is 'matrix', but is 'adam'"),
        (("natural", "brick_wall"), "'natural' needs model.unitaries 'hardware_efficient', but"),
    ],
)
def test_an_optimiser_for_other_unitaries_is_refused(
    tmp_path: Path,
    states: SequenceDataset,
    make_config: MakeConfig,
    kind: tuple[str, str],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(configured(make_config, *kind), dataset=states, out=tmp_path / "run")
