"""What makes sequences: the interface of a source, and the registry of those that a recipe may name.

A source makes its sequences in blocks of a fixed size, block k holding sequences ``k * block_size`` and on,
whatever the number of workers and the size of shards: that is why those change no bit. Later sources (time
series, molecules, proteins) register here; nothing else needs to know them.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from qdyn.data.layout import Block, Layout
from qdyn.errors import ConfigError, nearest

Precision = Literal["single", "double"]

_SOURCES: dict[str, str | type[Source]] = {
    "trajectories": "qdyn.data.spins.trajectories:Trajectories",
    "quantum_jumps": "qdyn.data.spins.open_trajectories:QuantumJumps",
    "observables": "qdyn.data.spins.observable_series:ObservableSeries",
    "grammar": "qdyn.data.text.grammar:Grammar",
    "markov": "qdyn.data.markov:MarkovSphere",
    "meaning_classification": "qdyn.data.text.meaning:MeaningClassification",
    "small_molecules": "qdyn.data.molecules.small_molecules:SmallMolecules",
    "protein_families": "qdyn.data.proteins.families:ProteinFamilies",
    "time_series": "qdyn.data.series.source:TimeSeries",
}


class Source(ABC):
    """Makes sequences from the parameters of a recipe, of which its subclasses are frozen dataclasses."""

    #: Raised whenever the same parameters and seed come to give other bits.
    version: ClassVar[int] = 1

    @abstractmethod
    def layout(self, precision: Precision) -> Layout:
        """What the sequences look like."""

    @abstractmethod
    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """Sequences ``first`` to ``first + count - 1``.

        Sequence i may depend on ``seed``, i and the parameters only. Its last bits may also depend on the
        block it is computed in, since `qdyn.data.generation.generate` asks for whole, aligned blocks only.
        """

    def limit(self) -> int | None:
        """How many sequences there are, where they are not drawn at random without end.

        `block` may be asked for more, up to the end of the last block; what it gives there is not kept.
        """
        return None

    def with_splits(self, splits: Mapping[str, int]) -> Source:
        """The source for a recipe with so many sequences in its splits; only splits by time need to know.

        Raises:
            ConfigError: it cannot have so many.
        """
        return self

    def file_checksums(self) -> Mapping[str, str]:
        """The sha256 of each file whose content decides the sequences and that the parameters do not pin.

        They are part of a recipe's `fingerprint`, so that data once made follow a file that changes.

        Raises:
            DatasetError: a file cannot be read.
        """
        return {}

    def block_size(self) -> int:
        """How many sequences are made at a time; depends on the parameters alone."""
        return 64

    def working_bytes(self) -> int:
        """Memory that making one block takes, roughly."""
        return 4 * self.block_size() * self.layout("double").bytes_per_sequence


def register_source(name: str, source: type[Source]) -> None:
    """Let recipes name a source of your own.

    Raises:
        ConfigError: the name is taken by another one.
    """
    known = _SOURCES.get(name)
    if known is not None and known is not source:
        raise ConfigError(f"Argument `name` must be new, but there is a source {name!r} already.")
    _SOURCES[name] = source


def source_names() -> list[str]:
    """The names that a recipe may give as its ``source``."""
    return sorted(_SOURCES)


def source_class(name: str) -> type[Source]:
    """The source called ``name``.

    >>> source_class("grammer")
    Traceback (most recent call last):
    ...
    qdyn.errors.ConfigError: `source` is 'grammer', which is unknown: did you mean 'grammar'?
    """
    if name not in _SOURCES:
        raise ConfigError(f"`source` is {name!r}, which is unknown: {nearest(name, _SOURCES)}")
    found = _SOURCES[name]
    if isinstance(found, str):
        loaded: type[Source] = pkgutil.resolve_name(found)
        return loaded
    return found


def generator_of(seed: int, *place: int) -> np.random.Generator:
    """The random numbers of one sequence: they depend on ``seed`` and ``place`` alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))
