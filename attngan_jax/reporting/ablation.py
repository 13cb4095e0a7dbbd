"""The paper's Table 2 from finished runs: each variant's scores over seeds, with a page."""

import dataclasses
import json
import statistics

import numpy as np

from attngan_jax import storage
from attngan_jax.configuration import flatten, load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.reporting import curves, figures, run_files
from attngan_jax.reporting.embedded_images import data_uri
from attngan_jax.reporting.page import environment
from attngan_jax.workdir import Workdir

# variant -> (its name, the paper's Inception Score and R-precision on CUB, Tables 2 and 3); None
# for the row "AttnGAN1, no DAMSM", which could not be read at its source, and where there is none.
VARIANTS = {
    "no_damsm": ("two stages, λ 0 (no DAMSM)", None, None),
    "lambda_0.1": ("two stages, λ 0.1", 4.19, 16.55),
    "lambda_1": ("two stages, λ 1", 4.35, 34.96),
    "lambda_5": ("two stages, λ 5", 4.35, 58.65),
    "lambda_10": ("two stages, λ 10", 4.29, 63.87),
    "no_attention": ("two stages, λ 5, no attention", None, None),
    "three_stages": ("three stages, λ 5", 4.36, 67.82),
    "dcgan": ("AttnDCGAN, λ 5", 4.12, 38.45),
}
# in percent
METRICS = {"r_precision": "R-precision", "attribute_accuracy": "Plumage colours right"}
# What the paper claims -> variants, each of which should score higher than the one before it. That
# attention helps is in the paper's text, without a row of Table 2.
ORDERINGS = {
    "R-precision rises with λ": ("no_damsm", "lambda_0.1", "lambda_1", "lambda_5", "lambda_10"),
    "attention helps": ("no_attention", "lambda_5"),
    "three stages beat two": ("lambda_5", "three_stages"),
    "AttnDCGAN is worse than AttnGAN": ("dcgan", "three_stages"),
}
SCHEDULE = {
    "DAMSM steps": "damsm.num_train_steps",
    "GAN steps": "attngan.num_train_steps",
    "GAN batch": "attngan.batch_size",
    "images scored": "eval.num_images",
    "candidates of R-precision": "eval.num_candidates",
}
ROW_HEIGHT, TOP, LABELS, PANEL, GAP = 34, 46, 230, 300, 40  # SVG units
NUM_CAPTIONS, TILE = 6, 96  # images of each variant, and their pixels


@dataclasses.dataclass(frozen=True)
class Runs:
    """A variant's finished runs: seed -> workdir, and seed -> `metrics.json`."""

    name: str
    workdirs: dict[int, Workdir] = dataclasses.field(default_factory=dict)
    metrics: dict[int, dict] = dataclasses.field(default_factory=dict)

    def summary(self, metric: str) -> dict:
        """Mean and standard deviation (n - 1) over seeds, None of too few seeds; seed -> value."""
        found = {seed: metrics.get(metric) for seed, metrics in sorted(self.metrics.items())}
        seeds = {seed: entry["mean"] for seed, entry in found.items() if entry}
        mean = statistics.fmean(seeds.values()) if seeds else None
        std = statistics.stdev(seeds.values()) if len(seeds) > 1 else None
        return {"mean": mean, "std": std, "seeds": seeds}


def write_report(folder: storage.PathLike) -> storage.Path:
    """Writes `FOLDER/report/` (page, figure, images, table, numbers); returns the page's path.

    Raises `UserError` where no run is finished or a file is broken.
    """
    variants = read_runs(folder)
    report = storage.path(folder) / "report"
    figure, grid = draw_figure(variants), image_grid(variants)
    storage.write_text(report / "ablation.svg", figure + "\n")
    storage.write_text(report / "ablation.md", markdown(variants))
    storage.write_text(report / "ablation.json", as_json(variants))
    if grid is not None:
        figures.save_png(grid, report / "pictures.png")
    workdirs = [workdir for runs in variants.values() for workdir in runs.workdirs.values()]
    configs = [flatten(load_workdir_config(workdir.folder).to_dict()) for workdir in workdirs]
    text = (
        environment()
        .get_template("ablation.html")
        .render(
            table=table(variants),
            figure=figure,
            findings=findings(variants),
            schedule={name: sorted({c[key] for c in configs}) for name, key in SCHEDULE.items()},
            images="" if grid is None else data_uri(grid),
        )
    )
    storage.write_text(report / "index.html", text)
    return report / "index.html"


def read_runs(folder: storage.PathLike) -> dict[str, Runs]:
    """The finished runs in `FOLDER/seed_<n>/<variant>/` by variant, in the order of `VARIANTS`.

    Raises `UserError` where there is none.
    """
    variants = {variant: Runs(name) for variant, (name, _, _) in VARIANTS.items()}
    for variant, runs in variants.items():
        for workdir in map(Workdir, sorted(storage.path(folder).glob(f"seed_*/{variant}"))):
            if metrics := run_files.read_json(workdir.metrics):
                seed = load_workdir_config(workdir.folder).seed
                runs.workdirs[seed], runs.metrics[seed] = workdir, metrics
    if not any(runs.metrics for runs in variants.values()):
        raise UserError(f"{folder} holds no finished run of the ablation: start launch/ablation.sh")
    return variants


def findings(variants: dict[str, Runs]) -> list[dict]:
    """Each link of `ORDERINGS`, for each metric, over the seeds that both variants finished."""
    found = []
    for claim, chain in ORDERINGS.items():
        for metric, title in METRICS.items():
            for lower, higher in zip(chain, chain[1:]):
                below, above = (variants[v].summary(metric)["seeds"] for v in (lower, higher))
                gains = [above[seed] - below[seed] for seed in below if seed in above]
                if gains:
                    link = {
                        "claim": claim,
                        "metric": title,
                        "lower": variants[lower].name,
                        "higher": variants[higher].name,
                        "difference": statistics.fmean(gains),
                        "seeds": len(gains),
                        "seeds_that_agree": sum(gain > 0 for gain in gains),
                        "holds": min(gains) > 0,
                    }
                    found.append(link)
    return found


def table(variants: dict[str, Runs]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of the table, as texts."""
    head = ["variant", "seeds", *(f"{title}, %" for title in METRICS.values())]
    lines = []
    for variant, runs in variants.items():
        name, inception_score, r_precision = VARIANTS[variant]
        line = [name, ", ".join(map(str, sorted(runs.metrics))) or "not run"]
        for scores in map(runs.summary, METRICS):
            known = [scores[key] for key in ("mean", "std") if scores[key] is not None]
            line.append(" ± ".join(f"{value:.1f}" for value in known) or "–")
        paper = [f"{value:.2f}" if value else "–" for value in (r_precision, inception_score)]
        lines.append(line + paper)
    return [*head, "paper, CUB: R-precision, %", "paper, CUB: Inception Score"], lines


def markdown(variants: dict[str, Runs]) -> str:
    """The table and what it says about the paper's orderings, for a document."""
    head, lines = table(variants)
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    text = [f"| {' | '.join(line)} |" for line in (head, rule, *lines)]
    text += [
        "",
        "| the paper's ordering | metric | lower | higher | difference | seeds that agree |",
    ]
    text += ["|---|---|---|---|---:|---:|"]
    names = "| {claim} | {metric} | {lower} | {higher} "
    link = names + "| {difference:+.1f} | {seeds_that_agree} of {seeds} |"
    return "\n".join([*text, *(link.format(**one) for one in findings(variants))]) + "\n"


def as_json(variants: dict[str, Runs]) -> str:
    """All numbers of the table, by variant, metric and seed."""
    numbers = {name: {m: runs.summary(m) for m in METRICS} for name, runs in variants.items()}
    content = {"variants": numbers, "findings": findings(variants)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def draw_figure(variants: dict[str, Runs]) -> str:
    """An SVG: a panel for each metric, a line for each variant with its mean, range and seeds."""
    done = [runs for runs in variants.values() if runs.metrics]
    y = {runs.name: TOP + ROW_HEIGHT * (place + 0.5) for place, runs in enumerate(done)}
    panels: list[tuple] = []
    for metric, title in METRICS.items():
        summaries = {runs.name: runs.summary(metric) for runs in done}
        scores = {name: one for name, one in summaries.items() if one["seeds"]}
        if not scores:
            continue
        values = [value for one in scores.values() for value in one["seeds"].values()]
        left = LABELS + len(panels) * (PANEL + GAP)
        ends = min(0.0, *values), max(values) * 1.1 or 1.0
        x = curves.scale(ends, left, left + PANEL - 50)  # room for the last number
        entry = next(m[metric] for runs in done for m in runs.metrics.values() if m.get(metric))
        chance = entry["chance"] if "chance" in entry else 100 / entry["candidates"]
        marks = [
            (y[name], x(one["mean"]), f"{one['mean']:.1f}", list(map(x, one["seeds"].values())))
            for name, one in scores.items()
        ]
        grid = [(x(tick), f"{tick:g}") for tick in curves.ticks(*ends, 5)]
        panels.append((f"{title}, %", left, grid, x(chance), marks))
    height = TOP + ROW_HEIGHT * len(done) + 26
    width = LABELS + len(panels) * (PANEL + GAP)
    svg = environment().get_template("ablation.svg")
    return svg.render(width=width, height=height, panels=panels, names=y, top=TOP - 6)


def image_grid(variants: dict[str, Runs]) -> np.ndarray | None:
    """Each variant's images of the same captions with the same noise, of its first seed.

    uint8 `[H, W, 3]` with a strip a variant, real images on top; None before the first samples.
    """
    strips, real = [], []
    for runs in variants.values():
        first = min(runs.workdirs, default=None)
        if first is not None and (samples := run_files.read_samples(runs.workdirs[first])):
            strips.append((runs.name, samples.last[max(samples.last)]))
            real.append(samples.real_images)
    if not strips:
        return None
    rows = [("real images", max(real, key=lambda images: images.shape[1])), *strips]
    cells = [(name, [("", image) for image in images[:NUM_CAPTIONS]]) for name, images in rows]
    return np.asarray(figures.draw_strips(cells, TILE))
