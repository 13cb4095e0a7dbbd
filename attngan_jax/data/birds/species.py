"""Made-up species: a palette and a shape each, all of them drawn from one seed.

Species differ in the colours of the body, so a held-out species is a new combination of colours.
Each ten consecutive species show each colour once on every part, but for parts that repeat the
colour of another: all colours of a held-out species were seen in training, on the same parts.
"""

from typing import NamedTuple

import numpy as np

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "grey", "black", "white")
BEAK_COLORS = ("red", "orange", "yellow", "brown", "grey", "black")

# The classes of a label map: part i has the label i + 1, and 0 is the background. The first six
# parts have a colour attribute each; the tail has the wing's colour.
PARTS = ("crown", "back", "wing", "breast", "belly", "beak", "tail", "eye", "legs")

BODY_COLORS = tuple(f"{part}_color" for part in PARTS[:5])
COLOR_ATTRIBUTES = (*BODY_COLORS, "beak_color")
ATTRIBUTES = {
    **dict.fromkeys(BODY_COLORS, COLORS),
    "beak_color": BEAK_COLORS,
    "beak_length": ("short", "medium", "long"),
    "beak_shape": ("pointed", "curved", "thick"),
    "eye_ring": ("none", "white", "yellow"),
    "wing_bars": ("none", "white", "black"),
    "tail_length": ("short", "long"),
    "size": ("small", "medium", "large"),
}
ATTRIBUTE_INDEX = {name: i for i, name in enumerate(ATTRIBUTES)}

# How often a part repeats the colour of another, as on real birds.
_REPEATS = (("wing", "back", 0.2), ("belly", "breast", 0.25), ("crown", "back", 0.1))

_FIRST = (
    "Al Bran Cor Dal El Fen Gar Hol Ir Jor Kes Lin Mar Nor Or Pel Quil Ros Sal Tam Ul Ver Wil Yar"
).split()
_LAST = "bert den dry fas gan ick lo mond nis ow ric ton vin".split()
_KINDS = (
    "Babbler Bunting Finch Flycatcher Grosbeak Jay Oriole Robin "
    "Shrike Sparrow Starling Tanager Thrush Vireo Warbler Wren"
).split()


class Proportions(NamedTuple):
    """Shape that all birds of a species share and no caption names: two factors, and degrees."""

    head: float
    plumpness: float
    posture: float


class Species(NamedTuple):
    """What all images of one species share, and what its captions may name."""

    class_id: int  # its number, from 0
    name: str  # in the form of CUB's class names, "017.Corvins_Finch"
    attributes: tuple[int, ...]  # the index of each attribute's value, in the order of ATTRIBUTES
    proportions: Proportions

    def value(self, attribute: str) -> str:
        """The name of this species' value of an attribute."""
        return ATTRIBUTES[attribute][self.attributes[ATTRIBUTE_INDEX[attribute]]]


def make_species(num_species: int, seed: int) -> list[Species]:
    """Makes species 0 to `num_species - 1`; those of a smaller number are the first of a larger.

    No two have the same five body colours, and none has only one.
    """
    rng = np.random.default_rng([seed, 0])
    species, palettes = [], set()
    for class_id in range(num_species):
        if class_id % len(COLORS) == 0:
            block = {name: rng.permutation(len(COLORS)) for name in COLOR_ATTRIBUTES}
        values = {name: int(block[name][class_id % len(COLORS)]) for name in COLOR_ATTRIBUTES}
        values["beak_color"] %= len(BEAK_COLORS)
        if class_id >= len(COLORS):
            for part, other, probability in _REPEATS:
                if rng.random() < probability:
                    values[f"{part}_color"] = values[f"{other}_color"]
        while len({*(palette := tuple(map(values.get, BODY_COLORS)))}) == 1 or palette in palettes:
            values["crown_color"] = int(rng.integers(len(COLORS)))
            values["breast_color"] = int(rng.integers(len(COLORS)))
        palettes.add(palette)
        values |= _shape(values, rng)
        first, last, kind = (rng.choice(names) for names in (_FIRST, _LAST, _KINDS))
        name = f"{class_id + 1:03d}.{first}{last}s_{kind}"
        proportions = Proportions(*rng.uniform((0.95, 0.95, -6), (1.06, 1.06, 6)).tolist())
        attributes = tuple(values[name] for name in ATTRIBUTES)
        species.append(Species(class_id, name, attributes, proportions))
    return species


def _shape(values: dict[str, int], rng: np.random.Generator) -> dict[str, int]:
    """Draws the indices of the shape attributes of a species whose colours are `values`."""

    def mark(attribute: str, ground: str) -> int:
        """None for three species in five, else of another colour than the part it lies on."""
        if rng.random() < 0.6:
            return 0
        color = COLORS[values[ground]]
        return int(rng.choice([i for i in (1, 2) if ATTRIBUTES[attribute][i] != color]))

    return {
        "beak_length": int(rng.choice(3, p=(0.4, 0.3, 0.3))),
        "beak_shape": int(rng.choice(3, p=(0.5, 0.2, 0.3))),
        "eye_ring": mark("eye_ring", "crown_color"),
        "wing_bars": mark("wing_bars", "wing_color"),
        "tail_length": int(rng.integers(2)),
        "size": int(rng.choice(3, p=(0.45, 0.3, 0.25))),
    }
