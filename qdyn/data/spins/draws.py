"""Numbers in a recipe: fixed, or drawn from an interval for each sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.errors import ConfigError, nearest


@dataclass(frozen=True)
class Uniform:
    """A number drawn from U(low, high) by every sequence, or ``count`` of them: one a site, say.

    >>> Uniform(0.0, 1.0, count=2).draw(np.random.default_rng(0)).round(3)
    array([0.637, 0.27 ])
    """

    low: float
    high: float
    count: int | None = None

    @property
    def middle(self) -> float | tuple[float, ...]:
        """The middle of the interval, as often as there are numbers."""
        middle = (self.low + self.high) / 2
        return middle if self.count is None else (middle,) * self.count

    def draw(self, random: np.random.Generator) -> float | NDArray[np.float64]:
        """The number, or (count,) of them."""
        return random.uniform(self.low, self.high, self.count)


Number = float | tuple[float, ...] | Uniform
"""One number, one a site or bond for all sequences, or what each sequence draws for itself."""


def read_number(key: str, value: Any, *, per: Mapping[str, int] | None = None) -> Number:
    """What a recipe says about a number.

    Args:
        key: where it stands, for messages.
        value: ``1.5``; ``{uniform: [low, high]}``, drawn for each sequence; with ``per: site`` (or ``bond``)
            in the mapping, drawn for each site of each sequence; or a list with one number a site.
        per: what there may be a number for each of, and how many of these there are, such as {"site": 8}.

    Raises:
        ConfigError: it is something else.

    Example:
        >>> read_number("field", {"uniform": [-1, 1], "per": "site"}, per={"site": 4})
        Uniform(low=-1.0, high=1.0, count=4)
    """
    counts = per or {}
    if is_number(value):
        return float(value)
    if isinstance(value, list | tuple) and counts:
        ((unit, count),) = counts.items()
        if len(value) != count or not all(is_number(one) for one in value):
            raise ConfigError(f"`{key}` must hold {count} numbers, one a {unit}, but is {list(value)!r}.")
        return tuple(float(one) for one in value)
    if isinstance(value, Mapping):
        return _uniform(key, value, counts)
    raise _wrong(key, value, counts)


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number that a double can hold, and not a truth value."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def extremes(value: Number) -> tuple[float, float]:
    """The smallest and the largest that the number can become.

    >>> extremes(Uniform(0.5, 2.0)), extremes(1.0)
    ((0.5, 2.0), (1.0, 1.0))
    """
    if isinstance(value, Uniform):
        return value.low, value.high
    values = value if isinstance(value, tuple) else (value,)
    return min(values), max(values)


def _uniform(key: str, drawn: Mapping[str, Any], counts: Mapping[str, int]) -> Uniform:
    for name in drawn:
        if name not in ("uniform", "per"):
            raise _wrong(key, dict(drawn), counts)
    bounds, unit = drawn.get("uniform"), drawn.get("per", "trajectory")
    if not (isinstance(bounds, list | tuple) and len(bounds) == 2 and all(map(is_number, bounds))):
        raise _wrong(key, dict(drawn), counts)
    low, high = bounds
    if low >= high:
        raise _wrong(key, dict(drawn), counts)
    if not isinstance(unit, str) or (unit != "trajectory" and unit not in counts):
        raise ConfigError(f"`{key}.per` is {unit!r}, but {nearest(str(unit), ['trajectory', *counts])}")
    return Uniform(float(low), float(high), counts.get(unit))


def _wrong(key: str, value: Any, counts: Mapping[str, int]) -> ConfigError:
    also = "".join(f", with `per: {unit}` if need be, or a list with one number a {unit}" for unit in counts)
    return ConfigError(
        f"`{key}` must be a number or {{uniform: [low, high]}} with low < high{also}, but is {value!r}."
    )
