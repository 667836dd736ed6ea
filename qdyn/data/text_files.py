"""Text files of the user: UTF-8, plain or compressed; and how what they hold is shared out over splits."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from qdyn.data.backing import SPLITS
from qdyn.errors import ArgumentError, DatasetError

_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
}


def read_text(path: str | Path) -> str:
    """The text of a file, decompressed where its name ends in .gz, .bz2 or .xz, in any case.

    Raises:
        DatasetError: the file cannot be read, decompressed or understood as UTF-8, or holds a NUL character,
            which no text does and no HDF5 file can keep.
    """
    file = Path(path)
    decompress = _DECOMPRESS.get(file.suffix.lower(), bytes)
    try:
        text = decompress(file.read_bytes()).decode("utf-8-sig")
    # A .bz2 file that was cut short is a ValueError, as is what is no UTF-8.
    except (OSError, ValueError, EOFError, lzma.LZMAError, zlib.error) as problem:
        reason = getattr(problem, "strerror", None) or getattr(problem, "reason", problem)
        raise DatasetError(f"The file {file} cannot be read as UTF-8 text: {reason}.") from problem
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DatasetError(f"The file {file} cannot be read as text: line {line} holds a NUL character.")
    return text


def plain_suffix(path: str | Path) -> str:
    """The ending of a name, in lower case, without that of a compression.

    >>> plain_suffix("proteins.FASTA.GZ")
    '.fasta'
    """
    file = Path(path)
    return (file.with_suffix("") if file.suffix.lower() in _DECOMPRESS else file).suffix.lower()


def ranges_of_shares(shares: Mapping[str, float], count: int) -> dict[str, tuple[int, int]]:
    """The range of each split, train first, where ``shares`` of ``count`` sequences fall into them.

    Args:
        shares: For "train" and, if wanted, "validation" and "test"; they sum to 1.
        count: How many sequences there are, >= 1.

    Returns:
        name -> (first, one past the last); splits that would be empty are left out.

    Raises:
        ArgumentError: an unknown name, shares that are negative or do not sum to 1, or none for training.

    Example:
        >>> ranges_of_shares({"test": 0.25, "train": 0.75}, 10)
        {'train': (0, 8), 'test': (8, 10)}
    """
    if not set(shares) <= set(SPLITS) or "train" not in shares:
        raise ArgumentError(
            f"Argument `shares` must be for 'train' and, if wanted, 'validation' and 'test', but is for "
            f"{', '.join(map(repr, shares)) or 'nothing'}."
        )
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ArgumentError(f"Argument `shares` must be >= 0 and sum to 1, but is {dict(shares)}.")
    splits, start, total = {}, 0, 0.0
    for split in SPLITS:
        if split in shares:
            total += shares[split]
            splits[split] = (start, round(total * count))
            start = splits[split][1]
    if splits["train"][1] == 0:
        raise ArgumentError(f"Argument `shares` leaves no training sequence of {count}.")
    return {split: ends for split, ends in splits.items() if ends[1] > ends[0]}
