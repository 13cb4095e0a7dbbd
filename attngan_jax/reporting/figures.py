"""Figures from arrays: grids, captions under images, attention laid over them.

Everything here takes and gives uint8 RGB; NumPy and Pillow only.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from attngan_jax import storage

HEAT = (255, 190, 60)  # colour of full attention
HEAT_STRENGTH = 0.35  # how much of it lies over a region of full attention
DIMMED = 0.45  # brightness left where there is no attention

FONT_SIZE = 14
LINE_HEIGHT = 18
MARGIN = 10
SMALLEST_TILE = 176  # pixels; narrower images are enlarged, so that their captions can be read
WHITE, INK, MUTED = (255, 255, 255), (29, 31, 36), (105, 110, 120)


def image_grid(images: np.ndarray, columns: int, pad: int = 2) -> np.ndarray:
    """Images side by side, row by row, on white.

    Args:
      images: uint8 `[N, H, W, 3]`.
      columns: images in a row; fewer where there are fewer images.
      pad: white pixels around each image.

    Returns:
      uint8 `[rows (H + pad) + pad, columns (W + pad) + pad, 3]`.
    """
    count, height, width, _ = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    grid = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top = pad + index // columns * (height + pad)
        left = pad + index % columns * (width + pad)
        grid[top : top + height, left : left + width] = image
    return grid


def overlay_attention(
    image: np.ndarray, attention: np.ndarray, *, peak: float | None = None
) -> np.ndarray:
    """An image lit where a word looks: dimmed elsewhere, warm where the attention is high.

    Args:
      image: uint8 `[H, W, 3]`.
      attention: `[h, w]`, not negative; enlarged to the image's size bilinearly.
      peak: the value shown as full attention; by default the map's own largest.

    Returns:
      uint8 `[H, W, 3]`.
    """
    height, width, _ = image.shape
    heat = Image.fromarray(attention.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    peak = float(attention.max()) if peak is None else peak
    heat = np.clip(np.asarray(heat) / max(peak, 1e-12), 0, 1)[..., None]
    lit = image * (DIMMED + (1 - DIMMED) * heat)
    warm = lit + (np.asarray(HEAT) - lit) * HEAT_STRENGTH * heat
    return np.rint(warm).astype(np.uint8)


def attention_scores(attention: np.ndarray) -> np.ndarray:
    """How strongly each word of a caption is attended to, for ranking: `[T]`.

    The weight above an even spread, `sum_r max(a_tr - mean, 0)`. It ranks both kinds of map: the
    generator's, where the words share each region, and DAMSM's, where the regions share each word.

    Differs from the paper: its figures say "top-5 attended words"; the released code sums the
    weights above 4 / T, which leaves nothing to rank when attention is soft.

    Args:
      attention: `[T, h, w]` of the real words, without padding.
    """
    return np.maximum(attention - attention.mean(), 0).sum((1, 2))


def enlarged(image: np.ndarray, smallest: int) -> np.ndarray:
    """The image, enlarged (bicubic) to at least `smallest` pixels on its shorter side."""
    height, width, _ = image.shape
    if min(height, width) >= smallest:
        return image
    scale = smallest / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def captioned_grid(
    images: np.ndarray, captions: list[str], path: storage.PathLike, *, columns: int = 4
) -> None:
    """Writes a PNG of images, each with its caption under it.

    Args:
      images: uint8 `[N, H, W, 3]`.
      captions: one for each image.
      path: the file, written whole or not at all.
      columns: images in a row.
    """
    tiles = [enlarged(image, SMALLEST_TILE) for image in images]
    height, width, _ = tiles[0].shape
    texts = [wrapped(caption, width) for caption in captions]
    columns = min(columns, len(tiles))
    rows = [
        range(first, min(first + columns, len(tiles))) for first in range(0, len(tiles), columns)
    ]
    heights = [
        height + MARGIN + LINE_HEIGHT * max(len(texts[index]) for index in row) for row in rows
    ]

    canvas = _canvas(columns * (width + MARGIN) + MARGIN, sum(heights) + MARGIN * (len(rows) + 1))
    draw = ImageDraw.Draw(canvas)
    top = MARGIN
    for row, row_height in zip(rows, heights):
        for column, index in enumerate(row):
            left = MARGIN + column * (width + MARGIN)
            canvas.paste(Image.fromarray(tiles[index]), (left, top))
            write_lines(draw, texts[index], left, top + height + MARGIN // 2)
        top += row_height + MARGIN
    save_png(canvas, path)


def attention_figure(
    images: dict[int, np.ndarray],
    attention: dict[int, np.ndarray],
    words: list[str],
    path: storage.PathLike,
    *,
    caption: str = "",
    max_words: int | None = None,
) -> None:
    """Writes a PNG of word maps: a row for each refinement stage, a column for each word.

    The first column is the stage's own image. A number under a map is its largest weight.

    Args:
      images: stage's size -> uint8 `[S, S, 3]`, of one caption.
      attention: refinement stage's size -> float `[T, h, w]`; a subset of the keys of `images`.
      words: the T words, without padding (T may be less than the maps' first axis).
      path: the file, written whole or not at all.
      caption: written above, if given.
      max_words: only this many words, the most attended of the last stage, in caption order.
    """
    stages = sorted(attention)
    maps = {size: attention[size][: len(words)] for size in stages}
    shown = list(range(len(words)))
    if max_words is not None:
        ranked = np.argsort(-attention_scores(maps[stages[-1]]), kind="stable")
        shown = sorted(int(word) for word in ranked[:max_words])
    tile = max(max(stages), 112)
    title = wrapped(caption, (len(shown) + 1) * (tile + MARGIN)) if caption else []
    header = MARGIN + LINE_HEIGHT * len(title)
    step = tile + 2 * LINE_HEIGHT + MARGIN

    canvas = _canvas((len(shown) + 1) * (tile + MARGIN) + MARGIN, header + step * len(stages))
    draw = ImageDraw.Draw(canvas)
    write_lines(draw, title, MARGIN, MARGIN // 2)
    for row, size in enumerate(stages):
        top = header + row * step
        picture = enlarged(images[size], tile)
        write_lines(draw, [f"{size} x {size}"], MARGIN, top, MUTED)
        canvas.paste(Image.fromarray(picture), (MARGIN, top + LINE_HEIGHT))
        for column, word in enumerate(shown, start=1):
            left = MARGIN + column * (tile + MARGIN)
            lit = overlay_attention(picture, maps[size][word])
            write_lines(draw, wrapped(words[word], tile)[:1], left, top)
            canvas.paste(Image.fromarray(lit), (left, top + LINE_HEIGHT))
            peak = f"{maps[size][word].max():.0%}"
            write_lines(draw, [peak], left, top + LINE_HEIGHT + tile, MUTED)
    save_png(canvas, path)


def labelled_rows(images: np.ndarray, labels: list[str], pad: int = 4) -> np.ndarray:
    """Rows of images, each with its name at the left.

    Args:
      images: uint8 `[rows, columns, H, W, 3]`.
      labels: one for each row.

    Returns:
      uint8 `[rows (H + pad) + pad, width, 3]`.
    """
    _, columns, height, width, _ = images.shape
    left = 2 * MARGIN + round(max(_text_width(label) for label in labels))
    canvas = _canvas(left + columns * (width + pad), pad + len(labels) * (height + pad))
    draw = ImageDraw.Draw(canvas)
    for row, (line, label) in enumerate(zip(images, labels)):
        top = pad + row * (height + pad)
        write_lines(draw, [label], MARGIN, top + height // 2 - LINE_HEIGHT // 2)
        for column, image in enumerate(line):
            canvas.paste(Image.fromarray(image), (left + column * (width + pad), top))
    return np.asarray(canvas)


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` pixels; a word wider than that is broken."""
    lines = [""]
    for word in text.split():
        while _text_width(word) > width:
            fits = max(n for n in range(1, len(word)) if n == 1 or _text_width(word[:n]) <= width)
            lines.append(word[:fits])
            word = word[fits:]
        joined = f"{lines[-1]} {word}".strip()
        if _text_width(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line for line in lines if line] or [""]


def save_png(picture: np.ndarray | Image.Image, path: storage.PathLike) -> None:
    """Writes a PNG whole or not at all; makes its folder."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    content = io.BytesIO()
    image.save(content, format="PNG")
    storage.write_bytes(storage.path(path), content.getvalue())


def _canvas(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), WHITE)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(FONT_SIZE)


def _text_width(text: str) -> float:
    return _font().getlength(text)


def write_lines(draw: ImageDraw.ImageDraw, lines: list[str], left: int, top: int, fill=INK):
    """Writes lines of text, one under the other."""
    for number, line in enumerate(lines):
        draw.text((left, top + number * LINE_HEIGHT), line, fill=fill, font=_font())
