"""A Hamiltonian in the form that the compiled kernels read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from qdyn.quantum.pauli import PauliTerms, Word

Integers = Int[NDArray[np.int64], "..."]
Reals = Float[NDArray[Any], "..."]

# Smallest chain of the kernels: its basis fills a block in single precision.
SMALLEST_CHAIN = 6
_CACHE_LINE = 64
# Bits of the basis index inside a block of the kernels, in double and in single precision.
_INSIDE = {np.float64: 5, np.float32: 6}


class OperatorTables(NamedTuple):
    """A Hamiltonian, or one for each trajectory, in arrays; the kernels read nothing else of it.

    A place is a position in a row of real numbers: bit 0 tells real from imaginary, bit q + 1 is bit q of the
    basis index. A block of the kernels holds the places that differ in their lowest bits only, its lanes.
    Strings that flip the same bits share a slot; a slot outside the blocks moves them as wholes, the others
    are sorted into classes that flip the same lanes.

    Attributes:
        sign_masks: bits of each product of Z.
        couplings: their coefficients, (operators, masks).
        fields: where single flips are all that flips, coefficients of X by bit, (operators, sites).
        exchanges: otherwise the coefficients of the exchange of the sites of bits q and q + 1, inside a
            block, (operators, 5), of which double precision reads 4, or (operators, 0).
        strings: coefficients of the strings that remain, (operators, strings).
        outer_flips: places that a slot outside the blocks flips.
        outer_signs: places whose parity, read off the source, chooses its factor.
        classes: lanes that every other slot of a class flips.
        bounds: first slot of each class, and the number of slots.
        inner_flips: places outside a block that each of them flips.
        inner_signs: places outside a block whose parity chooses its factors.
        slot_of: slot of each string, those outside the blocks first; several strings may share one.
        signed: whether the slot's places outside a block give the string its sign, or none of them does.
        lane_signs: lanes whose number gives each string its sign.
    """

    sign_masks: Integers
    couplings: Reals
    fields: Reals
    exchanges: Reals
    strings: Reals
    outer_flips: Integers
    outer_signs: Integers
    classes: Integers
    bounds: Integers
    inner_flips: Integers
    inner_signs: Integers
    slot_of: Integers
    signed: Bool[NDArray[np.bool_], " strings"]
    lane_signs: Integers


@dataclass(frozen=True, eq=False)
class KernelOperator:
    """A Hamiltonian, or one for each trajectory, as the kernels read it; see `product_kernels`.

    Chains below the kernels' smallest are padded by sites that nothing acts on, before the first site.
    """

    n_sites: int
    dtype: Any
    tables: OperatorTables

    @classmethod
    def of(cls, terms: PauliTerms, *, single: bool) -> KernelOperator:
        """The Hamiltonian in single or double precision."""
        dtype = np.float32 if single else np.float64
        coefficients = terms.coefficients.reshape(-1, terms.coefficients.shape[-1]).numpy(force=True)
        acting = (coefficients != 0).any(axis=0)
        sorting = _sort(terms.n_sites, terms.words, acting.tobytes(), _INSIDE[dtype])
        couplings = coefficients[:, sorting.products]
        exchanges = np.zeros((len(coefficients), 0))
        if len(sorting.pairs):
            # a XX + b YY = (a - b) XX + b (2 exchange - 1 - ZZ)
            crossed, turned, bits = sorting.pairs.T
            exchanges = np.zeros((len(coefficients), 5))
            exchanges[:, bits] = 2 * coefficients[:, turned]
            couplings = np.concatenate(
                [couplings, -coefficients[:, turned], -coefficients[:, turned]], axis=1
            )
            coefficients = coefficients.copy()
            coefficients[:, crossed] -= coefficients[:, turned]
            coefficients[:, turned] = 0
            acting = (coefficients != 0).any(axis=0)
        fields = np.zeros((len(coefficients), max(terms.n_sites, SMALLEST_CHAIN)))
        others: tuple[int, ...] = ()
        if len(sorting.pairs) or not sorting.only_fields:
            others = tuple(np.flatnonzero(acting & sorting.flipping).tolist())
        else:
            fields[:, sorting.field_bits] = coefficients[:, sorting.field_places]
        layout, reverse = _lay_out(terms.n_sites, terms.words, others, _INSIDE[dtype])
        tables = OperatorTables(
            sign_masks=sorting.sign_masks,
            couplings=np.ascontiguousarray(couplings, dtype=dtype),
            fields=fields.astype(dtype),
            exchanges=exchanges.astype(dtype),
            strings=np.ascontiguousarray(coefficients[:, list(others)] * reverse, dtype=dtype),
            **layout,
        )
        return cls(max(terms.n_sites, SMALLEST_CHAIN), dtype, tables)

    def members(self, members: Integers) -> KernelOperator:
        """The operators of some trajectories, numbered from 0."""
        tables = self.tables
        if len(tables.couplings) == 1:
            return self
        parts = ("couplings", "fields", "exchanges", "strings")
        own = tables._replace(**{name: getattr(tables, name)[members] for name in parts})
        return KernelOperator(self.n_sites, self.dtype, own)

    def workspaces(self) -> tuple[Reals, Reals, Reals]:
        """Room for what `product_kernels.prepare` makes: diagonal, outer and inner factors, zeroed."""
        tables, width = self.tables, 2 << _INSIDE[self.dtype]
        lengths = (2**self.n_sites, 2 * len(tables.outer_flips), 2 * width * len(tables.inner_flips))
        diagonal, outer, inner = (zeros(length, self.dtype) for length in lengths)
        return diagonal, outer, inner

    @property
    def cost(self) -> float:
        """Multiply-adds an amplitude of one product with H."""
        tables = self.tables
        if not tables.strings.shape[1] and not tables.exchanges.shape[1]:
            return self.n_sites + 1.0
        moves = len(tables.outer_flips) + 1.5 * len(tables.inner_flips) + len(tables.classes)
        return 3.0 + 1.2 * tables.exchanges.shape[1] + moves


def zeros(length: int, dtype: Any) -> Reals:
    """A zeroed workspace that starts on a cache line."""
    size = np.dtype(dtype).itemsize
    # numpy asks for large pages where it does not zero memory itself.
    memory = np.empty(length + _CACHE_LINE // size, dtype=dtype)
    start = -memory.ctypes.data % _CACHE_LINE // size
    memory[start : start + length] = 0
    return memory[start : start + length]


@dataclass(frozen=True, eq=False)
class _Sorting:
    """Strings by what they do, numbered as in the Hamiltonian.

    Attributes:
        products: strings of Z alone, with their sign masks; those that exchanges need stand at the end.
        flipping: whether a string flips bits.
        pairs: XX, YY and bit q for neighbouring bits q, q + 1 inside a block, (pairs, 3).
        only_fields: whether single X are all that flips.
        field_places: these strings, and the bits that they flip.
    """

    products: list[int]
    sign_masks: Integers
    flipping: Bool[NDArray[np.bool_], " strings"]
    pairs: Integers
    only_fields: bool
    field_places: list[int]
    field_bits: list[int]


@lru_cache(maxsize=64)
def _sort(n_sites: int, words: tuple[Word, ...], acting: bytes, inside: int) -> _Sorting:
    """What follows from the strings alone, and which of them act, the same for many evolutions."""
    masks, acts = _masks(n_sites, words), np.frombuffer(acting, dtype=np.bool_)
    products = [place for place, (flip, _) in enumerate(masks) if flip == 0]
    flipping = [place for place, (flip, _) in enumerate(masks) if flip and acts[place]]
    place_of = {masks[place]: place for place in flipping}
    pairs = []
    for bit in range(inside - 1):
        both = 3 << bit
        if (both, 0) in place_of and (both, both) in place_of:
            pairs.append((place_of[both, 0], place_of[both, both], bit))
    fields = [place for place in flipping if masks[place][0].bit_count() == 1 and masks[place][1] == 0]
    bits = [masks[place][0].bit_length() - 1 for place in fields]
    sign_masks = [masks[place][1] for place in products]
    sign_masks += [0] * len(pairs) + [3 << bit for _, _, bit in pairs]
    return _Sorting(
        products=products,
        sign_masks=np.array(sign_masks, dtype=np.int64),
        flipping=np.array([flip != 0 for flip, _ in masks], dtype=np.bool_),
        pairs=np.array(pairs, dtype=np.int64).reshape(-1, 3),
        only_fields=len(fields) == len(flipping) and len(set(bits)) == len(bits),
        field_places=fields,
        field_bits=bits,
    )


def _masks(n_sites: int, words: tuple[Word, ...]) -> list[tuple[int, int]]:
    terms = PauliTerms(n_sites, words, torch.zeros(len(words)))
    return list(zip(terms.flips, terms.signs, strict=True))


@lru_cache(maxsize=64)
def _lay_out(
    n_sites: int, words: tuple[Word, ...], places: tuple[int, ...], inside: int
) -> tuple[dict[str, NDArray[Any]], Float[NDArray[np.float64], " strings"]]:
    """Group some strings by the lanes they flip, then by what they do outside a block; with their signs.

    Strings that flip the same bits share a slot if outside a block they have the same sign bits or none, as
    XX and YY on a bond do.
    """
    masks = _masks(n_sites, words)
    lanes = (2 << inside) - 1
    keys = []
    for flip, sign in (masks[place] for place in places):
        # An odd number of Y is a factor i, which exchanges real and imaginary parts, bit 0 of a position.
        imaginary = (flip & sign).bit_count() % 2
        keys.append((2 * flip | imaginary, 2 * sign | imaginary))
    # A slot is (lanes flipped, whether lanes matter, places flipped outside, signs outside).
    slots: dict[tuple[int, bool, int], list[int]] = {}
    for flip, sign in keys:
        found = slots.setdefault((flip & lanes, _within(flip, sign, lanes), flip & ~lanes), [])
        if sign & ~lanes and sign & ~lanes not in found:
            found.append(sign & ~lanes)
    distinct = sorted(
        (within, flips, outside, sign)
        for (flips, within, outside), signs in slots.items()
        for sign in signs or [0]
    )
    place_of = {slot: place for place, slot in enumerate(distinct)}
    first = {slot[:3]: place for place, slot in reversed(list(enumerate(distinct)))}
    n_outer = sum(not within for within, *_ in distinct)
    inner = distinct[n_outer:]
    classes = sorted({flips for _, flips, _, _ in inner})

    def place(flip: int, sign: int) -> int:
        key = (_within(flip, sign, lanes), flip & lanes, flip & ~lanes)
        return place_of[*key, sign & ~lanes] if sign & ~lanes else first[key]

    layout: dict[str, NDArray[Any]] = {
        "outer_flips": _integers(flips for _, _, flips, _ in distinct[:n_outer]),
        "outer_signs": _integers(signs for *_, signs in distinct[:n_outer]),
        "classes": _integers(classes),
        "bounds": np.searchsorted([flips for _, flips, *_ in inner], [*classes, lanes + 1]).astype(np.int64),
        "inner_flips": _integers(flips for _, _, flips, _ in inner),
        "inner_signs": _integers(signs for *_, signs in inner),
        "slot_of": _integers(place(*key) for key in keys),
        "signed": np.array([bool(sign & ~lanes) for _, sign in keys], dtype=np.bool_),
        "lane_signs": _integers(sign & lanes for _, sign in keys),
    }
    # A string with 2 or 3 factors Y carries i^2 = -1 beyond the factor i of its flip of lane 0.
    n_y = [(masks[place][0] & masks[place][1]).bit_count() for place in places]
    return layout, np.array([-1.0 if count % 4 > 1 else 1.0 for count in n_y])


def _integers(numbers: Iterable[int]) -> Integers:
    return np.array(list(numbers), dtype=np.int64)


def _within(flip: int, sign: int, lanes: int) -> bool:
    """Whether a string moves or signs lanes of a block, rather than whole blocks."""
    return bool((flip | sign) & lanes)
