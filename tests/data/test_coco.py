"""COCO 2014: images and captions meet by id, the first five captions in the file's order."""

import json

import pytest

from attngan_jax.data import datasets
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import build
from tests.tiny_configs import coco


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    made_up_sources.make_coco(folder)
    return folder


@pytest.fixture
def config(tmp_path):
    config = coco.get_config()
    config.data.data_dir = str(tmp_path / "data")
    config.data.max_left_out = 0.2
    return config


def test_endings_in_capitals_and_pictures_of_no_list(config, source):
    for file in sorted((source / "train2014").iterdir())[:4]:
        file.rename(file.with_suffix(".JPG"))
    made_up_sources.write(source / "val2014" / "more.png", made_up_sources.encoded(5, kind="PNG"))

    dataset = build(config, source)

    assert [made_up_sources.shown(record) for record in dataset.train] == list(range(12))
    report = datasets.report(config)
    assert report["left_out"] == {} and report["repaired"] == {
        "image that is not listed ignored": {"count": 1, "first": ["more.png"]}
    }


def test_pictures_and_captions(config, source):
    dataset = build(config, source)

    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (12, 6, 0)
    for first, records in ((0, dataset.train), (12, dataset.test)):
        for k, record in enumerate(records, first):
            assert made_up_sources.shown(record) == k and made_up_sources.is_picture(record, k)
            assert [text.decode() for text in record["captions"]] == made_up_sources.captions(k, 5)
            assert record["class_id"] == -1 and not record["bbox"].any()
    assert datasets.report(config)["left_out"] == {}


def test_image_folders_elsewhere_by_links(config, source, tmp_path):
    (source / "train2014").rename(tmp_path / "disk")
    (source / "train2014").symlink_to(tmp_path / "disk")
    (source / "images").mkdir()
    (source / "val2014").rename(source / "images" / "val2014")

    dataset = build(config, source)

    assert (len(dataset.train), len(dataset.test)) == (12, 6)


def test_rows_that_do_not_fit_together(config, source):
    path = source / "annotations" / "captions_train2014.json"
    rows = json.loads(path.read_text())
    rows["images"][3]["file_name"] = "../val2014/" + rows["images"][3]["file_name"]
    rows["images"][5]["id"] = rows["images"][4]["id"]
    rows["annotations"] += [{"image_id": 123456, "caption": "a bird of nowhere"}, {"id": 3}, "x"]
    path.write_text(json.dumps(rows))
    config.data.max_left_out = 0.5

    dataset = build(config, source)

    assert [made_up_sources.shown(record) for record in dataset.train] == [
        k for k in range(12) if k not in (3, 5)
    ]
    report = datasets.report(config)
    assert {reason: row["count"] for reason, row in report["left_out"].items()} == {
        "name that leads out of the source": 1,
        "id listed twice": 1,
    }
    # The image whose id was lost took its own captions with it.
    assert {reason: row["count"] for reason, row in report["repaired"].items()} == {
        "captions of an image that is not listed ignored": 2,
        "annotation without caption or image ignored": 2,
        "image that is not listed ignored": 1,
    }


@pytest.mark.parametrize("content", [b"", b"[]", b'{"images": [', b'{"images": []}'])
def test_a_list_that_is_none(config, source, content):
    made_up_sources.write(source / "annotations" / "captions_val2014.json", content)

    with pytest.raises(UserError, match="captions_val2014.json is not COCO.*annotations_trainval"):
        datasets.prepare(config, str(source))


def test_what_is_missing_is_asked_for_by_name(config, source):
    (source / "val2014").rename(source / "validation")

    with pytest.raises(UserError, match=r"lacks the folder val2014.*val2014\.zip.*SHA-256"):
        datasets.prepare(config, str(source))
