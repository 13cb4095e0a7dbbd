"""Draws one bird.

Strokes go onto an 8-bit map of paints. Both the image (by a palette) and the label map (by the
part that each paint belongs to) follow from that map, so they agree in every pixel.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from attngan_jax.data.birds import anatomy
from attngan_jax.data.birds.anatomy import ACCENT, BASE, DARK, LIGHT, NUM_TONES, PAINT
from attngan_jax.data.birds.species import COLOR_ATTRIBUTES, COLORS, PARTS, Species


def _rgb(codes: str) -> list[tuple[int, ...]]:
    return [ImageColor.getrgb(code) for code in codes.split()]


_COLOR_CODES = "#cd2026 #f07c14 #fcde32 #34943a #265ccd #863aaa #7a4c2a #8a8c92 #222228 #f4f4f0"
RGB = dict(zip(COLORS, _rgb(_COLOR_CODES)))
_EYE_RGB = dict(zip((BASE, DARK, LIGHT), _rgb("#141012 #402e22 #fafafa")))
_LEGS_RGB = _rgb("#705442 #4e4a4c #a87854")
_PERCHES = _rgb("#705a46 #867868 #646652")
_LEAVES = _rgb("#6e8c54 #86965c #968454")
# Pairs of colours, top and bottom, that a background runs between.
_TOPS = _rgb("#bad4ec #b6d0c0 #e4d8be #ced8de #e8dcd6 #acc6d6")
_BOTTOMS = _rgb("#dee8ec #9cbc94 #d0c09e #b2c2bc #d0c6ca #bcccac")

_SCALE = {"small": 0.92, "medium": 0.98, "large": 1.04}
_LARGEST = 0.94  # of a bird's longer side
_NUM_FLECKS = 110

# Tables over paints: opaque or not, and the label.
_MASK = [0] + [255] * 255
_LABELS = [paint // NUM_TONES for paint in range(256)]


def draw_bird(species: Species, rng: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
    """Draws a bird of `species` in a random pose, place and light, `size` (S) pixels square.

    The same generator gives the same bird at every size.

    Returns:
      The image, uint8 [S, S, 3]; the label map, uint8 [S, S]: 0 for the background, i + 1 where
      PARTS[i] is topmost; and the bird's box, float32 [4]: x, y, width and height in pixels.
    """
    oversampling = 3 if size < 128 else 2
    side = size * oversampling
    # The order of these calls is the order of random draws: it decides what a seed shows.
    scene, palette = _scene(rng), _palette(species, rng)
    light = np.float32(rng.uniform(0.93, 1.05) * rng.uniform(0.98, 1.02, 3))  # and its tint
    paints = _paint(species, rng, side)
    if rng.random() < 0.5:
        paints = paints.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    bird = paints.copy()
    bird.putpalette(palette)
    canvas = scene.resize((side, side), Image.Resampling.BICUBIC)
    canvas.paste(bird.convert("RGB"), mask=paints.point(_MASK))
    image = np.asarray(canvas.reduce(oversampling), np.float32)
    labels = np.asarray(paints.resize((size, size), Image.Resampling.NEAREST).point(_LABELS))
    image = image * _shading(labels > 0)[..., None] * light
    rows, columns = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    x, y = columns[0], rows[0]
    box = np.array((x, y, columns[-1] - x + 1, rows[-1] - y + 1), np.float32)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), labels, box


def _paint(species: Species, rng: np.random.Generator, side: int) -> Image.Image:
    """The map of paints, `side` pixels square."""
    strokes = anatomy.random_strokes(species, rng)
    bird = np.concatenate([stroke.points for stroke in strokes if stroke.paint >= NUM_TONES])
    low, high = bird.min(0), bird.max(0)
    scale = _SCALE[species.value("size")] * rng.uniform(0.96, 1.04)
    scale = min(scale, _LARGEST / (high - low).max())
    shift = 0.5 - scale * (low + high) / 2 + rng.uniform(-0.03, 0.03, 2)

    paints = Image.new("L", (side, side))
    draw = ImageDraw.Draw(paints)
    for paint, points, width in strokes:
        corners = ((points * scale + shift) * side).ravel().tolist()
        if width is None:
            draw.polygon(corners, fill=paint)
        else:
            draw.line(corners, fill=paint, width=max(1, round(width * scale * side)))

    # Flecks: short strokes along the plumage, lighter or darker than what they lie on.
    starts = rng.uniform(0.1, 0.9, (_NUM_FLECKS, 2))
    steps = rng.uniform((-0.028, 0.010), (-0.012, 0.028), (_NUM_FLECKS, 2))
    plumage = range(PAINT["crown"], PAINT["beak"])
    pixels: Any = paints.load()  # shows what is drawn meanwhile: flecks see earlier flecks
    lines = np.concatenate([starts, starts + steps], 1) * side
    for i, (x, y, to_x, to_y) in enumerate(lines.tolist()):
        paint = pixels[int(x), int(y)]
        is_plain = paint in plumage and paint % NUM_TONES == BASE
        if is_plain and pixels[int(to_x), int(to_y)] < PAINT["beak"]:  # none over beak or eye
            tone = (DARK, LIGHT)[i % 2]
            draw.line((x, y, to_x, to_y), fill=paint + tone, width=max(1, side // 200))
    return paints


def _palette(species: Species, rng: np.random.Generator) -> list[int]:
    """Red, green and blue of all paints, concatenated."""
    colors = np.zeros((NUM_TONES * (len(PARTS) + 1), 3))
    named = {name.removesuffix("_color"): RGB[species.value(name)] for name in COLOR_ATTRIBUTES}
    named["tail"] = named["wing"]
    named["legs"] = _LEGS_RGB[species.class_id % len(_LEGS_RGB)]
    for part, rgb in named.items():
        color = np.array(rgb) + rng.uniform(-7, 7) + rng.uniform(-3, 3, 3)
        colors[PAINT[part] + BASE] = color
        colors[PAINT[part] + DARK] = 0.74 * color
        colors[PAINT[part] + LIGHT] = color + 0.16 * (255 - color) + 6
    for tone, rgb in _EYE_RGB.items():
        colors[PAINT["eye"] + tone] = rgb
    for part, attribute in (("wing", "wing_bars"), ("eye", "eye_ring")):
        colors[PAINT[part] + ACCENT] = RGB.get(species.value(attribute), 0)
    perch = np.array(_PERCHES[rng.integers(len(_PERCHES))])
    colors[anatomy.PERCH], colors[anatomy.PERCH_DARK] = perch, 0.8 * perch
    colors[anatomy.LEAF] = _LEAVES[rng.integers(len(_LEAVES))]
    return np.clip(colors, 0, 255).astype(int).ravel().tolist()


def _scene(rng: np.random.Generator) -> Image.Image:
    """A background out of focus: a gradient with soft spots, 6 pixels square."""
    place = rng.integers(len(_TOPS))
    top, bottom = np.array((_TOPS[place], _BOTTOMS[place]), np.float32)
    height = np.linspace(0, 1, 6)[:, None, None]
    spots = rng.normal(0, 5, (6, 6, 1)) + rng.normal(0, 1.5, (6, 6, 3))
    colors = (1 - height) * top + height * bottom + spots + rng.uniform(-12, 8)
    return Image.fromarray(np.clip(colors, 0, 255).astype(np.uint8))


def _shading(bird: np.ndarray) -> np.ndarray:
    """Light from above on a round body: bool [S, S] to a factor, float32 [S, S]."""
    small = Image.fromarray(bird.astype(np.uint8) * 255).resize((16, 16), Image.Resampling.BOX)
    padded = np.pad(np.asarray(small, np.float32) / 255, ((1, 1), (0, 0)), mode="edge")
    slope = Image.fromarray(padded[2:] - padded[:-2]).resize(bird.shape, Image.Resampling.BICUBIC)
    return np.where(bird, 1 + np.clip(0.14 * np.asarray(slope), -0.1, 0.1), 1).astype(np.float32)
