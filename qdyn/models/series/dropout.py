"""Dropout that is a function of the model's seed and of the update, and of nothing else.

In a batch of models PyTorch can drop the same entries for all of them, or what depends on how many there are.
Here each model has a stream of its own: seeds are independent, and a model comes out the same whatever is
trained beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

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

    def forward(self, count: int, like: Tensor) -> Drop:
        """What drops the next entries of tensors that have ``count`` entries in all.

        Which update it is, is known from PyTorch's global generator, whose state the training loop makes a
        function of the step.
        """
        if not self.training or not self.rate:
            return _nothing
        step = torch.randint(-(2**31), 2**31, (1,), dtype=torch.int32, device=like.device)
        # The leading bits decide, so that the last step of the finaliser is not needed.
        bits = _scrambled(_index(count, like.device) ^ _mixed(self.stream ^ _mixed(step)))
        kept = bits >= round(self.rate * 2**32) - 2**31
        factors = kept.to(like.dtype) / (1 - self.rate)
        taken = 0

        def drop(tensor: Tensor) -> Tensor:
            nonlocal taken
            first, taken = taken, taken + tensor.numel()
            return tensor * factors[first:taken].reshape(tensor.shape)

        return drop


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


@lru_cache(maxsize=16)
def _index(count: int, device: torch.device) -> Tensor:
    # Neighbours far apart before they are mixed: multiples of the golden ratio of 2**32.
    return torch.arange(count, dtype=torch.int32, device=device) * -1640531527
