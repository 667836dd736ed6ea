"""Compiled dropout: what is drawn, compared and multiplied in one pass; imported only when it runs."""

# ruff: noqa: PLR0917 - compiled code: no keywords.

from __future__ import annotations

from typing import no_type_check

import numpy as np

from qdyn.quantum.compiling import compiled


@compiled
@no_type_check
def drop(values, keys, first, threshold, factor, found):
    """Values with those whose bits lie below ``threshold`` 0, and the others times ``factor``.

    Args:
        values: (models, entries).
        keys: of each model and update, (models,) of 32 bits.
        first: entries of this pass through the model that came before.
        threshold: a number of 32 bits with a sign.
        factor: 1 / (1 - rate), in the precision of the values.
        found: to be filled, as ``values``.
    """
    zero = values.dtype.type(0.0)
    for model in range(values.shape[0]):
        key = np.uint32(keys[model])
        for entry in range(values.shape[1]):
            bits = np.uint32(np.uint32(np.uint32(first + entry) * np.uint32(2654435769)) ^ key)
            bits = np.uint32(np.uint32(bits ^ np.uint32(bits >> np.uint32(16))) * np.uint32(2246822507))
            bits = np.uint32(np.uint32(bits ^ np.uint32(bits >> np.uint32(13))) * np.uint32(3266489909))
            found[model, entry] = values[model, entry] * (factor if np.int32(bits) >= threshold else zero)
