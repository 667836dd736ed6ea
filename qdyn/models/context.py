"""What a context must be before anything is forecast from it."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.data.sequences import SequenceMetadata
from qdyn.errors import ArgumentError


def check_context(context: Tensor | NDArray[Any], metadata: SequenceMetadata | None) -> Tensor:
    """Elements that a predictor of data like ``metadata`` can go on from.

    Args:
        context: elements seen, (..., T, d), or (..., T) for tokens; T >= 1. States may come without their
            imaginary part, where it is 0.
        metadata: the data of the predictor; None where it has been fitted to none.

    Returns:
        The same as a tensor, complex for states and of floating-point numbers for real vectors.

    Raises:
        ArgumentError: there is no element, or they are of another kind or dimension than the data.

    Example:
        >>> spins = SequenceMetadata("spins", "quantum_state", 4, phase_convention="raw")
        >>> check_context(torch.eye(4)[None, :2], spins).dtype
        torch.complex64
        >>> check_context(torch.eye(8)[None, :2], spins)
        Traceback (most recent call last):
        ...
        qdyn.errors.ArgumentError: Argument `context` must have shape (..., T, 4), but has shape (1, 2, 8).
    """
    seen = context if isinstance(context, Tensor) else torch.as_tensor(context)
    kind = metadata.kind if metadata else None
    time = -1 if kind == "token" else -2
    if seen.ndim < -time or seen.shape[time] == 0:
        raise ArgumentError(
            f"Argument `context` must hold at least one element, but has shape {tuple(seen.shape)}."
        )
    if metadata is None:
        return seen
    if kind == "token":
        return _check_tokens(seen, metadata.dimension)
    if seen.shape[-1] != metadata.dimension:
        raise ArgumentError(
            f"Argument `context` must have shape (..., T, {metadata.dimension}), "
            f"but has shape {tuple(seen.shape)}."
        )
    if kind == "quantum_state":
        return seen.to(torch.promote_types(seen.dtype, torch.complex64))
    if seen.is_complex():
        raise ArgumentError(f"Argument `context` must hold real vectors, but is of type {seen.dtype}.")
    # What follows integers is not an integer.
    return seen if seen.is_floating_point() else seen.to(torch.get_default_dtype())


def _check_tokens(seen: Tensor, words: int) -> Tensor:
    if seen.is_floating_point() or seen.is_complex() or seen.dtype == torch.bool:
        raise ArgumentError(f"Argument `context` must hold token numbers, but is of type {seen.dtype}.")
    if int(seen.min()) < 0 or int(seen.max()) >= words:
        wrong = int(seen.min()) if int(seen.min()) < 0 else int(seen.max())
        raise ArgumentError(
            f"Argument `context` must hold token numbers from 0 to {words - 1}, but holds {wrong}."
        )
    return seen
