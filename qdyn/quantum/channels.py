"""What an environment does to single sites: dephasing, decay, excitation, depolarisation.

A channel with jump operators L_k enters the Lindblad equation

    d rho / dt = -i [H, rho] + sum_k (L_k rho L_k^H - L_k^H L_k rho / 2 - rho L_k^H L_k / 2).

Rates are in units of J. The state |1> (spin down, Z = -1) is the one that decays, to |0>.

Source: H.-P. Breuer and F. Petruccione, The Theory of Open Quantum Systems (Oxford, 2002), chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_finite, real_numbers
from qdyn.errors import ArgumentError

Rates = float | int | Sequence[float] | NDArray[Any] | Tensor
"""One rate for all sites, or one a site; 0 leaves a site alone."""


@dataclass(frozen=True, eq=False, repr=False)
class Channel:
    """Jump operators sqrt(rate_i) A on every site i, with A a 2 x 2 matrix or several of them.

    Made by `dephasing`, `decay`, `excitation` and `depolarising`.

    Attributes:
        name: what it is called.
        rates: one rate for all sites, or one a site.
        matrices: the matrices A, (operators, 2, 2); every A^H A is diagonal.
    """

    name: str
    rates: float | NDArray[np.float64]
    matrices: NDArray[np.complex128]

    def site_rates(self, n_sites: int) -> NDArray[np.float64]:
        """The rate on each of ``n_sites`` sites.

        Raises:
            ArgumentError: the rates are for another number of sites.
        """
        if isinstance(self.rates, float):
            return np.full(n_sites, self.rates)
        if len(self.rates) != n_sites:
            raise ArgumentError(
                f"Argument `rate` of {self.name} must be a number or hold {n_sites} rates, one a site, "
                f"but holds {len(self.rates)}."
            )
        return self.rates

    def jumps(self, n_sites: int) -> list[tuple[int, NDArray[np.complex128]]]:
        """Every jump operator as (site, matrix), the matrix with the root of the rate."""
        rates = self.site_rates(n_sites)
        return [
            (site, np.sqrt(rates[site]) * matrix)
            for matrix in self.matrices
            for site in range(n_sites)
            if rates[site] > 0
        ]

    def to_qutip(self, n_sites: int) -> list[Any]:
        """The jump operators for QuTiP, as ``c_ops``."""
        import qutip

        found = []
        for site, matrix in self.jumps(n_sites):
            factors = [qutip.qeye(2)] * n_sites
            factors[site] = qutip.Qobj(matrix)
            found.append(qutip.tensor(factors))
        return found

    def __repr__(self) -> str:
        rates = f"{self.rates:g}" if isinstance(self.rates, float) else f"<{len(self.rates)} rates>"
        return f"{self.name}({rates})"


def dephasing(rate: Rates) -> Channel:
    """Pure dephasing: coherences between |0> and |1> of a site fall as exp(-rate t), T_2 = 1 / rate.

    Args:
        rate: in units of J, one for all sites or one a site.

    Raises:
        ArgumentError: a rate is negative or not finite.

    Example:
        >>> dephasing(0.1).jumps(1)[0][1].round(3)
        array([[ 0.224+0.j,  0.   +0.j],
               [ 0.   +0.j, -0.224+0.j]])
    """
    return _channel("dephasing", rate, np.diag([1, -1]) / np.sqrt(2))


def decay(rate: Rates) -> Channel:
    """Decay from |1> to |0>: the population of |1> falls as exp(-rate t), T_1 = 1 / rate.

    Args:
        rate: in units of J, one for all sites or one a site.

    Raises:
        ArgumentError: a rate is negative or not finite.

    Example:
        >>> decay([0.0, 0.5])
        decay(<2 rates>)
    """
    return _channel("decay", rate, np.array([[0, 1], [0, 0]]))


def excitation(rate: Rates) -> Channel:
    """Excitation from |0> to |1> at a rate: with `decay` it makes a bath of finite temperature.

    Args:
        rate: in units of J, one for all sites or one a site.

    Raises:
        ArgumentError: a rate is negative or not finite.

    Example:
        >>> excitation(0.2)
        excitation(0.2)
    """
    return _channel("excitation", rate, np.array([[0, 0], [1, 0]]))


def depolarising(rate: Rates) -> Channel:
    """Depolarisation: the Bloch vector of a site falls as exp(-rate t) in every direction.

    Args:
        rate: in units of J, one for all sites or one a site.

    Raises:
        ArgumentError: a rate is negative or not finite.

    Example:
        >>> len(depolarising(0.2).jumps(3))  # X, Y and Z on each site
        9
    """
    paulis = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
    return _channel("depolarising", rate, paulis / 2)


def _channel(name: str, rate: Rates, matrices: NDArray[Any]) -> Channel:
    rates = real_numbers("rate", rate).cpu()
    check_finite("rate", rates)
    if rates.ndim > 1 or bool((rates < 0).any()):
        raise ArgumentError(f"Argument `rate` must be a number >= 0 or one a site, but is {rate!r:.60}.")
    settled = float(rates) if rates.ndim == 0 else rates.numpy()
    return Channel(name, settled, matrices.reshape(-1, 2, 2).astype(np.complex128))
