"""Meaning classification: every sentence of a small grammar with a class for each of its starts.

The set after which this is made, MC, has 130 sentences about food or about IT, and was written to be read by
small quantum circuits. Here the grammar stands in the recipe and all of its sentences are enumerated, so
that the splits share no sentence and nothing has to be fetched.

Source: R. Lorenz et al., J. Artif. Intell. Res. 76, 1305 (2023): the set MC.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product

import numpy as np

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, Source
from qdyn.data.tags import LABEL, read_tag, tag
from qdyn.data.text.labelled import encode_labelled
from qdyn.data.text.words import BEGIN, END
from qdyn.errors import ConfigError

_MOST = 100_000


@dataclass(frozen=True)
class MeaningClassification(Source):
    """Labelled sentences ``<s> words </s> <label=class>``, each once, in an order drawn from the seed.

    Args:
        classes: The phrase that sentences of each class are.
        rules: For each phrase its expansions, symbols with spaces between them. A symbol without rules is a
            word. No sentence may belong to two classes, and no phrase may contain itself.
    """

    classes: Mapping[str, str]
    rules: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ConfigError(f"`classes` must hold at least two classes, but holds {len(self.classes)}.")
        for name, start in self.classes.items():
            if start not in self.rules:
                raise ConfigError(f"`classes.{name}` must be a phrase with rules, but is {start!r}.")
            if read_tag(f"<{LABEL}={name}>") is None:
                raise ConfigError(f"`classes` must have names without white space, but has {name!r}.")
        for phrase, expansions in self.rules.items():
            if not expansions or not all(expansion.split() for expansion in expansions):
                raise ConfigError(f"`rules.{phrase}` must hold expansions, none of them empty.")
        if any(word in (BEGIN, END) or read_tag(word) for word in self._words):
            raise ConfigError("`rules` must not contain the words that frame a sentence, nor labels.")
        (sentence, times), *_ = Counter(words for words, _ in self.sentences).most_common(1)
        if times > 1:
            raise ConfigError(f"`rules` must give each sentence once, but give {' '.join(sentence)!r} twice.")

    @cached_property
    def sentences(self) -> tuple[tuple[tuple[str, ...], str], ...]:
        """Every sentence with its class, in the order of the grammar."""
        known: dict[str, list[tuple[str, ...]]] = {}
        found = [
            (words, name)
            for name, start in self.classes.items()
            for words in self._expanded(start, (), known)
        ]
        if len(found) > _MOST:
            raise ConfigError(f"`rules` must give at most {_MOST} sentences.")
        return tuple(found)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Frame, words in order of appearance, labels."""
        return (BEGIN, END, *self._words, *(tag(LABEL, name) for name in self.classes))

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return Layout(
            kind="token",
            dimension=len(self.vocabulary),
            length=max(len(words) for words, _ in self.sentences) + 3,
            dtype="int32",
            vocabulary=self.vocabulary,
            variable=True,
        )

    def limit(self) -> int:
        """See `Source.limit`."""
        return len(self.sentences)

    def block_size(self) -> int:
        """See `Source.block_size`."""
        return 256

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`; after the last sentence the first ones come again."""
        order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(self.sentences))
        chosen = [
            self.sentences[place] for place in np.take(order, np.arange(first, first + count), mode="wrap")
        ]
        tokens, lengths = encode_labelled(
            [words for words, _ in chosen],
            [name for _, name in chosen],
            self.vocabulary,
            length=self.layout(precision).length,
        )
        return Block(tokens.astype(np.int32), lengths=lengths)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        symbols = [word for expansions in self.rules.values() for text in expansions for word in text.split()]
        return tuple(dict.fromkeys(symbol for symbol in symbols if symbol not in self.rules))

    def _expanded(
        self, symbol: str, inside: tuple[str, ...], known: dict[str, list[tuple[str, ...]]]
    ) -> list[tuple[str, ...]]:
        """Every sequence of words that a symbol stands for; those of phrases met before are in ``known``."""
        if symbol in inside:
            raise ConfigError(f"`rules.{symbol}` must not contain itself.")
        if symbol not in self.rules:
            return [(symbol,)]
        if symbol not in known:
            found: list[tuple[str, ...]] = []
            for expansion in self.rules[symbol]:
                parts = [self._expanded(part, (*inside, symbol), known) for part in expansion.split()]
                if len(found) + math.prod(len(part) for part in parts) > _MOST:
                    raise ConfigError(f"`rules` must give at most {_MOST} sentences.")
                found += [tuple(chain.from_iterable(chosen)) for chosen in product(*parts)]
            known[symbol] = found
        return known[symbol]
