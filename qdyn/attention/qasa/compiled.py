"""QASA's value circuit by compiled kernels, differentiable as often as one likes and under `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

Form: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""The same numbers in plain PyTorch, from which second derivatives come."""

_PRECISIONS = (torch.float32, torch.float64)
# Fewer inputs do not fill the lanes of a register, and are not worth the wait for the compiler.
_FEWEST = 16


def is_compiled_for(inputs: Tensor) -> bool:
    """Whether the kernels are for these inputs (models, inputs, 8): on a CPU, and not a few."""
    rows = inputs.shape[0] * inputs.shape[1]
    return inputs.device.type == "cpu" and inputs.dtype in _PRECISIONS and rows >= _FEWEST


def compiled_expectations(
    qubits: Complex[Tensor, "models inputs 8 2"], angles: Float[Tensor, "models 25"], *, form: Form
) -> Float[Tensor, "models inputs 8"]:
    """<Z_0> … <Z_7> of QASA's circuit after product states.

    Args:
        qubits: Amplitudes of |0> and |1> of each qubit before the first CNOT.
        angles: Of the three layers, qubit by qubit; last that of the spare qubit.
        form: The same function in plain PyTorch.
    """
    found: Tensor = _Expectations.apply(qubits, angles, form)  # type: ignore[no-untyped-call]
    return found


class _Expectations(torch.autograd.Function):
    @staticmethod
    def forward(qubits: Tensor, angles: Tensor, _form: Form) -> Tensor:
        from qdyn.attention.qasa.kernels import expectations

        rows, trigonometric, work = _arguments(qubits, angles)
        found = np.empty((len(rows), 8), dtype=rows.dtype)
        expectations(rows, trigonometric, qubits.shape[1], found, work)
        return torch.from_numpy(found).reshape(qubits.shape[:3])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.form = inputs[2]

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, Tensor, None]:
        found: tuple[Tensor, Tensor] = _Gradients.apply(*ctx.saved_tensors, *arriving, ctx.form)  # type: ignore[no-untyped-call]
        return (*found, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[Tensor, int]:
        found: Tensor = _Expectations.apply(*_joined(info, in_dims, given))  # type: ignore[no-untyped-call]
        return torch.unflatten(found, 0, (info.batch_size, -1)), 0


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(qubits: Tensor, angles: Tensor, arriving: Tensor, _form: Form) -> tuple[Tensor, Tensor]:
        from qdyn.attention.qasa.gradient_kernels import gradients

        rows, trigonometric, work = _arguments(qubits, angles)
        by_qubit = np.empty_like(rows)
        by_angle = np.zeros(angles.shape, dtype=np.float64)
        weights = arriving.contiguous().numpy().reshape(-1, 8)
        gradients(rows, trigonometric, qubits.shape[1], weights, by_qubit, by_angle, work)
        real = torch.from_numpy(by_qubit).reshape(*qubits.shape, 2)
        return torch.view_as_complex(real), torch.from_numpy(by_angle).to(angles.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.form = inputs[3]

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        def pull(qubits: Tensor, angles: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
            back: tuple[Tensor, ...] = torch.func.vjp(torch.vmap(ctx.form), qubits, angles)[1](weights)
            return back

        first, second, third = torch.func.vjp(pull, *ctx.saved_tensors)[1](arriving)
        return first, second, third, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        found: tuple[Tensor, Tensor] = _Gradients.apply(*_joined(info, in_dims, given))  # type: ignore[no-untyped-call]
        return tuple(torch.unflatten(one, 0, (info.batch_size, -1)) for one in found), (0, 0)


def _arguments(qubits: Tensor, angles: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs as rows of real numbers, the trigonometric functions of the angles, and room to work."""
    from qdyn.attention.qasa.kernels import WORKSPACE

    rows = torch.view_as_real(qubits.resolve_conj().contiguous()).reshape(-1, 32).numpy()
    half = angles / 2
    trigonometric = torch.stack([half.cos(), half.sin(), angles.cos(), angles.sin()], dim=-1).numpy()
    return rows, trigonometric, np.empty(WORKSPACE * 64 // rows.itemsize, dtype=rows.dtype)


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
