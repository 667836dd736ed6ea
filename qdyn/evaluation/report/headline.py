"""The headline: what the table says, as sentences made from its figures, whoever wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdyn.evaluation.results import RAW_SUFFIX, Comparison, Row, decisive, with_error

if TYPE_CHECKING:
    from qdyn.evaluation.evaluation import Evaluation


def headline(evaluation: Evaluation) -> str:
    """What the figures say about the first trained model, or about the best predictor where none was trained.

    Two predictors whose L_1 (of series: NMSE) differ by no more than two standard errors, sequence by
    sequence, count as equal; where the error is unknown, neither is called better.
    """
    trained = [row for row in evaluation.rows if row.standing == "trained"]
    untrained = [row for row in evaluation.rows if row.standing == "untrained"]
    if not trained:
        if not untrained:
            return "No predictor but oracles was judged."
        best = _best(untrained)
        reached = f"The best predictor, {best.label}, reaches {decisive(best.metrics)} = {best.loss}"
        return f"No trained model was judged. {reached}."
    model = trained[0]
    seeds = f" ({model.n_seeds} seeds)" if model.n_seeds > 1 else ""
    sentences = [
        f"{model.label}{seeds} reaches {decisive(model.metrics)} = {model.loss} on the {evaluation.split} "
        "split."
    ]
    against = {one.key: one for one in evaluation.comparisons}
    own = [row for row in untrained if row.phase_convention == model.phase_convention]
    other = [row for row in untrained if row.phase_convention != model.phase_convention]
    if own:
        where = (
            f" that sees the same {model.phase_convention} phases" if other and model.phase_convention else ""
        )
        sentences.append(_verdict(_best(own), against, where=where))
        known = [row for row in own if against[row.key].verdict != "unknown"]
        beaten = sum(against[row.key].verdict == "better" for row in known)
        if known:
            sentences.append(f"The model beats {beaten} of {len(own)} such predictors.")
    if other:
        best = _best(other)
        relation = {
            "better": "which the model beats",
            "worse": "better than the model",
            "equal": "as good as the model",
            "unknown": "and it is unknown whether the model differs",
        }
        sentences.append(
            f"In {best.phase_convention} phases, {_bare(best)} reaches "
            f"{decisive(best.metrics)} = {best.loss}, {relation[against[best.key].verdict]}."
        )
    if model.mean_horizon is not None:
        sentences.append(_rolled_out(evaluation, model, own + other))
    return " ".join(sentences)


def _verdict(rival: Row, against: dict[str, Comparison], *, where: str) -> str:
    comparison = against[rival.key]
    gap = with_error(abs(comparison.difference), comparison.standard_error)
    name = f"The best predictor without gradient training{where}, {rival.label}, reaches {rival.loss}"
    if comparison.verdict == "worse":
        return f"{name} and beats it by {gap}."
    if comparison.verdict == "better":
        return f"{name}: the model beats it by {gap}."
    if comparison.verdict == "unknown":
        lower = "lower" if comparison.difference < 0 else "higher"
        return f"{name}: the model's is {lower} by {gap}, but the error of that is unknown."
    return f"{name}: no difference within two standard errors ({gap})."


def _rolled_out(evaluation: Evaluation, model: Row, rivals: list[Row]) -> str:
    def steps(row: Row) -> float:
        return -1.0 if row.mean_horizon is None else row.mean_horizon[0]

    threshold = f"{evaluation.threshold:g}"
    text = (
        f"Rolled out from {evaluation.context} states, the model's mean fidelity stays at {threshold} or "
        f"above for {model.horizon_text} steps"
    )
    furthest = max(rivals, key=steps, default=None)
    if furthest is None:
        return f"{text}."
    if steps(furthest) > steps(model):
        differs = furthest.phase_convention != model.phase_convention
        seeing = f", seeing {furthest.phase_convention} phases," if differs else ""
        return f"{text}; {_bare(furthest)}{seeing} stays there for {furthest.horizon_text} steps."
    return f"{text}, and no predictor without gradient training for longer."


def _best(rows: list[Row]) -> Row:
    return min(rows, key=lambda row: row.loss.mean)


def _bare(row: Row) -> str:
    """The label within a sentence that names the phases already."""
    label = row.label.removesuffix(RAW_SUFFIX)
    return label[0].lower() + label[1:] if label[:1].isupper() and label[1:2].islower() else label
