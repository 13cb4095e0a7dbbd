"""Line charts of a run's scalars: the coordinates of an SVG that the page's style colours."""

import dataclasses
import math
import re

import numpy as np

from attngan_jax.reporting.run_files import Series

WIDTH, HEIGHT = 340, 190  # SVG units
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 24
MAX_POINTS = 240  # of a line; more are averaged in bins
SMOOTH_FROM = 40  # points from which on a smoothed line lies over the raw one

TITLES = {
    "train/damsm_loss": "DAMSM loss",
    "train/word_loss": "Word loss",
    "train/sentence_loss": "Sentence loss",
    "train/g_loss": "Generator, in all",
    "train/g_loss_*": "Generator, by stage",
    "train/d_loss_*": "Discriminators, by stage",
    "train/kl_loss": "KL of the condition",
    "eval/r_precision": "R-precision",
    **{
        f"eval/{key}_{family}": f"{key.upper()} ({family})"
        for key in ("fid", "kid")
        for family in ("torchvision", "tf-2015", "damsm")
    },
    "eval/retrieval_r1": "Retrieval, mean R@1",
    **{
        f"eval/{way}_{key}": f"{way.replace('_', ' ').capitalize()}, {name}"
        for way in ("image_to_text", "text_to_image")
        for key, name in (
            ("r1", "R@1"),
            ("r5", "R@5"),
            ("r10", "R@10"),
            ("median_rank", "median rank"),
        )
    },
}
STAGE_TITLES = {("attngan", "train/damsm_loss"): "DAMSM term (with its weight)"}


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: `raw` and `smooth` are SVG point lists (raw empty if it equals smooth)."""

    label: str
    raw: str
    smooth: str
    first: str
    last: str
    marked: list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart: ticks are (position, text); `x_range` and `y_range` map positions to values."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def charts(stage: str, scalars: dict[str, Series]) -> tuple[list[Chart], list[Chart]]:
    """The charts of one stage: (losses and evaluations, everything else).

    Scalars that differ only in a size at the end (`d_loss_16`, `d_loss_64`) share a chart.
    """
    groups: dict[str, list[tuple[str, Series]]] = {}
    for name, series in scalars.items():
        if len(series.steps):
            sized = re.fullmatch(r"(.+)_(\d+)", name)
            key, label = (f"{sized[1]}_*", f"{sized[2]} px") if sized else (name, "")
            groups.setdefault(key, []).append((label, series))
    order = {key: place for place, key in enumerate(TITLES)}
    main, further = [], []
    for key in sorted(groups, key=lambda key: (order.get(key, len(order)), key)):
        title = STAGE_TITLES.get((stage, key)) or TITLES.get(key) or _title(key)
        lines = sorted(groups[key], key=lambda line: (len(line[0]), line[0]))
        kind = main if "loss" in key or key.startswith("eval/") else further
        kind.append(chart(title, lines))
    return main, further


def chart(title: str, lines: list[tuple[str, Series]]) -> Chart:
    """A chart of one or more (label, series) over the same axes."""
    reduced = [_reduced(series) for _, series in lines]
    smoothed = [_smoothed(series) for series in reduced]
    x_range = _span([series.steps for series in reduced], 0)
    y_range = _span(
        [
            np.concatenate([smooth.values, np.percentile(raw.values, [2, 98])])
            for raw, smooth in zip(reduced, smoothed)
        ],
        0.06,
    )

    def points(series: Series) -> list[tuple[float, float]]:
        x = _place(series.steps, x_range, LEFT, WIDTH - RIGHT)
        y = _place(series.values, y_range, HEIGHT - BOTTOM, TOP)
        return [(round(a, 1), round(b, 1)) for a, b in zip(x.tolist(), y.tolist())]

    drawn = []
    for (label, series), raw, smooth in zip(lines, reduced, smoothed):
        drawn.append(
            Line(
                label=label,
                raw=_svg(points(raw)) if len(raw.steps) >= SMOOTH_FROM else "",
                smooth=_svg(points(smooth)),
                first=number(series.values[0]),
                last=number(smooth.values[-1]),
                marked=points(raw) if len(raw.steps) <= 24 else [],
            )
        )
    return Chart(
        title,
        drawn,
        [
            (_place(tick, x_range, LEFT, WIDTH - RIGHT), f"{tick:,.0f}")
            for tick in ticks(*x_range, 4)
        ],
        [
            (_place(tick, y_range, HEIGHT - BOTTOM, TOP), number(tick))
            for tick in ticks(*y_range, 4)
        ],
        x_range,
        y_range,
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, `about` that many: multiples of 1, 2 or 5 times 10^k."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def number(value: float) -> str:
    """A value in three significant digits: 12,300 / 4.56 / 0.078 / 1.2e-06."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _title(key: str) -> str:
    words = key.split("/")[-1].removesuffix("_*").replace("_", " ")
    return words[:1].upper() + words[1:]


def _reduced(series: Series) -> Series:
    if len(series.steps) <= MAX_POINTS:
        return series
    bins = np.array_split(np.arange(len(series.steps)), MAX_POINTS)
    return Series(
        np.array([series.steps[b].mean() for b in bins]),
        np.array([series.values[b].mean() for b in bins]),
    )


def _smoothed(series: Series) -> Series:
    """A centred moving average over about a fifteenth of the points, shorter at the ends."""
    count = len(series.values)
    if count < SMOOTH_FROM:
        return series
    half = count // 30 + 1
    sums = np.concatenate([[0], np.cumsum(series.values)])
    low = np.maximum(np.arange(count) - half, 0)
    high = np.minimum(np.arange(count) + half + 1, count)
    return Series(series.steps, (sums[high] - sums[low]) / (high - low))


def _span(arrays: list[np.ndarray], margin: float) -> tuple[float, float]:
    low = float(min(array.min() for array in arrays))
    high = float(max(array.max() for array in arrays))
    if low == high:  # one point, or a constant
        return low - max(abs(low), 1) * 0.05, high + max(abs(high), 1) * 0.05
    return low - margin * (high - low), high + margin * (high - low)


def _place(value, value_range: tuple[float, float], start: float, end: float):
    low, high = value_range
    place = start + (np.asarray(value, float) - low) / (high - low) * (end - start)
    return place if np.ndim(place) else round(float(place), 1)


def _svg(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
