"""The section ``hamiltonian`` of a recipe: which model, on which lattice, and how its couplings are drawn.

======================  ====================================================================================
key                     what
======================  ====================================================================================
``model``               see `MODELS`
``n_sites``             number of sites; follows from ``lattice`` where that is given
``periodic``            close the chain, or the lattice
``lattice``             ``{chain: sites}``, ``{ladder: rungs}`` or ``{square: [rows, columns]}``; else a chain
``bonds``               in its place, the pairs of sites that interact: ``[[0, 1], [1, 2]]``
``strings``             of a ``pauli_sum``: a coefficient for each string, such as ``X0 Z2``
each coupling           a number; ``{uniform: [low, high]}``, drawn for each trajectory; the same with ``per:
                        site`` or ``per: bond``, disorder drawn for each trajectory; or a list with a number a
                        site or bond, the same disorder in every trajectory
======================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.data.spins.draws import Number, Uniform, read_number
from qdyn.errors import ArgumentError, ConfigError, nearest
from qdyn.quantum.hamiltonians import Hamiltonian, TransverseFieldIsing
from qdyn.quantum.lattices import Bonds, all_pairs, chain_bonds, check_bonds, ladder_bonds, square_bonds
from qdyn.quantum.pauli_sum import PauliSum
from qdyn.quantum.spin_models import XXZ, LongRangeIsing, MixedFieldIsing

#: The Hamiltonians that a recipe may name.
MODELS: dict[str, type[Hamiltonian]] = {
    "transverse_field_ising": TransverseFieldIsing,
    "mixed_field_ising": MixedFieldIsing,
    "long_range_ising": LongRangeIsing,
    "xxz": XXZ,
    "pauli_sum": PauliSum,
}

_LATTICES = ("chain", "ladder", "square")
_PURE_NUMBERS = frozenset({"anisotropy", "exponent"})

Draw = Mapping[str, float | NDArray[np.float64]]


@dataclass(frozen=True)
class HamiltonianRecipe:
    """A Hamiltonian some of whose couplings each trajectory draws for itself.

    Args:
        model: which.
        arguments: what does not differ between trajectories, as the model takes it.
        couplings: the others by name, in the order of the model's arguments (or of the strings).
    """

    model: type[Hamiltonian]
    arguments: Mapping[str, Any]
    couplings: Mapping[str, Number]

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return int(self.arguments["n_sites"])

    @property
    def bonds(self) -> Bonds:
        """The neighbours of the lattice; of a model without one, those of a chain."""
        form = self.form()
        return getattr(form, "bond_list", None) or chain_bonds(self.n_sites)

    @property
    def drawn(self) -> dict[str, Uniform]:
        """The couplings that a trajectory draws, in order."""
        return {name: value for name, value in self.couplings.items() if isinstance(value, Uniform)}

    def draw(self, random: np.random.Generator) -> Draw:
        """The couplings of one trajectory."""
        return {name: value.draw(random) for name, value in self.drawn.items()}

    def of(self, draws: Sequence[Draw]) -> Hamiltonian:
        """The Hamiltonians of some trajectories as a batch."""
        values = {
            name: torch.from_numpy(np.array([draw[name] for draw in draws])) if name in self.drawn else value
            for name, value in self.couplings.items()
        }
        return self._build(values)

    def form(self) -> Hamiltonian:
        """One Hamiltonian, with the middle of the interval in place of every coupling that is drawn."""
        return self._build({**self.couplings, **{name: value.middle for name, value in self.drawn.items()}})

    def _build(self, values: Mapping[str, Any]) -> Hamiltonian:
        # A tuple is disorder that all trajectories share: (1, sites).
        settled = {name: (value,) if isinstance(value, tuple) else value for name, value in values.items()}
        if self.model is PauliSum:
            return PauliSum(settled, **self.arguments)
        return self.model(**self.arguments, **settled)


def read_hamiltonian(
    section: Mapping[str, Any], *, key: str = "hamiltonian", part_of: HamiltonianRecipe | None = None
) -> HamiltonianRecipe:
    """The Hamiltonian that a section of a recipe describes.

    Args:
        section: see the head of this module.
        key: where it stands, for messages.
        part_of: the Hamiltonian whose driven part this is: the number of sites is its own, and couplings that
            the section does not name are 0.

    Raises:
        ConfigError: a key is unknown or missing, or a value breaks its rule.

    Example:
        >>> chain = {"model": "xxz", "n_sites": 4, "field": {"uniform": [-1, 1], "per": "site"}}
        >>> read_hamiltonian(chain).of([{"field": np.array([0.1, 0.2, 0.3, 0.4])}]).field
        tensor([[0.1000, 0.2000, 0.3000, 0.4000]], dtype=torch.float64)
    """
    name = section.get("model")
    if not isinstance(name, str) or name not in MODELS:
        raise ConfigError(f"`{key}.model` is {name!r}, which is unknown: {nearest(str(name), MODELS)}")
    model = MODELS[name]
    couplings = _coupling_fields(model)
    known = _valid_keys(model)
    for entry in section:
        if entry not in ("model", *known):
            raise ConfigError(f"unknown key `{key}.{entry}`: {nearest(entry, known)}")
    given = dict(section)
    if part_of is not None:
        given = {"n_sites": part_of.n_sites, **dict.fromkeys(_absent(couplings, given), 0.0), **given}
    try:
        arguments = _lattice(given, key, model)
        found = HamiltonianRecipe(model, arguments, _couplings(given, key, model, arguments))
        found.form()
    except ArgumentError as problem:
        raise ConfigError(f"`{key}`: {problem}") from problem
    if part_of is not None and found.n_sites != part_of.n_sites:
        raise ConfigError(f"`{key}` must have {part_of.n_sites} sites, but has {found.n_sites}.")
    return found


def units_of(hamiltonian: Hamiltonian) -> dict[str, str]:
    """The unit of every condition that `conditions_of` gives, by name."""
    return {
        name: "1" if name.split("_")[0] in _PURE_NUMBERS else "J" for name in conditions_of(hamiltonian, 1)
    }


def conditions_of(hamiltonian: Hamiltonian, count: int) -> dict[str, NDArray[np.float64]]:
    """The couplings of ``count`` trajectories, name -> (count,); of disorder, "field_3" is that on site 3.

    Example:
        >>> list(conditions_of(TransverseFieldIsing(n_sites=2, field=[[0.5, 0.7]]), 1))
        ['coupling', 'field_0', 'field_1']
    """
    found: dict[str, NDArray[np.float64]] = {}
    for name, value in hamiltonian.parameters.items():
        if value.ndim < 2:
            found[name] = np.broadcast_to(value.numpy(), (count,))
            continue
        for place, column in enumerate(value.numpy().T):
            found[f"{name}_{place}"] = np.broadcast_to(column, (count,))
    return found


def couplings_among(conditions: Mapping[str, Tensor], form: Hamiltonian) -> dict[str, Tensor]:
    """The couplings of ``form`` among some conditions, as its arguments: the reverse of `conditions_of`.

    Args:
        conditions: name -> (batch,).
        form: the Hamiltonian up to its couplings.

    Returns:
        name -> (batch,), or (batch, sites or bonds) for disorder; couplings that no condition tells are left
        out.

    Example:
        >>> told = {"field_0": torch.tensor([0.5, 0.6]), "field_1": torch.tensor([0.7, 0.8])}
        >>> couplings_among(told, TransverseFieldIsing(n_sites=2))
        {'field': tensor([[0.5000, 0.7000],
                [0.6000, 0.8000]])}
    """
    found = {}
    for name in form.parameters:
        if name in conditions:
            found[name] = conditions[name]
            continue
        columns: list[Tensor] = []
        while (column := f"{name}_{len(columns)}") in conditions:
            columns.append(conditions[column])
        if columns:
            found[name] = torch.stack(columns, dim=-1)
    return found


def form_of_recipe(recipe: Mapping[str, Any]) -> Hamiltonian | None:
    """The Hamiltonian of a dataset's recipe up to its couplings; None where it has none, or a driven one."""
    parameters = recipe.get("parameters", recipe)
    section = parameters.get("hamiltonian") if isinstance(parameters, Mapping) else None
    if not isinstance(section, Mapping) or parameters.get("drives"):
        return None
    try:
        return read_hamiltonian(section).form()
    except ConfigError:
        return None


def is_closed(recipe: Mapping[str, Any]) -> bool:
    """Whether what a recipe describes has no environment."""
    parameters = recipe.get("parameters", recipe)
    return not (isinstance(parameters, Mapping) and parameters.get("channels"))


def is_driven(recipe: Mapping[str, Any]) -> bool:
    """Whether the Hamiltonian that a recipe describes depends on time."""
    parameters = recipe.get("parameters", recipe)
    return bool(isinstance(parameters, Mapping) and parameters.get("drives"))


def _coupling_fields(model: type[Hamiltonian]) -> dict[str, str]:
    """Name of each coupling and what it may differ along: "bond", "site" or ""."""
    return {
        entry.name: entry.metadata["along"]
        for entry in fields(cast(Any, model))
        if "along" in entry.metadata and entry.name != "coefficients"
    }


def _valid_keys(model: type[Hamiltonian]) -> list[str]:
    names = [entry.name for entry in fields(cast(Any, model)) if entry.name != "coefficients"]
    return [*names, "lattice"] if "bonds" in names else names


def _absent(couplings: Mapping[str, str], given: Mapping[str, Any]) -> list[str]:
    return [name for name, along in couplings.items() if along and name not in given]


def _lattice(given: Mapping[str, Any], key: str, model: type[Hamiltonian]) -> dict[str, Any]:
    """The arguments that say how many sites there are and which of them are neighbours."""
    periodic = given.get("periodic", False)
    if not isinstance(periodic, bool):
        raise ConfigError(f"`{key}.periodic` must be true or false, but is {periodic!r}.")
    n_sites, bonds = given.get("n_sites"), given.get("bonds")
    if "lattice" in given:
        if bonds is not None:
            raise ConfigError(f"`{key}.lattice` and `{key}.bonds` exclude each other.")
        found, bonds = _named_lattice(given["lattice"], key, periodic)
        if n_sites not in (None, found):
            raise ConfigError(f"`{key}.n_sites` is {n_sites!r}, but `{key}.lattice` has {found} sites.")
        n_sites, periodic = found, False
    if not isinstance(n_sites, int) or isinstance(n_sites, bool) or n_sites < 1:
        raise ConfigError(f"`{key}.n_sites` must be an integer >= 1, but is {n_sites!r}.")
    arguments: dict[str, Any] = {"n_sites": n_sites}
    if model is not PauliSum:
        arguments["periodic"] = periodic
    if bonds is not None:
        if not isinstance(bonds, list | tuple) or not all(isinstance(bond, list | tuple) for bond in bonds):
            raise ConfigError(f"`{key}.bonds` must be a list of pairs of sites, but is {bonds!r}.")
        bonds = [tuple(bond) for bond in bonds]
        arguments["bonds"] = check_bonds(bonds, n_sites)
    return arguments


def _named_lattice(lattice: Any, key: str, periodic: bool) -> tuple[int, Bonds]:
    if not isinstance(lattice, Mapping) or len(lattice) != 1:
        raise ConfigError(
            f"`{key}.lattice` must be {{chain: sites}}, {{ladder: rungs}} or {{square: [rows, columns]}}, "
            f"but is {lattice!r}."
        )
    ((name, size),) = lattice.items()
    if name not in _LATTICES:
        raise ConfigError(f"unknown key `{key}.lattice.{name}`: {nearest(name, _LATTICES)}")
    if name == "square":
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise ConfigError(f"`{key}.lattice.square` must be [rows, columns], but is {size!r}.")
        bonds = square_bonds(*size, periodic=periodic)
        return size[0] * size[1], bonds
    make = chain_bonds if name == "chain" else ladder_bonds
    bonds = make(size, periodic=periodic)
    return size if name == "chain" else 2 * size, bonds


def _couplings(
    given: Mapping[str, Any], key: str, model: type[Hamiltonian], arguments: Mapping[str, Any]
) -> dict[str, Number]:
    if model is PauliSum:
        strings = given.get("strings")
        if not isinstance(strings, Mapping) or not strings:
            raise ConfigError(
                f"`{key}.strings` must hold a coefficient for each Pauli string, but is {strings!r}."
            )
        # Sorted, since a recipe's fingerprint does not know the order of its keys.
        return {name: read_number(f"{key}.strings.{name}", strings[name]) for name in sorted(strings)}
    n_sites = arguments["n_sites"]
    counts = {"site": n_sites, "bond": 0}
    if any(along == "bond" for along in _coupling_fields(model).values()):
        counts["bond"] = len(_bonds_of(model, arguments))
    return {
        name: read_number(f"{key}.{name}", given[name], per={along: counts[along]} if along else None)
        for name, along in _coupling_fields(model).items()
        if name in given
    }


def _bonds_of(model: type[Hamiltonian], arguments: Mapping[str, Any]) -> Bonds:
    if model is LongRangeIsing:
        return all_pairs(arguments["n_sites"])
    if "bonds" in arguments:
        return cast(Bonds, arguments["bonds"])
    return chain_bonds(arguments["n_sites"], periodic=arguments["periodic"])
