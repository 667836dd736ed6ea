"""Bond lists: coordination numbers, the order of bonds, and bad input."""

from __future__ import annotations

import pytest

from qdyn.errors import ArgumentError
from qdyn.quantum.lattices import all_pairs, chain_bonds, check_bonds, ladder_bonds, square_bonds


def degrees(bonds: tuple[tuple[int, int], ...], n_sites: int) -> list[int]:
    return [sum(site in bond for bond in bonds) for site in range(n_sites)]


def test_chains_and_rings() -> None:
    assert chain_bonds(1) == ()
    assert chain_bonds(4) == ((0, 1), (1, 2), (2, 3))
    assert degrees(chain_bonds(5, periodic=True), 5) == [2] * 5
    assert all_pairs(4) == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@pytest.mark.parametrize("n_rungs", [3, 4, 7])
def test_every_site_of_a_ladder_has_three_neighbours(n_rungs: int) -> None:
    ring = ladder_bonds(n_rungs, periodic=True)
    assert degrees(ring, 2 * n_rungs) == [3] * (2 * n_rungs)
    open_ladder = ladder_bonds(n_rungs)
    assert degrees(open_ladder, 2 * n_rungs) == [2, 2, *[3] * (2 * n_rungs - 4), 2, 2]
    assert open_ladder[-n_rungs:] == tuple((2 * rung, 2 * rung + 1) for rung in range(n_rungs))
    assert ladder_bonds(1) == ((0, 1),)


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 5), (4, 3)])
def test_a_torus_has_two_bonds_a_site_and_four_neighbours(rows: int, columns: int) -> None:
    bonds = square_bonds(rows, columns, periodic=True)
    assert len(bonds) == 2 * rows * columns
    assert degrees(bonds, rows * columns) == [4] * (rows * columns)
    assert len(square_bonds(rows, columns)) == rows * (columns - 1) + columns * (rows - 1)


def test_neighbours_differ_by_one_step() -> None:
    for i, j in square_bonds(3, 4):
        (row, column), (next_row, next_column) = divmod(i, 4), divmod(j, 4)
        assert (next_row - row, next_column - column) in ((0, 1), (1, 0))
    assert square_bonds(1, 5) == chain_bonds(5)


def test_every_list_is_accepted_by_the_check() -> None:
    for bonds, n_sites in ((ladder_bonds(4, periodic=True), 8), (square_bonds(3, 3, periodic=True), 9)):
        assert check_bonds(bonds, n_sites) == bonds


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chain_bonds(0), "`n_sites`"),
        (lambda: ladder_bonds(2, periodic=True), "`n_rungs` is 2"),
        (lambda: square_bonds(3, 2, periodic=True), "`n_columns` is 2"),
        (lambda: square_bonds(0, 2), "`n_rows`"),
        (lambda: check_bonds([(0, 1), (1, 3)], 3), "bonds[1] is (1, 3)"),
        (lambda: check_bonds([(0, 0)], 3), "bonds[0] is (0, 0)"),
        (lambda: check_bonds([(0, -1)], 3), "bonds[0] is (0, -1)"),
        (lambda: check_bonds([(0, 1), (1, 0)], 3), "holds (1, 0) twice"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bonds", [[(0, 1, 2)], [3], ["ab"], ["01"], [(0, 1.5)]])
def test_what_is_not_a_pair_is_named(bonds) -> None:
    with pytest.raises(ArgumentError, match="must hold pairs"):
        check_bonds(bonds, 3)
