"""The paper's Table 2 from finished runs: scores of each variant over seeds, and what they say."""

import dataclasses
import json
import os
import pathlib
import statistics

from attngan_jax.configuration import load_workdir_config
from attngan_jax.errors import UserError
from attngan_jax.reporting.run_files import read_json

# variant -> (its name, the paper's Inception Score and R-precision on CUB, Tables 2 and 3). That
# 3.98 and 10.37 are of "AttnGAN1, no DAMSM" is from memory; the paper has no row without attention.
VARIANTS = {
    "no_damsm": ("two stages, λ 0 (no DAMSM)", 3.98, 10.37),
    "lambda_0.1": ("two stages, λ 0.1", 4.19, 16.55),
    "lambda_1": ("two stages, λ 1", 4.35, 34.96),
    "lambda_5": ("two stages, λ 5", 4.35, 58.65),
    "lambda_10": ("two stages, λ 10", 4.29, 63.87),
    "no_attention": ("two stages, λ 5, no attention", None, None),
    "three_stages": ("three stages, λ 5", 4.36, 67.82),
    "dcgan": ("AttnDCGAN, λ 5", 4.12, 38.45),
}


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of `metrics.json`: where it stands there, and which way is better."""

    key: str
    title: str
    unit: str = "%"
    higher_is_better: bool = True

    def value(self, metrics: dict) -> float | None:
        """The number, or None where the run has none."""
        entry = metrics.get(self.key)
        if isinstance(entry, dict):
            entry = entry.get("mean", entry.get("value"))
        return None if entry is None else float(entry)

    def chance(self, metrics: dict) -> float | None:
        """What blind guessing reaches, where that is known."""
        entry = metrics.get(self.key)
        if not isinstance(entry, dict):
            return None
        if "candidates" in entry:
            return 100.0 / entry["candidates"]
        return entry.get("chance")


METRICS = (
    Metric("r_precision", "R-precision"),
    Metric("attribute_accuracy", "Plumage colours right"),
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant's finished runs: seed -> its `metrics.json`, and seed -> its config."""

    variant: str
    metrics: dict[int, dict]
    configs: dict[int, dict]

    @property
    def name(self) -> str:
        """What the variant is, in words."""
        return VARIANTS[self.variant][0]

    def values(self, metric: Metric) -> dict[int, float]:
        """seed -> value, of the seeds that have one."""
        found = {seed: metric.value(metrics) for seed, metrics in self.metrics.items()}
        return {seed: value for seed, value in sorted(found.items()) if value is not None}

    def mean(self, metric: Metric) -> float | None:
        """The mean over seeds."""
        values = list(self.values(metric).values())
        return statistics.fmean(values) if values else None

    def spread(self, metric: Metric) -> float | None:
        """The standard deviation over seeds (n - 1); None for a single one."""
        values = list(self.values(metric).values())
        return statistics.stdev(values) if len(values) > 1 else None


def read_rows(runs: str | os.PathLike) -> list[Row]:
    """The finished runs in `RUNS/seed_<n>/<variant>/`, in the order of `VARIANTS`.

    Raises `UserError` where there is none.
    """
    runs = pathlib.Path(runs)
    rows = []
    for variant in VARIANTS:
        metrics, configs = {}, {}
        for path in sorted(runs.glob(f"seed_*/{variant}/report/metrics.json")):
            config = load_workdir_config(path.parent.parent).to_dict()
            metrics[config["seed"]], configs[config["seed"]] = read_json(path), config
        rows.append(Row(variant, metrics, configs))
    if not any(row.metrics for row in rows):
        raise UserError(f"{runs} holds no finished run of the ablation: start launch/ablation.sh")
    return rows


@dataclasses.dataclass(frozen=True)
class Ordering:
    """Something that the paper found, or says: each variant of `chain` scores higher than the last.

    That attention helps it says without a row of its own in Table 2.
    """

    claim: str
    chain: tuple[str, ...]


ORDERINGS = (
    Ordering(
        "R-precision rises with λ", ("no_damsm", "lambda_0.1", "lambda_1", "lambda_5", "lambda_10")
    ),
    Ordering("attention helps", ("no_attention", "lambda_5")),
    Ordering("three stages beat two", ("lambda_5", "three_stages")),
    Ordering("AttnDCGAN is worse than AttnGAN", ("dcgan", "three_stages")),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One link of an ordering: the difference of the means, and in how many seeds it is there."""

    claim: str
    metric: str
    lower: str
    higher: str
    difference: float
    seeds: int
    seeds_that_agree: int

    @property
    def holds(self) -> bool:
        """Whether every seed agrees."""
        return self.seeds_that_agree == self.seeds


def findings(rows: list[Row], metrics=METRICS) -> list[Finding]:
    """Each link of `ORDERINGS` between variants that share a finished seed, for each metric."""
    by_name, found = {row.variant: row for row in rows}, []
    for ordering in ORDERINGS:
        for metric in metrics:
            for low, high in zip(ordering.chain, ordering.chain[1:]):
                below, above = by_name[low].values(metric), by_name[high].values(metric)
                pairs = [(below[seed], above[seed]) for seed in below if seed in above]
                if pairs:
                    found.append(
                        Finding(
                            ordering.claim,
                            metric.title,
                            by_name[low].name,
                            by_name[high].name,
                            statistics.fmean(b - a for a, b in pairs),
                            len(pairs),
                            sum(b > a for a, b in pairs),
                        )
                    )
    return found


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of the table, as texts."""
    shown = [metric for metric in METRICS if any(row.values(metric) for row in rows)]
    head = [
        "variant",
        "seeds",
        *(f"{metric.title}, {metric.unit}" for metric in shown),
        "paper, CUB: R-precision, %",
        "paper, CUB: Inception Score",
    ]
    lines = []
    for row in rows:
        _, score, precision = VARIANTS[row.variant]
        lines.append(
            [
                row.name,
                ", ".join(map(str, sorted(row.metrics))) or "not run",
                *(_with_spread(row, metric) for metric in shown),
                f"{precision:.2f}" if precision else "–",
                f"{score:.2f}" if score else "–",
            ]
        )
    return head, lines


def markdown(rows: list[Row]) -> str:
    """The table and what it says about the paper's orderings, for a document."""
    head, lines = table(rows)
    text = [
        " | ".join(["", *line, ""]).strip()
        for line in (head, ["---"] * 2 + ["---:"] * (len(head) - 2), *lines)
    ]
    text += [
        "",
        "| the paper's ordering | metric | lower | higher | difference | seeds that agree |",
        "|---|---|---|---|---:|---:|",
    ]
    for one in findings(rows):
        text.append(
            f"| {one.claim} | {one.metric} | {one.lower} | {one.higher} | "
            f"{one.difference:+.1f} | {one.seeds_that_agree} of {one.seeds} |"
        )
    return "\n".join(text) + "\n"


def as_json(rows: list[Row]) -> str:
    """All numbers of the table, by variant, metric and seed."""
    numbers = {
        row.variant: {
            metric.key: {
                "mean": row.mean(metric),
                "std": row.spread(metric),
                "seeds": row.values(metric),
            }
            for metric in METRICS
        }
        for row in rows
    }
    return (
        json.dumps(
            {
                "variants": numbers,
                "findings": [
                    dataclasses.asdict(one) | {"holds": one.holds} for one in findings(rows)
                ],
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def _with_spread(row: Row, metric: Metric) -> str:
    mean, spread = row.mean(metric), row.spread(metric)
    if mean is None:
        return "–"
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"
