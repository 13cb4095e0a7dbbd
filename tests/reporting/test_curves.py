"""Charts: which lines share one, and where their points lie."""

import numpy as np
import pytest

from attngan_jax.reporting import curves
from attngan_jax.reporting.run_files import Series

LEFT, RIGHT = curves.LEFT, curves.WIDTH - curves.RIGHT
TOP, BOTTOM = curves.TOP, curves.HEIGHT - curves.BOTTOM


def series(values, every=10):
    return Series(np.arange(1, len(values) + 1) * every, np.asarray(values, float))


def points(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_scalars_that_differ_in_size_share_a_chart():
    values = {"d_loss_8": [1, 2], "d_loss_16": [3, 4], "g_loss": [5, 6], "learning_rate": [1, 1]}
    values["d_loss_regions"] = [7, 8]
    scalars = {f"train/{name}": series(value) for name, value in values.items()}
    scalars["eval/r_precision"] = series([0.1, 0.7])
    scalars |= {f"train/g_loss_{of}": series([2.5]) for of in ("64", "regions")}
    losses, others = curves.charts("attngan", scalars)
    titles = ["Generator loss, total", "Discriminator loss by stage", "R-precision"]
    assert [chart.title for chart in losses] == titles
    lines = [("8 px", "2"), ("16 px", "4"), ("regions", "8")]
    assert [(line.label, line.last) for line in losses[1].lines] == lines
    assert [chart.title for chart in others] == ["Learning rate"]
    alone = [(f"Generator loss by stage, {of}", "2.5", "10") for of in ("64 px", "regions")]
    assert curves.single("attngan", scalars) == alone


def test_labels_at_the_ends_stay_inside():
    texts = {curves.WIDTH - 10: "100,000", 200: "50,000", 10: "1,000"}
    anchors = [curves.anchor(x, text) for x, text in texts.items()]
    assert anchors == ["end", "middle", "start"]
    chart = curves.chart("loss", [("", series([1e-4, 1.23e-4]))])
    assert all(len(text) * curves.CHARACTER <= LEFT - 4 for _, text in chart.y_ticks)


def test_bands_of_the_spectrum_share_a_chart():
    names = ("spectrum_1-4", "spectrum_25-31", "kid_judge", "part_presence_eye")
    losses, _ = curves.charts("eval", {f"eval/{name}": series([1, 2]) for name in names})
    found = {chart.title: [line.label for line in chart.lines] for chart in losses}
    assert found == {
        "Spectrum, generated over real, by cycles an image": ["1-4", "25-31"],
        "Part presence, %": ["eye"],
        "KID (judge)": [""],
    }


def test_points_span_the_axes_and_rise_upwards():
    chart = curves.chart("loss", [("", series([0, 4, 10]))])
    (line,) = chart.lines
    (x0, y0), (x1, y1), (x2, y2) = points(line.smooth)
    assert (x0, x2) == (LEFT, RIGHT) and x1 == pytest.approx((x0 + x2) / 2)
    assert TOP < y2 < y1 < y0 < BOTTOM
    low, high = chart.y_range  # maps points back to values
    assert low + (y1 - BOTTOM) / (TOP - BOTTOM) * (high - low) == pytest.approx(4, abs=0.05)
    assert line.marked == points(line.smooth) and line.raw == ""


def test_a_long_noisy_line_is_reduced_and_smoothed():
    noise = np.random.default_rng(0).normal(0, 1, 5000)
    (line,) = curves.chart("loss", [("", series(3 + noise))]).lines
    assert len(points(line.smooth)) == len(points(line.raw)) == curves.MAX_POINTS
    raw, smooth = ([y for _, y in points(text)] for text in (line.raw, line.smooth))
    assert np.std(smooth) < np.std(raw) / 2


def test_smoothing_keeps_the_inside_of_a_straight_line_and_shortens_at_the_ends():
    values = np.linspace(0, 1, 100)
    smooth = curves._smoothed(series(values)).values
    np.testing.assert_allclose(smooth[10:-10], values[10:-10])
    assert smooth[0] == pytest.approx(values[:5].mean())  # 100 // 30 + 1 on either side


@pytest.mark.parametrize("values", [[3.0], [0.0], [2.0, 2.0, 2.0], [2e-4, 2e-4]])
def test_one_point_and_a_constant_stay_inside(values):
    chart = curves.chart("loss", [("", series(values))])
    for x, y in points(chart.lines[0].smooth):
        assert LEFT <= x <= RIGHT and TOP <= y <= BOTTOM
    assert len({text for _, text in chart.y_ticks}) == len(chart.y_ticks) >= 2
    if len(values) == 1:  # its own step and no other
        assert chart.x_ticks == [((LEFT + RIGHT) / 2, "10")]


def test_ticks_are_round_and_inside_and_numbers_have_three_digits():
    assert curves.ticks(0, 10, 4) == pytest.approx([0, 2, 4, 6, 8, 10])
    assert curves.ticks(0.31, 1.02, 4) == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert curves.ticks(10, 1800, 4) == pytest.approx([500, 1000, 1500])
    values = {0: "0", 12345.6: "12,346", 1.2345: "1.23", 0.00012345: "0.000123"}
    assert {value: curves.number(value) for value in values} == values
