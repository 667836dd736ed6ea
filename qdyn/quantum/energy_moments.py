"""Mean and variance of the energy of state vectors, by compiled products with H where they are long."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor

from qdyn.quantum.kernel_operator import KernelOperator, zeros
from qdyn.quantum.pauli import PauliTerms, as_complex

# Shorter states take torch operations, which need no compiled code.
COMPILED_FROM = 2**10


def energy_moments(
    terms: PauliTerms, states: Num[Tensor, "*batch dim"], *, variance: bool
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"] | None]:
    """<H> and, where asked for, |(H - <H>) psi|^2; by two vectors of memory where states are long.

    Args:
        terms: H; for a batch of operators, operator i acts on states[i].
        states: unit vectors, (..., 2**n).
        variance: whether to return the second one too.

    Raises:
        ArgumentError: the states are of another number of sites, or not one row for each operator.

    Example:
        >>> from qdyn.quantum.hamiltonians import TransverseFieldIsing
        >>> from qdyn.quantum.states import product_state
        >>> H = TransverseFieldIsing(11)
        >>> energy_moments(H.pauli_terms(), product_state("0" * 11), variance=True)
        (tensor(-10., dtype=torch.float64), tensor(11., dtype=torch.float64))
    """
    # Compiled code reads past the end of an array that is too short, and pairs of reals only.
    terms.check_fits(states)
    states = as_complex(states)
    plain = states.device.type == "cpu" and not states.requires_grad
    if not plain or states.shape[-1] < COMPILED_FROM:
        return _by_torch(terms, states, variance=variance)
    from qdyn.quantum import energy_kernels
    from qdyn.quantum.vectors import BLOCK_BYTES

    single = states.dtype == torch.complex64
    operator = KernelOperator.of(terms, single=single)
    flat = states.resolve_conj().reshape(-1, states.shape[-1])
    rows = torch.view_as_real(flat).flatten(1).numpy()
    means = np.empty(len(flat), dtype=rows.dtype)
    variances = np.empty(len(flat) if variance else 0, dtype=rows.dtype)
    owners = np.zeros(len(flat), dtype=np.int64)
    if terms.batch_size is not None:
        owners = np.repeat(np.arange(terms.batch_size), len(flat) // terms.batch_size)
    energy_kernels.moments(
        rows,
        owners,
        operator.tables,
        zeros(2 * rows.shape[1], operator.dtype),
        zeros(BLOCK_BYTES // rows.itemsize, operator.dtype),
        means,
        variances,
        *operator.workspaces(),
    )
    shape = states.shape[:-1]
    found = torch.from_numpy(variances).reshape(shape) if variance else None
    return torch.from_numpy(means).reshape(shape), found


def _by_torch(terms: PauliTerms, states: Tensor, *, variance: bool) -> tuple[Tensor, Tensor | None]:
    applied = terms.apply(states)
    mean = torch.linalg.vecdot(states, applied).real
    if not variance:
        return mean, None
    # Exact where <H^2> - <H>^2 would cancel: at an eigenstate.
    return mean, torch.linalg.vector_norm(applied - mean[..., None] * states, dim=-1).square()
