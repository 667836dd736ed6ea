r"""Synthetic protein families: profile hidden Markov models of our own making, and sequences drawn from them.

A *family* is what a tag names: a distribution of residues of its own, a period with which greasy and polar
ones take turns, and a short motif that all of its members share. A *subfamily* has a profile: a consensus
residue for each of M columns, drawn from the family's distribution, and how well each column is conserved.
From the profile sequences are drawn by the usual automaton: before column j residues may be inserted, then
the column emits a residue or is skipped,

$$p_j(a) = c_j\,\delta_{a, k_j} + (1 - c_j)\,f_j(a),$$

k_j the consensus, c_j the conservation and f_j the family's distribution at that column. None of it comes
from nature: no sequence here folds or does anything.

Whole subfamilies belong to one split, and a sequence that is too much like one of an earlier split is drawn
again, so that no two sequences of different splits are more alike than `THRESHOLD`.

Source: A. Krogh et al., J. Mol. Biol. 235, 1501 (1994): profile hidden Markov models.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from qdyn.data.backing import SPLITS
from qdyn.data.layout import Block, Layout
from qdyn.data.proteins.amino_acids import (
    HYDROPATHY,
    RESIDUES,
    ProteinVocabulary,
    mean_hydropathy,
    net_charge,
)
from qdyn.data.proteins.sequence_identity import THRESHOLD, nearest_identity
from qdyn.data.proteins.tags import PROPERTY_TAGS, PROTEIN_UNITS, property_tag
from qdyn.data.source import Precision, Source, generator_of
from qdyn.data.tags import tag
from qdyn.errors import ConfigError

FrontTag = Literal["family", "charge", "hydropathy"]

_TRIES = 200
# Residues per turn: of a strand, of an ideal helix, of a coiled coil, and without any.
_PERIODS = (2.0, 3.6, 3.5, None)
_WORDS_AROUND = 2


@dataclass(frozen=True)
class Profile:
    """One subfamily.

    Attributes:
        emissions: (M, 20) distribution of the residue that a column emits, in the order of `RESIDUES`.
        background: (20,) distribution of inserted residues.
    """

    emissions: Float[np.ndarray, "columns 20"]
    background: Float[np.ndarray, " 20"]

    @property
    def consensus(self) -> str:
        """The likeliest residue of each column."""
        return "".join(RESIDUES[place] for place in self.emissions.argmax(axis=1))


@dataclass(frozen=True)
class ProteinFamilies(Source):
    """Sequences ``<bos> tags residues <eos>`` of made-up families, padded and masked.

    Args:
        families: How many, >= 2; the tag ``<family=k>`` counts from 1.
        subfamilies: Of each family, at least one for each split that is not empty.
        columns: M of each profile, >= 8.
        longest: Residues of the longest sequence, > M; one that does not fit is drawn again.
        tags: What stands in front, in this order: "family", "charge", "hydropathy".
        conservation: Mean of c_j, in (0, 1); each is drawn from a Beta distribution.
        distinctness: Spread of the logarithms of a family's residue frequencies and of its greasy-polar
            pattern, >= 0; 0 makes families differ by their motifs only.
        motif: Columns of a family's motif, 0 to 20 and at most M: different residues, conserved to 95 %.
        insertion: Probability that residues are inserted before a column, in [0, 1); each further one comes
            with probability ``extension``.
        deletion: Probability that a column is skipped, in [0, 1); each further one with ``extension``.
        extension: In [0, 1).
        identity: Largest identity of sequences of different splits, in (0, 1].
    """

    families: int
    subfamilies: int
    columns: int
    longest: int
    tags: tuple[FrontTag, ...] = ("family",)
    conservation: float = 0.7
    distinctness: float = 0.5
    motif: int = 5
    insertion: float = 0.02
    deletion: float = 0.02
    extension: float = 0.4
    identity: float = THRESHOLD
    _counts: Mapping[str, int] = field(default_factory=dict, init=False, repr=False)
    _cache: dict[object, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("families", 2), ("subfamilies", 1), ("columns", 8)):
            if getattr(self, name) < least:
                raise ConfigError(f"`{name}` must be an integer >= {least}, but is {getattr(self, name)}.")
        if self.longest <= self.columns:
            raise ConfigError(f"`longest` must be > {self.columns}, the columns, but is {self.longest}.")
        most = min(self.columns, len(RESIDUES))
        if not 0 <= self.motif <= most:
            raise ConfigError(f"`motif` must be an integer from 0 to {most}, but is {self.motif}.")
        for name in ("insertion", "deletion", "extension"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must lie in [0, 1), but is {getattr(self, name)}.")
        if not (0 < self.conservation < 1 and 0 < self.identity <= 1 and self.distinctness >= 0):
            raise ConfigError(
                "`conservation` must lie in (0, 1), `identity` in (0, 1] and `distinctness` be >= 0, but are "
                f"{self.conservation}, {self.identity}, {self.distinctness}."
            )
        if len(set(self.tags)) < len(self.tags):
            raise ConfigError(f"`tags` must name each tag once, but is {list(self.tags)}.")

    def with_splits(self, splits: Mapping[str, int]) -> ProteinFamilies:
        """See `Source.with_splits`: which subfamilies belong to which split follows from the counts."""
        filled = {name: splits[name] for name in SPLITS if splits.get(name)}
        if self.subfamilies < len(filled):
            raise ConfigError(
                f"`subfamilies` must be an integer >= {len(filled)}, one for each split, but is "
                f"{self.subfamilies}."
            )
        chosen = copy.copy(self)
        object.__setattr__(chosen, "_counts", filled)
        object.__setattr__(chosen, "_cache", {})
        return chosen

    @property
    def vocabulary(self) -> ProteinVocabulary:
        """Residues and every tag that may stand in front."""
        words = []
        for name in self.tags:
            values = [str(k + 1) for k in range(self.families)] if name == "family" else PROPERTY_TAGS[name]
            words += [tag(name, value) for value in values]
        return ProteinVocabulary(tuple(words), block=self.longest + len(self.tags) + _WORDS_AROUND)

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        words = self.vocabulary
        return Layout(
            kind="token",
            dimension=len(words),
            length=words.block,
            dtype="int32",
            vocabulary=words.words,
            conditions={"family": "1", "subfamily": "1", **PROTEIN_UNITS},
            variable=True,
        )

    def block_size(self) -> int:
        """See `Source.block_size`; small, since what the last block makes beyond the end costs alignments."""
        return 32

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        found = [self.sequence(seed, number) for number in range(first, first + count)]
        proteins = [protein for protein, _, _ in found]
        known = {
            "family": [family + 1 for _, family, _ in found],
            "subfamily": [subfamily + 1 for _, _, subfamily in found],
            "residues": [len(protein) for protein in proteins],
            "charge": [net_charge(protein) for protein in proteins],
            "hydropathy": [mean_hydropathy(protein) for protein in proteins],
        }
        fronts = [
            [
                tag(name, str(family + 1)) if name == "family" else property_tag(name, protein)
                for name in self.tags
            ]
            for protein, family, _ in found
        ]
        tokens, lengths = self.vocabulary.encode(proteins, fronts)
        conditions = {name: np.array(values, dtype=np.float64) for name, values in known.items()}
        return Block(tokens.astype(np.int32), conditions, lengths)

    def sequence(self, seed: int, number: int) -> tuple[str, int, int]:
        """The residues of one sequence, its family and its subfamily, both from 0."""
        key = ("sequence", seed, number)
        if key not in self._cache:
            self._cache[key] = self._drawn(seed, number)
        return self._cache[key]  # type: ignore[return-value]

    def profile(self, seed: int, family: int, subfamily: int) -> Profile:
        """The profile of one subfamily, both counted from 0."""
        key = ("profile", seed, family, subfamily)
        if key not in self._cache:
            self._cache[key] = self._make_profile(seed, family, subfamily)
        return self._cache[key]  # type: ignore[return-value]

    def draw(self, profile: Profile, random: np.random.Generator) -> str:
        """One sequence of a profile, of any length."""
        codes: list[int] = []
        column = 0
        inserted = np.cumsum(profile.background)
        emitted = np.cumsum(profile.emissions, axis=1)
        while column < len(emitted):
            chance = self.insertion
            while random.random() < chance:
                codes.append(_place(inserted, random.random()))
                chance = self.extension
            chance = self.deletion
            while column < len(emitted) and random.random() < chance:
                column += 1
                chance = self.extension
            if column < len(emitted):
                codes.append(_place(emitted[column], random.random()))
                column += 1
        return "".join(RESIDUES[code] for code in codes)

    def _drawn(self, seed: int, number: int) -> tuple[str, int, int]:
        split, others = self._split_of(number)
        random = generator_of(seed, number)
        against = self._sequences_before(seed, split)
        for _ in range(_TRIES):
            family = int(random.integers(self.families))
            subfamily = int(others[random.integers(len(others))])
            protein = self.draw(self.profile(seed, family, subfamily), random)
            # The shortest that is a fragment rather than a member would be alike to others by chance.
            if not self.columns // 2 <= len(protein) <= self.longest:
                continue
            if not against or nearest_identity([protein], against, beyond=self.identity)[0] <= self.identity:
                return protein, family, subfamily
        raise ConfigError(
            f"None of {_TRIES} sequences fits `longest` and differs enough from those of earlier splits: "
            "raise `longest`, `identity` or `distinctness`."
        )

    def _split_of(self, number: int) -> tuple[str, range]:
        """The split of a sequence, and the subfamilies that are its."""
        counts = self._counts or {"train": 1}
        spare, total = self.subfamilies - len(counts), sum(counts.values())
        shares, first, passed = {}, 0, 0
        for place, (name, count) in enumerate(counts.items(), start=1):
            passed += count
            end = place + round(spare * passed / total)
            shares[name] = range(first, end)
            first = end
            if number < passed:
                break
        # The last block is asked for whole: what lies beyond the last sequence is not kept.
        return name, shares[name]

    def _sequences_before(self, seed: int, split: str) -> list[str]:
        """Every sequence of the splits before this one."""
        key = ("before", seed, split)
        if key not in self._cache:
            end = 0
            for name, count in self._counts.items():
                if name == split:
                    break
                end += count
            self._cache[key] = [self.sequence(seed, number)[0] for number in range(end)]
        return self._cache[key]  # type: ignore[return-value]

    def _make_profile(self, seed: int, family: int, subfamily: int) -> Profile:
        # Drawn apart from the sequences, whose random numbers are those of (seed, number).
        common = generator_of(seed, family, 0)
        random = generator_of(seed, family, 1 + subfamily)
        size = len(RESIDUES)
        frequencies = np.exp(self.distinctness * common.standard_normal(size))
        background = frequencies / frequencies.sum()
        greasy = np.array([HYDROPATHY[letter] for letter in RESIDUES])
        greasy = (greasy - greasy.mean()) / greasy.std()
        period = _PERIODS[family % len(_PERIODS)]
        phase = common.uniform(0, 2 * np.pi)
        columns = np.arange(self.columns)
        turns = np.zeros(self.columns) if period is None else np.cos(2 * np.pi * columns / period + phase)
        pattern = background * np.exp(2 * self.distinctness * turns[:, None] * greasy)
        pattern /= pattern.sum(axis=1, keepdims=True)
        consensus = np.array([_place(np.cumsum(row), random.random()) for row in pattern])
        kept = random.beta(4 * self.conservation, 4 * (1 - self.conservation), self.columns)
        start = int(common.integers(self.columns - self.motif + 1))
        motif = common.choice(size, size=self.motif, replace=False)
        consensus[start : start + self.motif] = motif
        kept[start : start + self.motif] = 0.95
        emissions = (1 - kept)[:, None] * pattern
        emissions[columns, consensus] += kept
        return Profile(emissions, background)


def _place(ends: NDArray[np.float64], number: float) -> int:
    """The stretch of a cumulative distribution that a number in [0, 1) falls into."""
    return min(int(np.searchsorted(ends, number * ends[-1], side="right")), len(ends) - 1)
