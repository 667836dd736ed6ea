"""Compute and write one shard, and try on a few sequences what that will cost.

Sequences are computed in the source's blocks, whose size and alignment depend on the recipe alone. A shard
takes from each block what falls to it. So neither the number of workers nor the size of a shard changes a
bit of the data.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qdyn.config import to_mapping
from qdyn.data.generation.plan import Plan, shard_path
from qdyn.data.layout import Block, sequence_checksums, write_sequences
from qdyn.data.source import Source
from qdyn.data.store import file_attributes
from qdyn.processors import torch_threads

# A whole block is timed only where that is quick.
_WHOLE_BLOCK_SECONDS = 2.0
# A worker of several threads makes one shard at a time: the number of threads of torch is set for a process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Job:
    """All that making a shard takes, as it is sent to workers.

    Args:
        folder: where to.
        plan: what is being generated.
        source: what makes its sequences. It travels with the job, so that workers also have one that was
            registered in a script or a notebook.
        fingerprint: of the recipe, as the plan in the folder has it.
        patience: seconds after which a file that another machine has written must be seen.
    """

    folder: Path
    plan: Plan
    source: Source
    fingerprint: str
    patience: float


@dataclass(frozen=True)
class Trial:
    """What a few sequences tell about all of them.

    Args:
        checksum: of the first sequence, computed by itself. It differs between machines whose processors or
            libraries round differently.
        seconds: time that one sequence takes; an upper bound where a block was too long to be timed whole.
    """

    checksum: str
    seconds: float


def make_shard(job: Job, number: int, told: Callable[[int], object] | None = None) -> int:
    """Compute and write one shard.

    Args:
        job: what is being generated.
        number: which shard.
        told: called with 0 once it is this shard's turn, then with the number of sequences after each block.

    Returns:
        The number of sequences.
    """
    recipe, source = job.plan.recipe, job.source
    first, last = job.plan.ranges[number]

    def blocks() -> Iterator[Block]:
        if told is not None:
            told(0)
        size = source.block_size()
        for begin in range(first // size * size, last, size):
            whole = source.block(seed=recipe.seed, first=begin, count=size, precision=recipe.precision)
            part = whole.part(max(first - begin, 0), min(last - begin, size))
            yield part
            if told is not None:
                told(len(part))

    with _one_thread():
        write_sequences(
            shard_path(job.folder, number),
            source.layout(recipe.precision),
            blocks(),
            first=first,
            count=last - first,
            splits=recipe.split_ranges,
            attributes=file_attributes(recipe.name, recipe.phase_convention, to_mapping(recipe)),
        )
    return last - first


def try_first(job: Job) -> Trial:
    """Compute the first sequence twice, the first time for what is compiled or loaded on the way."""
    recipe, source = job.plan.recipe, job.source
    size = source.block_size()

    def timed(count: int) -> tuple[Block, float]:
        began = time.perf_counter()
        block = source.block(seed=recipe.seed, first=0, count=count, precision=recipe.precision)
        return block, (time.perf_counter() - began) / count

    with _one_thread():
        timed(1)
        block, seconds = timed(1)
        if 1 < size < _WHOLE_BLOCK_SECONDS / max(seconds, 1e-9):
            seconds = timed(size)[1]
    return Trial(sequence_checksums(source.layout(recipe.precision), block)[0].tobytes().hex(), seconds)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One BLAS thread: the order of a sum, and with it the last bit, may depend on their number."""
    with _one_at_a_time, torch_threads(1):
        yield
