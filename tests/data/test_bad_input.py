"""Everything that can be wrong with a source: mended or left out, counted, never mixed up."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import datasets, image_checks, photographs
from attngan_jax.data.decoding import decode_image
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import captions, encoded, write
from tests.tiny_configs import cub

COUNT = 24


@pytest.fixture
def config(tmp_path):
    config = cub.get_config()
    config.data.dataset = "folder"
    config.data.data_dir = str(tmp_path / "data")
    config.data.max_left_out = 0.2
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


def build(config, source):
    """The records by name; those of all images but the ones left out, each with its captions."""
    dataset = made_up_sources.build(config, source)
    records = {record["name"].decode(): record for record in (*dataset.train, *dataset.test)}
    assert len(records) == len(dataset.train) + len(dataset.test)
    for name, record in records.items():
        if name.isdecimal():
            assert made_up_sources.shown(record) == int(name)
            assert record["image"] == (source / f"{name}.jpg").read_bytes()
    return records


def counted(config):
    report = datasets.report(config)
    return tuple(
        {reason: (row["count"], row["first"]) for reason, row in report[key].items()}
        for key in ("left_out", "repaired")
    )


def _png(width: int, height: int) -> bytes:
    """A whole PNG but for its pixels."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def _saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(**options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    return _saved(Image.fromarray(pixels), "JPEG", **options)


@pytest.mark.parametrize(
    "content, reason",
    [
        (_noise()[:-300], "damaged or cut short image"),
        (_noise(progressive=True)[:-300], "damaged or cut short image"),
        (encoded(7, kind="PNG")[:-60], "damaged or cut short image"),
        (b"", "empty file"),
        (b"this is no image\n", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (_png(0, 45), "not an image"),
        (_png(10_001, 10_000), "enormous image (over 100 megapixels)"),
        (_png(60_000, 60_000), "enormous image (over 100 megapixels)"),
    ],
    ids=[
        "cut",
        "cut progressive",
        "cut png",
        "empty",
        "text",
        "start alone",
        "zero width",
        "enormous",
        "far too large",
    ],
)
def test_pictures_that_are_left_out(config, source, content, reason):
    write(source / "7.jpg", content)

    records = build(config, source)

    assert sorted(map(int, records)) == [k for k in range(COUNT) if k != 7]
    assert counted(config)[0] == {reason: (1, ["7"])}


def _exif_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(Image.new("RGB", (60, 45), (200, 40, 90)), "JPEG", exif=exif, quality=95)


FINE = {
    "gray": _saved(Image.new("L", (60, 45), 90), "JPEG"),
    "cmyk": _saved(Image.new("CMYK", (60, 45), (10, 200, 90, 20)), "JPEG"),
    "palette": _saved(Image.new("RGB", (60, 45), (200, 40, 90)).quantize(4), "PNG"),
    "alpha": _saved(Image.new("RGBA", (60, 45), (200, 40, 90, 128)), "PNG"),
    "16-bit": _saved(Image.fromarray(np.full((45, 60), 40_000, np.uint16)), "PNG"),
    "turned": _exif_turned(),
    "gif": _saved(Image.new("P", (60, 45), 3), "GIF"),
    "webp": _saved(Image.new("RGB", (60, 45), (200, 40, 90)), "WEBP"),
}


def test_pictures_of_every_kind_are_kept_as_they_came(config, source):
    for name, content in FINE.items():
        write(source / f"{name}.jpg", content)
        write(source / f"{name}.txt", f"a {name} bird")

    records = build(config, source)

    for name, content in FINE.items():
        assert records[name]["image"] == content
        assert decode_image(content).mode == "RGB"
    assert counted(config) == ({}, {})


def test_what_names_and_links_may_not_do(config, source, tmp_path):
    outside = write(tmp_path / "outside.jpg", encoded(3))
    write(tmp_path / "outside.txt", "a secret bird")
    rows = [f'{{"file": "{k}.jpg", "captions": ["{captions(k)[0]}"]}}' for k in range(COUNT)]
    for name in (
        "../outside.jpg",
        str(outside),
        "linked.jpg",
        "sub/../../outside.jpg",
        "pipe.jpg",
        "x" * 300 + ".jpg",
        "nul\\u0000.jpg",
    ):
        rows.append(f'{{"file": "{name}", "captions": ["a bird"]}}')
    (source / "linked.jpg").symlink_to(outside)
    (source / "inner link.jpg").symlink_to(source / "3.jpg")
    rows.append('{"file": "inner link.jpg", "captions": ["a linked bird"]}')
    os.mkfifo(source / "pipe.jpg")
    write(source / "captions.jsonl", "\n".join(rows))
    config.data.max_left_out = 0.5

    datasets.prepare(config, str(source))

    left_out, _ = counted(config)
    assert {reason: count for reason, (count, _) in left_out.items()} == {
        "name that leads out of the source": 4,
        "link that leads out of the source": 1,
        "not an ordinary file": 1,
        "image missing": 1,
    }
    dataset = datasets.load(config)
    assert "secret" not in dataset.vocabulary.words
    assert len(dataset.train) + len(dataset.test) == COUNT + 1


def test_a_caption_file_that_leads_out_of_the_source(config, source, tmp_path):
    (source / "5.txt").unlink()
    (source / "5.txt").symlink_to(write(tmp_path / "secret.txt", "a secret bird"))
    (source / "6.txt").unlink()
    (source / "inner.txt").symlink_to(source / "7.txt")

    build(config, source)

    assert counted(config) == (
        {"link that leads out of the source": (1, ["5"]), "caption file missing": (1, ["6"])},
        {"text without an image ignored": (1, ["inner.txt"])},
    )


def test_captions_that_need_mending(config, source):
    write(source / "1.txt", "\n\n".join(captions(1)) + "\n \n")
    write(source / "2.txt", "...\n" + captions(2)[0] + "\n\u9ce5\n")
    write(source / "3.txt", (captions(3)[0] + " \u00e9t\u00e9 caf\u00e9").encode("cp1252"))
    write(source / "4.txt", captions(4)[0].encode("utf-16"))
    write(source / "5.txt", "\n\n")
    write(source / "6.txt", "?!\n")
    write(source / "7.txt", "\ufeff" + "\r\n".join(captions(7)))
    write(source / "8.txt", b"")
    config.data.captions_per_image = 2

    records = build(config, source)

    left_out, repaired = counted(config)
    assert left_out == {"no caption with a word": (3, ["5", "6", "8"])}
    assert repaired == {
        "empty caption dropped": (1, ["1"]),
        "caption without a word dropped": (1, ["2"]),
        "captions not in UTF-8": (2, ["3", "4"]),
        "fewer captions than wanted": (3, ["2", "3", "4"]),
    }
    assert [len(records[str(k)]["captions"]) for k in (1, 2, 3, 4, 7)] == [10, 1, 1, 1, 10]
    assert records["3"]["captions"][0].decode().endswith("caf\u00e9")
    assert {"caf", "t"} < set(datasets.load(config).vocabulary.words)


@pytest.mark.parametrize(
    "box, kept, repair",
    [
        ([5, 6, 20, 30], [5, 6, 20, 30], None),
        ([40, 6, 21, 30], [40, 6, 21, 30], None),
        ([-10, 6, 30, 30], [0, 6, 20, 30], "box cut to the image"),
        ([50, 40, 30, 30], [50, 40, 10, 5], "box cut to the image"),
        ([80, 6, 20, 30], [0] * 4, "box empty or outside the image: whole image used"),
        ([5, 6, 0, 30], [0] * 4, "box empty or outside the image: whole image used"),
        ([5, 6, 20, -3], [0] * 4, "box empty or outside the image: whole image used"),
        ([5, 6, 20], [0] * 4, "box that is not four numbers: whole image used"),
        (["a", 6, 20, 3], [0] * 4, "box that is not four numbers: whole image used"),
        ("NaN", [0] * 4, "box that is not four numbers: whole image used"),
    ],
)
def test_boxes(config, source, box, kept, repair):
    box = "[NaN, 1, 2, 3]" if box == "NaN" else str(box).replace("'", '"')
    rows = [
        f'{{"file": "{k}.jpg", "captions": "{captions(k)[0]}", "bbox": {box}}}'
        for k in range(COUNT)
    ]
    write(source / "captions.jsonl", "\n".join(rows))

    datasets.prepare(config, str(source))

    for record in datasets.load(config).train:
        np.testing.assert_array_equal(record["bbox"], kept)
    repaired = {reason: count for reason, (count, _) in counted(config)[1].items()}
    assert repaired == ({} if repair is None else {repair: COUNT})


def test_names_with_spaces_and_names_twice(config, source):
    write(source / "a b" / "two words.jpg", encoded(30))
    write(source / "a b" / "two words.txt", captions(30)[0])
    write(source / "3.png", encoded(3, kind="PNG"))  # 3.txt can belong to one image alone

    records = build(config, source)

    assert made_up_sources.shown(records["a b/two words"]) == 30
    assert counted(config)[0] == {"listed twice": (1, ["3"])}


def test_lines_of_a_list_that_say_nothing(config, source):
    rows = [f'{{"file": "{k}.jpg", "captions": ["{captions(k)[0]}"]}}' for k in range(COUNT)]
    rows += [
        "{",
        "[1]",
        '{"file": 3, "captions": ["x"]}',
        '{"file": "3.jpg", "split": "eval"}',
        '{"file": "none.jpg", "captions": ["x"]}',
    ]
    write(source / "captions.jsonl", "\n".join(rows))

    build(config, source)

    left_out, _ = counted(config)
    assert left_out["line of captions.jsonl that names no file"] == (
        3,
        [f"captions.jsonl, line {n}" for n in (25, 26, 27)],
    )
    assert left_out["image missing"] == (1, ["none.jpg"])


def test_a_file_is_found_by_its_own_name_before_others(tmp_path):
    for name in ("a.JPG", "a.jpg", "b.JpG", "c.TXT"):
        write(tmp_path / name, name)
    for asked, found in (
        ("a.jpg", "a.jpg"),
        ("a.JPG", "a.JPG"),
        ("b.jpg", "b.JpG"),
        ("c.txt", "c.TXT"),
        ("B.jpg", None),
        ("c.md", None),
    ):
        path = image_checks.existing(tmp_path / asked)
        assert path == tmp_path / (found or asked) and path.exists() == bool(found)


def test_too_much_left_out_stops_the_build_with_the_first_ten(config, source, tmp_path):
    config.data.max_left_out = 0.01
    for k in range(12, COUNT):
        write(source / f"{k}.jpg", b"")

    with pytest.raises(UserError) as stopped:
        datasets.prepare(config, str(source))

    message = str(stopped.value)
    assert message.count("(empty file)") == 10
    assert "more than config.data.max_left_out = 0.01" in message and "\n" not in message
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_one_too_many_at_the_very_end_stops_it_too(config, source):
    config.data.max_left_out = 1 / COUNT
    write(source / "0.jpg", b"")
    build(config, source)
    config.data.data_dir += "2"
    write(source / "1.jpg", b"")
    with pytest.raises(UserError, match="2 of 24 images cannot be used, more"):
        datasets.prepare(config, str(source))


def test_a_shard_of_nothing_but_bad_pictures(config, source, monkeypatch):
    monkeypatch.setattr(photographs, "_PICTURES_PER_SHARD", 4)
    for k in range(4, 8):
        write(source / f"{k}.jpg", b"")
    rows = [
        f'{{"file": "{k}.jpg", "captions": ["{captions(k)[0]}"], '
        f'"split": "{"train" if k < 20 else "test"}"}}'
        for k in range(COUNT)
    ]
    write(source / "captions.jsonl", "\n".join(rows))

    datasets.prepare(config, str(source))

    shown = [made_up_sources.shown(record) for record in datasets.load(config).train]
    assert shown == [k for k in range(20) if not 4 <= k < 8]
    assert datasets.prepare(config, str(source)) is False


def test_a_split_of_nothing_but_bad_pictures(config, source):
    config.data.max_left_out = 1.0
    rows = [
        f'{{"file": "{k}.jpg", "captions": ["{captions(k)[0]}"], '
        f'"split": "{"train" if k < 20 else "test"}"}}'
        for k in range(COUNT)
    ]
    write(source / "captions.jsonl", "\n".join(rows))
    for k in range(20, COUNT):
        write(source / f"{k}.jpg", b"")

    with pytest.raises(UserError, match="none of the test images"):
        datasets.prepare(config, str(source))
