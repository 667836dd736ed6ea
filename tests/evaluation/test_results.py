"""Estimates, rows, comparisons and the sentences made of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from qdyn.data.sequences import SequenceDataset
from qdyn.evaluation.evaluate import evaluate
from qdyn.evaluation.evaluation import Evaluation
from qdyn.evaluation.metrics import Horizon
from qdyn.evaluation.results import Comparison, Curve, Estimate, Provenance, Row
from qdyn.models.baselines import Persistence


def test_an_estimate_keeps_both_uncertainties() -> None:
    values = np.random.default_rng(0).normal(1.0, 0.2, (4, 50))
    found = Estimate.of(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.std == pytest.approx(np.std([v.mean() for v in values], ddof=1))
    assert found.standard_error == pytest.approx(np.std(values.mean(0), ddof=1) / math.sqrt(50))
    assert Estimate.of(values[:1]).std is None
    assert Estimate.of(values[:1, :1]).standard_error is None


def test_figures_in_units_of_the_means_error_are_ratios() -> None:
    """The mean's own is 1 by definition; of others, what goes up and down with the unit is no uncertainty."""
    random = np.random.default_rng(7)
    sizes = random.lognormal(sigma=1.5, size=(60, 1, 1))
    data = SequenceDataset.from_arrays(
        sizes * random.standard_normal((60, 12, 2)),
        kind="real",
        normalised=False,
        splits={"train": (0, 30), "test": (30, 60)},
    )
    found = evaluate({"model": Persistence()}, dataset=data, progress=False)
    mean, model = found.row("mean").metrics, found.row("model").metrics
    assert mean["NMSE"].mean == pytest.approx(1)
    assert mean["NMSE"].standard_error == pytest.approx(0, abs=1e-9)
    assert model["MSE"].standard_error is not None
    assert model["NMSE"].standard_error is not None
    relative = model["MSE"].standard_error / model["MSE"].mean
    assert model["NMSE"].standard_error < 0.5 * relative * model["NMSE"].mean


def test_how_estimates_print() -> None:
    assert str(Estimate(0.2094, 0.0004, 0.01)) == "0.209 ± 0.000"
    assert str(Estimate(0.1889, None, 0.0131)) == "0.189(13)"
    assert str(Estimate(3.9, None, None)) == "3.900"


def test_the_spread_of_tiny_figures_is_seen() -> None:
    assert str(Estimate(7.7e-5, 1.1e-5, None)) == "7.7e-05 ± 1.1e-05"
    assert str(Estimate(-7.7e-5, 1.1e-5, None)) == "-7.7e-05 ± 1.1e-05"
    assert str(Estimate(0.0, 0.0, None)) == "0.000 ± 0.000"


def test_a_curve_counts_only_steps_that_exist() -> None:
    values = np.random.default_rng(1).random((3, 20, 5))
    mask = np.random.default_rng(2).random((20, 5)) < 0.7
    curve = Curve.of("x", values, mask)
    for step in range(5):
        kept = values[:, mask[:, step], step]
        assert curve.mean[step] == pytest.approx(kept.mean())
        assert curve.std is not None
        assert curve.std[step] == pytest.approx(kept.mean(axis=1).std(ddof=1))
        assert curve.standard_error is not None
        assert curve.standard_error[step] == pytest.approx(
            kept.mean(axis=0).std(ddof=1) / math.sqrt(kept.shape[1])
        )


def row(key: str, loss: float, **changes: object) -> Row:
    one = Row(
        key=key,
        label=key.capitalize(),
        standing="untrained",
        phase_convention="first_real",
        n_seeds=1,
        metrics={"L_1": Estimate(loss, None, 0.01)},
        horizons=(Horizon(1, False),),
        parameters=0,
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def judged(*rows: Row, differences: dict[str, float]) -> Evaluation:
    return Evaluation(
        split="test",
        n_sequences=9,
        n_steps=4,
        context=2,
        rollout_steps=3,
        threshold=0.9,
        rows=rows,
        teacher_forced={},
        rolled_out={},
        comparisons=tuple(Comparison(key, value, 0.01) for key, value in differences.items()),
        provenance=Provenance({"name": "toy", "kind": "quantum_state", "phase_convention": "first_real"}),
    )


MODEL = row("model", 0.3, standing="trained", n_seeds=2, horizons=(Horizon(2, False), Horizon(3, False)))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (0.2, "Rival, reaches 0.200(10) and beats it by 0.100(10). The model beats 1 of 2"),
        (0.4, "Rival, reaches 0.400(10): the model beats it by 0.100(10). The model beats 2 of 2"),
        (
            0.31,
            "Rival, reaches 0.310(10): no difference within two standard errors (0.010(10)). The model",
        ),
    ],
)
def test_the_headline_says_who_wins(loss: float, expected: str) -> None:
    found = judged(
        MODEL,
        row("rival", loss),
        row("chance", 3.3),
        row(
            "rival (raw)",
            0.1,
            label="In-context, raw phases",
            phase_convention="raw",
            horizons=(Horizon(3, True),),
        ),
        differences={"rival": 0.3 - loss, "chance": -3.0, "rival (raw)": 0.2},
    )
    assert expected in found.headline
    assert "In raw phases, in-context reaches L_1 = 0.100(10), better than the model." in found.headline
    assert "for 2.5 ± 0.7 steps; in-context, seeing raw phases, stays there for ≥ 3 steps." in found.headline


def test_without_an_error_nobody_is_called_better() -> None:
    for error in (None, float("inf"), float("nan")):
        assert Comparison("x", 0.3, error).verdict == "unknown"
        assert Comparison("x", 0.0, error).verdict == "unknown"
    found = judged(
        MODEL,
        row("rival", 0.2),
        row("raw", 0.1, label="Raw one", phase_convention="raw"),
        differences={"rival": 0.1, "raw": 0.2},
    )
    found = replace(found, comparisons=tuple(replace(one, standard_error=None) for one in found.comparisons))
    said = found.headline
    assert (
        "Rival, reaches 0.200(10): the model's is higher by 0.100, but the error of that is unknown." in said
    )
    assert "raw one reaches L_1 = 0.100(10), and it is unknown whether the model differs." in said
    assert "no difference" not in said
    assert "beats" not in said
    assert found.to_dict()["comparisons"][0]["verdict"] == "unknown"


def test_the_headline_without_a_trained_model() -> None:
    found = judged(row("rival", 0.2), row("chance", 3.3), differences={})
    assert (
        found.headline == "No trained model was judged. The best predictor, Rival, reaches L_1 = 0.200(10)."
    )


def test_a_row_of_several_seeds_says_how_far_it_is_censored() -> None:
    assert MODEL.mean_horizon == (2.5, False)
    assert row("x", 1.0, horizons=(Horizon(3, True), Horizon(3, True))).horizon_text == "≥ 3"
    assert row("x", 1.0, horizons=(Horizon(3, True), Horizon(1, False))).horizon_text == "≥ 2.0 ± 1.4"
    assert row("x", 1.0, horizons=()).horizon_text == "–"
