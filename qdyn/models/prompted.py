"""A predictor whose sequences begin with given words: generation under a condition, nothing else changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qdyn.checks import check_choice
from qdyn.errors import ArgumentError
from qdyn.models.base import Predictor


class Prompted(Predictor):
    r"""Forecasts given words, one after the other, for the first elements that follow the beginning.

    Step j < k gives word $w_j$ the probability 1; all later steps are those of the predictor. What samples
    sequences from a predictor then samples from $p(x \mid w_1 \dots w_k)$.

    Args:
        predictor: Of tokens, with a vocabulary.
        words: $w_1 \dots w_k$, the words that follow the first element of a sequence.

    Raises:
        ArgumentError: the predictor knows no vocabulary, or a word that is not in it; the nearest is named.

    Example:
        >>> from qdyn.data.sequences import SequenceDataset
        >>> from qdyn.models.baselines import Unigram
        >>> words = ["<s>", "a", "b", "<kind=x>"]
        >>> data = SequenceDataset.from_arrays(torch.tensor([[0, 3, 1, 2]]), kind="token", vocabulary=words)
        >>> told = Prompted(Unigram().fit(data), ["<kind=x>"])
        >>> told.forecast(torch.tensor([0, 3]))[:, 3].round(decimals=2)
        tensor([1.0000, 0.3100], dtype=torch.float64)
    """

    def __init__(self, predictor: Predictor, words: Sequence[str]) -> None:
        self.metadata = predictor.metadata
        vocabulary = self.metadata.vocabulary if self.metadata else None
        if vocabulary is None:
            raise ArgumentError(
                f"Argument `predictor` must know a vocabulary, but {predictor.name} does not."
            )
        for word in words:
            check_choice("words", word, vocabulary)
        self.predictor = predictor
        self.words = tuple(words)
        self.name = predictor.name
        self.label = f"{predictor.label}, given {' '.join(self.words)}"
        self._numbers = torch.tensor([vocabulary.index(word) for word in self.words], dtype=torch.int64)

    def forecast(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """The distribution (..., T, D) after each token of ``inputs`` (..., T)."""
        found = self.predictor.forecast(inputs, mask).clone()
        told = self._numbers[: inputs.shape[-1]].to(found.device)
        found[..., : len(told), :] = torch.nn.functional.one_hot(told, found.shape[-1]).to(found.dtype)
        return found
