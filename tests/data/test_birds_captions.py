"""The captions: true, complete in what they say they state, and uneven like CUB's."""

import itertools
import re
from collections import Counter

import numpy as np

from attngan_jax.data.birds.captions import (
    COLOR_WORDS,
    MAX_WORDS,
    MIN_WORDS,
    NOT_STATED,
    PART_WORDS,
    UNDERSIDE_WORDS,
    VALUE_WORDS,
    write_captions,
)
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES, make_species

SPECIES = make_species(150, seed=5)
WRITTEN = [
    (species, caption)
    for species in SPECIES
    for caption in write_captions(species, np.random.default_rng([0, species.class_id]), 10)
]
COLOR_OF_WORD = {
    word: color
    for color, phrases in COLOR_WORDS.items()
    for phrase in phrases
    for word in [phrase.split()[-1]]
}


def words_of(text):
    return re.findall(r"\w+", text)


def stated(species, caption):
    """The names of the attributes that a caption states, checked against the bird's own."""
    names = set()
    for name, value, true_value in zip(ATTRIBUTES, caption.states, species.attributes, strict=True):
        if value != NOT_STATED:
            assert value == true_value
            names.add(name)
    return names


def says(text, phrase):
    return re.search(rf"\b{phrase}\b", text) is not None


def test_the_generator_decides():
    def write(seed):
        return write_captions(SPECIES[0], np.random.default_rng(seed), 10)

    assert write(1) == write(1) != write(2)
    assert len({caption.text for caption in write(1)}) >= 8


def test_length_and_number_of_colours():
    for species, caption in WRITTEN:
        assert MIN_WORDS <= len(words_of(caption.text)) <= MAX_WORDS
        assert len(stated(species, caption) & set(COLOR_ATTRIBUTES)) >= 2
    assert (MIN_WORDS, MAX_WORDS) == (5, 20)


def test_the_colours_in_the_text_are_those_that_are_stated():
    marks = {"eye_ring", "wing_bars"}
    for species, caption in WRITTEN:
        names = stated(species, caption) & ({*COLOR_ATTRIBUTES} | marks)
        in_text = {COLOR_OF_WORD[word] for word in words_of(caption.text) if word in COLOR_OF_WORD}
        assert in_text == {species.value(name) for name in names}, caption


def test_a_part_that_is_named_is_stated():
    for species, caption in WRITTEN:
        names, text = stated(species, caption), caption.text
        for phrase in UNDERSIDE_WORDS[:2]:
            if says(text, phrase):
                assert {"breast_color", "belly_color"} <= names
        for attribute in (*BODY_COLORS, "eye_ring", "wing_bars", "tail_length"):
            named = text.replace("upper back", "back").replace("tail feathers", "tail")
            if any(says(named, noun) for noun in set(PART_WORDS[attribute])):
                assert attribute in names, (attribute, text)


def test_a_part_that_is_stated_is_named_or_of_the_main_colour():
    for species, caption in WRITTEN:
        text, names = caption.text, stated(species, caption)
        unnamed = [
            name
            for name in BODY_COLORS
            if name in names
            and not any(says(text, noun) for noun in PART_WORDS[name])
            and not (
                name in ("breast_color", "belly_color")
                and any(says(text, noun) for noun in UNDERSIDE_WORDS)
            )
        ]
        colors = {species.value(name) for name in unnamed}
        assert len(colors) <= 1, caption
        for color in colors:  # "this bird is red with ...", "a small red bird ..."
            shades = "|".join(sorted(set(COLOR_WORDS[color]), key=len, reverse=True))
            pattern = rf"({shades})( colored)? bird|bird is ({shades})"
            assert re.search(pattern, text), caption
        for name in {"beak_color", "eye_ring", "wing_bars", "tail_length"} & names:
            assert any(says(text, noun) for noun in PART_WORDS[name]), caption


def test_a_bird_is_called_by_a_colour_only_if_most_of_it_has_that_colour():
    called = 0
    for species, caption in WRITTEN:
        match = re.search(
            r"(\w+)(?: colored)? bird\b"
            r"|bird is (?:\w+ )*?(\w+)(?: colored)? (?:with|and)",
            caption.text,
        )
        word = match and (match[1] or match[2])
        if word in COLOR_OF_WORD:
            called += 1
            values = [species.value(part) for part in BODY_COLORS]
            assert values.count(COLOR_OF_WORD[word]) >= 3, caption
    assert called > 20


def test_shape_words_are_true_and_stated_words_are_there():
    for attribute, words in VALUE_WORDS.items():
        for species, caption in WRITTEN:
            if attribute in stated(species, caption):
                assert any(says(caption.text, word) for word in words[species.value(attribute)])
    only = {
        "size": ("tiny", "little", "sized", "big"),
        "tail_length": ("lengthy",),
        "beak_shape": (
            "pointed",
            "sharp",
            "pointy",
            "curved",
            "hooked",
            "thick",
            "stout",
            "blunt",
            "conical",
        ),
        "beak_length": ("stubby", "medium length"),
    }
    for (attribute, words), (species, caption) in itertools.product(only.items(), WRITTEN):
        for word in words:
            if says(caption.text, word):
                assert attribute in stated(species, caption), (word, caption)


def test_parts_are_mentioned_unevenly_and_words_are_many():
    mentions = Counter(name for species, caption in WRITTEN for name in stated(species, caption))
    assert mentions["wing_color"] > 1.2 * mentions["beak_color"] > mentions["tail_length"]
    vocabulary = {word for _, caption in WRITTEN for word in words_of(caption.text)}
    assert 90 <= len(vocabulary) <= 200
    assert {"beak", "bill", "crown", "head", "breast", "belly", "underside"} <= vocabulary
    lengths = np.array([len(words_of(caption.text)) for _, caption in WRITTEN])
    assert 12 < lengths.mean() < 18 and lengths.std() > 2


def test_articles_fit():
    for _, caption in WRITTEN:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.text), caption.text
        assert not re.search(r"\ban? \w+ (wings|primaries|underparts|wingbars)\b", caption.text)
