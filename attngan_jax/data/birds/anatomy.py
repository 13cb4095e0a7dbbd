"""The parts of a bird as strokes of paint, from the back of the image to the front.

Lengths are fractions of the image's side, x to the right and y down; the bird sits upright in the
middle and looks to the right. Points of curves are rows [N, 2].
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from attngan_jax.data.birds.species import PARTS, Species

# A paint is a part and a tone. Paints 1 to 3 are those of the perch, and 0 is the background.
BASE, DARK, LIGHT, ACCENT = range(4)
NUM_TONES = 4
PAINT = {part: NUM_TONES * (i + 1) for i, part in enumerate(PARTS)}
PERCH, PERCH_DARK, LEAF = 1, 2, 3


def _points(text: str) -> np.ndarray:
    """Reads "x,y x,y ...", the form of an SVG polygon."""
    return np.array([point.split(",") for point in text.split()], float)


# The outline of a bird of middling shape, clockwise from the forehead.
_OUTLINE = _points(
    "0.795,0.270 0.695,0.160 0.560,0.225 0.515,0.345 0.415,0.430 0.295,0.535 0.190,0.655 "
    "0.235,0.750 0.360,0.820 0.525,0.830 0.690,0.745 0.790,0.590 0.780,0.450 0.790,0.365"
)
_FOREHEAD, _NAPE, _RUMP, _FLANK, _CHIN = 0, 3, 6.5, 10, 13
_ON_HEAD = [0, 1, 2, 13]
_STEPS = 6  # of the curve from one point of the outline to the next

_NECK = np.array((0.65, 0.41))
_BODY = np.array((0.50, 0.62))
_ACROSS = np.array((0.69, 0.72))  # unit vector from the back to the belly
_CHEEK = _points("0.585,0.35 0.64,0.36 0.715,0.345")  # where the crown ends
_EYE = np.array((0.712, 0.272))
_BACK_EDGE = _points("0.25,0.74 0.40,0.63 0.54,0.55 0.622,0.47 0.628,0.39")
_BREAST_EDGE = _points("0.57,0.42 0.55,0.55 0.585,0.665 0.63,0.72")
_WING_TOP = _points("0.635,0.485 0.56,0.485 0.44,0.565 0.28,0.665 0.135,0.765")
_WING_BOTTOM = _points("0.645,0.56 0.60,0.64 0.48,0.70 0.32,0.735 0.15,0.785")
_ACROSS_WING = np.linspace(0.08, 0.92, 5)[:, None]
_BOW = 0.02 * np.sin(np.pi * _ACROSS_WING) * (-1, 1)
_TAIL_ROOT = np.array((0.235, 0.690))
_HIPS = _points("0.435,0.80 0.525,0.805")
_PERCH_HEIGHT = 0.915
_LEAF = _points("0,0 0.035,0.055 0.10,0.085 0.16,0.085 0.13,0.04 0.07,0.015")
_CIRCLE = np.stack([np.cos(np.arange(12) * np.pi / 6), np.sin(np.arange(12) * np.pi / 6)], 1)

_HEAD_SCALE = {"small": 1.10, "medium": 1.0, "large": 0.91}
_BEAK_LENGTH = {"short": 0.085, "medium": 0.135, "long": 0.21}
# Half the depth at the root, how far the tip drops as a share of the length, and the depth in the
# middle as a share of that at the root.
_BEAKS = {"pointed": (0.036, 0.0, 0.5), "curved": (0.036, 0.5, 0.75), "thick": (0.056, 0.1, 0.85)}
_TAIL_LENGTH = {"short": 0.15, "long": 0.31}

Affine = Callable[[np.ndarray], np.ndarray]  # of points [..., 2]


class Stroke(NamedTuple):
    """Paint along or inside `points` [N, 2]; `width` None means filled."""

    paint: int
    points: np.ndarray
    width: float | None = None


def random_strokes(species: Species, rng: np.random.Generator) -> list[Stroke]:
    """All strokes of a bird in a random pose that shows every part, in the order of painting."""
    tilt, head_tilt = rng.uniform(-6, 6), rng.uniform(-14, 12)  # degrees
    head_shift = rng.uniform((-0.02, -0.025), (0.02, 0.02))
    tail_tilt, wing_tilt, perch_tilt = (rng.uniform(-limit, limit) for limit in (12, 5, 8))

    proportions = species.proportions
    plump = np.eye(2) + (proportions.plumpness - 1) * np.outer(_ACROSS, _ACROSS)
    body = affine(plump @ rotation(proportions.posture + tilt), _BODY, _BODY)
    head_scale = _HEAD_SCALE[species.value("size")] * proportions.head
    head = affine(head_scale * rotation(head_tilt), _NECK, body(_NECK) + head_shift)
    outline = body(_OUTLINE)
    outline[_ON_HEAD] = head(_OUTLINE[_ON_HEAD])
    outline = curve(outline, closed=True)
    return [
        *_perch(perch_tilt),
        *_legs(body),
        Stroke(PAINT["belly"], outline),
        *_tail(species, tail_tilt, body),
        *_mantle(outline, body, head),
        *_wing(species, wing_tilt, body),
        *_beak(species, head),
        *_eye(species, head),
    ]


def _perch(tilt: float) -> list[Stroke]:
    """A branch with a few leaves."""
    middle = np.array((0.5, _PERCH_HEIGHT))
    sway = affine(rotation(tilt), middle, middle)
    along = np.linspace(-0.6, 1.6, 12)
    branch = sway(np.stack([along, _PERCH_HEIGHT + 0.008 * np.sin(9 * along)], 1))
    leaves = ((0.94, -1), (0.80, 1), (-0.02, -1), (0.13, 1))  # x, and above the branch or below
    shapes = (curve((x, _PERCH_HEIGHT) + _LEAF * (1, side), closed=True) for x, side in leaves)
    strokes = [Stroke(LEAF, sway(leaf)) for leaf in shapes]
    return [*strokes, Stroke(PERCH, branch, 0.044), Stroke(PERCH_DARK, branch + (0, 0.013), 0.012)]


def _tail(species: Species, tilt: float, body: Affine) -> list[Stroke]:
    """A fan of three feathers, from under the rump."""
    length = _TAIL_LENGTH[species.value("tail_length")]
    edge = [(0.06, 0.055), (-0.5 * length, 0.05), (-length, 0.062)]
    top, bottom = [(x, -y) for x, y in edge], edge[::-1]
    fan = np.array([*top, (-length - 0.02, 0.0), *bottom])
    ribs = (np.array([(0, y), (-length, 1.3 * y)]) for y in (-0.02, 0.02))
    swing, paint = affine(rotation(tilt - 41), np.zeros(2), _TAIL_ROOT), PAINT["tail"]
    darker = (Stroke(paint + DARK, body(swing(rib)), 0.007) for rib in ribs)
    return [Stroke(paint, body(swing(fan))), *darker]


def _legs(body: Affine) -> list[Stroke]:
    """Two legs down to the perch, whatever the tilt, with toes over it."""
    legs = []
    for hip in body(_HIPS):
        foot = np.array((hip[0] + 0.03, _PERCH_HEIGHT - 0.012))
        legs.append(Stroke(PAINT["legs"], np.stack([hip - (0, 0.03), foot]), 0.018))
        for toe in ((0.035, 0.022), (0.008, 0.03), (-0.03, 0.02)):
            legs.append(Stroke(PAINT["legs"], np.stack([foot, foot + toe]), 0.013))
    return legs


def _mantle(outline: np.ndarray, body: Affine, head: Affine) -> list[Stroke]:
    """Breast, back and crown, cut from the bird's outline; what they leave is the belly."""

    def arc(start, stop):
        return outline[round(start * _STEPS) : round(stop * _STEPS) + 1]

    base = (outline[0] + outline[round(_CHIN * _STEPS)])[None] / 2
    under_crown = head(_EYE)[None]
    edges = (curve(edge) for edge in (body(_BREAST_EDGE), body(_BACK_EDGE), head(_CHEEK)))
    tips = np.array(((1, -1), (-1, 1)))  # of feathers, which make an edge ragged
    front, rear, cheek = (edge + 0.006 * tips[np.arange(len(edge)) % 2] for edge in edges)
    breast = np.concatenate([arc(_FLANK, _CHIN), base, under_crown, front])
    back = np.concatenate([arc(_NAPE, _RUMP), rear, under_crown])
    crown = np.concatenate([arc(_FOREHEAD, _NAPE), cheek, base])
    parts = (("breast", breast), ("back", back), ("crown", crown))
    return [Stroke(PAINT[part], points) for part, points in parts]


def _wing(species: Species, tilt: float, body: Affine) -> list[Stroke]:
    """A folded wing, its flight feathers and its bars."""
    droop = affine(rotation(tilt), _WING_TOP[0], _WING_TOP[0])
    top, bottom = (body(droop(curve(edge))) for edge in (_WING_TOP, _WING_BOTTOM))

    def feather(height, start, stop):
        first, last = round(start * len(top)), round(stop * len(top))
        return (1 - height) * top[first:last] + height * bottom[first:last]

    def across(along):
        at = round(along * len(top))
        return (1 - _ACROSS_WING) * top[at] + _ACROSS_WING * bottom[at] + _BOW

    paint = PAINT["wing"]
    whole = np.concatenate([top, bottom[::-1]])
    parts = [Stroke(paint, whole), Stroke(paint + DARK, bottom, 0.009)]
    parts += [Stroke(paint + DARK, feather(height, 0.5, 1), 0.006) for height in (0.3, 0.55, 0.8)]
    parts += [Stroke(paint + LIGHT, feather(height, 0.5, 0.9), 0.004) for height in (0.36, 0.61)]
    parts += [Stroke(paint + DARK, across(along), 0.005) for along in (0.2, 0.48)]
    if species.value("wing_bars") != "none":
        parts += [Stroke(paint + ACCENT, across(along), 0.028) for along in (0.28, 0.42)]
    return parts


def _beak(species: Species, head: Affine) -> list[Stroke]:
    """Two halves, the lower one darker below."""
    length = _BEAK_LENGTH[species.value("beak_length")]
    depth, drop, bulge = _BEAKS[species.value("beak_shape")]
    drop, bulge = drop * length, bulge * depth
    root, middle, tip = np.array((0.785, 0.318)), 0.55 * length, (length, 0.25 * depth + drop)
    upper = [(-0.012, -depth), (middle, -bulge + 0.25 * drop), tip]
    lower = [(middle, 0.75 * bulge + 0.35 * drop), (-0.012, depth)]
    gape = curve(np.array([(-0.01, 0.1 * depth), (middle, 0.1 * depth + 0.3 * drop), tip]))
    paint, outline = PAINT["beak"], np.concatenate([curve(np.array(upper)), lower])
    return [Stroke(paint, head(root + outline)), Stroke(paint + DARK, head(root + gape), 0.008)]


def _eye(species: Species, head: Affine) -> list[Stroke]:
    """The eye with its highlight, and a ring around it where the species has one."""
    paint = PAINT["eye"]
    circles = [(DARK, 0.027, 0), (BASE, 0.022, 0), (LIGHT, 0.007, (0.007, -0.008))]
    if species.value("eye_ring") != "none":
        circles.insert(0, (ACCENT, 0.039, 0))
    eye = head(_EYE)
    return [Stroke(paint + tone, eye + shift + radius * _CIRCLE) for tone, radius, shift in circles]


def rotation(degrees: float) -> np.ndarray:
    """The matrix [2, 2] that turns rows x, y clockwise, as seen in the image."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array(((cos, sin), (-sin, cos)))


def affine(matrix: np.ndarray, center: np.ndarray, to: np.ndarray) -> Affine:
    """`matrix` [2, 2] applied around `center`, which moves to `to`."""
    offset = to - center @ matrix
    return lambda points: points @ matrix + offset


def curve(points: np.ndarray, closed: bool = False) -> np.ndarray:
    """The Catmull-Rom curve through `points` [N, 2], to the last or closed; `_STEPS` a span."""
    return _spline(len(points), closed) @ points


@functools.cache
def _spline(num_points: int, closed: bool) -> np.ndarray:
    """The matrix that `curve` applies to its points."""
    t = np.arange(_STEPS)[:, None] / _STEPS
    cubics = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    weights = np.concatenate(cubics, 1) / 2
    spans = np.arange(num_points if closed else num_points - 1)
    near = spans[:, None] + np.arange(-1, 3)  # each span depends on the four points around it
    near = near % num_points if closed else near.clip(0, num_points - 1)
    points = np.eye(num_points)
    matrix = np.einsum("tk,skp->stp", weights, points[near]).reshape(-1, num_points)
    return matrix if closed else np.concatenate([matrix, points[-1:]])
