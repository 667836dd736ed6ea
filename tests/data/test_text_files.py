"""Text files: what is decompressed, and what is no text."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from qdyn.data.text_files import plain_suffix, read_text
from qdyn.errors import DatasetError

TEXT = "the cat sleeps\n" * 100
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_is_compressed_is_read_in_any_case(tmp_path: Path, suffix: str) -> None:
    for name in ("a.CSV" + suffix.upper(), "a.csv" + suffix):
        (tmp_path / name).write_bytes(COMPRESS[suffix](TEXT.encode()))
        assert read_text(tmp_path / name) == TEXT
        assert plain_suffix(tmp_path / name) == ".csv"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_what_was_cut_short_is_one_line(tmp_path: Path, suffix: str) -> None:
    whole = COMPRESS[suffix](TEXT.encode())
    file = tmp_path / f"a.txt{suffix}"
    for length in (len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"^The file .* cannot be read as UTF-8 text: [^\n]*\.$"):
            read_text(file)


def test_a_nul_character_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree\0 four\n")
    with pytest.raises(DatasetError, match=r"a\.txt cannot be read as text: line 2 holds a NUL character\.$"):
        read_text(tmp_path / "a.txt")
