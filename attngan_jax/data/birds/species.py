"""Made-up species: a palette and a shape each, all of them from one seed.

Species differ from one another in the colours of the body, so a species that is held out is a
new combination of colours. In the order of their numbers each colour comes up equally often on
each part, so that the colours of the last species were all seen on the first ones.
"""

from typing import NamedTuple

import numpy as np

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "grey", "black", "white")
BEAK_COLORS = ("red", "orange", "yellow", "brown", "grey", "black")

# What a label map tells apart: part i has the label i + 1, and 0 is the background. The first
# six have a colour attribute each; the tail is of the wing's colour.
PARTS = ("crown", "back", "wing", "breast", "belly", "beak", "tail", "eye", "legs")

ATTRIBUTES = {
    "crown_color": COLORS,
    "back_color": COLORS,
    "wing_color": COLORS,
    "breast_color": COLORS,
    "belly_color": COLORS,
    "beak_color": BEAK_COLORS,
    "beak_length": ("short", "medium", "long"),
    "beak_shape": ("pointed", "curved", "thick"),
    "eye_ring": ("none", "white", "yellow"),
    "wing_bars": ("none", "white", "black"),
    "tail_length": ("short", "long"),
    "size": ("small", "medium", "large"),
}
COLOR_ATTRIBUTES = tuple(name for name in ATTRIBUTES if name.endswith("_color"))
BODY_COLORS = COLOR_ATTRIBUTES[:5]

# How often a part repeats the colour of another, as on real birds.
_REPEATS = (
    ("wing_color", "back_color", 0.2),
    ("belly_color", "breast_color", 0.25),
    ("crown_color", "back_color", 0.1),
)

_FIRST = (
    "Al",
    "Bran",
    "Cor",
    "Dal",
    "El",
    "Fen",
    "Gar",
    "Hol",
    "Ir",
    "Jor",
    "Kes",
    "Lin",
    "Mar",
    "Nor",
    "Or",
    "Pel",
    "Quil",
    "Ros",
    "Sal",
    "Tam",
    "Ul",
    "Ver",
    "Wil",
    "Yar",
)
_LAST = ("bert", "den", "dry", "fas", "gan", "ick", "lo", "mond", "nis", "ow", "ric", "ton", "vin")
_KINDS = (
    "Babbler",
    "Bunting",
    "Finch",
    "Flycatcher",
    "Grosbeak",
    "Jay",
    "Oriole",
    "Robin",
    "Shrike",
    "Sparrow",
    "Starling",
    "Tanager",
    "Thrush",
    "Vireo",
    "Warbler",
    "Wren",
)


class Proportions(NamedTuple):
    """What is the same in every bird of a species but has no name; factors, and degrees."""

    head: float
    plumpness: float
    posture: float


class Species(NamedTuple):
    """One species.

    class_id: its number.
    name: in the manner of CUB's class names, "017.Corvins_Finch".
    attributes: for each of `ATTRIBUTES` its value's index.
    proportions: further shape.
    """

    class_id: int
    name: str
    attributes: tuple[int, ...]
    proportions: Proportions

    def value(self, attribute: str) -> str:
        """The name of this species' value of an attribute."""
        return ATTRIBUTES[attribute][self.attributes[ATTRIBUTE_INDEX[attribute]]]


ATTRIBUTE_INDEX = {name: i for i, name in enumerate(ATTRIBUTES)}


def make_species(num_species: int, seed: int) -> list[Species]:
    """`num_species` species, numbered from 0; more of them begin with the same ones.

    No two have the same five body colours, and none has only one. Among the first ten, each
    part has each of its colours.
    """
    rng = np.random.default_rng([seed, 0])
    species, palettes = [], set()
    for class_id in range(num_species):
        if class_id % len(COLORS) == 0:
            block = {name: rng.permutation(len(COLORS)) for name in COLOR_ATTRIBUTES}
        values = {name: int(block[name][class_id % len(COLORS)]) for name in COLOR_ATTRIBUTES}
        values["beak_color"] %= len(BEAK_COLORS)
        if class_id >= len(COLORS):
            for name, other, probability in _REPEATS:
                if rng.random() < probability:
                    values[name] = values[other]
        while (palette := tuple(values[name] for name in BODY_COLORS)) in palettes or (
            len(set(palette)) == 1
        ):
            values["crown_color"] = int(rng.integers(len(COLORS)))
            values["breast_color"] = int(rng.integers(len(COLORS)))
        palettes.add(palette)
        values |= _shape(values, rng)
        species.append(
            Species(
                class_id,
                _name(class_id, rng),
                tuple(values[name] for name in ATTRIBUTES),
                _proportions(rng),
            )
        )
    return species


def _shape(values: dict[str, int], rng: np.random.Generator) -> dict[str, int]:
    """Indices of the shape attributes; rings and bars stand out from what they lie on."""
    crown, wing = COLORS[values["crown_color"]], COLORS[values["wing_color"]]
    return {
        "beak_length": int(rng.choice(3, p=(0.4, 0.3, 0.3))),
        "beak_shape": int(rng.choice(3, p=(0.5, 0.2, 0.3))),
        "eye_ring": _visible("eye_ring", crown, rng),
        "wing_bars": _visible("wing_bars", wing, rng),
        "tail_length": int(rng.integers(2)),
        "size": int(rng.choice(3, p=(0.45, 0.3, 0.25))),
    }


def _visible(attribute: str, ground: str, rng: np.random.Generator) -> int:
    """Nothing for three species in five, else a colour other than that of the ground."""
    if rng.random() < 0.6:
        return 0
    choices = [i for i, value in enumerate(ATTRIBUTES[attribute]) if i and value != ground]
    return int(rng.choice(choices))


def _proportions(rng: np.random.Generator) -> Proportions:
    return Proportions(
        head=rng.uniform(0.95, 1.06), plumpness=rng.uniform(0.95, 1.06), posture=rng.uniform(-6, 6)
    )


def _name(class_id: int, rng: np.random.Generator) -> str:
    person = f"{rng.choice(_FIRST)}{rng.choice(_LAST)}"
    return f"{class_id + 1:03d}.{person}s_{rng.choice(_KINDS)}"
