"""Products of single-site states, kept site by site: 2 n numbers where the vector has 2**n."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Complex
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_finite, real_numbers
from qdyn.errors import ArgumentError, nearest
from qdyn.memory import check_memory

Sites = str | Sequence[str] | Tensor | NDArray[np.floating] | Sequence[Sequence[float]]
"""What names the states of the sites: see `qdyn.product_state`."""

_ROOT_HALF = math.sqrt(0.5)
_SITE_STATES: dict[str, tuple[complex, complex]] = {
    "0": (1, 0),
    "1": (0, 1),
    "+": (_ROOT_HALF, _ROOT_HALF),
    "-": (_ROOT_HALF, -_ROOT_HALF),
    "r": (_ROOT_HALF, 1j * _ROOT_HALF),
    "l": (_ROOT_HALF, -1j * _ROOT_HALF),
}
_SITE_LABELS = {"z+": "0", "z-": "1", "x+": "+", "x-": "-", "y+": "r", "y-": "l"}


@dataclass(frozen=True, eq=False)
class ProductStates:
    """One product state of n sites, or a batch of them.

        |psi> = prod_i (a_i |0> + b_i |1>)

    Attributes:
        sites: the unit vectors (a_i, b_i), complex128 of shape (n, 2), or (batch, n, 2).

    Example:
        >>> ProductStates.of("+" * 100).n_sites
        100
        >>> ProductStates.of("+0").vectors().real
        tensor([0.7071, 0.0000, 0.7071, 0.0000], dtype=torch.float64)
    """

    sites: Tensor

    @classmethod
    def of(cls, sites: Sites) -> ProductStates:
        """The product state that labels, angles or Bloch vectors name, as in `qdyn.product_state`.

        Raises:
            ArgumentError: an unknown label, a wrong shape, a NaN, or a Bloch vector of another length than 1.
        """
        if isinstance(sites, str) or (
            isinstance(sites, Sequence) and any(isinstance(site, str) for site in sites)
        ):
            return cls(_labelled_sites([str(site) for site in sites]))
        single = getattr(sites, "dtype", None) in (torch.float32, np.float32)
        return cls(_directed_sites(real_numbers("sites", sites), tolerance=1e-4 if single else 1e-8))

    @classmethod
    def named(
        cls, labels: str | Sequence[str], *, n_sites: int, name: str = "initial_state"
    ) -> ProductStates:
        """The state that a string names, with one character a site, or the batch that several strings name.

        Args:
            labels: "0" "1" "+" "-" "r" "l" for each site, as in `qdyn.product_state`, or a list of such
                strings.
            n_sites: number of sites that each must name.
            name: the argument that error messages speak of.

        Raises:
            ArgumentError: an unknown label, or a string that names another number of sites.
        """
        listed = [labels] if isinstance(labels, str) else list(labels)
        for place, text in enumerate(listed):
            if len(text) != n_sites:
                which = f"`{name}`" if isinstance(labels, str) else f"`{name}` number {place}"
                raise ArgumentError(
                    f"Argument {which} must name {n_sites} sites, one character each, but {text!r:.40} "
                    f"has {len(text)}."
                )
        sites = torch.stack([_labelled_sites(list(text), name=name) for text in listed])
        return cls(sites[0] if isinstance(labels, str) else sites)

    @property
    def n_sites(self) -> int:
        """Number of sites n."""
        return self.sites.shape[-2]

    @property
    def batch_size(self) -> int | None:
        """Number of states; None for a single one without a batch axis."""
        return self.sites.shape[0] if self.sites.ndim == 3 else None

    def members(self, members: slice) -> ProductStates:
        """A part of the batch; a single state is its own part."""
        return self if self.batch_size is None else replace(self, sites=self.sites[members])

    def vectors(self) -> Complex[Tensor, "*batch dim"]:
        """The state vectors, complex128 of shape (2**n,) or (batch, 2**n).

        Raises:
            MemoryLimitError: they do not fit in memory.
        """
        count = self.sites.shape[:-2].numel()
        check_memory(16 * count * 2**self.n_sites, f"A product state of {self.n_sites} qubits")
        state = self.sites[..., 0, :]
        for site in range(1, self.n_sites):
            state = (state[..., :, None] * self.sites[..., site, None, :]).flatten(-2)
        return state

    def __repr__(self) -> str:
        count = "" if self.batch_size is None else f"{self.batch_size} states of "
        return f"ProductStates(<{count}{self.n_sites} sites>)"


def is_named(states: object) -> TypeGuard[str | Sequence[str]]:
    """Whether this is a string or a list of strings, and so names product states.

    >>> is_named("+0"), is_named(["00", "11"]), is_named([1.0, 0.0])
    (True, True, False)
    """
    if isinstance(states, str):
        return True
    return isinstance(states, list | tuple) and bool(states) and all(isinstance(one, str) for one in states)


def _labelled_sites(labels: list[str], *, name: str = "sites") -> Complex[Tensor, "n 2"]:
    if not labels:
        raise ArgumentError(f"Argument `{name}` must name at least one qubit, but is empty.")
    qubits = []
    for place, label in enumerate(labels):
        symbol = _SITE_LABELS.get(label, label)
        if symbol not in _SITE_STATES:
            known = [*_SITE_STATES, *_SITE_LABELS]
            raise ArgumentError(
                f"Argument `{name}` has the unknown site {label!r} at {place}; {nearest(label, known)}"
            )
        qubits.append(_SITE_STATES[symbol])
    return torch.tensor(qubits, dtype=torch.complex128)


def _directed_sites(directions: Tensor, *, tolerance: float) -> Complex[Tensor, "*batch n 2"]:
    if directions.ndim < 2 or directions.shape[-1] not in (2, 3) or directions.shape[-2] < 1:
        raise ArgumentError(
            "Argument `sites` must be angles of shape (..., n, 2) or Bloch vectors of shape (..., n, 3), "
            f"but has shape {tuple(directions.shape)}."
        )
    check_finite("sites", directions)
    if directions.shape[-1] == 2:
        theta, phi = directions.unbind(-1)
    else:
        lengths = torch.linalg.vector_norm(directions, dim=-1)
        if bool(((lengths - 1).abs() > tolerance).any()):
            worst = float(lengths.reshape(-1)[int((lengths - 1).abs().argmax())])
            raise ArgumentError(
                f"Argument `sites` must hold unit Bloch vectors, but one has length {worst:.6g}."
            )
        x, y, z = directions.unbind(-1)
        theta, phi = torch.atan2(torch.hypot(x, y), z), torch.atan2(y, x)
    upper = torch.cos(theta / 2).to(torch.complex128)
    lower = torch.polar(torch.sin(theta / 2).abs(), phi) * torch.sign(torch.sin(theta / 2))
    return torch.stack([upper, lower], dim=-1)
