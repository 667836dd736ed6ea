"""Recipes: a short YAML file that says everything about how a dataset is made.

======================  ====================================================================================
key                     what
======================  ====================================================================================
``name``                letters, digits, ``.``, ``-`` and ``_``
``description``         one line
``source``              what makes the sequences: see `qdyn.data.source.source_names`
``seed``                one integer; sequence i depends on it and on i alone
``splits``              sequences in ``train``, ``validation`` and ``test``, in that order
``phase_convention``    how states are shown: ``raw`` or ``first_real``; states are stored as they evolved
``precision``           ``single`` or ``double``: how numbers are stored
``parameters``          the source's own
======================  ====================================================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qdyn.config import build, read_yaml, to_mapping
from qdyn.data.backing import SPLITS
from qdyn.data.source import Precision, Source, source_class
from qdyn.errors import ArgumentError, ConfigError, nearest
from qdyn.hdf5 import SCHEMA_VERSION
from qdyn.shipped import find_yaml


@dataclass(frozen=True)
class Recipe:
    """How a dataset is made; the fields are the keys of the YAML file."""

    name: str
    source: str
    seed: int
    splits: Mapping[str, int]
    parameters: Mapping[str, Any]
    description: str = ""
    phase_convention: Literal["raw", "first_real"] | None = None
    precision: Precision = "single"
    where: str = field(default="", init=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ConfigError(f"`name` must be of letters, digits, '.', '-' and '_', but is {self.name!r}.")
        if self.seed < 0:
            raise ConfigError(f"`seed` must be an integer >= 0, but is {self.seed}.")
        for name, count in self.splits.items():
            if name not in SPLITS:
                raise ConfigError(f"`splits` has the unknown split {name!r}: {nearest(name, SPLITS)}")
            if count < 0:
                raise ConfigError(f"`splits.{name}` must be an integer >= 0, but is {count}.")
        if self.count < 1:
            raise ConfigError("`splits` must hold at least one sequence.")

    @property
    def count(self) -> int:
        """Sequences in all splits."""
        return sum(self.splits.values())

    @property
    def split_ranges(self) -> dict[str, tuple[int, int]]:
        """The range of sequence numbers of each split: train first, then validation, then test."""
        ranges, begin = {}, 0
        for name in SPLITS:
            if name in self.splits:
                ranges[name] = (begin, begin + self.splits[name])
                begin += self.splits[name]
        return ranges

    def make_source(self) -> Source:
        """The source with this recipe's parameters.

        Raises:
            ConfigError: the source is unknown, or does not understand a parameter.
        """
        where = self.where or f"recipe {self.name}"
        try:
            found = source_class(self.source)
        except ConfigError as problem:
            raise ConfigError(f"{where}: {problem}") from problem
        source = build(found, self.parameters, where=where, key="parameters")
        layout = source.layout(self.precision)
        if (self.phase_convention is not None) != (layout.kind == "quantum_state"):
            need = "needs" if layout.kind == "quantum_state" else "does not take"
            raise ConfigError(f"{where}: the source {self.source!r} {need} a `phase_convention`.")
        limit = source.limit()
        if limit is not None and self.count > limit:
            raise ConfigError(
                f"{where}: `splits` must hold at most {limit} sequences, all there are, "
                f"but hold {self.count}."
            )
        try:
            return source.with_splits(self.splits)
        except ConfigError as problem:
            raise ConfigError(f"{where}: {problem}") from problem

    def resized(self, size: int) -> Recipe:
        """The same recipe for ``size`` sequences, shared out over the splits in the same proportions.

        >>> recipe = Recipe("a", "markov", 0, {"train": 256, "validation": 64, "test": 128}, {})
        >>> recipe.resized(14).splits
        {'train': 8, 'validation': 2, 'test': 4}
        """
        if size < 1:
            raise ArgumentError(f"Argument `size` must be an integer >= 1, but is {size}.")
        shares = {name: size * count / self.count for name, count in self.splits.items()}
        counts = {name: int(share) for name, share in shares.items()}
        by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name])
        for name in by_remainder[: size - sum(counts.values())]:
            counts[name] += 1
        return dataclasses.replace(self, splits=counts)

    def fingerprint(self) -> str:
        """A sha256 over all that decides what the dataset holds, the files that its source reads among it.

        Raises:
            ConfigError: the source is unknown, or does not understand a parameter.
            DatasetError: a file that the source reads cannot be read.
        """
        content = {key: value for key, value in to_mapping(self).items() if key != "description"}
        content["source_version"] = source_class(self.source).version
        content["schema"] = SCHEMA_VERSION
        source = build(source_class(self.source), self.parameters, where=self.where or f"recipe {self.name}")
        # Without files there is no such entry, so that fingerprints of old stay what they were.
        if files := source.file_checksums():
            content["files"] = dict(files)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe that ships under a name, or that a path leads to: a file, or a folder with ``recipe.yaml``.

    Raises:
        ConfigError: unknown name, broken YAML, unknown key, wrong type or value.

    Example:
        >>> read_recipe("tfim-4q").splits
        {'train': 256, 'validation': 64, 'test': 128}
    """
    path = find_yaml("datasets", name_or_path)
    mapping = read_yaml(path)
    if "model" in mapping and "source" not in mapping:
        raise ConfigError(f"{path} is a preset of a model, not a recipe for a dataset: `qdyn train {path}`.")
    recipe = build(Recipe, mapping, where=path)
    object.__setattr__(recipe, "where", str(path))
    recipe.make_source()
    return recipe
