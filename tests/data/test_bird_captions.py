"""Captions: true, complete in what they say they state, and uneven like CUB's."""

import re
from collections import Counter

import numpy as np

from attngan_jax.data.birds import captions
from attngan_jax.data.birds.species import ATTRIBUTES, BODY_COLORS, COLOR_ATTRIBUTES, make_species

SPECIES = make_species(150, seed=5)
PHRASES = captions.COLOR_WORDS.items()
COLOR_OF_WORD = {text.split()[-1]: color for color, texts in PHRASES for text in texts}


def words_of(text):
    return re.findall(r"\w+", text)


def says(text, phrase):
    return re.search(rf"\b{phrase}\b", text) is not None


def stated(species, caption):
    """The names of the attributes that a caption states, checked against the bird's own."""
    values = zip(ATTRIBUTES, caption.states, species.attributes, strict=True)
    named = [(name, value == own) for name, value, own in values if value != captions.NOT_STATED]
    assert all(is_true for _, is_true in named)
    return {name for name, _ in named}


def write(species, seed):
    return captions.write_captions(species, np.random.default_rng([seed, species.class_id]), 10)


WRITTEN = [  # species, text, and the attributes that it states
    (species, caption.text, stated(species, caption))
    for species in SPECIES
    for caption in write(species, 0)
]


def test_the_generator_decides():
    assert write(SPECIES[0], 1) == write(SPECIES[0], 1) != write(SPECIES[0], 2)
    assert len({caption.text for caption in write(SPECIES[0], 1)}) >= 8


def test_length_colours_and_articles():
    assert (captions.MIN_WORDS, captions.MAX_WORDS) == (5, 20)
    for _, text, names in WRITTEN:
        assert captions.MIN_WORDS <= len(words_of(text)) <= captions.MAX_WORDS
        assert len(names & set(COLOR_ATTRIBUTES)) >= 2
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(r"\ban? \w+ (wings|primaries|underparts|wingbars)\b", text), text


def test_the_colours_in_the_text_are_those_that_are_stated():
    colored = {*COLOR_ATTRIBUTES, "eye_ring", "wing_bars"}
    for species, text, names in WRITTEN:
        in_text = {COLOR_OF_WORD[word] for word in words_of(text) if word in COLOR_OF_WORD}
        assert in_text == {species.value(name) for name in names & colored}, text


def test_a_part_that_is_named_is_stated():
    for _, text, names in WRITTEN:
        if any(says(text, phrase) for phrase in captions.UNDERSIDE_WORDS[:2]):
            assert {"breast_color", "belly_color"} <= names
        plain = text.replace("upper back", "back").replace("tail feathers", "tail")
        for attribute in (*BODY_COLORS, "eye_ring", "wing_bars", "tail_length"):
            if any(says(plain, noun) for noun in captions.PART_WORDS[attribute]):
                assert attribute in names, (attribute, text)


def test_a_part_that_is_stated_is_named_or_of_the_main_colour():
    under = ("breast_color", "belly_color")
    for species, text, names in WRITTEN:
        nouns = {
            name: captions.PART_WORDS[name] + captions.UNDERSIDE_WORDS * (name in under)
            for name in captions.PART_WORDS
        }
        named = {name for name in nouns if any(says(text, noun) for noun in nouns[name])}
        colors = {species.value(name) for name in names & {*BODY_COLORS} - named}
        assert len(colors) <= 1, text
        for color in colors:  # "this bird is red with ...", "a small red bird ..."
            shades = "|".join(sorted(set(captions.COLOR_WORDS[color]), key=len, reverse=True))
            assert re.search(rf"({shades})( colored)? bird|bird is ({shades})", text), text
        assert {"beak_color", "eye_ring", "wing_bars", "tail_length"} & names <= named, text


def test_a_bird_is_called_by_a_colour_only_if_most_of_it_has_that_colour():
    called = 0
    pattern = r"(\w+)(?: colored)? bird\b|bird is (?:\w+ )*?(\w+)(?: colored)? (?:with|and)"
    for species, text, _ in WRITTEN:
        match = re.search(pattern, text)
        word = match and (match[1] or match[2])
        if word in COLOR_OF_WORD:
            called += 1
            values = [species.value(part) for part in BODY_COLORS]
            assert values.count(COLOR_OF_WORD[word]) >= 3, text
    assert called > 20


def test_shape_words_are_true_and_stated_words_are_there():
    only = {  # words of one attribute alone
        "size": "tiny, little, sized, big",
        "tail_length": "lengthy",
        "beak_shape": "pointed, sharp, pointy, curved, hooked, thick, stout, blunt, conical",
        "beak_length": "stubby, medium length",
    }
    for species, text, names in WRITTEN:
        for attribute in captions.VALUE_WORDS.keys() & names:
            words = captions.VALUE_WORDS[attribute][species.value(attribute)]
            assert any(says(text, word) for word in words)
        for attribute, words in only.items():
            for word in words.split(", "):
                assert attribute in names or not says(text, word), (word, text)


def test_parts_are_mentioned_unevenly_and_words_are_many():
    mentions = Counter(name for _, _, names in WRITTEN for name in names)
    assert mentions["wing_color"] > 1.2 * mentions["beak_color"] > mentions["tail_length"]
    vocabulary = {word for _, text, _ in WRITTEN for word in words_of(text)}
    assert 90 <= len(vocabulary) <= 200
    assert {"beak", "bill", "crown", "head", "breast", "belly", "underside"} <= vocabulary
    lengths = np.array([len(words_of(text)) for _, text, _ in WRITTEN])
    assert 12 < lengths.mean() < 18 and lengths.std() > 2
