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
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import build, captions_pickle, counts, encoded, records, shown, write

DATASET = "cub"


def names(split):
    return [record["name"].decode() for record in split]


def listed(source):
    """The names in the released lists."""
    files = (source / split / "filenames.pickle" for split in ("train", "test"))
    return [pickle.loads(file.read_bytes()) for file in files]


def assert_like_the_released_layout(dataset, source):
    """Of the same records, with the splits in any order."""
    splits = (dataset.train, dataset.test)
    assert [sorted(names(split)) for split in splits] == [sorted(split) for split in listed(source)]
    assert all(map(made_up_sources.is_whole, records(dataset)))


def test_the_released_layout(config, source):
    dataset = build(config, source)
    assert len(dataset.train) == 15 and len(dataset.test) == 9 and dataset.num_classes == 200
    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}
    assert {int(record["class_id"]) for record in dataset.test} == {2, 6, 7}
    # The released lists' order, which here is the reverse of the source's.
    assert [names(dataset.train), names(dataset.test)] == listed(source)
    assert_like_the_released_layout(dataset, source)
    for record in dataset.train:
        k = shown(record)
        file = source / "CUB_200_2011" / "images" / f"{record['name'].decode()}.jpg"
        assert record["image"] == file.read_bytes()
        assert [text.decode() for text in record["captions"]] == made_up_sources.captions(k)
        np.testing.assert_array_equal(record["bbox"], [10 + k % 5, 5, 30, 20 + k % 7])
    captions = [text.decode() for record in records(dataset) for text in record["captions"]]
    assert dataset.vocabulary == made_up_sources.vocabulary_of(captions)


def test_words_come_from_captions_pickle_where_it_is(config, source):
    words = ["<end>", "feathers", "bird", "this", "unheard"]
    write(source / "captions.pickle", captions_pickle(words, [[1, 2]], [[3]]))
    dataset = build(config, source)
    assert list(dataset.vocabulary.words) == words
    report = dataset.report
    assert (report["words"], report["words_from"]) == (5, "captions.pickle")
    assert report["words_without_number"] == 13


LISTS = "001.A\n002.B\n004.C\n", "005.D\n006.E\n"
CLASS_LISTS = {
    "one list": {"trainvalclasses.txt": "".join(LISTS)},
    "Reed et al.'s two": dict(zip(("trainclasses.txt", "valclasses.txt"), LISTS)),
}


@pytest.mark.parametrize("lists", CLASS_LISTS.values(), ids=CLASS_LISTS)
def test_lists_of_training_classes_instead_of_the_pickles(config, source, tmp_path, lists):
    for split in ("train", "test"):
        (source / split).rename(tmp_path / split)
    for name, content in lists.items():
        write(source / name, content)
    dataset = build(config, source)
    assert_like_the_released_layout(dataset, tmp_path)
    assert {int(record["class_id"]) for record in dataset.train} == {0, 1, 3, 4, 5}


@pytest.fixture
def packed(source, tmp_path):
    """As published: the images in a .tgz, and a zip of lists with a zip of the texts in it."""
    target = tmp_path / "packed"
    target.mkdir()
    with tarfile.open(target / "CUB_200_2011.tgz", "w:gz") as archive:
        archive.add(source / "CUB_200_2011", "CUB_200_2011")
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        for file in sorted((source / "text").rglob("*.txt")):
            archive.write(file, file.relative_to(source))
    with zipfile.ZipFile(target / "birds.zip", "w") as archive:
        archive.write(tmp_path / "text.zip", "birds/text.zip")
        for file in sorted(source.glob("t*/*.pickle")):
            archive.write(file, f"birds/{file.relative_to(source)}")
    return target


def test_archives_as_published(config, source, packed, tmp_path):
    with zipfile.ZipFile(packed / "evil.zip", "w") as archive:
        archive.writestr("../../../../../evil.txt", "evil")
        archive.writestr("/tmp/evil_of_a_zip.txt", "evil")
    dataset = build(config, packed)
    assert [names(dataset.train), names(dataset.test)] == listed(source)
    assert_like_the_released_layout(dataset, source)
    assert not list((tmp_path / "data").rglob("unpacked"))
    assert not list(tmp_path.rglob("evil*.txt")) and not os.path.exists("/tmp/evil_of_a_zip.txt")


def test_a_damaged_archive_is_named(config, packed, tmp_path):
    archive = packed / "CUB_200_2011.tgz"
    archive.write_bytes(archive.read_bytes()[:-3000])
    complaint = "CUB_200_2011.tgz is damaged or cut short.*SHA-256"
    made_up_sources.assert_refused(config, packed, complaint)
    assert not list((tmp_path / "data").rglob("*.array_record*"))


def _zip(*members):
    """The bytes of a zip of names and contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return buffer.getvalue()


DEEP = _zip(("more.txt", b"word"))
for _ in range(4):
    DEEP = _zip(("more.zip", DEEP))
SIZE, FALSE_SIZE = ((size).to_bytes(4, "little") for size in (2_000_000, 10))
LARGE = _zip(("large.txt", b"0" * 2_000_000))
# The lowest bit of the flags, in both headers, says that there is a password.
HEADERS = (b"PK\3\4\x14\0", b"PK\1\2\x14\3\x14\0")
LOCKED = _zip(("a.txt", b"1"))
for header in HEADERS:
    LOCKED = LOCKED.replace(header + b"\0", header + b"\1")
ODD = {
    "large": (LARGE, "unpacks to more than 0.001 GB"),
    "larger than declared": (LARGE.replace(SIZE, FALSE_SIZE), "is damaged"),
    "deep": (DEEP, "lies in 3 others"),
    "file, folder": (_zip(("a.txt", b"1"), ("a.txt/b.txt", b"2")), "cannot be unpacked .*a.txt"),
    "folder, file": (_zip(("a.txt/b.txt", b"1"), ("a.txt", b"2")), "cannot be unpacked .*a.txt"),
    "long name": (_zip(("long" * 80 + ".txt", b"1")), "cannot be unpacked .*too long"),
    "password": (LOCKED, "password required"),
}


@pytest.mark.parametrize("content, complaint", ODD.values(), ids=ODD)
def test_archives_that_cannot_be_unpacked_are_named(tmp_path, monkeypatch, content, complaint):
    monkeypatch.setattr(archives, "MAX_BYTES", 1_000_000)
    write(tmp_path / "odd.zip", content)
    with pytest.raises(UserError, match=rf"(odd|more)\.zip.*{complaint}.*where from"):
        archives.unpack([tmp_path / "odd.zip"], tmp_path / "unpacked", "where from")
    written = [path for path in (tmp_path / "unpacked").rglob("*.txt") if path.is_file()]
    assert sum(path.stat().st_size for path in written) <= 10


@pytest.fixture
def server(packed):
    """Serves the packed files on this machine; gives its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_missing_images_are_downloaded(config, source, packed, server, monkeypatch):
    shutil.rmtree(source / "CUB_200_2011")
    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/CUB_200_2011.tgz")
    made_up_sources.assert_refused(config, source, "is not the CUB_200_2011.tgz that was published")
    sha256 = hashlib.sha256((packed / "CUB_200_2011.tgz").read_bytes()).hexdigest()
    monkeypatch.setattr(Cub, "IMAGES_SHA256", sha256)
    assert_like_the_released_layout(build(config, source), source)
    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/nothing.tgz")
    config.data.data_dir += "2"
    made_up_sources.assert_refused(config, source, "nothing.tgz cannot be downloaded.*65de6-vp158")


@pytest.mark.parametrize(
    "lost, complaint",
    [
        ("text", r"lacks text/<class>.*birds\.zip"),
        ("train", "which images to train on.*trainvalclasses.txt"),
        (".", "lacks CUB_200_2011/ with images.txt.* and text/<class>.*0c685df5597a"),
    ],
)
def test_what_is_missing_is_asked_for_by_name(config, source, lost, complaint):
    shutil.rmtree(source / lost)
    source.mkdir(exist_ok=True)
    made_up_sources.assert_refused(config, source, complaint)


def test_without_a_source_the_files_are_asked_for_by_name(config):
    with pytest.raises(UserError, match="--source FOLDER.*CUB_200_2011.tgz, SHA-256"):
        datasets.check(config)


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
        k = shown(record)
        box = [0, 0, 0, 0] if k in (1, 2, 3) else [10 + k % 5, 5, 30, 20 + k % 7]
        np.testing.assert_array_equal(record["bbox"], box)
        assert record["class_id"] == k // 3
    assert counts(dataset, "repaired") == {
        "class_info.pickle and filenames.pickle disagree in length: classes from folder names": 2,
        "no box listed: whole image used": 3,
    }


def test_suffixes_in_capitals_and_images_of_no_list(config, source):
    images, texts = source / "CUB_200_2011" / "images", source / "text"
    for name in listed(source)[0][:6]:
        (images / f"{name}.jpg").rename(images / f"{name}.JPG")
        (texts / f"{name}.txt").rename(texts / f"{name}.Txt")
    extras = ["001.Black_footed_Albatross/extra.JPEG", "009.New/one.jpg"]
    for extra in (*extras, ".hidden/two.jpg"):
        write(images / extra, encoded(30))
    dataset = build(config, source)
    assert_like_the_released_layout(dataset, source)
    assert dataset.report["left_out"] == {} and dataset.report["listed"] == 24
    ignored = {"count": 2, "first": extras}
    assert dataset.report["repaired"] == {"image that is not listed ignored": ignored}


def test_class_numbers_that_are_shifted(config, source):
    path = source / "train" / "class_info.pickle"
    ids = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(ids[1:] + ids[:1], 2))
    dataset = build(config, source)
    assert all(record["class_id"] == shown(record) // 3 for record in dataset.train)
    expected = {"class number differs from its folder's: folder's used": 5}
    assert counts(dataset, "repaired") == expected


def test_pickles_with_foreign_objects_are_not_run(config, source, tmp_path):
    trap = tmp_path / "trap"
    foreign = f"(lcos\nmkdir\n(V{trap}\ntRa."  # read as a pickle, [os.mkdir(trap)]
    for file in ("train/class_info.pickle", "captions.pickle"):
        write(source / file, foreign)
    dataset = build(config, source)
    assert not trap.exists() and len(dataset.train) == 15
    assert counts(dataset, "repaired") == {
        "class_info.pickle not used: classes from folder names": 1,
        "captions.pickle not used: words numbered anew": 1,
    }
    write(source / "train" / "filenames.pickle", foreign)
    config.data.data_dir += "2"
    made_up_sources.assert_refused(config, source, "filenames.pickle is not read: it asks for")
    assert not trap.exists()
    with pytest.raises(FileNotFoundError):  # what it does when it is run
        pickle.loads(foreign.replace("trap", "none/trap").encode())


@pytest.mark.parametrize("words", [["<end>", "two words"], ["<end>", "", "small"]])
def test_a_captions_pickle_of_something_else_than_words_is_not_used(config, source, words):
    write(source / "captions.pickle", captions_pickle(words))
    dataset = build(config, source)
    assert "small" in dataset.vocabulary.words and dataset.report["words_from"] == "captions"
    assert "captions.pickle not used: words numbered anew" in dataset.report["repaired"]


@pytest.mark.parametrize("name", ["images.txt", "bounding_boxes.txt"])
def test_a_list_that_begins_with_a_byte_order_mark(config, source, name):
    path = source / "CUB_200_2011" / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert build(config, source).report["repaired"] == {}


def test_a_folder_in_place_of_a_list_is_named(config, source):
    shutil.rmtree(source / "train")
    (source / "trainvalclasses.txt").mkdir()
    made_up_sources.assert_refused(config, source, "trainvalclasses.txt is a folder")
