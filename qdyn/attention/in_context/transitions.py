"""The transitions x_i -> x_{i+1} that a step has seen, as keys and values of attention.

At step j the successors of all elements before x_j are known. In-context attention asks how much of a vector
r lies along the keys x_i and answers with the values x_{i+1}:

    rho_j = sum_{i<j} |x_i><x_i|,     C_j = sum_{i<j} |x_{i+1}><x_i|,     B_j = sum_{i<j} |x_{i+1}><x_{i+1}|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from qdyn.attention.in_context.heads import Heads
from qdyn.checks import check_choice, qubits_of_dimension

TransitionPhases = Literal["as_given", "transport"]
Symmetry = Literal["time_reversal", "reflection", "spin_flip"]


def transition_pairs(
    x: Complex[Tensor, "*batch time dim"],
    *,
    phases: TransitionPhases = "as_given",
    mask: Bool[Tensor, "*#batch time"] | None = None,
) -> tuple[Complex[Tensor, "*batch transitions dim"], Complex[Tensor, "*batch transitions dim"]]:
    """Keys x_i and values x_{i+1} of the T - 1 transitions within ``x``; zero where either end is masked.

    Phases "transport" give every value the phase that makes <x_i|x_{i+1}> real and positive. On the orbit
    x_i = U^i x_0 the overlap <x_i|U|x_i> = <x_0|U|x_0> does not depend on i, so that the values become
    exp(-i alpha) U x_i with one alpha for the whole orbit: linear dynamics again, whatever phase each state
    was given. What is built from them is covariant under a phase of every state.

    Args:
        x: States (..., T, d).
        phases: "as_given" or "transport".
        mask: (..., T); False where a state does not exist.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.6j, 0.8]], dtype=torch.complex64)
        >>> transition_pairs(x, phases="transport")[1]
        tensor([[0.6000+0.0000j, 0.0000-0.8000j]])
    """
    check_choice("phases", phases, get_args(TransitionPhases))
    if mask is not None:
        # Filled, not multiplied: what stands at an element that does not exist may be NaN.
        x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
    keys, values = x[..., :-1, :], x[..., 1:, :]
    if phases == "transport":
        values = values * unit_phase((values.conj() * keys).sum(dim=-1, keepdim=True))
    if mask is not None:
        gone = ~(mask[..., :-1] & mask[..., 1:]).unsqueeze(-1)
        keys, values = keys.masked_fill(gone, 0.0), values.masked_fill(gone, 0.0)
    return keys, values


def unit_phase(amplitude: Tensor) -> Tensor:
    """The phase factor amplitude / abs(amplitude), smooth near 0, where it becomes 0 but for rounding."""
    square = amplitude.real.square() + amplitude.imag.square()
    return amplitude * torch.rsqrt(square + torch.finfo(square.dtype).tiny ** 0.5)


def basis_permutation(symmetry: Symmetry, dimension: int) -> Tensor:
    """Where a unitary symmetry of a chain sends the basis states, (d,).

    Example:
        >>> basis_permutation("reflection", 4), basis_permutation("spin_flip", 4)
        (tensor([0, 2, 1, 3]), tensor([3, 2, 1, 0]))
    """
    n_qubits = qubits_of_dimension("dimension", dimension)
    index = torch.arange(dimension)
    if symmetry == "spin_flip":
        return index.flip(0)
    return index.reshape([2] * n_qubits).permute(*reversed(range(n_qubits))).reshape(-1)


def symmetric_images(keys: Tensor, values: Tensor, symmetries: tuple[Symmetry, ...]) -> tuple[Tensor, Tensor]:
    """The transitions that ``symmetries`` of U imply beside those seen.

    A unitary S that commutes with U maps the transition x -> y to S x -> S y. Time reversal, U^T = U (a real
    Hamiltonian), maps it to conj(y) -> conj(x). Each doubles the number of transitions.

    Returns:
        Keys and values (..., H, transitions, d).
    """
    keys, values = keys.unsqueeze(-3), values.unsqueeze(-3)
    for symmetry in symmetries:
        check_choice("symmetries", symmetry, get_args(Symmetry))
        if symmetry == "time_reversal":
            image = values.conj().resolve_conj(), keys.conj().resolve_conj()
        else:
            order = basis_permutation(symmetry, keys.shape[-1]).to(keys.device)
            image = keys[..., order], values[..., order]
        keys, values = torch.cat([keys, image[0]], dim=-3), torch.cat([values, image[1]], dim=-3)
    return keys, values


@dataclass(frozen=True)
class OperatorPast:
    """The past of every step as three d x d operators: a layer then costs T d^2, whatever the symmetries.

    Attributes:
        rho: rho_j averaged over heads and symmetric images, (..., T, d, d); its trace is the number of
            transitions.
        carry: C_j likewise.
        image: B_j likewise.
    """

    rho: Tensor
    carry: Tensor
    image: Tensor

    @classmethod
    def of(
        cls,
        keys: Tensor,
        values: Tensor,
        symmetries: tuple[Symmetry, ...] = (),
        heads: Heads | None = None,
    ) -> OperatorPast:
        """From keys and values (..., transitions, d) of the T - 1 transitions."""
        # Images of one transition side by side, (..., transitions, d, heads).
        if heads is None:
            k, y = keys.unsqueeze(-1), values.unsqueeze(-1)
        else:
            roots = _root(heads.weights)
            k, y = (one.movedim(-3, -1) * roots for one in heads.images(keys, values))
        rho, carry, image = (_prefix_sums(left @ right.mH) for left, right in ((k, k), (y, k), (y, y)))
        for symmetry in symmetries:
            check_choice("symmetries", symmetry, get_args(Symmetry))
            if symmetry == "time_reversal":
                rho, image = (rho + image.conj()) / 2, (image + rho.conj()) / 2
                carry = (carry + carry.mT) / 2
            else:
                order = basis_permutation(symmetry, rho.shape[-1]).to(rho.device)
                rho, carry, image = (
                    (one + one.index_select(-2, order).index_select(-1, order)) / 2
                    for one in (rho, carry, image)
                )
        return cls(rho, carry, image)

    def last(self) -> OperatorPast:
        """The past of the last step alone, T = 1."""
        return OperatorPast(*(one[..., -1:, :, :] for one in (self.rho, self.carry, self.image)))

    def attend(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """rho_j r_j and C_j r_j, (..., T, d)."""
        column = r.unsqueeze(-1)
        return (self.rho @ column).squeeze(-1), (self.carry @ column).squeeze(-1)

    def attend_to_values(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """B_j q_j, twice: as what is taken away, and as what it stands for, (..., T, d)."""
        seen = (self.image @ q.unsqueeze(-1)).squeeze(-1)
        return seen, seen

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Upper bounds of the spectral norms of rho_j and B_j, (..., T): their Frobenius norms."""
        return frobenius(self.rho), frobenius(self.image)

    def mean_phase(self, value: Tensor) -> Tensor:
        """The phase of sum_{i<j} <V x_i|x_{i+1}>, (..., T); 1 where there is no past."""
        return _phase_or_one((self.carry * value.conj().unsqueeze(-3)).sum(dim=(-2, -1)))


@dataclass(frozen=True)
class ScorePast:
    """The past as scores <k_a|r_j>: a T x M causal matrix a layer, which a kernel may act on.

    The weight of a transition is g(s) = s sum_p c_p abs(s)^(2p), with c_p >= 0 of sum 1: covariant under
    phases, and never more than s, so that the bounds of steps hold for it as well.

    Attributes:
        keys: (..., M, d), M = T - 1 times the number of heads and symmetric images.
        values: (..., M, d).
        weights: (T, M) real: the weight of the image where its transition has happened by step j, else 0.
        coefficients: c_p, (..., degree + 1), or None for g(s) = s.
    """

    keys: Tensor
    values: Tensor
    weights: Tensor
    coefficients: Tensor | None = None

    @classmethod
    def of(
        cls,
        keys: Tensor,
        values: Tensor,
        symmetries: tuple[Symmetry, ...] = (),
        coefficients: Tensor | None = None,
        heads: Heads | None = None,
    ) -> ScorePast:
        """From keys and values (..., transitions, d) of the T - 1 transitions."""
        transitions = keys.shape[-2]
        ones = torch.ones(transitions + 1, transitions, dtype=keys.real.dtype, device=keys.device)
        weights = ones.tril(-1)
        if heads is not None:
            keys, values = (one.flatten(-3, -2) for one in heads.images(keys, values))
            weights = torch.cat([weight * weights for weight in heads.weights], dim=-1)
        keys, values = symmetric_images(keys, values, symmetries)
        images = keys.shape[-3]
        weights = (weights / images).repeat(1, images)
        return cls(keys.flatten(-3, -2), values.flatten(-3, -2), weights, coefficients)

    def last(self) -> ScorePast:
        """The past of the last step alone."""
        return replace(self, weights=self.weights[-1:])

    def attend(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """sum_a g_ja k_a and sum_a g_ja y_a with g_ja = g(<k_a|r_j>), (..., T, d)."""
        weights = self._kernel(r @ self.keys.mH) * self.weights
        return weights @ self.keys, weights @ self.values

    def attend_to_values(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """As `OperatorPast.attend_to_values`: sum_a y_a <y_a|q_j>."""
        seen = ((q @ self.values.mH) * self.weights) @ self.values
        return seen, seen

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Frobenius norms of rho_j and B_j from the overlaps: sqrt(sum_ab w_ja w_jb abs(<k_a|k_b>)^2)."""
        found = []
        for vectors in (self.keys, self.values):
            overlaps = vectors @ vectors.mH
            squares = overlaps.real.square() + overlaps.imag.square()
            found.append(_root(((self.weights @ squares) * self.weights).sum(dim=-1)))
        return found[0], found[1]

    def mean_phase(self, value: Tensor) -> Tensor:
        """As `OperatorPast.mean_phase`."""
        overlaps = ((self.keys @ value.mT).conj() * self.values).sum(dim=-1)
        return _phase_or_one((self.weights.to(overlaps.dtype) @ overlaps.unsqueeze(-1)).squeeze(-1))

    def _kernel(self, scores: Tensor) -> Tensor:
        if self.coefficients is None:
            return scores
        square = scores.real.square() + scores.imag.square()
        series = torch.zeros_like(square)
        for coefficient in reversed(self.coefficients.unbind(-1)):
            series = series * square + coefficient
        return scores * series


def frobenius(matrices: Complex[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    """sqrt(tr M^dagger M), smooth at 0."""
    return _root((matrices.real.square() + matrices.imag.square()).sum(dim=(-2, -1)))


def length(vectors: Complex[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 1"]:
    """The norm of each vector, smooth at 0."""
    return _root((vectors.real.square() + vectors.imag.square()).sum(dim=-1, keepdim=True))


def _root(squares: Tensor) -> Tensor:
    # Far below the square of any norm that matters, far above the smallest float32.
    return torch.sqrt(squares + 1e-24)


def _prefix_sums(terms: Tensor) -> Tensor:
    """(..., T, d, d) from (..., T - 1, d, d): entry j sums the terms before j."""
    return torch.nn.functional.pad(terms.cumsum(dim=-3), (0, 0, 0, 0, 1, 0))


def _phase_or_one(amplitude: Tensor) -> Tensor:
    square = amplitude.real.square() + amplitude.imag.square()
    known = square > math.sqrt(torch.finfo(square.dtype).tiny)
    return torch.where(known, unit_phase(torch.where(known, amplitude, 1.0)), 1.0)
