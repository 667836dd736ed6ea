"""More spin models: Ising in a tilted field, Ising with long-range couplings, XXZ and Heisenberg."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from qdyn.checks import check_integer
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import (
    PER_BOND,
    PER_SITE,
    PER_TRAJECTORY,
    Couplings,
    Hamiltonian,
    LatticeHamiltonian,
)
from qdyn.quantum.lattices import Bonds, all_pairs
from qdyn.quantum.pauli import PauliTerms, Word


@dataclass(frozen=True, eq=False, repr=False)
class MixedFieldIsing(LatticeHamiltonian):
    """The Ising model in a tilted field: chaotic where both fields are of the order of J.

        H = -J sum_<ij> Z_i Z_j - h sum_i X_i - g sum_i Z_i

    Args:
        n_sites: number of sites n, at least 1.
        coupling: J. A number, (batch,) values: one a trajectory, or disorder: (1, bonds), (batch, bonds).
        field: h, along x. The same, with sites in place of bonds.
        longitudinal_field: g, along z. The same, with sites in place of bonds.
        periodic: closes the chain to a ring; needs at least 3 sites.
        bonds: pairs of sites that interact, for another lattice than the chain.

    Raises:
        ArgumentError: an argument is out of range, not finite, or the batches differ in length.

    Source: M. C. Banuls, J. I. Cirac, M. B. Hastings, Physical Review Letters 106, 050405 (2011): J = 1,
    h = 1.05 and g = -0.5 is the usual non-integrable point.

    Example:
        >>> MixedFieldIsing(n_sites=1, field=1.0, longitudinal_field=0.5).to_dense()
        tensor([[-0.5000, -1.0000],
                [-1.0000,  0.5000]], dtype=torch.float64)
    """

    n_sites: int
    coupling: Couplings = dataclasses.field(default=1.0, metadata=PER_BOND)
    field: Couplings = dataclasses.field(default=1.0, metadata=PER_SITE)
    longitudinal_field: Couplings = dataclasses.field(default=0.5, metadata=PER_SITE)
    periodic: bool = False
    bonds: Bonds | None = None

    formula: ClassVar[str] = "H = -coupling sum_<ij> Z_i Z_j - field sum_i X_i - longitudinal_field sum_i Z_i"

    def pauli_terms(self) -> PauliTerms:
        """-J on every ZZ bond, -h on every X, -g on every Z."""
        groups = [
            self._on_bonds("ZZ", "coupling"),
            self._on_sites("X", "field"),
            self._on_sites("Z", "longitudinal_field"),
        ]
        return PauliTerms.of(self.n_sites, [(words, -values) for words, values in groups])


@dataclass(frozen=True, eq=False, repr=False)
class LongRangeIsing(Hamiltonian):
    """The Ising model with couplings that fall off as a power of the distance.

        H = -J sum_{i<j} Z_i Z_j / |i - j|^alpha - h sum_i X_i - g sum_i Z_i

    Args:
        n_sites: number of sites n, at least 1.
        coupling: J. A number, (batch,) values: one a trajectory, or disorder over the pairs i < j in the
            order of `all_pairs`: (1, pairs), (batch, pairs).
        field: h, along x. A number, (batch,), (1, sites) or (batch, sites).
        longitudinal_field: g, along z. The same.
        exponent: alpha >= 0, a number or (batch,) values; 0 couples all pairs alike.
        periodic: measures the distance around the ring, whichever way is shorter.

    Raises:
        ArgumentError: an argument is out of range, not finite, or the batches differ in length.

    Source: P. Richerme et al., Nature 511, 198 (2014), for ions with 0 < alpha < 3.

    Example:
        >>> terms = LongRangeIsing(n_sites=3, field=0.0, exponent=2.0).pauli_terms()
        >>> dict(zip(terms.labels, terms.coefficients.tolist()))["ZIZ"]
        -0.25
    """

    n_sites: int
    coupling: Couplings = dataclasses.field(default=1.0, metadata=PER_BOND)
    field: Couplings = dataclasses.field(default=1.0, metadata=PER_SITE)
    longitudinal_field: Couplings = dataclasses.field(default=0.0, metadata=PER_SITE)
    exponent: Couplings = dataclasses.field(default=1.5, metadata={**PER_TRAJECTORY, "unit": "1"})
    periodic: bool = False

    formula: ClassVar[str] = (
        "H = -coupling sum_i<j Z_i Z_j / |i-j|^exponent - field sum_i X_i - longitudinal_field sum_i Z_i"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_sites", check_integer("n_sites", self.n_sites, minimum=1))
        self._settle_couplings({"bond": len(all_pairs(self.n_sites)), "site": self.n_sites})
        if bool((self.parameters["exponent"] < 0).any()):
            raise ArgumentError(
                f"Argument `exponent` must be >= 0, but holds {float(self.parameters['exponent'].min()):g}."
            )

    def pauli_terms(self) -> PauliTerms:
        """-J / distance^alpha on every pair, -h on every X, -g on every Z."""
        pairs = all_pairs(self.n_sites)
        bonds: list[Word] = [((i, "Z"), (j, "Z")) for i, j in pairs]
        sites = range(self.n_sites)
        along_x: list[Word] = [((site, "X"),) for site in sites]
        along_z: list[Word] = [((site, "Z"),) for site in sites]
        decay = self._decay([j - i for i, j in pairs])
        return PauliTerms.of(
            self.n_sites,
            [
                (bonds, -self._spread("coupling", len(bonds)) * decay),
                (along_x, -self._spread("field", self.n_sites)),
                (along_z, -self._spread("longitudinal_field", self.n_sites)),
            ],
        )

    def _decay(self, gaps: list[int]) -> Tensor:
        """1 / distance^alpha, bit for bit the same at equal distance, so that a uniform ring is one."""
        nearest = [min(gap, self.n_sites - gap) if self.periodic else gap for gap in gaps]
        distances = torch.arange(1, self.n_sites + 1, dtype=torch.float64)
        powers = distances ** -self.parameters["exponent"][..., None]
        return powers[..., torch.tensor(nearest, dtype=torch.int64) - 1]


@dataclass(frozen=True, eq=False, repr=False)
class XXZ(LatticeHamiltonian):
    """The XXZ model in a field; anisotropy 1 is the Heisenberg model, 0 the XX model.

        H = J sum_<ij> (X_i X_j + Y_i Y_j + Delta Z_i Z_j) - h_z sum_i Z_i - h_x sum_i X_i

    The operators are Pauli matrices: in terms of spins S = sigma / 2 the exchange constant is 4 J. J > 0 is
    the antiferromagnet.

    Args:
        n_sites: number of sites n, at least 1.
        coupling: J. A number, (batch,) values: one a trajectory, or disorder: (1, bonds), (batch, bonds).
        anisotropy: Delta. The same.
        field: h_z, along z. The same, with sites in place of bonds.
        transverse_field: h_x, along x. The same, with sites in place of bonds.
        periodic: closes the chain to a ring; needs at least 3 sites.
        bonds: pairs of sites that interact, for another lattice than the chain.

    Raises:
        ArgumentError: an argument is out of range, not finite, or the batches differ in length.

    Source: W. Heisenberg, Zeitschrift fuer Physik 49, 619 (1928); R. Orbach, Physical Review 112, 309 (1958).

    Example:
        >>> XXZ(n_sites=2, coupling=0.5, anisotropy=2.0).to_dense()
        tensor([[ 1.,  0.,  0.,  0.],
                [ 0., -1.,  1.,  0.],
                [ 0.,  1., -1.,  0.],
                [ 0.,  0.,  0.,  1.]], dtype=torch.float64)
    """

    n_sites: int
    coupling: Couplings = dataclasses.field(default=1.0, metadata=PER_BOND)
    anisotropy: Couplings = dataclasses.field(default=1.0, metadata={**PER_BOND, "unit": "1"})
    field: Couplings = dataclasses.field(default=0.0, metadata=PER_SITE)
    transverse_field: Couplings = dataclasses.field(default=0.0, metadata=PER_SITE)
    periodic: bool = False
    bonds: Bonds | None = None

    formula: ClassVar[str] = (
        "H = coupling sum_<ij> (X_i X_j + Y_i Y_j + anisotropy Z_i Z_j) "
        "- field sum_i Z_i - transverse_field sum_i X_i"
    )

    def pauli_terms(self) -> PauliTerms:
        """J on every XX and YY bond, J Delta on every ZZ bond, -h_z on every Z, -h_x on every X."""
        in_plane = [self._on_bonds(letters, "coupling") for letters in ("XX", "YY")]
        words, couplings = self._on_bonds("ZZ", "coupling")
        along_z = (words, couplings * self._spread("anisotropy", len(words)))
        fields = [self._on_sites("Z", "field"), self._on_sites("X", "transverse_field")]
        return PauliTerms.of(
            self.n_sites, [*in_plane, along_z, *((sites, -values) for sites, values in fields)]
        )
