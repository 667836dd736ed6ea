"""Time-evolving block decimation: gates on the bonds of a matrix-product state, and its truncation.

The chain is kept with the centre of orthogonality at one end, so that the tensor there and the next one hold
the Schmidt decomposition of their bond up to an isometry on either side. A sweep carries the centre to the
other end. On every bond with a gate it forms theta = M B, applies the gate and splits the result again:

* by a singular-value decomposition, the best there is, while the bond still grows;
* by two products and one QR decomposition once it has reached its largest dimension: the range of
  Y = theta B^H is the space that the old right basis shows of theta, and Q R = Y gives the new left tensor Q
  and the new centre Q^H theta. It is one step of subspace iteration from a basis that is off by O(tau), and
  several times quicker than the decomposition.

All gates of a sweep are truncated against orthonormal bases, so the parts that a sweep discards are
orthogonal to each other and to what remains: their weights add up, and |psi - P psi|^2 is their sum exactly.

Sources: G. Vidal, Physical Review Letters 93, 040502 (2004); U. Schollwoeck, Annals of Physics 326, 96
(2011); the truncation by QR: J. Unfried, J. Hauschild, F. Pollmann, Physical Review B 107, 155133 (2023).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from qdyn.dynamics.tensor_networks.chain_terms import ChainTerms
from qdyn.dynamics.tensor_networks.matrix_product_state import MatrixProductState, move_centre, reverse
from qdyn.dynamics.trotter import compositions

Split = Literal["qr", "svd"]


@dataclass(frozen=True)
class Truncation:
    """What is kept of a bond.

    Attributes:
        max_bond: largest bond dimension.
        cutoff: Schmidt coefficients below this part of the largest are dropped.
        split: "qr" or "svd": how a bond that has reached ``max_bond`` is split.
    """

    max_bond: int
    cutoff: float
    split: Split = "qr"


@dataclass(frozen=True, eq=False)
class Layer:
    """Rotations of all sites, then gates on some bonds, left to right in the orientation of the chain.

    Attributes:
        rotations: (n, 2, 2), or None.
        gates: for each bond None or a gate: (4,) where it is diagonal, (4, 4) otherwise; None where there is
            no gate at all and the centre stays.
    """

    rotations: Tensor | None
    gates: tuple[Tensor | None, ...] | None

    def reversed(self) -> Layer:
        """The same for the chain read from right to left."""
        rotations = None if self.rotations is None else self.rotations.flip(0)
        gates = None if self.gates is None else tuple(_swap_sites(gate) for gate in reversed(self.gates))
        return Layer(rotations, gates)


class Chain:
    """A matrix-product state on the move: its centre is the first tensor of the current orientation.

    Attributes:
        discarded: the weight that truncation has removed so far, the sum over all bonds and sweeps.
        deviation: a bound on |psi - psi_exact| that truncation has caused: the sum over the sweeps of the
            distance of the normalised state before from the one after.
    """

    def __init__(self, state: MatrixProductState, truncation: Truncation) -> None:
        self._tensors = list(state.tensors)
        self._reversed = False
        self._truncation = truncation
        self.discarded = 0.0
        self.deviation = 0.0

    @property
    def largest_bond(self) -> int:
        """The largest bond dimension now."""
        return max(tensor.shape[2] for tensor in self._tensors)

    def copy(self) -> Chain:
        """An independent chain in the same state; tensors are never changed in place."""
        other = copy(self)
        other._tensors = list(self._tensors)
        return other

    def state(self) -> MatrixProductState:
        """The state now."""
        if not self._reversed:
            return MatrixProductState(tuple(self._tensors))
        return MatrixProductState(tuple(reverse(move_centre(self._tensors))))

    def apply(self, layer: Layer) -> None:
        """Rotate the sites, and sweep over the bonds if there are gates."""
        layer = layer.reversed() if self._reversed else layer
        if layer.gates is None:
            assert layer.rotations is not None
            pairs = zip(layer.rotations, self._tensors, strict=True)
            self._tensors = [rotation @ tensor for rotation, tensor in pairs]
            return
        lost = self._sweep(layer)
        self.discarded += lost
        # sqrt(2 - 2 sqrt(1 - w)), written so that nothing cancels.
        self.deviation += sqrt(2 * lost / (1 + sqrt(max(0.0, 1 - lost))))
        self._tensors = reverse(self._tensors)
        self._reversed = not self._reversed

    def _sweep(self, layer: Layer) -> float:
        tensors, rotations, gates = self._tensors, layer.rotations, layer.gates
        assert gates is not None
        lost = 0.0
        centre = tensors[0] if rotations is None else rotations[0] @ tensors[0]
        for bond, gate in enumerate(gates):
            after = tensors[bond + 1] if rotations is None else rotations[bond + 1] @ tensors[bond + 1]
            if gate is None:
                tensors[bond], centre = _pass_on(centre, after)
            else:
                tensors[bond], centre, weight = _split(
                    _with_gate(centre, after, gate), after, self._truncation
                )
                lost += weight
        tensors[-1] = centre / sqrt(_weight(centre))
        return lost


class Propagator:
    """The layers of one step of a product formula, for one Hamiltonian; kept for the last few step sizes.

    Where all couplings commute, as in Ising chains, H is split into couplings and fields, and a sweep applies
    the couplings of every bond at once; otherwise into the even and the odd bonds, each with its share of the
    fields.
    """

    def __init__(self, terms: ChainTerms, *, order: int, dtype: torch.dtype, device: torch.device) -> None:
        self._terms, self._dtype, self._device = terms, dtype, device
        self._by_fields = terms.bonds_commute()
        self._shared = terms.with_fields_on_bonds()
        self._weights = _alternate(order)
        self._fields_then_couplings = lru_cache(maxsize=64)(self._make_fields_then_couplings)
        self._every_other_bond = lru_cache(maxsize=64)(self._make_every_other_bond)

    def advance(self, chain: Chain, duration: float, n_steps: int) -> None:
        """Evolve by ``duration`` in equal steps."""
        # Equal steps may differ in their last bits; the gates of one serve them all.
        step = float(f"{duration / n_steps:.14e}")
        first, *middle, last = self._weights
        # The last factor of a step and the first one of the next are exponentials of the same part.
        weights = [first, *[*middle, last + first] * (n_steps - 1), *middle, last]
        if not self._by_fields:
            for index, weight in enumerate(weights):
                chain.apply(self._every_other_bond(index % 2, weight * step))
            return
        for fields, couplings in zip(weights[:-1:2], weights[1::2], strict=True):
            chain.apply(self._fields_then_couplings(fields * step, couplings * step))
        chain.apply(Layer(self._exponential(self._terms.sites, weights[-1] * step), None))

    def _make_fields_then_couplings(self, fields: float, couplings: float) -> Layer:
        rotations, bonds = self._exponential(self._terms.sites, fields), self._terms.bonds
        if not len(bonds):
            return Layer(rotations, None)
        return Layer(rotations, self._gates(bonds, couplings, range(len(bonds))))

    def _make_every_other_bond(self, first: int, duration: float) -> Layer:
        return Layer(None, self._gates(self._shared, duration, range(first, len(self._shared), 2)))

    def _gates(self, bonds: Tensor, duration: float, places: Iterable[int]) -> tuple[Tensor | None, ...]:
        gates: list[Tensor | None] = [None] * len(bonds)
        exponentials = self._exponential(bonds, duration)
        for place in places:
            matrix = bonds[place]
            diagonal = bool((matrix - torch.diag(matrix.diagonal()) == 0).all())
            gates[place] = exponentials[place].diagonal() if diagonal else exponentials[place]
        return tuple(gates)

    def _exponential(self, matrices: Tensor, duration: float) -> Tensor:
        energies, vectors = torch.linalg.eigh(matrices)
        phases = torch.polar(torch.ones_like(energies), -duration * energies)
        return (vectors * phases[:, None] @ vectors.mH).to(self._device, self._dtype)


def _alternate(order: int) -> list[float]:
    """Weights of the two parts in turn, the first part at both ends."""
    weights, carried = [], 0.0
    for beta, alpha in compositions(order):
        weights += [carried + beta, beta + alpha]
        carried = alpha
    return [*weights, carried]


def _swap_sites(gate: Tensor | None) -> Tensor | None:
    if gate is None:
        return None
    swapped = torch.tensor([0, 2, 1, 3], device=gate.device)
    return gate[swapped] if gate.ndim == 1 else gate[swapped][:, swapped]


def _with_gate(centre: Tensor, after: Tensor, gate: Tensor) -> Tensor:
    """Theta = gate M B as a matrix (2 left, 2 right)."""
    left, _, middle = centre.shape
    right = after.shape[2]
    theta = (centre.reshape(2 * left, middle) @ after.reshape(middle, 2 * right)).reshape(left, 4, right)
    theta = theta * gate[:, None] if gate.ndim == 1 else gate @ theta
    return theta.reshape(2 * left, 2 * right)


def _split(theta: Tensor, after: Tensor, truncation: Truncation) -> tuple[Tensor, Tensor, float]:
    """Left isometry, new centre and discarded weight."""
    rows, columns = theta.shape
    middle = after.shape[0]
    if truncation.split == "qr" and middle >= truncation.max_bond:
        basis = torch.linalg.qr(theta @ after.reshape(middle, columns).mH).Q
        centre = basis.mH @ theta
        lost = _missing_weight(theta, basis, centre)
        kept = basis.shape[1]
    else:
        basis, values, vectors = _svd(theta)
        kept = int((values > truncation.cutoff * values[0]).sum())
        kept = max(1, min(kept, truncation.max_bond))
        lost = float(values[kept:].double().square().sum())
        basis, centre = basis[:, :kept], values[:kept, None] * vectors[:kept]
    return basis.reshape(rows // 2, 2, kept), centre.reshape(kept, 2, columns // 2), lost


def _missing_weight(theta: Tensor, basis: Tensor, centre: Tensor) -> float:
    """|theta|^2 - |centre|^2; from the remainder itself where the difference would be rounding."""
    if basis.shape[0] == basis.shape[1]:
        return 0.0
    whole, kept = _weight(theta), _weight(centre)
    if whole - kept > 1e4 * torch.finfo(theta.dtype).eps * whole:
        return whole - kept
    return _weight(theta - basis @ centre)


def _weight(tensor: Tensor) -> float:
    """|tensor|^2; several times quicker than torch's norm of complex numbers."""
    numbers = torch.view_as_real(tensor).reshape(-1)
    return float(numbers @ numbers)


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    try:
        return torch.linalg.svd(matrix, full_matrices=False)
    except RuntimeError:  # LAPACK's divide and conquer fails now and then; the slow way does not
        from scipy.linalg import svd

        parts = svd(matrix.numpy(force=True), full_matrices=False, lapack_driver="gesvd")
        basis, values, vectors = (torch.from_numpy(part).to(matrix.device) for part in parts)
        return basis, values, vectors


def _pass_on(centre: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Make ``centre`` an isometry and multiply what is left into the next tensor."""
    left, _, middle = centre.shape
    basis, rest = torch.linalg.qr(centre.reshape(2 * left, middle))
    _, _, right = after.shape
    return basis.reshape(left, 2, -1), (rest @ after.reshape(middle, 2 * right)).reshape(-1, 2, right)
