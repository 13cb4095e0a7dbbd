"""CUB: every form of source gives the same records, and damage never shifts a caption."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import shutil
import tarfile
import threading
import zipfile

import numpy as np
import pytest

from attngan_jax.data import archives, datasets
from attngan_jax.data.cub import Cub
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import build
from tests.tiny_configs import cub


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    made_up_sources.make_cub(folder)
    return folder


@pytest.fixture
def config(tmp_path):
    config = cub.get_config()
    config.data.data_dir = str(tmp_path / "data")
    config.data.max_left_out = 0.2
    return config


def names(records):
    return [record["name"].decode() for record in records]


def assert_every_caption_is_its_pictures(dataset):
    for record in (*dataset.train, *dataset.test):
        assert made_up_sources.is_picture(record, made_up_sources.shown(record)), record["name"]


def test_the_released_layout(config, source):
    dataset = build(config, source)

    assert len(dataset.train) == 15 and len(dataset.test) == 9 and dataset.num_classes == 200
    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}
    assert {int(record["class_id"]) for record in dataset.test} == {2, 6, 7}
    # The released lists' order, which here is the reverse of the source's.
    listed = pickle.loads((source / "train" / "filenames.pickle").read_bytes())
    assert names(dataset.train) == listed
    assert_every_caption_is_its_pictures(dataset)
    for record in dataset.train:
        k = made_up_sources.shown(record)
        file = source / "CUB_200_2011" / "images" / f"{record['name'].decode()}.jpg"
        assert record["image"] == file.read_bytes()
        assert [text.decode() for text in record["captions"]] == made_up_sources.captions(k)
        np.testing.assert_array_equal(record["bbox"], [10 + k % 5, 5, 30, 20 + k % 7])


def test_words_are_numbered_as_the_released_lists_meet_them(config, source):
    dataset = build(config, source)

    captions = [
        caption.decode()
        for record in (*dataset.train, *dataset.test)
        for caption in record["captions"]
    ]
    assert dataset.vocabulary == Vocabulary.from_captions(captions)


def test_words_come_from_captions_pickle_where_it_is(config, source):
    words = ["<end>", "feathers", "bird", "this", "unheard"]
    by_index = dict(enumerate(words))
    made_up_sources.write(
        source / "captions.pickle",
        pickle.dumps([[[1, 2]], [[3]], by_index, {word: i for i, word in by_index.items()}], 2),
    )

    dataset = build(config, source)

    assert list(dataset.vocabulary.words) == words
    report = datasets.report(config)
    assert (report["words"], report["words_from"]) == (5, "captions.pickle")
    assert report["words_without_number"] == 13


def test_a_list_of_training_classes_instead_of_the_pickles(config, source):
    before = build(config, source)
    for split in ("train", "test"):
        for file in (source / split).iterdir():
            file.unlink()
    made_up_sources.write(
        source / "trainvalclasses.txt",
        "".join(f"{number:03d}.Some_Name\n" for number in (1, 2, 4, 5, 6)),
    )
    config.data.data_dir += "2"

    dataset = build(config, source)

    assert sorted(names(dataset.train)) == sorted(names(before.train))
    assert sorted(names(dataset.test)) == sorted(names(before.test))
    assert_every_caption_is_its_pictures(dataset)


def test_reed_s_two_lists_of_training_classes(config, source):
    for split in ("train", "test"):
        (source / split / "filenames.pickle").unlink()
    made_up_sources.write(source / "trainclasses.txt", "001.A\n002.B\n004.C\n")
    made_up_sources.write(source / "valclasses.txt", "005.D\n006.E\n")

    dataset = build(config, source)

    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}


def _pack(source, target):
    """As published: the images in a .tgz, and a zip of lists with a zip of the texts in it."""
    target.mkdir()
    with tarfile.open(target / "CUB_200_2011.tgz", "w:gz") as packed:
        packed.add(source / "CUB_200_2011", "CUB_200_2011")
    with zipfile.ZipFile(source / "text.zip", "w") as packed:
        for file in sorted((source / "text").rglob("*.txt")):
            packed.write(file, file.relative_to(source))
    with zipfile.ZipFile(target / "birds.zip", "w") as packed:
        packed.write(source / "text.zip", "birds/text.zip")
        for file in sorted(source.glob("t*/*.pickle")):
            packed.write(file, f"birds/{file.relative_to(source)}")


def test_archives_as_published(config, source, tmp_path):
    before = build(config, source)
    _pack(source, tmp_path / "packed")
    config.data.data_dir += "2"

    dataset = build(config, tmp_path / "packed")

    assert names(dataset.train) == names(before.train)
    assert names(dataset.test) == names(before.test)
    assert_every_caption_is_its_pictures(dataset)
    assert not list((tmp_path / "data2").rglob("unpacked"))


def test_a_damaged_archive_is_named(config, source, tmp_path):
    _pack(source, tmp_path / "packed")
    archive = tmp_path / "packed" / "CUB_200_2011.tgz"
    archive.write_bytes(archive.read_bytes()[:-3000])

    with pytest.raises(UserError, match="CUB_200_2011.tgz is damaged or cut short.*SHA-256"):
        datasets.prepare(config, str(tmp_path / "packed"))

    assert not list((tmp_path / "data").rglob("*.array_record*"))


def test_names_in_archives_that_lead_outside_are_passed_over(config, source, tmp_path):
    _pack(source, tmp_path / "packed")
    with zipfile.ZipFile(tmp_path / "packed" / "evil.zip", "w") as packed:
        packed.writestr("../../../../../evil.txt", "evil")
        packed.writestr("/tmp/evil_of_a_zip.txt", "evil")

    build(config, tmp_path / "packed")

    assert not list(tmp_path.rglob("evil*.txt"))


def _zip_in_zip(depth):
    content = b"word"
    for _ in range(depth):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr("more.zip" if content != b"word" else "more.txt", content)
        content = buffer.getvalue()
    return content


@pytest.mark.parametrize(
    "members, complaint",
    [
        ([("large.txt", b"0" * 2_000_000)], "unpacks to more than 0.001 GB"),
        ([("more.zip", _zip_in_zip(4))], "lies in 3 others"),
        ([("a.txt", b"1"), ("a.txt/b.txt", b"2")], "cannot be unpacked .*a.txt"),
        ([("a.txt/b.txt", b"1"), ("a.txt", b"2")], "cannot be unpacked .*a.txt"),
        ([("long" * 80 + ".txt", b"1")], "cannot be unpacked .*too long"),
    ],
    ids=["large", "deep", "file then folder", "folder then file", "long name"],
)
def test_archives_that_cannot_be_unpacked_are_named(tmp_path, monkeypatch, members, complaint):
    monkeypatch.setattr(archives, "MAX_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "odd.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)

    with pytest.raises(UserError, match=rf"(odd|more)\.zip.*{complaint}.*where from"):
        archives.unpack([tmp_path / "odd.zip"], tmp_path / "unpacked", "where from")

    assert sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("*.txt")) <= 1_000_000


def test_an_archive_with_a_password_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "locked.zip", "w") as packed:
        packed.writestr("a.txt", "1")
    data = bytearray((tmp_path / "locked.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    data[data.index(b"PK\3\4") + 6] |= 1
    (tmp_path / "locked.zip").write_bytes(data)

    with pytest.raises(UserError, match="locked.zip.*password required"):
        archives.unpack([tmp_path / "locked.zip"], tmp_path / "unpacked", "where from")


@pytest.fixture
def server(tmp_path):
    """Serves `tmp_path`/served on this machine; gives its address."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served")
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_pictures_are_downloaded_where_they_alone_are_missing(
    config, source, tmp_path, server, monkeypatch
):
    archive = tmp_path / "served" / "CUB_200_2011.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(source / "CUB_200_2011", "CUB_200_2011")
    shutil.rmtree(source / "CUB_200_2011")
    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/CUB_200_2011.tgz")

    with pytest.raises(UserError, match="is not the CUB_200_2011.tgz that was published"):
        datasets.prepare(config, str(source))
    monkeypatch.setattr(Cub, "IMAGES_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert_every_caption_is_its_pictures(build(config, source))

    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/nothing.tgz")
    config.data.data_dir += "2"
    with pytest.raises(UserError, match="nothing.tgz cannot be downloaded.*65de6-vp158"):
        datasets.prepare(config, str(source))


@pytest.mark.parametrize(
    "lost, complaint",
    [
        ("text", r"lacks text/<class>.*birds\.zip"),
        ("train", "which images to train on.*trainvalclasses.txt"),
    ],
)
def test_what_is_missing_is_asked_for_by_name(config, source, lost, complaint):
    shutil.rmtree(source / lost)

    with pytest.raises(UserError, match=complaint):
        datasets.prepare(config, str(source))


def test_a_folder_of_something_else(config, tmp_path):
    with pytest.raises(UserError, match="lacks CUB_200_2011/ with images.txt.*0c685df5597a"):
        datasets.prepare(config, str(tmp_path))


def test_without_a_source_the_files_are_asked_for_by_name(config):
    with pytest.raises(UserError, match="--source FOLDER.*CUB_200_2011.tgz, SHA-256"):
        datasets.check(config)


def reasons(config, key):
    return {reason: row["count"] for reason, row in datasets.report(config)[key].items()}


def test_lists_that_disagree_in_length(config, source):
    for split in ("train", "test"):
        path = source / split / "class_info.pickle"
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes())[1:], 2))
    path = source / "CUB_200_2011" / "bounding_boxes.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "2 nonsense", *lines[4:]]) + "\n")

    dataset = build(config, source)

    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}
    for record in dataset.train:
        k = made_up_sources.shown(record)
        box = [0, 0, 0, 0] if k in (1, 2, 3) else [10 + k % 5, 5, 30, 20 + k % 7]
        np.testing.assert_array_equal(record["bbox"], box)
        assert record["class_id"] == k // 3
    assert reasons(config, "repaired") == {
        "class_info.pickle and filenames.pickle disagree in length: classes from folder names": 2,
        "no box listed: whole image used": 3,
    }


def test_endings_in_capitals_and_pictures_of_no_list(config, source):
    images, texts = source / "CUB_200_2011" / "images", source / "text"
    listed = [
        name
        for split in ("train", "test")
        for name in pickle.loads((source / split / "filenames.pickle").read_bytes())
    ]
    for name in listed[:6]:
        (images / f"{name}.jpg").rename(images / f"{name}.JPG")
        (texts / f"{name}.txt").rename(texts / f"{name}.Txt")
    for extra in ("001.Black_footed_Albatross/extra.JPEG", "009.New/one.jpg", ".hidden/two.jpg"):
        made_up_sources.write(images / extra, made_up_sources.encoded(30))

    dataset = build(config, source)

    assert sorted(names(dataset.train) + names(dataset.test)) == sorted(listed)
    assert_every_caption_is_its_pictures(dataset)
    report = datasets.report(config)
    assert report["left_out"] == {} and report["listed"] == 24
    assert report["repaired"] == {
        "image that is not listed ignored": {
            "count": 2,
            "first": ["001.Black_footed_Albatross/extra.JPEG", "009.New/one.jpg"],
        }
    }


def test_class_numbers_that_are_shifted(config, source):
    path = source / "train" / "class_info.pickle"
    ids = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(ids[1:] + ids[:1], 2))

    dataset = build(config, source)

    assert all(record["class_id"] == made_up_sources.shown(record) // 3 for record in dataset.train)
    assert reasons(config, "repaired") == {
        "class number differs from its folder's: folder's used": 5
    }


class Foreign:
    """A pickle of it would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_with_foreign_objects_are_not_run(config, source, tmp_path):
    trap = tmp_path / "trap"
    for file in ("train/class_info.pickle", "captions.pickle"):
        (source / file).write_bytes(pickle.dumps([Foreign(trap)], 2))

    dataset = build(config, source)

    assert not trap.exists() and len(dataset.train) == 15
    assert reasons(config, "repaired") == {
        "class_info.pickle not used: classes from folder names": 1,
        "captions.pickle not used: words numbered anew": 1,
    }
    (source / "train" / "filenames.pickle").write_bytes(pickle.dumps([Foreign(trap)], 2))
    config.data.data_dir += "2"
    with pytest.raises(UserError, match="filenames.pickle is not read: it asks for"):
        datasets.prepare(config, str(source))
    assert not trap.exists()


@pytest.mark.parametrize("words", [["<end>", "two words"], ["<end>", "", "small"]])
def test_a_captions_pickle_with_words_that_are_none_is_not_used(config, source, words):
    made_up_sources.write(
        source / "captions.pickle", pickle.dumps([[], [], dict(enumerate(words)), {}], 2)
    )

    assert "small" in build(config, source).vocabulary.words

    report = datasets.report(config)
    assert report["words_from"] == "captions"
    assert "captions.pickle not used: words numbered anew" in report["repaired"]


@pytest.mark.parametrize("name", ["images.txt", "bounding_boxes.txt"])
def test_a_list_that_begins_with_a_byte_order_mark(config, source, name):
    path = source / "CUB_200_2011" / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    build(config, source)

    assert datasets.report(config)["repaired"] == {}


def test_a_folder_in_place_of_a_list_is_named(config, source):
    shutil.rmtree(source / "train")
    (source / "trainvalclasses.txt").mkdir()
    with pytest.raises(UserError, match="trainvalclasses.txt is a folder"):
        datasets.prepare(config, str(source))
