r"""Figures of merit of generated proteins: distributions of words, tags recovered, what is new.

None of them says that a sequence folds. They say how far what was generated can be told from what was learnt,
and how much of it was not simply learnt by heart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from qdyn.checks import check_integer, check_positive
from qdyn.data.proteins.amino_acids import END, RESIDUES, is_protein_vocabulary, residues_of
from qdyn.data.proteins.sequence_identity import nearest_identity
from qdyn.data.sequences import SequenceDataset
from qdyn.data.tags import read_tag
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.molecules.metrics import novelty, uniqueness
from qdyn.evaluation.results import Estimate
from qdyn.models.logistic import logistic_regression

SMOOTHING = 0.5
"""Pseudo-count of every word in a divergence: that of Jeffreys' prior."""


def word_counts(proteins: Sequence[str], length: int) -> Float[np.ndarray, "proteins words"]:
    """How often each word of ``length`` residues stands in each protein.

    Args:
        proteins: N sequences; a word with another letter than the twenty is not counted.
        length: In [1, 3].

    Returns:
        (N, 20^length), words in the order of their letters.

    Example:
        >>> counts = word_counts(["ACCA"], 2)
        >>> counts.shape, counts[0, [0, 1, 20, 21]].tolist()
        ((1, 400), [0.0, 1.0, 1.0, 1.0])
    """
    check_integer("length", length, minimum=1, maximum=3)
    number = {"".join(word): place for place, word in enumerate(product(RESIDUES, repeat=length))}
    counts = np.zeros((len(proteins), len(number)))
    for row, protein in zip(counts, proteins, strict=True):
        for start in range(len(protein) - length + 1):
            place = number.get(protein[start : start + length])
            if place is not None:
                row[place] += 1
    return counts


def word_divergence(
    generated: Sequence[str], reference: Sequence[str], *, length: int, smoothing: float = SMOOTHING
) -> float:
    r"""How far the words of generated proteins are from those of a reference, in nats.

    $$D_k = \sum_w q(w) \log \frac{q(w)}{p(w)}, \qquad q(w) = \frac{n_w + a}{\sum_v n_v + a\,20^k}$$

    with q of the generated words of k residues, p likewise of the reference, and a pseudo-count a of every
    word, without which one word that the reference lacks would make it infinite. It does not vanish for two
    finite samples of one distribution: compare it with that of a held-out split.

    Args:
        generated: Sequences of residues.
        reference: Likewise.
        length: k, in [1, 3].
        smoothing: a > 0.

    Source: S. Kullback, R. A. Leibler, Ann. Math. Stat. 22, 79 (1951).

    Example:
        >>> word_divergence(["ACAC"], ["CACA"], length=1), round(word_divergence(["AA"], ["CC"], length=1), 3)
        (0.0, 0.268)
    """
    check_positive("smoothing", smoothing)
    shares = []
    for name, proteins in (("generated", generated), ("reference", reference)):
        if not len(proteins):
            raise ArgumentError(f"Argument `{name}` must hold at least one sequence.")
        counts = word_counts(proteins, length).sum(axis=0) + smoothing
        shares.append(counts / counts.sum())
    q, p = shares
    return float((q * np.log(q / p)).sum())


class TagClassifier:
    """Tells from the residues alone which tag a protein has: logistic regression on its short words.

    The features are the square roots of the frequencies of the 20 residues and the 400 pairs of neighbours,
    standardised over the training proteins. It is fitted to training proteins alone and knows no generated
    one: an independent judge of whether a tag was obeyed, as good as its own accuracy on held-out proteins.

    Args:
        strength: Of the penalty on the weights, > 0: see `qdyn.models.logistic.logistic_regression`.

    Example:
        >>> judge = TagClassifier().fit(["ACACAC", "CACACA", "WWWKWW", "KWWWKW"], ["x", "x", "y", "y"])
        >>> judge.predict(["ACCACA", "WKWKWW"]), judge.accuracy(["AAAC", "KKWW"], ["x", "x"]).mean
        (['x', 'y'], 0.5)
    """

    def __init__(self, *, strength: float = 0.01) -> None:
        self.strength = check_positive("strength", strength)
        self.tags: tuple[str, ...] = ()
        self._mean = self._scale = torch.zeros(0)
        self._weights = self._offsets = torch.zeros(0)

    def fit(self, proteins: Sequence[str], tags: Sequence[str]) -> TagClassifier:
        """Learn from proteins and the tag of each.

        Raises:
            ArgumentError: fewer than two different tags, or not one for each protein.
        """
        if len(proteins) != len(tags) or len(set(tags)) < 2:
            raise ArgumentError(
                f"Argument `tags` must hold a tag for each of the {len(proteins)} proteins, of at least two "
                f"kinds, but holds {len(tags)} of {len(set(tags))}."
            )
        self.tags = tuple(sorted(set(tags)))
        features = _features(proteins)
        self._mean = features.mean(dim=0)
        self._scale = features.std(dim=0, correction=0).clamp_min(1e-12)
        found = self._standardised(features)
        wanted = torch.tensor([self.tags.index(tag) for tag in tags])
        self._weights, self._offsets = logistic_regression(
            found, wanted, n_classes=len(self.tags), strength=self.strength
        )
        return self

    def predict(self, proteins: Sequence[str]) -> list[str]:
        """The most probable tag of each protein."""
        if not self.tags:
            raise ArgumentError(
                "The classifier must be fitted before it can predict: call fit(proteins, tags)."
            )
        if not len(proteins):
            return []
        scores = self._standardised(_features(proteins)) @ self._weights + self._offsets
        return [self.tags[place] for place in scores.argmax(dim=1).tolist()]

    def accuracy(self, proteins: Sequence[str], tags: Sequence[str | None]) -> Estimate:
        """The share of proteins whose tag it tells."""
        pairs = zip(self.predict(proteins), tags, strict=True)
        return Estimate.of(np.array([[float(found == wanted) for found, wanted in pairs]]))

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self._mean) / self._scale


@dataclass(frozen=True)
class ProteinScores:
    """What was found about generated proteins.

    Shares have standard errors: binomial ones, and those of `qdyn.evaluation.molecules.metrics` for what is
    distinct and novel. These two depend on the number of queries and are not quoted without it.

    Attributes:
        queries: How many sequences were drawn.
        valid: Share of them that ended by itself and holds residues alone after its tags.
        unique: Share of the valid ones that are distinct.
        novel: Share of the distinct ones that are no training protein.
        mean_identity: Mean over the distinct ones of the identity to the nearest training protein.
        tag_recovery: Share of the valid ones with a tag that the independent classifier tells from the
            residues; it knows the tags of the key that was asked for. None without tags, or where unknown.
        classifier_accuracy: Of that classifier on the held-out proteins: the ceiling of ``tag_recovery``.
            None where none of them has such a tag.
        divergence: k -> `word_divergence` of the valid ones from the held-out proteins of their tags; None
            where there are none.
        floor: k -> the same of as many training proteins of these tags, drawn at random: what equally many
            true ones have. None likewise.
        unknown: Name of a field above -> why it is None, or what is missing in it.
    """

    queries: int
    valid: Estimate
    unique: Estimate
    novel: Estimate
    mean_identity: Estimate
    tag_recovery: Estimate | None
    classifier_accuracy: Estimate | None
    divergence: Mapping[int, float] | None
    floor: Mapping[int, float] | None
    unknown: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{self.queries} sequences drawn",
            f"  valid               {self.valid}",
            f"  distinct, of valid  {self.unique}",
            f"  novel, of distinct  {self.novel}",
            f"  identity            {self.mean_identity} to the nearest training protein, on average",
        ]
        if self.tag_recovery is not None:
            ceiling = self._or_unknown("classifier_accuracy", self.classifier_accuracy)
            lines.append(f"  tag recovered       {self.tag_recovery}; of held-out proteins {ceiling}")
        elif "tag_recovery" in self.unknown:
            lines.append(f"  tag recovered       {self._or_unknown('tag_recovery', None)}")
        lines.append(f"  divergence in nats  {self._divergence()}")
        return "\n".join(lines)

    def _divergence(self) -> str:
        if self.divergence is None:
            return self._or_unknown("divergence", None)
        floor = self.floor or {}
        words = ", ".join(
            f"{length}: {value:.4f}" + (f" ({floor[length]:.4f})" if length in floor else "")
            for length, value in self.divergence.items()
        )
        bracket = "in brackets: of as many training proteins" if floor else self.unknown["floor"]
        missing = f"; {self.unknown['divergence']}" if "divergence" in self.unknown else ""
        return f"{words}; {bracket}{missing}"

    def _or_unknown(self, name: str, found: Estimate | None) -> str:
        return f"unknown: {self.unknown[name]}" if found is None else str(found)


def judge_proteins(
    sequences: Int64[Tensor, "count elements"],
    dataset: SequenceDataset,
    *,
    split: str = "test",
    lengths: Sequence[int] = (1, 2),
    smoothing: float = SMOOTHING,
    seed: int = 0,
) -> ProteinScores:
    """Judge generated sequences of tokens beside a dataset of proteins.

    The tag that a sequence should obey is the first one that stands in it, whether it was given or drawn.
    What cannot be told is None, and `ProteinScores.unknown` says why.

    Args:
        sequences: Token numbers (N, elements), ended by ``<eos>``, such as `qdyn.models.sampling` draws.
        dataset: The whole dataset; its training split is what was learnt.
        split: What generated words are compared with.
        lengths: Of words, in [1, 3].
        smoothing: See `word_divergence`.
        seed: Of the training proteins whose divergence is the floor.

    Raises:
        DatasetError: the dataset holds no proteins, or has no such split.
        ArgumentError: no sequence is valid, or an argument is out of range.
    """
    vocabulary = dataset.metadata.vocabulary or ()
    if not is_protein_vocabulary(vocabulary):
        raise DatasetError(f"The dataset {dataset.metadata.name} holds no proteins.")
    train, held_out = _part(dataset, "train"), _part(dataset, split)
    found = [_read(row, vocabulary) for row in sequences.tolist()]
    valid = [one for one in found if one is not None]
    if not valid:
        raise ArgumentError(f"Argument `sequences` holds no valid protein among its {len(found)}.")
    proteins = [protein for protein, _ in valid]
    counts, learnt = Counter(proteins), set(train.proteins)
    distinct = sorted(counts)
    once = [protein not in learnt for protein in distinct if counts[protein] == 1]
    unknown: dict[str, str] = {}
    recovery, accuracy = _recovery(valid, train, held_out, unknown)
    # Of those that were asked for, where not every tag was.
    asked = {word for _, word in valid}
    expected, alike = held_out.of(asked), train.of(asked)
    missing = sorted(word for word in asked if word is not None and not held_out.of({word}))
    if missing:
        unknown["divergence"] = f"no held-out protein has the tag {' or '.join(missing)}"
    elif not expected:
        unknown["divergence"] = "every held-out protein has a tag, and no generated one has"
    if not alike:
        unknown["floor"] = "no training protein has these tags"
    random = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = [alike[place] for place in random.choice(len(alike), size=len(proteins))] if alike else []
    return ProteinScores(
        queries=len(found),
        valid=Estimate.of(np.array([[float(one is not None) for one in found]])),
        unique=uniqueness(len(valid), len(distinct), len(once)),
        novel=novelty(len(valid), len(distinct), len(set(distinct) - learnt), once),
        mean_identity=Estimate.of(nearest_identity(distinct, train.proteins)[None]),
        tag_recovery=recovery,
        classifier_accuracy=accuracy,
        divergence=_divergences(proteins, expected, lengths, smoothing),
        floor=_divergences(drawn, expected, lengths, smoothing),
        unknown=unknown,
    )


def _recovery(
    valid: Sequence[tuple[str, str | None]], train: _Known, held_out: _Known, unknown: dict[str, str]
) -> tuple[Estimate | None, Estimate | None]:
    """How often the tag is told from the residues, of generated and of held-out proteins; why not goes along.

    A classifier knows the tags of one key: those of another it could never name.
    """
    tagged = [(protein, word) for protein, word in valid if word is not None]
    keys = sorted({_key(word) for _, word in tagged})
    if len(keys) != 1:
        if keys:
            unknown["tag_recovery"] = f"the sequences begin with tags of several keys, {', '.join(keys)}"
        elif any(train.tags):
            unknown["tag_recovery"] = "no valid sequence has a tag"
        return None, None
    learnt = train.with_key(keys[0])
    known = {word for _, word in learnt}
    strange = sorted({word for _, word in tagged} - known)
    if len(known) < 2 or strange:
        unknown["tag_recovery"] = (
            f"no training protein has the tag {' or '.join(strange)}"
            if strange
            else f"all training proteins have the same {keys[0]}"
        )
        return None, None
    judge = TagClassifier().fit([one for one, _ in learnt], [word for _, word in learnt])
    ceiling = held_out.with_key(keys[0])
    accuracy = None
    if ceiling:
        accuracy = judge.accuracy([one for one, _ in ceiling], [word for _, word in ceiling])
    else:
        unknown["classifier_accuracy"] = f"none of them has a tag <{keys[0]}=...>"
    return judge.accuracy([one for one, _ in tagged], [word for _, word in tagged]), accuracy


@dataclass(frozen=True)
class _Known:
    proteins: list[str]
    tags: list[tuple[str, ...]]

    def of(self, tags: set[str | None]) -> list[str]:
        """The proteins that have one of these tags; None stands for having no tag."""
        return [
            one
            for one, words in zip(self.proteins, self.tags, strict=True)
            if tags.intersection(words or (None,))
        ]

    def with_key(self, key: str) -> list[tuple[str, str]]:
        """The proteins that have a tag with this key, and the first such tag."""
        return [
            (one, found[0])
            for one, words in zip(self.proteins, self.tags, strict=True)
            if (found := [word for word in words if _key(word) == key])
        ]


def _part(dataset: SequenceDataset, split: str) -> _Known:
    tokens = dataset.split(split).sequences()
    words = dataset.metadata.vocabulary or ()
    tags = [tuple(words[n] for n in row if read_tag(words[n])) for row in tokens.tolist()]
    return _Known(residues_of(tokens, words), tags)


def _key(word: str) -> str:
    """The key of a tag."""
    found = read_tag(word)
    assert found is not None
    return found[0]


def _read(row: list[int], vocabulary: Sequence[str]) -> tuple[str, str | None] | None:
    """Residues and first tag of a generated row; None where it did not end, or holds anything else."""
    words = [vocabulary[number] for number in row[1:]]
    if END not in words:
        return None
    said = words[: words.index(END)]
    tags = [word for word in said if read_tag(word)]
    rest = said[len(tags) :]
    # Tags behind the first residue are no tags in front.
    if said[: len(tags)] != tags or not rest or any(len(word) > 1 for word in rest):
        return None
    return "".join(rest), tags[0] if tags else None


def _divergences(
    proteins: Sequence[str], reference: Sequence[str], lengths: Sequence[int], smoothing: float
) -> dict[int, float] | None:
    if not proteins or not reference:
        return None
    return {
        length: word_divergence(proteins, reference, length=length, smoothing=smoothing) for length in lengths
    }


def _features(proteins: Sequence[str]) -> Tensor:
    parts: list[NDArray[np.float64]] = []
    for length in (1, 2):
        counts = word_counts(proteins, length)
        parts.append(np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)))
    return torch.from_numpy(np.concatenate(parts, axis=1))
