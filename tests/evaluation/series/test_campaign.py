"""The campaign of QASA: what is trained, and a page that says only what has been found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qdyn.data.timeseries import series_names
from qdyn.evaluation.campaigns.published import Published, read_published
from qdyn.evaluation.series.campaign import Unit, campaign_units, collect_campaign, judged
from qdyn.evaluation.series.page import LABELS, campaign_page, holm
from qdyn.evaluation.series.protocols import (
    NOISY,
    PROTOCOLS,
    SeriesErrors,
    protocol_models,
    protocol_values,
    trivial_forecasters,
)

PAGE = Path(__file__).parents[3] / "docs" / "benchmarks" / "published" / "qasa.yaml"


@pytest.fixture(scope="module")
def published() -> Published:
    return read_published(PAGE)


def finish(unit: Unit, folder: Path, *, error: float, slope: float = 1.0) -> None:
    """What `conduct` leaves behind, with errors that we know."""
    first = "late" if unit.protocol == "published" else "one_step"
    rows = []
    for task in unit.tasks:
        for seed in range(3):
            errors = {"mae": error + 0.01 * slope * seed, "mse": error**2}
            ranks = {"effective": 3.0 + seed}
            rows.append({"task": task, "seed": seed, "rank": ranks, first: errors, "aligned": errors})
    content = {"model": unit.model, "data_seed": unit.data_seed, "cpu_seconds": 3600.0, "rows": rows}
    (folder / unit.key).mkdir(parents=True)
    (folder / unit.key / "errors.json").write_text(json.dumps(content))


def line(page: str, start: str, after: str) -> list[str]:
    """Cells of the first line that begins so below a heading."""
    below = page[page.index(after) :]
    return [cell.strip() for cell in below[below.index(f"\n| {start} |") :].splitlines()[1].split("|")[1:-1]]


def test_every_model_is_trained_on_its_series_once() -> None:
    for protocol in PROTOCOLS:
        units = list(campaign_units(protocol, list(LABELS)))
        assert len({unit.key for unit in units}) == len(units)
        for model in protocol_models(protocol):
            runs = [name for unit in units if unit.model == model for name in unit.names()]
            assert len(set(runs)) == len(runs)
            if model in {"qlstm", "qnnformer"}:
                assert len(runs) == 3
            else:
                draws = 5 if protocol == "causal" else 1
                assert len(runs) == len(series_names()) + (draws - 1) * len(NOISY)


def test_a_page_of_nothing_says_so(published: Published, tmp_path: Path) -> None:
    page = campaign_page(tmp_path, published)
    assert "**Incomplete: 0 of 24 pairs" in page
    assert "have not been trained on the same series yet" in page
    # The trivial forecasters of the published table: theory page, section 5.2.
    assert line(page, "chaotic-logistic", "without training")[1:4] == [
        "0.5598 / 0.4154", "0.2925 / 0.1042", "0.2881 / 0.1024",
    ]  # fmt: skip
    assert "±" not in line(page, "waveform", "Causal protocol")[2]


def test_models_and_trivial_forecasters_stand_on_the_same_draws(published: Published, tmp_path: Path) -> None:
    """Two draws of one model and one of another: the line is of the one that they share."""
    for unit in campaign_units("causal", ["qasa"], tasks=["arma"], data_seeds=2):
        finish(unit, tmp_path, error=0.5)
    (first,) = campaign_units("causal", ["classical"], tasks=["arma"], data_seeds=1)
    finish(first, tmp_path, error=0.75)
    table = collect_campaign(tmp_path, "causal")
    assert table.shared_seeds("arma") == [42]
    assert table.values("qasa", "arma", "aligned", "mae").shape == (1, 3)
    values = protocol_values("causal", "arma")
    zero = judged("causal", trivial_forecasters(values, train=320)["zero"], values)["aligned"]["mae"]
    page = campaign_page(tmp_path, published)
    cells = line(page, "arma", "Causal protocol")
    assert cells[1:4] == ["1", "0.76 ± 0.00816", "**0.51 ± 0.00816**"]
    assert cells[4] == f"{zero:.4g}"
    assert line(page, "arma", "Effective rank")[1:3] == ["4 ± 0.816", "4 ± 0.816"]
    # One draw of a noisy series is no evidence, so that nothing is compared.
    assert "have not been trained on the same series yet" in page
    assert "CPU time on one core: Classical encoder 1.00 h, QASA 2.00 h." in page


def test_pairs_are_draws_where_there_is_noise_and_seeds_where_there_is_none(
    published: Published, tmp_path: Path
) -> None:
    for model, error in (("qasa", 0.5), ("classical", 0.6)):
        for unit in campaign_units("causal", [model]):
            finish(unit, tmp_path, error=error + 0.001 * unit.data_seed**2 * (model == "qasa"), slope=error)
    page = campaign_page(tmp_path, published)
    noisy, clean = (line(page, task, "Roll-out MAE") for task in ("arma", "waveform"))
    assert (noisy[2], clean[2]) == ("5", "3")
    assert noisy[-1] == "4 of 5"  # the error at seed 42 is 1.764 larger
    assert line(page, "arma", "Causal protocol")[1] == "5"


def test_published_figures_stand_beside_ours(published: Published, tmp_path: Path) -> None:
    (unit,) = campaign_units("published", ["classical"])
    finish(unit, tmp_path, error=0.3)
    cells = line(campaign_page(tmp_path, published), "chaotic-logistic", "Published protocol")
    assert cells[1] == "0.31 ± 0.00816 / 0.09"
    assert cells[2] == "*0.3665 ± 0.0338 / 0.1995*"
    assert cells[3] == "–"


def test_holm_rejects_what_bonferroni_does_and_more() -> None:
    levels = np.random.default_rng(0).uniform(0, 0.2, 12).tolist()
    corrected = holm(levels)
    assert all(one <= min(1.0, 12 * level) for one, level in zip(corrected, levels, strict=True))
    assert min(corrected) == pytest.approx(12 * min(levels))
    assert sorted(corrected) == [corrected[k] for k in np.argsort(levels)]


def test_errors_are_means_over_all_steps() -> None:
    found = SeriesErrors.of(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    assert (found.mae, found.mse) == (1.5, 2.5)
