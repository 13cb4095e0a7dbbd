"""A folder of one's own: texts beside images or a list, splits that depend on names alone."""

import json
import os

import pytest

from attngan_jax.data import dataset_report, datasets
from attngan_jax.data.folder import choose_test
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from tests import made_up_sources
from tests.made_up_sources import build
from tests.tiny_configs import cub


@pytest.fixture
def config(tmp_path):
    config = cub.get_config()
    config.data.dataset = "folder"
    config.data.data_dir = str(tmp_path / "data")
    config.folder.test_fraction = 0.25
    return config


def test_texts_beside_pictures(config, tmp_path):
    made_up_sources.make_folder(tmp_path / "source")

    dataset = build(config, tmp_path / "source")

    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (15, 5, 0)
    shown = [made_up_sources.shown(record) for record in (*dataset.train, *dataset.test)]
    assert sorted(shown) == list(range(20))
    for record in (*dataset.train, *dataset.test):
        k = made_up_sources.shown(record)
        assert made_up_sources.is_picture(record, k)
        assert len(record["captions"]) == 1 + k % 4
        assert record["name"].decode() == ("some birds/" if k % 3 else "") + f"bird {k}"


def test_linked_folders_and_names_not_in_utf_8(config, tmp_path):
    source = tmp_path / "source"
    made_up_sources.make_folder(source)
    made_up_sources.make_folder(tmp_path / "elsewhere", 3)
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / "circle").symlink_to(source)
    for name, content in (
        (b"br\xfcn.png", made_up_sources.encoded(20, kind="PNG")),
        (b"br\xfcn.txt", made_up_sources.captions(20)[0].encode()),
        (b"gr\xfcn.txt", b"a green bird"),
    ):
        with open(os.path.join(os.fsencode(source), name), "wb") as file:
            file.write(content)

    dataset = build(config, source)

    names = {record["name"].decode() for record in (*dataset.train, *dataset.test)}
    assert len(names) == 21 and "br\\udcfcn" in names
    report = datasets.report(config)
    assert report["repaired"]["linked folder ignored"]["first"] == ["circle", "linked"]
    assert report["repaired"]["text without an image ignored"]["first"] == ["gr\\udcfcn.txt"]
    dataset_report.table(report).encode("utf-8")  # what `prepare` prints


def test_endings_in_capitals(config, tmp_path):
    source = tmp_path / "source"
    made_up_sources.make_folder(source)
    for file in sorted(source.rglob("*.*"))[::3]:
        file.rename(file.with_suffix(file.suffix.upper()))
    made_up_sources.write(source / "alone.TXT", "a lonely bird")

    dataset = build(config, source)

    shown = [made_up_sources.shown(record) for record in (*dataset.train, *dataset.test)]
    assert sorted(shown) == list(range(20))
    report = datasets.report(config)
    assert report["left_out"] == {}
    assert report["repaired"]["text without an image ignored"]["first"] == ["alone.TXT"]
    assert "image that is not listed ignored" not in report["repaired"]


def test_a_list_in_capitals_that_names_its_pictures_in_small_letters(config, tmp_path):
    source = tmp_path / "source"
    made_up_sources.make_jsonl(source)
    (source / "captions.jsonl").rename(source / "captions.JSONL")
    for k in range(5):
        (source / f"pictures/{k}.jpg").rename(source / f"pictures/{k}.JPG")
    made_up_sources.write(source / "more" / "20.png", made_up_sources.encoded(20, kind="PNG"))

    dataset = build(config, source)

    assert [made_up_sources.shown(record) for record in dataset.train] == list(range(15))
    report = datasets.report(config)
    assert report["left_out"] == {}
    assert report["repaired"]["image that is not listed ignored"] == {
        "count": 1,
        "first": ["more/20.png"],
    }


def test_a_list_with_every_field(config, tmp_path):
    made_up_sources.make_jsonl(tmp_path / "source")

    dataset = build(config, tmp_path / "source")

    assert [made_up_sources.shown(record) for record in dataset.train] == list(range(15))
    assert [made_up_sources.shown(record) for record in dataset.test] == list(range(15, 20))
    assert dataset.num_classes == 4
    assert [dataset.train[k]["class_id"] for k in range(5)] == [0, 1, 2, 3, 0]
    assert list(dataset.test[0]["bbox"]) == [5, 5, 40, 30]
    report = datasets.report(config)
    assert report["splits"]["train"] == {"images": 15, "captions": 45, "classes": 4}
    assert sum(report["caption_lengths"]["train"].values()) == 45
    assert report["left_out"] == {} and report["bytes"] > 0


def test_the_choice_depends_on_names_and_seed_alone():
    names = [f"bird {k}" for k in range(100)]
    chosen = choose_test(names, 0.2, seed=1)

    assert len(chosen) == 20 and chosen == choose_test(names[::-1], 0.2, seed=1)
    assert chosen != choose_test(names, 0.2, seed=2)
    # One image more changes nobody's place but, at most, one's.
    assert len(chosen - choose_test([*names, "another"], 0.2, seed=1)) <= 1
    assert [len(choose_test(names[:n], 0.01, seed=1)) for n in (0, 1, 2, 3)] == [0, 0, 1, 1]


def test_another_title_is_another_data_set(config, tmp_path):
    made_up_sources.make_folder(tmp_path / "source")
    made_up_sources.make_jsonl(tmp_path / "other", count=8, num_test=3)
    first = build(config, tmp_path / "source")
    config.folder.title = "others"

    second = build(config, tmp_path / "other")

    assert (len(first.train), len(second.train)) == (15, 5)


def test_words_that_are_rare(config, tmp_path):
    made_up_sources.make_jsonl(tmp_path / "source")
    made_up_sources.write(tmp_path / "source" / "3.jpg", made_up_sources.encoded(3))
    with open(tmp_path / "source" / "captions.jsonl", "a") as file:
        file.write('{"file": "3.jpg", "captions": ["a unique bird"], "split": "train"}\n')
    everything = build(config, tmp_path / "source").vocabulary
    config.data.min_word_count = 2

    kept = build(config, tmp_path / "source").vocabulary

    assert set(everything.words) - set(kept.words) == {"a", "unique"}
    assert [word for word in everything.words if word in kept.words] == list(kept.words)
    assert datasets.report(config)["words_without_number"] == 2
    config.data.min_word_count = 1
    assert datasets.report(config)["words_without_number"] == 0
    assert datasets.load(config).vocabulary == everything


def test_counts_of_words():
    counts = {"bird": 5, "rare": 1, "wing": 2}
    assert Vocabulary.from_counts(counts, 2).words == ("<end>", "bird", "wing")


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"test_fraction": 1.0}, "config.folder: test_fraction"),
        ({"title": "a/b"}, "config.folder: title"),
    ],
)
def test_settings_that_make_no_split(config, settings, complaint):
    config.folder.update(settings)

    with pytest.raises(UserError, match=complaint):
        datasets.prepare(config, "anything")


def test_an_empty_folder(config, tmp_path):
    with pytest.raises(UserError, match="has no train images.*name.jpg and name.txt"):
        datasets.prepare(config, str(tmp_path))


def test_a_class_of_many_digits_and_a_box_that_is_text(config, tmp_path):
    rows = [
        {
            "file": f"{k}.png",
            "captions": made_up_sources.captions(k, 1),
            "class": "9" * (5_000 if k else 1),
            "bbox": "1234",
        }
        for k in range(4)
    ]
    for k, row in enumerate(rows):
        made_up_sources.write(
            tmp_path / "source" / row["file"], made_up_sources.encoded(k, kind="PNG")
        )
    made_up_sources.write(tmp_path / "source" / "captions.jsonl", "\n".join(map(json.dumps, rows)))

    datasets.prepare(config, str(tmp_path / "source"))

    dataset = datasets.load(config)
    assert dataset.num_classes == 2
    assert all(not any(record["bbox"]) for record in (*dataset.train, *dataset.test))
    counts = datasets.report(config)["repaired"]
    assert counts["box that is not four numbers: whole image used"]["count"] == 4
