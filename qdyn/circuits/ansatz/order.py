"""Which qubits an ansatz couples, in which order, and what that does to basis states."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from qdyn.checks import check_integer


def brick_wall_pairs(n_qubits: int) -> list[list[tuple[int, int]]]:
    """The pairs of one layer of the brick wall, row by row: each row acts after the one before it.

    (0,1), (2,3), ... then (1,2), (3,4), ..., (n-1,0). With an odd number of qubits the last pair shares a
    qubit with its row and stands in a row of its own, so a layer always has n blocks.

    Example:
        >>> brick_wall_pairs(4), brick_wall_pairs(3)
        ([[(0, 1), (2, 3)], [(1, 2), (3, 0)]], [[(0, 1)], [(1, 2)], [(2, 0)]])
    """
    check_integer("n_qubits", n_qubits, minimum=2)
    even = [(qubit, qubit + 1) for qubit in range(0, n_qubits - 1, 2)]
    odd = [(qubit, (qubit + 1) % n_qubits) for qubit in range(1, n_qubits - n_qubits % 2, 2)]
    return [even, odd] + ([[(n_qubits - 1, 0)]] if n_qubits % 2 else [])


@lru_cache(maxsize=64)
def ring_order(n_qubits: int) -> Tensor:
    """Row r of (ring K) is row ``order[r]`` of K."""
    basis = np.arange(2**n_qubits)
    image = basis
    for control in range(n_qubits if n_qubits > 1 else 0):
        target = (control + 1) % n_qubits
        image = image ^ (((image >> (n_qubits - 1 - control)) & 1) << (n_qubits - 1 - target))
    return torch.from_numpy(np.argsort(image))


@lru_cache(maxsize=64)
def rotated_basis(n_qubits: int, first: int) -> Tensor:
    """For each basis index, the index that reads the qubits in the order first, first+1, ..., first-1."""
    basis = np.arange(2**n_qubits)
    shifted = (basis << first) | (basis >> (n_qubits - first))
    return torch.from_numpy(shifted & (2**n_qubits - 1))
