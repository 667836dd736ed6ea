"""Several seeds trained as one batch: the parameters of E models stacked along a leading axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from qdyn.circuits.ansatz.variational import Ansatz
from qdyn.training.config import LossName


class _Objective(nn.Module):
    """Calls ``model.loss`` from ``forward``, where functional_call can reach it; the mean over the batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, name: LossName, inputs: Tensor, targets: Tensor, mask: Tensor, conditions: Tensor | None = None
    ) -> Tensor:
        told = () if conditions is None else (conditions,)
        per_sequence: Tensor = cast(Any, self.model).loss(name, inputs, targets, mask, *told)
        return per_sequence.mean(-1)


class Ensemble:
    """E models of one architecture as one set of tensors with a leading seed axis.

    The members never mix: the loss is a vector with one entry a member, the gradient of its sum is each
    member's own, and Adam works entry by entry. An ensemble therefore equals E separate runs. A model whose
    `stackable` is true computes all members by itself; any other goes through `torch.vmap`.

    Args:
        models: The members; they differ in the values of their parameters only.

    Attributes:
        stackable: Whether stacked tensors are given to the model as they are.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        objectives = [_Objective(model) for model in models]
        self._models = list(models)
        self.stackable = bool(getattr(models[0], "stackable", False))
        self._objective = objectives[0]
        parameters, buffers = stack_module_state(objectives)
        self.parameters: dict[str, Tensor] = {
            name.removeprefix("model."): tensor for name, tensor in parameters.items()
        }
        # A buffer that all members share (a gate, a causal mask) is not copied E times: batched products with
        # it would cost E times the memory traffic.
        shared = {name for name, stack in buffers.items() if bool((stack == stack[:1]).all())}
        self._buffers = {name: stack[0] if name in shared else stack for name, stack in buffers.items()}
        self._buffer_axes = {name: None if name in shared else 0 for name in buffers}

    def __len__(self) -> int:
        return len(self._models)

    def losses(
        self,
        name: LossName,
        inputs: Tensor,
        targets: Tensor,
        mask: Tensor,
        conditions: Tensor | None = None,
        *,
        same_data: bool = False,
    ) -> Float[Tensor, " seeds"]:
        """The mean loss of every member over its batch.

        Args:
            name: Which loss.
            inputs: (seeds, batch, time, ...), or (batch, time, ...) where ``same_data``.
            targets: Likewise.
            mask: Likewise.
            conditions: Likewise, (..., conditions); for models that are told some.
            same_data: Every member sees the same batch.
        """
        data = (inputs, targets, mask) if conditions is None else (inputs, targets, mask, conditions)

        def member(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *data: Tensor) -> Tensor:
            return functional_call(self._objective, (parameters, buffers), (name, *data))

        tensors = {f"model.{key}": tensor for key, tensor in self.parameters.items()}
        if len(self) == 1:
            # One model needs no batching of its operations, which makes some of them slower.
            alone = {key: tensor[0] for key, tensor in tensors.items()}
            buffers = {
                key: tensor if self._buffer_axes[key] is None else tensor[0]
                for key, tensor in self._buffers.items()
            }
            return member(alone, buffers, *(data if same_data else (one[0] for one in data)))[None]
        if self.stackable:
            # Every operation of the model is one of all members already.
            stacked = [one.expand(len(self), *one.shape) for one in data] if same_data else data
            return member(tensors, self._buffers, *stacked)
        axis = None if same_data else 0
        # What is dropped at random is the same for every member, so that it does not depend on the others.
        batched = vmap(member, in_dims=(0, self._buffer_axes, *[axis] * len(data)), randomness="same")
        return batched(tensors, self._buffers, *data)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Nothing is dropped at random inside the block."""
        self._objective.eval()
        try:
            yield
        finally:
            self._objective.train()

    def unitaries(self) -> Mapping[str, Ansatz]:
        """The parameters that stand for unitaries, and how they do."""
        found: Mapping[str, Ansatz] = getattr(self._models[0], "unitaries", {})
        return found

    @property
    def validation_metric(self) -> LossName:
        """The loss that says on the validation split what a model is worth: L_1, unless it names another."""
        named: LossName = getattr(self._models[0], "validation_metric", "L_1")
        return named

    def first_non_finite(self) -> int | None:
        """The first member with a parameter that is NaN or infinite."""
        for tensor in self.parameters.values():
            finite = torch.isfinite(tensor.detach()).reshape(len(self), -1).all(dim=1)
            if not bool(finite.all()):
                return int((~finite).to(torch.uint8).argmax())
        return None

    def members(self) -> list[nn.Module]:
        """The models with their present parameters, on the CPU."""
        for index, model in enumerate(self._models):
            own = dict(model.named_parameters())
            with torch.no_grad():
                for name, stack in self.parameters.items():
                    own[name].copy_(stack[index])
            model.cpu()
        return self._models


def clip_members(parameters: dict[str, Tensor], *, largest_norm: float, each: bool = False) -> None:
    """Scale each member's gradient to a Euclidean norm of at most ``largest_norm``, by itself.

    Args:
        parameters: stacked over members, with gradients.
        largest_norm: > 0, of the gradient of the whole model.
        each: of every parameter tensor instead.
    """
    gradients = [tensor.grad for tensor in parameters.values() if tensor.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    if not each:
        norms = torch.linalg.vector_norm(norms, dim=0).expand_as(norms)
    if bool((norms <= largest_norm).all()):
        return
    scales = (largest_norm / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1.0)
    for gradient, scale in zip(gradients, scales, strict=True):
        gradient.mul_(scale.reshape(-1, *[1] * (gradient.ndim - 1)))


def set_precision(model: nn.Module, dtype: Literal["complex64", "complex128"]) -> None:
    """Give the model's numbers the precision of ``dtype``: real ones stay real, complex ones complex."""
    complex_dtype = getattr(torch, dtype)

    def convert(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(complex_dtype)
        return tensor.to(complex_dtype.to_real()) if tensor.is_floating_point() else tensor

    model._apply(convert)  # type: ignore[no-untyped-call]


def stack_states(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The state dictionaries of all members as one, with a leading seed axis."""
    states = [model.state_dict() for model in models]
    return {name: torch.stack([state[name].detach() for state in states]).contiguous() for name in states[0]}
