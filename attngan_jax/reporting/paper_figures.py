"""A run's images as the paper shows them: PNGs of word maps, time lines and what lies between."""

import numpy as np
from PIL import Image, ImageDraw

from attngan_jax import storage
from attngan_jax.reporting import figures
from attngan_jax.reporting.figures import LINE_HEIGHT, MARGIN, attention_scores, overlay_attention
from attngan_jax.reporting.run_files import Attention, Run, Samples

TILE = 128  # pixels of every image
NUM_TOP_WORDS = 5
NUM_CAPTIONS = 4  # in a figure
MAX_STEPS = 8  # of a time line

# A figure is a list of strips: a title, or "", and (label, uint8 [H, W, 3]) images side by side.
Strip = tuple[str, list[tuple[str, np.ndarray]]]


def write_figures(run: Run, folder: storage.Path) -> None:
    """Writes the figures for which the run has the arrays; `folder` is made only for one."""
    if run.attention and run.attention.maps:
        save(top_words(run.attention), folder / "attention.png")
    if run.damsm_attention:
        save(top_words(run.damsm_attention), folder / "damsm_attention.png")
    if run.samples:
        save(time_line(run.samples), folder / "time_line.png")
    for kind, name in (
        ("captions", "between_captions"),
        ("noise", "between_noises"),
        ("swap", "swapped_word"),
    ):
        strips = [
            (row.title, list(zip(row.labels, row.images)))
            for row in run.explorations
            if row.kind == kind
        ]
        if strips:
            save(strips, folder / f"{name}.png")


def top_words(attention: Attention) -> list[Strip]:
    """As the paper's Figure 4: a caption's images, then a strip for each stage with word maps.

    A strip holds the stage's five most attended words, the most attended first, each with its map
    over the stage's image and its largest weight. DAMSM, with one image, has one strip.
    """
    strips = []
    for n in [n for n, words in enumerate(attention.words) if words][:NUM_CAPTIONS]:
        words = attention.words[n]
        stages = [(f"{size} x {size}", images[n]) for size, images in attention.images.items()]
        own = [(attention.captions[n], stages)]
        for size, maps in attention.maps.items():
            shown = maps[n][: len(words)].astype(np.float32)
            order = np.argsort(-attention_scores(shown), kind="stable")[:NUM_TOP_WORDS]
            picture = tile(attention.images[size][n])
            own.append(
                (
                    "",
                    [
                        (
                            f"{words[word]} {shown[word].max():.0%}",
                            overlay_attention(picture, shown[word]),
                        )
                        for word in order
                    ],
                )
            )
        strips += own if len(stages) > 1 else [(own[0][0], stages + own[1][1])]
    return strips


def time_line(samples: Samples) -> list[Strip]:
    """Fixed captions and noise over training; the real image last."""
    count = min(MAX_STEPS, len(samples.steps))
    places = [round(place) for place in np.linspace(0, len(samples.steps) - 1, count)]
    return [
        (
            caption,
            [(f"step {samples.steps[k]:,}", samples.over_time[k][n]) for k in places]
            + [("real", samples.real_images[n])],
        )
        for n, caption in enumerate(samples.captions[:NUM_CAPTIONS])
    ]


def save(strips: list[Strip], path: storage.Path) -> None:
    """Writes strips one under the other as a PNG, whole or not at all."""
    columns = max(len(pictures) for _, pictures in strips)
    width = columns * (TILE + MARGIN) + MARGIN
    titles = [
        figures.wrapped(title.replace("→", "to"), width - 2 * MARGIN) if title else []
        for title, _ in strips
    ]  # Pillow's font has no arrow
    step = TILE + LINE_HEIGHT + MARGIN
    height = MARGIN + sum(LINE_HEIGHT * len(title) + step for title in titles)
    canvas = Image.new("RGB", (width, height), figures.WHITE)
    draw, top = ImageDraw.Draw(canvas), MARGIN
    for title, (_, pictures) in zip(titles, strips):
        figures.write_lines(draw, title, MARGIN, top - 4)
        top += LINE_HEIGHT * len(title)
        for column, (label, picture) in enumerate(pictures):
            left = MARGIN + column * (TILE + MARGIN)
            canvas.paste(Image.fromarray(tile(picture)), (left, top))
            figures.write_lines(
                draw, figures.wrapped(label, TILE)[:1], left, top + TILE, figures.MUTED
            )
        top += step
    figures.save_png(canvas, path)


def tile(picture: np.ndarray) -> np.ndarray:
    """The image at `TILE` pixels: pixels kept as squares up to 32, else smooth."""
    if picture.shape[:2] == (TILE, TILE):
        return picture
    rule = Image.Resampling.NEAREST if max(picture.shape[:2]) <= 32 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((TILE, TILE), rule))
