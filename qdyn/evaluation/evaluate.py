"""evaluate(): a run, or any predictors, judged on a split beside the predictors that need no training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from qdyn.checks import check_fraction
from qdyn.data.sequences import Batch, SequenceDataset
from qdyn.data.tags import LABEL, read_tag
from qdyn.errors import ArgumentError, DatasetError
from qdyn.evaluation.contestants import Contestant, apart, baselines, of_predictors, of_run
from qdyn.evaluation.evaluation import Evaluation
from qdyn.evaluation.report.table import GROUPS, group_of
from qdyn.evaluation.results import Curve, Example, Provenance, Row, TrainingCurves
from qdyn.evaluation.roll_outs import refuse_roll_out, roll_out_lengths
from qdyn.evaluation.scoring import Scores, batches_of, errors_of_the_mean, rollout, score, told
from qdyn.evaluation.splits import folder_name, part_of, sizes_of
from qdyn.evaluation.standard_errors import blocks_of, overlap_note
from qdyn.files import make_folder
from qdyn.models.base import Predictor
from qdyn.processors import torch_threads
from qdyn.quantum.hamiltonians import Hamiltonian
from qdyn.quantum.observables import magnetisation
from qdyn.training.record import content_digest

if TYPE_CHECKING:
    from qdyn.training.run import Run

Predictors = Predictor | Sequence[Predictor] | Mapping[str, Predictor | Sequence[Predictor]]

#: Rows whose observables are drawn beside the model's, the first that took part.
_EXAMPLE_RIVALS = ("mean_hamiltonian", "procrustes")


def evaluate(
    predictors: Run | str | Path | Predictors,
    *,
    dataset: SequenceDataset | str | Path | None = None,
    split: str = "test",
    context: int | None = None,
    rollout_steps: int | None = None,
    threshold: float | None = None,
    compare: bool = True,
    hamiltonian: Hamiltonian | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> Evaluation:
    r"""Judge predictors on a split, beside chance, persistence and others that need no training.

    Teacher-forced, step j sees the true elements 1 ... j; with $p_j$ the fidelity of its forecast with
    element j + 1 (or the probability it gave to the token that came),

    $$L_1 = -\frac1T \sum_j \log p_j, \qquad L_{1/2} = -2 \log \frac1T \sum_j \sqrt{p_j},
      \qquad F = \frac1T \sum_j p_j .$$

    Real vectors that are no unit vectors are judged by their normalised mean squared error instead, NMSE, in
    units of that of the training split's mean.

    Rolled out, a predictor sees ``context`` elements and then its own forecasts; the horizon is the number of
    steps before the fidelity, averaged over trajectories, first falls below ``threshold``.

    None of these depends on global phases, but what a predictor can learn does: the baselines see the phases
    that the model sees, and where those are fixed state by state (first_real) the linear ones stand in the
    table a second time, marked, in raw phases.

    Args:
        predictors: A run of `qdyn.train`, or its folder, whose seeds share a row; or a predictor, a sequence
            of them (a row each), or a mapping from row names to predictors (several under one name are its
            seeds).
        dataset: What to judge on; a run brings its own. A recipe's name, a path, or a dataset.
        split: "test", "validation" or "train"; a dataset without splits is judged whole.
        context: Elements seen before the roll-out, >= 1; None takes the run's, else half of a sequence. This
            and the next two are for quantum states, which alone are rolled out.
        rollout_steps: Elements rolled out, context + rollout_steps <= T + 1; None takes the run's, else the
            rest.
        threshold: Fidelity in (0, 1) that the horizon is measured at; None takes the run's, else 0.9.
        compare: False leaves the baselines out.
        hamiltonian: H behind states of your own, for the baselines that are told its form: up to couplings
            that the dataset has as conditions of their names. None takes that of the recipe, if any.
        out: Folder for table.json, curves.json, figures/ and report.html. None takes the run's folder
            ``evaluation``, of another split than the test split (or the validation split, where there is no
            test split) ``evaluation-SPLIT``; without a run nothing is written.
        progress: True shows a bar; None shows it on a terminal only; False never.

    Returns:
        The evaluation; ``print`` shows its table.

    Raises:
        ArgumentError: an argument is out of range or has no effect, or there is no dataset.
        DatasetError: the dataset has no such split.
        OutputError: the folder cannot be written.

    Example:
        >>> import torch
        >>> from qdyn.data.sequences import SequenceDataset
        >>> from qdyn.models.baselines import Persistence
        >>> angles = 0.1 * torch.arange(9, dtype=torch.float64)
        >>> circle = torch.stack([angles.cos(), angles.sin()], dim=-1)[None]
        >>> data = SequenceDataset.from_arrays(circle, kind="real")
        >>> found = evaluate(Persistence(), dataset=data, compare=False)
        >>> round(found.row("persistence").metrics["fidelity"].mean, 6)  # cos(0.1)^2
        0.990033
    """
    if isinstance(predictors, str | Path):
        from qdyn.training.run import load_run

        predictors = load_run(predictors)
    run = _as_run(predictors)
    # As the run was trained: small matrices lose more to waiting threads than they gain.
    threads = run.config.training.threads if run else None
    with torch_threads(threads or torch.get_num_threads()):
        return _evaluate(
            predictors,
            run,
            dataset,
            split=split,
            context=context,
            rollout_steps=rollout_steps,
            threshold=threshold,
            compare=compare,
            hamiltonian=hamiltonian,
            out=out,
            progress=progress,
        )


def _evaluate(
    predictors: Run | Predictors,
    run: Run | None,
    dataset: SequenceDataset | str | Path | None,
    *,
    split: str,
    context: int | None,
    rollout_steps: int | None,
    threshold: float | None,
    compare: bool,
    hamiltonian: Hamiltonian | None,
    out: str | Path | None,
    progress: bool | None,
) -> Evaluation:
    started = time.perf_counter()
    if hamiltonian is not None and not isinstance(hamiltonian, Hamiltonian):
        raise ArgumentError(
            f"Argument `hamiltonian` must be a Hamiltonian, but is of type {type(hamiltonian).__name__}."
        )
    data = _dataset(run, dataset)
    part, split_name = part_of(data, split)
    settings = run.config.evaluation if run else None
    rolled = data.metadata.kind == "quantum_state"
    if not rolled:
        refuse_roll_out(data, context=context, rollout_steps=rollout_steps, threshold=threshold)
    context, rollout_steps = roll_out_lengths(part, context, rollout_steps, settings) if rolled else (None, 0)
    level = threshold if threshold is not None else (settings.fidelity_threshold if settings else 0.9)
    check_fraction("threshold", level)

    folder = (
        Path(out)
        if out is not None
        else (run.path / folder_name(split_name, sizes_of(data)) if run else None)
    )
    if folder is not None:
        # Found out now, not after the work is done.
        make_folder(folder)

    judged = [of_run(run)] if run else of_predictors(predictors, data)  # type: ignore[arg-type]
    rivals, remarks = baselines(data, hamiltonian=hamiltonian) if compare else ([], [])
    judged, rivals = apart(judged, rivals)
    contestants = judged + rivals
    scores: dict[str, Scores] = {}
    of_mean = errors_of_the_mean(data, part)
    for one in tqdm(contestants, desc="evaluate", unit="row", disable=_hide(progress), leave=False):
        scores[one.key] = score(
            one, part, context=context, rollout_steps=rollout_steps, errors_of_mean=of_mean
        )
    if run is not None and run.config.dataset.count_padding:
        _add_padded(scores, judged, data.with_padding(), split, compare=compare)

    rows = _ordered(
        [found.row(threshold=level) for found in scores.values()], own=data.metadata.phase_convention
    )
    lead = next((scores[row.key] for row in rows if row.standing == "trained"), None)
    example = None if context is None else _example(part, scores, lead, context=context, steps=rollout_steps)
    evaluation = Evaluation(
        split=split_name,
        n_sequences=len(part),
        n_steps=part.n_steps,
        context=context,
        rollout_steps=rollout_steps,
        threshold=level,
        rows=tuple(rows),
        teacher_forced={row.key: _curve(scores[row.key]) for row in rows},
        rolled_out={
            row.key: Curve.of(row.key, found, blocks=scores[row.key].blocks)
            for row in rows
            if (found := scores[row.key].rollout) is not None
        },
        comparisons=tuple(lead.compare(scores[row.key]) for row in rows if row.key != lead.contestant.key)
        if lead
        else (),
        provenance=_provenance(run, data),
        example=example,
        attention=_mean_attention(lead.contestant, part) if lead else None,
        training=_training_curves(run) if run else None,
        notes=(*_task_notes(part), *overlap_note(blocks_of(part)), *_split_notes(run, data), *remarks),
        seconds=time.perf_counter() - started,
    )
    if folder is None:
        return evaluation
    return replace(evaluation, folder=evaluation.save(folder).parent)


def _as_run(predictors: Run | Predictors) -> Run | None:
    from qdyn.training.run import Run

    return predictors if isinstance(predictors, Run) else None


def _dataset(run: Run | None, given: SequenceDataset | str | Path | None) -> SequenceDataset:
    """The dataset in the phases that the judged predictors see."""
    if given is None:
        if run is None:
            raise ArgumentError(
                "Argument `dataset` is needed to judge predictors that are no run, but is None."
            )
        return run.dataset()
    if not isinstance(given, SequenceDataset):
        from qdyn.data.load import load_dataset

        given = load_dataset(given)
    if run is not None:
        _check_suits(run, given)
        convention = run.metadata.phase_convention
        if convention is not None and given.metadata.phase_convention != convention:
            return given.with_phase_convention(convention)
    return given


def _check_suits(run: Run, data: SequenceDataset) -> None:
    for name in ("kind", "dimension", "vocabulary", "normalised"):
        expected, found = getattr(run.metadata, name), getattr(data.metadata, name)
        if expected != found:
            raise DatasetError(
                f"The run at {run.path} was trained on data of {name} {expected!r}, but the dataset "
                f"{data.metadata.name} has {name} {found!r}."
            )


def _add_padded(
    scores: dict[str, Scores], judged: list[Contestant], data: SequenceDataset, split: str, *, compare: bool
) -> None:
    """The loss with padding among the steps, for which the baselines count padding too."""
    part, _ = part_of(data, split)
    for one in judged + (baselines(data)[0] if compare else []):
        if (found := scores.get(one.key)) is not None:
            padded = score(one, part).losses["L_1"]
            scores[one.key] = replace(found, losses=found.losses | {"L_1_padded": padded})


def _task_notes(part: SequenceDataset) -> tuple[str, ...]:
    """What a reader must know of a labelled dataset."""
    classes = [read_tag(word) for word in part.metadata.vocabulary or ()]
    values = [found[1] for found in classes if found is not None and found[0] == LABEL]
    if not values:
        return ()
    return (f"Judged at the label alone, each forecast given that it is one of {', '.join(values)}.",)


def _split_notes(run: Run | None, data: SequenceDataset) -> tuple[str, ...]:
    if run is None or data.split_names or content_digest(data) != run.metadata.digest:
        return ()
    return (f"The dataset {data.metadata.name} has no splits: the run is judged on what it was trained on.",)


def _hide(progress: bool | None) -> bool | None:
    # tqdm's own None: shown on a terminal only.
    return None if progress is None else not progress


def _ordered(rows: list[Row], *, own: str | None) -> list[Row]:
    """Trained models as given, then each group with the lowest loss first."""

    def place(row: Row) -> tuple[int, float]:
        group = group_of(row, own)
        return list(GROUPS).index(group), 0.0 if group == "trained" else row.loss.mean

    return sorted(rows, key=place)


def _curve(found: Scores) -> Curve:
    return Curve.of(found.contestant.key, found.merit, found.mask, blocks=found.blocks, unit=found.unit)


def _example(
    part: SequenceDataset, scores: Mapping[str, Scores], lead: Scores | None, *, context: int, steps: int
) -> Example | None:
    """The trajectory whose roll-out is the median one: neither the best nor the worst of the model."""
    d = part.metadata.dimension
    chosen = lead or next(iter(scores.values()))
    if d & (d - 1) or chosen.rollout is None:
        return None
    quality = chosen.rollout.mean(axis=(0, 2))
    index = int(np.argsort(quality, kind="stable")[len(quality) // 2])
    observables = [magnetisation("x"), magnetisation("z")]
    rivals = [scores[key].contestant for key in _EXAMPLE_RIVALS if key in scores][:1]
    batch = _one(part, index, chosen.contestant)
    states = torch.cat([batch.inputs, batch.targets[:, -1:]], dim=1)[0]
    forecast: dict[str, dict[str, NDArray[np.float64]]] = {}
    for one in [chosen.contestant, *(rival for rival in rivals if rival.key != chosen.contestant.key)]:
        rolled = rollout(one, _one(part, index, one), context=context, steps=steps)[:, 0]
        forecast[one.key] = {seen.label: seen.expectation(rolled).double().numpy() for seen in observables}
    times = part.times if part.times is not None else torch.arange(part.n_steps + 1, dtype=torch.float64)
    return Example(
        index=index,
        times=times.double().numpy(),
        exact={seen.label: seen.expectation(states).double().numpy() for seen in observables},
        forecast=forecast,
    )


def _one(part: SequenceDataset, index: int, contestant: Contestant) -> Batch:
    convention = contestant.phase_convention
    shown = part if convention is None else part.with_phase_convention(convention)  # type: ignore[arg-type]
    return shown.batch([index])


@torch.no_grad()
def _mean_attention(contestant: Contestant, part: SequenceDataset) -> NDArray[np.float64] | None:
    """The weights of each step, which sum to 1, averaged over seeds and the sequences that have the step."""
    if not all(hasattr(one, "attention_weights") for one in contestant.predictors):
        return None
    total, count = np.zeros((part.n_steps, part.n_steps)), np.zeros((part.n_steps, 1))
    for batch in batches_of(part, contestant.phase_convention):
        for one in contestant.predictors:
            attentive: Any = told(one, batch)
            weights = attentive.attention_weights(batch.inputs, batch.mask).double()
            total += (weights * batch.mask[..., None]).sum(dim=0).numpy()
            count += batch.mask.sum(dim=0)[:, None].numpy()
    return total / np.maximum(count, 1)


def _training_curves(run: Run) -> TrainingCurves | None:
    from qdyn.training.folder import LOG

    if not (run.path / LOG).is_file():  # of published weights, which were not trained here
        return None
    history = run.history
    return TrainingCurves(
        loss_name=run.config.training.loss,
        steps=history.steps,
        loss=history.loss,
        validation_steps=history.validation_steps,
        validation=history.validation,
    )


def _provenance(run: Run | None, data: SequenceDataset) -> Provenance:
    metadata = data.metadata
    facts: dict[str, str] = {}
    if run is not None:
        record = run.record
        facts = {
            "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
            "Machine": f"{record.platform}; {record.device}, {record.threads} thread(s)",
            "Training": f"{record.step} steps in {record.training_seconds:.1f} s, ended {record.ended}",
            "Run": run.config.name,
        }
        if record.git_commit:
            facts["Commit"] = record.git_commit
    return Provenance(
        dataset={
            "name": metadata.name,
            "digest": metadata.digest,
            "kind": metadata.kind,
            "dimension": metadata.dimension,
            "phase_convention": metadata.phase_convention,
            "time_step": metadata.time_step,
            "units": dict(metadata.units),
            "sequences": {name: len(data.split(name)) for name in data.split_names},
        },
        configuration=run.config.to_yaml() if run else "",
        seeds=tuple(run.seeds) if run else (),
        facts=facts,
    )
