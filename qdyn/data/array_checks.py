"""What arrays must be to become sequences; each failure is one line in the grammar of qdyn.errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qdyn.checks import check_finite, check_normalised
from qdyn.data.backing import Kind, SequenceMetadata
from qdyn.data.batch import Batch
from qdyn.errors import ArgumentError, DatasetError

# Of single precision, after a file has been written and read.
_NORM_TOLERANCE = 1e-3


def sequence_array(values: ArrayLike | Tensor, kind: Kind) -> NDArray[Any]:
    """``values`` with the type and axes that ``kind`` wants, finite and, for states, normalised."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise ArgumentError(
            "Argument `values` must hold sequences of one shape: pad shorter ones and give `lengths`."
        ) from None
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


def are_unit_vectors(
    array: NDArray[Any], kind: Kind, lengths: NDArray[np.int64] | None, stated: bool | None
) -> bool:
    """Whether the elements that exist are unit vectors; only real vectors may be others.

    Raises:
        ArgumentError: they are not what ``stated`` says.
    """
    if kind != "real":
        if stated is False:
            raise ArgumentError(f"Argument `normalised` must be True or None for the kind {kind!r}.")
        return True
    norms = np.linalg.norm(array.astype(np.float64), axis=-1)
    exists = np.ones(norms.shape, bool) if lengths is None else np.arange(norms.shape[1]) < lengths[:, None]
    wrong = exists & ~(np.abs(norms - 1) <= _NORM_TOLERANCE)
    if stated and wrong.any():
        raise ArgumentError(
            f"Argument `values` must hold unit vectors, but one has norm {norms[wrong][0]:.6g}: say "
            "`normalised=False` if they are none."
        )
    return stated if stated is not None else not bool(wrong.any())


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


def check_batch(batch: Batch, metadata: SequenceMetadata) -> None:
    """Refuse what a file should not hold: NaN, and states that are no unit vectors.

    Reading a window cannot afford this, so whoever trains on or judges a dataset asks for it.

    Args:
        batch: Elements (B, T, d) as read.
        metadata: Of the dataset they come from.

    Raises:
        DatasetError: an element that the mask lets through is wrong; it is named.
    """
    if metadata.kind == "token":
        return
    tolerance = _NORM_TOLERANCE if metadata.kind == "quantum_state" else torch.inf
    for elements, shift in ((batch.inputs, 0), (batch.targets, 1)):
        norms = torch.linalg.vector_norm(elements, dim=-1)
        wrong = batch.mask & ~(norms.isfinite() & ((norms - 1).abs() <= tolerance))
        if bool(wrong.any()):
            item, step = (int(place) for place in wrong.nonzero()[0])
            raise DatasetError(
                f"The dataset {metadata.name} is damaged: element {step + shift} of its item "
                f"{int(batch.indices[item])} has norm {float(norms[item, step]):g}."
            )
