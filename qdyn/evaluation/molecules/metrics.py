r"""What generated molecules are worth: validity, uniqueness, novelty, diversity, properties, with errors.

Of n queries V give a molecule that RDKit accepts, D distinct ones among these, N of which were not trained
on:

$$\text{validity} = V/n, \quad \text{uniqueness} = D/V, \quad \text{novelty} = N/D.$$

The last two depend on n, since what is probable repeats and what is known is probable: they are never quoted
without it. Internal diversity, $1 - \langle T(a, b) \rangle$ over pairs of valid draws, repeats included,
with T the Tanimoto similarity of Morgan fingerprints, is a property of the distribution and does not.

Standard errors: binomial for validity; the jackknife over valid draws for uniqueness and novelty, where
leaving out a draw matters if it is the only one of its molecule (by the inequality of Efron and Stein it errs
on the safe side); that of a U-statistic, twice the spread of its rows, for diversity.

Source: arXiv:2502.19214 (validity, uniqueness, novelty); B. Efron, C. Stein, Ann. Stat. 9, 586 (1981);
D. Polykovskiy et al., Front. Pharmacol. 11, 565644 (2020) (diversity).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from qdyn.checks import check_integer
from qdyn.data.molecules.properties import PROPERTIES
from qdyn.data.molecules.rdkit_calls import form_and_properties, import_rdkit, in_processes
from qdyn.data.sequences import SequenceDataset
from qdyn.data.smiles import SmilesVocabulary
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.results import Estimate

FINGERPRINT_RADIUS, FINGERPRINT_BITS = 2, 2048
MOST_COMPARED = 2000
"""Valid draws whose pairs give the diversity: the first so many."""


@dataclass(frozen=True)
class TrainingMolecules:
    """What a model was trained on.

    Attributes:
        smiles: The molecules, as RDKit writes them.
        properties: Name -> value of each; empty where the data have none.
        name: Of the data.
    """

    smiles: tuple[str, ...]
    properties: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    name: str = "training set"

    @classmethod
    def of(cls, dataset: SequenceDataset) -> TrainingMolecules:
        """The training split of a dataset of molecules; all of it where it has no splits.

        Raises:
            DatasetError: the data are no molecules.

        Example:
            >>> vocabulary = SmilesVocabulary.of(["CO", "C"])
            >>> data = SequenceDataset.from_arrays(
            ...     vocabulary.encode(["CO", "C"])[0], kind="token", vocabulary=vocabulary.words
            ... )
            >>> TrainingMolecules.of(data).smiles
            ('CO', 'C')
        """
        words = dataset.metadata.vocabulary or ()
        try:
            vocabulary = SmilesVocabulary(words, max(3, dataset.n_steps + 1))
        except ArgumentError:
            raise DatasetError(f"The dataset {dataset.metadata.name!r} holds no molecules.") from None
        part = dataset.split("train") if "train" in dataset.split_names else dataset
        smiles = vocabulary.decode(part.sequences())
        known = {name: values.double().numpy() for name, values in part.conditions.items()}
        return cls(tuple(smiles), known, dataset.metadata.name)

    def table(self, names: Sequence[str]) -> Float[np.ndarray, "molecules conditions"]:
        """Values of some properties, a column each.

        Raises:
            DatasetError: the data do not have one.
        """
        for name in names:
            if name not in self.properties:
                raise DatasetError(f"The dataset {self.name!r} does not tell {name!r} of its molecules.")
        return np.column_stack([self.properties[name] for name in names])


@dataclass(frozen=True)
class PropertyFigures:
    """One property of the valid draws.

    Attributes:
        name: One of `qdyn.data.molecules.properties.PROPERTIES`.
        mean: Over valid draws, repeats included.
        spread: Standard deviation over them; None for a single one.
        training_mean: Of the molecules trained on; None where they are not known.
        training_spread: Likewise; None for a single one, too.
        told: What the model was told; None for a model that is told nothing.
        target: What was asked for; None where the value was imputed.
    """

    name: str
    mean: Estimate
    spread: float | None
    training_mean: float | None = None
    training_spread: float | None = None
    told: float | None = None
    target: float | None = None

    @property
    def distance(self) -> Estimate | None:
        """The sampled mean minus the target, with the error of the former."""
        if self.target is None:
            return None
        return Estimate(self.mean.mean - self.target, None, self.mean.standard_error)


@dataclass(frozen=True)
class MoleculeFigures:
    """What `judge_molecules` found.

    Attributes:
        queries: n, how many strings were drawn.
        valid: V.
        distinct: D.
        novel: N; None where the training molecules are not known.
        n_training: How many those are.
        validity: V / n.
        uniqueness: D / V; None where nothing is valid.
        novelty: N / D.
        diversity: 1 - <T> over pairs of the first `MOST_COMPARED` valid draws; None for fewer than two.
        properties: In the order of `PROPERTIES`; empty where nothing is valid.
    """

    queries: int
    valid: int
    distinct: int
    novel: int | None
    n_training: int | None
    validity: Estimate
    uniqueness: Estimate | None
    novelty: Estimate | None
    diversity: Estimate | None
    properties: tuple[PropertyFigures, ...]

    def property(self, name: str) -> PropertyFigures:
        """The figures of one property.

        Raises:
            KeyError: there are none.
        """
        for one in self.properties:
            if one.name == name:
                return one
        raise KeyError(name)


@dataclass(frozen=True)
class JudgedMolecules:
    """Drawn strings, what each is, and the figures of all.

    Attributes:
        strings: As they were drawn.
        canonical: RDKit's form of each; None where it does not accept the string.
        properties: (queries, 9), NaN where the string is no molecule.
        is_novel: Whether each was not trained on; None where it is no molecule or that is not known.
        figures: Of all of them.
    """

    strings: tuple[str, ...]
    canonical: tuple[str | None, ...]
    properties: NDArray[np.float64]
    is_novel: tuple[bool | None, ...]
    figures: MoleculeFigures

    @property
    def valid_properties(self) -> Float[np.ndarray, "valid 9"]:
        """The properties of the valid draws, repeats included."""
        return self.properties[[form is not None for form in self.canonical]]


def judge_molecules(
    strings: Sequence[str],
    *,
    training: TrainingMolecules | None = None,
    targets: Mapping[str, float] | None = None,
    told: Mapping[str, float] | None = None,
    workers: int = 1,
    progress: bool = False,
) -> JudgedMolecules:
    """Judge what a model drew.

    A string is valid if RDKit accepts it and gives all nine properties; an empty one is not.

    Args:
        strings: One for each query, at least one.
        training: What the model was trained on, for novelty.
        targets: Property -> value that was asked for.
        told: Property -> value that the model was told.
        workers: Processes for RDKit, >= 1.
        progress: Show a bar.

    Raises:
        ArgumentError: no strings.
        MissingExtraError: RDKit is not installed.

    Example:
        >>> seen = TrainingMolecules(("CCO",))
        >>> found = judge_molecules(["OCC", "CCO", "CO", "C(C"], training=seen).figures
        >>> found.valid, found.distinct, found.novel
        (3, 2, 1)
        >>> print(found.validity)
        0.75(25)
    """
    check_integer("workers", workers, minimum=1)
    if not strings:
        raise ArgumentError("Argument `strings` must hold at least one string, but is empty.")
    different = list(dict.fromkeys(strings))
    found = in_processes(form_and_properties, different, workers=workers, doing="judging", progress=progress)
    known = dict(zip(different, found, strict=True))
    nothing = (None, (math.nan,) * len(PROPERTIES))
    forms, rows = zip(*(known[one] or nothing for one in strings), strict=True)
    seen = None if training is None else frozenset(training.smiles)
    novel = tuple(None if form is None or seen is None else form not in seen for form in forms)
    table = np.array(rows, dtype=np.float64)
    figures = _figures(forms, novel, table, training=training, targets=targets or {}, told=told or {})
    return JudgedMolecules(tuple(strings), forms, table, novel, figures)


def internal_diversity(smiles: Sequence[str]) -> Estimate:
    """1 - T, the mean over all pairs, T the Tanimoto similarity of Morgan fingerprints (radius 2, 2048 bits).

    Args:
        smiles: At least two valid SMILES, repeats included; of n the memory is that of n^2 numbers.

    Example: a molecule is like itself, and methane is unlike fluorine.
        >>> internal_diversity(["CCO", "CCO"]).mean, internal_diversity(["C", "FF"]).mean
        (0.0, 1.0)
    """
    check_integer("smiles", len(smiles), minimum=2)
    chem = import_rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    prints = {one: make.GetFingerprintAsNumPy(chem.MolFromSmiles(one)) for one in dict.fromkeys(smiles)}
    bits = np.array([prints[one] for one in smiles], dtype=np.float32)
    shared = (bits @ bits.T).astype(np.float64)
    own = np.diagonal(shared)
    distance = 1 - shared / (own[:, None] + own - shared)
    # A row without the pair of a molecule with itself, whose distance is 0.
    rows = distance.sum(axis=1) / (len(smiles) - 1)
    error = 2 * float(rows.std(ddof=1)) / math.sqrt(len(smiles))
    return Estimate(float(rows.mean()), None, error)


def _figures(
    forms: Sequence[str | None],
    novel: Sequence[bool | None],
    table: NDArray[np.float64],
    *,
    training: TrainingMolecules | None,
    targets: Mapping[str, float],
    told: Mapping[str, float],
) -> MoleculeFigures:
    valid = [form for form in forms if form is not None]
    counts = Counter(valid)
    is_novel = {form: new for form, new in zip(forms, novel, strict=True) if form is not None}
    n_novel = None if training is None else sum(bool(is_novel[form]) for form in counts)
    once = [form for form, count in counts.items() if count == 1]
    share = len(valid) / len(forms)
    properties = tuple(
        _property(name, table[~np.isnan(column), place], training, targets, told)
        for place, (name, column) in enumerate(zip(PROPERTIES, table.T, strict=True))
        if valid
    )
    return MoleculeFigures(
        queries=len(forms),
        valid=len(valid),
        distinct=len(counts),
        novel=n_novel,
        n_training=None if training is None else len(training.smiles),
        validity=Estimate(share, None, _binomial(share, len(forms))),
        uniqueness=uniqueness(len(valid), len(counts), len(once)) if valid else None,
        novelty=novelty(len(valid), len(counts), n_novel, [bool(is_novel[form]) for form in once])
        if valid and n_novel is not None
        else None,
        diversity=internal_diversity(valid[:MOST_COMPARED]) if len(valid) > 1 else None,
        properties=properties,
    )


def _property(
    name: str,
    values: NDArray[np.float64],
    training: TrainingMolecules | None,
    targets: Mapping[str, float],
    told: Mapping[str, float],
) -> PropertyFigures:
    known = None if training is None else training.properties.get(name)
    return PropertyFigures(
        name=name,
        mean=Estimate.of(values[None]),
        spread=float(values.std(ddof=1)) if len(values) > 1 else None,
        training_mean=None if known is None else float(known.mean()),
        training_spread=float(known.std(ddof=1)) if known is not None and len(known) > 1 else None,
        told=told.get(name),
        target=targets.get(name),
    )


def _binomial(share: float, count: int) -> float | None:
    """The standard error of a share; from one query nothing is known of it."""
    return math.sqrt(share * (1 - share) / (count - 1)) if count > 1 else None


def uniqueness(valid: int, distinct: int, once: int) -> Estimate:
    """D / V; without one draw D is less by one if that draw was the only one of its kind.

    Args:
        valid: V, draws that count.
        distinct: D, kinds among them.
        once: How many kinds were drawn once.
    """
    return Estimate(distinct / valid, None, _binomial(once / valid, valid))


def novelty(valid: int, distinct: int, novel: int, once_novel: Sequence[bool]) -> Estimate:
    """N / D, with the jackknife over draws.

    Args:
        valid: V, draws that count.
        distinct: D, kinds among them.
        novel: N, of these not trained on.
        once_novel: Of each kind that was drawn once, whether it is new.
    """
    new = sum(once_novel)
    groups = [
        (new, novel - 1, distinct - 1),
        (len(once_novel) - new, novel, distinct - 1),
        (valid - len(once_novel), novel, distinct),
    ]
    if distinct < 2:
        return Estimate(novel / distinct, None, None)
    left = [(count, up / down) for count, up, down in groups]
    middle = sum(count * value for count, value in left) / valid
    variance = (valid - 1) / valid * sum(count * (value - middle) ** 2 for count, value in left)
    return Estimate(novel / distinct, None, math.sqrt(variance))
