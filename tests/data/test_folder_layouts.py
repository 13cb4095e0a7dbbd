"""Folders as people have them: where captions may lie, and what is said of those that can't be."""

import csv
import io
import json
import logging
import unicodedata
from pathlib import PurePosixPath

import pytest

from attngan_jax.data.folder import join_texts
from attngan_jax.data.vocabulary import Vocabulary
from tests import made_up_sources
from tests.made_up_sources import build, captions, encoded, records, shown, write

DATASET, COUNT = "folder", 12


@pytest.fixture
def config(config):
    config.folder.test_fraction = 0.25
    config.data.captions_per_image = 1
    return config


def images(folder, name="{}.jpg", count=COUNT):
    for k in range(count):
        write(folder / name.format(k), encoded(k))


def assert_complete(config, folder, num_captions=2):
    """The dataset of a folder, which must have all images, each with its own captions."""
    dataset = build(config, folder)
    assert sorted(map(shown, records(dataset))) == list(range(COUNT))
    assert all(made_up_sources.is_whole(record) for record in records(dataset))
    assert {len(record["captions"]) for record in records(dataset)} == {num_captions}
    assert dataset.report["left_out"] == {}
    return dataset


def write_pairs(folder, image, text, names):
    """Image k and its captions, in files whose names are templates filled with `names[k]`."""
    for k, values in enumerate(names):
        write(folder / image.format(**values), encoded(k))
        write(folder / text.format(**values), "\n".join(captions(k, 2)))


def table(rows, delimiter=","):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    "image, text",
    [
        ("jpg/image_{k:05}.jpg", "text_c10/class_{c:05}/image_{k:05}.txt"),
        ("jpg/class_{c:05}/image_{k:05}.jpg", "text/image_{k:05}.txt"),
        ("images/{c:03}.Bird_{c}/{k}.jpg", "text/{c:03}.Bird_{c}/{k}.txt"),
    ],
)
def test_texts_in_a_tree_of_their_own_and_folders_of_classes(image, text, config, tmp_path):
    write_pairs(tmp_path, image, text, [{"k": k, "c": k % 5} for k in range(COUNT)])
    dataset = assert_complete(config, tmp_path)
    assert dataset.num_classes == 5
    assert {(shown(record), record["class_id"]) for record in records(dataset)} == {
        (k, k % 5) for k in range(COUNT)
    }


@pytest.mark.parametrize(
    "image, text",
    [
        ("{split}/{k}.jpg", "{split}/{k}.txt"),
        ("{split}/images/{n}.jpg", "{split}/labels/{n}.txt"),
        ("images/{split}/red/{n}.jpg", "texts/{split}/{n}.txt"),
    ],
)
def test_folders_of_splits_are_the_splits(image, text, config, tmp_path):
    names = [{"k": k, "n": k // 2, "split": ("Train", "val")[k % 2]} for k in range(COUNT)]
    write_pairs(tmp_path, image, text, names)
    dataset = assert_complete(config, tmp_path)
    assert sorted(map(shown, dataset.train)) == list(range(0, COUNT, 2))


def test_a_folder_of_one_split_alone_is_none(config, tmp_path):
    images(tmp_path / "train")
    for k in range(COUNT):
        write(tmp_path / "train" / f"{k}.txt", "\n".join(captions(k, 2)))
    assert len(assert_complete(config, tmp_path).test) == 3


def test_texts_in_two_trees_of_the_same_folders(config, tmp_path):
    places = [{"folder": "ab"[k % 2], "n": k // 2} for k in range(COUNT)]
    image, text = "images/{folder}/{n}.jpg", "captions/{folder}/{n}.txt"
    write_pairs(tmp_path, image, text, places)
    assert_complete(config, tmp_path)


def test_a_text_that_two_images_could_have_is_given_to_neither():
    paths = [PurePosixPath(name) for name in ("a/1.jpg", "b/1.jpg")]
    text = PurePosixPath("texts/1.txt")
    assert join_texts(paths, [text]) == {}
    assert join_texts(paths[:1], [text]) == {"a/1.jpg": "texts/1.txt"}
    beside = PurePosixPath("a/1.jpg.txt")
    assert join_texts(paths, [text, beside])["a/1.jpg"] == "a/1.jpg.txt"


def test_other_endings(config, tmp_path):
    endings = ("jfif", "JPE", "jpeg", "pjpeg")
    for k in range(COUNT):
        write(tmp_path / f"{k}.{endings[k % 4]}", encoded(k))
        write(tmp_path / f"{k}.txt", "\n".join(captions(k, 2)))
    write(tmp_path / "phone.heic", b"\0")
    dataset = assert_complete(config, tmp_path)
    ignored = dataset.report["repaired"]["image of a kind that is not read (.heic) ignored"]
    assert ignored["first"] == ["phone.heic"]


LISTS = {
    "a row a caption": (
        "results.csv",
        table(
            [("image", "caption"), *((f"{k}.jpg", t) for k in range(12) for t in captions(k, 2))]
        ),
    ),
    "a row an image": (
        "data.tsv",
        table(
            [
                ("File Name", "text_1", "text_2"),
                *((f"{k}.jpg", *captions(k, 2)) for k in range(12)),
            ],
            "\t",
        ),
    ),
    "without names": (
        "captions.txt",
        table([(f"{k}.jpg#{n}", t) for k in range(12) for n, t in enumerate(captions(k, 2))], "\t"),
    ),
    "with bars": (
        "results.csv",
        "image_name| comment_number| comment\n"
        + "".join(f"{k}.jpg| {n}| {t}\n" for k in range(12) for n, t in enumerate(captions(k, 2))),
    ),
    "any name": (
        "my list.jsonl",
        jsonl({"path": f"{k}.jpg", "captions": captions(k, 2)} for k in range(12)),
    ),
    "only the stem": (
        "list.csv",
        table([("image_id", "caption"), *((str(k), t) for k in range(12) for t in captions(k, 2))]),
    ),
    "a folder that is gone": (
        "captions.jsonl",
        jsonl({"file": f"old/place/{k}.jpg", "captions": captions(k, 2)} for k in range(12)),
    ),
    "one value of JSON": (
        "captions.json",
        json.dumps([{"image": f"{k}.jpg", "caption": captions(k, 2)} for k in range(12)]),
    ),
    "captions by name": (
        "captions.json",
        json.dumps({f"{k}.jpg": captions(k, 2) for k in range(12)}),
    ),
    "a list in a cell": (
        "list.csv",
        table(
            [
                ("image", "raw captions", "captions"),
                *(
                    (f"{k}.jpg", "x", json.dumps(captions(k, 2)) if k % 2 else str(captions(k, 2)))
                    for k in range(12)
                ),
            ]
        ),
    ),
    "a folder further down": (
        "annotations/list.tsv",
        table(
            [("image", "caption"), *((f"{k}.jpg", t) for k in range(12) for t in captions(k, 2))],
            "\t",
        ),
    ),
    "another machine's folder": (
        "list.csv",
        table(
            [
                ("image", "caption"),
                *((f"/home/me/{k}.jpg", t) for k in range(12) for t in captions(k, 2)),
            ]
        ),
    ),
    "backslashes": (
        "captions.jsonl",
        jsonl({"file": f"images\\{k}.jpg", "captions": captions(k, 2)} for k in range(12)),
    ),
    "a row a caption of JSON": (
        "captions.jsonl",
        jsonl(
            {"file": f"images/{k}.jpg", "captions": t} for k in range(12) for t in captions(k, 2)
        ),
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists(config, tmp_path, name):
    images(tmp_path / "images")
    file, content = LISTS[name]
    write(tmp_path / file, content)
    assert_complete(config, tmp_path)


def test_an_imagefolder_with_metadata_in_each_split(config, tmp_path):
    for split, numbers in (("train", range(9)), ("validation", range(9, COUNT))):
        for k in numbers:
            write(tmp_path / split / f"{k}.jpg", encoded(k))
        rows = [
            {
                "file_name": f"{k}.jpg",
                "text": captions(k, 1)[0],
                "label": "odd" if k % 2 else "even",
            }
            for k in numbers
        ]
        write(tmp_path / split / "metadata.jsonl", jsonl(rows))
    dataset = assert_complete(config, tmp_path, num_captions=1)
    assert sorted(map(shown, dataset.train)) == list(range(9))
    classes = {shown(record) % 2: record["class_id"] for record in records(dataset)}
    assert dataset.num_classes == 2 and classes == {0: 0, 1: 1}


@pytest.mark.parametrize("there, listed", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_composed_or_not(config, tmp_path, there, listed):
    name = unicodedata.normalize(there, "m\u00e9sange {}.jpg")
    images(tmp_path, name)
    for k in range(0, COUNT, 2):  # half in texts, half in a list
        text = unicodedata.normalize(listed, f"m\u00e9sange {k}.txt")
        write(tmp_path / "texts" / text, "\n".join(captions(k, 2)))
    for k in range(1, COUNT, 2):
        write(tmp_path / name.format(k).replace("jpg", "txt"), "\n".join(captions(k, 2)))
    assert_complete(config, tmp_path)
    config.folder.title = "listed"
    rows = [
        {"file": unicodedata.normalize(listed, f"m\u00e9sange {k}.jpg"), "captions": captions(k, 2)}
        for k in range(COUNT)
    ]
    write(tmp_path / "captions.jsonl", jsonl(rows))
    assert_complete(config, tmp_path)


def test_one_class_for_all_is_none(config, tmp_path):
    images(tmp_path)
    rows = [{"file": f"{k}.jpg", "captions": captions(k, 2), "class": "x"} for k in range(COUNT)]
    write(tmp_path / "captions.jsonl", jsonl(rows))
    dataset = assert_complete(config, tmp_path)
    assert dataset.num_classes == 0
    assert "one class for all images: counted as no classes" in dataset.report["repaired"]


def test_what_was_found_instead_is_said_with_lines_that_would_do(config, tmp_path, caplog):
    images(tmp_path / "pictures")
    write(tmp_path / "notes" / "about.txt", "some notes")
    write(tmp_path / "labels.csv", "id,label\n1,red\n")
    write(tmp_path / "text.zip", "")
    with caplog.at_level(logging.INFO):
        made_up_sources.assert_refused(
            config,
            tmp_path,
            "12 images, such as pictures/0.jpg, and no text beside any; it has 1 texts of other "
            "names, such as notes/about.txt; labels.csv has the columns id, label, .*; "
            "text.zip must be unpacked",
        )
    lines = [json.loads(line) for line in caplog.text.splitlines() if line.startswith("{")]
    assert [line["file"] for line in lines] == [f"pictures/{k}.jpg" for k in (0, 1, 10)]


def test_captions_in_any_language(config, tmp_path):
    images(tmp_path)
    for k in range(COUNT):
        write(
            tmp_path / f"{k}.txt",
            f"{captions(k, 1)[0]} \u4e00\u53ea\u5c0f\u9e1f caf\u00e9 \U0001f426\n",
        )
    config.data.tokenizer = "unicode"
    dataset = assert_complete(config, tmp_path, num_captions=1)
    assert {"\u4e00", "\u53ea", "\u5c0f", "\u9e1f", "caf\u00e9"} < set(dataset.vocabulary.words)
    assert dataset.vocabulary == Vocabulary.load(dataset.folder / "vocabulary.txt")
    dropped = dataset.report["dropped_characters"]
    assert (dropped["characters"], dropped["captions"]) == (COUNT, COUNT)
    assert dropped["most"] == {"\U0001f426": COUNT}
    config.data.tokenizer = "ascii"  # other words of the same records
    other = assert_complete(config, tmp_path, num_captions=1)
    assert "caf" in other.vocabulary.words and "\u9e1f" not in other.vocabulary.words
    assert other.report["dropped_characters"]["characters"] == 6 * COUNT


@pytest.mark.parametrize("count, split", [(5, "train"), (5, "val"), (1, None)])
def test_a_split_without_images_says_what_to_do(config, tmp_path, count, split):
    images(tmp_path, count=count)
    rows = [{"file": f"{k}.jpg", "captions": captions(k, 1), "split": split} for k in range(count)]
    write(tmp_path / "captions.jsonl", jsonl(rows))
    made_up_sources.assert_refused(
        config, tmp_path, f'has no .* images among its {count}, .*"split": "test"'
    )
