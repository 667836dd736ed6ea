"""Means of operators of one's own, and of a Hamiltonian that depends on time."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.errors import ArgumentError
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.energy_moments import energy_moments
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable, is_reserved
from qdyn.quantum.observables import energy
from qdyn.quantum.pauli import PauliTerms


def operator_mean(
    operator: Hamiltonian, *, name: str, unit: str = "1", label: str | None = None
) -> Observable:
    """The mean <A> of any sum of Pauli strings, such as an imbalance, a current or a chirality.

    Args:
        operator: A; for a batch, member i is measured on states[i].
        name: what the expectation value is called: a letter, then letters, digits and underscores.
        unit: "1" for a pure number, "J" for an energy.
        label: the same for an axis of a figure, in mathtext; None for the name in angle brackets.

    Raises:
        ArgumentError: ``name`` is no such word or belongs to another array or an axis of a file, or
            ``operator`` depends on time.

    Example:
        >>> from qdyn import PauliSum, evolve, product_state
        >>> singlet = PauliSum({"X0 X1": -0.25, "Y0 Y1": -0.25, "Z0 Z1": -0.25, "": 0.25}, n_sites=2)
        >>> share = operator_mean(singlet, name="singlet_share")
        >>> traj = evolve(singlet, product_state("01"), [0.0, 1.0], observables=[share, "energy"])
        >>> traj.expectations["singlet_share"].round(decimals=12)
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    if not isinstance(operator, Hamiltonian):
        raise ArgumentError(
            f"Argument `operator` must be a sum of Pauli strings such as qdyn.PauliSum, "
            f"but is of type {type(operator).__name__}."
        )
    if isinstance(operator, DrivenHamiltonian):
        raise ArgumentError("Argument `operator` must not depend on time.")
    if not re.fullmatch(r"[A-Za-z]\w*", name) or is_reserved(name):
        raise ArgumentError(
            f"Argument `name` must be a word of letters, digits and underscores that no other array of a "
            f"trajectory has, but is {name!r}."
        )
    text = label if label is not None else rf"$\langle$ {name.replace('_', ' ')} $\rangle$"
    return replace(energy(operator), name=name, label=text, unit=unit)


def driven_energy(hamiltonian: DrivenHamiltonian, times: Float[Tensor, " times"]) -> Observable:
    """The energy <H(t)> at the times of measurement, H_0 and drives together; its name is "energy".

    Args:
        hamiltonian: H(t) = H_0 + sum_k f_k(t) H_k; for a batch, member i is measured on states[i].
        times: when the states (..., times, 2**n) are measured.

    Example:
        >>> import math
        >>> from qdyn import PauliSum, product_state
        >>> spin = PauliSum({"Z0": 1.0}, n_sites=1)
        >>> H = DrivenHamiltonian(spin, [(math.cos, spin)])
        >>> states = product_state("0").expand(2, -1)
        >>> driven_energy(H, torch.tensor([0.0, math.pi])).expectation(states).round(decimals=6)
        tensor([2., 0.], dtype=torch.float64)
    """
    parts = tuple(part.pauli_terms() for part in hamiltonian.parts)
    factors = hamiltonian.factors(times)
    return _DrivenEnergy(
        name="energy", label=r"$\langle H(t) \rangle$", unit="J", parts=parts, factors=factors
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _DrivenEnergy(Observable):
    parts: tuple[PauliTerms, ...]
    factors: Tensor

    @property
    def is_linear(self) -> bool:
        return True

    def expectation(self, states: Complex[Tensor, "*batch times dim"]) -> Float[Tensor, "*batch times"]:
        means = [energy_moments(part, states, variance=False)[0] for part in self.parts]
        return (torch.stack(means, dim=-1) * self.factors.to(means[0])).sum(dim=-1)

    @property
    def batch_size(self) -> int | None:
        return next((part.batch_size for part in self.parts if part.batch_size is not None), None)

    def for_members(self, members: slice) -> Observable:
        parts = tuple(part if part.batch_size is None else part.members(members) for part in self.parts)
        return replace(self, parts=parts)

    def for_times(self, window: slice) -> Observable:
        return replace(self, factors=self.factors[window])
