"""Connected correlators of one site with every other: what spreads in a light cone after a quench."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from qdyn.checks import check_choice, check_integer, qubits_of_dimension
from qdyn.errors import ArgumentError
from qdyn.quantum.factorised import Axis, FactorisedState
from qdyn.quantum.local_observables import outcome_probabilities, site_values
from qdyn.quantum.observable import Observable


def connected_correlators(axis: Axis, site: int) -> Observable:
    """The connected correlators of one site with all, with an extra axis "site".

        C_j = <sigma^axis_site sigma^axis_j> - <sigma^axis_site> <sigma^axis_j>

    At j = site it is the variance 1 - <sigma^axis_site>^2. The state is turned into the basis once for all j.

    Args:
        axis: "x", "y" or "z".
        site: the site that all others are compared with.

    Raises:
        ArgumentError: unknown axis or negative site.

    Example:
        >>> ghz = torch.zeros(8, dtype=torch.complex128)
        >>> ghz[[0, 7]] = 2**-0.5
        >>> connected_correlators("z", 1).expectation(ghz).round(decimals=12)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    check_choice("axis", axis, get_args(Axis))
    check_integer("site", site, minimum=0)
    symbol = rf"\sigma^{{{axis}}}_{{{site}}} \sigma^{{{axis}}}_{{j}}"
    return _ConnectedCorrelators(
        name=f"connected_correlators_{axis}_{site}",
        label=rf"$\langle {symbol} \rangle_c$",
        axes=("site",),
        axis=axis,
        site=site,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _ConnectedCorrelators(Observable):
    axis: Axis
    site: int

    def expectation(self, states: Complex[Tensor, "*batch dim"]) -> Float[Tensor, ...]:
        n_sites = qubits_of_dimension("states", states.shape[-1])
        self.check_sites(n_sites)
        weights = outcome_probabilities(states, self.axis)
        up, down = weights.reshape(*weights.shape[:-1], 2**self.site, 2, -1).unbind(-2)
        signed = torch.stack([up, -down], dim=-2).flatten(-3)
        alone, together = site_values(weights), site_values(signed)
        return together - alone[..., self.site, None] * alone

    def measure(self, state: FactorisedState) -> Tensor:
        self.check_sites(state.n_sites)
        alone = state.site_magnetisation(self.axis)
        return state.correlations(self.axis)[self.site] - alone[self.site] * alone

    def check_sites(self, n_sites: int) -> None:
        if self.site >= n_sites:
            raise ArgumentError(
                f"The observable {self.name!r} needs site {self.site}, but the system has {n_sites} sites."
            )
