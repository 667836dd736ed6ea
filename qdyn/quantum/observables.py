"""What is measured on a state vector: magnetisation, correlators, energy, entropy, echo; never by a matrix.

Site 0 is the most significant bit of the basis index. Every observable keeps the leading axes of the states
and may add axes of its own at the end, such as "site".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

from qdyn.checks import check_choice, check_integer, qubits_of_dimension
from qdyn.errors import ArgumentError
from qdyn.quantum.energy_moments import COMPILED_FROM, energy_moments
from qdyn.quantum.factorised import Axis as Axis  # noqa: PLC0414 - part of what this module offers
from qdyn.quantum.factorised import FactorisedState
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.local_observables import outcome_probabilities, site_values
from qdyn.quantum.observable import Observable
from qdyn.quantum.pauli import PauliTerms, Word, as_complex
from qdyn.quantum.product_states import ProductStates


def magnetisation(axis: Axis, site: int | None = None) -> Observable:
    """The magnetisation <sigma^axis_i> of one site, or its mean over all sites.

    Args:
        axis: "x", "y" or "z".
        site: index of the site; None for the mean.

    Raises:
        ArgumentError: unknown axis or negative site.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> magnetisation("z").expectation(product_state("0001"))
        tensor(0.5000, dtype=torch.float64)
    """
    check_choice("axis", axis, get_args(Axis))
    if site is None:
        label = rf"$\frac{{1}}{{n}} \sum_i \langle {_symbol(axis, 'i')} \rangle$"
        return _Magnetisation(name=f"magnetisation_{axis}", label=label, axis=axis, mean=True)
    word = _axis_word(axis, site=site)
    return _PauliString(name=f"magnetisation_{axis}_{site}", label=_mean(axis, site), word=word)


def site_magnetisation(axis: Axis) -> Observable:
    """The magnetisation of every site, <sigma^axis_i>, with an extra axis "site".

    Args:
        axis: "x", "y" or "z".

    Raises:
        ArgumentError: unknown axis.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> site_magnetisation("z").expectation(product_state("010"))
        tensor([ 1., -1.,  1.], dtype=torch.float64)
    """
    check_choice("axis", axis, get_args(Axis))
    return _Magnetisation(
        name=f"site_magnetisation_{axis}", label=_mean(axis, "i"), axes=("site",), axis=axis, mean=False
    )


def correlator(axis: Axis, i: int, j: int, *, connected: bool = False) -> Observable:
    """The equal-time correlator <sigma^axis_i sigma^axis_j> of two sites.

    Args:
        axis: "x", "y" or "z".
        i: a site.
        j: another site.
        connected: subtract <sigma^axis_i> <sigma^axis_j>.

    Raises:
        ArgumentError: unknown axis, a negative site, or i equal to j.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> round(float(correlator("z", 0, 1).expectation(product_state("01"))), 12)
        -1.0
    """
    check_choice("axis", axis, get_args(Axis))
    if i == j:
        raise ArgumentError(f"Arguments `i` and `j` must be different sites, but both are {i}.")
    word = _axis_word(axis, i=i, j=j)
    name, label = f"correlator_{axis}_{i}_{j}", _mean(axis, i, j)
    if connected:
        name, label = f"connected_{name}", f"{label[:-1]}_c$"
    return _PauliString(name=name, label=label, word=word, connected=connected)


def pauli_string(letters: str) -> Observable:
    """The expectation value of a Pauli string, one letter a site.

    Args:
        letters: "I", "X", "Y" or "Z" for each site, site 0 first, such as "XIZ".

    Raises:
        ArgumentError: empty, or another letter.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> round(float(pauli_string("XZ").expectation(product_state("+1"))), 12)
        -1.0
    """
    if not letters or set(letters) - set("IXYZ"):
        raise ArgumentError(f"Argument `letters` must be made of I, X, Y and Z, but is {letters!r}.")
    word = tuple((site, letter) for site, letter in enumerate(letters) if letter != "I")
    label = rf"$\langle {letters} \rangle$"
    return _PauliString(name=f"pauli_{letters}", label=label, word=word, n_sites=len(letters))


def energy(hamiltonian: Hamiltonian) -> Observable:
    """The energy <H>, in units of the first coupling J.

    Args:
        hamiltonian: H; for a batch, member i is measured on states[i].

    Example:
        >>> from qdyn.quantum.hamiltonians import TransverseFieldIsing
        >>> from qdyn.quantum.states import product_state
        >>> round(float(energy(TransverseFieldIsing(3)).expectation(product_state("000"))), 12)
        -2.0
    """
    label = r"$\langle H \rangle$"
    return _Energy(name="energy", label=label, unit="J", terms=hamiltonian.pauli_terms(), variance=False)


def energy_variance(hamiltonian: Hamiltonian) -> Observable:
    """The variance of the energy, <H^2> - <H>^2 = |(H - <H>) psi|^2, in units of J squared.

    Args:
        hamiltonian: H; for a batch, member i is measured on states[i].

    Example:
        >>> from qdyn.quantum.hamiltonians import TransverseFieldIsing
        >>> from qdyn.quantum.states import product_state
        >>> round(float(energy_variance(TransverseFieldIsing(3)).expectation(product_state("000"))), 12)
        3.0
    """
    label, terms = r"$\langle H^2 \rangle - \langle H \rangle^2$", hamiltonian.pauli_terms()
    return _Energy(name="energy_variance", label=label, unit="J^2", terms=terms, variance=True)


def entanglement_entropy(cut: int) -> Observable:
    """The von Neumann entropy S = -tr rho ln rho of sites 0 ... cut-1, in nats.

    Args:
        cut: number of sites on the left, at least 1 and less than n.

    Raises:
        ArgumentError: cut below 1.

    Example:
        >>> bell = torch.tensor([1, 0, 0, 1], dtype=torch.complex128) / 2**0.5
        >>> entanglement_entropy(1).expectation(bell)  # ln 2
        tensor(0.6931, dtype=torch.float64)
    """
    check_integer("cut", cut, minimum=1)
    return _Entropy(name=f"entanglement_entropy_{cut}", label=rf"$S_{{{cut}}}$", unit="nat", cut=cut)


def loschmidt_echo(
    initial_state: Complex[Tensor, "*batch dim"] | ProductStates | FactorisedState,
) -> Observable:
    """The return probability |<psi_0|psi>|^2.

    Args:
        initial_state: psi_0, of shape (2**n,), or (batch, 2**n) for one a trajectory; or product states, or a
            matrix-product state.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> round(float(loschmidt_echo(product_state("+")).expectation(product_state("0"))), 12)
        0.5
    """
    label = r"$|\langle \psi_0 | \psi \rangle|^2$"
    return _Echo(name="loschmidt_echo", label=label, initial_state=initial_state)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Magnetisation(Observable):
    axis: Axis
    mean: bool

    @property
    def is_linear(self) -> bool:
        return True

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        n_sites = qubits_of_dimension("states", states.shape[-1])
        if self.mean and self.axis != "z" and states.shape[-1] >= COMPILED_FROM:
            words: tuple[Word, ...] = tuple(((site, self.axis.upper()),) for site in range(n_sites))
            field = PauliTerms(n_sites, words, torch.full((n_sites,), 1 / n_sites, dtype=torch.float64))
            return energy_moments(field, states, variance=False)[0]
        if self.axis == "z":
            values = site_values(outcome_probabilities(states, "z"))
        else:
            values = _flip_of_sites(states, n_sites, self.axis)
        return values.mean(dim=-1) if self.mean else values

    def measure(self, state: FactorisedState) -> Tensor:
        values = state.site_magnetisation(self.axis)
        return values.mean() if self.mean else values


@dataclass(frozen=True, eq=False, kw_only=True)
class _PauliString(Observable):
    word: Word
    connected: bool = False
    n_sites: int | None = None

    @property
    def is_linear(self) -> bool:
        return not self.connected

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        n_sites = qubits_of_dimension("states", states.shape[-1])
        self.check_sites(n_sites)
        value = _word_expectation(states, n_sites, self.word)
        if self.connected:
            first, second = (_word_expectation(states, n_sites, (factor,)) for factor in self.word)
            value = value - first * second
        return value

    def measure(self, state: FactorisedState) -> Tensor:
        self.check_sites(state.n_sites)
        value = state.string_expectation(self.word)
        if self.connected:
            first, second = (state.string_expectation((factor,)) for factor in self.word)
            value = value - first * second
        return value

    def check_sites(self, n_sites: int) -> None:
        if self.n_sites is not None and self.n_sites != n_sites:
            raise ArgumentError(
                f"The observable {self.name!r} is for {self.n_sites} sites, but the system has {n_sites}."
            )
        highest = max((site for site, _ in self.word), default=0)
        if highest >= n_sites:
            raise ArgumentError(
                f"The observable {self.name!r} needs site {highest}, but the system has {n_sites} sites."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Energy(Observable):
    terms: PauliTerms
    variance: bool

    @property
    def is_linear(self) -> bool:
        return not self.variance

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        mean, variance = energy_moments(self.terms, states, variance=self.variance)
        return mean if variance is None else variance

    def measure(self, state: FactorisedState) -> Tensor:
        terms = replace(self.terms, coefficients=self.terms.coefficients.reshape(-1))
        return state.energy_variance(terms) if self.variance else state.energy(terms)

    def check_sites(self, n_sites: int) -> None:
        if self.terms.n_sites != n_sites:
            raise ArgumentError(
                f"The observable {self.name!r} is for {self.terms.n_sites} sites, "
                f"but the system has {n_sites}."
            )

    @property
    def batch_size(self) -> int | None:
        return self.terms.batch_size

    def for_members(self, members: slice) -> Observable:
        return self if self.terms.batch_size is None else replace(self, terms=self.terms.members(members))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Entropy(Observable):
    cut: int

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        self.check_sites(qubits_of_dimension("states", states.shape[-1]))
        matrix = states.reshape(*states.shape[:-1], 2**self.cut, -1)
        return torch.special.entr(torch.linalg.svdvals(matrix).square()).sum(dim=-1)

    def measure(self, state: FactorisedState) -> Tensor:
        self.check_sites(state.n_sites)
        return state.entanglement_entropy(self.cut)

    def check_sites(self, n_sites: int) -> None:
        if self.cut >= n_sites:
            raise ArgumentError(
                f"Argument `cut` must leave a site on each side, but is {self.cut} for {n_sites} sites."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Echo(Observable):
    initial_state: Tensor | ProductStates | FactorisedState

    @property
    def is_linear(self) -> bool:
        return True

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        given, states = self.initial_state, as_complex(states)
        if isinstance(given, ProductStates):
            given = given.vectors()
        vectors = given if isinstance(given, Tensor) else given.vector()
        initial = vectors.to(device=states.device, dtype=states.dtype)
        if initial.ndim == 2:
            initial = initial.reshape(initial.shape[0], *[1] * (states.ndim - 2), -1)
        overlap = torch.linalg.vecdot(initial, states)
        return overlap.real.square() + overlap.imag.square()

    def measure(self, state: FactorisedState) -> Tensor:
        return state.fidelity(self.initial_state)

    def check_sites(self, n_sites: int) -> None:
        given = self.initial_state
        matches, size = (
            (given.shape[-1] == 2**n_sites, f"{given.shape[-1]} amplitudes")
            if isinstance(given, Tensor)
            else (given.n_sites == n_sites, f"{given.n_sites} sites")
        )
        if not matches:
            raise ArgumentError(
                f"The observable {self.name!r} starts from {size}, but the system has {n_sites} sites."
            )

    @property
    def batch_size(self) -> int | None:
        if isinstance(self.initial_state, ProductStates):
            return self.initial_state.batch_size
        given = self.initial_state
        return given.shape[0] if isinstance(given, Tensor) and given.ndim == 2 else None

    def for_members(self, members: slice) -> Observable:
        given = self.initial_state
        if self.batch_size is None or isinstance(given, FactorisedState):
            return self
        part = given[members] if isinstance(given, Tensor) else given.members(members)
        return replace(self, initial_state=part)


def _axis_word(axis: Axis, **sites: int) -> Word:
    return tuple((check_integer(name, site, minimum=0), axis.upper()) for name, site in sites.items())


def _symbol(axis: Axis, site: int | str) -> str:
    return rf"\sigma^{{{axis}}}_{{{site}}}"


def _mean(axis: Axis, *sites: int | str) -> str:
    return rf"$\langle {' '.join(_symbol(axis, site) for site in sites)} \rangle$"


def _flip_of_sites(states: Tensor, n_sites: int, axis: Axis) -> Tensor:
    """<X_i> = 2 Re sum conj(psi_0) psi_1 and <Y_i> = 2 Im of it, psi_b the half whose bit i is b."""
    states, values = as_complex(states), []
    for site in range(n_sites):
        up, down = states.reshape(*states.shape[:-1], 2**site, 2, -1).unbind(-2)
        overlap = (up.conj() * down).sum(dim=(-2, -1))
        values.append(2 * (overlap.real if axis == "x" else overlap.imag))
    return torch.stack(values, dim=-1)


def _word_expectation(states: Tensor, n_sites: int, word: Word) -> Tensor:
    coefficient = torch.ones(1, dtype=torch.float64, device=states.device)
    terms = PauliTerms(n_sites, (word,), coefficient)
    return energy_moments(terms, states, variance=False)[0]
