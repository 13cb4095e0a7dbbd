"""The ablation's report: one table, one figure, the variants' images, in one page."""

import dataclasses
import os
import pathlib

import numpy as np
from PIL import Image

from attngan_jax.configuration import write_text
from attngan_jax.reporting import ablation, figures, run_files
from attngan_jax.reporting.ablation import Metric, Row
from attngan_jax.reporting.curves import ticks
from attngan_jax.reporting.page import environment
from attngan_jax.reporting.pictures import data_uri

ROW_HEIGHT, TOP, LABELS, PANEL, GAP = 34, 46, 230, 300, 40  # SVG units
NUM_CAPTIONS = 6  # an image of each, for every variant


@dataclasses.dataclass(frozen=True)
class Mark:
    """A variant in a panel: the mean, the range over seeds and each seed's own place."""

    y: float
    mean: float
    low: float
    high: float
    dots: list[float]
    text: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """One metric of the figure; positions are SVG units."""

    title: str
    left: float
    right: float
    ticks: list[tuple[float, str]]
    chance: float | None
    marks: list[Mark]


def write_report(runs: str | os.PathLike) -> pathlib.Path:
    """Writes `RUNS/report/` (page, figure, images, table, numbers); returns the page's path.

    Raises `UserError` where no run is finished or a file is broken.
    """
    runs = pathlib.Path(runs)
    rows = ablation.read_rows(runs)
    folder = runs / "report"
    figure = draw_figure(rows)
    write_text(folder / "ablation.svg", figure + "\n")
    write_text(folder / "ablation.md", ablation.markdown(rows))
    write_text(folder / "ablation.json", ablation.as_json(rows))
    grid = picture_grid(runs, rows)
    if grid is not None:
        figures.save_png(grid, folder / "pictures.png")
    head, lines = ablation.table(rows)
    page = (
        environment()
        .get_template("ablation.html")
        .render(
            head=head,
            lines=lines,
            figure=figure,
            findings=ablation.findings(rows),
            steps=_steps(rows),
            pictures=None if grid is None else data_uri(grid),
        )
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def draw_figure(rows: list[Row]) -> str:
    """An SVG: a panel for each metric, a line for each variant with its mean, range and seeds."""
    shown = [metric for metric in ablation.METRICS if any(row.values(metric) for row in rows)]
    done = [row for row in rows if row.metrics]
    height = TOP + ROW_HEIGHT * len(done) + 26
    panels = [
        _panel(metric, done, LABELS + place * (PANEL + GAP)) for place, metric in enumerate(shown)
    ]
    names = [(row.name, _y(place)) for place, row in enumerate(done)]
    return (
        environment()
        .get_template("ablation.svg")
        .render(
            width=LABELS + len(shown) * (PANEL + GAP),
            height=height,
            panels=panels,
            names=names,
            top=TOP - 6,
            bottom=height - 24,
        )
    )


def _y(place: int) -> float:
    return TOP + ROW_HEIGHT * (place + 0.5)


def _panel(metric: Metric, rows: list[Row], left: float) -> Panel:
    values = [value for row in rows for value in row.values(metric).values()]
    chances = [metric.chance(m) for row in rows for m in row.metrics.values()]
    chance = next((value for value in chances if value is not None), None)
    low = min([0.0, *values])
    high = max(values) * 1.1 or 1.0
    right = left + PANEL - 50  # room for the last number

    def x(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    marks = []
    for place, row in enumerate(rows):
        seeds = list(row.values(metric).values())
        if seeds:
            mean = row.mean(metric)
            marks.append(
                Mark(
                    _y(place),
                    x(mean),
                    x(min(seeds)),
                    x(max(seeds)),
                    [x(value) for value in seeds],
                    f"{mean:.1f}",
                )
            )
    return Panel(
        f"{metric.title}, {metric.unit}",
        left,
        right,
        [(x(tick), f"{tick:g}") for tick in ticks(low, high, 5)],
        None if chance is None else x(chance),
        marks,
    )


def picture_grid(runs: pathlib.Path, rows: list[Row]) -> np.ndarray | None:
    """Each variant's images of the same captions with the same noise, of its first seed.

    uint8 `[H, W, 3]` with a line a variant, real images on top; None before the first samples.
    """
    lines, names, real = [], [], None
    for row in rows:
        if not row.metrics:
            continue
        samples = run_files.read_samples(
            runs / f"seed_{min(row.metrics)}" / row.variant / "samples"
        )
        if samples is None:
            continue
        made = samples.last[max(samples.last)][:NUM_CAPTIONS]
        lines.append(_tiles(made))
        names.append(row.name.replace("λ", "lambda"))  # Pillow's font has no Greek
        if real is None or samples.real_images.shape[1] > real.shape[1]:
            real = samples.real_images[:NUM_CAPTIONS]
    if not lines:
        return None
    return figures.labelled_rows(np.stack([_tiles(real), *lines]), ["real images", *names])


def _tiles(images: np.ndarray, size: int = 96) -> np.ndarray:
    return np.stack(
        [
            np.asarray(
                Image.fromarray(image).resize(
                    (size, size),
                    Image.Resampling.BOX if image.shape[0] > size else Image.Resampling.BICUBIC,
                )
            )
            for image in images
        ]
    )


def _steps(rows: list[Row]) -> list[tuple[str, list]]:
    """What the runs' configs say of the schedule, as (name, distinct values)."""
    keys = (
        ("DAMSM steps", "damsm", "num_train_steps"),
        ("GAN steps", "attngan", "num_train_steps"),
        ("GAN batch", "attngan", "batch_size"),
        ("images scored", "eval", "num_images"),
        ("candidates of R-precision", "eval", "num_candidates"),
    )
    configs = [config for row in rows for config in row.configs.values()]
    return [
        (name, sorted({config[section][key] for config in configs})) for name, section, key in keys
    ]
