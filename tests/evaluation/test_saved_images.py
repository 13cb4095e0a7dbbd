"""Generated images as files: names, manifest, and what a killed evaluation leaves."""

import json

import numpy as np
import pytest
from PIL import Image

from attngan_jax.errors import UserError
from attngan_jax.evaluation.saved_images import SavedImages
from attngan_jax.evaluation.shown_pairs import TestRecords

RECORDS = TestRecords(["birds/a", "b\u00fc"], [["one", "two"], ["three"]], np.array([4, 9]))
MODEL = {"step": 3, "seed": 0}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
ROWS = {"image": IMAGES, "index": np.array([0, 1, 0]), "caption_index": np.array([0, 0, 1])}
NAMES = [
    "000000_record_000000_caption_00",
    "000001_record_000001_caption_00",
    "000002_record_000000_caption_01",
]


def save(folder, stop_after=3, model=MODEL, image_format="png"):
    saved = SavedImages(folder, model, RECORDS, image_format)
    for n in range(stop_after):
        saved.add({name: values[n : n + 1] for name, values in ROWS.items()})
    if stop_after == 3:
        saved.finish()


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_files_are_exact_and_the_manifest_says_what_they_are(image_format, tmp_path):
    folder = tmp_path / "new" / "images"
    save(folder, image_format=image_format)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"{name}.{image_format}" for name in NAMES),
        "manifest.json",
    ]
    for name, image in zip(NAMES, IMAGES):
        np.testing.assert_array_equal(Image.open(folder / f"{name}.{image_format}"), image)
    written = manifest(folder)
    assert written["complete"] and written["model"] == MODEL | {"format": image_format}
    assert written["images"][2] == {
        "file": f"{NAMES[2]}.{image_format}",
        "record": 0,
        "record_name": "birds/a",
        "class_id": 4,
        "caption_index": 1,
        "caption": "two",
    }


def test_a_killed_evaluation_goes_on(tmp_path):
    save(tmp_path, stop_after=2)
    assert not manifest(tmp_path)["complete"]
    (tmp_path / f".{NAMES[2]}.png.123").write_bytes(b"half a file")
    first = tmp_path / f"{NAMES[0]}.png"
    stamp = first.stat().st_mtime_ns
    save(tmp_path)
    assert first.stat().st_mtime_ns == stamp  # it was there
    np.testing.assert_array_equal(Image.open(tmp_path / f"{NAMES[2]}.png"), IMAGES[2])
    assert manifest(tmp_path)["complete"] and len(manifest(tmp_path)["images"]) == 3


def test_folders_of_other_images_are_refused(tmp_path):
    mine, other, file = tmp_path / "mine", tmp_path / "other", tmp_path / "file"
    save(mine)
    with pytest.raises(UserError, match="mine holds images of another seed, step: give"):
        save(mine, model={"step": 4, "seed": 1})
    with pytest.raises(UserError, match="mine holds images of another format"):
        save(mine, image_format="webp")
    other.mkdir()
    (other / "holiday.png").write_bytes(b"")
    with pytest.raises(UserError, match="other is not empty"):
        save(other)
    for content in ("{", "[]", '{"model": 1}'):
        (mine / "manifest.json").write_text(content)
        with pytest.raises(UserError, match="no manifest|holds images of another"):
            save(mine)
    file.write_text("")
    with pytest.raises(UserError, match="file is no folder"):
        save(file)
    with pytest.raises(UserError, match="below is no folder"):
        save(file / "below")
