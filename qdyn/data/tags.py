"""Tags: words of the form ``<key=value>`` that say something about a whole sequence.

In front of a sequence a tag is a condition: what follows is forecast knowing it, and a generator is given it.
At the end a tag with the key ``label`` is what a classifier has to forecast from all that stands before it.
Both are words of the vocabulary like any other, so that no model and no file needs to know about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from qdyn.errors import ArgumentError

LABEL = "label"
_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9_-]*)=([^<>=\s]+)>")
_NO_VALUE = re.compile(r"[<>=\s]+")


def tag(key: str, value: str) -> str:
    """The word that says ``key`` is ``value``; what a word cannot hold becomes ``_``.

    Args:
        key: Letters, digits, ``-`` and ``_``, a letter first.
        value: Any text that is not empty.

    Raises:
        ArgumentError: a key of another form, or no value.

    Example:
        >>> tag("family", "zinc finger"), tag("charge", "+")
        ('<family=zinc_finger>', '<charge=+>')
    """
    written = _NO_VALUE.sub("_", value.strip())
    word = f"<{key}={written}>"
    if not _TAG.fullmatch(word):
        raise ArgumentError(
            f"Arguments `key`, `value` must make a tag such as <family=kinase>, but are {key!r}, {value!r}."
        )
    return word


def read_tag(word: str) -> tuple[str, str] | None:
    """Key and value of a tag; None for any other word.

    Example:
        >>> read_tag("<charge=+>"), read_tag("<pad>"), read_tag("K")
        (('charge', '+'), None, None)
    """
    found = _TAG.fullmatch(word)
    return None if found is None else (found[1], found[2])


def tag_numbers(vocabulary: Iterable[str] | None, key: str | None = None) -> tuple[int, ...]:
    """The numbers of the words that are tags, or tags with this key.

    Example:
        >>> tag_numbers(["<s>", "cat", "<label=food>", "<label=IT>"], "label")
        (2, 3)
    """
    return tuple(
        number
        for number, word in enumerate(vocabulary or ())
        if (found := read_tag(word)) is not None and key in (None, found[0])
    )


def label_numbers(vocabulary: Iterable[str] | None) -> tuple[int, ...]:
    """The numbers of the classes of a labelled dataset; () where it has none."""
    return tag_numbers(vocabulary, LABEL)


def label_steps(
    targets: Int[Tensor, "*batch steps"], labels: Sequence[int], mask: Bool[Tensor, "*batch steps"]
) -> Bool[Tensor, "*batch steps"]:
    """The steps at which a label is to be forecast: those that exist and whose target is one.

    Args:
        targets: Token numbers (..., T).
        labels: See `label_numbers`.
        mask: (..., T), True where the step exists.

    Example:
        >>> label_steps(torch.tensor([[4, 1, 7, 0]]), (7, 8), torch.tensor([[True, True, True, False]]))
        tensor([[False, False,  True, False]])
    """
    # Not torch.isin, which has no rule for seeds side by side.
    numbers = torch.tensor(tuple(labels), dtype=targets.dtype, device=targets.device)
    return mask & (targets[..., None] == numbers).any(dim=-1)


def given_one_of(
    logits: Float[Tensor, "*steps words"], numbers: Sequence[int]
) -> Float[Tensor, "*steps words"]:
    """Logits of the same distribution, given that the token is one of a few: -inf for all others.

    Example:
        >>> given_one_of(torch.tensor([0.5, 0.0, 1.0]), (1, 2)).tolist()
        [-inf, 0.0, 1.0]
    """
    closed = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    closed[list(numbers)] = False
    return logits.masked_fill(closed, -torch.inf)


def among(
    distributions: Float[Tensor, "*steps words"], numbers: Sequence[int]
) -> Float[Tensor, "*steps words"]:
    r"""Forecasts of tokens, given that the token is one of a few.

    $$p(l \mid S) = p(l) / \sum_{m \in S} p(m) \text{ for } l \in S, \text{ else } 0.$$

    Where a forecast gives all of them nothing, it is uniform over them.

    Args:
        distributions: (..., D).
        numbers: The tokens of S.

    Example:
        >>> among(torch.tensor([0.5, 0.3, 0.1, 0.1]), (1, 2)).tolist()
        [0.0, 0.75, 0.25, 0.0]
    """
    chosen = torch.zeros(distributions.shape[-1], dtype=torch.bool, device=distributions.device)
    chosen[list(numbers)] = True
    kept = torch.where(chosen, distributions.double(), 0.0)
    total = kept.sum(dim=-1, keepdim=True)
    flat = chosen.double() / len(numbers)
    return torch.where(total > 0, kept / torch.where(total > 0, total, 1.0), flat).to(distributions.dtype)
