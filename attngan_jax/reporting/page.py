"""`WORKDIR/report/index.html`: one file that holds everything, written from a workdir's files."""

import base64
import hashlib
import pathlib
import shlex

import jinja2
from markupsafe import Markup

from attngan_jax import storage
from attngan_jax.configuration import flatten
from attngan_jax.reporting import curves, embedded_images, figures, metric_rows, run_files
from attngan_jax.workdir import Workdir

STAGE_NAMES = {"prepare": "Dataset", "damsm": "DAMSM", "attngan": "AttnGAN"}  # in this order
STAGE_NAMES |= {"evaluate": "Evaluation", "eval": "Checkpoint scores"}


def write_report(workdir: storage.PathLike) -> storage.Path:
    """Writes the page of a run, finished or still training, and returns its path.

    Beside it, `figures/` gets the same images as PNGs. Raises `UserError` for a workdir without a
    run, or with a broken file.
    """
    files = Workdir(workdir)
    with run_files.explained(files):
        run = run_files.read_run(workdir)
        figures.write_run_figures(run, files.figures)
        page = render(run)
    storage.write_text(files.page, page)
    return files.page


def render(run: run_files.Run) -> str:
    """The page as text. It loads nothing: style, script and images are inside."""
    metrics = run.metrics or {}
    total = sum(run.wall_seconds.values())
    template = environment().get_template("report.html")
    return template.render(
        run=run,
        name=run.config["name"] or run.workdir.resolve().name,
        quoted_workdir=shlex.quote(str(run.workdir)),
        quoted_caption=shlex.quote(run.samples.captions[0]) if run.samples else "",
        facts=_facts(run),
        status=_status(run),
        rows=metric_rows.metric_rows(metrics) if metrics else [],
        bars=metric_rows.attribute_bars(metrics),
        pointing=metric_rows.grounding_bars(metrics),
        wall=[
            (name, 100 * seconds / total, metric_rows.duration(seconds))
            for _, name, seconds in _named(run.wall_seconds)
            if seconds
        ],
        curve_stages=[
            (name, *curves.charts(stage, scalars), curves.single(stage, scalars))
            for stage, name, scalars in _named(run.scalars)
        ],
        curves=curves,
        cards=embedded_images.sample_cards(run.samples) if run.samples else [],
        generator_explorers=embedded_images.explorers(run.attention),
        damsm_explorers=embedded_images.explorers(run.damsm_attention),
        frame=embedded_images.frame,
        heat=embedded_images.HEAT,
        settings=sorted(flatten(run.config).items()),
        **script("explorer.js", "report.js"),
    )


def script(*names: str) -> dict[str, str]:
    """Templates as one `script`, and the `script_hash` by which a page's policy allows no other."""
    folder = pathlib.Path(__file__).parent / "templates"
    text = "\n" + "\n".join((folder / name).read_text("utf-8") for name in names)
    digest = hashlib.sha256(text.encode()).digest()
    return {"script": Markup(text), "script_hash": base64.b64encode(digest).decode()}


def environment() -> jinja2.Environment:
    """Where the templates are found, and how they are filled."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("attngan_jax.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["rounded"] = metric_rows.rounded
    return made


def _named(by_stage: dict) -> list[tuple]:
    """(stage, its name, value) in the order of the work; stages without a name come last."""
    stages = sorted(by_stage, key=[*STAGE_NAMES, *by_stage].index)
    return [(stage, STAGE_NAMES.get(stage, stage), by_stage[stage]) for stage in stages]


def _facts(run: run_files.Run) -> list[tuple[str, str]]:
    """What the run is, as (name, value), as far as its files say."""
    config, generator = run.config, run.config["generator"]
    sizes = [generator["base_size"] * 2**stage for stage in range(generator["num_stages"])]
    facts = {
        "Dataset": config["data"]["dataset"].replace("_", " "),
        "Images": " → ".join(map(str, run.samples.last if run.samples else sizes)) + " px",
        "Vocabulary": f"{run.num_words:,} words" if run.num_words else "",
    }
    for stage in run_files.STAGES:
        done, planned = _last_step(run, stage), config[stage]["num_train_steps"]
        progress = f"{done:,}" if done == planned else f"{done:,} of {planned:,}"
        facts[f"{STAGE_NAMES[stage]} steps"] = progress if planned else ""
    gan = config["attngan"]
    facts["DAMSM weight λ and γ₃"] = f"{gan['damsm_weight']:g}, {gan['gamma3']:g}"
    facts["Seed"] = str(config["seed"])
    return [(name, value) for name, value in facts.items() if value]


def _status(run: run_files.Run) -> str:
    """One sentence: how far the run is."""
    if run.metrics:
        return f"Evaluated at step {run.metrics['step']:,} on the {run.metrics['split']} split."
    for stage in reversed(run_files.STAGES):
        if step := _last_step(run, stage):
            progress = f"{STAGE_NAMES[stage]} was at step {step:,} when this page was written"
            return f"Not evaluated yet: {progress}."
    return "Not trained yet."


def _last_step(run: run_files.Run, stage: str) -> int:
    series = run.scalars.get(stage, {}).values()
    return max((int(one.steps[-1]) for one in series if len(one.steps)), default=0)
