"""Matrix-product states of a chain: what they are, what is measured on them, and samples of them.

    |psi> = sum_s  B_0^{s_0} B_1^{s_1} ... B_{n-1}^{s_{n-1}} |s_0 s_1 ... s_{n-1}>

The tensors B_1, ..., B_{n-1} are right-canonical, sum_s B^s (B^s)^H = 1, and B_0 carries the norm: everything
to the right of a site drops out of what is measured on it, so that one pass from the left gives all of it.
The environment L_i = sum_s (B^s)^H L_{i-1} B^s of the bond before site i is the reduced density matrix of the
right part in an orthonormal basis; its eigenvalues are the squares of the Schmidt coefficients.

Source: U. Schollwoeck, Annals of Physics 326, 96 (2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import torch
from jaxtyping import Complex, Float, Num, UInt8
from torch import Tensor

from qdyn.checks import check_choice, check_integer, check_normalised, qubits_of_dimension
from qdyn.dynamics.tensor_networks.chain_terms import PAULI_MATRICES, ChainTerms, are_neighbours
from qdyn.errors import ArgumentError
from qdyn.memory import check_memory
from qdyn.quantum.factorised import Axis, FactorisedState
from qdyn.quantum.pauli import PauliTerms, Word, as_complex
from qdyn.quantum.product_states import ProductStates
from qdyn.quantum.sampling import outcome_basis


@dataclass(frozen=True, eq=False, repr=False)
class MatrixProductState:
    """A pure state of n sites as a product of n small matrices for every basis state.

    Attributes:
        tensors: one a site, complex of shape (left bond, 2, right bond); all but the first right-canonical,
            the first of norm 1. Site 0 is the most significant bit of the basis index.

    Example:
        >>> state = MatrixProductState.product("+" * 100)
        >>> state.site_magnetisation("x")[:3].round(decimals=12)
        tensor([1., 1., 1.], dtype=torch.float64)
        >>> int(state.sample(2, axis="x", seed=0).sum())
        0
    """

    tensors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        # Real tensors have no room for Y; what is no tensor is refused where the state is used.
        given = (as_complex(one) if isinstance(one, Tensor) else one for one in self.tensors)
        object.__setattr__(self, "tensors", tuple(given))

    @classmethod
    def product(
        cls, state: str | ProductStates, *, dtype: torch.dtype = torch.complex128
    ) -> MatrixProductState:
        """A product state, of bond dimension 1.

        Args:
            state: one character a site, as in `qdyn.product_state`, or a single `ProductStates`.
            dtype: complex64 or complex128.

        Raises:
            ArgumentError: an unknown label, or a batch.
        """
        product = ProductStates.of(state) if isinstance(state, str) else state
        if product.batch_size is not None:
            raise ArgumentError(f"Argument `state` must be one state, but is {product!r}.")
        return cls(tuple(site.to(dtype).reshape(1, 2, 1) for site in product.sites))

    @classmethod
    def from_vector(
        cls, vector: Num[Tensor, " dim"], *, max_bond: int | None = None, cutoff: float = 0.0
    ) -> MatrixProductState:
        """A state vector in factors, by one singular-value decomposition a bond.

        Args:
            vector: unit vector of shape (2**n,), complex or real.
            max_bond: largest bond dimension; None for no limit.
            cutoff: Schmidt coefficients below this part of the largest of their bond are dropped.

        Raises:
            ArgumentError: it is not a unit vector, its length is no power of two, or ``max_bond`` is below 1.

        Example:
            >>> bell = torch.tensor([1, 0, 0, 1], dtype=torch.complex128) / 2**0.5
            >>> MatrixProductState.from_vector(bell).bond_dimensions
            (2,)
        """
        n_sites = qubits_of_dimension("vector", vector.shape[-1])
        check_normalised("vector", vector)
        if max_bond is not None:
            check_integer("max_bond", max_bond, minimum=1)
        tensors, rest = [], as_complex(vector).reshape(-1, 1)
        for _ in range(n_sites - 1):
            right = rest.shape[1]
            left, values, basis = torch.linalg.svd(rest.reshape(-1, 2 * right), full_matrices=False)
            kept = max(1, int((values > cutoff * values[0]).sum()))
            kept = kept if max_bond is None else min(kept, max_bond)
            tensors.append(basis[:kept].reshape(kept, 2, right))
            rest = left[:, :kept] * values[:kept]
        first = rest.reshape(1, 2, -1)
        return cls((first / torch.linalg.vector_norm(first), *reversed(tensors)))

    @property
    def n_sites(self) -> int:
        """Number of sites n."""
        return len(self.tensors)

    @property
    def bond_dimensions(self) -> tuple[int, ...]:
        """The dimension of the bond after each site but the last, (n - 1,)."""
        return tuple(tensor.shape[2] for tensor in self.tensors[:-1])

    @property
    def dtype(self) -> torch.dtype:
        """complex64 or complex128."""
        return self.tensors[0].dtype

    @property
    def norm(self) -> float:
        """|psi|, as the tensors have it."""
        return float(self.overlap(self).real) ** 0.5

    def vector(self) -> Complex[Tensor, " dim"]:
        """The state vector, of shape (2**n,).

        Raises:
            MemoryLimitError: it does not fit in memory.
        """
        check_memory(2 * self.dtype.itemsize * 2**self.n_sites, f"The state vector of {self.n_sites} sites")
        vector = self.tensors[0].new_ones(1, 1)
        for tensor in self.tensors:
            left, _, right = tensor.shape
            vector = (vector @ tensor.reshape(left, 2 * right)).reshape(-1, right)
        return vector.reshape(-1)

    def overlap(self, other: MatrixProductState) -> Complex[Tensor, ""]:
        """<self|other>, computed in double precision.

        Raises:
            ArgumentError: the other state has another number of sites.
        """
        if other.n_sites != self.n_sites:
            raise ArgumentError(f"Argument `other` must have {self.n_sites} sites, but has {other.n_sites}.")
        shared = self.tensors[0].new_ones(1, 1).to(torch.complex128)
        for bra, ket in zip(self.tensors, other.tensors, strict=True):
            shared = _transfer(shared, bra.to(shared), ket.to(shared))
        return shared.reshape(())

    def fidelity(self, initial_state: Tensor | ProductStates | FactorisedState) -> Float[Tensor, ""]:
        """The overlap |<initial|psi>|^2 with one other state: a vector, a product state or one of these."""
        if isinstance(initial_state, ProductStates):
            sites = initial_state.sites.reshape(-1, 2)
            other = MatrixProductState.product(ProductStates(sites))
        elif isinstance(initial_state, Tensor):
            other = MatrixProductState.from_vector(initial_state.reshape(-1))
        elif isinstance(initial_state, MatrixProductState):
            other = initial_state
        else:
            other = MatrixProductState.from_vector(initial_state.vector())
        return self.overlap(other).abs().square()

    def site_magnetisation(self, axis: Axis) -> Float[Tensor, " sites"]:
        """<sigma^axis_i> of every site."""
        check_choice("axis", axis, get_args(Axis))
        return _traces(self._site_densities, PAULI_MATRICES[axis.upper()])

    def correlations(self, axis: Axis) -> Float[Tensor, "sites sites"]:
        """The equal-time correlators <sigma^axis_i sigma^axis_j> of all pairs, with ones on the diagonal.

        One pass carries the environments of all sites to the left of the present one together.
        """
        check_choice("axis", axis, get_args(Axis))
        matrix = self._pauli(axis.upper())
        values = torch.eye(self.n_sites, dtype=torch.float64)
        carried = self.tensors[0].new_zeros(0, 1, 1)
        for site, (tensor, environment) in enumerate(zip(self.tensors, self._environments, strict=False)):
            turned = matrix @ tensor
            left = tensor.shape[0]
            closing = tensor.reshape(left, -1).conj() @ turned.reshape(left, -1).mT
            ends = carried.flatten(1) @ closing.reshape(-1)
            values[:site, site] = values[site, :site] = ends.real.double().cpu()
            opened = _transfer(environment, tensor, turned)
            carried = torch.cat([_transfer(carried, tensor, tensor), opened[None]])
        return values

    def string_expectation(self, word: Word) -> Float[Tensor, ""]:
        """The expectation value of one Pauli string, ((site, "X" | "Y" | "Z"), ...)."""
        letters = dict(word)
        if not letters:
            return torch.ones((), dtype=torch.float64)
        if len(letters) == 1:
            ((site, letter),) = word
            return _traces(self._site_densities[site], PAULI_MATRICES[letter])
        environment = self._environments[min(letters)]
        for site in range(min(letters), max(letters) + 1):
            tensor = self.tensors[site]
            turned = self._pauli(letters[site]) @ tensor if site in letters else tensor
            environment = _transfer(environment, tensor, turned)
        return environment.diagonal().sum().real.double()

    def energy(self, terms: PauliTerms) -> Float[Tensor, ""]:
        """The expectation value of a single sum of Pauli strings."""
        total = torch.zeros((), dtype=torch.float64)
        for word, coefficient in zip(terms.words, terms.coefficients.reshape(-1).tolist(), strict=True):
            if coefficient and are_neighbours(word):
                (site, first), (_, second) = sorted(word)
                pair = torch.kron(PAULI_MATRICES[first], PAULI_MATRICES[second])
                total = total + coefficient * _traces(self._bond_densities[site], pair)
            elif coefficient:
                total = total + coefficient * self.string_expectation(word)
        return total

    def energy_variance(self, terms: PauliTerms) -> Float[Tensor, ""]:
        """|(H - <H>) psi|^2 for an H that couples neighbours only.

        Raises:
            ArgumentError: a term acts on sites that are not neighbours.
        """
        parts = ChainTerms.of(terms)
        mean = self.energy(terms)
        shift = torch.eye(2, dtype=torch.complex128) * (mean / self.n_sites)
        operator = _operator_tensors(ChainTerms(parts.sites - shift, parts.bonds))
        # The environment between <psi| (H - <H>) and (H - <H>) |psi>: (bond of bra, operator, operator, ket).
        environment = torch.ones(1, 1, 1, 1, dtype=torch.complex128)
        for tensor, matrices in zip(self.tensors, operator, strict=True):
            site = tensor.to("cpu", torch.complex128)
            inner = torch.einsum("xpqy,ytb->xpqtb", environment, site)
            inner = torch.einsum("xpqtb,qvst->xpvsb", inner, matrices)
            inner = torch.einsum("xpvsb,pwsu->xwvub", inner, matrices.conj())
            environment = torch.einsum("xwvub,xuc->cwvb", inner, site.conj())
        return environment.real.reshape(())

    def schmidt_values(self, cut: int) -> Float[Tensor, " bond"]:
        """The Schmidt coefficients of the bond before site ``cut``, largest first.

        Their squares are right to rounding: coefficients below 1e-8 (3e-4 in single precision) are not.

        Raises:
            ArgumentError: ``cut`` leaves no site on one side.
        """
        check_integer("cut", cut, minimum=1, maximum=self.n_sites - 1)
        weights = torch.linalg.eigvalsh(self._environments[cut]).double().flip(0).clamp_min(0)
        return (weights / weights.sum()).sqrt()

    def entanglement_entropy(self, cut: int) -> Float[Tensor, ""]:
        """The von Neumann entropy of sites 0 ... cut - 1, in nats."""
        return torch.special.entr(self.schmidt_values(cut).square()).sum()

    def sample(
        self, shots: int, *, axis: Axis = "z", seed: int | np.random.SeedSequence
    ) -> UInt8[Tensor, "shots sites"]:
        """Outcomes of measuring every site along an axis, drawn exactly from the probabilities of the state.

        Site after site, each is drawn given the outcomes to its left; all shots go together.

        Args:
            shots: number of samples, at least 1; more of them begin with those of fewer.
            axis: "x", "y" or "z".
            seed: integer >= 0.

        Returns:
            0 where the outcome is +1 (as of |0> along z), 1 where it is -1.

        Raises:
            ArgumentError: an argument is out of range.

        Source: A. J. Ferris, G. Vidal, Physical Review B 85, 165146 (2012).
        """
        check_integer("shots", shots, minimum=1)
        check_choice("axis", axis, get_args(Axis))
        draws = torch.from_numpy(np.random.default_rng(seed).random((shots, self.n_sites)))
        turn = outcome_basis(axis).to(self.tensors[0])
        left = self.tensors[0].new_ones(shots, 1)
        outcomes = torch.empty(shots, self.n_sites, dtype=torch.uint8)
        everyone = torch.arange(shots, device=left.device)
        for site, tensor in enumerate(self.tensors):
            bond, _, right = tensor.shape
            amplitudes = (left @ (turn @ tensor).reshape(bond, 2 * right)).reshape(shots, 2, right)
            weights = (amplitudes.real.square() + amplitudes.imag.square()).sum(dim=2)
            chance = (weights[:, 0] / weights.sum(dim=1)).cpu()
            # A draw of exactly 0 must not choose an outcome of probability 0.
            down = (draws[:, site] >= chance).to(left.device)
            chosen = down.long()
            left = amplitudes[everyone, chosen] / weights[everyone, chosen].sqrt()[:, None]
            outcomes[:, site] = down.to("cpu", torch.uint8)
        return outcomes

    def __repr__(self) -> str:
        largest = max(self.bond_dimensions, default=1)
        kind = str(self.dtype).removeprefix("torch.")
        return f"MatrixProductState(<{self.n_sites} sites, bonds up to {largest}, {kind}>)"

    @cached_property
    def _environments(self) -> list[Tensor]:
        """L of the bond before each site and after the last."""
        found = [self.tensors[0].new_ones(1, 1)]
        for tensor in self.tensors:
            found.append(_transfer(found[-1], tensor, tensor))
        return found

    @cached_property
    def _site_densities(self) -> Complex[Tensor, "sites 2 2"]:
        """The reduced density matrix of every site, double precision, of trace 1."""
        pairs = zip(self._environments, self.tensors, strict=False)
        return torch.stack([_density(environment, tensor, tensor.shape[1]) for environment, tensor in pairs])

    @cached_property
    def _bond_densities(self) -> Complex[Tensor, "bonds 4 4"]:
        """The reduced density matrix of every pair of neighbours."""
        found = []
        for first, second, environment in zip(
            self.tensors[:-1], self.tensors[1:], self._environments, strict=False
        ):
            left, _, middle = first.shape
            joined = first.reshape(2 * left, middle) @ second.reshape(middle, -1)
            found.append(_density(environment, joined.reshape(left, 4, -1), 4))
        return torch.stack(found)

    def _pauli(self, letter: str) -> Tensor:
        return PAULI_MATRICES[letter].to(self.tensors[0])


def move_centre(tensors: list[Tensor]) -> list[Tensor]:
    """Carry the centre of orthogonality from the first tensor to the last."""
    moved, centre = [], tensors[0]
    for after in tensors[1:]:
        left, _, middle = centre.shape
        basis, rest = torch.linalg.qr(centre.reshape(2 * left, middle))
        moved.append(basis.reshape(left, 2, -1))
        centre = (rest @ after.reshape(middle, -1)).reshape(-1, *after.shape[1:])
    return [*moved, centre]


def reverse(tensors: list[Tensor]) -> list[Tensor]:
    """The same chain read from right to left."""
    return [tensor.permute(2, 1, 0) for tensor in reversed(tensors)]


def _transfer(environment: Tensor, bra: Tensor, ket: Tensor) -> Tensor:
    """sum_s (bra^s)^H L ket^s, for one environment (bra bond, ket bond) or several."""
    left, _, right = ket.shape
    inner = environment @ ket.reshape(left, 2 * right)
    inner = inner.reshape(*environment.shape[:-2], 2 * bra.shape[0], right)
    return bra.reshape(2 * bra.shape[0], -1).mH @ inner


def _density(environment: Tensor, tensor: Tensor, dimension: int) -> Tensor:
    """rho[s, t] = sum conj(B^t) L B^s, normalised, in double precision in main memory."""
    left, _, right = tensor.shape
    inner = (environment @ tensor.reshape(left, -1)).reshape(left, dimension, right)
    flat_bra = tensor.permute(1, 0, 2).reshape(dimension, -1).conj()
    flat_ket = inner.permute(1, 0, 2).reshape(dimension, -1)
    density = (flat_ket @ flat_bra.mT).to("cpu", torch.complex128)
    return density / density.diagonal().sum()


def _traces(densities: Tensor, operator: Tensor) -> Tensor:
    return torch.einsum("...st,ts->...", densities, operator).real


def _operator_tensors(terms: ChainTerms) -> list[Tensor]:
    """H as a product of operator-valued matrices, (left, right, 2, 2) a site.

    The first bond index says that nothing has acted yet, the last one that a whole term has; those between
    are the first halves of the terms of that bond.
    """
    n_sites = terms.n_sites
    one = torch.eye(2, dtype=torch.complex128)
    halves = [_halves(bond) for bond in terms.bonds]
    widths = [1, *(2 + len(pair[0]) for pair in halves), 1]
    tensors = []
    for site in range(n_sites):
        tensor = torch.zeros(widths[site], widths[site + 1], 2, 2, dtype=torch.complex128)
        first, last = site == 0, site == n_sites - 1
        tensor[0, -1] = terms.sites[site]
        if not last:
            tensor[0, 0] = one
            tensor[0, 1:-1] = halves[site][0]
        if not first:
            tensor[-1, -1] = one
            tensor[1:-1, -1] = halves[site - 1][1]
        tensors.append(tensor)
    return tensors


def _halves(bond: Tensor) -> tuple[Tensor, Tensor]:
    """A two-site operator as sum_k A_k x B_k."""
    matrix = bond.reshape(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 4)
    left, values, right = torch.linalg.svd(matrix)
    rank = int((values > 1e-14 * values[0]).sum())
    return (
        (left[:, :rank] * values[:rank]).mT.reshape(rank, 2, 2),
        right[:rank].reshape(rank, 2, 2),
    )
