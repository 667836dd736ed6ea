"""Token frequencies: how far one gets without a context, and with one token of it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from qdyn.checks import check_positive
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines.common import Baseline, Training, batches, fitted


class Unigram(Baseline):
    r"""The frequency of each token among the training targets, whatever came before.

    $$p(l) = \frac{n_l + s/D}{\sum_m n_m + s}$$

    with $n_l$ the count of token l and s pseudo-counts spread over the vocabulary of D, so that a token never
    met costs much and not everything.

    Args:
        pseudo_counts: s > 0.

    Source: D. Jurafsky, J. H. Martin, Speech and Language Processing, 3rd ed. draft, chapter 3.
    """

    name = "unigram"
    label = "Unigram"
    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, *, pseudo_counts: float = 1.0) -> None:
        self.pseudo_counts = check_positive("pseudo_counts", pseudo_counts)
        self.probabilities: Tensor | None = None

    @property
    def n_parameters(self) -> int:
        """D - 1 free probabilities."""
        return 0 if self.probabilities is None else len(self.probabilities) - 1

    def _learn(self, dataset: SequenceDataset) -> None:
        counts = pair_counts(dataset).sum(dim=0)
        size = dataset.metadata.dimension
        self.probabilities = (counts + self.pseudo_counts / size) / (counts.sum() + self.pseudo_counts)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same distribution (..., T, D) after every token of ``inputs`` (..., T)."""
        probabilities = fitted(self.probabilities, self)
        check_tokens(inputs, len(probabilities))
        return probabilities.expand(*inputs.shape, -1).clone()


class Bigram(Baseline):
    r"""The frequency of each token after the present one among the training transitions.

    $$p(l \mid k) = \frac{n_{kl} + s\,p(l)}{\sum_m n_{km} + s}$$

    with $n_{kl}$ how often l follows k and s pseudo-counts spread as the unigram distribution p(l).

    Args:
        pseudo_counts: s > 0.

    Source: D. J. C. MacKay, L. C. Bauman Peto, Nat. Lang. Eng. 1, 289 (1995): the Dirichlet prior.
    """

    name = "bigram"
    label = "Bigram"
    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, *, pseudo_counts: float = 1.0) -> None:
        self.pseudo_counts = check_positive("pseudo_counts", pseudo_counts)
        self.probabilities: Tensor | None = None

    @property
    def n_parameters(self) -> int:
        """D (D - 1) free probabilities."""
        if self.probabilities is None:
            return 0
        size = len(self.probabilities)
        return size * (size - 1)

    def _learn(self, dataset: SequenceDataset) -> None:
        counts = pair_counts(dataset)
        size = dataset.metadata.dimension
        targets = counts.sum(dim=0)
        unigram = (targets + self.pseudo_counts / size) / (targets.sum() + self.pseudo_counts)
        totals = counts.sum(dim=1, keepdim=True)
        self.probabilities = (counts + self.pseudo_counts * unigram) / (totals + self.pseudo_counts)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The distribution (..., T, D) after each token of ``inputs`` (..., T)."""
        probabilities = fitted(self.probabilities, self)
        check_tokens(inputs, len(probabilities))
        return probabilities[inputs]


def pair_counts(dataset: SequenceDataset) -> Tensor:
    """How often token l follows token k in ``dataset``, (D, D) float64 [k, l]."""
    size = dataset.metadata.dimension
    counts = torch.zeros(size * size, dtype=torch.float64)
    for batch in batches(dataset):
        pairs = batch.inputs[batch.mask] * size + batch.targets[batch.mask]
        counts += torch.bincount(pairs, minlength=size * size)
    return counts.reshape(size, size)


def check_tokens(inputs: Tensor, size: int) -> None:
    """Refuse anything but integers in [0, size)."""
    if inputs.is_floating_point() or inputs.is_complex():
        raise ArgumentError(f"Argument `inputs` must hold tokens (integers), but has dtype {inputs.dtype}.")
    if inputs.numel() and (int(inputs.min()) < 0 or int(inputs.max()) >= size):
        worst = int(inputs.min()) if int(inputs.min()) < 0 else int(inputs.max())
        raise ArgumentError(f"Argument `inputs` must hold tokens in [0, {size}), but one is {worst}.")
