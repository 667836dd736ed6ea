"""A Hamiltonian in the form that the compiled kernels read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qdyn.dynamics.spectral_bounds import spectral_bounds
from qdyn.quantum.pauli import PauliTerms


@dataclass(frozen=True, eq=False)
class KernelOperator:
    """A Hamiltonian, or one for each trajectory, as the kernels read it; see `qdyn.dynamics.kernels.evolve`.

    Chains below the kernels' smallest are padded by sites that nothing acts on, before the first site.
    """

    n_sites: int
    dtype: Any
    radii: NDArray[np.float64]
    middles: NDArray[np.float64]
    sign_masks: NDArray[np.int64]
    couplings: NDArray[Any]
    fields: NDArray[Any]
    slots: NDArray[np.int64]
    signs: NDArray[np.int64]
    bounds: NDArray[np.int64]
    slot_of: NDArray[np.int64]
    signed: NDArray[np.bool_]
    lane_signs: NDArray[np.int64]
    strings: NDArray[Any]

    @classmethod
    def of(cls, terms: PauliTerms, *, single: bool) -> KernelOperator:
        """The Hamiltonian in single or double precision."""
        from qdyn.dynamics.kernels import SMALLEST_CHAIN

        dtype = np.float32 if single else np.float64
        coefficients = terms.coefficients.reshape(-1, terms.coefficients.shape[-1]).numpy(force=True)
        lower, upper = (bound.numpy() for bound in spectral_bounds(terms))
        masks = list(zip(terms.flips, terms.signs, strict=True))
        products = [place for place, (flip, _) in enumerate(masks) if flip == 0]
        acting = np.any(coefficients != 0, axis=0)
        others = [place for place, (flip, _) in enumerate(masks) if flip != 0 and acting[place]]
        fields = np.zeros((len(coefficients), max(terms.n_sites, SMALLEST_CHAIN)))
        if all(flip.bit_count() == 1 and sign == 0 for flip, sign in (masks[place] for place in others)):
            for place in others:
                fields[:, masks[place][0].bit_length() - 1] += coefficients[:, place]
            others = []
        layout = _lay_out([masks[place] for place in others], lane_bits=4 if single else 3)
        # A string with 2 or 3 factors Y carries i^2 = -1 beyond the factor i of its flip of lane 0.
        n_y = [(masks[place][0] & masks[place][1]).bit_count() for place in others]
        reverse = np.array([-1.0 if count % 4 > 1 else 1.0 for count in n_y])
        return cls(
            n_sites=max(terms.n_sites, SMALLEST_CHAIN),
            dtype=dtype,
            radii=round_up((upper - lower) / 2),
            middles=(upper + lower) / 2,
            sign_masks=np.array([masks[place][1] for place in products], dtype=np.int64),
            couplings=np.ascontiguousarray(coefficients[:, products], dtype=dtype),
            fields=fields.astype(dtype),
            strings=np.ascontiguousarray(coefficients[:, others] * reverse, dtype=dtype),
            **layout,
        )

    def members(self, members: NDArray[np.int64]) -> KernelOperator:
        """The operators of some trajectories, numbered from 0."""
        if len(self.middles) == 1:
            return self
        parts = ("middles", "couplings", "fields", "strings")
        return replace(self, **{name: getattr(self, name)[members] for name in parts})

    @property
    def cost(self) -> float:
        """Multiply-adds an amplitude of one product with H."""
        return self.n_sites + 1 + 3.0 * len(self.slots)


def _lay_out(masks: list[tuple[int, int]], *, lane_bits: int) -> dict[str, NDArray[Any]]:
    """Group strings by the lanes they flip, then by what they do outside a vector.

    Strings that flip the same bits share a slot if outside a vector they have the same sign bits or none, as
    XX and YY on a bond do.
    """
    inside = (1 << lane_bits) - 1
    keys = []
    for flip, sign in masks:
        # An odd number of Y is a factor i, which exchanges real and imaginary parts, bit 0 of a position.
        imaginary = (flip & sign).bit_count() % 2
        keys.append((2 * flip | imaginary, 2 * sign | imaginary))
    slots: dict[tuple[int, int], list[int]] = {}
    for flip, sign in keys:
        found = slots.setdefault((flip & inside, flip & ~inside), [])
        if sign & ~inside and sign & ~inside not in found:
            found.append(sign & ~inside)
    distinct = sorted((*flips, sign) for flips, signs in slots.items() for sign in signs or [0])
    first = {slot[:2]: place for place, slot in reversed(list(enumerate(distinct)))}
    place_of = {slot: place for place, slot in enumerate(distinct)}
    classes = [lanes for lanes, _, _ in distinct]

    def place(flip: int, sign: int) -> int:
        flips = (flip & inside, flip & ~inside)
        return place_of[*flips, sign & ~inside] if sign & ~inside else first[flips]

    return {
        "slots": np.array([flip for _, flip, _ in distinct], dtype=np.int64),
        "signs": np.array([sign for _, _, sign in distinct], dtype=np.int64),
        "bounds": np.searchsorted(classes, np.arange(17)).astype(np.int64),
        "slot_of": np.array([place(*key) for key in keys], dtype=np.int64),
        "signed": np.array([bool(sign & ~inside) for _, sign in keys], dtype=np.bool_),
        "lane_signs": np.array([sign & inside for _, sign in keys], dtype=np.int64),
    }


def round_up(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next of 16 values to an octave, with 2 / R exact in single precision.

    Trajectories whose Hamiltonians differ then share Bessel functions, and what a trajectory shares does not
    depend on its companions in the batch.
    """
    steps = np.ceil(16 * np.log2(np.maximum(radii, 2.0**-20)))
    factors = 2 / np.exp2(steps / 16)
    unit = np.exp2(np.floor(np.log2(factors)) - 12)
    return np.asarray(2 / (np.floor(factors / unit) * unit))
