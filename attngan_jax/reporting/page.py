"""`WORKDIR/report/index.html`: one file with everything in it, written from a workdir's files."""

import base64
import functools
import hashlib
import pathlib
import shlex

import jinja2
from markupsafe import Markup

from attngan_jax import storage
from attngan_jax.reporting import curves, figures, metric_rows, paper_figures, pictures, run_files

STAGE_NAMES = {
    "prepare": "Dataset",
    "damsm": "DAMSM",
    "attngan": "AttnGAN",
    "evaluate": "Evaluation",
    "eval": "Scores of checkpoints",
}


def write_report(workdir: storage.PathLike) -> storage.Path:
    """Writes the page of a run, finished or still training, and returns its path.

    Beside it, `figures/` gets the same images as PNGs, for a paper or a talk.

    Raises:
      UserError: the workdir holds no run, or one of its files is broken.
    """
    path = storage.path(workdir) / "report" / "index.html"
    run = run_files.read_run(workdir)
    paper_figures.write_figures(run, path.parent / "figures")
    storage.write_text(path, render(run))
    return path


def render(run: run_files.Run) -> str:
    """The page as text. It loads nothing: style, script and images are inside."""
    script = _script()
    return (
        environment()
        .get_template("report.html")
        .render(
            run=run,
            name=run.config.get("name") or run.workdir.resolve().name,
            quoted_workdir=shlex.quote(str(run.workdir)),
            quoted_caption=shlex.quote(run.samples.captions[0]) if run.samples else "",
            facts=_facts(run),
            status=_status(run),
            rows=metric_rows.metric_rows(run.metrics) if run.metrics else [],
            bars=metric_rows.attribute_bars(run.metrics) if run.metrics else [],
            pointing=metric_rows.grounding_bars(run.metrics) if run.metrics else [],
            wall=_wall_clock(run.wall_seconds),
            curve_stages=[
                (STAGE_NAMES.get(stage, stage), *curves.charts(stage, run.scalars[stage]))
                for stage in _known_first(run.scalars)
            ],
            chart_size=(
                curves.WIDTH,
                curves.HEIGHT,
                curves.LEFT,
                curves.RIGHT,
                curves.TOP,
                curves.BOTTOM,
            ),
            cards=pictures.sample_cards(run.samples) if run.samples else [],
            generator_explorers=pictures.explorers(run.attention) if run.attention else [],
            damsm_explorers=pictures.explorers(run.damsm_attention) if run.damsm_attention else [],
            explorations=pictures.exploration_cards(run.explorations),
            heat=",".join(map(str, (*figures.HEAT, figures.HEAT_STRENGTH, figures.DIMMED))),
            settings=sorted(_flat(run.config).items()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def environment() -> jinja2.Environment:
    """Where the templates are found, and how they are filled."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("attngan_jax.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


@functools.cache
def _script() -> str:
    return "\n" + (pathlib.Path(__file__).parent / "templates" / "report.js").read_text("utf-8")


def _facts(run: run_files.Run) -> list[tuple[str, str]]:
    """What the run is, as (name, value), as far as its files say."""
    config = run.config
    facts = [("Dataset", config.get("data", {}).get("dataset", ""))]
    sizes = list(run.samples.last) if run.samples else []
    if not sizes and "generator" in config:
        base, stages = config["generator"]["base_size"], config["generator"]["num_stages"]
        sizes = [base * 2**stage for stage in range(stages)]
    facts.append(("Images", " → ".join(map(str, sizes)) + " px" if sizes else ""))
    facts.append(("Vocabulary", f"{run.num_words:,} words" if run.num_words else ""))
    for stage in run_files.STAGES:
        facts.append((f"{STAGE_NAMES[stage]} steps", _progress(run, stage)))
    weight = config.get("attngan", {}).get("damsm_weight")
    facts.append(("DAMSM weight λ", "" if weight is None else f"{weight:g}"))
    facts.append(("Seed", str(config.get("seed", ""))))
    return [(name, value) for name, value in facts if value]


def _progress(run: run_files.Run, stage: str) -> str:
    """`600`, or `120 of 600` while it trains."""
    planned = run.config.get(stage, {}).get("num_train_steps")
    done = _last_step(run, stage)
    if planned is None or done == planned:
        return f"{done:,}" if done else ""
    return f"{done:,} of {planned:,}"


def _last_step(run: run_files.Run, stage: str) -> int:
    return max(
        (
            int(series.steps[-1])
            for series in run.scalars.get(stage, {}).values()
            if len(series.steps)
        ),
        default=0,
    )


def _status(run: run_files.Run) -> str:
    """One sentence: how far the run is."""
    if run.metrics:
        return f"Evaluated at step {run.metrics['step']:,} on the {run.metrics['split']} split."
    for stage in reversed(run_files.STAGES):
        if step := _last_step(run, stage):
            return (
                f"Not evaluated yet: {STAGE_NAMES[stage]} was at step {step:,} when this page "
                "was written."
            )
    return "Not trained yet."


def _wall_clock(seconds: dict[str, float]) -> list[tuple[str, float, str]]:
    """(stage, share of the whole in percent, duration), in the order of the work."""
    total = sum(seconds.values())
    order = {**dict.fromkeys(STAGE_NAMES), **dict.fromkeys(seconds)}
    return [
        (
            STAGE_NAMES.get(stage, stage),
            100 * seconds[stage] / total,
            metric_rows.duration(seconds[stage]),
        )
        for stage in order
        if seconds.get(stage)
    ]


def _known_first(stages: dict) -> list[str]:
    return sorted(
        stages,
        key=lambda stage: (
            stage not in run_files.STAGES,
            run_files.STAGES.index(stage) if stage in run_files.STAGES else 0,
        ),
    )


def _flat(tree: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in tree.items():
        name = prefix + key
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
