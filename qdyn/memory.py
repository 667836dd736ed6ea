"""How much memory is there, and does a job fit: asked before anything is allocated."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
import torch

from qdyn.errors import ArgumentError, MemoryLimitError

_GROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)
_CACHE_LINE = 64
_SECONDS_AN_ANSWER_HOLDS = 0.02
_last_answer: tuple[float, int | None] = (-math.inf, None)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can still be allocated on ``device`` (default: main memory); None where nothing tells.

    The smallest of what the machine has free, what a container leaves to this process, and the environment
    variable QDYN_MEMORY_LIMIT (bytes, or with a suffix: "500M", "2G").
    """
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [_of_system(), _limit_of_user()]
    known = [number for number in found if number is not None]
    return min(known) if known else None


def check_memory(n_bytes: int, what: str, *, remedy: str = "", device: torch.device | None = None) -> None:
    """Refuse a job of ``n_bytes`` that cannot fit, in one line that says what it would take.

    Raises:
        MemoryLimitError: the estimate exceeds what is available.
    """
    available = available_memory(device)
    if available is not None and n_bytes > available:
        tail = f" {remedy}" if remedy else ""
        raise MemoryLimitError(
            f"{what} needs about {readable_size(n_bytes)} of memory, "
            f"but {readable_size(available)} are available.{tail}"
        )


def empty_tensor(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised tensor in main memory that starts on a cache line.

    numpy asks the system for large pages, torch does not: the first touch of a large result then costs a
    quarter of the time.
    """
    n_bytes = math.prod(shape) * dtype.itemsize
    memory = np.empty(n_bytes + _CACHE_LINE, dtype=np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return torch.from_numpy(memory[start : start + n_bytes]).view(dtype).reshape(shape)


def readable_size(n_bytes: int) -> str:
    """A size in binary units.

    >>> readable_size(3 * 2**20)
    '3.0 MiB'
    """
    if n_bytes < 1024:
        return f"{n_bytes} B"
    size, units = n_bytes / 1024, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.1f} {units[0]}" if size < 1e6 else f"{size:.1e} {units[0]}"


def _of_system() -> int | None:
    """Asked anew after a while only: short evolutions ask a thousand times a second."""
    global _last_answer  # noqa: PLW0603
    now = time.monotonic()
    if now - _last_answer[0] > _SECONDS_AN_ANSWER_HOLDS:
        known = [number for number in (_machine(), _container()) if number is not None]
        _last_answer = (now, min(known) if known else None)
    return _last_answer[1]


def _machine() -> int | None:
    try:
        _, found, rest = _read(Path("/proc/meminfo")).partition(b"MemAvailable:")
        if found:
            return int(rest.split(maxsplit=1)[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return int(os.sysconf("SC_PHYS_PAGES")) * int(os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return None


def _container() -> int | None:
    for limit, usage in _GROUP_LIMITS:
        try:
            # The word "max" in place of a number means no limit.
            return max(0, int(_read(limit)) - int(_read(usage)))
        except (OSError, ValueError):
            continue
    return None


def _read(path: Path) -> bytes:
    """A small file of the system; opened without buffers, since every evolution asks."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 2**16)
    finally:
        os.close(file)


def _limit_of_user() -> int | None:
    text = os.environ.get("QDYN_MEMORY_LIMIT", "").strip().upper().removesuffix("IB").removesuffix("B")
    if not text:
        return None
    suffix = text[-1] if text[-1] in _UNITS else ""
    try:
        size = float(text.removesuffix(suffix)) * _UNITS[suffix]
        if not 0 <= size < 2**63:
            raise ValueError(text)
        return int(size)
    except ValueError:
        raise ArgumentError(
            f"The environment variable QDYN_MEMORY_LIMIT must be a size such as 500M or 2G, but is {text!r}."
        ) from None
