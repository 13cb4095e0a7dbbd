"""Species, drawings and the builder: all from one seed, and true to their attributes."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from attngan_jax.data.birds.anatomy import affine, curve, rotation
from attngan_jax.data.birds.captions import write_captions
from attngan_jax.data.birds.drawing import RGB, draw_bird
from attngan_jax.data.birds.species import ATTRIBUTES, COLOR_ATTRIBUTES, COLORS, PARTS, make_species
from attngan_jax.data.procedural_birds import ProceduralBirds, ProceduralBirdsConfig, make_record
from tests import tiny_runs
from tests.made_up_sources import digest

MANY = make_species(500, seed=1)
SPECIES = make_species(80, seed=3)
LABEL = {part: i + 1 for i, part in enumerate(PARTS)}


def test_birds_are_those_of_every_version_of_this_program():
    """What a seed shows must not change: models, scores and claims refer to it."""
    species, drawn = make_species(40, seed=7), []
    for one in species[::8]:
        for size in (64, 128):
            names, rngs = ("image", "labels", "box"), [[7, k, one.class_id, 0] for k in (1, 2)]
            bird = draw_bird(one, np.random.default_rng(rngs[0]), size)
            text, states = zip(*write_captions(one, np.random.default_rng(rngs[1]), 10))
            drawn.append(dict(zip(names, bird)) | {"text": list(text), "states": list(states)})
    fields = [
        {"name": one.name, "attributes": one.attributes, "proportions": tuple(one.proportions)}
        for one in species
    ]
    assert digest(fields) == "4cf1ee776bdb9085"
    assert digest(drawn) == "1dba5f2b9d95e129"


def test_the_seed_decides_and_more_species_begin_with_the_same():
    assert make_species(500, seed=1) == MANY
    assert make_species(60, seed=1) == MANY[:60]
    assert make_species(60, seed=2) != MANY[:60]


def test_no_two_species_share_their_colours():
    palettes = {tuple(one.value(part) for part in COLOR_ATTRIBUTES[:5]) for one in MANY}
    assert len(palettes) == len(MANY) == len({one.name for one in MANY})
    assert all(len(set(palette)) > 1 for palette in palettes)


def test_training_species_show_every_value_and_each_about_equally_often():
    values = np.array([one.attributes for one in MANY[:400]])
    for column, (name, names) in zip(values.T, ATTRIBUTES.items(), strict=True):
        shares = np.bincount(column, minlength=len(names)) / len(values)
        assert shares.min() > 0, name
        if names is COLORS:
            assert 0.05 < shares.min() and shares.max() < 0.16, (name, shares)
    for part in COLOR_ATTRIBUTES:  # ten are enough for every colour of every part
        assert {one.value(part) for one in MANY[:10]} == set(ATTRIBUTES[part])


def test_rings_and_bars_stand_out():
    assert all(one.value("eye_ring") != one.value("crown_color") for one in MANY)
    assert all(one.value("wing_bars") != one.value("wing_color") for one in MANY)
    assert {one.value("eye_ring") for one in MANY} == set(ATTRIBUTES["eye_ring"])


def test_colour_attributes_are_those_of_the_first_parts():
    assert COLOR_ATTRIBUTES == tuple(f"{part}_color" for part in PARTS[:6])
    assert tuple(ATTRIBUTES)[:6] == COLOR_ATTRIBUTES


def draw(species, size=64, seed=0):
    return draw_bird(species, np.random.default_rng([seed, species.class_id]), size)


def altered(species, **values):
    """`species` with some attributes set by name."""
    named = {name: species.value(name) for name in ATTRIBUTES} | values
    attributes = tuple(ATTRIBUTES[name].index(value) for name, value in named.items())
    return species._replace(attributes=attributes)


def count(labels, part):
    return int((labels == LABEL[part]).sum())


def test_the_generator_decides_and_types_and_shapes():
    image, labels, box = draw(SPECIES[0], size=96)
    np.testing.assert_equal(draw(SPECIES[0], size=96), (image, labels, box))
    assert (image != draw(SPECIES[0], size=96, seed=1)[0]).any()
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert labels.shape == (96, 96) and labels.dtype == np.uint8
    assert box.shape == (4,) and box.dtype == np.float32


def test_parts_have_the_colours_of_their_species_and_are_large_enough_to_be_learnt_at_64():
    """Of all colours, the one nearest to a part's pixels is the one that its species has."""
    names, rgb = list(RGB), np.array(list(RGB.values()), float)
    fewest = dict.fromkeys(PARTS[:5], 80) | {"beak": 8, "tail": 20, "eye": 3, "legs": 6}
    for species in SPECIES:
        image, labels, _ = draw(species)
        for attribute in COLOR_ATTRIBUTES:
            pixels = np.median(image[labels == LABEL[attribute.removesuffix("_color")]], axis=0)
            nearest = names[np.linalg.norm(rgb - pixels, axis=1).argmin()]
            assert nearest == species.value(attribute), (species, attribute)
        assert labels.max() <= len(PARTS)
        assert not {part for part, least in fewest.items() if count(labels, part) < least}


def test_the_box_is_that_of_the_bird():
    for species in SPECIES[:20]:
        _, labels, (x, y, width, height) = draw(species)
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
    def center(labels, part):
        return np.nonzero(labels == LABEL[part])[1].mean()

    drawn = [draw(SPECIES[0], seed=seed)[1] for seed in range(40)]
    assert 8 <= sum(center(labels, "beak") > center(labels, "wing") for labels in drawn) <= 32


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
        pair = [altered(species, **({"size": "small"} | {attribute: v})) for v in (less, more)]
        little, much = (count(draw(one, 256)[1], part) for one in pair)
        assert much > 1.1 * little


def test_wing_bars_are_white_on_a_black_wing():
    plain = altered(SPECIES[0], wing_color="black", wing_bars="none")
    drawn = (draw(one) for one in (plain, altered(plain, wing_bars="white")))
    bright = [(image[labels == LABEL["wing"]].min(-1) > 150).sum() for image, labels, _ in drawn]
    assert bright[0] == 0 and bright[1] >= 8


def test_a_rotation_turns_clockwise_around_its_center():
    center = np.array((1.0, 2.0))
    turn = affine(rotation(90), center, center)
    np.testing.assert_allclose(turn(center), center)
    np.testing.assert_allclose(turn(np.array([(2.0, 2.0)])), [(1.0, 3.0)], atol=1e-12)


def test_curves_pass_through_their_points_and_keep_straight_lines():
    points = np.random.default_rng(0).normal(size=(5, 2))
    closed = curve(points, closed=True)
    assert np.abs(closed[:, None] - points).sum(-1).min(0).max() < 1e-12
    np.testing.assert_allclose(curve(points)[[0, -1]], points[[0, -1]])
    line = curve(np.stack([np.arange(4.0), 2 * np.arange(4.0)], 1))
    np.testing.assert_allclose(line[:, 1], 2 * line[:, 0], atol=1e-12)


WRONG = {"test_species": 0}, {"test_species": 5}, {"images_per_species": 0}, {"image_size": 0}
SETTINGS = dict(image_size=32, num_species=5, test_species=2, seed=7, images_per_species=3)


def decode(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_records_hold_what_is_drawn_and_said(tmp_path):
    config = ProceduralBirdsConfig(**SETTINGS)
    builder = ProceduralBirds(config=config, data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    skip = tfds.decode.SkipDecoding()
    source = builder.as_data_source(decoders={"image": skip, "part_labels": skip})
    records = {split: list(source[split]) for split in ("train", "test")}
    assert {split: len(rows) for split, rows in records.items()} == {"train": 9, "test": 6}
    species = make_species(SETTINGS["num_species"], SETTINGS["seed"])
    classes = {split: {row["class_id"] for row in rows} for split, rows in records.items()}
    assert classes == {"train": {0, 1, 2}, "test": {3, 4}}
    for row in (*records["train"], *records["test"]):
        one, name = species[row["class_id"]], row["name"].decode()
        number = int(name.removeprefix(f"{one.name}/"))
        expected = make_record(one, number, config)
        assert [text.decode() for text in row["captions"]] == expected["captions"]
        assert row["image"] == expected["image"] and row["part_labels"] == expected["part_labels"]
        np.testing.assert_array_equal(row["attributes"], one.attributes)
        np.testing.assert_array_equal(row["caption_attributes"], expected["caption_attributes"])
        np.testing.assert_array_equal(row["bbox"], expected["bbox"])
        # Small images are stored exactly.
        rng = np.random.default_rng([SETTINGS["seed"], 1, one.class_id, number])
        drawn, labels, _ = draw_bird(one, rng, 32)
        np.testing.assert_array_equal(decode(row["image"]), drawn)
        np.testing.assert_array_equal(decode(row["part_labels"]), labels)


def test_large_images_are_jpegs_close_to_the_drawing():
    species = make_species(3, 7)[0]
    config = ProceduralBirdsConfig(**SETTINGS | {"image_size": 128})
    record = make_record(species, 0, config)
    assert record["image"][:2] == b"\xff\xd8"
    drawn = draw_bird(species, np.random.default_rng([7, 1, 0, 0]), 128)[0]
    assert np.abs(decode(record["image"]).astype(int) - drawn).mean() < 4


def test_an_image_does_not_depend_on_what_else_is_drawn():
    config = ProceduralBirdsConfig(**SETTINGS)
    few, many = make_species(3, 7)[2], make_species(9, 7)[2]
    make_record(many, 5, config)
    assert make_record(few, 1, config)["image"] == make_record(many, 1, config)["image"]
    assert make_record(few, 1, config)["image"] != make_record(few, 2, config)["image"]


def test_every_setting_is_in_the_folder_name():
    settings = [SETTINGS | {key: value + 1} for key, value in SETTINGS.items()]
    names = {ProceduralBirdsConfig(**one).name for one in (SETTINGS, *settings)}
    assert len(names) == len(SETTINGS) + 1
    assert ProceduralBirdsConfig(**SETTINGS).name == "32px_5species_2test_3images_seed7"


@pytest.mark.parametrize("wrong", WRONG)
def test_settings_that_cannot_be_drawn_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProceduralBirdsConfig(**SETTINGS | wrong)


def test_building_and_reading_do_not_load_tensorflow(tmp_path):
    program = f"""
import sys
from attngan_jax.data.procedural_birds import ProceduralBirds, ProceduralBirdsConfig
config = ProceduralBirdsConfig(image_size=16, num_species=2, test_species=1, images_per_species=1)
builder = ProceduralBirds(config=config, data_dir={str(tmp_path)!r}, file_format="array_record")
builder.download_and_prepare()
assert len(builder.as_data_source()["test"]) == 1
assert "tensorflow" not in sys.modules
"""
    assert tiny_runs.start_python("-c", program).returncode == 0
