"""Encoded images of every kind to upright RGB.

What a file holds beyond 8-bit RGB comes out as a person would see it: turned as its EXIF entry
says, what is transparent over white, 16 bits cut to the upper 8. The released code's
`Image.open(path).convert('RGB')` shows the same pixels for every image of CUB and COCO; it
ignores the EXIF entry and the transparency, and turns most of a 16-bit image white.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_ORIENTATION_TAG = 0x0112
_TURNS = {  # how the stored pixels become the image
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)
_MIRRORS_X = (2, 3, 6, 7)  # from right to left, after the sides are swapped
_MIRRORS_Y = (3, 4, 7, 8)


def decode_image(encoded: bytes) -> Image.Image:
    """An encoded image as upright RGB; raises what Pillow raises for what is none."""
    return decode_with_box(encoded, (0, 0, 0, 0))[0]


def decode_with_box(encoded: bytes, bbox: Sequence[float]) -> tuple[Image.Image, Sequence[float]]:
    """An encoded image as upright RGB, and its box in the upright image's pixels.

    Args:
      bbox: x, y, width, height in the pixels as they are stored, before any turn that the EXIF
        entry asks for: what CUB's boxes refer to, and programs that don't know EXIF.
    """
    image = Image.open(io.BytesIO(encoded))
    turned_by_pillow = image.format == "TIFF"  # while loading, and the entry is gone then
    orientation = _orientation(image) if turned_by_pillow else 1
    image.load()
    if not turned_by_pillow:
        orientation = _orientation(image)
    rgb = _to_rgb(image)
    if orientation == 1:
        return rgb, bbox
    if not turned_by_pillow:
        rgb = rgb.transpose(_TURNS[orientation])
    return rgb, _turned_box(bbox, orientation, *rgb.size)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened, not yet loaded image's pixels as they are stored."""
    width, height = image.size
    # Pillow gives a TIFF's size after the turn.
    swapped = image.format == "TIFF" and _orientation(image) in _SWAPS_SIDES
    return (height, width) if swapped else (width, height)


def decode_labels(encoded: bytes) -> Image.Image:
    """An encoded label map (PNG) as one 8-bit channel."""
    return Image.open(io.BytesIO(encoded)).convert("L")


def _orientation(image: Image.Image) -> int:
    """EXIF's 1 to 8; 1, upright, where there is none or it makes no sense."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a broken entry, in whatever way, doesn't break the image
        return 1
    return orientation if orientation in _TURNS else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion takes everything above 255 for white.
        levels = np.asarray(image)
        if levels.dtype.itemsize > 2:
            levels = np.clip(levels, 0, 65_535)
        return Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _turned_box(
    bbox: Sequence[float], orientation: int, width: float, height: float
) -> tuple[float, float, float, float]:
    """A box of the stored pixels in the upright image of `width` x `height`."""
    x, y, box_width, box_height = bbox
    if orientation in _SWAPS_SIDES:
        x, y, box_width, box_height = y, x, box_height, box_width
    if orientation in _MIRRORS_X:
        x = width - x - box_width
    if orientation in _MIRRORS_Y:
        y = height - y - box_height
    return x, y, box_width, box_height
