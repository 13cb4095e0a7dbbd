"""Figures as PNGs: grids of images, captions under them, attention maps over them.

Images are uint8 RGB; NumPy and Pillow draw everything.
"""

import functools
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attngan_jax import storage
from attngan_jax.reporting.run_files import Attention, BySize, Run, Samples, Strip, evenly_spaced

HEAT = (255, 190, 60)  # colour of full attention
HEAT_STRENGTH = 0.35  # how much of it covers a region of full attention
DIMMED = 0.45  # brightness left where there is no attention
PIXELATED_UP_TO = 32  # pixels; smaller images are enlarged without smoothing

MARGIN, LINE_HEIGHT = 10, 18
WHITE, INK = (255, 255, 255), (29, 31, 36)
CAPTION_TILE = 176  # pixels; the least width at which a caption under an image is readable
WORD_TILE = 112  # pixels; the least width of a word's attention map
RUN_TILE = 128  # pixels of each image in a run's figures
NUM_TOP_WORDS = 5
NUM_CAPTIONS = 4  # in a run's figure
MAX_STEPS = 8  # of the samples over training

NOT_IN_FONT = str.maketrans({"→": "to", "λ": "lambda"})


def image_grid(images: np.ndarray, columns: int, pad: int = 2) -> np.ndarray:
    """Images uint8 `[N, H, W, 3]` side by side, row by row, with `pad` white pixels around each.

    Returns uint8 `[rows (H + pad) + pad, columns (W + pad) + pad, 3]`, no wider than N images.
    """
    count, height, width, _ = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + pad, width + pad, 3), 255, np.uint8)
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + pad, width + pad, 3).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + pad), columns * (width + pad), 3)
    return np.pad(grid, ((pad, 0), (pad, 0), (0, 0)), constant_values=255)


def overlay_attention(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """An image with a word's attention over it: dimmed where it is low, warm where it is high.

    uint8 `[H, W, 3]`; `attention` is `[h, w]`, not negative, and is scaled to its largest value.
    """
    size = image.shape[1], image.shape[0]
    heat = Image.fromarray(attention.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    share = np.clip(np.asarray(heat) / max(float(attention.max()), 1e-12), 0, 1)[..., None]
    dimmed = image * (DIMMED + (1 - DIMMED) * share)
    return np.rint(dimmed + (np.asarray(HEAT) - dimmed) * HEAT_STRENGTH * share).astype(np.uint8)


def attention_scores(attention: np.ndarray) -> np.ndarray:
    """How strongly each word of a caption is attended to, for ranking: `[T]`.

    The weight above an even spread, `sum_r max(a_tr - mean, 0)`, of maps `[T, h, w]` of the real
    words, without padding. It ranks both kinds of map: the generator's, where the words share each
    region, and DAMSM's, where the regions share each word.

    Differs from the paper: its figures say "top-5 attended words"; the released code sums the
    weights above 4 / T, which leaves nothing to rank when attention is soft.
    """
    return np.maximum(attention - attention.mean(), 0).sum((1, 2))


def ranked(attention: np.ndarray) -> list[int]:
    """Which words of `[T, h, w]` are attended to most, the most attended first."""
    return np.argsort(-attention_scores(attention), kind="stable")[:NUM_TOP_WORDS].tolist()


def scaled(image: np.ndarray, at_least: int = 0, at_most: int = 10_000) -> np.ndarray:
    """A uint8 `[S, S, 3]` image, enlarged or reduced until S is from `at_least` to `at_most`."""
    size = min(max(len(image), at_least), at_most)
    if size == len(image):
        return image
    pixelated = len(image) <= min(PIXELATED_UP_TO, size)
    rule = Image.Resampling.NEAREST if pixelated else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((size, size), rule))


def draw_strips(strips: list[Strip], tile: int) -> Image.Image:
    """A figure of strips, one below the other: a title, then images with their labels below them.

    Every image is scaled to `tile` pixels. Titles and labels are wrapped; "" takes no room.
    """
    step = tile + MARGIN
    width = max(len(cells) for _, cells in strips) * step + MARGIN
    titles = [wrapped(title.translate(NOT_IN_FONT), width - 2 * MARGIN) for title, _ in strips]
    labels = [[wrapped(label, tile) for label, _ in cells] for _, cells in strips]
    lines = [len(title) + max(map(len, texts)) for title, texts in zip(titles, labels)]
    canvas = Image.new("RGB", (width, MARGIN + len(lines) * step + LINE_HEIGHT * sum(lines)), WHITE)
    spacing = LINE_HEIGHT - _font().getbbox("A")[3]
    write = functools.partial(ImageDraw.Draw(canvas).text, fill=INK, font=_font(), spacing=spacing)
    top = MARGIN
    for (_, cells), title, texts, num_lines in zip(strips, titles, labels, lines):
        write((MARGIN, top - MARGIN // 2), "\n".join(title))
        top_of_images = top + LINE_HEIGHT * len(title)
        for column, (text, (_, image)) in enumerate(zip(texts, cells)):
            left = MARGIN + column * step
            canvas.paste(Image.fromarray(scaled(image, tile, tile)), (left, top_of_images))
            write((left, top_of_images + tile), "\n".join(text))
        top += step + LINE_HEIGHT * num_lines
    return canvas


def captioned_grid(
    images: np.ndarray, captions: list[str], path: storage.PathLike, *, columns: int = 4
) -> None:
    """Writes a PNG of images, uint8 `[N, S, S, 3]`, each with its caption below it."""
    cells = list(zip(captions, images))
    rows: list[Strip] = [("", cells[k : k + columns]) for k in range(0, len(cells), columns)]
    save_png(draw_strips(rows, max(images.shape[1], CAPTION_TILE)), path)


def attention_figure(
    images: BySize, attention: BySize, words: list[str], path: storage.PathLike
) -> None:
    """Writes a PNG of attention maps: a row for each refinement stage, a column for each word.

    The first column is the stage's own image. The number after a word is its largest weight.
    `images` are uint8 `[S, S, 3]` of one caption, `attention` float `[T, h, w]` of the stages that
    have it. `words` has no padding: it may have fewer than T.
    """
    tile = max(*attention, WORD_TILE)
    rows: list[Strip] = []
    for size in sorted(attention):
        maps = _word_maps(images[size], attention[size], words, range(len(words)), tile)
        rows.append(("", [(f"{size} x {size}", images[size]), *maps]))
    save_png(draw_strips(rows, tile), path)


def _word_maps(image, attention, words, shown, tile: int) -> list[tuple[str, np.ndarray]]:
    """A cell for each of the words `shown`: its map over the image, its largest weight."""
    image = scaled(image, tile, tile)
    overlays = [overlay_attention(image, attention[t]) for t in shown]
    return [(f"{words[t]} {attention[t].max():.0%}", lit) for t, lit in zip(shown, overlays)]


def write_run_figures(run: Run, folder: storage.Path) -> None:
    """Writes the figures for which a run has the arrays; makes `folder` only for one of them."""
    figures = {
        "attention": top_words(run.attention),
        "damsm_attention": top_words(run.damsm_attention),
        "time_line": time_line(run.samples) if run.samples else [],
        "between_captions": run.interpolations.get("captions"),
        "between_noises": run.interpolations.get("noise"),
        "swapped_word": run.interpolations.get("swap"),
    }
    for name, strips in figures.items():
        if strips:
            save_png(draw_strips(strips, RUN_TILE), folder / f"{name}.png")


def top_words(attention: Attention | None) -> list[Strip]:
    """As in the paper's Figure 4: a caption's images, then a strip for each stage with attention.

    A strip holds the stage's five most attended words, the most attended first, each with its map
    over the stage's image and its largest weight. DAMSM, with one image, has one strip.
    """
    strips: list[Strip] = []
    if attention is None or not attention.maps:
        return strips
    for n in [n for n, words in enumerate(attention.words) if words][:NUM_CAPTIONS]:
        words, caption = attention.words[n], attention.captions[n]
        images = [(f"{size} x {size}", stage[n]) for size, stage in attention.images.items()]
        rows = []
        for size, stage in attention.maps.items():
            maps = stage[n][: len(words)].astype(np.float32)
            rows.append(_word_maps(attention.images[size][n], maps, words, ranked(maps), RUN_TILE))
        if len(images) == 1:
            images, rows = images + rows[0], []
        strips += [(caption, images), *(("", row) for row in rows)]
    return strips


def time_line(samples: Samples) -> list[Strip]:
    """Images of fixed captions and noise over training, then the real image."""
    shown = evenly_spaced(range(len(samples.steps)), MAX_STEPS)
    strips = []
    for n, caption in enumerate(samples.captions[:NUM_CAPTIONS]):
        made = [(f"step {samples.steps[k]:,}", samples.over_time[k][n]) for k in shown]
        strips.append((caption, [*made, ("real", samples.real_images[n])]))
    return strips


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` pixels; a word wider than that is broken."""
    lines, text = [], " ".join(text.split())
    while text:
        fitting = [n for n in range(1, len(text) + 1) if _font().getlength(text[:n]) <= width]
        cut = max(fitting, default=1)
        if cut < len(text) and " " in text[: cut + 1]:
            cut = text[: cut + 1].rindex(" ")
        lines.append(text[:cut])
        text = text[cut:].strip()
    return lines


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)


def png(image: np.ndarray | Image.Image) -> bytes:
    """An image, such as uint8 `[H, W, 3]`, as the content of a PNG file."""
    content = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(content, "PNG")
    return content.getvalue()


def save_png(image: np.ndarray | Image.Image, path: storage.PathLike) -> None:
    """Writes a PNG whole or not at all; makes its folder."""
    storage.write_bytes(storage.path(path), png(image))
