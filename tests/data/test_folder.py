"""A folder of one's own: texts beside images or a list, splits that depend on names alone."""

import os

import pytest

from attngan_jax import configuration
from attngan_jax.configs import folder_small
from attngan_jax.data import dataset_report, datasets
from attngan_jax.data.folder import choose_test
from attngan_jax.errors import UserError
from attngan_jax.training import warm_start
from attngan_jax.training.attngan_task import AttnganTask
from tests import made_up_sources
from tests.made_up_sources import build, captions, encoded, records, shown, write, write_list

DATASET = "folder"  # whose source is twenty images with texts beside them


@pytest.fixture
def config(config):
    config.folder.test_fraction = 0.25
    return config


@pytest.fixture
def listed(tmp_path):
    """Twenty images in a list, of which the last five are tested on."""
    made_up_sources.make_jsonl(tmp_path / "listed")
    return tmp_path / "listed"


def test_texts_beside_images(config, source):
    dataset = build(config, source)
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (15, 5, 0)
    assert sorted(map(shown, records(dataset))) == list(range(20))
    for record in records(dataset):
        k = shown(record)
        assert made_up_sources.is_whole(record)
        assert len(record["captions"]) == 1 + k % 4
        assert record["name"].decode() == ("some birds/" if k % 3 else "") + f"bird {k}"


def test_linked_folders_and_names_not_in_utf_8(config, source, tmp_path):
    made_up_sources.make_folder(tmp_path / "elsewhere", 3)
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / "circle").symlink_to(source)
    contents = {
        b"br\xfcn.png": encoded(20, kind="PNG"),
        b"br\xfcn.txt": captions(20)[0].encode(),
        b"gr\xfcn.txt": b"a green bird",
    }
    for name, content in contents.items():
        with open(os.path.join(os.fsencode(source), name), "wb") as file:
            file.write(content)
    dataset = build(config, source)
    names = {record["name"].decode() for record in records(dataset)}
    assert len(names) == 21 and "br\\udcfcn" in names
    repaired = dataset.report["repaired"]
    assert repaired["linked folder ignored"]["first"] == ["circle", "linked"]
    assert repaired["text without an image ignored"]["first"] == ["gr\\udcfcn.txt"]
    dataset_report.table(dataset.report).encode("utf-8")  # what `prepare` prints


def test_suffixes_in_capitals(config, source):
    for file in sorted(source.rglob("*.*"))[::3]:
        file.rename(file.with_suffix(file.suffix.upper()))
    write(source / "alone.TXT", "a lonely bird")
    dataset = build(config, source)
    assert sorted(map(shown, records(dataset))) == list(range(20))
    assert dataset.report["left_out"] == {}
    repaired = dataset.report["repaired"]
    assert repaired["text without an image ignored"]["first"] == ["alone.TXT"]
    assert "image that is not listed ignored" not in repaired


def test_a_list_in_capitals_that_names_its_images_in_small_letters(config, listed):
    (listed / "captions.jsonl").rename(listed / "captions.JSONL")
    for k in range(5):
        (listed / f"pictures/{k}.jpg").rename(listed / f"pictures/{k}.JPG")
    write(listed / "more" / "20.png", encoded(20, kind="PNG"))
    dataset = build(config, listed)
    assert [shown(record) for record in dataset.train] == list(range(15))
    assert dataset.report["left_out"] == {}
    ignored = {"count": 1, "first": ["more/20.png"]}
    assert dataset.report["repaired"]["image that is not listed ignored"] == ignored


def test_a_list_with_every_field(config, listed):
    dataset = build(config, listed)
    assert [shown(record) for record in dataset.train] == list(range(15))
    assert [shown(record) for record in dataset.test] == list(range(15, 20))
    assert dataset.num_classes == 4
    assert [dataset.train[k]["class_id"] for k in range(5)] == [0, 1, 2, 3, 0]
    assert list(dataset.test[0]["bbox"]) == [5, 5, 40, 30]
    report = dataset.report
    assert report["splits"]["train"] == {"images": 15, "captions": 45, "classes": 4}
    assert sum(report["caption_lengths"]["train"].values()) == 45
    assert report["left_out"] == {} and report["bytes"] > 0


def test_the_choice_depends_on_names_and_seed_alone():
    names = [f"bird {k}" for k in range(100)]
    chosen = choose_test(names, 0.2, seed=1)
    assert len(chosen) == 20 and chosen == choose_test(names[::-1], 0.2, seed=1)
    assert chosen != choose_test(names, 0.2, seed=2)
    # One image more moves at most one of the others.
    assert len(chosen - choose_test([*names, "another"], 0.2, seed=1)) <= 1
    assert [len(choose_test(names[:n], 0.01, seed=1)) for n in (0, 1, 2, 3)] == [0, 0, 1, 1]


def test_another_title_is_another_dataset(config, source, listed):
    first = build(config, source)
    config.folder.title = "others"
    second = build(config, listed)
    assert {len(record["captions"]) for record in second.train} == {3}
    assert len({len(record["captions"]) for record in first.train}) > 1


def test_words_that_are_rare(config, listed):
    write(listed / "3.jpg", encoded(3))
    with open(listed / "captions.jsonl", "a") as file:
        file.write('{"file": "3.jpg", "captions": ["a unique bird"], "split": "train"}\n')
    everything = build(config, listed)
    config.data.min_word_count = 2
    common = build(config, listed)
    words, kept = everything.vocabulary.words, common.vocabulary.words
    assert set(words) - set(kept) == {"a", "unique"}
    assert [word for word in words if word in kept] == list(kept)
    assert common.report["words_without_number"] == 2
    assert everything.report["words_without_number"] == 0
    config.data.min_word_count = 1
    assert datasets.load(config).vocabulary == everything.vocabulary


@pytest.mark.parametrize("key, value", [("test_fraction", 1.0), ("title", "a/b")])
def test_settings_that_make_no_split(config, key, value):
    config.folder[key] = value
    made_up_sources.assert_refused(config, "anything", f"config.folder: {key}")


def test_an_empty_folder(config, tmp_path):
    made_up_sources.assert_refused(
        config, tmp_path, "has no images: it is empty.*name.jpg and name.txt"
    )


def test_a_folder_of_other_things(config, tmp_path):
    for name in ("a.parquet", "b.parquet", "README.md"):
        write(tmp_path / name, "x")
    refused = r"has no images: it holds 2 .parquet, 1 .md \(unpack archives first\)"
    made_up_sources.assert_refused(config, tmp_path, refused)


def test_classes_of_many_digits(config, tmp_path):
    rows = []
    for k in range(4):
        write(tmp_path / "source" / f"{k}.png", encoded(k, kind="PNG"))
        kind = "9" * (5_000 if k else 1)
        rows.append({"file": f"{k}.png", "captions": captions(k, 1), "class": kind})
    write_list(tmp_path / "source", rows)
    assert build(config, tmp_path / "source").num_classes == 2


def test_another_source_is_refused_or_has_a_title_of_its_own(config, source, tmp_path):
    first = build(config, source)
    made_up_sources.make_folder(tmp_path / "others", 8)
    refused = "was built from .*, not from .*others: give .*config.folder.title"
    made_up_sources.assert_refused(config, tmp_path / "others", refused)
    config.data.source = str(tmp_path / "others")
    with pytest.raises(UserError, match=refused):
        datasets.check(config)  # before a run begins
    config.folder.title = "others"
    datasets.check(config)
    assert len(records(build(config, tmp_path / "others"))) == 8
    config.folder.title, config.data.source = "pictures", ""
    assert not datasets.prepare(config)  # as it is, without a source
    assert len(records(datasets.load(config))) == len(records(first)) == 20


def test_the_config_for_a_small_machine_needs_no_download(source, tmp_path):
    config = folder_small.get_config()
    config.data.update(data_dir=str(tmp_path / "data"), source=str(source))
    configuration.check(config)
    datasets.check(config)
    assert warm_start.trunk_weights(config, tmp_path / "run") is None
    task = AttnganTask(config, 10)
    assert task.image_sizes == (16, 32, 64) and config.image_encoder.image_size == 64
    config.image_encoder.trunk = "inception_v3"
    with pytest.raises(UserError, match="trunk=cnn, as configs/folder_small.py"):
        warm_start.trunk_weights(config, tmp_path / "run")
