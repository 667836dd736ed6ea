"""Stacked members: each one's loss and gradient are its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qdyn.training.ensembles import Ensemble, clip_members, set_precision, stack_states

N_SEEDS, BATCH, TIME, DIMENSION = 3, 5, 4, 2


class Linear(nn.Module):
    """Forecasts a matrix times the last element; the members share one buffer and not the other."""

    shared: Tensor
    own: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(DIMENSION, DIMENSION, generator=generator))
        self.shift = nn.Parameter(torch.randn(DIMENSION, generator=generator))
        self.register_buffer("shared", torch.tensor([1.0, 2.0]))
        self.register_buffer("own", torch.tensor(float(seed)))

    def loss(self, name: str, inputs: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        assert name == "L_B"
        error = (inputs @ self.weight + self.shift * self.shared + self.own - targets).square().sum(-1)
        return (error * mask).sum(-1) / mask.sum(-1)


def data(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N_SEEDS, BATCH, TIME, DIMENSION, generator=generator)
    targets = torch.randn(N_SEEDS, BATCH, TIME, DIMENSION, generator=generator)
    mask = torch.rand(N_SEEDS, BATCH, TIME, generator=generator) < 0.8
    mask[..., 0] = True
    return inputs, targets, mask


def test_losses_and_gradients_are_each_members_own() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    inputs, targets, mask = data(0)
    losses = ensemble.losses("L_B", inputs, targets, mask)
    losses.sum().backward()
    for index in range(N_SEEDS):
        alone = Linear(index)
        loss = alone.loss("L_B", inputs[index], targets[index], mask[index]).mean()
        loss.backward()
        torch.testing.assert_close(losses[index], loss)
        for name, parameter in alone.named_parameters():
            gradient = ensemble.parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[index], parameter.grad)


def test_all_members_can_see_the_same_batch() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    inputs, targets, mask = (tensor[0] for tensor in data(1))
    losses = ensemble.losses("L_B", inputs, targets, mask, same_data=True)
    alone = [Linear(seed).loss("L_B", inputs, targets, mask).mean() for seed in range(N_SEEDS)]
    torch.testing.assert_close(losses, torch.stack(alone))


def test_members_carry_the_trained_values_back() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    with torch.no_grad():
        for tensor in ensemble.parameters.values():
            tensor.add_(1)
    stacked = stack_states(ensemble.members())
    for index, model in enumerate(ensemble.members()):
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, Linear(index).get_parameter(name) + 1)
            assert torch.equal(stacked[name][index], parameter)
    assert stacked["own"].tolist() == [0.0, 1.0, 2.0]


def test_clipping_bounds_each_members_norm_and_leaves_the_others_alone() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    for scale, tensor in enumerate(ensemble.parameters.values(), start=1):
        tensor.grad = torch.zeros_like(tensor)
        tensor.grad[0], tensor.grad[1], tensor.grad[2] = 0.01 * scale, 100.0 * scale, 0.0
    before = {
        name: tensor.grad.clone() for name, tensor in ensemble.parameters.items() if tensor.grad is not None
    }

    def norm(index: int) -> float:
        return float(
            torch.stack([tensor.grad[index].square().sum() for tensor in ensemble.parameters.values()])
            .sum()
            .sqrt()
        )

    clip_members(ensemble.parameters, largest_norm=0.5)
    assert abs(norm(1) - 0.5) < 1e-6
    for name, tensor in ensemble.parameters.items():
        assert torch.equal(tensor.grad[0], before[name][0])
        assert torch.equal(tensor.grad[2], torch.zeros_like(tensor.grad[2]))


def test_clipping_each_parameter_leaves_no_gradient_in_the_shadow_of_another() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    for scale, tensor in enumerate(ensemble.parameters.values(), start=1):
        tensor.grad = torch.full_like(tensor, 10.0**scale)
        tensor.grad[0] = 1e-3 / tensor[0].numel()
    before = [tensor.grad[0].clone() for tensor in ensemble.parameters.values() if tensor.grad is not None]
    clip_members(ensemble.parameters, largest_norm=0.5, each=True)
    for tensor, small in zip(ensemble.parameters.values(), before, strict=True):
        assert tensor.grad is not None
        assert torch.equal(tensor.grad[0], small)
        torch.testing.assert_close(tensor.grad[1:].flatten(1).norm(dim=1), torch.full((N_SEEDS - 1,), 0.5))


def test_the_member_with_a_broken_parameter_is_found() -> None:
    ensemble = Ensemble([Linear(seed) for seed in range(N_SEEDS)])
    assert ensemble.first_non_finite() is None
    with torch.no_grad():
        ensemble.parameters["shift"][1, 0] = torch.nan
    assert ensemble.first_non_finite() == 1


def test_precision_keeps_real_and_complex_apart() -> None:
    model = Linear(0)
    model.register_buffer("gate", torch.eye(2, dtype=torch.complex64))
    model.register_buffer("order", torch.arange(3))
    set_precision(model, "complex128")
    assert model.weight.dtype == torch.float64
    assert model.gate.dtype == torch.complex128
    assert model.order.dtype == torch.int64
