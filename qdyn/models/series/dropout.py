"""Dropout that is a function of the model's seed and of the update, and of nothing else.

In a batch of models PyTorch can drop the same entries for all of them, or what depends on how many there are.
Here each model has a stream of its own: seeds are independent, and a model comes out the same whatever is
trained beside it. Entries are counted in the whole batch, see `qdyn.models.dropout.share_of_batch`, so that
it comes out the same however many processes share the batch, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qdyn.models.dropout import share_of_rows

Drop = Callable[[Tensor], Tensor]
"""Drops entries of a tensor at random, or leaves it alone."""


class SeededDropout(nn.Module):
    """Draws what is dropped in one pass through a model.

    Args:
        rate: Probability that an entry is dropped, in [0, 1); the others are divided by 1 - rate.
        seed: Of the model.
    """

    stream: Tensor

    def __init__(self, rate: float, *, seed: int) -> None:
        super().__init__()
        self.rate = rate
        state = np.random.SeedSequence(seed).generate_state(1).astype(np.int32)
        # Not kept with the weights: it follows from the seed. One-dimensional, as batches of models need.
        self.register_buffer("stream", torch.from_numpy(state), persistent=False)

    def forward(self, like: Tensor, *, windows: int = 1) -> Drop:
        """What drops entries of one tensor after the other in a pass over ``like``.

        Which update it is, is known from PyTorch's global generator, whose state the training loop makes a
        function of the step.

        Args:
            like: Values (batch, time, components), or (models, batch, time, components); the tensors begin
                with the same axis of models, and go through the batch row by row.
            windows: Rows of ``like`` that come from one row of a batch, >= 1.
        """
        if not self.training or not self.rate:
            return _nothing
        step = torch.randint(-(2**31), 2**31, (1,), dtype=torch.int32, device=like.device)
        models = like.shape[:-3]
        # The leading bits decide, so that the last step of the finaliser is not needed.
        keys = _mixed(self.stream ^ _mixed(step)).expand(*models, 1)
        # Kernels see memory, which a tensor inside torch.vmap has none of.
        compiled = like.device.type == "cpu" and not torch._C._are_functorch_transforms_active()
        plain = keys.reshape(-1).numpy() if compiled else None
        rows = like.shape[-3] // windows
        own, every = share_of_rows(rows)
        taken = 0

        def drop(tensor: Tensor) -> Tensor:
            nonlocal taken
            size = tensor.shape[len(models) :].numel()
            first, taken = taken + own.start * (size // rows), taken + every * (size // rows)
            if plain is not None:
                dropped: Tensor = _Dropped.apply(tensor, plain, first, self.rate)  # type: ignore[no-untyped-call]
                return dropped
            kept = _scrambled(_index(first, size, like.device) ^ keys) >= _threshold(self.rate)
            return tensor * (kept.to(tensor.dtype) / (1 - self.rate)).reshape(tensor.shape)

        return drop


class _Dropped(torch.autograd.Function):
    """Values (models…, entries…) with some of them dropped, by a compiled kernel."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, keys: np.ndarray, first: int, rate: float) -> Tensor:
        from qdyn.models.series.dropout_kernels import drop

        ctx.rest = keys, first, rate
        flat = values.detach().contiguous().view(len(keys), -1).numpy()
        found = np.empty_like(flat)
        drop(flat, keys, first, _threshold(rate), flat.dtype.type(1) / flat.dtype.type(1 - rate), found)
        return torch.from_numpy(found).view(values.shape)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor, None, None, None]:
        dropped: Tensor = _Dropped.apply(*arriving, *ctx.rest)  # type: ignore[no-untyped-call]
        return dropped, None, None, None


def _threshold(rate: float) -> int:
    """Signed bits below it are dropped."""
    return round(rate * 2**32) - 2**31


def _nothing(tensor: Tensor) -> Tensor:
    return tensor


def _mixed(bits: Tensor) -> Tensor:
    """The finaliser of MurmurHash3: every bit of a 32-bit number depends on all of them afterwards."""
    bits = _scrambled(bits)
    return bits ^ _shifted(bits, 16)


def _scrambled(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 16)) * -2048144789
    return (bits ^ _shifted(bits, 13)) * -1028477387


def _shifted(bits: Tensor, places: int) -> Tensor:
    """A logical shift to the right: PyTorch's is arithmetic."""
    return (bits >> places) & (2 ** (32 - places) - 1)


def _index(first: int, count: int, device: torch.device) -> Tensor:
    # Neighbours far apart before they are mixed: multiples of the golden ratio of 2**32.
    return torch.arange(first, first + count, dtype=torch.int32, device=device) * -1640531527
