"""What observables ask of a pure state that is kept in factors, such as a matrix-product state."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from qdyn.quantum.pauli import PauliTerms, Word
from qdyn.quantum.product_states import ProductStates

Axis = Literal["x", "y", "z"]


@runtime_checkable
class FactorisedState(Protocol):
    """A pure state of n sites that never becomes a vector of 2**n amplitudes."""

    @property
    def n_sites(self) -> int:
        """Number of sites n."""
        ...

    def vector(self) -> Tensor:
        """The state vector, (2**n,), where it fits in memory."""
        ...

    def site_magnetisation(self, axis: Axis) -> Tensor:
        """<sigma^axis_i> of every site, (sites,)."""
        ...

    def correlations(self, axis: Axis) -> Tensor:
        """<sigma^axis_i sigma^axis_j> of all pairs, (sites, sites), with ones on the diagonal."""
        ...

    def string_expectation(self, word: Word) -> Tensor:
        """The expectation value of one Pauli string, a scalar."""
        ...

    def energy(self, terms: PauliTerms) -> Tensor:
        """The expectation value of a sum of Pauli strings, a scalar."""
        ...

    def energy_variance(self, terms: PauliTerms) -> Tensor:
        """|(H - <H>) psi|^2, a scalar."""
        ...

    def entanglement_entropy(self, cut: int) -> Tensor:
        """The entropy in nats of the sites before ``cut``, a scalar."""
        ...

    def fidelity(self, initial_state: Tensor | ProductStates | FactorisedState) -> Tensor:
        """|<initial|psi>|^2 with a vector, a product state or one of its kind, a scalar."""
        ...

    def sample(self, shots: int, *, axis: Axis, seed: int | np.random.SeedSequence) -> Tensor:
        """Outcomes of measuring every site along an axis, (shots, sites): 0 for +1 and 1 for -1."""
        ...
