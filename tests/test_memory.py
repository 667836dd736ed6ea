"""The memory estimate: sizes in words, the user's limit, and the refusal."""

from __future__ import annotations

import pytest

from qdyn.errors import ArgumentError, MemoryLimitError
from qdyn.memory import available_memory, check_memory, readable_size


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 * 2**20, "3.0 MiB"),
        (5 * 2**30 + 2**29, "5.5 GiB"),
        (2**120, "1.2e+18 EiB"),
    ],
)
def test_sizes_in_words(n_bytes: int, text: str) -> None:
    assert readable_size(n_bytes) == text


def test_the_machine_has_some_memory() -> None:
    available = available_memory()
    assert available is not None
    assert 2**20 < available < 2**50


@pytest.mark.parametrize(
    ("limit", "n_bytes"),
    [("1000", 1000), ("2K", 2048), ("0.5M", 2**19), ("1GiB", 2**30), ("3 mb", 3 * 2**20)],
)
def test_the_user_may_lower_the_limit(monkeypatch: pytest.MonkeyPatch, limit: str, n_bytes: int) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", limit)
    assert available_memory() == n_bytes
    check_memory(n_bytes, "A job")
    with pytest.raises(MemoryLimitError, match=r"^A job needs about .* are available\. Halve it\.$"):
        check_memory(n_bytes + 1, "A job", remedy="Halve it.")


def test_a_limit_above_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", "900T")
    available = available_memory()
    assert available is not None
    assert available < 2**49


@pytest.mark.parametrize("limit", ["plenty", "-", "2X", "-5G", "nan"])
def test_a_limit_that_is_no_size_is_named(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("QDYN_MEMORY_LIMIT", limit)
    with pytest.raises(ArgumentError, match="QDYN_MEMORY_LIMIT must be a size"):
        available_memory()
