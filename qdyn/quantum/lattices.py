"""Bond lists: which sites of a chain, a ladder or a square lattice are neighbours.

A bond list is a tuple of pairs of sites; the order is that of couplings given bond by bond.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import index
from typing import Any

from qdyn.checks import check_integer
from qdyn.errors import ArgumentError

Bonds = Sequence[tuple[int, int]]
"""Pairs of sites that interact."""


def chain_bonds(n_sites: int, *, periodic: bool = False) -> tuple[tuple[int, int], ...]:
    """Nearest neighbours of a chain: (0, 1), (1, 2), ... and, on a ring, (n-1, 0).

    Args:
        n_sites: number of sites, at least 1; at least 3 on a ring.
        periodic: closes the chain to a ring.

    Raises:
        ArgumentError: a ring of fewer than 3 sites, on which a bond would count twice.

    Example:
        >>> chain_bonds(3, periodic=True)
        ((0, 1), (1, 2), (2, 0))
    """
    n_sites = check_integer("n_sites", n_sites, minimum=1)
    _check_ring("n_sites", n_sites, periodic)
    return tuple(_line(list(range(n_sites)), periodic))


def ladder_bonds(n_rungs: int, *, periodic: bool = False) -> tuple[tuple[int, int], ...]:
    """Nearest neighbours of a two-leg ladder, legs first, then rungs.

    Site 2 r + l stands on rung r and leg l, so that the sites of a rung are consecutive.

    Args:
        n_rungs: number of rungs, at least 1; at least 3 when periodic.
        periodic: closes both legs to rings.

    Returns:
        The bonds of leg 0, those of leg 1, then the rungs.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> ladder_bonds(2)
        ((0, 2), (1, 3), (0, 1), (2, 3))
    """
    n_rungs = check_integer("n_rungs", n_rungs, minimum=1)
    _check_ring("n_rungs", n_rungs, periodic)
    legs = [bond for leg in (0, 1) for bond in _line([2 * rung + leg for rung in range(n_rungs)], periodic)]
    return (*legs, *((2 * rung, 2 * rung + 1) for rung in range(n_rungs)))


def square_bonds(n_rows: int, n_columns: int, *, periodic: bool = False) -> tuple[tuple[int, int], ...]:
    """Nearest neighbours of a square lattice, along rows first, then along columns.

    Site r * n_columns + c stands in row r and column c.

    Args:
        n_rows: number of rows, at least 1; at least 3 when periodic.
        n_columns: number of columns, at least 1; at least 3 when periodic.
        periodic: closes the lattice to a torus.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> square_bonds(2, 2)
        ((0, 1), (2, 3), (0, 2), (1, 3))
    """
    n_rows = check_integer("n_rows", n_rows, minimum=1)
    n_columns = check_integer("n_columns", n_columns, minimum=1)
    _check_ring("n_rows", n_rows, periodic)
    _check_ring("n_columns", n_columns, periodic)
    rows = [[row * n_columns + column for column in range(n_columns)] for row in range(n_rows)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return tuple(bond for line in (*rows, *columns) for bond in _line(line, periodic))


def all_pairs(n_sites: int) -> tuple[tuple[int, int], ...]:
    """Every pair of sites i < j.

    Args:
        n_sites: number of sites, at least 1.

    Example:
        >>> all_pairs(3)
        ((0, 1), (0, 2), (1, 2))
    """
    n_sites = check_integer("n_sites", n_sites, minimum=1)
    return tuple((i, j) for i in range(n_sites) for j in range(i + 1, n_sites))


def check_bonds(bonds: Bonds, n_sites: int) -> tuple[tuple[int, int], ...]:
    """Return ``bonds`` as a tuple of pairs, refusing sites that do not exist and bonds that count twice.

    Raises:
        ArgumentError: an entry is not a pair of different sites in [0, n_sites), or stands twice.
    """
    settled: dict[frozenset[int], tuple[int, int]] = {}
    given: Any = bonds
    if not isinstance(given, Iterable):
        raise ArgumentError(f"Argument `bonds` must be a list of pairs of sites, but is {given!r:.60}.")
    for place, bond in enumerate(bonds):
        try:
            i, j = (index(site) for site in bond)
        except (TypeError, ValueError):
            raise ArgumentError(
                f"Argument `bonds` must hold pairs of sites, but bonds[{place}] is {bond!r}."
            ) from None
        if i == j or min(i, j) < 0 or max(i, j) >= n_sites:
            raise ArgumentError(
                f"Argument `bonds` must pair different sites from 0 to {n_sites - 1}, "
                f"but bonds[{place}] is {(i, j)}."
            )
        if frozenset((i, j)) in settled:
            raise ArgumentError(f"Argument `bonds` must hold each bond once, but holds {(i, j)} twice.")
        settled[frozenset((i, j))] = (i, j)
    return tuple(settled.values())


def _line(sites: list[int], periodic: bool) -> list[tuple[int, int]]:
    bonds = list(pairwise(sites))
    return [*bonds, (sites[-1], sites[0])] if periodic else bonds


def _check_ring(name: str, size: int, periodic: bool) -> None:
    if periodic and size < 3:
        raise ArgumentError(f"Argument `periodic` needs at least 3 sites for a ring, but `{name}` is {size}.")
