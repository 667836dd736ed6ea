"""Who takes part: the models to be judged, and the predictors without gradient training beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from qdyn.data.sequences import SequenceDataset, SequenceMetadata
from qdyn.data.tags import label_numbers, tag_numbers
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.results import RAW_SUFFIX, Standing
from qdyn.models.base import Predictor
from qdyn.models.baselines import (
    AutoRegression,
    BagOfWords,
    Baseline,
    Bigram,
    Chance,
    ExactEvolution,
    HamiltonianIdentification,
    InContextDMD,
    LeastSquares,
    MajorityClass,
    MeanHamiltonian,
    NaiveBayes,
    NGram,
    Persistence,
    Procrustes,
    SeasonalNaive,
    TrainingMean,
    Unigram,
    Zero,
)
from qdyn.quantum.hamiltonians import Hamiltonian

if TYPE_CHECKING:
    from qdyn.training.run import Run

# Diagonalising every trajectory's Hamiltonian takes minutes beyond this dimension.
_LARGEST_EXACT_DIMENSION = 256
# A table of trigrams has up to as many rows as there are pairs of words, a regression as many columns.
_LARGEST_VOCABULARY_OF_PAIRS = 256
# Elements that the autoregression beside every univariate series looks back at, as in arXiv:2504.05336.
_LONGEST_MEMORY = 20
# Of one component's forecast: AR(p) of d components has p d of them, and is fitted for every order up to p.
_MOST_COEFFICIENTS = 256


@dataclass(frozen=True)
class Contestant:
    """Predictors that share a row of the table: one, or the seeds of one model.

    Attributes:
        key: Unique identifier.
        label: What people read.
        standing: See `qdyn.evaluation.results.Row`.
        predictors: One for each seed, fitted.
        phase_convention: Of the states that they see; None where the data are not quantum states.
        parameters: Real numbers learnt.
    """

    key: str
    label: str
    standing: Standing
    predictors: tuple[Predictor, ...]
    phase_convention: str | None
    parameters: int | None


def of_run(run: Run) -> Contestant:
    """The trained models of a run."""
    return Contestant(
        key=run.config.name,
        label=run.models[0].label,
        standing="trained",
        predictors=tuple(run.models),
        phase_convention=run.metadata.phase_convention,
        parameters=run.record.parameters,
    )


def of_predictors(
    predictors: Predictor | Sequence[Predictor] | Mapping[str, Predictor | Sequence[Predictor]],
    dataset: SequenceDataset,
) -> list[Contestant]:
    """Contestants from predictors given by hand.

    Each sees states in the phases that it was fitted to, or in those of the dataset where it knows of none. A
    sequence makes each predictor a row; a mapping names the rows, and several predictors under one name
    count as seeds of one model.

    Raises:
        ArgumentError: there are no predictors, or something else is among them.
    """
    if isinstance(predictors, Predictor):
        predictors = [predictors]
    named: Iterable[tuple[str | None, tuple[Predictor, ...]]]
    if isinstance(predictors, Mapping):
        named = [(key, _group(one)) for key, one in predictors.items()]
    else:
        named = [(None, (one,)) for one in predictors]
    contestants: list[Contestant] = []
    for key, group in named:
        if not group or not all(isinstance(one, Predictor) for one in group):
            raise ArgumentError(
                f"Argument `predictors` must hold predictors, but {key or 'an entry'} is {group!r}."
            )
        first = group[0]
        contestants.append(
            Contestant(
                key=_unique(key or first.name, contestants),
                label=key or first.label,
                standing=_standing(first),
                predictors=group,
                phase_convention=_phases_seen(first, dataset),
                parameters=_parameters(first),
            )
        )
    if not contestants:
        raise ArgumentError("Argument `predictors` must hold at least one predictor, but is empty.")
    return contestants


def _group(one: Predictor | Sequence[Predictor]) -> tuple[Predictor, ...]:
    """What stands under one name; whatever is no list counts as one predictor, to be named if it is none."""
    return tuple(one) if isinstance(one, Sequence) else (one,)


def baselines(
    dataset: SequenceDataset, *, hamiltonian: Hamiltonian | None = None
) -> tuple[list[Contestant], list[str]]:
    """The baselines that suit a dataset, fitted to its training split.

    Where the states are shown in first_real phases, the linear predictors stand there twice: once as the
    models see the data, and once in raw phases, in which the dynamics is linear.

    Args:
        dataset: What to fit to.
        hamiltonian: H behind the states, up to couplings that are conditions; None for the recipe's.

    Returns:
        The contestants, and remarks for the reader: what had to be left out, and what is not as it should be.
    """
    convention = dataset.metadata.phase_convention
    remarks: list[str] = []
    if "train" not in dataset.split_names:
        remarks.append(
            "The data have no training split: the baselines were fitted to the sequences they are judged on."
        )
    contestants = [_fitted(one, dataset) for one in _suited_to(dataset.metadata, dataset.n_steps)]
    if dataset.metadata.kind == "quantum_state":
        contestants += _hamiltonian_baselines(dataset, hamiltonian, remarks)
        if convention == "first_real":
            raw = dataset.with_phase_convention("raw")
            contestants += [_fitted(one, raw, suffix=" (raw)") for one in _linear()]
    return contestants, remarks


def apart(
    judged: Sequence[Contestant], rivals: Sequence[Contestant]
) -> tuple[list[Contestant], list[Contestant]]:
    """Both with keys of their own: a baseline given by hand replaces ours, a model called like one moves."""
    by_hand = {
        one.key
        for one in judged
        if isinstance(one.predictors[0], Baseline) and one.predictors[0].name == one.key
    }
    left = [one for one in rivals if one.key not in by_hand]
    found: list[Contestant] = []
    for one in judged:
        others = [*left, *found, *(other for other in judged if other is not one)]
        found.append(replace(one, key=_unique(one.key, others)))
    return found, left


def _suited_to(data: SequenceMetadata, n_steps: int) -> list[Baseline]:
    if label_numbers(data.vocabulary):
        counted: list[Baseline] = [Chance(), MajorityClass(), NaiveBayes(), BagOfWords()]
        return (
            [*counted, BagOfWords(pairs=True)] if data.dimension <= _LARGEST_VOCABULARY_OF_PAIRS else counted
        )
    if data.kind == "token":
        every: list[Baseline] = [Chance(), Unigram(), Bigram(), Persistence()]
        if tag_numbers(data.vocabulary):
            every += [NGram(order, pseudo_counts=None, given_tags=True) for order in (1, 3)]
        return [*every, NGram(3)] if data.dimension <= _LARGEST_VOCABULARY_OF_PAIRS else every
    if not data.normalised:
        memory = min(n_steps, _LONGEST_MEMORY, max(1, _MOST_COEFFICIENTS // data.dimension))
        series = [TrainingMean(), Persistence(), LeastSquares(), InContextDMD()]
        return [*series, Zero(), SeasonalNaive(), AutoRegression(memory)]
    if data.kind == "real":
        return [Chance(), Persistence(), LeastSquares()]
    return [Chance(), Persistence(), *_linear()]


def _linear() -> list[Baseline]:
    return [LeastSquares(), Procrustes(), InContextDMD(), InContextDMD(residual="procrustes")]


def _hamiltonian_baselines(
    dataset: SequenceDataset, hamiltonian: Hamiltonian | None, remarks: list[str]
) -> list[Contestant]:
    wanted: list[Baseline] = [MeanHamiltonian(hamiltonian)]
    if dataset.metadata.dimension <= _LARGEST_EXACT_DIMENSION:
        wanted += [HamiltonianIdentification(hamiltonian), ExactEvolution(hamiltonian)]
    else:
        remarks.append(
            "Identified couplings and exact evolution are left out: the dimension exceeds "
            f"{_LARGEST_EXACT_DIMENSION}."
        )
    contestants = []
    for one in wanted:
        try:
            contestants.append(_fitted(one, dataset))
        except DatasetError as problem:
            remarks.append(str(problem))
    return contestants


def _fitted(baseline: Baseline, dataset: SequenceDataset, *, suffix: str = "") -> Contestant:
    baseline.fit(dataset)
    return Contestant(
        key=baseline.name + suffix,
        label=baseline.label + (RAW_SUFFIX if suffix else ""),
        standing=_standing(baseline),
        predictors=(baseline,),
        phase_convention=dataset.metadata.phase_convention,
        parameters=baseline.n_parameters,
    )


def _phases_seen(predictor: Predictor, dataset: SequenceDataset) -> str | None:
    known = predictor.metadata.phase_convention if predictor.metadata else None
    return known or dataset.metadata.phase_convention


def _standing(predictor: Predictor) -> Standing:
    if isinstance(predictor, Baseline):
        return "oracle" if predictor.training == "oracle" else "untrained"
    return "trained" if _parameters(predictor) else "untrained"


def _parameters(predictor: Predictor) -> int | None:
    if isinstance(predictor, Baseline):
        return predictor.n_parameters
    if isinstance(predictor, nn.Module):
        return sum(parameter.numel() for parameter in predictor.parameters())
    return None


def _unique(key: str, taken: Sequence[Contestant]) -> str:
    keys = {one.key for one in taken}
    candidate, number = key, 2
    while candidate in keys:
        candidate, number = f"{key}-{number}", number + 1
    return candidate
