"""Charts: which lines share one, and where their points lie."""

import numpy as np
import pytest

from attngan_jax.reporting import curves
from attngan_jax.reporting.run_files import Series


def series(values, every=10):
    return Series(np.arange(1, len(values) + 1) * every, np.asarray(values, float))


def points(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_scalars_that_differ_in_size_share_a_chart():
    scalars = {
        "train/d_loss_8": series([1, 2]),
        "train/d_loss_16": series([3, 4]),
        "train/g_loss": series([5, 6]),
        "train/learning_rate": series([1, 1]),
        "eval/r_precision": series([0.1, 0.7]),
    }
    main, further = curves.charts("attngan", scalars)
    assert [chart.title for chart in main] == [
        "Generator, in all",
        "Discriminators, by stage",
        "R-precision",
    ]
    assert [line.label for line in main[1].lines] == ["8 px", "16 px"]
    assert [line.last for line in main[1].lines] == ["2", "4"]
    assert [chart.title for chart in further] == ["Learning rate"]


def test_points_span_the_axes_and_rise_upwards():
    line = curves.chart("loss", [("", series([0, 5, 10]))]).lines[0]
    (x0, y0), (x1, y1), (x2, y2) = points(line.smooth)
    assert (x0, x2) == (curves.LEFT, curves.WIDTH - curves.RIGHT)
    assert x1 == pytest.approx((x0 + x2) / 2) and y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert curves.TOP < y2 < y1 < y0 < curves.HEIGHT - curves.BOTTOM
    assert len(line.marked) == 3 and line.raw == ""


def test_ranges_map_points_back_to_values():
    chart = curves.chart("loss", [("", series([2, 5, 11]))])
    _, y = points(chart.lines[0].smooth)[1]
    low, high = chart.y_range
    share = (y - (curves.HEIGHT - curves.BOTTOM)) / (curves.TOP - curves.HEIGHT + curves.BOTTOM)
    assert low + share * (high - low) == pytest.approx(5, abs=0.05)


def test_a_long_noisy_line_is_reduced_and_smoothed():
    noise = np.random.default_rng(0).normal(0, 1, 5000)
    line = curves.chart("loss", [("", series(3 + noise))]).lines[0]
    assert len(points(line.smooth)) == len(points(line.raw)) == curves.MAX_POINTS
    raw, smooth = ([y for _, y in points(drawn)] for drawn in (line.raw, line.smooth))
    assert np.std(smooth) < np.std(raw) / 2


def test_smoothing_keeps_a_straight_line_inside():
    values = np.linspace(0, 1, 100)
    smooth = curves._smoothed(series(values)).values
    np.testing.assert_allclose(smooth[10:-10], values[10:-10])


@pytest.mark.parametrize("values", [[3.0], [2.0, 2.0, 2.0], [0.0]])
def test_one_point_and_a_constant_stay_inside(values):
    chart = curves.chart("loss", [("", series(values))])
    for x, y in points(chart.lines[0].smooth):
        assert curves.LEFT <= x <= curves.WIDTH - curves.RIGHT
        assert curves.TOP <= y <= curves.HEIGHT - curves.BOTTOM


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.31, 1.02, [0.4, 0.6, 0.8, 1.0]),
        (10, 1800, [500, 1000, 1500]),
    ],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert curves.ticks(low, high, 4) == pytest.approx(expected)


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (12345.6, "12,346"), (1.2345, "1.23"), (0.00012345, "0.000123")]
)
def test_numbers_have_three_digits(value, text):
    assert curves.number(value) == text
