r"""Sequences of tokens drawn from a predictor, element by element.

With logits $z_l = \log p_l$ of the next word l, one is drawn from

$$p_l(\tau, k) \propto e^{z_l / \tau} \quad\text{for the } k \text{ most probable words},$$

until the word that ends a sequence comes, or its longest length is reached. Temperature $\tau = 1$ with every
word draws from the model itself; lower temperatures and few words draw what it holds for most likely, at the
cost of variety.

**Sequence n of a seed is always the same.** Its random numbers are those of
``SeedSequence(seed, spawn_key=(n,))``, and it is computed in a block of `BLOCK` sequences at a place of its
own, whatever is asked for: neither the number of sequences nor of workers changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.data import smiles
from qdyn.data.proteins import amino_acids
from qdyn.data.sequences import SequenceMetadata
from qdyn.data.source import generator_of
from qdyn.data.text import words as text
from qdyn.errors import ArgumentError
from qdyn.models.base import Predictor
from qdyn.models.dropout import evaluating
from qdyn.processors import torch_threads

BLOCK = 512
_FRAMES = (
    (smiles.BEGIN, smiles.END, ""),
    (text.BEGIN, text.END, " "),
    (amino_acids.BEGIN, amino_acids.END, ""),
)
_TINY = 1e-300


class Continuation(Protocol):
    """Some sequences that grow by one word at a time."""

    def step(self, words: Int64[Tensor, " rows"]) -> Float[Tensor, "rows words"]:
        """Take one more word of each sequence, and give the logits of the next, up to a constant each."""

    def keep(self, rows: Int64[Tensor, " kept"]) -> None:
        """Go on with these sequences alone."""


@runtime_checkable
class Incremental(Protocol):
    """A predictor that need not see the elements before anew at every step."""

    def continuations(
        self, conditions: Float[Tensor, " conditions"] | None
    ) -> Callable[[int], Continuation] | None:
        """From a number of sequences to their beginning; None where nothing can be kept between steps."""


@dataclass(frozen=True)
class Frame:
    """The words that a vocabulary begins and ends a sequence with, as numbers, and what joins its words."""

    begin: int
    end: int
    joint: str

    @classmethod
    def of(cls, metadata: SequenceMetadata | None) -> Frame:
        """The frame of data of kind "token".

        Raises:
            ArgumentError: the data are no tokens, or their vocabulary has no such words.

        Example:
            >>> Frame.of(SequenceMetadata("x", "token", 4, vocabulary=("a", "<s>", "</s>", "b")))
            Frame(begin=1, end=2, joint=' ')
        """
        if metadata is None or metadata.kind != "token":
            found = None if metadata is None else metadata.kind
            raise ArgumentError(f"Argument `predictor` must forecast tokens to draw some, not {found!r}.")
        words = list(metadata.vocabulary or ())
        for begin, end, joint in _FRAMES:
            if begin in words and end in words:
                return cls(words.index(begin), words.index(end), joint)
        pairs = " or ".join(f"{begin} and {end}" for begin, end, _ in _FRAMES)
        raise ArgumentError(
            f"Argument `predictor` must know the words {pairs}, which begin and end a sequence, but the "
            f"vocabulary of {metadata.name!r} lacks them."
        )


def sample_sequences(
    predictor: Predictor,
    count: int,
    *,
    elements: int,
    conditions: Float[Tensor, " conditions"] | Float[np.ndarray, " conditions"] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    workers: int = 1,
    cached: bool = True,
    progress: bool = False,
) -> Int64[Tensor, "count elements"]:
    """Draw sequences of words from nothing but the word that begins them.

    Args:
        predictor: Of tokens, whose vocabulary has words that begin and end a sequence: [CLS] and [EOS], <s>
            and </s>, or <bos> and <eos>.
        count: How many, >= 0.
        elements: Of the longest sequence, >= 2, the first and the last word included. What has not ended by
            then ends there.
        conditions: Raw values, the same for every sequence, for a predictor that is told conditions.
        temperature: tau > 0.
        top_k: How many of the most probable words may come, >= 1; equals of the last of them may too. None:
            all.
        seed: Of all random numbers.
        workers: Threads that draw blocks of sequences, >= 1.
        cached: Whether to keep what attention needs of the elements before, where the predictor can; the
            numbers are the same up to rounding.
        progress: Show a bar.

    Returns:
        Numbers of words, on the CPU; after the end of a sequence its last word repeats.

    Raises:
        ArgumentError: an argument out of range, a predictor without words that begin and end a sequence, or
            conditions that do not fit.

    Example:
        >>> from qdyn.models.hybrid_decoder.decoder import HybridDecoder
        >>> from qdyn.models.hybrid_decoder.config import HybridDecoderConfig
        >>> words = smiles.SmilesVocabulary.of_qm9().words
        >>> data = SequenceMetadata("qm9", "token", len(words), vocabulary=words)
        >>> decoder = HybridDecoder(HybridDecoderConfig(), data)
        >>> three = sample_sequences(decoder, 3, elements=24, seed=1)
        >>> ten = sample_sequences(decoder, 10, elements=24, seed=1, workers=2)
        >>> three.shape, bool((three == ten[:3]).all())
        (torch.Size([3, 24]), True)
    """
    check_integer("count", count, minimum=0)
    check_integer("elements", elements, minimum=2)
    check_integer("workers", workers, minimum=1)
    check_integer("seed", seed, minimum=0)
    check_positive("temperature", temperature)
    frame = Frame.of(predictor.metadata)
    if top_k is not None:
        check_integer("top_k", top_k, minimum=1)
    told = None if conditions is None else torch.as_tensor(conditions, dtype=torch.float64)
    begin = _beginning(predictor, told, cached=cached)
    law = _Law(frame, elements, temperature, top_k, seed)
    found = np.full((count, elements), frame.end, dtype=np.int64)

    def draw(first: int) -> int:
        stop = min(count, first + BLOCK)
        # The last block is computed whole: a sequence must not depend on how many there are.
        with torch.no_grad():
            found[first:stop] = _block(begin, law, first)[: stop - first]
        return stop - first

    with torch_threads(1), evaluating(predictor), _bar(count, shown=progress) as bar:
        firsts = range(0, count, BLOCK)
        if workers == 1:
            for first in firsts:
                bar.update(draw(first))
        else:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for drawn in pool.map(draw, firsts):
                    bar.update(drawn)
    return torch.from_numpy(found)


def strings_of(metadata: SequenceMetadata, sequences: Int64[Tensor, "count elements"]) -> list[str]:
    """What sequences of words say: SMILES, residues, or sentences, without the words that frame them.

    Example:
        >>> data = SequenceMetadata("x", "token", 4, vocabulary=("a", "<s>", "</s>", "b"))
        >>> strings_of(data, torch.tensor([[1, 0, 3, 2], [1, 3, 2, 2]]))
        ['a b', 'b']
    """
    frame, words = Frame.of(metadata), metadata.vocabulary or ()
    if amino_acids.is_protein_vocabulary(words):
        return amino_acids.residues_of(sequences, words)
    if frame.joint == "":
        return smiles.SmilesVocabulary(words, max(3, sequences.shape[1])).decode(sequences)
    said = []
    for row in sequences.tolist():
        stop = row.index(frame.end) if frame.end in row else len(row)
        said.append(frame.joint.join(words[number] for number in row[:stop] if number != frame.begin))
    return said


@dataclass(frozen=True)
class _Law:
    """How words are drawn: from the beginning of a sequence to its end, and by which random numbers."""

    frame: Frame
    elements: int
    temperature: float
    top_k: int | None
    seed: int


class _WholePrefix:
    """Sequences of a predictor that sees every element anew at every step."""

    def __init__(self, predictor: Predictor, conditions: Tensor | None, rows: int) -> None:
        self._predictor = predictor
        self._conditions = conditions
        self._seen = torch.zeros(rows, 0, dtype=torch.int64, device=_device_of(predictor))

    def step(self, words: Tensor) -> Tensor:
        self._seen = torch.cat([self._seen, words.to(self._seen.device)[:, None]], dim=1)
        options = {}
        if self._conditions is not None:
            options["conditions"] = self._conditions.to(self._seen.device).expand(len(words), -1)
        return self._predictor.forecast(self._seen, **options)[:, -1].double().clamp_min(_TINY).log()

    def keep(self, rows: Tensor) -> None:
        self._seen = self._seen[rows.to(self._seen.device)]


def _beginning(
    predictor: Predictor, conditions: Tensor | None, *, cached: bool
) -> Callable[[int], Continuation]:
    if isinstance(predictor, Incremental):
        # Asked also when nothing is to be kept: it refuses conditions that do not fit.
        begin = predictor.continuations(conditions)
        if cached and begin is not None:
            return begin
    elif conditions is not None and not getattr(getattr(predictor, "config", None), "conditions", ()):
        raise ArgumentError("Argument `conditions` must be None for a predictor that is told none.")
    return lambda rows: _WholePrefix(predictor, conditions, rows)


def _block(begin: Callable[[int], Continuation], law: _Law, first: int) -> np.ndarray:
    """The sequences ``first`` ... ``first + BLOCK - 1``."""
    end, steps = law.frame.end, law.elements - 1
    draws = np.stack([generator_of(law.seed, first + row).random(steps) for row in range(BLOCK)])
    found = np.full((BLOCK, law.elements), end, dtype=np.int64)
    found[:, 0] = law.frame.begin
    held = np.arange(BLOCK)
    sequences = begin(BLOCK)
    for step in range(steps):
        logits = sequences.step(torch.from_numpy(found[held, step])).double().cpu()
        # The largest becomes 0, so that no temperature makes an infinity of it.
        scaled = (logits - logits.amax(1, keepdim=True)) / law.temperature
        words = _drawn(scaled, torch.from_numpy(draws[held, step]), law.top_k).numpy()
        words[found[held, step] == end] = end
        found[held, step + 1] = words
        growing = np.flatnonzero(words != end)
        if not len(growing):
            break
        # Sequences that have ended are held until half have, since leaving them out copies the others.
        if len(growing) <= len(held) // 2:
            sequences.keep(torch.from_numpy(growing))
            held = held[growing]
    return found


def _drawn(logits: Tensor, numbers: Tensor, top_k: int | None) -> Tensor:
    """The word in whose stretch of the cumulative distribution each number in [0, 1) falls."""
    if top_k is not None and top_k < logits.shape[1]:
        least = logits.topk(top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    ends = logits.softmax(-1).cumsum(-1)
    # An end that equals the number belongs to the word before: a word of probability 0 is never drawn.
    return (ends <= numbers[:, None] * ends[:, -1:]).sum(-1).clamp_max(logits.shape[1] - 1)


def _device_of(predictor: Predictor) -> torch.device:
    parameters = predictor.parameters() if isinstance(predictor, torch.nn.Module) else iter(())
    return next((one.device for one in parameters), torch.device("cpu"))


def _bar(total: int, *, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc="sampling", unit="sequence", leave=False, disable=not shown)
