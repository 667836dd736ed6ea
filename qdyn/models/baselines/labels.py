"""Classifiers that need no attention: the commonest class, word counts, and logistic regression on them.

They read labelled sentences, whose last element is a label: see `qdyn.data.tags`. After every word they
forecast the label from the words up to it, whose order they do not see.
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

    A subclass learns offsets b and scores s from the counts of words in each sentence. What is no label gets
    probability 0.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self) -> None:
        self.labels: tuple[int, ...] = ()
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
        counts, classes = labelled_counts(dataset)
        self._scores, self._offsets = self._fitted_to(counts, classes)

    @abstractmethod
    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (D, classes) and offsets (classes,) from word counts (N, D) and classes (N,)."""

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The distribution (..., T, D) after each word of ``inputs`` (..., T).

        A word where ``mask`` is False does not count.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` are no tokens of its vocabulary.
        """
        if not self.labels:
            raise not_fitted(self)
        check_tokens(inputs, len(self._scores))
        scores = self._scores[inputs]
        if mask is not None:
            scores = torch.where(mask[..., None], scores, 0.0)
        found = torch.zeros(*inputs.shape, len(self._scores), dtype=torch.float64)
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
    """Logistic regression on the number of times each word stands in a sentence.

    The problem is convex and is solved to its optimum, so there are no seeds and nothing to schedule.

    Args:
        strength: Of the penalty on the weights, > 0: see `qdyn.models.logistic`. None takes the power of 10
            with the least cross-entropy on the validation split, or 0.01 where there is none.
    """

    name = "bag_of_words"
    label = "Bag of words, logistic regression"

    def __init__(self, *, strength: float | None = None) -> None:
        super().__init__()
        self.strength = None if strength is None else check_positive("strength", strength)
        self._validation: SequenceDataset | None = None

    def fit(self: Fitted, dataset: SequenceDataset) -> Fitted:
        """Learn from the training split of ``dataset``, and the strength from its validation split."""
        self._validation = validation_part(dataset)
        return super().fit(dataset)

    def _fitted_to(self, counts: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        def fitted(strength: float) -> tuple[Tensor, Tensor]:
            return logistic_regression(counts, classes, n_classes=len(self.labels), strength=strength)

        if self.strength is not None or self._validation is None:
            return fitted(0.01 if self.strength is None else self.strength)
        words, wanted = labelled_counts(self._validation)

        def surprise(found: tuple[Tensor, Tensor]) -> float:
            return float(torch.nn.functional.cross_entropy(words @ found[0] + found[1], wanted))

        return min((fitted(strength) for strength in _STRENGTHS), key=surprise)


def labelled_counts(
    dataset: SequenceDataset,
) -> tuple[Float[Tensor, "sentences words"], Int64[Tensor, " sentences"]]:
    """How often each word stands before the label of each sentence, and which class that is, from 0."""
    labels = label_numbers(dataset.metadata.vocabulary)
    size = dataset.metadata.dimension
    counts, classes = [], []
    for batch in batches(dataset):
        steps = label_steps(batch.targets, labels, batch.mask)
        # What stands up to the first label, the label itself excluded.
        before = (steps.cumsum(dim=1) - steps.int() == 0) & batch.mask & steps.any(dim=1, keepdim=True)
        rows = torch.zeros(len(steps), size, dtype=torch.float64)
        rows.scatter_add_(1, batch.inputs, before.double())
        labelled = steps.any(dim=1)
        first = steps.int().argmax(dim=1, keepdim=True)
        found = batch.targets.gather(1, first)[:, 0]
        counts.append(rows[labelled])
        classes.append(torch.searchsorted(torch.tensor(labels), found[labelled]))
    return torch.cat(counts), torch.cat(classes)
