"""The drawings: what the label map says lies where the image shows it."""

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data.birds.anatomy import affine, open_curve, rotation, smooth
from attngan_jax.data.birds.drawing import RGB, draw_bird
from attngan_jax.data.birds.species import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES,
    COLOR_ATTRIBUTES,
    PARTS,
    make_species,
)

SPECIES = make_species(80, seed=3)
LABEL = {part: i + 1 for i, part in enumerate(PARTS)}


def draw(species, size=64, seed=0):
    return draw_bird(species, np.random.default_rng([seed, species.class_id]), size)


def altered(species, **values):
    """`species` with some attributes set by name."""
    attributes = list(species.attributes)
    for name, value in values.items():
        attributes[ATTRIBUTE_INDEX[name]] = ATTRIBUTES[name].index(value)
    return species._replace(attributes=tuple(attributes))


def count(labels, part):
    return int((labels == LABEL[part]).sum())


def test_the_generator_decides():
    for first, second in zip(draw(SPECIES[0]), draw(SPECIES[0]), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (draw(SPECIES[0])[0] != draw(SPECIES[0], seed=1)[0]).any()


def test_types_and_shapes():
    image, labels, box = draw(SPECIES[0], size=96)
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert labels.shape == (96, 96) and labels.dtype == np.uint8
    assert box.shape == (4,) and box.dtype == np.float32


@pytest.mark.parametrize("attribute", COLOR_ATTRIBUTES)
def test_a_part_has_the_colour_of_its_species(attribute):
    """Of all colours, the one nearest to a part's pixels is the one that its species has."""
    names, rgb = list(RGB), np.array(list(RGB.values()), float)
    for species in SPECIES:
        image, labels, _ = draw(species)
        part = attribute.removesuffix("_color")
        pixels = np.median(image[labels == LABEL[part]], axis=0)
        distances = np.linalg.norm(rgb - pixels, axis=1)
        assert names[distances.argmin()] == species.value(attribute), (species, pixels)


def test_every_part_is_large_enough_to_be_learnt_at_64():
    fewest = {
        "crown": 80,
        "back": 80,
        "wing": 80,
        "breast": 80,
        "belly": 80,
        "beak": 8,
        "tail": 20,
        "eye": 3,
        "legs": 6,
    }
    for species in SPECIES:
        labels = draw(species)[1]
        assert labels.max() <= len(PARTS)
        assert not {part for part, least in fewest.items() if count(labels, part) < least}


def test_the_box_is_that_of_the_bird():
    for species in SPECIES[:20]:
        _, labels, (x, y, width, height) = draw(species)
        inside = np.zeros(labels.shape, bool)
        inside[int(y) : int(y + height), int(x) : int(x + width)] = True
        assert (labels[~inside] == 0).all()
        assert max(width, height) > 40
        rows, columns = np.nonzero(labels)
        assert (rows.min(), columns.min()) == (y, x)
        assert (rows.max() + 1, columns.max() + 1) == (y + height, x + width)


def test_the_same_bird_at_every_size():
    for species in SPECIES[:5]:
        small, small_labels, _ = draw(species, 64)
        large, large_labels, _ = draw(species, 256)
        assert (large_labels[2::4, 2::4] == small_labels).mean() > 0.93
        shrunk = np.asarray(Image.fromarray(large).reduce(4), float)
        assert np.abs(shrunk - small).mean() < 6


def test_birds_look_both_ways():
    def looks_right(labels):
        columns = np.arange(labels.shape[1])

        def center(part):
            return ((labels == LABEL[part]) * columns).sum() / count(labels, part)

        return center("beak") > center("wing")

    right = [looks_right(draw(SPECIES[0], seed=seed)[1]) for seed in range(40)]
    assert 8 <= sum(right) <= 32


@pytest.mark.parametrize(
    ("attribute", "less", "more", "part"),
    [
        ("beak_length", "short", "medium", "beak"),
        ("beak_length", "medium", "long", "beak"),
        ("beak_shape", "pointed", "thick", "beak"),
        ("tail_length", "short", "long", "tail"),
        ("eye_ring", "none", "white", "eye"),
        ("size", "small", "large", "wing"),
    ],
)
def test_shape_attributes_show(attribute, less, more, part):
    for species in SPECIES[:10]:
        little, much = (
            altered(species, size="small", **{attribute: value})
            if attribute != "size"
            else altered(species, size=value)
            for value in (less, more)
        )
        assert count(draw(much, 256)[1], part) > 1.1 * count(draw(little, 256)[1], part)


def test_wing_bars_are_white_on_a_black_wing():
    plain = altered(SPECIES[0], wing_color="black", wing_bars="none")
    barred = altered(plain, wing_bars="white")
    bright = [
        int((image[labels == LABEL["wing"]].min(-1) > 150).sum())
        for image, labels, _ in (draw(plain), draw(barred))
    ]
    assert bright[0] == 0 and bright[1] >= 8


def test_a_rotation_turns_clockwise_around_its_center():
    center = np.array((1.0, 2.0))
    turn = affine(rotation(90), center, center)
    np.testing.assert_allclose(turn(center), center)
    np.testing.assert_allclose(turn(np.array([(2.0, 2.0)])), [(1.0, 3.0)], atol=1e-12)


def test_curves_pass_through_their_points_and_keep_straight_lines():
    points = np.random.default_rng(0).normal(size=(5, 2))
    assert np.abs(smooth(points)[:, None] - points).sum(-1).min(0).max() < 1e-12
    curve = open_curve(points)
    np.testing.assert_allclose(curve[[0, -1]], points[[0, -1]])
    line = open_curve(np.stack([np.arange(4.0), 2 * np.arange(4.0)], 1))
    np.testing.assert_allclose(line[:, 1], 2 * line[:, 0], atol=1e-12)
