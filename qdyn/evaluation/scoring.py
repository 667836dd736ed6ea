"""Scoring: a contestant over a split, teacher-forced and rolled out, by seed and sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qdyn.data.array_checks import check_batch
from qdyn.data.proteins.amino_acids import LETTERS, is_protein_vocabulary
from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.data.tags import among, label_numbers, label_steps
from qdyn.errors import DatasetError
from qdyn.evaluation.contestants import Contestant
from qdyn.evaluation.metrics import (
    cross_entropy,
    horizon,
    mean_over_steps,
    mean_probability,
    perplexity,
    renyi_half_cross_entropy,
    squared_error,
    step_fidelity,
    token_probability,
)
from qdyn.evaluation.results import Comparison, Estimate, Row, decisive
from qdyn.evaluation.roll_outs import check_roll_out
from qdyn.evaluation.standard_errors import blocks_of
from qdyn.models.base import Conditioned, Predictor
from qdyn.models.baselines.mean import TrainingMean
from qdyn.models.in_context.predictor import InContextPredictor
from qdyn.models.qsa.predictor import QSAPredictor
from qdyn.models.qsa.projected import ProjectedQSAPredictor

# Sequences that are forecast at a time: bounds the memory, and is large enough to keep the processor busy.
_BATCH = 128


@dataclass(frozen=True)
class Scores:
    """All that was found about one contestant.

    Attributes:
        contestant: Who.
        merit: (seeds, sequences, T) of each teacher-forced step: the fidelity p_j, the probability p_j of the
            token that came, or the squared error in units of the training mean's.
        mask: (sequences, T) True where the step exists.
        losses: Name -> (seeds, sequences); beside losses the fidelity or accuracy, and mu of a circuit.
        rollout: (seeds, sequences, steps) fidelity of each rolled-out step, or None.
        blocks: Which sequences overlap, see `qdyn.evaluation.standard_errors.blocks_of`.
        unit: (sequences,), of mean 1: the error of the training mean on each, in its own units; None where
            nothing is measured in units of it.
    """

    contestant: Contestant
    merit: NDArray[np.float64]
    mask: NDArray[np.bool_]
    losses: dict[str, NDArray[np.float64]]
    rollout: NDArray[np.float64] | None
    blocks: NDArray[np.int64] | None = None
    unit: NDArray[np.float64] | None = None

    def estimate(self, name: str) -> Estimate:
        """One of ``losses`` over seeds and sequences."""
        return Estimate.of(self.losses[name], blocks=self.blocks, unit=self.unit if name == "NMSE" else None)

    def row(self, *, threshold: float) -> Row:
        """The line of the table."""
        metrics = {name: self.estimate(name) for name in self.losses}
        if "accuracy" in metrics:
            # The perplexity is that of the mean cross-entropy; its spread follows to first order.
            loss = metrics["L_1"]
            factor = perplexity(loss.mean)
            metrics["perplexity"] = Estimate(
                factor,
                None if loss.std is None else factor * loss.std,
                None if loss.standard_error is None else factor * loss.standard_error,
            )
        horizons = (
            ()
            if self.rollout is None
            else tuple(horizon(curve, threshold=threshold) for curve in self.rollout.mean(axis=1))
        )
        one = self.contestant
        return Row(
            key=one.key,
            label=one.label,
            standing=one.standing,
            phase_convention=one.phase_convention,
            n_seeds=len(one.predictors),
            metrics=metrics,
            horizons=horizons,
            parameters=one.parameters,
        )

    def compare(self, other: Scores) -> Comparison:
        """The decisive loss of this contestant against another's on the same sequences."""
        name = decisive(self.losses)
        difference = self.losses[name].mean(axis=0) - other.losses[name].mean(axis=0)
        unit = self.unit if name == "NMSE" else None
        found = Estimate.of(difference[None], blocks=self.blocks, unit=unit)
        return Comparison(other.contestant.key, found.mean, found.standard_error)


def score(
    contestant: Contestant,
    split: SequenceDataset,
    *,
    context: int | None = None,
    rollout_steps: int = 0,
    errors_of_mean: NDArray[np.float64] | None = None,
) -> Scores:
    """Judge a contestant on every sequence of a split.

    Args:
        contestant: Its predictors are fitted already.
        split: The sequences, in any phase convention: the contestant's own is applied.
        context: Elements seen before a roll-out; None makes none.
        rollout_steps: Elements rolled out; context + rollout_steps <= T + 1.
        errors_of_mean: For real vectors that are no unit vectors: see `errors_of_the_mean`. Their mean is the
            squared error that counts as 1; None takes 1 itself.

    Raises:
        ArgumentError: the roll-out would leave the sequences.
    """
    if context is not None and rollout_steps:
        # Fewer elements than forecasts would be compared with each forecast without a word.
        check_roll_out(split, context, rollout_steps)
    error_unit = 1.0 if errors_of_mean is None else float(errors_of_mean.mean())
    judge = (
        partial(_score_batch, words=Words.of(split.metadata.vocabulary))
        if split.metadata.normalised
        else partial(_score_series, error_unit=error_unit)
    )
    parts = [
        judge(contestant, batch, context=context, rollout_steps=rollout_steps)
        for batch in batches_of(split, contestant.phase_convention)
    ]
    return Scores(
        contestant,
        np.concatenate([part.merit for part in parts], axis=1),
        np.concatenate([part.mask for part in parts]),
        {name: np.concatenate([part.losses[name] for part in parts], axis=1) for name in parts[0].losses},
        None
        if parts[0].rollout is None
        else np.concatenate([part.rollout for part in parts if part.rollout is not None], axis=1),
        blocks_of(split),
        None if errors_of_mean is None else errors_of_mean / errors_of_mean.mean(),
    )


def errors_of_the_mean(dataset: SequenceDataset, split: SequenceDataset) -> NDArray[np.float64] | None:
    """The squared errors on ``split`` of the forecast that is always the mean of the training split.

    Returns:
        (sequences,), each averaged over its steps; None for unit vectors and tokens, whose losses have units
        of their own.

    Raises:
        DatasetError: they are 0, so that nothing can be given in units of them.
    """
    if dataset.metadata.normalised:
        return None
    mean = TrainingMean().fit(dataset)
    errors = [
        mean_over_steps(squared_error(mean.forecast(batch.inputs), batch.targets), batch.mask)
        for batch in batches_of(split, None)
    ]
    found = torch.cat(errors).double().numpy()
    if found.mean() == 0:
        raise DatasetError(
            f"The sequences of the dataset {dataset.metadata.name} never change: nothing is to be forecast."
        )
    return np.asarray(found)


def batches_of(split: SequenceDataset, convention: str | None) -> Iterator[Batch]:
    """The sequences of ``split`` in a phase convention, in order."""
    shown = split
    if convention in ("raw", "first_real") and split.metadata.kind == "quantum_state":
        shown = split.with_phase_convention(convention)  # type: ignore[arg-type]
    for start in range(0, len(shown), _BATCH):
        batch = shown.batch(range(start, min(start + _BATCH, len(shown))))
        check_batch(batch, shown.metadata)
        yield batch


def told(predictor: Predictor, batch: Batch) -> Predictor:
    """``predictor``, told the conditions of the batch where it can be."""
    return predictor.with_conditions(batch.conditions) if isinstance(predictor, Conditioned) else predictor


@torch.no_grad()
def rollout(contestant: Contestant, batch: Batch, *, context: int, steps: int) -> Tensor:
    """The roll-outs (seeds, sequences, steps, d) from the first ``context`` elements."""
    seen = batch.inputs[:, :context]
    return torch.stack([told(one, batch).rollout(seen, steps) for one in contestant.predictors])


@dataclass(frozen=True)
class Words:
    """The words that say how sequences of tokens are judged.

    Attributes:
        labels: Of a labelled dataset: a forecast is judged where one of them comes, given that one does.
        residues: Of proteins: they have a cross-entropy of their own.
    """

    labels: tuple[int, ...]
    residues: tuple[int, ...]

    @classmethod
    def of(cls, vocabulary: Sequence[str] | None) -> Words:
        """Those of a vocabulary.

        Example:
            >>> Words.of(["<s>", "sun", "<label=good>", "<label=bad>"])
            Words(labels=(2, 3), residues=())
        """
        residues = (
            tuple(number for number, word in enumerate(vocabulary or ()) if word in LETTERS)
            if is_protein_vocabulary(vocabulary)
            else ()
        )
        return cls(label_numbers(vocabulary), residues)


@torch.no_grad()
def _score_batch(
    contestant: Contestant, batch: Batch, *, context: int | None, rollout_steps: int, words: Words
) -> Scores:
    tokens = not (batch.inputs.is_floating_point() or batch.inputs.is_complex())
    judged = label_steps(batch.targets, words.labels, batch.mask) if words.labels else batch.mask
    probabilities, by_name = [], []
    for predictor in contestant.predictors:
        forecast = told(predictor, batch).forecast(batch.inputs, batch.mask)
        if words.labels:
            forecast = among(forecast, words.labels)
        p = token_probability(forecast, batch.targets) if tokens else step_fidelity(forecast, batch.targets)
        probabilities.append(p)
        losses = {"L_1": cross_entropy(p, judged), "L_half": renyi_half_cross_entropy(p, judged)}
        if words.residues:
            losses["L_1_residue"] = cross_entropy(p, judged & _are(batch.targets, words.residues))
        if tokens:
            hit = (forecast.argmax(dim=-1) == batch.targets).double()
            losses["accuracy"] = mean_probability(hit, judged)
        else:
            losses["fidelity"] = mean_probability(p, judged)
        # Losses of a model's own are those of all its steps.
        by_name.append(losses if words.labels else losses | _own_losses(predictor, batch))
    rolled = None
    if context is not None and rollout_steps:
        targets = batch.targets[:, context - 1 : context - 1 + rollout_steps]
        forecasts = rollout(contestant, batch, context=context, steps=rollout_steps)
        rolled = np.stack([step_fidelity(one, targets).numpy() for one in forecasts])
    return Scores(
        contestant,
        torch.stack(probabilities).numpy(),
        judged.numpy(),
        {name: np.stack([losses[name].double().numpy() for losses in by_name]) for name in by_name[0]},
        rolled,
    )


@torch.no_grad()
def _score_series(
    contestant: Contestant, batch: Batch, *, context: int | None, rollout_steps: int, error_unit: float
) -> Scores:
    """Real vectors whose length has a meaning: squared errors, and nothing rolled out."""
    errors = torch.stack(
        [
            squared_error(told(one, batch).forecast(batch.inputs, batch.mask), batch.targets)
            for one in contestant.predictors
        ]
    )
    mean = mean_over_steps(errors, batch.mask).numpy()
    losses = {"NMSE": mean / error_unit, "MSE": mean}
    return Scores(contestant, errors.numpy() / error_unit, batch.mask.numpy(), losses, None)


def _are(tokens: Tensor, numbers: Sequence[int]) -> Tensor:
    return torch.isin(tokens, torch.tensor(tuple(numbers), device=tokens.device))


def _own_losses(predictor: Predictor, batch: Batch) -> dict[str, Tensor]:
    """What only a model with unnormalised predictions or an embedding has: L_B, mu, and L_1 in excess."""
    if isinstance(predictor, InContextPredictor):
        return {"L_B": predictor.loss("L_B", batch.inputs, batch.targets, batch.mask)}
    if not isinstance(predictor, QSAPredictor | ProjectedQSAPredictor):
        return {}
    observables = predictor(batch.inputs, batch.targets, batch.mask)
    found = {"L_B": observables.loss_b, "mu": observables.mu}
    if isinstance(predictor, ProjectedQSAPredictor):
        # p_j is at most what the projection keeps of the target; the projected states are judged without it.
        found["L_1_excess"] = observables.loss_1
    elif batch.inputs.dtype == torch.int64:
        found["L_1_excess"] = observables.loss_1_excess
    return found
