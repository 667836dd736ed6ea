r"""Heads of in-context attention: unitaries that turn the transitions seen into further ones.

Head h reads every transition x -> y as S_h x -> S_h y, or backwards as S_h conj(y) -> S_h conj(x), and counts
with a weight w_h >= 0, sum_h w_h = 1:

    rho_j = sum_h w_h sum_{i<j} S_h |x_i><x_i| S_h^dagger,          C_j and B_j likewise.

What a head reads is true of U where S_h commutes with it, and backwards where U S_h = S_h U^T. The
symmetries that a preset names are such heads, told. Others are trained, from symmetries found in the
propagators of the training trajectories (`symmetry_heads`) or from nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_integer

#: Of the states that symmetries are looked for in: d^2 x d^2 matrices are diagonalised.
LARGEST_DIMENSION = 32


class Heads(NamedTuple):
    """Unitaries and weights of the heads.

    Attributes:
        unitaries: S_h, (H, d, d).
        weights: w_h >= 0 of sum 1, (H,).
        backward: How many of the heads, the last ones, read transitions backwards.
    """

    unitaries: Complex[Tensor, "heads dim dim"]
    weights: Float[Tensor, " heads"]
    backward: int = 0

    def images(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (..., H, M, d) as each head reads the transitions (..., M, d).

        Example: forwards as it was, backwards from the end to the start.
            >>> one = torch.eye(2, dtype=torch.complex64)
            >>> heads = Heads(torch.stack([one, one]), torch.tensor([0.5, 0.5]), backward=1)
            >>> keys, values = heads.images(one[:1], one[1:])
            >>> keys.real.squeeze(1), values.real.squeeze(1)
            (tensor([[1., 0.],
                    [0., 1.]]), tensor([[0., 1.],
                    [1., 0.]]))
        """
        forward = self.unitaries.shape[-3] - self.backward
        found = []
        for ahead, back in ((keys, values.conj()), (values, keys.conj())):
            read = [ahead.unsqueeze(-3).expand(*ahead.shape[:-2], forward, *ahead.shape[-2:])]
            if self.backward:
                read.append(back.unsqueeze(-3).expand(*back.shape[:-2], self.backward, *back.shape[-2:]))
            found.append(torch.cat(read, dim=-3) @ self.unitaries.mT)
        return found[0], found[1]


def feed_forward(
    z: Complex[Tensor, "*batch time dim"],
    x: Complex[Tensor, "*batch time dim"],
    first: Complex[Tensor, "units dim dim"],
    second: Complex[Tensor, "units dim dim"],
    strength: Float[Tensor, "units time"],
) -> Complex[Tensor, "*batch time dim"]:
    """What each forecast becomes by itself, gated by the state that it was made from, loaded once more.

        z'_j = z_j + sum_u kappa_uj F_u (1 - 2|x_j><x_j|) E_u z_j

    Linear in z_j, so that a circuit does it to the vector that it holds, and not in x_j: <x_j|E_u z_j> is the
    gate. A phase of x_j changes nothing.

    Args:
        z: Forecasts (..., T, d), of any length.
        x: States (..., T, d), unit vectors.
        first: E_u.
        second: F_u.
        strength: kappa_uj >= 0.

    Example: what lies along x_j is taken away, with E = F = 1 and kappa = 1/2, and the rest is stretched.
        >>> one = torch.eye(2, dtype=torch.complex64)[None]
        >>> z = torch.tensor([[1.0, 1.0]], dtype=torch.complex64)
        >>> feed_forward(z, z.new_tensor([[1.0, 0.0]]), one, one, torch.tensor([[0.5]])).real
        tensor([[0.5000, 1.5000]])
    """
    turned = z.unsqueeze(-3) @ first.mT
    state = x.unsqueeze(-3)
    gate = (state.conj() * turned).sum(dim=-1, keepdim=True)
    made = (turned - 2 * gate * state) @ second.mT
    return z + (strength.unsqueeze(-1) * made).sum(dim=-3)


def partial_propagators(
    keys: Complex[Tensor, "count transitions dim"], values: Complex[Tensor, "count transitions dim"]
) -> Complex[Tensor, "count dim dim"]:
    """What the transitions of each trajectory say of its propagator: W_k = U_k P_k.

    P_k projects on the directions that the keys show: those of singular values above 1/100 of the largest.
    W_k is the partial isometry nearest to least squares on them.

    Example: a key that is not met leaves a zero.
        >>> keys = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], dtype=torch.complex128)
        >>> partial_propagators(keys, 1j * keys)[0]
        tensor([[0.+1.j, 0.+0.j],
                [0.+0.j, 0.+0.j]], dtype=torch.complex128)
    """
    keys, values = keys.to(torch.complex128), values.to(torch.complex128)
    left, sizes, right = torch.linalg.svd(keys.mT, full_matrices=False)
    shown = sizes > _SHOWN * sizes[:, :1]
    inverse = torch.where(shown, 1 / torch.where(shown, sizes, 1.0), 0.0)
    fitted = values.mT @ (right.mH * inverse.unsqueeze(-2)) @ left.mH
    after, _, before = torch.linalg.svd(fitted)
    rank = shown.sum(dim=-1, keepdim=True)
    kept = torch.arange(keys.shape[-1]) < rank
    return (after * kept.unsqueeze(-2)) @ before


def symmetry_heads(
    propagators: Complex[Tensor, "count dim dim"], *, forward: int, backward: int = 0, seed: int = 0
) -> tuple[Complex[Tensor, "forward dim dim"] | None, Complex[Tensor, "backward dim dim"] | None]:
    """Unitaries that all ``propagators`` have as symmetries, found in them.

    The operators with U_k S = S U_k for all k form an algebra; the eigenprojectors Pi_m of a general
    Hermitian one of them are the sectors, and S_h = sum_m exp(2 pi i h m / H) Pi_m, h = 0 ... H - 1, a group:
    its average keeps the sectors apart, if H is no less than their number. The operators with
    U_k S = S U_k^T, a time reversal, are that group times one of them. Where U_k is known in part, as
    W_k = U_k P_k = Q_k U_k, what is asked is that Q_k (U_k S - S U_k) P_k = W_k S P_k - Q_k S W_k vanishes.

    Args:
        propagators: W_k, partial isometries, each up to a phase; d at most 32, since d^2 x d^2 matrices are
            diagonalised.
        forward: H, the number of heads that read forwards, S_0 = 1 among them.
        backward: The number that read backwards.
        seed: Draws the general elements.

    Returns:
        The unitaries, or None for those of which there are none: forwards if only multiples of 1 commute.

    Raises:
        ArgumentError: a number of heads below its minimum, or d above 32.

    Example: rotations about z have the sectors up and down, and are their own transposes.
        >>> angles = torch.tensor([[0.3], [0.5], [0.9]], dtype=torch.float64)
        >>> turns = angles * torch.tensor([1.0, -1.0])
        >>> rotations = torch.diag_embed(torch.polar(torch.ones_like(turns), turns))
        >>> ahead, back = symmetry_heads(rotations, forward=2, backward=1)
        >>> bool((rotations[:, None] @ ahead - ahead @ rotations[:, None]).abs().max() < 1e-9)
        True
        >>> bool((rotations[:, None] @ back - back @ rotations.mT[:, None]).abs().max() < 1e-9)
        True
    """
    check_integer("forward", forward, minimum=1)
    check_integer("backward", backward, minimum=0)
    check_integer("dimension", propagators.shape[-1], minimum=1, maximum=LARGEST_DIMENSION)
    random = np.random.default_rng(seed)
    propagators = propagators.to(torch.complex128)
    sectors = _sectors(_intertwiners(propagators, propagators), random)

    def group(order: int) -> Tensor:
        turns = torch.outer(torch.arange(order), torch.arange(len(sectors))).double() * (2 * torch.pi / order)
        return torch.einsum("hm,mab->hab", torch.polar(torch.ones_like(turns), turns), sectors)

    ahead = group(forward) if len(sectors) > 1 else None
    if not backward:
        return ahead, None
    reversing = _intertwiners(propagators, propagators.mT)
    if not len(reversing):
        return ahead, None
    # X = S sqrt(X^dagger X), and the root commutes with U^T: the unitary part reverses time as X does.
    left, _, right = torch.linalg.svd(_general_element(reversing, random))
    return ahead, group(backward) @ (left @ right)


# Of the largest singular value of the keys: what lies below has not been seen, or but for rounding.
_SHOWN = 1e-2
# Of the mean square that a random operator changes by, about 2: what counts as not changed.
_UNCHANGED = 1e-3
# Of the spread of eigenvalues: what is further apart is another sector.
_APART = 1e-3


def _intertwiners(left: Tensor, right: Tensor) -> Tensor:
    """The S with mean_k ||W_k S A_k^dagger A_k - W_k W_k^dagger S A_k||^2 ~ 0: a basis (n, d, d)."""
    d = left.shape[-1]
    moved = _mean_kron(left.mH, right.mT)
    kept = _mean_kron(left.mH @ left, (right.mH @ right).mT) + _mean_kron(
        left @ left.mH, (right @ right.mH).mT
    )
    change, vectors = torch.linalg.eigh(kept - moved - moved.mH)
    return vectors[:, change < _UNCHANGED].mT.reshape(-1, d, d)


def _mean_kron(left: Tensor, right: Tensor) -> Tensor:
    """The mean over k of A_k (x) B_k, (d^2, d^2)."""
    d = left.shape[-1]
    return torch.einsum("nac,nbd->abcd", left, right).reshape(d * d, d * d) / len(left)


def _sectors(commuting: Tensor, random: np.random.Generator) -> Tensor:
    """The projectors (m, d, d) on the eigenspaces of a general Hermitian element."""
    general = _general_element(commuting, random)
    values, vectors = torch.linalg.eigh(general + general.mH)
    gaps = values.diff()
    # As many sectors as independent operators, if all of them commute with each other.
    cuts = gaps.argsort(descending=True)[: len(commuting) - 1]
    ends = sorted(int(cut) + 1 for cut in cuts if gaps[cut] > _APART * (values[-1] - values[0]))
    parts = [vectors[:, a:b] for a, b in zip([0, *ends], [*ends, len(values)], strict=True)]
    return torch.stack([part @ part.mH for part in parts])


def _general_element(operators: Tensor, random: np.random.Generator) -> Tensor:
    numbers = random.normal(size=(2, len(operators)))
    return torch.einsum("n,nab->ab", torch.complex(*torch.from_numpy(numbers)), operators)
