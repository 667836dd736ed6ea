"""Published figures: read from their file, and how agreement with them is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qdyn.errors import ConfigError
from qdyn.evaluation.campaigns.page import Entry, Page, matrix, page_lines, write_campaign
from qdyn.evaluation.campaigns.published import PublishedFigure, agreement, read_published, table_rows
from qdyn.evaluation.campaigns.trials import Figure, Outcome, Trial
from qdyn.training.config import DatasetConfig, RunConfig

SHIPPED = Path(__file__).resolve().parents[3] / "docs" / "benchmarks" / "published" / "qsa_tfim.yaml"


def test_the_published_table_is_complete() -> None:
    published = read_published(SHIPPED)
    assert published.find("k-QSA", 6, "train", "L_B") == PublishedFigure(0.343, 0.194, 8)
    assert published.find("k-QSA", 2, "train", "mu") == PublishedFigure(2.33e-3, None, 8)
    assert published.find("nl-CSA-gen", None, "train", "L_1") == PublishedFigure(0.46, 0.20, 8)
    assert published.find("k-QSA", 7, "train", "L_1") is None
    # Every loss falls or stays with the degree in the classical twins, whose seeds do not stall.
    for model in ("k-CSA", "poly-k-CSA"):
        means = [published.find(model, k, "train", "L_1").mean for k in published.degrees]  # type: ignore[union-attr]
        assert means == sorted(means, reverse=True)


def test_a_series_must_fit_its_degrees(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(
        "citation: x\nseeds: 8\ndegrees: [1, 2, 3]\n"
        "figures:\n  - {model: a, split: test, metric: L_1, mean: [1.0, 2.0]}\n"
    )
    with pytest.raises(ConfigError, match="one entry for each of 3 degrees, but has 2"):
        read_published(path)


def test_verdicts() -> None:
    ours = Figure((0.30, 0.32, 0.34, 0.36), 0.01)  # 0.33, standard error over seeds 0.0129
    assert agreement(ours, PublishedFigure(0.35, 0.02, 8)).verdict == "seeds"
    # 0.05 away: 3.9 errors of ours; joint: sqrt(0.0129^2 + 0.06^2/8 + 2 * 0.01^2) = 0.0287, 1.7 of these.
    found = agreement(ours, PublishedFigure(0.38, 0.06, 8))
    assert found.verdict == "draw"
    assert found.joint_errors == pytest.approx(-0.05 / np.sqrt(0.0129099**2 + 0.06**2 / 8 + 2e-4), rel=1e-4)
    assert agreement(ours, PublishedFigure(0.5, 0.02, 8)).verdict == "open"
    one = agreement(Figure((0.3,), None), PublishedFigure(0.3, None, 8))
    assert one.verdict == "seeds"


@pytest.mark.parametrize("stalled", range(1, 8))
def test_the_number_of_stalled_seeds_follows_from_mean_and_spread(stalled: int) -> None:
    theirs = np.array([0.9] * stalled + [0.3] * (8 - stalled))
    published = PublishedFigure(float(theirs.mean()), float(theirs.std()), 8)
    ours = Figure((0.3, *([0.3001] * 6), 0.9), 0.001)
    found = agreement(ours, published, two_outcomes=True)
    assert found.stalled == (1, stalled)
    from scipy.stats import fisher_exact

    assert found.probability == pytest.approx(fisher_exact([[1, 7], [stalled, 8 - stalled]]).pvalue)


def outcome(key: str, values: tuple[float, ...], standing: str = "trained") -> Outcome:
    metrics = {name: Figure(values, 0.01) for name in ("L_1", "L_B", "mu", "fidelity", "rollout_fidelity")}
    return Outcome(key, key, standing, "first_real", 4, {"train": metrics, "test": metrics}, 1.5)  # type: ignore[arg-type]


def page(values: tuple[float, ...]) -> Page:
    config = RunConfig(name="a", dataset=DatasetConfig(name="x"))
    return Page(
        title="A campaign",
        introduction=["Its data."],
        entries=[Entry("k-QSA", 6, Trial("k-QSA-6", config))],
        outcomes={"k-QSA-6": outcome("k-QSA-6", values)},
        untrained={
            "persistence": outcome("persistence", (1.2,), "untrained"),
            "exact": outcome("exact", (0.0,), "oracle"),
        },
        published=read_published(SHIPPED),
        stalling=frozenset({"k-QSA"}),
    )


def test_the_page_shows_ours_beside_theirs_and_the_untrained_rows(tmp_path: Path) -> None:
    lines = page_lines(page((0.21, 0.21, 0.62, 0.21)))
    text = "\n".join(lines)
    assert "| k-QSA | test L_1 | 0.312 ± 0.205 (0.343 ± 0.234) |" in text
    ranked = [line for line in lines if "first_real" in line]
    assert ["k-QSA-6" in ranked[0], "persistence" in ranked[1], "*exact*" in ranked[2]] == [True] * 3
    # Means of L_1 and L_B agree; mu, here the same made-up number, does not.
    assert "Of 4 published means, 3 lie within two standard errors" in text
    assert "1 differ by more than that" in text
    write_campaign(page((0.21, 0.21, 0.62, 0.21)), tmp_path)
    assert (tmp_path / "table.md").read_text() == text + "\n"


def test_rows_of_the_table_have_the_names_that_are_relied_on() -> None:
    rows = table_rows(
        outcome("x", (0.2, 0.4)).figures,
        model="k-QSA",
        degree=6,
        seconds=1.5,
        published=read_published(SHIPPED),
    )
    row = next(row for row in rows if (row["split"], row["metric"]) == ("test", "L_1"))
    assert row == {
        "model": "k-QSA",
        "degree": 6,
        "split": "test",
        "metric": "L_1",
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.2 / 2**0.5),
        "seeds": 2,
        "published_mean": 0.343,
        "published_std": 0.234,
        "seconds": 1.5,
        "standard_error": 0.01,
    }


def test_a_matrix_of_campaigns() -> None:
    lines = matrix(
        {"one": {"a": outcome("a", (0.2, 0.4))}, "two": {"b": outcome("b", (1.0,), "untrained")}}, "L_1"
    )
    assert lines == [
        "| predictor | one | two |",
        "|---|---|---|",
        "| **a** | 0.30 ± 0.14 | – |",
        "| b | – | 1.000(10) |",
    ]
