"""Sentences about a bird, from a grammar in the manner of CUB's captions.

A caption names some of the parts, each in one of many words, and all that it says is true.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, Species

MIN_WORDS, MAX_WORDS = 5, 20
NOT_STATED = -1

# Words for each value; the common ones stand more than once.
COLOR_WORDS = {
    "red": ("red",) * 8 + ("bright red", "bright red", "deep red", "crimson"),
    "orange": ("orange",) * 8 + ("bright orange", "vivid orange"),
    "yellow": ("yellow",) * 9
    + ("bright yellow", "bright yellow", "vibrant yellow", "lemon yellow"),
    "green": ("green",) * 8 + ("bright green", "grass green"),
    "blue": ("blue",) * 8 + ("bright blue", "deep blue", "royal blue"),
    "purple": ("purple",) * 8 + ("deep purple", "violet"),
    "brown": ("brown",) * 8 + ("dark brown", "dark brown", "chocolate brown"),
    "grey": ("grey",) * 6 + ("gray",) * 4 + ("slate grey",),
    "black": ("black",) * 9 + ("dark black", "jet black", "solid black"),
    "white": ("white",) * 9 + ("bright white", "pure white", "snowy white"),
}
VALUE_WORDS = {
    "beak_length": {
        "short": ("short", "short", "small", "stubby"),
        "medium": ("medium length",),
        "long": ("long", "long", "elongated"),
    },
    "beak_shape": {
        "pointed": ("pointed", "pointed", "sharp", "pointy"),
        "curved": ("curved", "curved", "hooked"),
        "thick": ("thick", "thick", "stout", "blunt", "conical"),
    },
    "size": {
        "small": ("small",) * 4 + ("tiny", "little"),
        "medium": ("medium sized", "medium", "average sized"),
        "large": ("large", "large", "big"),
    },
    "tail_length": {"short": ("short",), "long": ("long", "long", "elongated", "lengthy")},
}

# Nouns for each part; the plural ones are in PLURALS.
PART_WORDS = {
    "crown_color": ("crown", "crown", "head", "head", "cap"),
    "back_color": ("back", "back", "back", "back", "nape", "upper back"),
    "wing_color": (
        "wings",
        "wings",
        "wings",
        "wing",
        "wing",
        "wing feathers",
        "primaries",
        "secondaries",
    ),
    "breast_color": ("breast", "breast", "breast", "chest", "upper breast"),
    "belly_color": ("belly",) * 6 + ("abdomen", "abdomen", "stomach", "tummy", "lower belly"),
    "beak_color": ("beak", "bill"),
    "eye_ring": ("eyering", "eye ring", "ring around its eye"),
    "wing_bars": ("wingbars",),
    "tail_length": ("tail", "tail", "tail feathers"),
}
UNDERSIDE_WORDS = ("underside", "underparts", "breast and belly", "chest and belly")  # alike only
PLURALS = frozenset(
    {
        "wings",
        "wing feathers",
        "primaries",
        "secondaries",
        "underparts",
        "wingbars",
        "tail feathers",
    }
)

# How many colours a caption sets out to name, and how readily it names each part's.
_NUM_COLORS = (2,) + (3,) * 8 + (4,) * 20 + (5,) * 17 + (6,) * 4
_READINESS = {
    "crown_color": 0.21,
    "back_color": 0.16,
    "wing_color": 0.21,
    "breast_color": 0.18,
    "belly_color": 0.17,
    "beak_color": 0.07,
}

# {} is "bird", "small bird", "red bird", "small red bird".
_OPENINGS = (
    "this {} has",
    "this {} has",
    "this {} has",
    "this {} has",
    "the {} has",
    "a {} that has",
    "a {} with",
    "a {} with",
    "this is a {} with",
    "this is a {} that has",
    "this {} with",
    "this particular {} has",
    "there is a {} with",
    "a {} which has",
    "the {} shown here has",
)
_PLAIN_OPENINGS = ("{} with", "{} has")  # no articles after these
_COLOR_OPENINGS = ("this {} is {} with", "the {} is {} with", "this {} is {} and has")
_LAST_LINKS = (", and ",) * 4 + (" and ",) * 4 + (" with ", " as well as ", " along with ")


class Caption(NamedTuple):
    """A sentence, and for each of ATTRIBUTES the index of the value it states or NOT_STATED."""

    text: str
    states: tuple[int, ...]


class Phrase(NamedTuple):
    """Adjectives and a noun: "short", "pointed" and "beak"."""

    adjectives: tuple[str, ...]
    noun: str

    def bare(self) -> str:
        """As in "red crown"."""
        return " ".join((*self.adjectives, self.noun))

    def with_article(self) -> str:
        """As in "a red crown", "black wings"."""
        return f"{self._article()}{self.bare()}"

    def relative(self) -> str:
        """As in "a crown that is red", "wings that are black"."""
        return f"{self._article()}{self.noun} that {self._is()} {' and '.join(self.adjectives)}"

    def predicate(self, owner: str = "") -> str:
        """As in "crown is red", "wings of this bird are black"."""
        return f"{self.noun}{owner} {self._is()} {' and '.join(self.adjectives)}"

    def _article(self) -> str:
        return "" if self.noun.split(" and ")[0] in PLURALS else "a "

    def _is(self) -> str:
        return "are" if self.noun in PLURALS or " and " in self.noun else "is"


def write_captions(species: Species, rng: np.random.Generator, count: int) -> list[Caption]:
    """`count` captions of a bird of `species`; 5 to 20 words each, with two colours at least."""
    return [_write_caption(species, rng) for _ in range(count)]


def _write_caption(species: Species, rng: np.random.Generator) -> Caption:
    while True:
        writer = _Writer(species, rng)
        text = re.sub(r"\ba (?=[aeiou])", "an ", writer.sentence()) + "."
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            return Caption(
                text,
                tuple(
                    value if name in writer.stated else NOT_STATED
                    for name, value in zip(ATTRIBUTES, species.attributes, strict=True)
                ),
            )


class _Writer:
    """Writes one sentence and keeps account of the attributes `stated` in it."""

    def __init__(self, species: Species, rng: np.random.Generator):
        self._species = species
        self._random = rng.random
        self.stated = set()

    def sentence(self) -> str:
        """Draws what to say and how to say it."""
        subject = f"{self._say('size')} bird" if self._chance(0.4) else "bird"
        color = self._main_color() if self._chance(0.5) else None
        phrases = self._phrases(self._parts())
        if color is None and self._chance(0.2):
            return self._predicates(subject, phrases)
        if color is not None and self._chance(0.5):
            opening = self._pick(_COLOR_OPENINGS).format(subject, color)
        else:
            subject = subject if color is None else subject.replace("bird", f"{color} bird")
            if self._chance(0.12):
                opening = self._pick(_PLAIN_OPENINGS).format(subject)
                return f"{opening} {self._join([phrase.bare() for phrase in phrases])}"
            opening = self._pick(_OPENINGS).format(subject)
        return f"{opening} {self._join([self._full(phrase) for phrase in phrases])}"

    def _full(self, phrase: Phrase) -> str:
        return phrase.relative() if self._chance(0.06) else phrase.with_article()

    def _predicates(self, subject: str, phrases: list[Phrase]) -> str:
        """As in "the crown of this bird is red, its wings are black, and the beak is short"."""
        clauses = ["the " + phrases[0].predicate(f" of this {subject}")]
        clauses += [f"{self._pick(('the', 'its'))} {phrase.predicate()}" for phrase in phrases[1:]]
        return (
            clauses[0]
            if len(clauses) == 1
            else (f"{', '.join(clauses[:-1])}{self._pick((', and ', ' and '))}{clauses[-1]}")
        )

    def _parts(self) -> list[str]:
        """Attributes of colour to name, besides those already stated; two in all at least."""
        keys = {part: self._random() ** (1 / weight) for part, weight in _READINESS.items()}
        parts = sorted(keys, key=keys.get, reverse=True)[: self._pick(_NUM_COLORS)]
        return [part for part in parts if part not in self.stated] or ["beak_color"]

    def _phrases(self, parts: list[str]) -> list[Phrase]:
        """Phrases for the colours of `parts`, and now and then for a shape."""
        nouns = {}  # those of each colour
        under = [part for part in parts if part in ("breast_color", "belly_color")]
        alike = self._species.value("breast_color") == self._species.value("belly_color")
        if under and alike and self._chance(0.5):
            parts = [part for part in parts if part not in under]
            nouns[self._species.value("breast_color")] = [self._pick(UNDERSIDE_WORDS)]
            self.stated.update(("breast_color", "belly_color"))
        for part in parts:
            if part != "beak_color":
                nouns.setdefault(self._species.value(part), []).append(self._pick(PART_WORDS[part]))
                self.stated.add(part)
        phrases = [phrase for color, group in nouns.items() for phrase in self._group(color, group)]
        phrases += [
            Phrase((self._say(mark),), self._pick(PART_WORDS[mark]))
            for mark in ("eye_ring", "wing_bars", "tail_length")
            if self._species.value(mark) != "none" and self._chance(0.15)
        ]
        phrases.sort(key=lambda _: self._random())
        if "beak_color" in parts or self._chance(0.3):
            phrases.append(self._beak("beak_color" in parts))
        return phrases

    def _group(self, color: str, nouns: list[str]) -> list[Phrase]:
        """One phrase for all nouns of a colour, "black wings and tail", or one for each."""
        if len(nouns) == 2 and not any(" and " in noun for noun in nouns) and self._chance(0.7):
            nouns = [" and ".join(nouns)]
        return [Phrase((self._color(color),), noun) for noun in nouns]

    def _beak(self, with_color: bool) -> Phrase:
        """The beak with its colour, its length, its shape, or several of them."""
        shapes = [name for name in ("beak_length", "beak_shape") if self._chance(0.45)]
        if not shapes and not with_color:
            shapes = ["beak_length"]
        adjectives = tuple(self._say(name) for name in shapes + ["beak_color"] * with_color)
        return Phrase(adjectives, self._pick(PART_WORDS["beak_color"]))

    def _main_color(self) -> str | None:
        """The colour of most parts, all of which are then stated; None if there is none."""
        values = [self._species.value(part) for part in BODY_COLORS]
        color = max(values, key=values.count)
        if values.count(color) < 3:
            return None
        self.stated.update(part for part in BODY_COLORS if self._species.value(part) == color)
        return self._color(color)

    def _say(self, attribute: str) -> str:
        """A word for the bird's value of `attribute`, which is stated by it."""
        self.stated.add(attribute)
        value = self._species.value(attribute)
        return (
            self._pick(VALUE_WORDS[attribute][value])
            if attribute in VALUE_WORDS
            else (self._color(value))
        )

    def _color(self, color: str) -> str:
        return self._pick(COLOR_WORDS[color]) + (" colored" if self._chance(0.03) else "")

    def _join(self, listed: list[str]) -> str:
        """As in "a, b, and c"."""
        if len(listed) == 1:
            return listed[0]
        return f"{', '.join(listed[:-1])}{self._pick(_LAST_LINKS)}{listed[-1]}"

    def _pick(self, options: Sequence):
        return options[int(self._random() * len(options))]

    def _chance(self, probability: float) -> bool:
        return self._random() < probability
