"""Embeddings, predictors and baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qdyn.models.hybrid_decoder.decoder import HybridDecoder as HybridDecoder

__all__ = ["HybridDecoder"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the files of this room import each other by their own names.
    if name != "HybridDecoder":
        raise AttributeError(f"module 'qdyn.models' has no attribute {name!r}")
    from qdyn.models.hybrid_decoder.decoder import HybridDecoder

    return HybridDecoder
