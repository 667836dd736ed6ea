"""Argument checks shared by the public functions; each failure is one line in the grammar of qdyn.errors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qdyn.errors import ArgumentError, nearest


def check_choice(name: str, value: str, valid: Iterable[str]) -> None:
    """Refuse a string that is not one of the valid ones, naming the nearest.

    >>> check_choice("store", "state", ["states", "final", "none"])
    Traceback (most recent call last):
    ...
    qdyn.errors.ArgumentError: Argument `store` is 'state', which is unknown: did you mean 'states'?
    """
    options = list(valid)
    if value not in options:
        suggestion = nearest(str(value), options)
        raise ArgumentError(f"Argument `{name}` is {value!r}, which is unknown: {suggestion}")


def check_integer(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return ``value`` as an int, refusing booleans, fractions and values outside [minimum, maximum].

    >>> [check_integer("n_sites", n, minimum=1) for n in np.arange(2, 5)]
    [2, 3, 4]
    """
    rule = f"an integer >= {minimum}" if maximum is None else f"an integer in [{minimum}, {maximum}]"
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        raise ArgumentError(f"Argument `{name}` must be {rule}, but is {value!r}.")
    return int(value)


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity, naming the first place where one stands."""
    finite = torch.isfinite(tensor)
    if not bool(finite.all()):
        flat = int((~finite).reshape(-1).to(torch.uint8).argmax())
        index = [int(i) for i in torch.unravel_index(torch.tensor(flat), tensor.shape)] if tensor.ndim else []
        where = f"{name}{index}" if index else name
        found = tensor.reshape(-1)[flat].item()
        raise ArgumentError(f"Argument `{name}` must be finite, but {where} is {found}.")


def native_array(value: Any) -> Any:
    """An array with a negative stride or the other byte order as a copy that torch reads; the rest as it is.

    >>> torch.as_tensor(native_array(np.arange(3.0)[::-1]))
    tensor([2., 1., 0.], dtype=torch.float64)
    """
    if isinstance(value, np.ndarray) and (min(value.strides, default=0) < 0 or not value.dtype.isnative):
        return value.astype(value.dtype.newbyteorder("="), order="C")
    return value


def real_numbers(name: str, value: Any) -> Tensor:
    """A float64 copy of ``value`` on its device; complex numbers would lose their imaginary part silently.

    >>> real_numbers("coupling", [1.0, 1j])
    Traceback (most recent call last):
    ...
    qdyn.errors.ArgumentError: Argument `coupling` must hold real numbers, but is [1.0, 1j].
    """
    try:
        given = value if isinstance(value, Tensor) else np.asarray(value)
        if not (given.is_complex() if isinstance(given, Tensor) else np.iscomplexobj(given)):
            return torch.as_tensor(native_array(value), dtype=torch.float64).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ArgumentError(f"Argument `{name}` must hold real numbers, but is {value!r:.60}.")


def check_normalised(name: str, states: Tensor, *, tolerance: float | None = None) -> None:
    """Refuse states whose norm along the last axis differs from 1 by more than ``tolerance``.

    The default tolerance is 1e-4 in single and 1e-8 in double precision.
    """
    if tolerance is None:
        tolerance = 1e-4 if states.dtype in (torch.complex64, torch.float32) else 1e-8
    norms = torch.linalg.vector_norm(states, dim=-1).reshape(-1)
    if norms.numel() == 0:
        return
    deviation = (norms - 1).abs()
    # NaN and infinity fail this too.
    if bool((deviation <= tolerance).all()):
        return
    check_finite(name, states)
    worst = int(deviation.argmax())
    if float(deviation[worst]) > tolerance:
        raise ArgumentError(
            f"Argument `{name}` must hold unit vectors (|norm - 1| <= {tolerance:g}), "
            f"but state {worst} has norm {float(norms[worst]):.6g}."
        )


def qubits_of_dimension(name: str, dimension: int) -> int:
    """The number of qubits whose basis has ``dimension`` states; refuses anything but a power of two.

    >>> qubits_of_dimension("psi0", 16)
    4
    """
    n_qubits = dimension.bit_length() - 1
    if dimension < 2 or 1 << n_qubits != dimension:
        raise ArgumentError(
            f"Argument `{name}` must have a last axis of length 2**n, n >= 1, but has {dimension}."
        )
    return n_qubits


def check_positive(name: str, value: float) -> float:
    """Return ``value`` as a float, refusing NaN, infinity, zero and negative numbers."""
    number = _as_float(value)
    if not math.isfinite(number) or number <= 0:
        raise ArgumentError(f"Argument `{name}` must be a finite number > 0, but is {value!r}.")
    return number


def check_fraction(name: str, value: float) -> float:
    """Return ``value`` as a float, refusing NaN and what does not lie strictly between 0 and 1."""
    number = _as_float(value)
    if not 0 < number < 1:
        raise ArgumentError(f"Argument `{name}` must lie in (0, 1), but is {value!r}.")
    return number


def _as_float(value: Any) -> float:
    """A number as a float; NaN, which every check refuses, for what is none, words included."""
    try:
        return math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError):
        return math.nan
