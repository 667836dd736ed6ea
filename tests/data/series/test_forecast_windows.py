"""Windows of a record: causal splits, the scale of the training segment, tables, and recipes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qdyn
from qdyn.data.generation.generate import generate
from qdyn.data.recipes import Recipe
from qdyn.data.series.forecast_windows import WindowPlan, forecast_windows, read_csv
from qdyn.data.timeseries import series
from qdyn.errors import ArgumentError, ConfigError, DatasetError
from qdyn.models.baselines import AutoRegression, Persistence

SEGMENTS = {"train": (0, 320), "validation": (320, 400), "test": (400, 500)}
RECIPE = Recipe(
    name="seasonal-trend",
    source="time_series",
    seed=42,
    splits={"train": 300, "validation": 61, "test": 81},
    parameters={"series": "seasonal-trend", "n_steps": 20, "segments": SEGMENTS},
    precision="double",
)


@given(
    lengths=st.lists(st.integers(8, 40), min_size=3, max_size=3),
    n_steps=st.integers(1, 7),
    data=st.data(),
)
def test_no_target_belongs_to_two_splits(lengths: list[int], n_steps: int, data: st.DataObject) -> None:
    reach = data.draw(st.integers(1, n_steps))
    ends = np.cumsum([0, *lengths]).tolist()
    segments = {name: (ends[k], ends[k + 1]) for k, name in enumerate(("train", "validation", "test"))}
    record = np.arange(float(ends[-1]))
    plan = WindowPlan(n_steps, segments, reach)
    windows = forecast_windows(record, plan, scaling="none")
    for name, (first, last) in segments.items():
        batch = windows.split(name).batch(range(len(windows.split(name))))
        targets = batch.targets[..., 0].numpy()
        judged = targets if reach == 1 else targets[:, -1]
        assert first <= judged.min()
        assert judged.max() == last - 1
        # With the whole reach every element of a later segment is the last target of one window.
        if reach == n_steps and name != "train":
            np.testing.assert_array_equal(targets[:, -1], record[first:last])


def test_the_scale_is_that_of_the_training_segment_alone() -> None:
    values = series("seasonal-trend").astype(float)
    plan = WindowPlan(20, SEGMENTS)
    data = forecast_windows(values, plan)
    elsewhere = values.copy()
    elsewhere[320:] = 7 * elsewhere[320:] + 3
    changed = forecast_windows(elsewhere, plan)
    train = data.split("train").sequences()
    np.testing.assert_array_equal(train, changed.split("train").sequences())
    used = np.append(train[:, 0, 0].numpy(), train[-1, 1:, 0].numpy())
    assert used.mean() == pytest.approx(0, abs=1e-12)
    assert used.std() == pytest.approx(1, abs=1e-12)
    test = data.split("test")
    mean, scale = (test.conditions[f"{what}_value"][0].item() for what in ("mean", "scale"))
    assert int(test.conditions["start"][0]) == 399
    np.testing.assert_allclose(
        mean + scale * test.sequences([0])[0, :, 0].numpy(), values[399:420], atol=1e-12
    )


def test_a_recipe_makes_the_same_windows(tmp_path: Path) -> None:
    made = qdyn.load_dataset(generate(RECIPE, tmp_path / "series", progress=False), verify=True)
    direct = forecast_windows(series("seasonal-trend"), WindowPlan(20, SEGMENTS))
    np.testing.assert_array_equal(made.sequences(), direct.sequences())
    for name, values in direct.conditions.items():
        np.testing.assert_array_equal(made.conditions[name], values)
    other = replace(RECIPE, seed=43).make_source().block(seed=43, first=0, count=1, precision="double")
    assert np.abs(other.values[0] - made.sequences([0])[0].numpy()).max() > 1e-3


def test_fewer_windows_lie_evenly_in_their_segments() -> None:
    recipe = RECIPE.resized(12)
    block = recipe.make_source().block(seed=42, first=0, count=12, precision="double")
    starts = block.conditions["start"]
    for name, (first, last) in recipe.split_ranges.items():
        begin, end = SEGMENTS[name]
        assert ((starts[first:last] >= begin - 1) & (starts[first:last] + 21 <= end)).all()
    with pytest.raises(ConfigError, match=r"recipe seasonal-trend: `splits` must have at most 300 windows"):
        RECIPE.resized(884).make_source()


def test_etth1_is_cut_as_published(shared: Path) -> None:
    """Rows, windows, scale and the errors of persistence and AR(20) on the published 500 test windows."""
    golden: dict[str, Any] = json.loads((shared / "golden" / "qasa.json").read_text())["etth1"]
    path = shared / "data" / "ETTh1.csv"
    if not path.is_file():
        pytest.skip("the table ETTh1.csv is not there")
    table = read_csv(path, columns=["OT"])
    assert len(table.values) == golden["n_total"]
    assert (table.time_step, table.dated) == (3600.0, True)
    segments = {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}
    plan = WindowPlan(20, segments, reach=20)
    assert len(plan.starts["train"]) == golden["train_windows"]
    assert len(plan.starts["test"]) == golden["test_windows"]
    values = table.values.astype(np.float32)
    every, few = (forecast_windows(values, plan, counts={"train": n, "test": 500}) for n in (8620, 500))
    assert every.conditions["mean_value"][0].item() == pytest.approx(golden["mean"], rel=1e-6)
    assert every.conditions["scale_value"][0].item() == pytest.approx(golden["std"], rel=1e-6)
    batch = every.split("test").batch(range(500))

    def errors(forecast: Any) -> list[float]:
        difference = forecast - batch.targets[:, -1, 0]
        return [float(difference.abs().mean()), float(difference.square().mean())]

    # The golden numbers come from values scaled in single precision.
    last = Persistence().fit(every).forecast(batch.inputs)[:, -1, 0]
    assert errors(last) == pytest.approx(golden["persistence"], rel=1e-6)
    for data, key in ((every, "AR20_ols_allwindows"), (few, "AR20_ols_500windows")):
        ahead = AutoRegression(20).fit(data).forecast(batch.inputs)[:, -1, 0]
        assert errors(ahead) == pytest.approx(golden[key], rel=1e-6)
    # The published mean is that of the last targets of the 500 training windows.
    mean = few.split("train").sequences()[:, -1, 0].mean()
    assert errors(mean) == pytest.approx(golden["train_mean"], rel=1e-6)


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_a_table_of_several_columns_becomes_a_recipe(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    numbers = random.standard_normal((60, 2))
    lines = [f"{0.5 * k},{a!r},{b!r}" for k, (a, b) in enumerate(numbers.tolist())]
    path = write(tmp_path, "\n".join(["when,left,right", *lines]))
    recipe = Recipe(
        name="mine",
        source="time_series",
        seed=0,
        splits={"train": 30, "test": 10},
        parameters={
            "csv": str(path),
            "columns": ["right", "left"],
            "n_steps": 4,
            "scaling": "none",
            "segments": {"train": [0, 40], "test": [40, 60]},
        },
        precision="double",
    )
    data = qdyn.load_dataset(generate(recipe, tmp_path / "made", progress=False), verify=True)
    assert data.metadata.components == ("right", "left")
    start = int(data.conditions["start"][35])
    np.testing.assert_array_equal(data.sequences([35])[0], numbers[start : start + 5, ::-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,a\n0,1\n1,x\n", r"line 3, a: must be a finite number, but is 'x'"),
        ("t,a\n0,1\n1,nan\n", r"line 3, a: must be a finite number"),
        ("t,a\n0,1\n1,2\n3,2\n", r"line 4: times must increase in equal steps, but 3 follows 1"),
        ("t,a\n2020-01-01,1\n2019-12-31,2\n", r"line 3: times must increase"),
        ("t,a\nsoon,1\nlater,2\n", r"the time column must hold numbers or dates"),
        ("t,a\n0,1\n1\n", r"line 3: must have 2 entries, but has 1"),
        ("t,a\n0,1\n,\n1,2\n", r"line 3, a: must be a finite number, but is ''"),
        ("t,a\n0,1\ninf,2\n", r"line 3: times must increase in equal steps"),
        ("t,b\n0,1\n1,2\n", r"has no column 'a'"),
        ("t,a,a\n0,1,5\n1,2,6\n", r"the column 'a' must stand there once, but stands there twice"),
        ("t,a,t\n0,1,5\n1,2,6\n", r"the column 't' must stand there once"),
        ("t,a\n", r"at least two rows of numbers"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_csv(write(tmp_path, text), columns=["a"])


def test_empty_lines_are_none_and_keep_the_count(tmp_path: Path) -> None:
    table = read_csv(write(tmp_path, "\nt,a\n0,1\n\n1,2\n  \n\n"))
    assert table.values[:, 0].tolist() == [1, 2]
    with pytest.raises(DatasetError, match=r"line 5: times must increase in equal steps, but 5 follows 1"):
        read_csv(write(tmp_path, "t,a\n0,1\n1,2\n\n5,3\n\n"))
    with pytest.raises(DatasetError, match=r"line 5, a: must be a finite number"):
        read_csv(write(tmp_path, "t,a\n0,1\n1,2\n\n2,x\n"))


def test_times_in_seconds_since_1970_may_stand_close(tmp_path: Path) -> None:
    """Doubles are 2.4e-7 apart there, so no step of 0.1 s is 0.1 s to a millionth; a real gap still shows."""
    rows = [f"{1_600_000_000 + 0.1 * k:.1f},{k}" for k in range(1000)]
    assert read_csv(write(tmp_path, "\n".join(["t,a", *rows]))).time_step == pytest.approx(0.1)
    with pytest.raises(DatasetError, match=r"line 502: times must increase in equal steps"):
        read_csv(write(tmp_path, "\n".join(["t,a", *rows[:500], *rows[501:]])))
    with pytest.raises(DatasetError, match="line 4: times must increase in equal steps"):
        read_csv(write(tmp_path, "t,a\n1600000000.0,1\n1600000000.1,2\n1600000000.20001,2\n"))
    with pytest.raises(DatasetError, match="line 3: times must increase in equal steps"):
        read_csv(write(tmp_path, "t,a\n1600000000.00000001,1\n1600000000.00000002,2\n"))


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the sha256 must be 00, but is"):
        read_csv(write(tmp_path, "t,a\n0,1\n1,2\n"), sha256="00")


@pytest.mark.usefixtures("as_user")
def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must not go back in time, but 'test' begins at 5"):
        WindowPlan(2, {"train": (0, 10), "test": (5, 20)})
    with pytest.raises(ArgumentError, match="must have room for windows of 12 elements, but 'train'"):
        WindowPlan(11, {"train": (0, 10)})
    with pytest.raises(
        ArgumentError, match="must end within the 500 elements of the record, but ends at 501"
    ):
        forecast_windows(series("arma"), WindowPlan(20, {"train": (0, 501)}))
    with pytest.raises(ArgumentError, match="must be finite, but element 3 is not"):
        forecast_windows([0.0, 1, 2, np.nan, 4], WindowPlan(1, {"train": (0, 5)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"series": "sinus"}, "`series` is 'sinus', which is unknown"),
        ({"csv": "a.csv"}, "`series` or `csv` must be given, and not both"),
        ({"sha256": "00"}, "are for a table"),
        ({"segments": {"test": [0, 500]}}, "must have the split train"),
        ({"reach": 21}, r"`reach` must be an integer in \[1, 20\], but is 21"),
    ],
)
def test_wrong_parameters_get_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(RECIPE, parameters={**RECIPE.parameters, **change}).make_source()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"values": [1j] * 30}, "`values` must hold real numbers"),
        ({"values": ["a"] * 30}, "`values` must hold real numbers"),
        ({"counts": {"train": -1}}, "`counts` must be an integer >= 0, but is -1"),
        ({"components": ["a", "b"]}, "`components` must name the 1 components, but has 2 names"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_records_that_are_none_are_refused_in_one_line(change: dict[str, Any], part: str) -> None:
    given: dict[str, Any] = {"values": np.arange(30.0), "plan": WindowPlan(4, {"train": (0, 30)})} | change
    with pytest.raises(ArgumentError, match=re.escape(part)):
        forecast_windows(given.pop("values"), given.pop("plan"), **given)


@pytest.mark.parametrize("bounds", [(0,), (0.0, 30.0)])
@pytest.mark.usefixtures("as_user")
def test_segments_are_pairs_of_whole_numbers(bounds: Any) -> None:
    with pytest.raises(ArgumentError, match="`segments` must"):
        WindowPlan(4, {"train": bounds})


@pytest.mark.usefixtures("as_user")
def test_a_table_of_times_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("date\n2026-01-01\n2026-01-02\n")
    with pytest.raises(DatasetError, match="must have a column of values beside the time column 'date'"):
        read_csv(tmp_path / "times.csv")
