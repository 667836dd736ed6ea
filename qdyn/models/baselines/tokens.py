"""Token frequencies: how far one gets without a context, and with a few tokens of it."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.data.sequences import SequenceDataset
from qdyn.errors import ArgumentError
from qdyn.models.baselines.common import Baseline, Training, batches, not_fitted

_NAMES = {1: "unigram", 2: "bigram", 3: "trigram"}


class NGram(Baseline):
    r"""The frequency of each token after the last n - 1, as far as these have been met in training.

    $$p_n(l \mid k_1 \dots k_{n-1}) =
    \frac{c(k_1 \dots k_{n-1}\, l) + s\, p_{n-1}(l \mid k_2 \dots k_{n-1})}{c(k_1 \dots k_{n-1}) + s}$$

    with counts c of the training targets and pseudo-counts s, down to $p_0 = 1/D$ for a vocabulary of D, so
    that a token never met costs much and not everything. A context never met leaves it to the shorter one,
    and at the start of a sequence contexts are as long as what has been seen.

    Args:
        order: n >= 1, the token that is forecast and n - 1 before it.
        pseudo_counts: s > 0.

    Source: D. Jurafsky, J. H. Martin, Speech and Language Processing, 3rd ed. draft, chapter 3; the recursion
    is that of D. J. C. MacKay, L. C. B. Peto, Natural Language Engineering 1, 289 (1995).

    Example: after 2, 0 there was always a 1; after 0 alone, a 1 in two of three cases.
        >>> words = torch.tensor([[1, 2, 0, 1], [2, 0, 1, 0], [0, 2, 1, 2]])
        >>> data = SequenceDataset.from_arrays(words, kind="token", dimension=3)
        >>> trigram = NGram(3, pseudo_counts=1e-6).fit(data)
        >>> trigram.forecast(torch.tensor([[2, 0], [0, 0]])).round(decimals=3)[:, 1, 1]
        tensor([1.0000, 0.6670], dtype=torch.float64)
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})
    training: ClassVar[Training] = "closed form"

    def __init__(self, order: int, *, pseudo_counts: float = 1.0) -> None:
        self.order = check_integer("order", order, minimum=1)
        self.pseudo_counts = check_positive("pseudo_counts", pseudo_counts)
        self.name = _NAMES.get(order, f"{order}-gram")
        self.label = self.name.capitalize()
        # For every length of context: the numbers of those met, increasing, and a distribution after each.
        self._tables: list[tuple[Tensor, Tensor]] | None = None

    @property
    def n_parameters(self) -> int:
        """D - 1 free probabilities for every context met, of every length."""
        return sum(len(table) * (table.shape[1] - 1) for _, table in self._tables or ())

    def _learn(self, dataset: SequenceDataset) -> None:
        size = dataset.metadata.dimension
        if size**self.order > torch.iinfo(torch.int64).max:
            raise ArgumentError(
                f"Argument `order` must be small enough to number {size} words to that power, "
                f"but is {self.order}."
            )
        tables: list[tuple[Tensor, Tensor]] = []
        for length in range(self.order):
            met = [
                (_contexts(batch.inputs, length, size) * size + batch.targets)[:, max(0, length - 1) :][
                    batch.mask[:, max(0, length - 1) :]
                ]
                for batch in batches(dataset)
            ]
            events, counts = torch.unique(torch.cat(met), return_counts=True)
            contexts, rows = torch.unique(events // size, return_inverse=True)
            table = torch.zeros(len(contexts), size, dtype=torch.float64)
            table[rows, events % size] = counts.double()
            shorter = torch.full_like(table, 1 / size)
            if length:
                # Whatever follows a context follows the shorter one too, which has therefore been met.
                before, known = tables[-1]
                shorter = known[torch.searchsorted(before, contexts % size ** (length - 1))]
            total = table.sum(1, keepdim=True) + self.pseudo_counts
            tables.append((contexts, (table + self.pseudo_counts * shorter) / total))
        self._tables = tables

    def forecast(
        self, inputs: Int64[Tensor, "*batch time"], mask: Tensor | None = None
    ) -> Float[Tensor, "*batch time words"]:
        """The distribution (..., T, D) after each token of ``inputs`` (..., T); ``mask`` has no effect.

        Raises:
            ArgumentError: it has not been fitted, or ``inputs`` are no tokens of its vocabulary.
        """
        tables = self._tables
        if tables is None:
            raise not_fitted(self)
        size = tables[0][1].shape[1]
        check_tokens(inputs, size)
        found = tables[0][1][0].expand(*inputs.shape, -1).clone()
        place = torch.arange(inputs.shape[-1])
        for length, (contexts, table) in enumerate(tables[1:], start=1):
            numbers = _contexts(inputs, length, size)
            rows = torch.searchsorted(contexts, numbers).clamp_max(len(contexts) - 1)
            known = (contexts[rows] == numbers) & (place >= length - 1)
            found[known] = table[rows[known]]
        return found


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


def _contexts(inputs: Tensor, length: int, size: int) -> Tensor:
    """The last ``length`` tokens up to each as one number, the latest its last digit; missing ones are 0."""
    numbers = torch.zeros_like(inputs)
    for back in range(min(length, inputs.shape[-1])):
        numbers[..., back:] += inputs[..., : inputs.shape[-1] - back] * size**back
    return numbers


def check_tokens(inputs: Tensor, size: int) -> None:
    """Refuse anything but integers in [0, size)."""
    if inputs.is_floating_point() or inputs.is_complex():
        raise ArgumentError(f"Argument `inputs` must hold tokens (integers), but has dtype {inputs.dtype}.")
    if inputs.numel() and (int(inputs.min()) < 0 or int(inputs.max()) >= size):
        worst = int(inputs.min()) if int(inputs.min()) < 0 else int(inputs.max())
        raise ArgumentError(f"Argument `inputs` must hold tokens in [0, {size}), but one is {worst}.")
