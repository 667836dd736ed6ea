"""Shared fixtures. Thread counts are fixed so that the suite behaves the same on every machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import jaxtyping
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("qdyn", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("qdyn")


@pytest.fixture
def as_user() -> Iterator[None]:
    """Switch off the shape checks that only the tests install, so that a bad argument meets qdyn's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference values beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("reference values not found: the folder ../shared is not beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets that a test generates by name go to a folder shared by this session, never to the user's cache."""
    monkeypatch.setenv("QDYN_CACHE", str(tmp_path_factory.getbasetemp() / "qdyn-cache"))
