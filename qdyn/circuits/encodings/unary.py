"""Data in states with one excitation a register: vectors and matrices.

Entry i of a vector is the amplitude of |0..1_i..0>. The excitation starts on qubit 0 and is shared out by
rotations of |10> and |01>, laid out as a tree, whose depth is log2 of the length.

Source: Cherrat et al., arXiv:2209.08167, section on data loaders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from qdyn.checks import check_finite
from qdyn.circuits.circuit import Angle, Circuit
from qdyn.circuits.encodings.state_preparation import add_global_phase
from qdyn.circuits.executors.program import Program
from qdyn.errors import ArgumentError


def unary_encoding(x: Float[Tensor, "*batch features"]) -> Program:
    """The state sum_i x_i |0..1_i..0> / ||x||, by n - 1 rotations.

    Args:
        x: real data (*batch, n), n >= 1, no vector zero.

    Example: the amplitudes stand at the indices with one bit set, qubit 0 first.
        >>> unary_encoding(torch.tensor([0.6, 0.0, 0.8])).states().real[[4, 2, 1]]
        tensor([0.6000, 0.0000, 0.8000], dtype=torch.float64)
    """
    x = torch.as_tensor(x)
    check_finite("x", x)
    if x.ndim == 0 or bool((x == 0).all(-1).any()):
        raise ArgumentError("Argument `x` must hold vectors that can be normalised, but one is zero.")
    size = x.shape[-1]
    circuit = Circuit(q=size).x(0)
    if size == 1:
        add_global_phase(circuit, 0, circuit.slot("x", 1)[0])
        return Program(circuit, {"x": _sign_phase(x)})
    for (first, second), angle in zip(_pairs(size), circuit.slot("x", size - 1), strict=True):
        add_excitation_rotation(circuit, first, second, angle)
    return Program(circuit, {"x": _angles(x)})


def matrix_encoding(x: Float[Tensor, "*batch rows columns"]) -> Program:
    """The state sum_ij x_ij |0..1_i..0>|0..1_j..0> / ||x||, rows on one register and columns on another.

    The norms of the rows are loaded first; then, where row i is excited, row i is.

    Args:
        x: real matrices (*batch, T, d), T >= 1 and d >= 1, none zero.

    Example: two rows of one entry each.
        >>> state = matrix_encoding(torch.tensor([[0.6], [-0.8]])).states()
        >>> state.real[[0b101, 0b011]]
        tensor([ 0.6000, -0.8000], dtype=torch.float64)
    """
    x = torch.as_tensor(x)
    check_finite("x", x)
    if x.ndim < 2 or bool((x == 0).all(-1).all(-1).any()):
        raise ArgumentError(
            "Argument `x` must hold matrices (..., T, d) that can be normalised, but has shape "
            f"{tuple(x.shape)}" + (" and holds a zero one." if x.ndim > 1 else ".")
        )
    n_rows, n_columns = x.shape[-2:]
    circuit = Circuit(row=n_rows, column=n_columns).x(0).x(n_rows)
    norms = torch.linalg.vector_norm(x.to(torch.float64), dim=-1)
    values = {"norms": _angles(norms)}
    for (first, second), angle in zip(_pairs(n_rows), circuit.slot("norms", n_rows - 1), strict=True):
        add_excitation_rotation(circuit, first, second, angle)
    columns = circuit["column"]
    if n_columns == 1:
        for row, angle in enumerate(circuit.slot("rows", n_rows)):
            circuit.phase(row, angle)
        return Program(circuit, {**values, "rows": _sign_phase(x)[..., 0]})
    for row, angles in enumerate(circuit.slot("rows", n_rows, n_columns - 1)):
        for (first, second), angle in zip(_pairs(n_columns), angles, strict=True):
            add_excitation_rotation(circuit, columns[first], columns[second], angle, controls=(row,))
    return Program(circuit, {**values, "rows": _angles(x)})


def add_excitation_rotation(
    circuit: Circuit, first: int, second: int, angle: Angle, *, controls: tuple[int, ...] = ()
) -> Circuit:
    """Append |10> -> cos(angle/2)|10> + sin(angle/2)|01>; it leaves |00> and |11> alone.

    Where a control is 0, nothing happens: the two CNOTs need none, for they undo each other.
    """
    circuit.cx(first, second).ry(first, -angle, controls=(*controls, second))
    return circuit.cx(first, second)


def _spans(size: int) -> Iterator[tuple[int, int, int]]:
    """(first, middle, last) of each span of the tree, from the root down."""
    waiting = [(0, size)]
    while waiting:
        first, last = waiting.pop(0)
        if last - first > 1:
            middle = (first + last + 1) // 2
            yield first, middle, last
            waiting += [(first, middle), (middle, last)]


def _pairs(size: int) -> list[tuple[int, int]]:
    """The qubits of each rotation."""
    return [(first, middle) for first, middle, _ in _spans(size)]


def _angles(x: Tensor) -> Tensor:
    """The angle of each rotation, (..., n - 1), for vectors (..., n)."""
    found = [
        2 * torch.atan2(_weight(x, middle, last), _weight(x, first, middle))
        for first, middle, last in _spans(x.shape[-1])
    ]
    return torch.stack(found, dim=-1) if found else x.new_zeros(*x.shape[:-1], 0, dtype=torch.float64)


def _weight(x: Tensor, first: int, last: int) -> Tensor:
    """The norm of a span of entries; of one entry, the entry with its sign."""
    if last - first == 1:
        return x[..., first].to(torch.float64)
    return torch.linalg.vector_norm(x[..., first:last].to(torch.float64), dim=-1)


def _sign_phase(x: Tensor) -> Tensor:
    return math.pi * (x < 0).to(torch.float64)
