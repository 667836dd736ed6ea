"""The campaign of QASA: what is trained, and a page that says only what has been found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qdyn.data.timeseries import series_names
from qdyn.errors import RunError
from qdyn.evaluation.campaigns.published import Published, read_published
from qdyn.evaluation.series.campaign import Unit, campaign_units, collect_campaign, judged
from qdyn.evaluation.series.comparisons import comparisons, holm
from qdyn.evaluation.series.page import LABELS, campaign_page
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
        for seed in unit.presets()[0].training.seeds[:3]:
            errors = {"mae": error + 0.01 * slope * (seed % 10), "mse": error**2}
            ranks = {"effective": 3.0 + seed % 10}
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
    page = campaign_page(tmp_path, published)
    cells = line(page, "chaotic-logistic", "Published protocol")
    assert cells[1] == "0.33 ± 0.00816 / 0.09"
    assert cells[2] == "*0.3665 ± 0.0338 / 0.1995*"
    assert cells[3] == "–"
    # 0.33 with next to no spread is near the published 0.3665 ± 0.0338, and far from 22.15 ± 0.09.
    said = " ".join(page[page.index("Of 9 mean MAE") :].splitlines()[:4])
    assert "Classical encoder on piecewise-regime" in said
    assert "chaotic-logistic" not in said


def test_draws_have_model_seeds_of_their_own() -> None:
    """Else their means would share initial parameters, dropout and batches, and be no independent pairs."""
    units = list(campaign_units("causal", ["qasa"], tasks=["arma"]))
    seeds = [unit.presets()[0].training.seeds for unit in units]
    assert len(seeds) == 5
    assert len(set().union(*seeds)) == 50
    (published,) = campaign_units("published", ["qasa"])
    assert published.presets()[0].training.seeds == (42, 43, 44)


def test_pairs_are_of_one_seed_in_whatever_order(tmp_path: Path) -> None:
    for model, error in (("qasa", 0.5), ("classical", 0.6)):
        for unit in campaign_units("causal", [model], tasks=["waveform"]):
            finish(unit, tmp_path, error=error)
    path = tmp_path / "causal" / "classical" / "piecewise-regime-42" / "errors.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"rows": content["rows"][::-1]}))
    table = collect_campaign(tmp_path, "causal")
    (one,) = (found for found in comparisons(table, "aligned", ["classical"]) if found.task == "waveform")
    assert one.found.difference == pytest.approx(-0.1)
    assert one.found.interval == pytest.approx((-0.1, -0.1))
    assert np.isnan(one.found.t_test)


def test_effect_sizes_are_of_single_runs_with_draws_and_without(tmp_path: Path) -> None:
    """The same differences seed by seed give the same d, however many draws they are repeated in."""
    for model, error, slope in (("qasa", 0.5, 1.0), ("classical", 0.6, 2.0)):
        for unit in campaign_units("causal", [model]):
            finish(unit, tmp_path, error=error, slope=slope)
    table = collect_campaign(tmp_path, "causal")
    found = {one.task: one for one in comparisons(table, "aligned", ["classical"])}
    differences = -0.1 - 0.01 * np.arange(3)
    assert found["waveform"].cohen == pytest.approx(differences.mean() / differences.std(ddof=1))
    repeated = np.tile(differences, 5)
    assert found["arma"].cohen == pytest.approx(repeated.mean() / repeated.std(ddof=1))
    assert found["arma"].found.pairs == 5
    assert found["arma"].cliff == found["waveform"].cliff == -1.0


def test_trained_models_are_compared_with_trivial_ones(published: Published, tmp_path: Path) -> None:
    for unit in campaign_units("causal", ["qasa"]):
        finish(unit, tmp_path, error=0.5)
    table = collect_campaign(tmp_path, "causal")
    (value,) = table.values("persistence", "waveform", "aligned", "mae")[0]
    cell = line(campaign_page(tmp_path, published), "waveform", "Against forecasters without")[1]
    assert cell.startswith(f"{0.51 - value:+.3g} (")
    # A value from a whole period ago, 100 steps back: a roll-out from 20 values could not know it.
    seasonal = collect_campaign(tmp_path, "causal").values("seasonal_naive", "sawtooth", "aligned", "mae")
    assert float(seasonal.mean()) == pytest.approx(0.0071, abs=1e-4)


def test_runs_of_other_settings_are_no_part_of_the_campaign(published: Published, tmp_path: Path) -> None:
    (unit,) = campaign_units("causal", ["qlstm"])
    finish(unit, tmp_path, error=0.5)
    run = tmp_path / unit.key / unit.names()[0]
    run.mkdir()
    preset = unit.presets()[0]
    (run / "config.yaml").write_text(preset.to_yaml())
    assert unit.finished(tmp_path)
    other = tmp_path / "other"
    finish(unit, other, error=0.5)
    run = other / unit.key / unit.names()[0]
    run.mkdir()
    (run / "config.yaml").write_text(preset.with_seeds((5,)).to_yaml())
    with pytest.raises(RunError, match=r"was trained with other settings.*begin the campaign in another"):
        campaign_page(other, published)


def test_holm_rejects_what_bonferroni_does_and_more() -> None:
    levels = np.random.default_rng(0).uniform(0, 0.2, 12).tolist()
    corrected = holm(levels)
    assert all(one <= min(1.0, 12 * level) for one, level in zip(corrected, levels, strict=True))
    assert min(corrected) == pytest.approx(12 * min(levels))
    assert holm([float("nan"), *levels])[1:] == corrected
    assert sorted(corrected) == [corrected[k] for k in np.argsort(levels)]


def test_errors_are_means_over_all_steps() -> None:
    found = SeriesErrors.of(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    assert (found.mae, found.mse) == (1.5, 2.5)
