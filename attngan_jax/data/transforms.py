"""What happens to one image and one caption on the way into a batch: pure functions.

An image's geometry is chosen first (`choose_view`) and then applied (`render`), so that a label map
goes exactly the way of its image. Decoding gives upright RGB: turned as the EXIF entry says,
transparency over white, of 16 bits the upper 8. For CUB and COCO that is the released code's
`Image.open(path).convert('RGB')`, which does none of the three.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, features
from PIL.Image import Resampling, Transpose

# What is opened, by content, whatever the name: Pillow would start Ghostscript for EPS, and reads
# many a format that no dataset has. Photographs with a second picture inside count as JPEGs.
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
if features.check("avif"):
    FORMATS += ("AVIF",)
BOX_SCALE = 0.75  # of the box's longer side: half the side of the square around its centre

# How the stored pixels become the upright image, for each EXIF orientation from 2 on.
_TO_UPRIGHT = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_TRANSPOSE = {i: Transpose[name] for i, name in enumerate(_TO_UPRIGHT.split(), start=2)}


def open_image(encoded: bytes) -> Image.Image:
    """An encoded image of one of `FORMATS`, not yet decoded; raises what Pillow does for others."""
    return Image.open(io.BytesIO(encoded), formats=FORMATS)


def decode_image(encoded: bytes) -> Image.Image:
    """An encoded image as upright RGB; raises what Pillow raises for what is none."""
    return decode_with_box(encoded, (0, 0, 0, 0))[0]


def decode_with_box(
    encoded: bytes, bbox: Sequence[float], at_least: int = 0
) -> tuple[Image.Image, Sequence[float]]:
    """An encoded image as upright RGB, and its box in the upright image's pixels.

    `bbox` is x, y, width, height in the pixels as they are stored, before any turn that the EXIF
    entry asks for: what CUB's boxes refer to, and programs that don't know EXIF. With `at_least`, a
    JPEG is decoded at a half, a quarter or an eighth of its size, in a fraction of the time, where
    its crop by `box_bounds` keeps so many pixels on the shorter side; the box is scaled with it.
    """
    image = open_image(encoded)
    if at_least and image.format == "JPEG":
        stored = image.size
        left, top, right, bottom = box_bounds(*stored, bbox)
        factor = min(right - left, bottom - top) // at_least
        if factor >= 2 and image.draft(None, (stored[0] // factor, stored[1] // factor)):
            scales = (image.width / stored[0], image.height / stored[1]) * 2
            bbox = [float(value) * scale for value, scale in zip(bbox, scales)]
    # Pillow turns a TIFF while loading and drops the entry. A PNG may have it after the pixels.
    is_tiff = image.format == "TIFF"
    before = _orientation(image) if is_tiff else 1
    image.load()
    orientation = before if is_tiff else _orientation(image)
    upright = _to_rgb(image)
    if orientation == 1:
        return upright, bbox
    if not is_tiff:
        upright = upright.transpose(_TRANSPOSE[orientation])
    x, y, width, height = bbox
    if orientation >= 5:  # these swap the axes
        x, y, width, height = y, x, height, width
    if orientation in (2, 3, 6, 7):  # and then mirror x
        x = upright.width - x - width
    if orientation in (3, 4, 7, 8):  # and y
        y = upright.height - y - height
    return upright, (x, y, width, height)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened, not yet loaded image's pixels as they are stored."""
    # Pillow gives a TIFF's size after the turn.
    is_swapped = image.format == "TIFF" and _orientation(image) >= 5
    return image.size[::-1] if is_swapped else image.size


def decode_labels(encoded: bytes) -> Image.Image:
    """An encoded label map (PNG) as one 8-bit channel."""
    return open_image(encoded).convert("L")


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1, upright, where there is none or it makes no sense."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken entry, in whatever way, doesn't break the image
        return 1
    return orientation if orientation in _TRANSPOSE else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # Pillow's own conversion takes everything above 255 for white
        levels = np.clip(np.asarray(image), 0, 65_535) >> 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


class View(NamedTuple):
    """Which part of an image is shown; left, top, right, bottom of its rectangles in pixels."""

    bounds: tuple[int, int, int, int]  # what the box crop keeps
    window: tuple[float, float, float, float]  # the random crop inside it, fractional
    flip: bool  # mirrored left to right


def box_bounds(width: int, height: int, bbox: Sequence[float]) -> tuple[int, int, int, int]:
    """The released code's square around a box, clipped to the image (`datasets.py`, `get_imgs`).

    Its half side is 0.75 of the box's longer side. `bbox` is x, y, width, height in pixels, all
    zero for none. Returns left, top, right, bottom: of the whole image where no box is in it.
    """
    x, y, box_width, box_height = (int(value) for value in bbox)
    half_side = int(max(box_width, box_height) * BOX_SCALE)
    center_x, center_y = (2 * x + box_width) // 2, (2 * y + box_height) // 2
    left, top = max(0, center_x - half_side), max(0, center_y - half_side)
    right, bottom = min(width, center_x + half_side), min(height, center_y + half_side)
    if box_width <= 0 or box_height <= 0 or left >= right or top >= bottom:
        return 0, 0, width, height
    return left, top, right, bottom


def choose_view(
    width: int,
    height: int,
    *,
    size: int,
    resize_ratio: float,
    bbox: Sequence[float] | None = None,
    random_flip: bool = False,
    rng: np.random.Generator | None = None,
) -> View:
    """Box crop, resize of the shorter side to `resize_ratio * size`, crop of `size`, flip.

    `width`, `height` and `size` are in pixels, and `bbox` is x, y, width, height or None. A ratio
    of 1 leaves the crop no play along the shorter side. `random_flip` flips half of the time.
    Without `rng` it is the central crop, unflipped.
    """
    bounds = box_bounds(width, height, (0, 0, 0, 0) if bbox is None else bbox)
    inner = bounds[2] - bounds[0], bounds[3] - bounds[1]
    shorter = max(size, int(size * resize_ratio))
    resized = [shorter * side // min(inner) for side in inner]
    play_x, play_y = (side - size for side in resized)
    if rng is None:
        left, top, flip = round(play_x / 2), round(play_y / 2), False
    else:
        left, top = int(rng.integers(play_x + 1)), int(rng.integers(play_y + 1))
        flip = random_flip and bool(rng.integers(2))
    corners = left, top, left + size, top + size
    x0, y0, x1, y1 = (corner * inner[i % 2] / resized[i % 2] for i, corner in enumerate(corners))
    return View(bounds, (x0, y0, x1, y1), flip)


def render(
    image: Image.Image, view: View, size: int, *, resample: Resampling = Resampling.BILINEAR
) -> Image.Image:
    """The `size` x `size` image that `view` shows.

    Resizing only the window gives the pixels of resizing all and then cropping, in less time.
    """
    if view.bounds != (0, 0, *image.size):
        image = image.crop(view.bounds)
    shown = image.resize((size, size), resample, box=view.window)
    return shown.transpose(Transpose.FLIP_LEFT_RIGHT) if view.flip else shown


def pyramid(image: Image.Image, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """A square image at each of `sizes`, uint8 [S, S, 3], each resized from `image` itself."""
    return {size: np.asarray(image.resize((size, size), Resampling.BILINEAR)) for size in sizes}


def pad_caption(
    numbers: Sequence[int], max_words: int, rng: np.random.Generator, overflow_rule: str
) -> tuple[np.ndarray, int]:
    """A caption cut to `max_words` (T) and padded with zeros, int32 [T], and how many are words.

    A longer caption keeps by the released code's rule a "random_subset" of its words, in their
    order; or by `overflow_rule` the "first" ones, or a "window": some in a row. A window begins
    anywhere, also before the first word, and is moved inside: else it would seldom show the words
    at the ends, ten of 17 the last in one case of eight.
    """
    if overflow_rule == "first":
        numbers = numbers[:max_words]
    elif len(numbers) > max_words and overflow_rule == "window":
        start = int(rng.integers(1 - max_words, len(numbers)))
        start = min(max(start, 0), len(numbers) - max_words)
        numbers = numbers[start : start + max_words]
    elif len(numbers) > max_words:
        kept = np.sort(rng.choice(len(numbers), max_words, replace=False))
        numbers = [numbers[i] for i in kept]
    caption = np.zeros(max_words, np.int32)
    caption[: len(numbers)] = numbers
    return caption, len(numbers)
