"""H - i Gamma as the kernels of quantum jumps read it, and how far one Chebyshev basis of it reaches.

Between jumps a pure state obeys d psi / dt = -i (H - i Gamma) psi with Gamma = sum_k L_k^H L_k / 2, a
diagonal for every channel. Its middle s is taken out as a factor exp(-s t); the rest widens the numerical
range of G = (H - i Gamma) / R, and |T_k(G)| grows like the k-th power of `growth_of`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from qdyn.dynamics.chebyshev.plan import round_up
from qdyn.dynamics.chebyshev.spectral_bounds import spectral_interval
from qdyn.dynamics.open_systems.dissipation import count_terms, growth_of
from qdyn.quantum.channels import Channel
from qdyn.quantum.kernel_operator import KernelOperator
from qdyn.quantum.pauli import PauliTerms

# Vectors of one window: more would only make the tables longer.
_LONGEST_SERIES = 96
_MOST_NODES = 16
# Nanoseconds for a cache line of a state: one group of vectors added to a state, and what else it takes.
_GROUP_COST, _NODE_COST = 4.0, 6.0
_GROUP = 10

Reals = Float[NDArray[np.float64], "..."]
Integers = Int[NDArray[np.int64], "..."]


@dataclass(frozen=True, eq=False)
class DampedOperator:
    """H - i (Gamma + shift) with its jumps; see `qdyn.dynamics.open_systems.jump_kernels.follow`.

    Attributes:
        operator: H.
        radii: half widths of the spectra of H, or more where Gamma asks for it, (operators,).
        middles: middles of the spectra.
        loss: diagonal of Gamma + shift, (2**sites of the kernels,).
        shift: middle of the diagonal.
        jump_bits: bit of the site that each jump acts on.
        jump_weights: diagonal of L^H L of each jump, (jumps, 2).
        jump_matrices: L, (jumps, 2, 2).
    """

    operator: KernelOperator
    radii: Reals
    middles: Reals
    loss: Reals
    shift: float
    jump_bits: Integers
    jump_weights: Reals
    jump_matrices: NDArray[np.complex128]

    @classmethod
    def of(cls, terms: PauliTerms, channels: Sequence[Channel]) -> DampedOperator:
        """A Hamiltonian, or one for each trajectory, and what the environment does."""
        operator = KernelOperator.of(terms, single=False)
        jumps = [jump for channel in channels for jump in channel.jumps(terms.n_sites)]
        bits = np.array([1 << (terms.n_sites - 1 - site) for site, _ in jumps], dtype=np.int64)
        squares = np.array([np.diag(matrix.conj().T @ matrix).real for _, matrix in jumps]).reshape(-1, 2)
        basis = np.arange(2**operator.n_sites)
        loss = np.zeros(len(basis))
        for bit, weights in zip(bits, squares, strict=True):
            loss += weights[(basis & bit > 0).astype(np.int64)] / 2
        lower, upper = spectral_interval(terms)
        shift, spread = (loss.max() + loss.min()) / 2, (loss.max() - loss.min()) / 2
        return cls(
            operator=operator,
            radii=round_up(np.maximum((upper - lower) / 2, max(1e-3, spread / 4))),
            middles=(lower + upper) / 2,
            loss=loss,
            shift=float(shift),
            jump_bits=bits,
            jump_weights=squares,
            jump_matrices=np.array([matrix for _, matrix in jumps], dtype=np.complex128).reshape(-1, 2, 2),
        )

    @property
    def spread(self) -> float:
        """Half the width of Gamma."""
        return float(self.loss.max() - self.loss.min()) / 2

    @property
    def damping(self) -> Reals:
        """Gamma without its middle, as `product_kernels.apply` reads it."""
        return np.stack([self.loss - self.shift, self.shift - self.loss], axis=1).reshape(-1)


@dataclass(frozen=True, eq=False)
class JumpWindows:
    """How long one basis serves, for each Hamiltonian.

    Attributes:
        spans: duration.
        lengths: largest number of vectors.
        tolerances: largest norm of what its series leave out.
        growths: base of the growth of T_k.
        n_nodes: largest number of states.
    """

    spans: Reals
    lengths: Integers
    tolerances: Reals
    growths: Reals
    n_nodes: int


def choose_windows(damped: DampedOperator, *, times: Reals, error: float) -> JumpWindows:
    """The durations that cost least for what they bring; jumps end them early, but are foreseen.

    Args:
        damped: what is followed.
        times: the times to reach.
        error: largest norm of what the series leave out, over the whole evolution.
    """
    last = float(times[-1])
    spacing = last / len(times)
    product = 0.5 + 0.33 * (damped.operator.cost + 1)
    spans, lengths, tolerances, growths = [], [], [], []
    for radius in damped.radii.tolist():
        best = (math.inf, 0.0, 0, 0.0)
        ratio = damped.spread / radius
        for phase in (0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30):
            span = min(phase / radius, last)
            # A window that ends just before a stored state would need another one for it.
            if span > spacing:
                span = math.floor(min(span / spacing, _MOST_NODES) * (1 + 1e-9)) * spacing
            tolerance = error * span / last
            length = count_terms(radius * span, ratio, tolerance / 2)
            if length > _LONGEST_SERIES:
                break
            n_nodes = max(1, round(span / spacing))
            reaches = [
                count_terms(radius * span * (k + 1) / n_nodes, ratio, tolerance) for k in range(n_nodes)
            ]
            groups = sum(-(-reach // _GROUP) for reach in reaches)
            cost = length * product + groups * _GROUP_COST + n_nodes * _NODE_COST
            best = min(best, (cost / span, span * (1 + 1e-9), length, tolerance / 2))
        spans.append(best[1])
        lengths.append(best[2])
        tolerances.append(best[3])
        growths.append(growth_of(ratio))
    return JumpWindows(
        np.array(spans),
        np.array(lengths, dtype=np.int64),
        np.array(tolerances),
        np.array(growths),
        _MOST_NODES,
    )
