"""Token frequencies: how far one gets without a context, with a few tokens of it, and with tags in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.data.tags import tag_numbers
from qdyn.errors import ArgumentError
from qdyn.models.baselines.common import (
    Baseline,
    Training,
    batches,
    check_tokens,
    not_fitted,
    validation_part,
)

_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
# Combinations of tags that are told apart; contexts are numbers below 2^63.
_COMBINATIONS = 1 << 31
_PSEUDO_COUNTS = tuple(2.0**power for power in range(-4, 13))

Fitted = TypeVar("Fitted", bound="NGram")


@dataclass(frozen=True)
class _Level:
    """What followed each context of one length: contexts sorted, probabilities (contexts, D)."""

    contexts: Int64[Tensor, " contexts"]
    probabilities: Float[Tensor, "contexts words"]

    def found(self, contexts: Tensor, exists: Tensor, otherwise: Tensor) -> Tensor:
        """The distribution after each context; that of the level below where it was never met."""
        place = torch.searchsorted(self.contexts, contexts).clamp_max(len(self.contexts) - 1)
        met = exists & (self.contexts[place] == contexts)
        return torch.where(met[..., None], self.probabilities[place], otherwise)


class NGram(Baseline):
    r"""The frequency of each token after the last n - 1, as far as these have been met in training.

    $$p(l \mid h) = \frac{c(h\, l) + s\, p(l \mid h')}{c(h) + s}$$

    with counts c of the training targets, pseudo-counts s, and h' the context h without its earliest token,
    down to 1/D without any context for a vocabulary of D, so that a token never met costs much and not
    everything. A context never met leaves it to the shorter one, and at the start of a sequence contexts are
    as long as what has been seen. Given the tags, every context but the empty one begins with those seen so
    far; what comes before the empty one is then the tags alone. Tags are words ``<key=value>``: see
    `qdyn.data.tags`.

    Args:
        order: n >= 1, the token that is forecast and n - 1 before it.
        pseudo_counts: s > 0. None takes for each length of context the power of 2 that makes the validation
            split most probable, or, where there is none, the training split, each of its tokens left out in
            turn.
        given_tags: Whether contexts hold the tags in front; without tags in the vocabulary there are none.

    Source: D. Jurafsky, J. H. Martin, Speech and Language Processing, 3rd ed. draft, chapter 3; the recursion
    is that of D. J. C. MacKay, L. C. B. Peto, Natural Language Engineering 1, 289 (1995).

    After 2, 0 there was always a 1; after 0 alone, a 1 in two of three cases. After the tag x there are a's
    only, after y b's.

    Example:
        >>> words = torch.tensor([[1, 2, 0, 1], [2, 0, 1, 0], [0, 2, 1, 2]])
        >>> data = SequenceDataset.from_arrays(words, kind="token", dimension=3)
        >>> trigram = NGram(3, pseudo_counts=1e-6).fit(data)
        >>> trigram.forecast(torch.tensor([[2, 0], [0, 0]])).round(decimals=3)[:, 1, 1]
        tensor([1.0000, 0.6670], dtype=torch.float64)
        >>> tagged = SequenceDataset.from_arrays(
        ...     torch.tensor([[0, 3, 1, 1], [0, 4, 2, 2]]), kind="token",
        ...     vocabulary=["<s>", "a", "b", "<kind=x>", "<kind=y>"])
        >>> counted = NGram(1, pseudo_counts=0.01, given_tags=True).fit(tagged)
        >>> counted.label, counted.predict(torch.tensor([0, 4])).round(decimals=2).tolist()
        ('Unigram, given the tag', [0.0, 0.0, 1.0, 0.0, 0.0])
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, order: int, *, pseudo_counts: float | None = 1.0, given_tags: bool = False) -> None:
        self.order = check_integer("order", order, minimum=1)
        self.pseudo_counts = None if pseudo_counts is None else check_positive("pseudo_counts", pseudo_counts)
        self.given_tags = given_tags
        plain = _NAMES.get(order, f"{order}-gram")
        self.name = f"{plain}+tag" if given_tags else plain
        self.label = f"{plain.capitalize()}, given the tag" if given_tags else plain.capitalize()
        self._tags: tuple[int, ...] = ()
        self._size = 0
        self._levels: list[_Level] = []
        self._validation: SequenceDataset | None = None

    @property
    def n_parameters(self) -> int:
        """D - 1 free probabilities for every context met, of every length."""
        return sum(len(level.contexts) for level in self._levels) * (self._size - 1)

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split of ``dataset``; pseudo-counts, if asked for, from the validation."""
        self._validation = validation_part(dataset)
        return super().fit(dataset)

    def _learn(self, dataset: SequenceDataset) -> None:
        self._size = dataset.metadata.dimension
        self._tags = tag_numbers(dataset.metadata.vocabulary) if self.given_tags else ()
        if self.given_tags and not self._tags:
            self.label = self.label.removesuffix(", given the tag")
        combinations = _COMBINATIONS if self._tags else 1
        if combinations * self._size**self.order > torch.iinfo(torch.int64).max:
            raise ArgumentError(
                f"Argument `order` must be small enough to number {self._size} words to that power, "
                f"but is {self.order}."
            )
        steps = [
            (batch.mask, batch.targets, list(self._contexts(batch.inputs))) for batch in batches(dataset)
        ]
        self._levels = []
        for place in range(len(steps[0][2])):
            chosen = [(mask & contexts[place][1], targets, contexts) for mask, targets, contexts in steps]
            codes = torch.cat([contexts[place][0][own] for own, _, contexts in chosen])
            shorter = torch.cat([contexts[max(0, place - 1)][0][own] for own, _, contexts in chosen])
            targets = torch.cat([targets[own] for own, targets, _ in chosen])
            self._levels.append(self._level(codes, shorter, targets))

    def forecast(
        self, inputs: Int64[Tensor, "*batch time"], mask: Tensor | None = None
    ) -> Float[Tensor, "*batch time words"]:
        """The distribution (..., T, D) after each token of ``inputs`` (..., T); ``mask`` has no effect.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` are no tokens of its vocabulary.
        """
        if not self._levels:
            raise not_fitted(self)
        check_tokens(inputs, self._size)
        return self._after(list(self._contexts(inputs)))

    def _after(self, contexts: list[tuple[Tensor, Tensor]]) -> Tensor:
        """By the levels there are so far, the longest that was met."""
        found = torch.full((*contexts[0][0].shape, self._size), 1 / self._size, dtype=torch.float64)
        for level, (codes, exists) in zip(self._levels, contexts, strict=False):
            found = level.found(codes, exists, found)
        return found

    def _contexts(self, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Number of the context of each step and whether there is one, from the shortest on."""
        always = torch.ones_like(inputs, dtype=torch.bool)
        code = torch.zeros_like(inputs)
        yield code, always
        if self._tags:
            code = self._combinations(inputs)
            yield code, always
        for back in range(min(self.order - 1, inputs.shape[-1])):
            before = torch.zeros_like(inputs)
            before[..., back:] = inputs[..., : inputs.shape[-1] - back]
            code = code * self._size + before
            exists = always.clone()
            exists[..., :back] = False
            yield code, exists

    def _combinations(self, inputs: Tensor) -> Tensor:
        """A number for the tags up to each step."""
        is_tag = torch.isin(inputs, torch.tensor(self._tags, dtype=inputs.dtype))
        code = torch.zeros_like(inputs)
        running = torch.zeros_like(inputs[..., 0])
        for step in range(inputs.shape[-1]):
            longer = (running * (self._size + 1) + inputs[..., step] + 1) % _COMBINATIONS
            running = torch.where(is_tag[..., step], longer, running)
            code[..., step] = running
        return code

    def _level(self, codes: Tensor, shorter: Tensor, targets: Tensor) -> _Level:
        """The next longer contexts, from the context, the shorter one and the target of every step."""
        contexts, place = torch.unique(codes, return_inverse=True)
        counts = torch.zeros(len(contexts), self._size, dtype=torch.float64)
        counts.index_put_((place, targets), torch.ones((), dtype=counts.dtype), accumulate=True)
        below = torch.full((1, self._size), 1 / self._size, dtype=torch.float64)
        if self._levels:
            # Whatever follows a context follows the shorter one too, which has therefore been met.
            parents = torch.empty_like(contexts).index_put_((place,), shorter)
            last = self._levels[-1]
            below = last.probabilities[torch.searchsorted(last.contexts, parents)]
        totals = counts.sum(dim=1, keepdim=True)

        def smoothed(strength: float) -> _Level:
            return _Level(contexts, (counts + strength * below) / (totals + strength))

        if self.pseudo_counts is not None:
            return smoothed(self.pseudo_counts)
        if self._validation is None:
            return smoothed(min(_PSEUDO_COUNTS, key=lambda s: left_out_surprise(counts, below, s)))
        held_out = [self._held_out(batch) for batch in batches(self._validation)]

        def surprise(strength: float) -> float:
            level = smoothed(strength)
            return -sum(
                float(
                    level.found(codes, exists, otherwise)
                    .gather(-1, targets[:, None])
                    .clamp_min(1e-300)
                    .log()
                    .sum()
                )
                for codes, exists, otherwise, targets in held_out
            )

        return smoothed(min(_PSEUDO_COUNTS, key=surprise))

    def _held_out(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Contexts of the next level, forecasts of those before it, and targets, where a step exists."""
        contexts = list(self._contexts(batch.inputs))
        codes, exists = contexts[len(self._levels)]
        own = batch.mask
        return codes[own], exists[own], self._after(contexts)[own], batch.targets[own]


class Unigram(NGram):
    """The frequency of each token among the training targets, whatever came before: `NGram` of order 1.

    Args:
        pseudo_counts: s > 0.
    """

    def __init__(self, *, pseudo_counts: float = 1.0) -> None:
        super().__init__(1, pseudo_counts=pseudo_counts)


class Bigram(NGram):
    """The frequency of each token after the present one among the training transitions: `NGram` of order 2.

    Args:
        pseudo_counts: s > 0.
    """

    def __init__(self, *, pseudo_counts: float = 1.0) -> None:
        super().__init__(2, pseudo_counts=pseudo_counts)


def left_out_surprise(
    counts: Float[Tensor, "contexts words"], below: Float[Tensor, "#contexts words"], strength: float
) -> float:
    """-sum log p of every token, each forecast from the counts of all others.

    Args:
        counts: How often each word followed each context.
        below: The distribution that pseudo-counts are spread as, (contexts or 1, words).
        strength: Pseudo-counts s.
    """
    totals = counts.sum(dim=1, keepdim=True)
    # A word that never came counts 0 times, whatever its logarithm.
    p = ((counts - 1).clamp_min(0) + strength * below) / (totals - 1 + strength)
    return -float(torch.where(counts > 0, counts * p.clamp_min(1e-300).log(), 0.0).sum())
