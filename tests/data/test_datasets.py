"""Building, damage, and reading back, on six procedural birds; and a dataset of one's own."""

import errno
import json
import os
import pathlib
from unittest import mock

import numpy as np
import pytest

from attngan_jax.data import datasets, pipeline, procedural_birds, transforms
from attngan_jax.data.photographs import Entry, Listing, PhotographBuilder
from attngan_jax.data.vocabulary import END, Vocabulary, tokenise
from attngan_jax.errors import UserError
from tests import made_up_sources, tiny_runs
from tests.made_up_sources import records, vocabulary_of
from tests.tiny_configs import procedural_birds as tiny_birds


@pytest.fixture
def config(tmp_path):
    """Three species, one of them to test on, of two images each; shown as they are stored."""
    config = tiny_birds.get_config()
    config.data.data_dir, config.data.resize_ratio = str(tmp_path / "data"), 1.0
    config.procedural_birds.image_size = 32
    config.procedural_birds.num_species, config.procedural_birds.test_species = 3, 1
    config.procedural_birds.images_per_species = 2
    return config


@pytest.fixture
def drawing(monkeypatch):
    """Counts the records that are made, as `call_count`."""
    drawing = mock.Mock(wraps=procedural_birds.make_record)
    monkeypatch.setattr(procedural_birds, "make_record", drawing)
    return drawing


def _folder(config) -> pathlib.Path:
    (folder,) = pathlib.Path(config.data.data_dir).glob("procedural_birds/*/1.0.0")
    return folder


def _assert_whole(config):
    dataset = datasets.load(config)
    names = [[r["name"].decode()[:3] for r in split] for split in (dataset.train, dataset.test)]
    assert list(map(sorted, names)) == [["001", "001", "002", "002"], ["003", "003"]]
    assert {"bird", "a", "has"} < set(dataset.vocabulary.words)
    return dataset


def test_prepare_and_load(config):
    datasets.prepare(config)
    dataset = _assert_whole(config)
    assert dataset.name == "procedural_birds" and dataset.num_classes == 3
    assert dataset.folder == _folder(config)
    assert dataset.folder.parent.name == "32px_3species_1test_2images_seed1"
    record = dataset.train[0]
    assert np.asarray(transforms.decode_image(record["image"])).shape == (32, 32, 3)
    # The vocabulary follows the records' order on disk, training first.
    captions = [text.decode() for record in records(dataset) for text in record["captions"]]
    assert dataset.vocabulary == vocabulary_of(captions) and dataset.vocabulary.words[0] == END
    assert (_folder(config) / "vocabulary.txt").exists()


def test_preparing_again_touches_nothing(config, drawing):
    assert datasets.prepare(config)
    before = {path: path.stat().st_mtime_ns for path in _folder(config).rglob("*")}
    assert not datasets.prepare(config)
    assert {path: path.stat().st_mtime_ns for path in _folder(config).rglob("*")} == before
    assert drawing.call_count == 6


def without_test_images(description):
    info = json.loads(description.read_text())
    (test,) = (split for split in info["splits"] if split["name"] == "test")
    test["shardLengths"] = ["0"]
    description.write_text(json.dumps(info))


DAMAGE = {
    "removed": pathlib.Path.unlink,
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "without test images": without_test_images,
    "without <end>": lambda path: path.write_bytes(b"train\nimage\n"),
}
RECORDS = [f"*{split}.array_record*" for split in ("train", "test")]
DAMAGED = [(files, how) for files in RECORDS for how in ("removed", "cut short", "empty")]
DAMAGED += [("dataset_info.json", how) for how in ("removed", "without test images")]
DAMAGED += [("vocabulary.txt", how) for how in ("removed", "empty", "without <end>")]


@pytest.mark.parametrize("files, how", DAMAGED)
def test_a_damaged_dataset_is_built_again(config, files, how, drawing):
    """A vocabulary is made from the records that are there: no image is drawn again."""
    datasets.prepare(config)
    (path,) = _folder(config).glob(files)
    whole, is_vocabulary = path.read_bytes(), files == "vocabulary.txt"
    DAMAGE[how](path)
    with pytest.raises(UserError, match="not wholly" if is_vocabulary else None):
        datasets.load(config)
    datasets.prepare(config)
    _assert_whole(config)
    assert drawing.call_count == (6 if is_vocabulary else 12)
    assert path.read_bytes() == whole or not is_vocabulary


def flip_one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("files", [*RECORDS, "vocabulary.txt"])
def test_one_flipped_bit_is_noticed_before_training(config, files, drawing, caplog):
    """Which no count of records and no list of words would notice."""
    datasets.prepare(config)
    before = [record["image"] for record in records(datasets.load(config))]
    (path,) = _folder(config).glob(files)
    flip_one_bit(path)
    damaged = path.read_bytes()
    assert datasets.prepare(config)
    assert f"{path} is damaged: it is set aside as" in caplog.text
    assert (path.parent.parent / f"{path.name}.damaged").read_bytes() == damaged
    assert [record["image"] for record in records(_assert_whole(config))] == before
    assert drawing.call_count == (6 if files == "vocabulary.txt" else 12)
    assert not datasets.prepare(config)


def test_a_garbled_description_is_named(config):
    datasets.prepare(config)
    (_folder(config) / "dataset_info.json").write_text('{"na')
    with pytest.raises(UserError, match="procedural_birds in .* is damaged.*delete"):
        datasets.prepare(config)


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
NO_SPACE_FOR_RECORDS = RuntimeError("write() failed: No space left on device; writing birds-train")


@pytest.mark.parametrize("error", [NO_SPACE, NO_SPACE_FOR_RECORDS])
def test_a_full_disk_leaves_nothing_that_is_taken_for_whole(config, error, drawing):
    drawing.side_effect = [*[mock.DEFAULT] * 4, error, *[mock.DEFAULT] * 6]
    with pytest.raises(UserError, match="disk is full.*run the same command again"):
        datasets.prepare(config)
    assert not list(pathlib.Path(config.data.data_dir).glob("*/*/1.0.0"))
    datasets.prepare(config)
    _assert_whole(config)


def test_a_full_disk_while_the_vocabulary_is_written(config, monkeypatch, drawing):
    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "save", mock.Mock(side_effect=NO_SPACE))
        with pytest.raises(UserError, match="disk is full"):
            datasets.prepare(config)
    with pytest.raises(UserError, match="not wholly"):
        datasets.load(config)

    datasets.prepare(config)
    _assert_whole(config)
    assert drawing.call_count == 6


def test_a_data_dir_that_is_a_file(config):
    pathlib.Path(config.data.data_dir).write_text("")
    with pytest.raises(UserError, match="cannot be written.*data_dir"):
        datasets.prepare(config)


def test_records_reach_batches_through_spawned_workers(config):
    datasets.prepare(config)
    dataset = datasets.load(config)
    settings = {"batch_size": 4, "image_sizes": (32,), "max_words": 3, "seed": 1}
    batches = []
    for config.data.num_workers in (0, 2):
        iterator = pipeline.train_iterator(dataset, config, **settings)
        batches.append([next(iterator) for _ in range(5)])
        iterator.close()

    np.testing.assert_equal(batches[0], batches[1])


def _prepare(*arguments):
    return tiny_runs.start_command("prepare --config configs/default.py", *arguments)


def test_the_command_builds_procedural_birds(config):
    birds = config.procedural_birds.items()
    overrides = [f"--config.procedural_birds.{key}={value}" for key, value in birds]
    run = _prepare("--data_dir", config.data.data_dir, *overrides)
    assert run.returncode == 0, run.stderr
    dataset = _assert_whole(config)
    lines, num_words = run.stdout.splitlines(), len(dataset.vocabulary)
    images = f"procedural_birds: 4 training and 2 test images, {num_words} words, in "
    assert lines[-1].startswith(images)
    assert dataset.report["splits"] == {
        "train": {"images": 4, "captions": 40, "classes": 2},
        "test": {"images": 2, "captions": 20, "classes": 1},
    }
    assert dataset.report["words"] == num_words and dataset.report["left_out"] == {}
    table = [line.split()[:3] for line in lines if line.startswith("t")]
    assert table == [["train", "4", "40"], ["test", "2", "20"]]
    settings = dict(vocabulary=dataset.vocabulary, batch_size=2, image_sizes=(32,))
    (batch,) = pipeline.eval_batches(dataset.test, config, **settings)
    for i in range(2):
        record = dataset.test[int(batch["index"][i])]
        caption = record["captions"][batch["caption_index"][i]].decode()
        words = tokenise(caption)
        assert dataset.vocabulary.decode(batch["caption"][i]) == words
        image = np.asarray(transforms.decode_image(record["image"]))
        np.testing.assert_array_equal(batch["image_32"][i], image)
        labels = np.asarray(transforms.decode_labels(record["part_labels"]))
        np.testing.assert_array_equal(batch["part_labels"][i], labels)
        assert len(np.unique(labels)) > 3


def test_the_command_names_the_datasets_in_one_line(tmp_path):
    run = _prepare("--data_dir", str(tmp_path), "--config.data.dataset=birds")
    parts = "'birds'; there are coco, cub, folder, procedural_birds"
    tiny_runs.assert_one_line(run, 1, parts)


def test_settings_that_make_no_birds(config):
    made_up_sources.assert_refused(config, "birds.zip", "--source")
    config.procedural_birds.test_species = 3
    with pytest.raises(UserError, match="config.procedural_birds: .*test_species"):
        datasets.prepare(config)


class Flowers(PhotographBuilder):
    """All that a dataset of one's own needs, beside an entry in `BUILDERS` and a config."""

    HOW_TO_GET = "It needs flowers"

    def list_entries(self, source, dl_manager):
        splits = {"train": (0, 1, 2), "test": (3,)}
        entries = {
            split: [Entry(f"{k}", f"{k}.jpg", made_up_sources.captions(k), k) for k in numbers]
            for split, numbers in splits.items()
        }
        return Listing(entries, dict.fromkeys(entries, source), source)


def test_a_new_dataset_is_a_builder_and_an_entry(config, tmp_path, monkeypatch):
    monkeypatch.setitem(datasets.BUILDERS, "flowers", f"{__name__}:Flowers")
    config.data.dataset = "flowers"
    for k in range(4):
        made_up_sources.write(tmp_path / "source" / f"{k}.jpg", made_up_sources.encoded(k))

    with pytest.raises(UserError, match="flowers is not in .*--source FOLDER.*It needs flowers"):
        datasets.check(config)
    dataset = made_up_sources.build(config, tmp_path / "source")
    assert (len(dataset.train), len(dataset.test), dataset.num_classes) == (3, 1, 4)
    assert all(map(made_up_sources.is_whole, records(dataset)))
