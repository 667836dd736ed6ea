"""Observables by name: what a recipe, a preset or the argument ``observables`` of ``evolve`` may say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from qdyn.errors import ArgumentError, nearest
from qdyn.quantum.correlators import connected_correlators
from qdyn.quantum.drives import DrivenHamiltonian
from qdyn.quantum.factorised import FactorisedState
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observable import Observable
from qdyn.quantum.observables import (
    correlator,
    energy,
    energy_variance,
    entanglement_entropy,
    loschmidt_echo,
    magnetisation,
    pauli_string,
    site_magnetisation,
)
from qdyn.quantum.operator_means import driven_energy
from qdyn.quantum.product_states import ProductStates

_NAMES = (
    *(f"{kind}_{axis}" for kind in ("magnetisation", "site_magnetisation") for axis in "xyz"),
    *("energy", "energy_variance", "entanglement_entropy", "loschmidt_echo"),
)


def named_observable(
    name: str,
    n_qubits: int,
    hamiltonian: Hamiltonian | None = None,
    initial_state: Tensor | ProductStates | FactorisedState | None = None,
    times: Tensor | None = None,
) -> Observable:
    """The observable with this name, as it stands in a recipe or is passed to ``evolve``.

    Args:
        name: "magnetisation_x" (mean), "magnetisation_x_3" (site 3), "site_magnetisation_x" (all sites),
            "correlator_z_0_3", "connected_correlator_z_0_3", "connected_correlators_z_3" (of site 3 with
            all), "pauli_XIZ", "energy", "energy_variance",
            "entanglement_entropy" (half chain), "entanglement_entropy_2" (2 sites on the left) or
            "loschmidt_echo".
        n_qubits: number of sites of the system.
        hamiltonian: needed by the energy and its variance.
        initial_state: needed by the Loschmidt echo.
        times: when it is measured, (times,); needed by the energy where ``hamiltonian`` depends on time.

    Raises:
        ArgumentError: the name is unknown (the message suggests the nearest), the system lacks one of its
            sites, or what it needs is not given.

    Example:
        >>> named_observable("enrgy", 4)
        Traceback (most recent call last):
        ...
        qdyn.errors.ArgumentError: Argument `observables` has the unknown name 'enrgy': did you mean 'energy'?
    """
    for pattern, make in _MAKERS.items():
        if found := re.fullmatch(pattern, name):
            observable = make(*found.groups(), _Context(n_qubits, hamiltonian, initial_state, times))
            observable.check_sites(n_qubits)
            return observable
    known = [*_NAMES, f"magnetisation_x_{n_qubits - 1}", f"correlator_z_0_{n_qubits - 1}"]
    known += [f"connected_correlators_z_{n_qubits // 2}"]
    known += ["pauli_" + ("XYZ" * n_qubits)[:n_qubits]] if n_qubits <= 8 else []
    raise ArgumentError(f"Argument `observables` has the unknown name {name!r}: {nearest(name, known)}")


@dataclass(frozen=True)
class _Context:
    """What a name alone does not say."""

    n_qubits: int
    hamiltonian: Hamiltonian | None
    initial_state: Tensor | ProductStates | FactorisedState | None
    times: Tensor | None

    def energy(self, make: Callable[[Hamiltonian], Observable]) -> Observable:
        if self.hamiltonian is None:
            raise ArgumentError(f"Argument `hamiltonian` is needed for the observable {make.__name__!r}.")
        if isinstance(self.hamiltonian, DrivenHamiltonian):
            if make is not energy or self.times is None:
                raise ArgumentError(
                    f"The observable {make.__name__!r} needs a Hamiltonian that does not depend on time: "
                    "measure it for one time, hamiltonian.at(time)."
                )
            return driven_energy(self.hamiltonian, self.times)
        return make(self.hamiltonian)

    def echo(self) -> Observable:
        if self.initial_state is None:
            raise ArgumentError("Argument `initial_state` is needed for the observable 'loschmidt_echo'.")
        return loschmidt_echo(self.initial_state)

    def entropy(self) -> Observable:
        if self.n_qubits < 2:
            raise ArgumentError("The observable 'entanglement_entropy' needs at least 2 sites, not 1.")
        return replace(entanglement_entropy(self.n_qubits // 2), name="entanglement_entropy")


_MAKERS: dict[str, Callable[..., Observable]] = {
    "magnetisation_([xyz])": lambda axis, _: magnetisation(axis),
    r"magnetisation_([xyz])_(\d+)": lambda axis, site, _: magnetisation(axis, int(site)),
    "site_magnetisation_([xyz])": lambda axis, _: site_magnetisation(axis),
    r"correlator_([xyz])_(\d+)_(\d+)": lambda axis, i, j, _: correlator(axis, int(i), int(j)),
    r"connected_correlator_([xyz])_(\d+)_(\d+)": lambda axis, i, j, _: correlator(
        axis, int(i), int(j), connected=True
    ),
    r"connected_correlators_([xyz])_(\d+)": lambda axis, site, _: connected_correlators(axis, int(site)),
    "pauli_([IXYZ]+)": lambda letters, _: pauli_string(letters),
    "energy": lambda context: context.energy(energy),
    "energy_variance": lambda context: context.energy(energy_variance),
    "entanglement_entropy": lambda context: context.entropy(),
    r"entanglement_entropy_(\d+)": lambda cut, _: entanglement_entropy(int(cut)),
    "loschmidt_echo": lambda context: context.echo(),
}
