"""When entries are dropped at random, and which: not by how a batch is shared out among processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SHARE: ContextVar[tuple[int, int] | None] = ContextVar("share of a batch", default=None)


@contextmanager
def share_of_batch(first: int, total: int) -> Iterator[None]:
    """Inside the block, batches are the rows from ``first`` on of batches of ``total`` rows.

    Args:
        first: Row of the whole batch that comes first here.
        total: Rows of the whole batch.
    """
    token = _SHARE.set((first, total))
    try:
        yield
    finally:
        _SHARE.reset(token)


def share_of_rows(rows: int) -> tuple[slice, int]:
    """Which rows of the whole batch the ``rows`` rows at hand are, and how many it has."""
    first, total = _SHARE.get() or (0, rows)
    return slice(first, first + rows), total


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Inside the block a trainable model drops nothing at random.

    Example:
        >>> model = BatchDropout(0.5)
        >>> with evaluating(model):
        ...     print(model(torch.ones(3)), model.training)
        tensor([1., 1., 1.]) False
        >>> model.training
        True
    """
    if not (isinstance(model, nn.Module) and model.training):
        yield
        return
    model.eval()
    try:
        yield
    finally:
        model.train()


class BatchDropout(nn.Module):
    """Sets entries to zero at random in training, and divides the others by 1 - rate.

    PyTorch's own draws what it needs for the rows it is given, so that the second half of a batch would lose
    other entries in a process of its own. Here the choices are drawn for the whole batch, see
    `share_of_batch`. They come from PyTorch's global generator.

    Args:
        rate: Probability that an entry is dropped, in [0, 1).

    Example:
        >>> dropout, x = BatchDropout(0.5), torch.ones(6, 3)
        >>> _ = torch.manual_seed(0)
        >>> whole = dropout(x)
        >>> _ = torch.manual_seed(0)
        >>> with share_of_batch(4, 6):
        ...     print(torch.equal(dropout(x[4:]), whole[4:]))
        True
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """``x`` with some of its entries dropped, or as it is outside of training."""
        if not self.training or not self.rate:
            return x
        own, total = share_of_rows(x.shape[0])
        # Half the time of drawing from a Bernoulli distribution.
        kept = torch.rand(total, *x.shape[1:], device=x.device)[own] >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        """What a printed module says of itself."""
        return f"rate={self.rate:g}"
