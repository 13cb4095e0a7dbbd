"""Captions of a bird, from a grammar modelled on CUB's captions.

A caption names some of the parts, each by one of several words. All that it says is true.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES, Species

MIN_WORDS, MAX_WORDS = 5, 20
NOT_STATED = -1


def _options(text: str) -> tuple[str, ...]:
    """Reads "red*2, crimson" as ("red", "red", "crimson"): options, the common ones repeated."""
    pairs = [option.partition("*") for option in text.split(", ")]
    return tuple(word for word, _, count in pairs for _ in range(int(count or 1)))


# Words for each value of the attributes.
COLOR_WORDS = {
    "red": _options("red*8, bright red*2, deep red, crimson"),
    "orange": _options("orange*8, bright orange, vivid orange"),
    "yellow": _options("yellow*9, bright yellow*2, vibrant yellow, lemon yellow"),
    "green": _options("green*8, bright green, grass green"),
    "blue": _options("blue*8, bright blue, deep blue, royal blue"),
    "purple": _options("purple*8, deep purple, violet"),
    "brown": _options("brown*8, dark brown*2, chocolate brown"),
    "grey": _options("grey*6, gray*4, slate grey"),
    "black": _options("black*9, dark black, jet black, solid black"),
    "white": _options("white*9, bright white, pure white, snowy white"),
}
_VALUE_WORDS = {  # in the order of their values
    "beak_length": "short*2, small, stubby; medium length; long*2, elongated",
    "beak_shape": "pointed*2, sharp, pointy; curved*2, hooked; thick*2, stout, blunt, conical",
    "size": "small*4, tiny, little; medium sized, medium, average sized; large*2, big",
    "tail_length": "short; long*2, elongated, lengthy",
}
VALUE_WORDS = {
    name: dict(zip(ATTRIBUTES[name], map(_options, words.split("; "))))
    for name, words in _VALUE_WORDS.items()
}

# Nouns for each part. Those that end in "s" are plurals.
PART_WORDS = {
    "crown_color": _options("crown*2, head*2, cap"),
    "back_color": _options("back*4, nape, upper back"),
    "wing_color": _options("wings*3, wing*2, wing feathers, primaries, secondaries"),
    "breast_color": _options("breast*3, chest, upper breast"),
    "belly_color": _options("belly*6, abdomen*2, stomach, tummy, lower belly"),
    "beak_color": ("beak", "bill"),
    "eye_ring": ("eyering", "eye ring", "ring around its eye"),
    "wing_bars": ("wingbars",),
    "tail_length": _options("tail*2, tail feathers"),
}
# For breast and belly together, where both are of one colour.
UNDERSIDE_WORDS = ("underside", "underparts", "breast and belly", "chest and belly")

# How many colours a caption sets out to name, and how readily it names each part's.
_NUM_COLORS = (2,) + (3,) * 8 + (4,) * 20 + (5,) * 17 + (6,) * 4
_READINESS = dict(zip(COLOR_ATTRIBUTES, (0.21, 0.16, 0.21, 0.18, 0.17, 0.07)))

# {} is "bird", "small bird", "red bird", "small red bird".
_OPENINGS = _options(
    "this {} has*4, the {} has, a {} that has, a {} with*2, this is a {} with, "
    "this is a {} that has, this {} with, this particular {} has, there is a {} with, "
    "a {} which has, the {} shown here has"
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

    def predicate(self, link: str = "") -> str:
        """As in "crown is red"; or "crown that is red", "wings of this bird are black"."""
        verb = "are" if self.noun.endswith("s") or " and " in self.noun else "is"
        return f"{self.noun}{link} {verb} {' and '.join(self.adjectives)}"


def write_captions(species: Species, rng: np.random.Generator, count: int) -> list[Caption]:
    """Writes `count` captions of a bird of `species`: 5 to 20 words, at least two colours."""
    captions: list[Caption] = []
    while len(captions) < count:
        writer = _Writer(species, rng)
        text = re.sub(r"\ba (?=[aeiou])", "an ", writer.sentence()) + "."
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS:
            values = zip(ATTRIBUTES, species.attributes)
            states = (value if name in writer.stated else NOT_STATED for name, value in values)
            captions.append(Caption(text, tuple(states)))
    return captions


class _Writer:
    """Writes one sentence and records the attributes `stated` in it."""

    def __init__(self, species: Species, rng: np.random.Generator):
        self._value = species.value
        self._random = rng.random
        self.stated: set[str] = set()

    def sentence(self) -> str:
        """Draws what to say and how to say it."""
        subject = f"{self._say('size')} bird" if self._chance(0.4) else "bird"
        color = self._main_color() if self._chance(0.5) else None
        keys = {part: self._random() ** (1 / weight) for part, weight in _READINESS.items()}
        parts = sorted(keys, key=keys.__getitem__, reverse=True)[: self._pick(_NUM_COLORS)]
        # Two colours in all at least: with the main one stated, the beak's if need be.
        parts = [part for part in parts if part not in self.stated] or ["beak_color"]
        phrases = self._phrases(parts)
        if color is None and self._chance(0.2):
            # As in "the crown of this bird is red, its wings are black, and the beak is short".
            clauses = ["the " + phrases[0].predicate(f" of this {subject}")]
            clauses += [f"{self._pick(('the', 'its'))} {one.predicate()}" for one in phrases[1:]]
            return self._join(clauses, (", and ", " and "))
        if color is not None and self._chance(0.5):
            opening = self._pick(_COLOR_OPENINGS).format(subject, color)
        else:
            subject = subject if color is None else subject.replace("bird", f"{color} bird")
            if self._chance(0.12):
                opening = self._pick(_PLAIN_OPENINGS).format(subject)
                return f"{opening} {self._join([phrase.bare() for phrase in phrases])}"
            opening = self._pick(_OPENINGS).format(subject)
        listed = []
        for phrase in phrases:
            text = phrase.predicate(" that") if self._chance(0.06) else phrase.bare()
            is_plural = phrase.noun.partition(" and ")[0].endswith("s")
            listed.append(text if is_plural else f"a {text}")
        return f"{opening} {self._join(listed)}"

    def _phrases(self, parts: list[str]) -> list[Phrase]:
        """Phrases for the colours of `parts`, and now and then for a shape."""
        nouns: dict[str, list[str]] = {}  # those of each colour
        under = [part for part in parts if part in ("breast_color", "belly_color")]
        alike = self._value("breast_color") == self._value("belly_color")
        if under and alike and self._chance(0.5):
            parts = [part for part in parts if part not in under]
            nouns[self._value("breast_color")] = [self._pick(UNDERSIDE_WORDS)]
            self.stated.update(("breast_color", "belly_color"))
        for part in parts:
            if part != "beak_color":
                nouns.setdefault(self._value(part), []).append(self._pick(PART_WORDS[part]))
                self.stated.add(part)
        phrases = []
        for color, group in nouns.items():  # "black wings and tail", or a phrase for each
            is_pair = len(group) == 2 and not any(" and " in noun for noun in group)
            group = [" and ".join(group)] if is_pair and self._chance(0.7) else group
            phrases += [Phrase((self._color(color),), noun) for noun in group]
        phrases += [
            Phrase((self._say(mark),), self._pick(PART_WORDS[mark]))
            for mark in ("eye_ring", "wing_bars", "tail_length")
            if self._value(mark) != "none" and self._chance(0.15)
        ]
        phrases.sort(key=lambda _: self._random())
        if "beak_color" in parts or self._chance(0.3):
            phrases.append(self._beak("beak_color" in parts))
        return phrases

    def _beak(self, with_color: bool) -> Phrase:
        """The beak with its colour, its length, its shape, or several of them."""
        shapes = [name for name in ("beak_length", "beak_shape") if self._chance(0.45)]
        if not shapes and not with_color:
            shapes = ["beak_length"]
        adjectives = tuple(self._say(name) for name in shapes + ["beak_color"] * with_color)
        return Phrase(adjectives, self._pick(PART_WORDS["beak_color"]))

    def _main_color(self) -> str | None:
        """The colour of at least three body parts, which are then stated; None if there is none."""
        values = [self._value(part) for part in BODY_COLORS]
        color = max(values, key=values.count)
        if values.count(color) < 3:
            return None
        self.stated.update(part for part in BODY_COLORS if self._value(part) == color)
        return self._color(color)

    def _say(self, attribute: str) -> str:
        """A word for the bird's value of `attribute`, which it states."""
        self.stated.add(attribute)
        value, words = self._value(attribute), VALUE_WORDS.get(attribute)
        return self._pick(words[value]) if words else self._color(value)

    def _color(self, color: str) -> str:
        return self._pick(COLOR_WORDS[color]) + (" colored" if self._chance(0.03) else "")

    def _join(self, listed: list[str], links: Sequence[str] = _LAST_LINKS) -> str:
        """As in "a, b, and c"; the last link is one of `links`."""
        if len(listed) == 1:
            return listed[0]
        return f"{', '.join(listed[:-1])}{self._pick(links)}{listed[-1]}"

    def _pick(self, options: Sequence):
        return options[int(self._random() * len(options))]

    def _chance(self, probability: float) -> bool:
        return self._random() < probability
