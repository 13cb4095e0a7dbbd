"""COCO 2014: images and captions are joined by id, the first five captions in the file's order."""

import json

import pytest

from tests import made_up_sources
from tests.made_up_sources import assert_refused, build, counts, encoded, shown, write

DATASET = "coco"


def test_images_and_captions(config, source):
    dataset = build(config, source)
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (12, 6, 0)
    for k, record in enumerate(made_up_sources.records(dataset)):
        assert shown(record) == k and made_up_sources.is_whole(record)
        assert [text.decode() for text in record["captions"]] == made_up_sources.captions(k, 5)
        assert record["class_id"] == -1 and not record["bbox"].any()
    assert dataset.report["left_out"] == {}


def test_suffixes_in_capitals_and_images_of_no_list(config, source):
    for file in sorted((source / "train2014").iterdir())[:4]:
        file.rename(file.with_suffix(".JPG"))
    write(source / "val2014" / "more.png", encoded(5, kind="PNG"))
    dataset = build(config, source)
    assert [shown(record) for record in dataset.train] == list(range(12))
    ignored = {"count": 1, "first": ["more.png"]}
    assert dataset.report["left_out"] == {}
    assert dataset.report["repaired"] == {"image that is not listed ignored": ignored}


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
    assert [shown(record) for record in dataset.train] == [k for k in range(12) if k not in (3, 5)]
    left_out = {"name that leads out of the source": 1, "id listed twice": 1}
    assert counts(dataset, "left_out") == left_out
    # The image whose id was lost took its own captions with it.
    assert counts(dataset, "repaired") == {
        "captions of an image that is not listed ignored": 2,
        "annotation without caption or image ignored": 2,
        "image that is not listed ignored": 1,
    }


@pytest.mark.parametrize("content", [b"", b"[]", b'{"images": [', b'{"images": []}'])
def test_a_list_of_something_else(config, source, content):
    write(source / "annotations" / "captions_val2014.json", content)
    assert_refused(config, source, "captions_val2014.json is not COCO.*annotations_trainval")


def test_what_is_missing_is_asked_for_by_name(config, source):
    (source / "val2014").rename(source / "validation")
    assert_refused(config, source, r"lacks the folder val2014.*val2014\.zip.*SHA-256")
