"""A Hamiltonian of a chain whose terms act on one site or on two neighbours, as small matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qdyn.errors import ArgumentError
from qdyn.quantum.pauli import PauliTerms, Word

PAULI_MATRICES = {
    "I": torch.eye(2, dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}


@dataclass(frozen=True, eq=False)
class ChainTerms:
    """H = sum_i f_i + sum_i h_{i,i+1}.

    Attributes:
        sites: f_i, complex128, (n, 2, 2); constants of H are in f_0.
        bonds: h_{i,i+1} on the basis |00>, |01>, |10>, |11> of the two sites, complex128, (n - 1, 4, 4).
    """

    sites: Tensor
    bonds: Tensor

    @classmethod
    def of(cls, terms: PauliTerms) -> ChainTerms:
        """The terms of a single operator.

        Raises:
            ArgumentError: a term acts on sites that are not neighbours, such as the bond that closes a ring.
        """
        n_sites = terms.n_sites
        sites = torch.zeros(n_sites, 2, 2, dtype=torch.complex128)
        bonds = torch.zeros(max(0, n_sites - 1), 4, 4, dtype=torch.complex128)
        for word, coefficient in zip(terms.words, terms.coefficients.reshape(-1).tolist(), strict=True):
            factors = sorted(word)
            if coefficient == 0:
                continue
            if not factors:
                sites[0] += coefficient * PAULI_MATRICES["I"]
            elif len(factors) == 1:
                site, letter = factors[0]
                sites[site] += coefficient * PAULI_MATRICES[letter]
            elif are_neighbours(word):
                (site, first), (_, second) = factors
                bonds[site] += coefficient * torch.kron(PAULI_MATRICES[first], PAULI_MATRICES[second])
            else:
                raise ArgumentError(
                    "Argument `hamiltonian` must couple neighbours of an open chain only for matrix-product "
                    f"states, but has the term {' '.join(f'{letter}{site}' for site, letter in factors)}."
                )
        return cls(sites, bonds)

    @property
    def n_sites(self) -> int:
        """Number of sites n."""
        return len(self.sites)

    def bonds_commute(self) -> bool:
        """Whether all h_{i,i+1} commute with each other, as in every Ising chain."""
        one = PAULI_MATRICES["I"]
        for first, second in zip(self.bonds[:-1], self.bonds[1:], strict=True):
            left, right = torch.kron(first, one), torch.kron(one, second)
            if float((left @ right - right @ left).abs().max()) > 1e-14 * float(
                first.abs().max() * second.abs().max()
            ):
                return False
        return True

    def with_fields_on_bonds(self) -> Tensor:
        """The bond terms with the site terms shared out among the bonds of each site, (n - 1, 4, 4)."""
        one = PAULI_MATRICES["I"]
        bonds = self.bonds.clone()
        last = self.n_sites - 1
        for bond in range(last):
            left = self.sites[bond] * (1.0 if bond == 0 else 0.5)
            right = self.sites[bond + 1] * (1.0 if bond + 1 == last else 0.5)
            bonds[bond] += torch.kron(left, one) + torch.kron(one, right)
        return bonds

    def largest_rate(self) -> float:
        """The largest operator norm of the terms that act on one bond and its sites."""
        if not len(self.bonds):
            return float(torch.linalg.matrix_norm(self.sites, ord=2).max())
        return float(torch.linalg.matrix_norm(self.with_fields_on_bonds(), ord=2).max())


def are_neighbours(word: Word) -> bool:
    """Whether a Pauli string acts on two neighbouring sites."""
    places = sorted(site for site, _ in word)
    return len(places) == 2 and places[1] - places[0] == 1
