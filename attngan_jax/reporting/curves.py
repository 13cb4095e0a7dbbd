"""Line charts of a run's scalars as SVG coordinates; the page colours them, light or dark."""

import dataclasses
import math
import re
from collections.abc import Callable

import numpy as np

from attngan_jax.reporting.run_files import Series

WIDTH, HEIGHT = 340, 190  # SVG units
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 10, 24
CHARACTER = 6.5  # width of one in the labels of the axes, at most
MAX_POINTS = 240  # of a line; more are averaged in bins
SMOOTH_FROM = 40  # points from which on a smoothed line is drawn over the raw one
MARK_UP_TO = 24  # points that get a dot each

RANKS = {"r1": "R@1", "r5": "R@5", "r10": "R@10", "median_rank": "median rank"}
FAMILIES = ("judge", "torchvision", "tf-2015", "damsm")
GROUPS = ("eval/spectrum", "eval/part_presence")  # scalars that share a chart by their first words
TITLES = {
    "train/damsm_loss": "DAMSM loss",
    "train/word_loss": "Word loss",
    "train/sentence_loss": "Sentence loss",
    "train/g_loss": "Generator loss, total",
    "train/g_loss_*": "Generator loss by stage",
    "train/d_loss_*": "Discriminator loss by stage",
    "train/kl_loss": "KL loss of conditioning augmentation",
    "train/data_wait_fraction": "Share of the time that devices waited for data",
    "eval/r_precision": "R-precision",
    "eval/r_precision_independent": "R-precision, independent",
    "eval/spectrum_*": "Spectrum, generated over real, by cycles an image",
    "eval/part_presence_*": "Part presence, %",
    "eval/r_precision_real_images": "R-precision, real images",
    "eval/attribute_accuracy": "Attribute accuracy",
    **{f"eval/fid_{family}": f"FID ({family})" for family in FAMILIES},
    **{f"eval/kid_{family}": f"KID ({family})" for family in FAMILIES},
    "eval/retrieval_r1": "Retrieval, mean R@1",
    **{f"eval/image_to_text_{key}": f"Image to text, {rank}" for key, rank in RANKS.items()},
    **{f"eval/text_to_image_{key}": f"Text to image, {rank}" for key, rank in RANKS.items()},
}
STAGE_TITLES = {("attngan", "train/damsm_loss"): "DAMSM loss, weighted by λ"}


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: SVG point lists, `raw` only where it differs, and `marked` points if few."""

    label: str
    first: str
    last: str
    smooth: str
    raw: str
    marked: list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart: ticks are (position, text); the ranges are the values at the ends of the axes."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_range: tuple[float, float]
    y_range: tuple[float, float]


def charts(stage: str, scalars: dict[str, Series]) -> tuple[list[Chart], list[Chart]]:
    """The charts of one stage: (losses and evaluations, everything else).

    Scalars that differ only in a size or "regions" at the end (`d_loss_16`, `d_loss_64`) share a
    chart, and so do those of one of `GROUPS`. Those of a single step have none: see `single`.
    """
    groups: dict[str, list[tuple[str, Series]]] = {}
    for name, series in scalars.items():
        if len(set(series.steps)) > 1:
            key, label = _series(name) or (name, "")
            for group in GROUPS:
                if name.startswith(f"{group}_"):
                    key, label = f"{group}_*", name.removeprefix(f"{group}_")
            groups.setdefault(key, []).append((label, series))
    order = {key: place for place, key in enumerate(TITLES)}
    losses, others = list[Chart](), list[Chart]()
    for key in sorted(groups, key=lambda key: (order.get(key, len(order)), key)):
        title = _title(stage, key)
        lines = sorted(groups[key], key=lambda line: (len(line[0]), line[0]))
        important = "loss" in key or key.startswith("eval/")
        (losses if important else others).append(chart(title, lines))
    return losses, others


def single(stage: str, scalars: dict[str, Series]) -> list[tuple[str, str, str]]:
    """(title, value, step) of the scalars that were logged at one step, which make no curve."""
    found = []
    for name, series in scalars.items():
        if len(set(series.steps)) == 1:
            step = f"{series.steps[-1]:,.0f}"
            found.append((_title(stage, name), number(series.values[-1]), step))
    return found


def _series(name: str) -> tuple[str, str] | None:
    """The common name of several scalars, and which one of them this is, by the end of its name."""
    found = re.fullmatch(r"(.+)_(\d+|regions)", name)
    return found and (f"{found[1]}_*", found[2] + " px" * found[2].isdigit())


def _title(stage: str, key: str) -> str:
    """A scalar's name in words, or that of several, whose key ends with `_*`."""
    if key not in TITLES and (series := _series(key)):
        return f"{_title(stage, series[0])}, {series[1]}"
    words = key.split("/")[-1].removesuffix("_*").replace("_", " ")
    return STAGE_TITLES.get((stage, key)) or TITLES.get(key, words[:1].upper() + words[1:])


def anchor(x: float, text: str) -> str:
    """Which part of a label lies at `x`: its middle, or the end that keeps it inside the chart."""
    half = len(text) * CHARACTER / 2
    return "end" if x + half > WIDTH else "start" if x - half < 0 else "middle"


def chart(title: str, lines: list[tuple[str, Series]]) -> Chart:
    """A chart of one or more (label, series) on the same axes."""
    reduced = [_reduced(series) for _, series in lines]
    smoothed = [_smoothed(series) for series in reduced]
    steps = np.concatenate([series.steps for series in reduced])
    inner = [np.percentile(series.values, [2, 98]) for series in reduced]  # outliers may be cut off
    x_range = _range(steps, margin=0)
    y_range = _range(np.concatenate([*inner, *(s.values for s in smoothed)]), margin=0.06)
    x, y = scale(x_range, LEFT, WIDTH - RIGHT), scale(y_range, HEIGHT - BOTTOM, TOP)

    def points(series: Series) -> list[tuple[float, float]]:
        return list(zip(map(x, series.steps), map(y, series.values)))

    def svg(series: Series) -> str:
        return " ".join(f"{left:g},{top:g}" for left, top in points(series))

    curves = [
        Line(
            label,
            first=number(series.values[0]),
            last=number(smooth.values[-1]),
            smooth=svg(smooth),
            raw=svg(raw) if len(raw.steps) >= SMOOTH_FROM else "",
            marked=points(raw) if len(raw.steps) <= MARK_UP_TO else [],
        )
        for (label, series), raw, smooth in zip(lines, reduced, smoothed)
    ]
    x_ticks = ticks(*x_range, 4) if min(steps) < max(steps) else [steps[0]]
    x_labels = [(x(tick), f"{tick:,.0f}") for tick in x_ticks]
    y_labels = [(y(tick), number(tick)) for tick in ticks(*y_range, 4)]
    return Chart(title, curves, x_labels, y_labels, x_range, y_range)


def scale(ends: tuple[float, float], start: float, end: float) -> Callable[[float], float]:
    """A function from values to positions: the two `ends` lie at `start` and `end`."""
    low, high = ends
    return lambda value: round(float(start + (value - low) / (high - low) * (end - start)), 1)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from `low` to `high`, `about` that many: multiples of 1, 2 or 5 times 10^k."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def number(value: float) -> str:
    """A value in three significant digits: 12,300 / 4.56 / 0.078 / 1.2e-06."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _reduced(series: Series) -> Series:
    if len(series.steps) <= MAX_POINTS:
        return series
    bins = [np.array_split(array, MAX_POINTS) for array in (series.steps, series.values)]
    return Series(*(np.array([part.mean() for part in parts]) for parts in bins))


def _smoothed(series: Series) -> Series:
    """A centred moving average over about a fifteenth of the points, shorter at the ends."""
    count = len(series.values)
    if count < SMOOTH_FROM:
        return series
    window = np.ones(2 * (count // 30) + 3)
    sums = np.convolve(series.values, window, "same")
    return Series(series.steps, sums / np.convolve(np.ones(count), window, "same"))


def _range(values: np.ndarray, margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:  # one point, or a constant
        return low - (abs(low) * 0.05 or 1), high + (abs(high) * 0.05 or 1)
    return low - margin * (high - low), high + margin * (high - low)
