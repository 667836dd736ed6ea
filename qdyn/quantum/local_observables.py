"""What one measurement basis tells of single sites and of pairs, read off the same probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Num
from torch import Tensor

from qdyn.checks import check_choice, check_integer, qubits_of_dimension
from qdyn.errors import ArgumentError
from qdyn.quantum.factorised import Axis
from qdyn.quantum.lattices import Bonds, check_bonds
from qdyn.quantum.observable import Observable
from qdyn.quantum.pauli import as_complex


def outcome_probabilities(states: Num[Tensor, "*batch dim"], axis: Axis) -> Float[Tensor, "*batch dim"]:
    """The probabilities of the 2^n outcomes when every site is measured along one axis.

        p(b) = |<b_axis|psi>|^2

    Args:
        states: unit vectors (..., 2**n).
        axis: "x", "y" or "z".

    Returns:
        (..., 2**n); outcome b has +1 on the sites whose bit is 0, site 0 the most significant bit.

    Raises:
        ArgumentError: unknown axis, or the last axis is no power of two.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> outcome_probabilities(product_state("+1"), "x").round(decimals=12)
        tensor([0.5000, 0.5000, 0.0000, 0.0000], dtype=torch.float64)
    """
    check_choice("axis", axis, get_args(Axis))
    n_sites = qubits_of_dimension("states", states.shape[-1])
    turned = as_complex(states)
    if axis != "z":
        for site in range(n_sites):
            up, down = turned.reshape(*states.shape[:-1], 2**site, 2, -1).unbind(-2)
            if axis == "y":
                down = -1j * down
            turned = torch.stack([up + down, up - down], dim=-2)
        turned = turned.reshape(states.shape) * 0.5 ** (n_sites / 2)
    return turned.real.square() + turned.imag.square()


def site_values(weights: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch sites"]:
    """What weighted outcomes say of each site on average.

        v_i = sum_b (-1)^(bit i of b) w(b)

    The leading bit is split off and summed out, site by site: 2 dim additions for all sites.

    Args:
        weights: (..., 2**n), such as `outcome_probabilities`.

    Returns:
        (..., n).

    Example:
        >>> site_values(torch.tensor([0.5, 0.0, 0.0, 0.5]))
        tensor([0., 0.])
    """
    values = []
    for _ in range(qubits_of_dimension("weights", weights.shape[-1])):
        up, down = weights.reshape(*weights.shape[:-1], 2, -1).unbind(-2)
        values.append((up - down).sum(dim=-1))
        weights = up + down
    return torch.stack(values, dim=-1)


def outcome_values(n_sites: int, bonds: Bonds = ()) -> Float[Tensor, "dim components"]:
    """What each outcome says of each site, and of each pair: +1 or -1.

    Args:
        n_sites: number of sites n.
        bonds: the pairs.

    Returns:
        (2**n, n + bonds): column i is the sign of site i, column n + k the product of the signs of pair k.

    Raises:
        ArgumentError: a pair names a site that does not exist.

    Example:
        >>> outcome_values(2, [(0, 1)]).int().tolist()
        [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    """
    check_integer("n_sites", n_sites, minimum=1)
    pairs = check_bonds(bonds, n_sites)
    bits = (torch.arange(2**n_sites)[:, None] >> torch.arange(n_sites - 1, -1, -1)) & 1
    signs = (1 - 2 * bits).double()
    products = [signs[:, i] * signs[:, j] for i, j in pairs]
    return torch.cat([signs, *(product[:, None] for product in products)], dim=1)


def local_observables(axis: Axis, n_sites: int, bonds: Bonds = ()) -> Observable:
    """All <sigma_i> of one axis, and <sigma_i sigma_j> on some bonds, as one observable.

    Its values have an extra axis "component": the sites in order, then the bonds. The state is turned into
    the basis once, whatever the number of bonds; see `local_names` for what a component is called.

    Args:
        axis: "x", "y" or "z".
        n_sites: number of sites.
        bonds: pairs of sites.

    Raises:
        ArgumentError: unknown axis, or a pair names a site that does not exist.

    Example:
        >>> from qdyn.quantum.states import product_state
        >>> local_observables("z", 3, [(0, 1)]).expectation(product_state("010"))
        tensor([ 1., -1.,  1., -1.], dtype=torch.float64)
    """
    check_choice("axis", axis, get_args(Axis))
    label = rf"$\langle \sigma^{{{axis}}} \rangle$"
    values = outcome_values(n_sites, bonds)
    return _Local(name=f"local_{axis}", label=label, axes=("component",), axis=axis, values=values)


def local_names(axis: Axis, n_sites: int, bonds: Bonds = ()) -> list[str]:
    """What the components of `local_observables` are called, as in `named_observable`.

    >>> local_names("x", 2, [(0, 1)])
    ['magnetisation_x_0', 'magnetisation_x_1', 'correlator_x_0_1']
    """
    sites = [f"magnetisation_{axis}_{site}" for site in range(n_sites)]
    return [*sites, *(f"correlator_{axis}_{i}_{j}" for i, j in bonds)]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Local(Observable):
    axis: Axis
    values: Tensor

    @property
    def is_linear(self) -> bool:
        return True

    def size(self, n_sites: int) -> int:
        del n_sites
        return self.values.shape[1]

    def expectation(self, states: Num[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        self.check_sites(qubits_of_dimension("states", states.shape[-1]))
        probabilities = outcome_probabilities(states, self.axis)
        return probabilities @ self.values.to(probabilities)

    def check_sites(self, n_sites: int) -> None:
        if len(self.values) != 2**n_sites:
            raise ArgumentError(
                f"The observable {self.name!r} is for {len(self.values).bit_length() - 1} sites, "
                f"but the system has {n_sites}."
            )
