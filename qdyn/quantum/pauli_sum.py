"""PauliSum: any Hamiltonian written as a sum of Pauli strings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from qdyn.checks import check_integer, real_numbers
from qdyn.errors import ArgumentError
from qdyn.quantum.hamiltonians import PER_TERM, Couplings, Hamiltonian
from qdyn.quantum.pauli import PauliTerms, Word

_FACTOR = re.compile(r"([XYZ])(\d+)")
_SHOWN_TERMS = 6


@dataclass(frozen=True, eq=False, repr=False)
class PauliSum(Hamiltonian):
    """A sum of Pauli strings with real coefficients.

        H = sum_k c_k P_k

    Args:
        strings: the strings P_k, or a mapping from them to their coefficients, each a number or (batch,)
            values. A string has one letter I, X, Y, Z for every site, such as "XIZ", or names its factors,
            such as "X0 Z2"; "" is the identity.
        coefficients: c_k where ``strings`` is not a mapping: (terms,), or (batch, terms).
        n_sites: number of sites n; needed when every string names its factors.

    Raises:
        ArgumentError: a string cannot be read, two of them disagree on n, or a coefficient is not finite.

    Example:
        >>> H = PauliSum({"X0 X1": 0.5, "Y0 Z1": -1.0}, n_sites=2)
        >>> H.to_dense().imag[0, 2]
        tensor(1., dtype=torch.float64)
    """

    strings: Sequence[str] | Mapping[str, Couplings]
    coefficients: Couplings | None = dataclasses.field(default=None, metadata=PER_TERM)
    n_sites: int = cast(int, None)

    formula: ClassVar[str] = "H = sum_k coefficient_k string_k"

    def __post_init__(self) -> None:
        strings, coefficients = self.strings, self.coefficients
        if isinstance(strings, Mapping):
            if coefficients is not None:
                raise ArgumentError("Argument `coefficients` is given twice: `strings` is a mapping to them.")
            coefficients = _stack(strings)
        if isinstance(strings, str):
            raise ArgumentError(
                f"Argument `strings` must be a list or a mapping of strings, not {strings!r}."
            )
        names = tuple(strings)
        if not names:
            raise ArgumentError("Argument `strings` must hold at least one Pauli string, but is empty.")
        if coefficients is None:
            raise ArgumentError("Argument `coefficients` is missing: `strings` is a list, not a mapping.")
        tensor = real_numbers("coefficients", coefficients)
        object.__setattr__(self, "coefficients", tensor[None] if tensor.ndim == 1 else tensor)
        object.__setattr__(self, "strings", names)
        object.__setattr__(self, "n_sites", _count_sites(names, self.n_sites))
        if tensor.ndim not in (1, 2) or tensor.shape[-1] != len(names):
            raise ArgumentError(
                f"Argument `coefficients` must have shape ({len(names)},) or (batch, {len(names)}), "
                f"one for each string, but has shape {tuple(tensor.shape)}."
            )
        self._settle_couplings({"term": len(names)})
        object.__setattr__(self, "_words", tuple(_word(name, self.n_sites) for name in names))

    def pauli_terms(self) -> PauliTerms:
        """The strings and their coefficients."""
        words: tuple[Word, ...] = self._words  # type: ignore[attr-defined]
        return PauliTerms.of(self.n_sites, [(words, self._spread("coefficients", len(words)))])

    def __repr__(self) -> str:
        strings, values = tuple(self.strings), self.parameters["coefficients"]
        if self.batch_size is None and len(strings) <= _SHOWN_TERMS:
            pairs = dict(zip(strings, values[0].tolist(), strict=True))
            return f"PauliSum({pairs}, n_sites={self.n_sites})"
        batch = "" if self.batch_size is None else f"batch of {self.batch_size}, "
        return f"PauliSum(<{batch}{len(strings)} strings>, n_sites={self.n_sites})"


def _stack(strings: Mapping[str, Couplings]) -> Tensor:
    columns = [real_numbers("coefficients", value) for value in strings.values()]
    sizes = {len(column) for column in columns if column.ndim == 1}
    if len(sizes) > 1 or any(column.ndim > 1 for column in columns):
        shapes = sorted({tuple(column.shape) for column in columns})
        raise ArgumentError(
            f"Argument `strings` must map to numbers or (batch,) values of one length, but maps to {shapes}."
        )
    batch = sizes.pop() if sizes else 1
    return torch.stack([column.expand(batch) for column in columns], dim=-1) if columns else torch.zeros(1, 0)


def _count_sites(names: tuple[str, ...], n_sites: int | None) -> int:
    """The number of sites that the written-out strings show, checked against the one that is given."""
    for name in names:
        if name and set(name) <= set("IXYZ"):
            if n_sites is not None and n_sites != len(name):
                raise ArgumentError(
                    f"Argument `strings` must agree on the number of sites, "
                    f"but {name!r} has {len(name)}, not {n_sites}."
                )
            n_sites = len(name)
    if n_sites is None:
        raise ArgumentError("Argument `n_sites` is needed where no string has a letter for every site.")
    return check_integer("n_sites", n_sites, minimum=1)


def _word(name: str, n_sites: int) -> Word:
    if name and set(name) <= set("IXYZ"):
        return tuple((site, letter) for site, letter in enumerate(name) if letter != "I")
    sites: dict[int, str] = {}
    for part in name.split():
        found = _FACTOR.fullmatch(part)
        if found is None or int(found[2]) >= n_sites or int(found[2]) in sites:
            raise ArgumentError(
                f"Argument `strings` must hold strings such as 'XIZ' or 'X0 Z2' on sites 0 to {n_sites - 1}, "
                f"each site once, but holds {name!r}."
            )
        sites[int(found[2])] = found[1]
    return tuple(sorted(sites.items()))
