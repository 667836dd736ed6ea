"""Matrix-product states as a user gives them: checked, and in the form that everything relies on."""

from __future__ import annotations

import torch
from torch import Tensor

from qdyn.checks import check_finite
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState, move_centre, reverse
from qdyn.errors import ArgumentError


def right_canonical(name: str, state: MatrixProductState, n_sites: int) -> MatrixProductState:
    """The same state with all tensors but the first right-canonical, by one sweep of QR decompositions.

    A state that has this form already is returned as it is, bit for bit.

    Args:
        name: the argument that error messages speak of.
        state: tensors in any form.
        n_sites: number of sites that it must have.

    Raises:
        ArgumentError: the tensors do not fit together, are not finite, or make no unit vector.

    Example: in this left-canonical pair the last tensor carries the norm.
        >>> one = torch.eye(2, dtype=torch.complex128)
        >>> bell = MatrixProductState((one[None], one[:, :, None] / 2**0.5))
        >>> [round(float(t.norm()), 3) for t in right_canonical("initial_state", bell, 2).tensors]
        [1.0, 1.414]
    """
    _check_shapes(name, state, n_sites)
    kind = torch.complex64 if state.dtype in (torch.complex64, torch.float32) else torch.complex128
    place = state.tensors[0].device
    tensors = [tensor.to(place, kind) for tensor in state.tensors]
    for tensor in tensors:
        check_finite(name, tensor)
    tolerance = 1e-4 if kind == torch.complex64 else 1e-8
    if all(_is_right_canonical(tensor, tolerance / 100) for tensor in tensors[1:]):
        settled = state if all(old is new for old, new in zip(state.tensors, tensors, strict=True)) else None
    else:
        settled, tensors = None, reverse(move_centre(reverse(tensors)))
    norm = float(torch.linalg.vector_norm(tensors[0]))
    if not abs(norm - 1) <= tolerance:
        raise ArgumentError(
            f"Argument `{name}` must be a unit vector (|norm - 1| <= {tolerance:g}), but has norm {norm:.6g}."
        )
    return MatrixProductState(tuple(tensors)) if settled is None else settled


def _check_shapes(name: str, state: MatrixProductState, n_sites: int) -> None:
    if state.n_sites != n_sites:
        raise ArgumentError(f"Argument `{name}` must be a state of {n_sites} sites, but has {state.n_sites}.")
    bond = 1
    for site, tensor in enumerate(state.tensors):
        right = 1 if site == n_sites - 1 else None
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else None
        fits = shape is not None and len(shape) == 3 and shape[:2] == (bond, 2) and shape[2] >= 1
        if shape is None or not fits or right not in (None, shape[2]):
            raise ArgumentError(
                f"Argument `{name}` must have tensors of shape ({bond}, 2, {right or 'right bond'}) at site "
                f"{site}, but has {shape or type(tensor).__name__}."
            )
        bond = shape[2]


def _is_right_canonical(tensor: Tensor, tolerance: float) -> bool:
    rows = tensor.reshape(len(tensor), -1)
    one = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return float((rows @ rows.mH - one).abs().max()) <= tolerance
