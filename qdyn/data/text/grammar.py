"""Sentences from a small context-free grammar, whose exact entropy is known.

The grammar stands in the recipe. A symbol with rules of its own is a phrase; any other is a word. The best
possible mean loss of a next-word forecaster is the entropy of a sentence over its number of steps, which
`Grammar.entropy` computes from the weights, so that a model can be compared with the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qdyn.data.layout import Block, Layout
from qdyn.data.source import Precision, Source, generator_of
from qdyn.errors import ConfigError

_TRIES = 10_000
_PASSES = 100_000


@dataclass(frozen=True)
class SentenceStatistics:
    """Exact averages over sentences that fit.

    Args:
        entropy: of a sentence, in nats.
        steps: mean number of predictions a sentence gives: its words and the end token.
        kept: the share of the grammar's sentences that fit.
    """

    entropy: float
    steps: float
    kept: float

    @property
    def entropy_per_step(self) -> float:
        """The least mean cross-entropy of next-word forecasts, in nats."""
        return self.entropy / self.steps

    @property
    def perplexity(self) -> float:
        """exp(entropy_per_step)."""
        return math.exp(self.entropy_per_step)


@dataclass(frozen=True)
class Grammar(Source):
    """Sentences ``begin w_1 … w_m end``, padded with ``end`` to a common length and masked.

    Args:
        n_steps: predictions the longest sentence gives; it holds up to ``n_steps - 1`` words. A sentence
            that does not fit is drawn again.
        start: the phrase that a sentence is.
        rules: for each phrase its expansions, symbols with spaces between them, and their weights.
        begin: the first token of every sentence.
        end: the last token, and the padding.
    """

    n_steps: int
    start: str
    rules: Mapping[str, Mapping[str, float]]
    begin: str = "<s>"
    end: str = "</s>"

    def __post_init__(self) -> None:
        if self.n_steps < 2:
            raise ConfigError(f"`n_steps` must be an integer >= 2, but is {self.n_steps}.")
        if self.start not in self.rules:
            raise ConfigError(f"`start` must be a phrase with rules, but is {self.start!r}.")
        for phrase, expansions in self.rules.items():
            if not expansions:
                raise ConfigError(f"`rules.{phrase}` must hold at least one expansion.")
            for expansion, weight in expansions.items():
                if weight <= 0:
                    raise ConfigError(
                        f"`rules.{phrase}` must have weights > 0, but {expansion!r} has {weight}."
                    )
                if not expansion.split():
                    raise ConfigError(f"`rules.{phrase}` must not expand to nothing.")
        taken = {self.begin, self.end} & (set(self.rules) | set(self._words))
        if taken or self.begin == self.end:
            raise ConfigError(
                f"`begin` and `end` must be tokens of their own, but are {self.begin!r}, {self.end!r}."
            )
        if self._length_distribution[self.start][0].sum() <= 0:
            raise ConfigError(f"No sentence of the grammar has at most {self.n_steps - 1} words.")

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Begin, end, then the words in order of appearance."""
        return (self.begin, self.end, *self._words)

    def layout(self, precision: Precision) -> Layout:
        """See `Source.layout`."""
        return Layout(
            kind="token",
            dimension=len(self.vocabulary),
            length=self.n_steps + 1,
            dtype="int32",
            vocabulary=self.vocabulary,
            variable=True,
        )

    def block_size(self) -> int:
        """See `Source.block_size`."""
        return 256

    def block(self, *, seed: int, first: int, count: int, precision: Precision) -> Block:
        """See `Source.block`."""
        number = {word: index for index, word in enumerate(self.vocabulary)}
        tokens = np.full((count, self.n_steps + 1), number[self.end], dtype=np.int32)
        lengths = np.empty(count, dtype=np.int64)
        for index in range(count):
            words = self.sentence(generator_of(seed, first + index))
            tokens[index, 0] = number[self.begin]
            tokens[index, 1 : 1 + len(words)] = [number[word] for word in words]
            lengths[index] = len(words) + 2
        return Block(tokens, lengths=lengths)

    def sentence(self, random: np.random.Generator) -> list[str]:
        """The words of one sentence that fits."""
        for _ in range(_TRIES):
            words: list[str] = []
            pending = [self.start]
            # A pending symbol gives at least one word, so a sentence that cannot fit is given up early.
            while pending and len(words) + len(pending) < self.n_steps:
                symbol = pending.pop()
                if symbol in self.rules:
                    expansions, ends = self._choices[symbol]
                    chosen = min(int(np.searchsorted(ends, random.random(), side="right")), len(ends) - 1)
                    pending.extend(reversed(expansions[chosen]))
                else:
                    words.append(symbol)
            if not pending:
                return words
        raise ConfigError(
            f"None of {_TRIES} sentences had at most {self.n_steps - 1} words: raise `n_steps`."
        )

    def entropy(self) -> SentenceStatistics:
        """Exact entropy and length of the sentences that fit, for an unambiguous grammar.

        With P_A(m) the probability that phrase A gives m words and G_A(m) = -sum p log p over the
        derivations that do, both follow from the rules by convolution; keeping only m <= M, with Z = sum P,
        gives the entropy sum G / Z + log Z. A grammar with two derivations of one sentence has less entropy
        than that.
        """
        probability, surprise = self._length_distribution[self.start]
        kept = float(probability.sum())
        words = float((probability * np.arange(len(probability))).sum()) / kept
        return SentenceStatistics(
            entropy=float(surprise.sum()) / kept + math.log(kept), steps=words + 1, kept=kept
        )

    @cached_property
    def _words(self) -> list[str]:
        symbols = [
            symbol for expansions in self.rules.values() for text in expansions for symbol in text.split()
        ]
        return list(dict.fromkeys(symbol for symbol in symbols if symbol not in self.rules))

    @cached_property
    def _choices(self) -> dict[str, tuple[list[list[str]], np.ndarray]]:
        """Expansions of each phrase and their cumulative probabilities."""
        choices = {}
        for phrase, expansions in self.rules.items():
            weights = np.array(list(expansions.values()), dtype=np.float64)
            choices[phrase] = ([text.split() for text in expansions], np.cumsum(weights / weights.sum()))
        return choices

    @cached_property
    def _length_distribution(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """P_A(m) and G_A(m) for m = 0 … n_steps - 1; pass k of the iteration is exact down to depth k."""
        size = self.n_steps
        word = (np.eye(1, size, 1)[0], np.zeros(size))
        found = {phrase: (np.zeros(size), np.zeros(size)) for phrase in self.rules}
        # The depth of a derivation that fits is bounded, unless phrases expand to single phrases in a circle:
        # then the passes converge like a geometric series.
        for _ in range(_PASSES):
            updated = {}
            for phrase, (expansions, ends) in self._choices.items():
                total, surprise = np.zeros(size), np.zeros(size)
                for symbols, share in zip(expansions, np.diff(ends, prepend=0.0), strict=True):
                    p, g = np.eye(1, size, 0)[0] * share, np.eye(1, size, 0)[0] * -share * math.log(share)
                    for symbol in symbols:
                        p_next, g_next = found.get(symbol, word)
                        p, g = (
                            np.convolve(p, p_next)[:size],
                            (np.convolve(g, p_next) + np.convolve(p, g_next))[:size],
                        )
                    total, surprise = total + p, surprise + g
                updated[phrase] = (total, surprise)
            same = all(
                np.array_equal(a, b) for x in updated for a, b in zip(updated[x], found[x], strict=True)
            )
            found = updated
            if same:
                break
        return found
