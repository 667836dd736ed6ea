"""What arrays must be to become sequences; each failure is one line in the grammar of qdyn.errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qdyn.checks import check_finite, check_normalised
from qdyn.data.backing import Kind
from qdyn.errors import ArgumentError


def sequence_array(values: ArrayLike | Tensor, kind: Kind) -> NDArray[Any]:
    """``values`` with the type and axes that ``kind`` wants, finite and, for states, normalised."""
    array = np.asarray(values)
    wanted = {"quantum_state": ("complex unit vectors", "(N, T+1, d)", 3, "c"),
              "token": ("integers", "(N, T+1)", 2, "iu"),
              "real": ("real vectors", "(N, T+1, d)", 3, "f")}[kind]  # fmt: skip
    what, shape, n_axes, letters = wanted
    if array.ndim != n_axes or array.dtype.kind not in letters:
        raise ArgumentError(
            f"Argument `values` must be {what} of shape {shape}, but is {array.dtype} of shape {array.shape}."
        )
    if array.shape[0] < 1 or array.shape[1] < 2:
        raise ArgumentError(
            f"Argument `values` must hold at least one sequence of two elements, but has shape {array.shape}."
        )
    if kind == "quantum_state":
        check_normalised("values", torch.from_numpy(array))
    elif kind == "real":
        check_finite("values", torch.from_numpy(array))
    return array.astype(np.int64) if kind == "token" else array


def vector(name: str, values: ArrayLike | Tensor, length: int) -> NDArray[np.float64]:
    """``values`` as (length,) finite numbers."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise ArgumentError(f"Argument `{name}` must have shape ({length},), but has {array.shape}.")
    check_finite(name, torch.from_numpy(array))
    return array


def valid_lengths(values: ArrayLike | Tensor, count: int, length: int) -> NDArray[np.int64]:
    """``values`` as (count,) integers from 2 to ``length``."""
    array = vector("lengths", values, count)
    if array.min() < 2 or array.max() > length or bool((array % 1 != 0).any()):
        raise ArgumentError(f"Argument `lengths` must hold integers from 2 to {length}.")
    return array.astype(np.int64)
