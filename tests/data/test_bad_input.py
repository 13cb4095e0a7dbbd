"""Everything that can be wrong with a source: repaired or left out, counted, never mixed up."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import datasets, photographs, source_files
from attngan_jax.data.transforms import decode_image
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import as_file, captions, counts, encoded, write, write_list

DATASET, COUNT = "folder", 24


@pytest.fixture
def config(config):
    config.data.captions_per_image = 1
    return config


@pytest.fixture
def source(tmp_path):
    """Images 0 to 23 as `k.jpg`, each with ten captions in `k.txt`."""
    folder = tmp_path / "source"
    for k in range(COUNT):
        write(folder / f"{k}.jpg", encoded(k))
        write(folder / f"{k}.txt", "\n".join(captions(k)) + "\n")
    return folder


def row(k, **fields):
    return {"file": f"{k}.jpg", "captions": captions(k)[:1]} | fields


def build(config, source):
    """The dataset and its records by name, each checked to be a whole image of the source."""
    dataset = made_up_sources.build(config, source)
    records = {record["name"].decode(): record for record in made_up_sources.records(dataset)}
    assert len(records) == len(dataset.train) + len(dataset.test)
    for name, record in records.items():
        stem = name.removesuffix(".jpg")
        if stem.isdecimal():
            assert made_up_sources.shown(record) == int(stem)
            assert record["image"] == (source / f"{stem}.jpg").read_bytes()
    return dataset, records


def named(dataset, key):
    """Where each reason of the report occurred, which must be all of its places."""
    rows = dataset.report[key]
    assert all(row["count"] == len(row["first"]) for row in rows.values())
    return {reason: set(row["first"]) for reason, row in rows.items()}


def _png(width: int, height: int) -> bytes:
    """A whole PNG but for its pixels."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8))
BAD_IMAGES = {  # by number, and why they are left out
    "damaged or cut short image": {
        0: as_file(NOISE, "JPEG")[:-300],
        1: as_file(NOISE, "JPEG", progressive=True)[:-300],
        2: encoded(7, kind="PNG")[:-60],
    },
    "empty file": {3: b""},
    "not an image": {4: b"this is no image\n", 5: b"\xff\xd8\xff", 6: _png(0, 45)},
    "enormous image (over 100 megapixels)": {7: _png(10_001, 10_000), 8: _png(60_000, 60_000)},
}
CAPTIONS = {
    9: "\n\n".join(captions(9)) + "\n \n",
    10: "...\n" + captions(10)[0] + "\n\u9ce5\n",
    11: (captions(11)[0] + " \u00e9t\u00e9 caf\u00e9").encode("cp1252"),
    12: captions(12)[0].encode("utf-16"),
    13: "\n\n",
    14: "?!\n",
    15: "\ufeff" + "\r\n".join(captions(15)),
    16: b"",
}


def test_images_and_captions_that_are_left_out_or_repaired(config, source, tmp_path):
    bad = {reason: set(map(str, images)) for reason, images in BAD_IMAGES.items()}
    for k, content in (item for images in BAD_IMAGES.values() for item in images.items()):
        write(source / f"{k}.jpg", content)
    for k, text in CAPTIONS.items():
        write(source / f"{k}.txt", text)
    (source / "17.txt").unlink()
    (source / "17.txt").symlink_to(write(tmp_path / "secret.txt", "a secret bird"))
    (source / "18.txt").rename(source / "inner.txt")
    write(source / "19.png", encoded(19, kind="PNG"))  # 19.txt can belong to one image alone
    write(source / "a b" / "two words.jpg", encoded(30))
    write(source / "a b" / "two words.txt", "\n".join(captions(30)))
    config.data.captions_per_image, config.data.max_left_out = 2, 0.9
    dataset, records = build(config, source)
    left_out = bad | {
        "no caption with a word": {"13", "14", "16"},
        "link that leads out of the source": {"17"},
        "caption file missing": {"18"},
        "listed twice": {"19"},
    }
    assert named(dataset, "left_out") == left_out
    assert named(dataset, "repaired") == {
        "empty caption dropped": {"9"},
        "caption without a word dropped": {"10"},
        "captions not in UTF-8": {"11", "12"},
        "fewer captions than wanted": {"10", "11", "12"},
        "text without an image ignored": {"inner.txt"},
    }
    kept = {*map(str, range(COUNT)), "a b/two words"} - set().union(*left_out.values())
    assert records.keys() == kept | {"19"}
    assert made_up_sources.shown(records["a b/two words"]) == 30
    assert [len(records[str(k)]["captions"]) for k in (9, 10, 11, 12, 15)] == [10, 1, 1, 1, 10]
    assert records["11"]["captions"][0].decode().endswith("caf\u00e9")
    words = set(dataset.vocabulary.words)
    assert {"caf", "t"} < words and "secret" not in words


def test_images_of_every_kind_are_kept_as_they_are(config, source):
    rgb = Image.new("RGB", (60, 45), (200, 40, 90))
    exif = Image.Exif()
    exif[0x0112] = 6
    fine = {
        "gray": as_file(Image.new("L", (60, 45), 90), "JPEG"),
        "cmyk": as_file(Image.new("CMYK", (60, 45), (10, 200, 90, 20)), "JPEG"),
        "palette": as_file(rgb.quantize(4)),
        "alpha": as_file(Image.new("RGBA", (60, 45), (200, 40, 90, 128))),
        "16-bit": as_file(Image.fromarray(np.full((45, 60), 40_000, np.uint16))),
        "turned": as_file(rgb, "JPEG", exif=exif),
        "gif": as_file(Image.new("P", (60, 45), 3), "GIF"),
        "webp": as_file(rgb, "WEBP"),
    }
    for name, content in fine.items():
        write(source / f"{name}.jpg", content)
        write(source / f"{name}.txt", f"a {name} bird")
    dataset, records = build(config, source)
    for name, content in fine.items():
        assert records[name]["image"] == content
        assert decode_image(content).mode == "RGB"
    assert named(dataset, "left_out") == named(dataset, "repaired") == {}


def test_names_links_and_lines_of_a_list(config, source, tmp_path):
    outside = write(tmp_path / "outside.jpg", encoded(3))
    (source / "linked.jpg").symlink_to(outside)
    (source / "inner link.jpg").symlink_to(source / "3.jpg")
    os.mkfifo(source / "pipe.jpg")
    left_out = {
        "name that leads out of the source": {"../a.jpg", str(outside), "b/../../c", "nul\0.jpg"},
        "link that leads out of the source": {"linked.jpg"},
        "not an ordinary file": {"pipe.jpg"},
        "image missing": {"x" * 300 + ".jpg", "none.jpg"},
    }
    names = [*set().union(*left_out.values()), "inner link.jpg"]
    rows = [row(k) for k in range(COUNT)] + [{"file": name, "captions": "a bird"} for name in names]
    rows += ["{", "[1]", "null", '{"file": 3, "captions": ["x"]}']
    rows += [row(0, split="eval") | {"file": "4.JPG"}]
    write_list(source, rows)
    config.data.max_left_out = 0.9
    dataset, records = build(config, source)
    lines = {f"captions.jsonl, line {n}" for n in range(len(rows) - 4, len(rows))}
    left_out["line of captions.jsonl that names no file"] = lines
    left_out["unknown split (train and test are known)"] = {"4.JPG"}
    assert named(dataset, "left_out") == left_out
    assert records.keys() == {*(f"{k}.jpg" for k in range(COUNT)), "inner link.jpg"}


CUT, EMPTY = "box cut to the image", "box empty or outside the image: whole image used"
NO_NUMBERS = "box that is not four numbers: whole image used"
BOXES = [  # as listed, as kept, and why
    ([5, 6, 20, 30], [5, 6, 20, 30], None),
    ([40, 6, 21, 30], [40, 6, 21, 30], None),
    ([-10, 6, 30, 30], [0, 6, 20, 30], CUT),
    ([50, 40, 30, 30], [50, 40, 10, 5], CUT),
    ([80, 6, 20, 30], [0] * 4, EMPTY),
    ([5, 6, 0, 30], [0] * 4, EMPTY),
    ([5, 6, 20, -3], [0] * 4, EMPTY),
    ([5, 6, 20], [0] * 4, NO_NUMBERS),
    (["a", 6, 20, 3], [0] * 4, NO_NUMBERS),
    ([float("nan"), 1, 2, 3], [0] * 4, NO_NUMBERS),
    ("1234", [0] * 4, NO_NUMBERS),
    (None, [0] * 4, None),
]


def test_boxes(config, source):
    write_list(source, [row(k, bbox=box) for k, (box, _, _) in enumerate(BOXES)])
    dataset, records = build(config, source)
    for k, (_, kept, _) in enumerate(BOXES):
        np.testing.assert_array_equal(records[f"{k}.jpg"]["bbox"], kept)
    reasons = [reason for _, _, reason in BOXES if reason]
    expected = {reason: reasons.count(reason) for reason in reasons}
    assert {key: counts(dataset, "repaired")[key] for key in expected} == expected


def test_a_file_is_found_by_its_own_name_before_others(tmp_path):
    for name in ("a.JPG", "a.jpg", "b.JpG", "c.TXT"):
        write(tmp_path / name, name)
    expected = {"a.jpg": "a.jpg", "a.JPG": "a.JPG", "b.jpg": "b.JpG", "c.txt": "c.TXT"}
    for asked, found in (expected | {"B.jpg": None, "c.md": None}).items():
        path = source_files.existing(tmp_path / asked)
        assert path == tmp_path / (found or asked) and path.exists() == bool(found)


def test_too_much_left_out_stops_the_build_with_the_first_ten(config, source, tmp_path):
    config.data.max_left_out = 0.01
    for k in range(12, COUNT):
        write(source / f"{k}.jpg", b"")
    start = "10 of 24 images cannot be used so far, more than config.data.max_left_out = 0.01"
    with pytest.raises(UserError, match=rf"^{start} [^\n]*$") as stopped:
        datasets.prepare(config, str(source))
    assert str(stopped.value).count("(empty file)") == 10
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_one_too_many_at_the_very_end_stops_it_too(config, source):
    config.data.max_left_out = 1 / COUNT
    write(source / "0.jpg", b"")
    build(config, source)
    config.data.data_dir += "2"
    write(source / "1.jpg", b"")
    made_up_sources.assert_refused(config, source, "2 of 24 images cannot be used, more")


def test_a_shard_and_a_split_of_nothing_but_bad_images(config, source, monkeypatch):
    monkeypatch.setattr(photographs, "_IMAGES_PER_SHARD", 4)
    write_list(source, [row(k, split="train" if k < 20 else "test") for k in range(COUNT)])
    for k in range(4, 8):
        write(source / f"{k}.jpg", b"")
    dataset, _ = build(config, source)
    shown = [made_up_sources.shown(record) for record in dataset.train]
    assert shown == [k for k in range(20) if not 4 <= k < 8]
    assert datasets.prepare(config, str(source)) is False
    for k in range(20, COUNT):
        write(source / f"{k}.jpg", b"")
    config.data.data_dir, config.data.max_left_out = config.data.data_dir + "2", 1.0
    made_up_sources.assert_refused(config, source, "none of the test images")
