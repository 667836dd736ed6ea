"""Operators and states in the form that `qdyn.dynamics.lane_kernels` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float, Inexact, Int
from numpy.typing import NDArray
from torch import Tensor

from qdyn.quantum.pauli import PauliTerms, Word

# Fewest sites of a vector: the kernels take four basis states at once.
SMALLEST = 2

Integers = Int[NDArray[np.int64], "..."]
Reals = Float[NDArray[np.float64], "..."]


@dataclass(frozen=True, eq=False)
class LaneOperators:
    """The operators sum_k c_k P_k with the same strings P_k and complex c_k; see `lane_kernels.product`.

    The anti-Hermitian part of an operator damps: H - i Gamma has c_k = -i gamma_k in Gamma.

    Attributes:
        n_sites: number of sites, at least `SMALLEST`; what is added stands before site 0 and does nothing.
        energies: diagonal of the Hermitian part, (operators, 2**n).
        damping: diagonal of Gamma, (operators, 2**n).
        flips: bits that strings of X flip.
        masks: bits that every other string flips.
        signs: bits that give it a sign.
        turns: 1 where the kernel keeps real and imaginary parts apart, else 0.
        coefficients: of flips, then of strings, (operators, flips + strings).
    """

    n_sites: int
    energies: Reals
    damping: Reals
    flips: Integers
    masks: Integers
    signs: Integers
    turns: Integers
    coefficients: Reals

    @classmethod
    def of(
        cls, n_sites: int, words: Sequence[Word], coefficients: Inexact[NDArray[Any], "operators terms"]
    ) -> LaneOperators:
        """Sort strings by what they do; ``coefficients`` may be complex."""
        terms = PauliTerms(n_sites, tuple(words), torch.zeros(len(words), dtype=torch.float64))
        masks = list(zip(words, terms.flips, terms.signs, strict=True))
        still = [place for place, (_, flip, _) in enumerate(masks) if flip == 0]
        flips: list[int] = []
        columns: list[Reals] = []
        others: list[tuple[int, int, int, Reals]] = []
        for place, (word, flip, sign) in enumerate(masks):
            values = coefficients[:, place]
            n_y = sum(letter == "Y" for _, letter in word)
            # P is i^(number of Y) times a real matrix M: -i c P = -i crossed M + turned M.
            phased = values * 1j**n_y
            crossed, turned = np.ascontiguousarray(phased.real), np.ascontiguousarray(phased.imag)
            if flip == 0:
                continue
            if sign == 0 and not turned.any():
                flips.append(flip)
                columns.append(crossed)
                continue
            others += [(flip, sign, turns, part) for turns, part in ((0, crossed), (1, turned)) if part.any()]
        diagonal = _diagonal(n_sites, [words[k] for k in still], coefficients[:, still])
        padded = max(n_sites, SMALLEST)
        energies = np.zeros((len(coefficients), 2**padded), dtype=np.complex128)
        energies[:, : 2**n_sites] = diagonal
        listed = columns + [part for *_, part in others]
        empty = np.zeros((len(coefficients), 0))
        return cls(
            n_sites=padded,
            energies=np.ascontiguousarray(energies.real),
            damping=np.ascontiguousarray(-energies.imag),
            flips=np.array(flips, dtype=np.int64),
            masks=np.array([flip for flip, *_ in others], dtype=np.int64),
            signs=np.array([sign for _, sign, *_ in others], dtype=np.int64),
            turns=np.array([turns for _, _, turns, _ in others], dtype=np.int64),
            coefficients=np.ascontiguousarray(np.stack(listed, axis=1)) if listed else empty,
        )

    @property
    def cost(self) -> int:
        """Multiply-adds of one product for every number."""
        return 2 + len(self.flips) + 2 * len(self.masks)


def _diagonal(n_sites: int, words: list[Word], coefficients: NDArray[Any]) -> NDArray[np.complex128]:
    total = np.zeros((len(coefficients), 2**n_sites), dtype=np.complex128)
    if words:
        for part, unit in ((coefficients.real, 1.0), (coefficients.imag, 1j)):
            tensor = torch.from_numpy(np.array(part, dtype=np.float64))
            _, values = next(PauliTerms(n_sites, tuple(words), tensor).diagonals())
            total += unit * values.numpy()
    return total


def into_lanes(values: NDArray[Any], n_lanes: int) -> Reals:
    """(trajectories, numbers) as (groups, numbers * lanes), the last group padded with its first row."""
    n_groups = -(-len(values) // n_lanes)
    padded = np.concatenate([values, np.repeat(values[-1:], n_groups * n_lanes - len(values), axis=0)])
    return np.ascontiguousarray(padded.reshape(n_groups, n_lanes, -1).swapaxes(1, 2).reshape(n_groups, -1))


def states_into_lanes(states: Complex[Tensor, "batch dim"], n_sites: int, n_lanes: int, gap: int) -> Reals:
    """Complex states as (groups, 2 * (2**n_sites * lanes + gap)), real parts first."""
    amplitudes = states.numpy(force=True)
    parts = np.zeros((len(amplitudes), 2, 2**n_sites + gap // n_lanes))
    parts[:, 0, : amplitudes.shape[1]] = amplitudes.real
    parts[:, 1, : amplitudes.shape[1]] = amplitudes.imag
    return into_lanes(parts.reshape(len(parts), -1), n_lanes)


def states_from_lanes(groups: Reals, *, count: int, dimension: int, n_lanes: int) -> Tensor:
    """The inverse of `states_into_lanes`: (count, dimension), complex128."""
    parts = groups.reshape(len(groups), 2, -1, n_lanes).transpose(0, 3, 1, 2)
    parts = parts.reshape(-1, 2, parts.shape[-1])[:count, :, :dimension]
    return torch.complex(
        torch.from_numpy(np.ascontiguousarray(parts[:, 0])),
        torch.from_numpy(np.ascontiguousarray(parts[:, 1])),
    )
