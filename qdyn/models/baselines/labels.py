"""Classifiers that need no attention: the commonest class, word counts, and logistic regression on them.

They read labelled sentences, whose last element is a label: see `qdyn.data.tags`. After every word they
forecast the label from the words up to it, whose order they do not see, or not beyond neighbours.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.checks import check_positive
from qdyn.data.sequences import SequenceDataset
from qdyn.data.tags import label_numbers, label_steps
from qdyn.errors import DatasetError
from qdyn.models.baselines.common import (
    Baseline,
    Training,
    batches,
    check_tokens,
    not_fitted,
    validation_part,
)
from qdyn.models.logistic import logistic_regression

_STRENGTHS = tuple(10.0**power for power in range(-5, 1))

Fitted = TypeVar("Fitted", bound="BagOfWords")


class LabelBaseline(Baseline):
    r"""Forecasts the label from a score of each word, summed over the words seen.

    $$p(c \mid w_1 \dots w_j) \propto \exp\Big(b_c + \sum_{i \le j} s_{w_i c}\Big)$$

    A subclass learns offsets b and scores s from the counts of words in each sentence, and may count more
    than words. What is no label gets probability 0.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self) -> None:
        self.labels: tuple[int, ...] = ()
        self._size = self._n_counted = 0
        self._scores = torch.zeros(0, 0, dtype=torch.float64)
        self._offsets = torch.zeros(0, dtype=torch.float64)

    @property
    def n_parameters(self) -> int:
        """One number for each word and class, and one for each class, less one class."""
        if not self.labels:
            return 0
        return (int(self._scores.any(dim=1).sum()) + 1) * (len(self.labels) - 1)

    def _learn(self, dataset: SequenceDataset) -> None:
        self.labels = label_numbers(dataset.metadata.vocabulary)
        if len(self.labels) < 2:
            raise DatasetError(
                f"The baseline {self.name} forecasts labels, but the dataset {dataset.metadata.name} has "
                f"{len(self.labels)} of them."
            )
        self._size = self._n_counted = dataset.metadata.dimension
        self._prepare(dataset)
        self._scores, self._offsets = self._fitted_to(*self.labelled_counts(dataset))

    def _prepare(self, dataset: SequenceDataset) -> None:
        """Find what is to be counted beside words."""

    def _counted(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of what each step adds to the counts, (..., T, k), and whether it does."""
        return inputs[..., None], mask[..., None]

    def labelled_counts(
        self, dataset: SequenceDataset
    ) -> tuple[Float[Tensor, "sentences counted"], Int64[Tensor, " sentences"]]:
        """How often what counts stands before the label of each sentence, and its class, from 0."""
        rows, classes = [], []
        for batch in batches(dataset):
            steps = label_steps(batch.targets, self.labels, batch.mask)
            # What stands up to the first label, the label itself excluded.
            before = (steps.cumsum(dim=1) - steps.int() == 0) & batch.mask & steps.any(dim=1, keepdim=True)
            counted, counts = self._counted(batch.inputs, before)
            row = torch.zeros(len(steps), self._n_counted, dtype=torch.float64)
            row.scatter_add_(1, counted.flatten(1), counts.flatten(1).double())
            labelled = steps.any(dim=1)
            first = steps.int().argmax(dim=1, keepdim=True)
            found = batch.targets.gather(1, first)[:, 0]
            rows.append(row[labelled])
            classes.append(torch.searchsorted(torch.tensor(self.labels), found[labelled]))
        return torch.cat(rows), torch.cat(classes)

    @abstractmethod
    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (F, classes) and offsets (classes,) from counts (N, F), words first, and classes (N,)."""

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The distribution (..., T, D) after each word of ``inputs`` (..., T).

        A word where ``mask`` is False does not count.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` are no tokens of its vocabulary.
        """
        if not self.labels:
            raise not_fitted(self)
        check_tokens(inputs, self._size)
        exists = torch.ones_like(inputs, dtype=torch.bool) if mask is None else mask.expand(inputs.shape)
        counted, counts = self._counted(inputs, exists)
        scores = torch.where(counts[..., None], self._scores[counted], 0.0).sum(dim=-2)
        found = torch.zeros(*inputs.shape, self._size, dtype=torch.float64)
        found[..., list(self.labels)] = (scores.cumsum(dim=-2) + self._offsets).softmax(dim=-1)
        return found


class MajorityClass(LabelBaseline):
    r"""The share of each class among the training sentences, whatever the words.

    Example:
        >>> words = ["<s>", "a", "b", "<label=x>", "<label=y>"]
        >>> data = SequenceDataset.from_arrays(
        ...     torch.tensor([[0, 1, 3], [0, 2, 3], [0, 2, 4]]), kind="token", vocabulary=words)
        >>> MajorityClass().fit(data).predict(torch.tensor([0, 2])).round(decimals=3).tolist()
        [0.0, 0.0, 0.0, 0.667, 0.333]
    """

    name = "majority"
    label = "Commonest class"

    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        shares = torch.bincount(classes, minlength=len(self.labels)).double() / len(classes)
        return torch.zeros(counts.shape[1], len(self.labels), dtype=torch.float64), shares.log()


class NaiveBayes(LabelBaseline):
    r"""Words drawn independently, given the class.

    $$s_{wc} = \log \frac{n_{wc} + a}{\sum_v n_{vc} + a D}, \qquad b_c = \log \frac{N_c}{N}$$

    with $n_{wc}$ the count of word w in training sentences of class c, and pseudo-counts a.

    Args:
        pseudo_counts: a > 0.

    Source: A. McCallum, K. Nigam, AAAI-98 workshop on learning for text categorization (1998).

    Example:
        >>> words = ["<s>", "a", "b", "<label=x>", "<label=y>"]
        >>> data = SequenceDataset.from_arrays(
        ...     torch.tensor([[0, 1, 3], [0, 2, 4]]), kind="token", vocabulary=words)
        >>> NaiveBayes().fit(data).predict(torch.tensor([0, 2])).round(decimals=3).tolist()
        [0.0, 0.0, 0.0, 0.333, 0.667]
    """

    name = "naive_bayes"
    label = "Bag of words, naive Bayes"

    def __init__(self, *, pseudo_counts: float = 1.0) -> None:
        super().__init__()
        self.pseudo_counts = check_positive("pseudo_counts", pseudo_counts)

    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        is_class = torch.nn.functional.one_hot(classes, len(self.labels)).double()
        together = counts.T @ is_class + self.pseudo_counts
        return (together / together.sum(dim=0)).log(), (is_class.sum(dim=0) / len(classes)).log()


class BagOfWords(LabelBaseline):
    """Logistic regression on the number of times each word stands in a sentence, and perhaps each pair.

    The problem is convex and is solved to its optimum, so there are no seeds and nothing to schedule.

    Args:
        strength: Of the penalty on the weights, > 0: see `qdyn.models.logistic`. None takes the power of 10
            with the least cross-entropy on the validation split, or 0.01 where there is none.
        pairs: Whether words that stand side by side are counted as well; those never met have no weight.

    Example: which of two words comes first is no matter of counts, but one of neighbours.
        >>> words = ["<s>", "a", "b", "<label=x>", "<label=y>"]
        >>> data = SequenceDataset.from_arrays(
        ...     torch.tensor([[0, 1, 2, 3], [0, 2, 1, 4]]), kind="token", vocabulary=words)
        >>> [bool(BagOfWords(pairs=pairs).fit(data).predict(torch.tensor([0, 1, 2]))[3] > 0.6)
        ...  for pairs in (False, True)]
        [False, True]
    """

    def __init__(self, *, strength: float | None = None, pairs: bool = False) -> None:
        super().__init__()
        self.strength = None if strength is None else check_positive("strength", strength)
        self.pairs = pairs
        self.name = "bag_of_pairs" if pairs else "bag_of_words"
        self.label = f"Bag of words{' and pairs' if pairs else ''}, logistic regression"
        self._met = torch.zeros(0, dtype=torch.int64)
        self._validation: SequenceDataset | None = None

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split of ``dataset``, and the strength from its validation split."""
        self._validation = validation_part(dataset)
        return super().fit(dataset)

    def _prepare(self, dataset: SequenceDataset) -> None:
        if self.pairs:
            met = [self._neighbours(batch.inputs)[:, 1:][batch.mask[:, 1:]] for batch in batches(dataset)]
            self._met = torch.unique(torch.cat(met))
            self._n_counted = self._size + len(self._met)

    def _counted(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        words, exist = super()._counted(inputs, mask)
        if not len(self._met):
            return words, exist
        neighbours = self._neighbours(inputs)
        place = torch.searchsorted(self._met, neighbours).clamp_max(len(self._met) - 1)
        both = (self._met[place] == neighbours) & mask & mask.roll(1, -1)
        both[..., 0] = False
        pairs = (self._size + place)[..., None]
        return torch.cat([words, pairs], -1), torch.cat([exist, both[..., None]], -1)

    def _neighbours(self, inputs: Tensor) -> Tensor:
        """A number for each word and the one before it; for the first one it means nothing."""
        return inputs.roll(1, -1) * self._size + inputs

    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        def fitted(strength: float) -> tuple[Tensor, Tensor]:
            return logistic_regression(counts, classes, n_classes=len(self.labels), strength=strength)

        if self.strength is not None or self._validation is None:
            return fitted(0.01 if self.strength is None else self.strength)
        words, wanted = self.labelled_counts(self._validation)

        def surprise(found: tuple[Tensor, Tensor]) -> float:
            return float(torch.nn.functional.cross_entropy(words @ found[0] + found[1], wanted))

        return min((fitted(strength) for strength in _STRENGTHS), key=surprise)
