"""Attention mechanisms, one a file; `names` lists those that a name builds, and `build` builds one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdyn.attention.mechanism import Attention as Attention
    from qdyn.attention.mechanism import build as build
    from qdyn.attention.mechanism import names as names
    from qdyn.attention.mechanism import register_attention as register_attention

__all__ = ["Attention", "build", "names", "register_attention"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the mechanisms need PyTorch, which `import qdyn` does not load.
    if name not in __all__:
        raise AttributeError(f"module 'qdyn.attention' has no attribute {name!r}")
    return getattr(importlib.import_module("qdyn.attention.mechanism"), name)
