"""The processors of this machine: what they are called, and how many of their threads work."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray


def processor_name() -> str:
    """The processor, by the name that it gives itself."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch work on ``count`` threads meanwhile; the number is one of the whole process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def over_threads(work: Callable[[NDArray[np.int64]], object], count: int, n_threads: int) -> None:
    """Have ``work`` done on the numbers 0 ... count - 1, in as many runs of them as there are threads.

    It pays for work that lets go of the interpreter, such as compiled kernels.
    """
    parts = np.array_split(np.arange(count), n_threads)
    if n_threads == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, parts))
