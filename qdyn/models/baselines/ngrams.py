"""N-grams that know the tags in front of a sequence: what counting can do where a condition is told."""

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
from qdyn.models.baselines.common import Baseline, Training, batches, not_fitted, validation_part
from qdyn.models.baselines.tokens import check_tokens

# Contexts are numbers below 2^63 for vocabularies below 2^16 words.
_COMBINATIONS = 1 << 31
_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}
_PSEUDO_COUNTS = tuple(2.0**power for power in range(-4, 13))


@dataclass(frozen=True)
class _Level:
    """What followed each context that was met: contexts sorted, probabilities (contexts, D)."""

    contexts: Int64[Tensor, " contexts"]
    probabilities: Float[Tensor, "contexts words"]

    def found(self, contexts: Tensor, otherwise: Tensor) -> Tensor:
        """The distribution after each context; that of the level below where it was never met."""
        place = torch.searchsorted(self.contexts, contexts).clamp_max(len(self.contexts) - 1)
        met = self.contexts[place] == contexts
        return torch.where(met[..., None], self.probabilities[place], otherwise)


Fitted = TypeVar("Fitted", bound="TaggedNGram")


class TaggedNGram(Baseline):
    r"""The frequency of each token after the last n - 1 and after the tags seen so far.

    With h = (g, k_1, ..., k_m) a context of m tokens and the combination g of tags, and h' the same without
    its earliest token (without g where there is none),

    $$p(l \mid h) = \frac{n_{hl} + s_m\,p(l \mid h')}{n_h + s_m}, \qquad p(l) = \frac{n_l + s/D}{n + s},$$

    so that a context seldom met falls back on a shorter one. Tags are words ``<key=value>``: see
    `qdyn.data.tags`. On data without tags this is a plain n-gram.

    Args:
        order: n, in {1, 2, 3}: unigram, bigram, trigram.
        pseudo_counts: s > 0 of every level; None takes for each level the power of 2 that makes the
            validation split most probable, or, where there is none, the training split, each of its tokens
            left out in turn.

    Source: D. J. C. MacKay, L. C. Bauman Peto, Nat. Lang. Eng. 1, 289 (1995).

    Example: after the tag x there are a's only, after y b's.

        >>> from qdyn.data.sequences import SequenceDataset
        >>> data = SequenceDataset.from_arrays(
        ...     torch.tensor([[0, 3, 1, 1], [0, 4, 2, 2]]), kind="token",
        ...     vocabulary=["<s>", "a", "b", "<kind=x>", "<kind=y>"])
        >>> counted = TaggedNGram(1, pseudo_counts=0.01).fit(data)
        >>> counted.label, counted.predict(torch.tensor([0, 4])).round(decimals=2).tolist()
        ('Unigram, given the tag', [0.0, 0.0, 1.0, 0.0, 0.0])
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, order: int, *, pseudo_counts: float | None = None) -> None:
        self.order = check_integer("order", order, minimum=1, maximum=3)
        self.pseudo_counts = None if pseudo_counts is None else check_positive("pseudo_counts", pseudo_counts)
        self.name = f"{_NAMES[order]}+tag"
        self.label = f"{_NAMES[order].capitalize()}, given the tag"
        self._tags: tuple[int, ...] = ()
        self._size = 0
        self._levels: list[_Level] = []
        self._validation: SequenceDataset | None = None

    @property
    def n_parameters(self) -> int:
        """D - 1 free probabilities for each of the longest contexts that were met."""
        return len(self._levels[-1].contexts) * (self._size - 1) if self._levels else 0

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split of ``dataset``, and its pseudo-counts from the validation split."""
        self._validation = validation_part(dataset)
        return super().fit(dataset)

    def _learn(self, dataset: SequenceDataset) -> None:
        self._size = dataset.metadata.dimension
        self._tags = tag_numbers(dataset.metadata.vocabulary)
        if not self._tags:
            self.label = _NAMES[self.order].capitalize()
        parts: list[list[Tensor]] = [[] for _ in range(self.order + 1)]
        targets = []
        for batch in batches(dataset):
            targets.append(batch.targets[batch.mask])
            for part, contexts in zip(parts, self._contexts(batch.inputs), strict=True):
                part.append(contexts[batch.mask])
        self._levels = []
        for part in parts:
            contexts, place = torch.unique(torch.cat(part), return_inverse=True)
            counts = torch.zeros(len(contexts), self._size, dtype=torch.float64)
            counts.index_put_(
                (place, torch.cat(targets)), torch.ones((), dtype=counts.dtype), accumulate=True
            )
            self._levels.append(_Level(contexts, self._smoothed(contexts, counts)))

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The distribution (..., T, D) after each token of ``inputs`` (..., T); ``mask`` has no effect."""
        if not self._levels:
            raise not_fitted(self)
        check_tokens(inputs, self._size)
        return self._after(list(self._contexts(inputs)))

    def _after(self, contexts: list[Tensor]) -> Tensor:
        found = torch.full((*contexts[0].shape, self._size), 1 / self._size, dtype=torch.float64)
        for level, codes in zip(self._levels, contexts, strict=False):
            found = level.found(codes, found)
        return found

    def _contexts(self, inputs: Tensor) -> Iterator[Tensor]:
        """Numbers of the contexts of each step, from the shortest on: none, tags, tags and last token, ..."""
        yield torch.zeros_like(inputs)
        base = self._size + 1
        is_tag = torch.isin(inputs, torch.tensor(self._tags, dtype=inputs.dtype))
        code = torch.zeros_like(inputs)
        running = torch.zeros_like(inputs[..., 0])
        for step in range(inputs.shape[-1]):
            longer = (running * base + inputs[..., step] + 1) % _COMBINATIONS
            running = torch.where(is_tag[..., step], longer, running)
            code[..., step] = running
        yield code
        for back in range(self.order - 1):
            # Before the beginning stands a token of its own.
            before = torch.full_like(inputs, self._size)
            before[..., back:] = inputs[..., : inputs.shape[-1] - back]
            code = code * base + before
            yield code

    def _below(self, contexts: Tensor) -> Tensor:
        """The distribution of the next shorter context of each of ``contexts``."""
        if not self._levels:
            return torch.full((len(contexts), self._size), 1 / self._size, dtype=torch.float64)
        # A context is the shorter one, times the base, plus one token more; without tokens there is one.
        level = self._levels[-1]
        shorter = contexts // (self._size + 1) if len(self._levels) > 1 else torch.zeros_like(contexts)
        return level.found(shorter, level.probabilities[:1])

    def _smoothed(self, contexts: Tensor, counts: Tensor) -> Tensor:
        """The distribution of each context of the level that comes next."""
        totals, below = counts.sum(dim=1, keepdim=True), self._below(contexts)

        def smoothed(strength: float) -> Tensor:
            return (counts + strength * below) / (totals + strength)

        if self.pseudo_counts is not None:
            return smoothed(self.pseudo_counts)
        if self._validation is None:
            return smoothed(min(_PSEUDO_COUNTS, key=lambda s: left_out_surprise(counts, below, s)))
        held_out = [self._held_out(batch) for batch in batches(self._validation)]

        def surprise(strength: float) -> float:
            level = _Level(contexts, smoothed(strength))
            return -sum(
                float(level.found(codes, shorter).gather(-1, targets[:, None]).clamp_min(1e-300).log().sum())
                for codes, shorter, targets in held_out
            )

        return smoothed(min(_PSEUDO_COUNTS, key=surprise))

    def _held_out(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Contexts of the next level, forecasts of those before it, and targets, where a step exists."""
        contexts = list(self._contexts(batch.inputs))
        level = len(self._levels)
        return contexts[level][batch.mask], self._after(contexts)[batch.mask], batch.targets[batch.mask]


def left_out_surprise(
    counts: Float[Tensor, "contexts words"], below: Float[Tensor, "contexts words"], strength: float
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
