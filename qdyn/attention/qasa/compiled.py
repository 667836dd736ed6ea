"""Circuits by compiled kernels, differentiable as often as one likes and under `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_PRECISIONS = (torch.float32, torch.float64)
# Fewer circuits do not fill the lanes of a register, and are not worth the wait for the compiler.
_FEWEST = 16


@dataclass(frozen=True)
class CompiledCircuit:
    """The readings of a circuit, all of whose arguments begin with an axis of models.

    Args:
        values: (inputs, weights) -> readings, by a compiled kernel.
        gradients: (inputs, weights, gradients that arrive) -> gradients of both, by a compiled kernel.
        form: What ``values`` computes, of one model and in plain PyTorch: second derivatives come from it.
    """

    values: Callable[[Tensor, Tensor], Tensor]
    gradients: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    form: Callable[[Tensor, Tensor], Tensor]


def is_compiled_for(inputs: Tensor, *, circuits: int) -> bool:
    """Whether kernels are for so many circuits of these inputs: real, on a CPU, and not a few."""
    return inputs.device.type == "cpu" and inputs.dtype in _PRECISIONS and circuits >= _FEWEST


def compiled_values(inputs: Tensor, weights: Tensor, circuit: CompiledCircuit) -> Tensor:
    """What ``circuit.values`` finds, differentiable."""
    found: Tensor = _Values.apply(inputs, weights, circuit)  # type: ignore[no-untyped-call]
    return found


class _Values(torch.autograd.Function):
    @staticmethod
    def forward(inputs: Tensor, weights: Tensor, circuit: CompiledCircuit) -> Tensor:
        return circuit.values(inputs, weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.circuit = inputs[2]

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, Tensor, None]:
        found: tuple[Tensor, Tensor] = _Gradients.apply(*ctx.saved_tensors, *arriving, ctx.circuit)  # type: ignore[no-untyped-call]
        return (*found, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[Tensor, int]:
        found: Tensor = _Values.apply(*_joined(info, in_dims, given))  # type: ignore[no-untyped-call]
        return torch.unflatten(found, 0, (info.batch_size, -1)), 0


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(
        inputs: Tensor, weights: Tensor, arriving: Tensor, circuit: CompiledCircuit
    ) -> tuple[Tensor, Tensor]:
        return circuit.gradients(inputs, weights, arriving)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.circuit = inputs[3]

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        def pull(inputs: Tensor, weights: Tensor, first: Tensor) -> tuple[Tensor, ...]:
            back: tuple[Tensor, ...] = torch.func.vjp(torch.vmap(ctx.circuit.form), inputs, weights)[1](first)
            return back

        first, second, third = torch.func.vjp(pull, *ctx.saved_tensors)[1](arriving)
        return first, second, third, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        found: tuple[Tensor, Tensor] = _Gradients.apply(*_joined(info, in_dims, given))  # type: ignore[no-untyped-call]
        return tuple(torch.unflatten(one, 0, (info.batch_size, -1)) for one in found), (0, 0)


def _joined(info: Any, in_dims: tuple[Any, ...], given: tuple[Any, ...]) -> list[Any]:
    """Arguments with the axis of `torch.vmap` as part of that of models."""
    joined: list[Any] = []
    for one, axis in zip(given, in_dims, strict=True):
        if not isinstance(one, Tensor):
            joined.append(one)
            continue
        first = one.expand(info.batch_size, *one.shape) if axis is None else one.movedim(axis, 0)
        joined.append(first.flatten(0, 1))
    return joined
