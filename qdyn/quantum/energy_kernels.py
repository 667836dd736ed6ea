"""Compiled mean and variance of the energy of state vectors; imported only when it runs."""

# ruff: noqa: PLR0917, D417 - compiled code: no keywords, and branches cost nothing.

from __future__ import annotations

from typing import no_type_check

from qdyn.quantum.compiling import compiled
from qdyn.quantum.product_kernels import apply, prepare
from qdyn.quantum.vectors import block_width, load_block, multiply_add, splat_block, store

# Blocks that are summed in the precision of the states before they join a sum in double precision.
_RUN = 64


@compiled
@no_type_check
def _sum_products(rows, applied, shift, squared, size, sums):
    """<psi, (H - shift) psi>, or |(H - shift) psi|^2 where ``squared``; H psi stands from ``applied`` on."""
    width = block_width(rows)
    minus = splat_block(-shift)
    total = 0.0
    for begin in range(0, size, _RUN * width):
        part = splat_block(rows.dtype.type(0.0))
        for start in range(begin, min(size, begin + _RUN * width), width):
            state = load_block(rows, start)
            shifted = multiply_add(minus, state, load_block(rows, applied + start))
            part = multiply_add(shifted, shifted if squared else state, part)
        store(sums, 0, part)
        for lane in range(width):
            total += sums[lane]
    return total


@compiled
@no_type_check
def moments(states, owners, tables, rows, sums, means, variances, diagonal, outer, inner):
    """<H> and |(H - <H>) psi|^2, exact where <H^2> - <H>^2 would cancel: at an eigenstate.

    Args:
        states: real view of the states, (states, 2 dim).
        owners: which Hamiltonian belongs to each state.
        tables: the Hamiltonians, an `OperatorTables`.
        rows: workspace, (4 dim,).
        sums: workspace, one block.
        means: to be filled, (states,).
        variances: the same, or empty.
        diagonal: workspace, as outer and inner; see `KernelOperator.workspaces`.
    """
    size = states.shape[1]
    prepared = -1
    for number in range(states.shape[0]):
        own = owners[number]
        if own != prepared:
            prepared = own
            prepare(tables, own, 0.0, diagonal, outer, inner)
        for place in range(size):
            rows[place] = states[number, place]
        apply(
            rows,
            size,
            0,
            0,
            0,
            size,
            True,
            rows.dtype.type(1.0),
            diagonal,
            rows[:0],
            tables,
            own,
            outer,
            inner,
        )
        mean = _sum_products(rows, size, rows.dtype.type(0.0), False, size, sums)
        means[number] = mean
        if variances.size:
            variances[number] = _sum_products(rows, size, rows.dtype.type(mean), True, size, sums)
