"""The builder: what it writes is what the package draws and says, whatever else is built."""

import io
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from attngan_jax.data.birds.drawing import draw_bird
from attngan_jax.data.birds.species import ATTRIBUTES, PARTS, make_species
from attngan_jax.data.procedural_birds import ProceduralBirds, ProceduralBirdsConfig, make_record

SETTINGS = {
    "image_size": 32,
    "num_species": 5,
    "test_species": 2,
    "images_per_species": 3,
    "seed": 7,
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    builder = ProceduralBirds(
        config=ProceduralBirdsConfig(**SETTINGS), data_dir=tmp_path_factory.mktemp("data")
    )
    builder.download_and_prepare()
    skip = tfds.decode.SkipDecoding()
    source = builder.as_data_source(decoders={"image": skip, "part_labels": skip})
    return {split: list(source[split]) for split in ("train", "test")}


def decode(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_the_split_is_by_species(records):
    assert {split: len(rows) for split, rows in records.items()} == {"train": 9, "test": 6}
    assert {int(row["class_id"]) for row in records["train"]} == {0, 1, 2}
    assert {int(row["class_id"]) for row in records["test"]} == {3, 4}


def test_a_record_holds_what_was_drawn_and_said(records):
    species = make_species(SETTINGS["num_species"], SETTINGS["seed"])
    for row in (*records["train"], *records["test"]):
        one = species[row["class_id"]]
        name = row["name"].decode()
        assert name.startswith(f"{one.name}/")
        expected = make_record(one, int(name.split("/")[1]), ProceduralBirdsConfig(**SETTINGS))
        assert [text.decode() for text in row["captions"]] == expected["captions"]
        assert row["image"] == expected["image"] and row["part_labels"] == expected["part_labels"]
        np.testing.assert_array_equal(row["attributes"], one.attributes)
        np.testing.assert_array_equal(row["caption_attributes"], expected["caption_attributes"])
        np.testing.assert_array_equal(row["bbox"], expected["bbox"])


def test_small_pictures_are_stored_exactly(records):
    row = records["train"][0]
    image, labels = decode(row["image"]), decode(row["part_labels"])
    assert image.shape == (32, 32, 3) and labels.shape == (32, 32)
    species = make_species(SETTINGS["num_species"], SETTINGS["seed"])[row["class_id"]]
    number = int(row["name"].decode().split("/")[1])
    rng = np.random.default_rng([SETTINGS["seed"], 1, species.class_id, number])
    drawn, drawn_labels, _ = draw_bird(species, rng, 32)
    np.testing.assert_array_equal(image, drawn)
    np.testing.assert_array_equal(labels, drawn_labels)
    assert labels.max() <= len(PARTS)
    assert row["caption_attributes"].shape == (10, len(ATTRIBUTES))


def test_large_pictures_are_jpegs_close_to_the_drawing():
    species = make_species(3, 7)[0]
    config = ProceduralBirdsConfig(**SETTINGS | {"image_size": 128})
    record = make_record(species, 0, config)
    assert record["image"][:2] == b"\xff\xd8"
    drawn = draw_bird(species, np.random.default_rng([7, 1, 0, 0]), 128)[0]
    assert np.abs(decode(record["image"]).astype(int) - drawn).mean() < 4


def test_a_picture_does_not_depend_on_what_else_is_drawn():
    config = ProceduralBirdsConfig(**SETTINGS)
    few, many = make_species(3, 7)[2], make_species(9, 7)[2]
    make_record(many, 5, config)
    assert make_record(few, 1, config)["image"] == make_record(many, 1, config)["image"]
    assert make_record(few, 1, config)["image"] != make_record(few, 2, config)["image"]


def test_every_setting_is_in_the_folder_name():
    base = ProceduralBirdsConfig(**SETTINGS).name
    names = {
        ProceduralBirdsConfig(**SETTINGS | {key: value + 1}).name for key, value in SETTINGS.items()
    }
    assert len(names | {base}) == len(SETTINGS) + 1


@pytest.mark.parametrize(
    "wrong",
    [{"test_species": 0}, {"test_species": 5}, {"images_per_species": 0}, {"image_size": 0}],
)
def test_settings_that_cannot_be_drawn_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ProceduralBirdsConfig(**SETTINGS | wrong)


def test_building_and_reading_do_not_load_tensorflow(tmp_path):
    program = f"""
import sys
from attngan_jax.data.procedural_birds import ProceduralBirds, ProceduralBirdsConfig
builder = ProceduralBirds(config=ProceduralBirdsConfig(
    image_size=16, num_species=2, test_species=1, images_per_species=1), data_dir={str(tmp_path)!r})
builder.download_and_prepare()
assert len(builder.as_data_source()["test"]) == 1
assert "tensorflow" not in sys.modules
"""
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=root)
