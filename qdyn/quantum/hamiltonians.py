"""Spin Hamiltonians: what they all offer, and the transverse-field Ising model.

Energies are in units of the first coupling, times in its inverse (hbar = 1). Site 0 is the most significant
bit of the basis index.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Complex, Float, Inexact, Num
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_finite, check_integer, real_numbers
from qdyn.errors import ArgumentError
from qdyn.quantum.lattices import Bonds, chain_bonds, check_bonds
from qdyn.quantum.pauli import PauliTerms, Word

Couplings = float | int | Sequence[float] | Sequence[Sequence[float]] | NDArray[Any] | Tensor
"""A number; (batch,): one value a trajectory; (1, bonds or sites): disorder; (batch, bonds or sites):
disorder drawn for each trajectory."""

# Metadata of the dataclass fields that are couplings: what their second axis runs over, and their unit where
# that is not the first coupling J.
PER_BOND = {"along": "bond"}
PER_SITE = {"along": "site"}
PER_TERM = {"along": "term"}
PER_TRAJECTORY = {"along": ""}

Model = TypeVar("Model", bound="Hamiltonian")


class Hamiltonian(ABC):
    """A static Hamiltonian on qubits, or a batch of them that differ in their couplings.

    Subclasses are frozen dataclasses whose couplings are the fields with the metadata PER_BOND, PER_SITE,
    .... They say what they are in `pauli_terms`; everything else follows from that.
    """

    n_sites: int
    formula: ClassVar[str]

    @abstractmethod
    def pauli_terms(self) -> PauliTerms:
        """The Hamiltonian as a sum of Pauli strings; every representation and method starts from it."""

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The couplings by name, float64: (), (batch,), (1, bonds or sites) or (batch, bonds or sites)."""
        return {
            entry.name: torch.as_tensor(getattr(self, entry.name), dtype=torch.float64)
            for entry in self._coupling_fields()
        }

    @property
    def parameter_axes(self) -> dict[str, str]:
        """What the second axis of each coupling runs over: "bond" or "site"."""
        return {entry.name: entry.metadata["along"] for entry in self._coupling_fields()}

    @property
    def parameter_units(self) -> dict[str, str]:
        """The unit of each coupling: "J", the first one, or "1" for a pure number."""
        return {entry.name: entry.metadata.get("unit", "J") for entry in self._coupling_fields()}

    @property
    def batch_size(self) -> int | None:
        """Number of Hamiltonians; None for a single one, also with disorder of shape (1, bonds or sites)."""
        for value in self.parameters.values():
            if _is_batched(value):
                return value.shape[0]
        return None

    def member(self: Model, index: int) -> Model:
        """Hamiltonian number ``index`` of the batch, as a single Hamiltonian.

        Raises:
            ArgumentError: ``index`` is outside the batch, or this is a single Hamiltonian already.
        """
        size = self.batch_size
        if size is None:
            raise ArgumentError(
                f"Only a batch of Hamiltonians has members, but this is a single one: {self!r}."
            )
        check_integer("index", index, minimum=0, maximum=size - 1)
        chosen = {
            name: (float(value[index]) if value.ndim == 1 else value[index : index + 1])
            for name, value in self.parameters.items()
            if _is_batched(value)
        }
        return replace(self, **chosen)  # type: ignore[type-var]

    def apply(self, states: Num[Tensor, "*batch dim"]) -> Inexact[Tensor, "*batch dim"]:
        """H psi without forming a matrix.

        Args:
            states: shape (..., 2**n_sites); for a batch of Hamiltonians (batch, ..., 2**n_sites).

        Returns:
            Tensor of the same shape, complex where ``states`` or the matrix are.

        Raises:
            ArgumentError: the last axis, or the batch axis, has another length.
        """
        return self.pauli_terms().apply(states)

    def to_dense(self) -> Float[Tensor, "*batch dim dim"] | Complex[Tensor, "*batch dim dim"]:
        """The matrix, of shape (2**n, 2**n) or (batch, 2**n, 2**n): real or complex128.

        Raises:
            MemoryLimitError: it does not fit in memory.
        """
        return self.pauli_terms().to_dense()

    def to_sparse(self) -> Any:
        """The matrix as a scipy.sparse.csr_array; only for a single Hamiltonian.

        Raises:
            ArgumentError: this is a batch.
        """
        return self.pauli_terms().to_sparse()

    def to_qutip(self) -> Any:
        """The operator as a qutip.Qobj with one tensor factor a site; only for a single Hamiltonian.

        Raises:
            ArgumentError: this is a batch.
        """
        import qutip

        dimensions = [2] * self.n_sites
        return qutip.Qobj(self.to_sparse(), dims=[dimensions, dimensions])

    def to_cudaq(self) -> Any:
        """The operator as a cudaq.SpinOperator, site i on qubit i; only for a single Hamiltonian.

        CUDA-Q writes its matrices and states with qubit 0 as the least significant bit, the other way round
        than we do: ``to_matrix({site: 2 for site in range(n)}, invert_order=True)`` is `to_dense`.

        Raises:
            ArgumentError: this is a batch.
            MissingExtraError: CUDA-Q is not installed.
        """
        from qdyn.quantum.cudaq_operators import spin_operator

        if self.batch_size is not None:
            raise ArgumentError(
                f"A spin operator is one operator, but this is a batch of {self.batch_size}: take member(i)."
            )
        terms = self.pauli_terms()
        return spin_operator(zip(terms.coefficients.tolist(), terms.labels, strict=True))

    def __repr__(self) -> str:
        shown = []
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if not (entry.name == "bonds" and value is None):
                shown.append(f"{entry.name}={_short(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _coupling_fields(self) -> list[Field[Any]]:
        return [entry for entry in fields(self) if "along" in entry.metadata]  # type: ignore[arg-type]

    def _settle_couplings(self, lengths: dict[str, int]) -> None:
        """Check every coupling and keep it as a float or a float64 tensor."""
        batch: tuple[str, int] | None = None
        for entry in self._coupling_fields():
            along = entry.metadata["along"]
            value = _coupling(
                entry.name, getattr(self, entry.name), along=along, length=lengths.get(along, 0)
            )
            object.__setattr__(self, entry.name, value)
            if isinstance(value, Tensor) and _is_batched(value):
                if batch is not None and batch[1] != value.shape[0]:
                    raise ArgumentError(
                        f"Arguments `{batch[0]}` and `{entry.name}` must hold one value for each trajectory, "
                        f"but hold {batch[1]} and {value.shape[0]}."
                    )
                batch = (entry.name, value.shape[0])

    def _spread(self, name: str, count: int) -> Float[Tensor, "*batch count"]:
        """The coupling ``name`` on each of ``count`` bonds or sites: (count,) or (batch, count)."""
        value = torch.as_tensor(getattr(self, name), dtype=torch.float64)
        if value.ndim == 2:
            return value if _is_batched(value) else value[0]
        return value[..., None].expand(*value.shape, count)


class LatticeHamiltonian(Hamiltonian):
    """A Hamiltonian whose couplings sit on the bonds of a lattice: a chain, unless a bond list is given."""

    periodic: bool
    bonds: Bonds | None

    @property
    def bond_list(self) -> tuple[tuple[int, int], ...]:
        """The pairs of sites that interact, in the order of couplings given bond by bond."""
        if self.bonds is not None:
            return tuple(self.bonds)
        return chain_bonds(self.n_sites, periodic=self.periodic)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_sites", check_integer("n_sites", self.n_sites, minimum=1))
        if self.bonds is not None:
            if self.periodic:
                raise ArgumentError("Argument `periodic` closes a chain, and cannot be used with `bonds`.")
            object.__setattr__(self, "bonds", check_bonds(self.bonds, self.n_sites))
        self._settle_couplings({"bond": len(self.bond_list), "site": self.n_sites})

    def _on_bonds(self, letters: str, name: str) -> tuple[list[Word], Tensor]:
        """The Pauli string ``letters`` on every bond, with the coupling ``name``."""
        words: list[Word] = [((i, letters[0]), (j, letters[1])) for i, j in self.bond_list]
        return words, self._spread(name, len(words))

    def _on_sites(self, letter: str, name: str) -> tuple[list[Word], Tensor]:
        """The Pauli matrix ``letter`` on every site, with the coupling ``name``."""
        words: list[Word] = [((site, letter),) for site in range(self.n_sites)]
        return words, self._spread(name, len(words))


@dataclass(frozen=True, eq=False, repr=False)
class TransverseFieldIsing(LatticeHamiltonian):
    """The transverse-field Ising model on a chain, or on any lattice given by its bonds.

        H = -J sum_<ij> Z_i Z_j - h sum_i X_i

    Args:
        n_sites: number of sites n, at least 1.
        coupling: J. A number, (batch,) values: one a trajectory, or disorder: (1, bonds), (batch, bonds).
        field: h. The same, with sites in place of bonds.
        periodic: closes the chain to a ring; needs at least 3 sites.
        bonds: pairs of sites that interact, for another lattice than the chain; see `ladder_bonds` and
            `square_bonds`.

    Raises:
        ArgumentError: an argument is out of range, not finite, or the batches differ in length.

    Source: P. Pfeuty, Annals of Physics 57, 79 (1970).

    Example:
        >>> H = TransverseFieldIsing(n_sites=2, coupling=1.0, field=0.5)
        >>> H.to_dense()
        tensor([[-1.0000, -0.5000, -0.5000,  0.0000],
                [-0.5000,  1.0000,  0.0000, -0.5000],
                [-0.5000,  0.0000,  1.0000, -0.5000],
                [ 0.0000, -0.5000, -0.5000, -1.0000]], dtype=torch.float64)
    """

    n_sites: int
    coupling: Couplings = dataclasses.field(default=1.0, metadata=PER_BOND)
    field: Couplings = dataclasses.field(default=1.0, metadata=PER_SITE)
    periodic: bool = False
    bonds: Bonds | None = None

    formula: ClassVar[str] = "H = -coupling sum_<ij> Z_i Z_j - field sum_i X_i"

    def pauli_terms(self) -> PauliTerms:
        """-J on every ZZ bond and -h on every X."""
        groups = [self._on_bonds("ZZ", "coupling"), self._on_sites("X", "field")]
        return PauliTerms.of(self.n_sites, [(words, -values) for words, values in groups])


def _is_batched(value: Tensor) -> bool:
    return value.ndim == 1 or (value.ndim == 2 and value.shape[0] > 1)


def _coupling(name: str, value: Couplings, *, along: str, length: int) -> float | Tensor:
    # A copy: what the caller does to his array later must not reach a frozen object.
    tensor = real_numbers(name, value)
    check_finite(name, tensor)
    if tensor.ndim == 0:
        return float(tensor)
    if not along and (tensor.ndim > 1 or 0 in tensor.shape):
        raise ArgumentError(
            f"Argument `{name}` must be a number or have shape (batch,), but has shape {tuple(tensor.shape)}."
        )
    if tensor.ndim > 2 or 0 in tensor.shape[:1] or (tensor.ndim == 2 and tensor.shape[1] != length):
        raise ArgumentError(
            f"Argument `{name}` must be a number, or have shape (batch,), (1, {length}) or (batch, {length}) "
            f"for {length} {along}s, but has shape {tuple(tensor.shape)}."
        )
    return tensor


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        if not value.numel():
            return f"<{tuple(value.shape)} values>"
        low, high = float(value.min()), float(value.max())
        return f"<{tuple(value.shape)} values in [{low:.4g}, {high:.4g}]>"
    return f"<{len(value)} pairs>" if isinstance(value, tuple) and len(value) > 8 else repr(value)
