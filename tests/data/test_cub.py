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
from tests.made_up_sources import build, counts, encoded, records, shown, vocabulary_of, write


@pytest.fixture
def source(tmp_path):
    made_up_sources.make_cub(tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture
def config(tmp_path):
    return made_up_sources.config_for("cub", tmp_path)


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
    assert dataset.vocabulary == vocabulary_of(captions)


def test_words_come_from_captions_pickle_where_it_is(config, source):
    words = ["<end>", "feathers", "bird", "this", "unheard"]
    by_index = dict(enumerate(words))
    by_word = {word: i for i, word in by_index.items()}
    write(source / "captions.pickle", pickle.dumps([[[1, 2]], [[3]], by_index, by_word], 2))

    dataset = build(config, source)

    assert list(dataset.vocabulary.words) == words
    report = dataset.report
    assert (report["words"], report["words_from"]) == (5, "captions.pickle")
    assert report["words_without_number"] == 13


ONE_LIST = "".join(f"{number:03d}.Some_Name\n" for number in (1, 2, 4, 5, 6))
TWO_LISTS = ("001.A\n002.B\n004.C\n", "005.D\n006.E\n")
CLASS_LISTS = {
    "one list": {"trainvalclasses.txt": ONE_LIST},
    "Reed et al.'s two": dict(zip(("trainclasses.txt", "valclasses.txt"), TWO_LISTS)),
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

    with pytest.raises(UserError, match="CUB_200_2011.tgz is damaged or cut short.*SHA-256"):
        datasets.prepare(config, str(packed))

    assert not list((tmp_path / "data").rglob("*.array_record*"))


def _zipped(members, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)


def _zip_in_zip(depth):
    content = b"word"
    for _ in range(depth):
        buffer = io.BytesIO()
        _zipped([("more.zip" if content != b"word" else "more.txt", content)], buffer)
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
    _zipped(members, tmp_path / "odd.zip")

    with pytest.raises(UserError, match=rf"(odd|more)\.zip.*{complaint}.*where from"):
        archives.unpack([tmp_path / "odd.zip"], tmp_path / "unpacked", "where from")

    assert sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("*.txt")) <= 1_000_000


def test_an_archive_does_not_unpack_to_more_than_it_declares(tmp_path):
    _zipped([("a.txt", b"0" * 2_000_000)], tmp_path / "false.zip")
    content = (tmp_path / "false.zip").read_bytes()
    declared = (2_000_000).to_bytes(4, "little")
    assert content.count(declared) == 2
    (tmp_path / "false.zip").write_bytes(content.replace(declared, (10).to_bytes(4, "little")))

    with pytest.raises(UserError, match="false.zip is damaged"):
        archives.unpack([tmp_path / "false.zip"], tmp_path / "unpacked", "where from")

    assert sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("*.txt")) <= 10


def test_an_archive_with_a_password_is_named(tmp_path):
    _zipped([("a.txt", "1")], tmp_path / "locked.zip")
    data = bytearray((tmp_path / "locked.zip").read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    data[data.index(b"PK\3\4") + 6] |= 1
    (tmp_path / "locked.zip").write_bytes(data)

    with pytest.raises(UserError, match="locked.zip.*password required"):
        archives.unpack([tmp_path / "locked.zip"], tmp_path / "unpacked", "where from")


@pytest.fixture
def server(packed):
    """Serves the packed files on this machine; gives its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(packed))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_images_are_downloaded_where_they_alone_are_missing(
    config, source, packed, server, monkeypatch
):
    shutil.rmtree(source / "CUB_200_2011")
    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/CUB_200_2011.tgz")

    with pytest.raises(UserError, match="is not the CUB_200_2011.tgz that was published"):
        datasets.prepare(config, str(source))
    sha256 = hashlib.sha256((packed / "CUB_200_2011.tgz").read_bytes()).hexdigest()
    monkeypatch.setattr(Cub, "IMAGES_SHA256", sha256)
    assert_like_the_released_layout(build(config, source), source)

    monkeypatch.setattr(Cub, "IMAGES_URL", f"{server}/nothing.tgz")
    config.data.data_dir += "2"
    with pytest.raises(UserError, match="nothing.tgz cannot be downloaded.*65de6-vp158"):
        datasets.prepare(config, str(source))


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

    with pytest.raises(UserError, match=complaint):
        datasets.prepare(config, str(source))


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
    assert counts(dataset, "repaired") == {
        "class_info.pickle not used: classes from folder names": 1,
        "captions.pickle not used: words numbered anew": 1,
    }
    (source / "train" / "filenames.pickle").write_bytes(pickle.dumps([Foreign(trap)], 2))
    config.data.data_dir += "2"
    with pytest.raises(UserError, match="filenames.pickle is not read: it asks for"):
        datasets.prepare(config, str(source))
    assert not trap.exists()


@pytest.mark.parametrize("words", [["<end>", "two words"], ["<end>", "", "small"]])
def test_a_captions_pickle_of_something_else_than_words_is_not_used(config, source, words):
    write(source / "captions.pickle", pickle.dumps([[], [], dict(enumerate(words)), {}], 2))

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
    with pytest.raises(UserError, match="trainvalclasses.txt is a folder"):
        datasets.prepare(config, str(source))
