"""What happens to one image and one caption on the way into a batch.

Pure functions of their arguments; what is random takes a `np.random.Generator`. An image's
geometry is chosen first (`choose_view`) and then applied (`render`), so that a label map
can go exactly the same way as its image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

BOX_SCALE = 0.75  # of the box's longer side: half the side of the square around its centre
OVERFLOW_RULES = ("random_subset", "first")  # which words of a caption that is too long are kept


class View(NamedTuple):
    """Which part of an image is shown, and how.

    bounds: left, top, right, bottom in whole pixels: what the box crop keeps.
    window: left, top, right, bottom inside these bounds, in (fractional) pixels: what the
      random crop shows.
    flip: mirrored left to right.
    """

    bounds: tuple[int, int, int, int]
    window: tuple[float, float, float, float]
    flip: bool


def box_bounds(width: int, height: int, bbox: Sequence[float]) -> tuple[int, int, int, int]:
    """The released code's square around a box, clipped to the image.

    Its half side is 0.75 of the box's longer side, so the square's side is 1.5 times it.

    Args:
      width, height: of the image, in pixels.
      bbox: x, y, width, height of the box in pixels; all zero means none.
    Returns:
      left, top, right, bottom; the whole image without a box, and where nothing of the square
      lies inside the image.
    """
    x, y, box_width, box_height = (int(value) for value in bbox)
    if box_width <= 0 or box_height <= 0:
        return 0, 0, width, height
    half_side = int(max(box_width, box_height) * BOX_SCALE)
    center_x = (2 * x + box_width) // 2
    center_y = (2 * y + box_height) // 2
    left, top = max(0, center_x - half_side), max(0, center_y - half_side)
    right, bottom = min(width, center_x + half_side), min(height, center_y + half_side)
    if left >= right or top >= bottom:
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

    Args:
      width, height: of the image, in pixels.
      size: side of the square image to show, in pixels.
      resize_ratio: at least 1; 1 leaves the crop no play along the shorter side.
      bbox: x, y, width, height of a box to crop to first, or None.
      random_flip: whether to flip half of the time.
      rng: where the crop and the flip come from; None gives the central crop, unflipped.
    """
    bounds = (0, 0, width, height) if bbox is None else box_bounds(width, height, bbox)
    inner_width, inner_height = bounds[2] - bounds[0], bounds[3] - bounds[1]
    shorter = max(size, int(size * resize_ratio))
    if inner_width <= inner_height:
        resized = shorter, shorter * inner_height // inner_width
    else:
        resized = shorter * inner_width // inner_height, shorter
    play_x, play_y = resized[0] - size, resized[1] - size
    if rng is None:
        left, top, flip = round(play_x / 2), round(play_y / 2), False
    else:
        left, top = int(rng.integers(play_x + 1)), int(rng.integers(play_y + 1))
        flip = random_flip and bool(rng.integers(2))
    window = (
        left * inner_width / resized[0],
        top * inner_height / resized[1],
        (left + size) * inner_width / resized[0],
        (top + size) * inner_height / resized[1],
    )
    return View(bounds, window, flip)


def render(
    image: Image.Image,
    view: View,
    size: int,
    *,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """The `size` x `size` image that `view` shows.

    Resizing only the window gives the pixels of resizing the whole and then cropping, in a
    part of the time.
    """
    if view.bounds != (0, 0, *image.size):
        image = image.crop(view.bounds)
    shown = image.resize((size, size), resample, box=view.window)
    return shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.flip else shown


def pyramid(image: Image.Image, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """A square image at each of `sizes`, every one resized from `image` itself.

    Returns:
      uint8 [S, S, 3] for each size S.
    """
    return {
        size: np.asarray(
            image if image.width == size else image.resize((size, size), Image.Resampling.BILINEAR)
        )
        for size in sizes
    }


def pad_caption(
    numbers: Sequence[int],
    max_words: int,
    rng: np.random.Generator,
    overflow_rule: str = "random_subset",
) -> tuple[np.ndarray, int]:
    """A caption cut to `max_words` and padded with zeros.

    Args:
      overflow_rule: what a longer caption keeps: by the released code's rule a "random_subset"
        of its words, in their order; or the "first" ones.
    Returns:
      int32 [T] with T = `max_words`, and how many of them are words.
    """
    if overflow_rule == "first":
        numbers = numbers[:max_words]
    elif len(numbers) > max_words:
        kept = np.sort(rng.choice(len(numbers), max_words, replace=False))
        numbers = np.asarray(numbers)[kept]
    caption = np.zeros(max_words, np.int32)
    caption[: len(numbers)] = numbers
    return caption, len(numbers)
