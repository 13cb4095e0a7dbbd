"""Datasets in a bucket: built here and uploaded, copied whole, checked, made anew."""

import json
import pathlib
import shutil
from collections import namedtuple

import pytest

from attngan_jax import storage
from attngan_jax.data import bucket_cache, datasets
from attngan_jax.errors import UserError
from tests import made_up_sources


@pytest.fixture
def config(tiny_config, tmp_path, gcs):
    """The tiny dataset's config, with its records in an empty bucket."""
    tiny_config.data.data_dir = "gs://birds/data"
    tiny_config.data.cache_dir = str(tmp_path / "cache")
    return tiny_config


@pytest.fixture
def published(config, tiny_data_dir, gcs):
    """The same config, with the dataset in the bucket and no copy of it here."""
    root = pathlib.Path(tiny_data_dir)
    for file in storage.walk(root):
        if not file.name.startswith("."):
            gcs.put(f"birds/data/{file.relative_to(root).as_posix()}", file.read_bytes())
    return config


def copy_of(config):
    return pathlib.Path(datasets.get_builder(config).data_path)


def downloads(gcs):
    return [path for method, path in gcs.requests if "alt=media" in path]


def basenames(keys):
    return [key.rpartition("/")[2] for key in keys]


def assert_same(one, other):
    assert one.vocabulary == other.vocabulary
    images = [[record["image"] for record in made_up_sources.records(d)] for d in (one, other)]
    assert images[0] == images[1]


def test_what_is_built_is_in_the_bucket_with_its_vocabulary_last(config, gcs, tiny_dataset):
    assert datasets.prepare(config)
    uploads = [key for key, _ in sorted(gcs.generations.items(), key=lambda item: item[1])]
    dataset = datasets.load(config)
    folder = str(dataset.folder)
    assert folder.startswith("gs://birds/data/procedural_birds/")
    assert basenames(uploads[-2:]) == ["prepare.json", "vocabulary.txt"]
    assert all(f"gs://{name}".startswith(folder + "/") for name in uploads)
    assert_same(dataset, tiny_dataset)
    gcs.requests.clear()
    assert not datasets.prepare(config)  # it is there, in both places
    assert all(method == "GET" for method, _ in gcs.requests) and not downloads(gcs)


def test_another_machine_copies_it_once(published, gcs, tiny_dataset):
    datasets.check(published)
    assert not datasets.prepare(published)
    dataset = datasets.load(published)
    assert_same(dataset, tiny_dataset)
    assert len(downloads(gcs)) == len(gcs.objects)
    assert dataset.report["splits"]["train"]["images"] == len(tiny_dataset.train)
    assert not list(copy_of(published).glob(".*"))


def test_a_truncated_copy_is_made_again(published, gcs, tiny_dataset):
    datasets.load(published)
    records = next(copy_of(published).glob("*train.array_record*"))
    records.write_bytes(records.read_bytes()[:1000])
    gcs.requests.clear()
    assert_same(datasets.load(published), tiny_dataset)
    assert len(downloads(gcs)) == 1


def test_a_flipped_bit_of_a_copy_is_noticed_by_a_training_run(published, gcs, tiny_dataset):
    datasets.load(published)
    records = next(copy_of(published).glob("*train.array_record*"))
    content = bytearray(records.read_bytes())
    content[len(content) // 3] ^= 1
    records.write_bytes(content)
    gcs.requests.clear()
    assert not datasets.prepare(published)
    assert_same(datasets.load(published), tiny_dataset)
    assert len(downloads(gcs)) == 1


def test_an_object_that_comes_damaged_is_not_kept(published, gcs):
    resource, wrong = gcs.resource, {"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA==", "crc32c": "AAAAAA=="}
    gcs.resource = lambda key: resource(key) | (wrong if "train.array_record" in key else {})
    with pytest.raises(Exception, match="(?i)checksum"):
        datasets.load(published)
    assert not list(copy_of(published).glob("*train.array_record*"))
    assert not list(copy_of(published).glob("vocabulary*"))


def test_a_dataset_without_its_vocabulary_is_not_finished(published, gcs, tiny_dataset):
    """As an upload leaves it that ended early: a run elsewhere builds it and completes it."""
    (vocabulary,) = [key for key in gcs.objects if key.endswith("vocabulary.txt")]
    gcs.delete(vocabulary)
    with pytest.raises(UserError, match="is not .* built in gs://birds/data/procedural_birds/"):
        datasets.load(published)
    assert not downloads(gcs)
    assert datasets.prepare(published)
    assert vocabulary in gcs.objects
    assert_same(datasets.load(published), tiny_dataset)


def test_a_copy_follows_when_the_bucket_has_another(published, gcs, tiny_dataset):
    old = datasets.load(published)
    key = f"{old.folder.as_posix().removeprefix('gs://')}/report/prepare.json"
    gcs.put(key, json.dumps(dict(old.report) | {"seconds": 77.0}).encode())
    new = datasets.load(published)
    assert_same(new, tiny_dataset)
    assert new.report["seconds"] == 77.0


def test_what_is_missing_in_the_bucket_comes_from_the_copy(published, gcs):
    datasets.load(published)
    before = dict(gcs.objects)
    for name in before:
        gcs.delete(name)
    assert not datasets.prepare(published)
    assert gcs.objects == before


def test_a_dataset_built_anew_is_not_finished_until_its_vocabulary_is_there(published, gcs):
    """No machine copies new records with the vocabulary of the old ones."""
    place, copy = datasets.load(published).folder, copy_of(published)
    bucket_cache.list_file(copy).unlink()  # as building does: all is uploaded again
    gcs.put(f"{str(place).removeprefix('gs://')}/vocabulary_min5.txt", b"of the old records")
    gcs.refuse = lambda method, key: 403 if method == "POST" and "test.array" in key else None
    with pytest.raises(Exception, match="does not have access"):
        bucket_cache.publish(copy, place)
    assert not [name for name in gcs.objects if "vocabulary" in name or "/report/" in name]
    gcs.refuse = lambda method, key: None
    bucket_cache.publish(copy, place)
    there = basenames(gcs.objects)
    assert "vocabulary.txt" in there and "vocabulary_min5.txt" not in there
    assert "prepare.json" in there and bucket_cache.is_finished(bucket_cache.facts(place))


def test_another_vocabulary_is_added_beside_the_first(published, gcs):
    datasets.load(published)
    before = dict(gcs.objects)
    published.data.min_word_count = 5
    assert datasets.prepare(published)
    added = basenames(sorted(gcs.objects.keys() - before.keys()))
    assert added == ["prepare_min5.json", "vocabulary_min5.txt"]
    assert before.items() <= gcs.objects.items()


def test_no_room_for_a_copy_is_said_before_it_begins(published, gcs, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**6, 10**6, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match="needs .* GiB .* choose another config.data.cache_dir"):
        datasets.load(published)
    assert not downloads(gcs)


def test_photographs_that_are_not_there_are_asked_for_by_their_address(tmp_path, gcs):
    config = made_up_sources.config_for("cub", tmp_path)
    config.data.data_dir, config.data.cache_dir = "gs://birds/data", str(tmp_path / "cache")
    with pytest.raises(UserError, match="cub is not in gs://birds/data yet: build it with"):
        datasets.check(config)
    made_up_sources.make_cub(tmp_path / "source")
    assert datasets.prepare(config, str(tmp_path / "source"))
    elsewhere = config.copy_and_resolve_references()
    elsewhere.data.cache_dir = str(tmp_path / "other")
    datasets.check(elsewhere)
    assert_same(datasets.load(elsewhere), datasets.load(config))
