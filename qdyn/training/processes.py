"""The processes that share the updates of a run: one, unless torchrun started several.

Each takes its share of every batch, gradients are added up, and every process makes the same update, so that
all of them hold the same parameters throughout. The first one alone writes files and calls hooks.

    torchrun --nproc-per-node 2 --no-python qdyn train PRESET --out DIR
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """One process among those that train a run.

    Attributes:
        rank: Its number, from 0.
        count: How many there are.

    Example:
        >>> Processes(rank=1, count=2).share(5)
        slice(3, 5, None)
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """The rows of a batch that this process works on; the shares differ by one row at most."""
        ends = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(rows), self.count)])
        return slice(int(ends[self.rank]), int(ends[self.rank + 1]))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes, in place."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.count == 1:
            return flag
        raised = torch.tensor([float(flag)])
        self.add_up([raised])
        return bool(raised > 0)

    def wait(self) -> None:
        """Until every process has come here."""
        self.any(False)


ALONE = Processes()


def is_first_process() -> bool:
    """Whether this process speaks for all; outside of `joined` too."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, connected; this one alone where it started none.

    Args:
        device: Where the run takes place; of several GPUs each process takes its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(backend)
    try:
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
