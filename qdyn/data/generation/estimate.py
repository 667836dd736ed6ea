"""What a job will take on disk, in memory and in time: told before it begins, refused if it cannot fit."""

from __future__ import annotations

import shutil
from pathlib import Path

from qdyn.data.layout import Layout
from qdyn.data.source import Source
from qdyn.errors import OutputError
from qdyn.memory import check_memory, readable_size

# What a process takes that has loaded dask, PyTorch and qdyn and made nothing yet: 245 MiB were seen.
WORKER_BYTES = 300 << 20
_UNITS_OF_TIME = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))


def memory_each(source: Source, *, cluster: bool) -> int:
    """Bytes for a worker that makes one block: of a cluster, or this very process."""
    return source.working_bytes() + (WORKER_BYTES if cluster else 0)


def check_room(folder: Path, name: str, layout: Layout, *, left: int) -> None:
    """Refuse what cannot fit on the disk.

    Raises:
        OutputError: ``left`` sequences need more than is free.
    """
    disk, free = left * layout.bytes_per_sequence, shutil.disk_usage(folder).free
    if disk > free:
        raise OutputError(
            f"{name} needs {readable_size(disk)} on disk, but {readable_size(free)} are free at {folder}."
        )


def check_machine(name: str, source: Source, *, workers: int) -> None:
    """Refuse what cannot fit in the memory of this machine.

    Raises:
        MemoryLimitError: the workers need more than is available.
    """
    check_memory(
        workers * memory_each(source, cluster=workers > 1),
        f"Generating {name} with {counted(workers, 'worker')}",
        remedy="Use fewer workers." if workers > 1 else "",
    )


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(2, "worker")
    '2 workers'
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def readable_time(seconds: float) -> str:
    """A time to two figures or so, in the unit that suits it.

    >>> [readable_time(seconds) for seconds in (0.0042, 12.3, 5400, 400_000)]
    ['4.2 ms', '12 s', '1.5 h', '4.6 days']
    """
    for unit, length in _UNITS_OF_TIME:
        if seconds >= length or unit == "ms":
            value = seconds / length
            break
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
