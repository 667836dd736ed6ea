"""Plotting functions draw what they are given, on the axes they are given, and touch nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from qdyn import plotting
from qdyn.errors import ArgumentError, OutputError
from qdyn.plotting import Line


def test_importing_it_imports_no_matplotlib_and_drawing_no_pyplot() -> None:
    script = (
        "import sys, qdyn.plotting as p; assert 'matplotlib' not in sys.modules;"
        "f = p.new_figure(3, 2); a = f.add_subplot(); p.plot_lines(p.dress(a), [1, 2], []);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_drawing_and_saving_leave_the_global_style_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    figure = plotting.new_figure(3, 2)
    plotting.plot_fidelity(
        figure.add_subplot(), [1, 2], [Line("a", np.array([1.0, 0.5]))], xlabel="steps", time_step=0.5
    )
    plotting.save_figure(figure, tmp_path / "a.svg")
    assert dict(mpl.rcParams) == before


def test_lines_and_bands_are_the_data() -> None:
    axes = plotting.new_figure(3, 2).add_subplot()
    y, spread = np.array([0.9, 0.5, 0.2]), np.array([0.0, 0.1, 0.2])
    returned = plotting.plot_lines(axes, [1, 2, 3], [Line("model", y, spread), Line("other", y / 2)])
    assert returned is axes
    drawn = {line.get_label(): line for line in axes.get_lines()}
    assert np.array_equal(drawn["model"].get_xydata(), np.column_stack([[1, 2, 3], y]))
    assert np.array_equal(drawn["other"].get_ydata(), y / 2)
    assert drawn["model"].get_zorder() > drawn["other"].get_zorder()
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(0.9)
    assert {(2.0, 0.4), (2.0, 0.6), (3.0, 0.0), (3.0, 0.4)} <= {(x, round(v, 12)) for x, v in corners}


def test_a_line_of_another_length_is_refused() -> None:
    axes = plotting.new_figure(3, 2).add_subplot()
    with pytest.raises(ArgumentError, match=r"must have 2 points each, but 'a' is \(3,\)"):
        plotting.plot_lines(axes, [1, 2], [Line("a", np.zeros(3))])


def test_the_second_axis_is_time() -> None:
    figure = plotting.new_figure(4, 3)
    axes = figure.add_subplot()
    lines = [Line("a", np.linspace(1, 0.5, 10))]
    plotting.plot_fidelity(axes, np.arange(1, 11), lines, xlabel="steps", threshold=0.9, time_step=0.35)
    figure.draw_without_rendering()
    (top,) = axes.child_axes
    assert top.get_xlim() == pytest.approx((0.35, 3.5))
    assert axes.get_ylim() == (0.0, 1.0)
    assert any(np.allclose(line.get_ydata(), 0.9) for line in axes.get_lines())


def test_forecasts_of_an_observable_hang_on_the_last_element_seen() -> None:
    axes = plotting.new_figure(4, 3).add_subplot()
    times, exact = 0.5 * np.arange(6), np.cos(np.arange(6.0))
    plotting.plot_observable(
        axes, times, exact, [Line("model", np.array([0.1, 0.2]))], context=3, xlabel="t", ylabel="m"
    )
    forecast = next(line for line in axes.get_lines() if line.get_label() == "model")
    assert np.array_equal(forecast.get_xdata(), times[2:5])
    assert np.array_equal(forecast.get_ydata(), [exact[2], 0.1, 0.2])


def test_training_curves_show_every_seed_and_their_mean() -> None:
    axes = plotting.new_figure(4, 3).add_subplot()
    loss = np.array([[3.0, 5.0], [1.0, 2.0]])
    plotting.plot_training(
        axes,
        [1, 10],
        loss,
        loss_label="loss",
        validation_steps=[10],
        validation=np.array([[1.0, 3.0]]),
        validation_label="v",
    )
    drawn = [list(line.get_ydata()) for line in axes.get_lines()]
    assert [3.0, 1.0] in drawn
    assert [5.0, 2.0] in drawn
    assert [4.0, 1.5] in drawn
    assert [2.0] in drawn
    assert axes.get_yscale() == "log"  # from 5 to 1


def test_training_curves_that_hardly_move_keep_a_linear_axis() -> None:
    axes = plotting.new_figure(4, 3).add_subplot()
    plotting.plot_training(axes, [1, 10], np.array([[3.0], [2.0]]), loss_label="loss")
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


def test_the_future_of_a_step_is_blank_in_an_attention_map() -> None:
    weights = np.tril(np.full((4, 4), 0.25))
    image = plotting.plot_attention(plotting.new_figure(3, 3).add_subplot(), weights)
    shown = image.get_array()
    assert np.array_equal(np.ma.getmaskarray(shown), np.triu(np.ones((4, 4), bool), 1))
    assert np.array_equal(shown.filled(0), weights)


def test_attention_of_any_mechanism_can_be_mapped() -> None:
    """Weights ahead are shown where there are some, signs by diverging colours, words along both axes."""
    weights = np.full((3, 3), 1 / 3)
    axes = plotting.new_figure(3, 3).add_subplot()
    image = plotting.plot_attention(axes, weights, labels=["the", "cat", "sleeps"])
    assert not np.ma.getmaskarray(image.get_array()).any()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["the", "cat", "sleeps"]
    signed = plotting.plot_attention(plotting.new_figure(3, 3).add_subplot(), np.tril(weights - 0.5))
    assert (signed.norm.vmin, signed.norm.vmax) == pytest.approx((-1 / 6, 1 / 6))
    with pytest.raises(ArgumentError, match="must name the 3 elements"):
        plotting.plot_attention(axes, weights, labels=["the"])


def test_colours_can_be_told_apart_without_colour() -> None:
    looks = [
        (style.colour, style.marker, str(style.dash))
        for style in (plotting.MODEL_STYLE, *plotting.OTHER_STYLES)
    ]
    shapes = [(marker, dash) for _, marker, dash in looks]
    assert len(set(shapes)) == len(shapes)
    assert len(set(looks)) == len(looks)


def a_figure() -> Figure:
    figure = plotting.new_figure(2, 2)
    figure.add_subplot().plot([0, 1])
    return figure


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    figure = a_figure()
    assert plotting.save_figure(figure, tmp_path / "deep" / "a.png").read_bytes().startswith(b"\x89PNG")
    first = plotting.save_figure(a_figure(), tmp_path / "a.svg").read_bytes()
    assert plotting.save_figure(a_figure(), tmp_path / "b.svg").read_bytes() == first
    with pytest.raises(OutputError, match=r"saved as \.png or \.svg"):
        plotting.save_figure(figure, tmp_path / "a.jpg")


def test_an_svg_for_a_page_carries_its_description_and_the_colours_of_the_page() -> None:
    figure = plotting.new_figure(3, 2)
    axes = figure.add_subplot()
    plotting.plot_lines(plotting.dress(axes, xlabel="x"), [0, 1], [Line("a", np.array([0.0, 1.0]))])
    text = plotting.to_svg(
        figure, colours={plotting.BLUE: "var(--blue)"}, prefix="one", description='say "a" < b'
    )
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'say "a" < b'
    assert root.get("viewBox") is not None
    assert root.get("width") is None
    assert "var(--blue)" in text
    assert plotting.BLUE not in text
    assert all(node.get("id", "one-").startswith("one-") for node in root.iter())
