r"""The plain steps that conjugate gradients amount to.

L steps of conjugate gradients for (rho + lambda) u = x stop at u = p(rho) x, where p follows from the Ritz
values theta_l of rho + lambda, the eigenvalues of its L x L tridiagonal matrix in the Krylov space of x:

    1 - (rho + lambda) p(rho) = prod_l (1 - (rho + lambda) / theta_l).

They are real and positive, so that L plain steps of sizes 1/theta_l, in any order, do the same:

    h_{l+1} = h_l - eta_l (rho + lambda) h_l,     u = sum_l eta_l h_l,     x - rho u = h_L + lambda u.

So a circuit, which is a product of plain layers, can do what conjugate gradients do. It is told the sizes, as
conjugate gradients themselves are told theirs by overlaps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.attention.in_context.attention import Conjugate, Descent
from qdyn.errors import ArgumentError


class PlainSteps(NamedTuple):
    """Absolute numbers of plain layers.

    Attributes:
        sizes: eta_l, (..., L, T).
        ridge: lambda, (..., T).
    """

    sizes: Tensor
    ridge: Tensor

    @classmethod
    def of(cls, steps: Descent | Conjugate, operator: Tensor, bound: Tensor, x: Tensor) -> PlainSteps:
        """From the steps of the closed form, rho_j (..., T, d, d), its bound (..., T), and x_j (..., T, d).

        Raises:
            ArgumentError: the steps have momentum, or a unitary in their scores.
        """
        if isinstance(steps, Conjugate):
            ridge = steps.ridge * bound
            return cls(ritz_steps(operator, x, ridge, layers=steps.layers), ridge)
        if steps.momentum is not None or steps.score_unitaries is not None:
            raise ArgumentError(
                "Argument `regression` must have neither momentum nor score unitaries to be a circuit of "
                "plain layers, but has."
            )
        known = bound > _NO_PAST
        inverse = torch.where(known, 1 / torch.where(known, bound, 1.0), 0.0)
        return cls(steps.sizes * inverse.unsqueeze(-2), torch.zeros_like(bound))


def ritz_steps(
    operator: Complex[Tensor, "*batch dim dim"],
    x: Complex[Tensor, "*batch dim"],
    ridge: Float[Tensor, "*batch"],
    *,
    layers: int,
) -> Float[Tensor, "*steps"]:
    """The sizes 1/theta_l, smallest first, which costs a circuit least; 0 once all is explained.

    Args:
        operator: rho_j, Hermitian and >= 0, (..., T, d, d).
        x: x_j, (..., T, d).
        ridge: lambda, absolute, (..., T).
        layers: L.

    Returns:
        (..., L, T).

    Example: along an eigenvector one step explains all.
        >>> operator = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.complex128))[None]
        >>> x = torch.tensor([[1.0, 0.0]], dtype=torch.complex128)
        >>> ritz_steps(operator, x, torch.zeros(1, dtype=torch.float64), layers=2)
        tensor([[0.0000],
                [0.2500]], dtype=torch.float64)
    """
    levels, vectors = torch.linalg.eigh(operator.to(torch.complex128))
    # What rounding leaves of a zero would become a direction of its own.
    levels = torch.where(levels > _ROUNDING * levels[..., -1:], levels, 0.0)
    shifted = levels + ridge.double().unsqueeze(-1)
    # In the eigenbasis of rho, with the inner product <u|rho|v>, all is real.
    start = levels.sqrt() * (vectors.mH @ x.to(torch.complex128).unsqueeze(-1)).squeeze(-1).abs()
    scale = torch.linalg.vector_norm(start, dim=-1, keepdim=True)
    going = (scale > _RESOLUTION * levels[..., -1:].sqrt()) & (levels[..., -1:] > _NO_PAST)
    basis = [torch.where(going, start / torch.where(going, scale, 1.0), 0.0)]
    # Where no step is left, theta is set to -1, which no Ritz value is.
    tridiagonal = torch.zeros(*start.shape[:-1], layers, layers, dtype=torch.float64)
    for place in range(layers):
        vector = basis[-1]
        moved = shifted * vector
        mean = (vector * moved).sum(dim=-1)
        tridiagonal[..., place, place] = torch.where(going.squeeze(-1), mean, -1.0)
        if place + 1 == layers:
            break
        # Twice is enough for orthogonality to machine precision.
        for _ in range(2):
            for other in basis:
                moved = moved - other * (other * moved).sum(dim=-1, keepdim=True)
        norm = torch.linalg.vector_norm(moved, dim=-1, keepdim=True)
        going = going & (norm > _RESOLUTION * shifted[..., -1:])
        basis.append(torch.where(going, moved / torch.where(going, norm, 1.0), 0.0))
        beside = torch.where(going, norm, 0.0).squeeze(-1)
        tridiagonal[..., place, place + 1] = tridiagonal[..., place + 1, place] = beside
    theta = torch.linalg.eigvalsh(tridiagonal)
    sizes = torch.where(theta > 0, 1 / torch.where(theta > 0, theta, 1.0), 0.0)
    return sizes.sort(dim=-1).values.mT


# Relative to a single transition, whose operator has norm 1.
_NO_PAST = 1e-9
# Relative to the largest eigenvalue: what is 0 but for rounding.
_ROUNDING = 1e-12
# What is left of a Krylov vector by rounding.
_RESOLUTION = 1e-10
