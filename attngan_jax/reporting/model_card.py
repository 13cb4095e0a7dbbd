"""A model's card, `README.md`: what it was trained on, how long, its scores, images and limits."""

from typing import Any

import jinja2

from attngan_jax import plain_files, storage
from attngan_jax.reporting import figures, metric_rows, run_files
from attngan_jax.workdir import Workdir

NUM_IMAGES = 8


COMPACT = """
## Compact

The weights were rounded to 8 bits, and DAMSM's image encoder is left out: images differ by little,
but neither `evaluate` nor training takes the folder. Scores, if any, are of the weights before.
"""


def write_card(run: Workdir, folder: Workdir, *, compact: bool = False) -> None:
    """Writes the card of a run to a model folder, and its images where the run has some.

    A folder that has a card already, and no scores that are newer, hands it on as it is; a compact
    one gets a section that says so.
    """
    if run.card.exists() and not run.metrics.exists():
        hand_on_card(run, folder)
    else:
        _write_new_card(run, folder)
    if compact and folder.card.exists():
        text = plain_files.read_text(folder.card)
        if COMPACT not in text:
            storage.write_text(folder.card, text + COMPACT)


def _write_new_card(run: Workdir, folder: Workdir) -> None:
    facts = run_files.read_run(run.folder)
    if facts.attention:
        images = facts.attention.images[max(facts.attention.images)][:NUM_IMAGES]
        figures.captioned_grid(images, facts.attention.captions[:NUM_IMAGES], folder.card_images)
    with run_files.explained(run):
        card = render(facts, run)
    storage.write_text(folder.card, card)


def hand_on_card(source: Workdir, target: Workdir) -> None:
    """Copies the card and its images, those that there are."""
    for old, new in ((source.card, target.card), (source.card_images, target.card_images)):
        if old.exists() and str(old) != str(new):
            storage.write_bytes(new, plain_files.read_bytes(old))


def render(facts: run_files.Run, run: Workdir) -> str:
    """The card as Markdown."""
    metrics, generator = facts.metrics or {}, facts.config["generator"]
    return fill_in(
        "model_card.md",
        config=facts.config,
        size=generator["base_size"] * 2 ** (generator["num_stages"] - 1),
        num_words=facts.num_words - 1,  # without <end>
        splits=(run_files.read_json(run.prepare_report) or {}).get("splits", {}),
        imported=run_files.read_json(run.imported),
        hours={
            stage: metric_rows.duration(seconds)
            for stage, seconds in facts.wall_seconds.items()
            if seconds
        },
        metrics=metrics,
        rows=[row for row in metric_rows.metric_rows(metrics) if row.value] if metrics else [],
        has_images=bool(facts.attention),
        example=facts.attention.captions[0] if facts.attention else "this bird is red",
    )


def fill_in(template: str, **values: Any) -> str:
    """A card as Markdown, from one of this package's templates."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("attngan_jax.reporting"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
